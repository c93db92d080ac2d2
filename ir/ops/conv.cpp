#include <algorithm>

#include "ir/ops/families.h"
#include "ir/ops/window.h"

namespace tenon::ir {
namespace {

constexpr DTypeSet kBytes = dtypes(DType::kI8, DType::kU8);

/// Where a convolution's operands are, and its shape.
struct Conv {
  int x = 0, w = 1;
  Dims x_dims, w_dims;
  int64_t groups = 1;
  Dim out_channels;
  Window window;
};

Dims spatial(const Dims& dims) { return Dims(dims.begin() + 2, dims.end()); }

Status check_groups(int64_t groups) {
  if (groups < 1 || groups > INT32_MAX) return error(Code::kInvalidModel, "attribute group is {}; it must be positive", groups);
  return {};
}

Status check_kernel_shape(const Node& node, const Dims& kernel) {
  if (!node.attrs().has("kernel_shape")) return {};
  TENON_ASSIGN_OR_RETURN(Dims declared, kernel_shape(node, kernel.size()));
  for (size_t i = 0; i < kernel.size(); ++i)
    if (differ(node, declared[i], kernel[i]))
      return error(Code::kInvalidModel, "attribute kernel_shape says {} where the weights have {} on spatial axis {}",
                   to_string(declared[i]), to_string(kernel[i]), i);
  return {};
}

Result<Conv> make_conv(const Node& node, int x, int w) {
  Conv conv{.x = x, .w = w, .x_dims = dims_of(node, x), .w_dims = dims_of(node, w)};
  if (conv.x_dims.size() < 3 || conv.w_dims.size() != conv.x_dims.size())
    return error(Code::kInvalidModel, "a convolution needs input and weights of one rank, 3 or more; they have {} and {}",
                 conv.x_dims.size(), conv.w_dims.size());
  conv.groups = node.attr_int("group", 1);
  TENON_RETURN_IF_ERROR(check_groups(conv.groups));
  if (differ(node, conv.x_dims[1], conv.w_dims[1] * conv.groups))
    return error(Code::kInvalidModel, "the input has {} channels; the weights take {} in each of {} groups", to_string(conv.x_dims[1]),
                 to_string(conv.w_dims[1]), conv.groups);
  conv.out_channels = conv.w_dims[0];
  if (differ(node, mod(conv.out_channels, conv.groups), 0))
    return error(Code::kInvalidModel, "{} output channels do not divide into {} groups", to_string(conv.out_channels), conv.groups);
  TENON_RETURN_IF_ERROR(check_kernel_shape(node, spatial(conv.w_dims)));
  TENON_ASSIGN_OR_RETURN(conv.window, make_window(node, spatial(conv.x_dims), spatial(conv.w_dims)));
  return conv;
}

Status infer_conv_like(InferContext& c, int x, int w, int bias, DType out) {
  if (!c.ranked(x) || !c.ranked(w)) {
    c.set(0, unranked(out));
    return {};
  }
  Result<Conv> conv = make_conv(c.node(), x, w);
  if (!conv.ok()) return std::move(conv).status().at(c.node().name());
  if (bias >= 0 && c.has(bias) && c.ranked(bias)) {
    TENON_RETURN_IF_ERROR(require_rank(c, bias, 1));
    TENON_RETURN_IF_ERROR(require_equal(c, c.shape(bias)[0], conv->out_channels, "bias and output channels"));
  }
  Dims out_shape = {conv->x_dims[0], conv->out_channels};
  out_shape.insert(out_shape.end(), conv->window.out.begin(), conv->window.out.end());
  c.set(0, tensor_of(out, std::move(out_shape)));
  return {};
}

/// The body around a convolution's two loads: axes (n, oc, o…), reduce axes (channel in group, k…).
struct ConvBody {
  Body body;
  Expr x, w;    // in their own dtypes
  Expr guard;   // invalid: no padding
};

Result<ConvBody> make_conv_body(const Node& node, int xi, int wi, Expr (*pad_value)(ExprPool&, const Node&)) {
  TENON_ASSIGN_OR_RETURN(Conv conv, make_conv(node, xi, wi));
  ConvBody out;
  Body& body = out.body;
  ExprPool& p = *body.pool;
  size_t rank = conv.x_dims.size();
  body.kind = ComputeKind::kContraction;
  body.dtype = node.output(0)->dtype();
  body.acc_dtype = accumulator_of(body.dtype);
  body.axes = out_dims(node);
  body.reduce_axes = Dims(conv.w_dims.begin() + 1, conv.w_dims.end());
  Expr oc = p.index(1), ic = p.index(static_cast<int>(rank));
  Expr channel = ic;
  if (conv.groups > 1) {
    // At least 1, for the quotient of no channels.
    Dim per_group = max(floor_div(conv.out_channels, conv.groups), 1);
    Expr group = per_group.is_const(1) ? oc : floor_div(oc, p.dim(per_group));
    channel = conv.w_dims[1].is_const(1) ? group : group * p.dim(conv.w_dims[1]) + ic;
  }
  Taps taps = make_taps(p, conv.window, 2, rank + 1);
  std::vector<Expr> x_at = {p.index(0), channel};
  x_at.insert(x_at.end(), taps.at.begin(), taps.at.end());
  std::vector<Expr> w_at = {oc};
  for (Expr e : index_range(p, rank, rank - 1)) w_at.push_back(e);
  out.guard = taps.guard;
  out.x = load_tap(p, node, xi, x_at, taps.guard, taps.guard.valid() ? pad_value(p, node) : Expr{});
  out.w = p.load(wi, node.input(wi)->dtype(), w_at);
  return out;
}

Expr zero_of_x(ExprPool& p, const Node& node) { return p.constant(node.input(0)->dtype(), 0); }

Status infer_conv(InferContext& c) {
  TENON_RETURN_IF_ERROR(infer_conv_like(c, 0, 1, 2, c.dtype(0)));
  if (!c.has(3) || !c.ranked(3) || !c.node().output()->type().is_ranked_tensor()) return {};
  const Dims &out = *c.node().output()->tensor().dims, &added = c.shape(3);  // FusedConv's Z
  if (!std::ranges::equal(out, added, [&](Dim a, Dim b) { return !c.differ(a, b); }))
    return c.fail("Z is {}, the result {}", to_string(c.in(3)), to_string(c.node().output()->type()));
  return {};
}

Result<std::vector<Body>> conv_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(ConvBody made, make_conv_body(node, 0, 1, zero_of_x));
  Body& body = made.body;
  ExprPool& p = *body.pool;
  body.value = p.cast(made.x, body.acc_dtype) * p.cast(made.w, body.acc_dtype);
  Expr result = p.acc(0, body.acc_dtype);
  if (node.has_input(2)) result = result + load_as(p, node, 2, std::vector<Expr>{p.index(1)}, body.acc_dtype);
  if (node.has_input(3)) result = result + load_as(p, node, 3, broadcast_indices(p, dims_of(node, 3), body.axes.size()), body.acc_dtype);
  TENON_ASSIGN_OR_RETURN(result, activation_expr(node.attr_string("activation", ""), node.attr_floats("activation_params"), result));
  body.post = p.cast(result, body.dtype);
  return std::vector<Body>{std::move(body)};
}

// ---- Integer convolutions

/// A zero point or scale: one element, or one an output channel.
Result<Expr> per_channel(ExprPool& p, const Node& node, int input, DType dtype) {
  const Dims& dims = dims_of(node, input);
  if (is_single(dims)) return load_single(p, node, input, dtype);
  if (dims.size() != 1) return error(Code::kInvalidModel, "input {} must be a scalar or a vector", input);
  return load_as(p, node, input, std::vector<Expr>{p.index(1)}, dtype);
}

Status check_per_channel(InferContext& c, int input, int weights) {
  if (!c.has(input) || !c.ranked(input) || !c.ranked(weights) || is_single(c.shape(input))) return {};
  if (c.shape(input).size() != 1) return c.fail("input {} must be a scalar or a vector", input);
  if (c.shape(weights).empty()) return {};
  return require_equal(c, c.shape(input)[0], c.shape(weights)[0], "a zero point or scale and the output channels");
}

Status require_single(InferContext& c, int input) {
  if (!c.has(input) || !c.ranked(input)) return {};
  for (const Dim& d : c.shape(input))
    if (c.differ(d, 1)) return c.fail("input {} must have one element", input);
  return {};
}

Expr x_zero_of_conv_integer(ExprPool& p, const Node& node) {
  return node.has_input(2) ? load_single(p, node, 2, node.input(0)->dtype()) : p.constant_int(node.input(0)->dtype(), 0);
}
Expr x_zero_of_qlinear(ExprPool& p, const Node& node) { return load_single(p, node, 2, node.input(0)->dtype()); }

Status infer_conv_integer(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_single(c, 2));
  TENON_RETURN_IF_ERROR(check_per_channel(c, 3, 1));
  return infer_conv_like(c, 0, 1, -1, DType::kI32);
}

