#pragma once

#include "ir/ops/nn_helpers.h"

/// Sliding windows over the spatial axes of an N×C×D1×… tensor: convolution and pooling.
namespace tenon::ir {

struct Window {
  Dims input, kernel, out;            // a spatial axis each
  Dims pad_begin, pad_end;
  std::vector<int64_t> stride, dilation;
  std::vector<bool> in_bounds;        // every tap of every output is inside the input: no guard needed
  size_t rank() const { return input.size(); }
};

/// Checks strides, dilations, pads, auto_pad and ceil_mode of `node` and computes the output's dims. Errors name the attribute.
Result<Window> make_window(const Node& node, Dims input, Dims kernel);
/// kernel_shape as dims: of the attribute, which must have `rank` positive entries.
Result<Dims> kernel_shape(const Node& node, size_t rank);
/// Integer-list attribute with `count` entries in [lo, 2^31-1], or `fallback` for each when absent.
Result<std::vector<int64_t>> window_ints(const Node& node, std::string_view name, size_t count, int64_t lo, int64_t fallback);

/// Input coordinates (affine in output axis `out_axis + i` and kernel axis `kernel_axis + i`) and their guard (invalid
/// when none is needed).
struct Taps {
  std::vector<Expr> at;
  Expr guard;
};
Taps make_taps(ExprPool& pool, const Window& window, size_t out_axis, size_t kernel_axis);
/// Loads operand at `at`, guarded when the guard is there.
Expr load_tap(ExprPool& pool, const Node& node, int operand, std::span<const Expr> at, Expr guard, Expr other);

}  // namespace tenon::ir
