#include "ir/ops/window.h"

#include <algorithm>
#include <limits>

namespace tenon::ir {

Result<std::vector<int64_t>> window_ints(const Node& node, std::string_view name, size_t count, int64_t lo, int64_t fallback) {
  std::vector<int64_t> values = node.attr_ints(name);
  if (values.empty()) values.assign(count, fallback);
  if (values.size() != count)
    return error(Code::kInvalidModel, "attribute {} has {} entries where {} are needed", name, values.size(), count);
  for (int64_t v : values)
    if (v < lo || v > std::numeric_limits<int32_t>::max())
      return error(Code::kInvalidModel, "attribute {} holds {}, which is outside [{}, 2^31-1]", name, v, lo);
  return values;
}

Result<Dims> kernel_shape(const Node& node, size_t rank) {
  if (!node.attrs().has("kernel_shape")) return error(Code::kInvalidModel, "attribute kernel_shape is missing");
  TENON_ASSIGN_OR_RETURN(std::vector<int64_t> shape, window_ints(node, "kernel_shape", rank, 1, 1));
  return Dims(shape.begin(), shape.end());
}

namespace {

/// One axis: sets pads and the output's extent (ONNX MaxPool, Conv: auto_pad, ceil_mode).
Status plan_axis(const Node& node, Window& w, size_t i, int64_t begin, int64_t end, const std::string& auto_pad, bool ceil_mode) {
  Dim in = w.input[i], stride = w.stride[i];
  Dim extent = (w.kernel[i] - 1) * w.dilation[i] + 1;
  if (auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER") {
    w.out[i] = ceil_div(in, stride);
    Dim total = max((w.out[i] - 1) * stride + extent - in, 0);
    Dim half = floor_div(total, 2);
    w.pad_begin[i] = auto_pad == "SAME_UPPER" ? half : total - half;
    w.pad_end[i] = total - w.pad_begin[i];
  } else {
    bool valid = auto_pad == "VALID";
    w.pad_begin[i] = valid ? 0 : begin;
    w.pad_end[i] = valid ? 0 : end;
    const Dim padded = in + w.pad_begin[i] + w.pad_end[i], span = padded - extent;
    // With ceil_mode the first window may reach beyond the padding: less than a stride, so that the ceiling counts it.
    if (exceeds(node, ceil_mode ? extent - stride + 1 : extent, padded))
      return Status(Code::kInvalidModel,
                    fmt::format("window of extent {} does not fit spatial axis {} of {} with pads {} and {}", to_string(extent), i,
                                to_string(in), begin, end),
                    node.name());
    w.out[i] = floor_div(span, stride) + 1;
    if (ceil_mode) {
      // A last window that would start in the end padding is dropped (ONNX MaxPool, ceil_mode).
      Dim up = ceil_div(span, stride) + 1;
      Dim last_start = (up - 1) * stride;
      Dim limit = in + w.pad_begin[i];
      w.out[i] = up.is_const() && limit.is_const() ? (last_start.value() >= limit.value() ? up - 1 : up)
                                                   : min(up, ceil_div(limit, stride));
    }
  }
  if (!w.out[i].is_valid() || !w.pad_begin[i].is_valid() || !w.pad_end[i].is_valid())
    return Status(Code::kInvalidModel, fmt::format("the size of spatial axis {} overflows", i), node.name());
  Dim last = (w.out[i] - 1) * stride + extent - w.pad_begin[i];
  w.in_bounds[i] = w.pad_begin[i].is_const(0) && known_le(last, in);
  return {};
}

}  // namespace

Result<Window> make_window(const Node& node, Dims input, Dims kernel) {
  Window w;
  size_t rank = input.size();
  w.input = std::move(input);
  w.kernel = std::move(kernel);
  w.out.resize(rank);
  w.pad_begin.resize(rank);
  w.pad_end.resize(rank);
  w.in_bounds.resize(rank);
  if (w.kernel.size() != rank)
    return error(Code::kInvalidModel, "the kernel has {} spatial axes where the input has {}", w.kernel.size(), rank);
  std::string auto_pad = node.attr_string("auto_pad", "NOTSET");
  if (auto_pad.empty()) auto_pad = "NOTSET";
  if (auto_pad != "NOTSET" && auto_pad != "VALID" && auto_pad != "SAME_UPPER" && auto_pad != "SAME_LOWER")
    return error(Code::kInvalidModel, "attribute auto_pad is \"{}\"", auto_pad);
  TENON_ASSIGN_OR_RETURN(w.stride, window_ints(node, "strides", rank, 1, 1));
  TENON_ASSIGN_OR_RETURN(w.dilation, window_ints(node, "dilations", rank, 1, 1));
  TENON_ASSIGN_OR_RETURN(std::vector<int64_t> pads,
                         window_ints(node, "pads", 2 * rank, -std::numeric_limits<int32_t>::max(), 0));
  bool ceil_mode = node.attr_int("ceil_mode", 0) != 0;
  for (size_t i = 0; i < rank; ++i)
    TENON_RETURN_IF_ERROR(plan_axis(node, w, i, pads[i], pads[rank + i], auto_pad, ceil_mode));
  return w;
}

Taps make_taps(ExprPool& pool, const Window& window, size_t out_axis, size_t kernel_axis) {
  Taps taps;
  for (size_t i = 0; i < window.rank(); ++i) {
    Expr at = pool.index(static_cast<int>(out_axis + i)) * static_cast<double>(window.stride[i]);
    Expr tap = pool.index(static_cast<int>(kernel_axis + i));
    at = at + tap * static_cast<double>(window.dilation[i]);
    if (!window.pad_begin[i].is_const(0)) at = at - pool.dim(window.pad_begin[i]);
    taps.at.push_back(at);
    if (window.in_bounds[i]) continue;
    Expr inside = at < pool.dim(window.input[i]);
    if (!window.pad_begin[i].is_const(0)) inside = at >= 0.0 && inside;
    taps.guard = taps.guard.valid() ? taps.guard && inside : inside;
  }
  return taps;
}

Expr load_tap(ExprPool& pool, const Node& node, int operand, std::span<const Expr> at, Expr guard, Expr other) {
  DType dtype = node.input(operand)->dtype();
  if (!guard.valid()) return pool.load(operand, dtype, at);
  return pool.load_guarded(operand, dtype, at, guard, other);
}

}  // namespace tenon::ir