Result<std::vector<Body>> conv_integer_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(ConvBody made, make_conv_body(node, 0, 1, x_zero_of_conv_integer));
  Body& body = made.body;
  ExprPool& p = *body.pool;
  body.acc_dtype = DType::kI32;
  Expr x = p.cast(made.x, DType::kI32), w = p.cast(made.w, DType::kI32);
  if (node.has_input(2)) x = x - load_single(p, node, 2, DType::kI32);
  if (node.has_input(3)) {
    TENON_ASSIGN_OR_RETURN(Expr zero, per_channel(p, node, 3, DType::kI32));
    w = w - zero;
  }
  body.value = x * w;
  return std::vector<Body>{std::move(body)};
}

Status infer_qlinear_conv(InferContext& c) {
  for (int i : {1, 2, 6, 7}) TENON_RETURN_IF_ERROR(require_single(c, i));
  for (int i : {4, 5}) TENON_RETURN_IF_ERROR(check_per_channel(c, i, 3));
  return infer_conv_like(c, 0, 3, 8, c.dtype(7));
}

Result<std::vector<Body>> qlinear_conv_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(ConvBody made, make_conv_body(node, 0, 3, x_zero_of_qlinear));
  Body& body = made.body;
  ExprPool& p = *body.pool;
  body.acc_dtype = DType::kI32;
  TENON_ASSIGN_OR_RETURN(Expr w_zero, per_channel(p, node, 5, DType::kI32));
  TENON_ASSIGN_OR_RETURN(Expr w_scale, per_channel(p, node, 4, DType::kF32));
  body.value = (p.cast(made.x, DType::kI32) - load_single(p, node, 2, DType::kI32)) * (p.cast(made.w, DType::kI32) - w_zero);
  Expr sum = p.acc(0, DType::kI32);
  if (node.has_input(8)) sum = sum + load_as(p, node, 8, std::vector<Expr>{p.index(1)}, DType::kI32);
  Expr factor = load_single(p, node, 1, DType::kF32) * w_scale / load_single(p, node, 6, DType::kF32);
  body.post = quantize_expr(p.cast(sum, DType::kF32) * factor, load_single(p, node, 7, DType::kI32), body.dtype);
  return std::vector<Body>{std::move(body)};
}

// ---- ConvTranspose

struct Deconv {
  Dims x_dims, w_dims, out, pad_begin;
  int64_t groups = 1;
  std::vector<int64_t> stride, dilation;
};

Status plan_deconv_axis(const Node& node, Deconv& d, size_t i, const std::vector<int64_t>& pads,
                        const std::vector<int64_t>& output_padding, const std::vector<int64_t>& output_shape, const std::string& auto_pad) {
  size_t rank = d.stride.size();
  Dim in = d.x_dims[i + 2];
  Dim full = (in - 1) * d.stride[i] + output_padding[i] + (d.w_dims[i + 2] - 1) * d.dilation[i] + 1;
  bool same = auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER";
  Dim out, begin = pads[i];
  if (!output_shape.empty() || same) {
    // ONNX ConvTranspose: total padding follows from the shape that is asked for, split by auto_pad.
    out = output_shape.empty() ? in * d.stride[i] : Dim(output_shape[i]);
    Dim total = max(full - out, 0);
    Dim half = floor_div(total, 2);
    begin = auto_pad == "SAME_UPPER" ? half : total - half;
  } else {
    if (auto_pad == "VALID") begin = 0;
    out = full - begin - (auto_pad == "VALID" ? 0 : pads[rank + i]);
  }
  if (!out.is_valid() || bounds(out).hi < 0)
    return Status(Code::kInvalidModel, fmt::format("output size {} of spatial axis {} is not possible", to_string(out), i), node.name());
  d.out.push_back(out);
  d.pad_begin.push_back(begin);
  return {};
}

Result<Deconv> make_deconv(const Node& node) {
  Deconv d{.x_dims = dims_of(node, 0), .w_dims = dims_of(node, 1)};
  if (d.x_dims.size() < 3 || d.w_dims.size() != d.x_dims.size())
    return error(Code::kInvalidModel, "ConvTranspose needs input and weights of one rank, 3 or more; they have {} and {}",
                 d.x_dims.size(), d.w_dims.size());
  d.groups = node.attr_int("group", 1);
  TENON_RETURN_IF_ERROR(check_groups(d.groups));
  if (differ(node, d.x_dims[1], d.w_dims[0]))
    return error(Code::kInvalidModel, "the input has {} channels, the weights {}", to_string(d.x_dims[1]), to_string(d.w_dims[0]));
  if (differ(node, mod(d.w_dims[0], d.groups), 0))
    return error(Code::kInvalidModel, "{} input channels do not divide into {} groups", to_string(d.w_dims[0]), d.groups);
  TENON_RETURN_IF_ERROR(check_kernel_shape(node, spatial(d.w_dims)));
  size_t rank = d.x_dims.size() - 2;
  std::string auto_pad = node.attr_string("auto_pad", "NOTSET");
  TENON_ASSIGN_OR_RETURN(d.stride, window_ints(node, "strides", rank, 1, 1));
  TENON_ASSIGN_OR_RETURN(d.dilation, window_ints(node, "dilations", rank, 1, 1));
  TENON_ASSIGN_OR_RETURN(std::vector<int64_t> pads, window_ints(node, "pads", 2 * rank, -INT32_MAX, 0));
  TENON_ASSIGN_OR_RETURN(std::vector<int64_t> extra, window_ints(node, "output_padding", rank, 0, 0));
  std::vector<int64_t> shape = node.attr_ints("output_shape");
  if (shape.size() == rank + 2) shape.erase(shape.begin(), shape.begin() + 2);
  if (!shape.empty() && shape.size() != rank)
    return error(Code::kInvalidModel, "attribute output_shape has {} entries where {} are needed", shape.size(), rank);
  d.out = {d.x_dims[0], d.w_dims[1] * d.groups};
  for (size_t i = 0; i < rank; ++i) TENON_RETURN_IF_ERROR(plan_deconv_axis(node, d, i, pads, extra, shape, auto_pad));
  return d;
}

Status infer_conv_transpose(InferContext& c) {
  if (!c.ranked(0) || !c.ranked(1)) {
    c.set(0, unranked(c.dtype(0)));
    return {};
  }
  Result<Deconv> d = make_deconv(c.node());
  if (!d.ok()) return std::move(d).status().at(c.node().name());
  if (c.has(2) && c.ranked(2)) {
    TENON_RETURN_IF_ERROR(require_rank(c, 2, 1));
    TENON_RETURN_IF_ERROR(require_equal(c, c.shape(2)[0], d->out[1], "bias and output channels"));
  }
  c.set(0, tensor_of(c.dtype(0), d->out));
  return {};
}

/// Gather form: out[n, oc, o] sums x[n, ic, t] w[ic, oc, k] over the taps with t * stride = o + pad - k * dilation.
Result<std::vector<Body>> conv_transpose_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(Deconv d, make_deconv(node));
  Body body;
  ExprPool& p = *body.pool;
  size_t rank = d.x_dims.size();
  Dim in_per_group = floor_div(d.w_dims[0], d.groups);
  body.kind = ComputeKind::kContraction;
  body.dtype = node.output(0)->dtype();
  body.acc_dtype = accumulator_of(body.dtype);
  body.axes = out_dims(node);
  body.reduce_axes = {in_per_group};
  body.reduce_axes.insert(body.reduce_axes.end(), d.w_dims.begin() + 2, d.w_dims.end());
  Expr oc = p.index(1), ic = p.index(static_cast<int>(rank)), oc_in_group = oc;
  if (d.groups > 1) {
    Expr group = d.w_dims[1].is_const(1) ? oc : floor_div(oc, p.dim(d.w_dims[1]));
    oc_in_group = d.w_dims[1].is_const(1) ? p.constant_int(DType::kI64, 0) : oc - group * p.dim(d.w_dims[1]);
    ic = in_per_group.is_const(1) ? group : group * p.dim(in_per_group) + ic;
  }
  std::vector<Expr> x_at = {p.index(0), ic}, w_at = {ic, oc_in_group};
  Expr guard;
  for (size_t i = 0; i + 2 < rank; ++i) {
    Expr k = p.index(static_cast<int>(rank + 1 + i));
    w_at.push_back(k);
    Expr scaled = p.index(static_cast<int>(2 + i)) + p.dim(d.pad_begin[i]) - k * static_cast<double>(d.dilation[i]);
    Expr stride = p.constant_int(DType::kI64, d.stride[i]);
    Expr t = d.stride[i] == 1 ? scaled : floor_div(scaled, stride);
    Expr inside = scaled >= 0.0 && t < p.dim(d.x_dims[i + 2]);
    if (d.stride[i] != 1) inside = inside && mod(scaled, stride) == 0.0;
    guard = guard.valid() ? guard && inside : inside;
    x_at.push_back(t);
  }
  Expr x = load_tap(p, node, 0, x_at, guard, p.constant(node.input(0)->dtype(), 0));
  body.value = p.cast(x, body.acc_dtype) * load_as(p, node, 1, w_at, body.acc_dtype);
  if (node.has_input(2))
    body.post = p.cast(p.acc(0, body.acc_dtype) + load_as(p, node, 2, std::vector<Expr>{oc}, body.acc_dtype), body.dtype);
  return std::vector<Body>{std::move(body)};
}

std::vector<AttrDef> conv_attrs(std::vector<AttrDef> more = {}) {
  std::vector<AttrDef> attrs = {{"auto_pad", AttrKind::kString, false, "NOTSET"}, {"dilations", AttrKind::kInts},
                                {"group", AttrKind::kInt, false, "1"},            {"kernel_shape", AttrKind::kInts},
                                {"pads", AttrKind::kInts},                        {"strides", AttrKind::kInts}};
  attrs.insert(attrs.end(), more.begin(), more.end());
  return attrs;
}

}  // namespace

std::vector<OpDef> conv_ops() {
  constexpr DTypeSet kInt32 = dtypes(DType::kI32), kFloat = dtypes(DType::kF32);
  return {
      {.domain = "", .name = "Conv",
       .inputs = {{"X", "T", kFloat16To64}, {"W", "T", kFloat16To64}, {"B", "T", kFloat16To64, true}},
       .outputs = {{"Y", "T", kFloat16To64}},
       .attrs = conv_attrs(),
       .infer = infer_conv, .compute = {.body = conv_body},
       .doc = "Convolution of any spatial rank (ONNX Conv)."},
      {.domain = "com.microsoft", .name = "FusedConv",
       .inputs = {{"X", "T", kFloat16To64}, {"W", "T", kFloat16To64}, {"B", "T", kFloat16To64, true}, {"Z", "T", kFloat16To64, true}},
       .outputs = {{"Y", "T", kFloat16To64}},
       .attrs = conv_attrs({{"activation", AttrKind::kString}, {"activation_params", AttrKind::kFloats}}),
       .infer = infer_conv, .compute = {.body = conv_body},
       .doc = "Conv, plus Z, with an activation (ONNX Runtime contrib ops)."},
      {.domain = "", .name = "ConvTranspose",
       .inputs = {{"X", "T", kFloat16To64}, {"W", "T", kFloat16To64}, {"B", "T", kFloat16To64, true}},
       .outputs = {{"Y", "T", kFloat16To64}},
       .attrs = conv_attrs({{"output_padding", AttrKind::kInts}, {"output_shape", AttrKind::kInts}}),
       .infer = infer_conv_transpose, .compute = {.body = conv_transpose_body},
       .doc = "Transposed convolution (ONNX ConvTranspose)."},
      {.domain = "", .name = "ConvInteger",
       .inputs = {{"x", "T1", kBytes}, {"w", "T2", kBytes}, {"x_zero_point", "T1", kBytes, true}, {"w_zero_point", "T2", kBytes, true}},
       .outputs = {{"y", "T3", kInt32}},
       .attrs = conv_attrs(),
       .infer = infer_conv_integer, .compute = {.body = conv_integer_body},
       .doc = "Convolution of bytes in 32 bits; padding counts as the zero point (ONNX ConvInteger)."},
      {.domain = "", .name = "QLinearConv",
       .inputs = {{"x", "T1", kBytes}, {"x_scale", "TS", kFloat}, {"x_zero_point", "T1", kBytes},
                  {"w", "T2", kBytes}, {"w_scale", "TS", kFloat}, {"w_zero_point", "T2", kBytes},
                  {"y_scale", "TS", kFloat}, {"y_zero_point", "T3", kBytes}, {"B", "T4", kInt32, true}},
       .outputs = {{"y", "T3", kBytes}},
       .attrs = conv_attrs(),
       .infer = infer_qlinear_conv, .compute = {.body = qlinear_conv_body},
       .doc = "Convolution of quantised tensors, requantised (ONNX QLinearConv)."},
  };
}

}  // namespace tenon::ir
