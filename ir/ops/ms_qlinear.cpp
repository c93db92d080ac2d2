#include <algorithm>

#include "ir/ops/body_helpers.h"
#include "ir/ops/contrib.h"
#include "ir/ops/decompose.h"

/// com.microsoft arithmetic on quantised tensors with one scale each. They round as ONNX Runtime's CPU kernels on x86-64
/// do: in f32, half to even; those that say so round after the zero point is added, which decides ties.
namespace tenon::ir {
namespace {

using Values = Result<std::vector<Value*>>;
using Named = std::vector<std::pair<std::string, Attr>>;
constexpr DTypeSet kBytes = dtypes(DType::kI8, DType::kU8);
constexpr DTypeSet kFloat = dtypes(DType::kF32);

Status require_singles(InferContext& c, std::initializer_list<int> inputs) {
  for (int i : inputs) {
    if (!c.has(i) || !c.ranked(i)) continue;
    for (const Dim& d : c.shape(i))
      if (c.differ(d, 1)) return c.fail("input {} must have one element", i);
  }
  return {};
}

// ---- Elementwise

/// Input `i`'s element, and its zero point (input `i`'s own, 0 when absent), as f32.
Expr level(ExprPool& p, const Node& node, int i, std::span<const Expr> at) { return load_as(p, node, i, at, DType::kF32); }
Expr zero_point(ExprPool& p, const Node& node, int i) {
  return node.has_input(i) ? load_single(p, node, i, DType::kF32) : p.constant(DType::kF32, 0);
}
Expr scale_of(ExprPool& p, const Node& node, int i) { return load_single(p, node, i, DType::kF32); }

/// round(value) clamped to the integer type `to`; `value` has its zero point.
Expr saturated(Expr value, DType to) { return quantize_expr(value, {}, to); }

Status infer_qlinear_binary(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_singles(c, {1, 2, 4, 5, 6, 7}));
  if (!c.ranked(0) || !c.ranked(3)) {
    c.set(0, unranked(c.dtype(0)));
    return {};
  }
  std::vector<Dims> shapes = {c.shape(0), c.shape(3)};
  Result<Dims> out = broadcast(shapes);
  if (!out.ok()) return std::move(out).status().at(c.node().name());
  c.set(0, tensor_of(c.dtype(0), *out));
  return {};
}

/// (z + a ra) + b rb, with ra and rb the scales over the result's, and z the result's zero point less what the operands'
/// make: so in MLAS's kernel.
Result<std::vector<Body>> qlinear_add_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kElementwise);
  ExprPool& p = *body.pool;
  Expr a = level(p, node, 0, broadcast_indices(p, dims_of(node, 0), body.axes.size()));
  Expr b = level(p, node, 3, broadcast_indices(p, dims_of(node, 3), body.axes.size()));
  Expr a_ratio = scale_of(p, node, 1) / scale_of(p, node, 6), b_ratio = scale_of(p, node, 4) / scale_of(p, node, 6);
  Expr fixed = zero_point(p, node, 7) - (a_ratio * zero_point(p, node, 2) + b_ratio * zero_point(p, node, 5));
  body.value = saturated(fixed + a * a_ratio + b * b_ratio, body.dtype);
  return one_body(std::move(body));
}

/// The product of the levels is exact; one factor, A_scale B_scale / C_scale, scales it.
Result<std::vector<Body>> qlinear_mul_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kElementwise);
  ExprPool& p = *body.pool;
  Expr a = level(p, node, 0, broadcast_indices(p, dims_of(node, 0), body.axes.size())) - zero_point(p, node, 2);
  Expr b = level(p, node, 3, broadcast_indices(p, dims_of(node, 3), body.axes.size())) - zero_point(p, node, 5);
  Expr factor = scale_of(p, node, 1) * scale_of(p, node, 4) / scale_of(p, node, 6);
  body.value = saturated(a * b * factor + zero_point(p, node, 7), body.dtype);
  return one_body(std::move(body));
}

Status infer_qlinear_unary(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_singles(c, {1, 2, 3, 4}));
  return infer_same(c);
}

Result<std::vector<Body>> qlinear_unary_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kElementwise);
  ExprPool& p = *body.pool;
  Expr x = (level(p, node, 0, index_range(p, 0, body.axes.size())) - zero_point(p, node, 2)) * scale_of(p, node, 1);
  Expr y = node.op().name == "QLinearSigmoid" ? sigmoid(x) : select(x < 0.0, x * node.attr_float("alpha", 0.01), x);
  body.value = quantize_expr(y / scale_of(p, node, 3), zero_point(p, node, 4), body.dtype);
  return one_body(std::move(body));
}

Status infer_qlinear_where(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_singles(c, {2, 3, 5, 6, 7, 8}));
  if (!c.ranked(0) || !c.ranked(1) || !c.ranked(4)) {
    c.set(0, unranked(c.dtype(1)));
    return {};
  }
  std::vector<Dims> shapes = {c.shape(0), c.shape(1), c.shape(4)};
  Result<Dims> out = broadcast(shapes);
  if (!out.ok()) return std::move(out).status().at(c.node().name());
  c.set(0, tensor_of(c.dtype(1), *out));
  return {};
}

Result<std::vector<Body>> qlinear_where_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kElementwise);
  ExprPool& p = *body.pool;
  auto at = [&](int i) { return broadcast_indices(p, dims_of(node, i), body.axes.size()); };
  auto requantised = [&](int i) {
    Expr real = (level(p, node, i, at(i)) - zero_point(p, node, i + 2)) * scale_of(p, node, i + 1);
    return quantize_expr(real / scale_of(p, node, 7), zero_point(p, node, 8), body.dtype);
  };
  body.value = select(p.load(0, DType::kBool, at(0)), requantised(1), requantised(4));
  return one_body(std::move(body));
}

// ---- Steps of the others

/// round(x) in the type's range, as `to`.
Value* saturated(Steps& s, Value* x, DType to) {
  const IntRange range = int_range(to);
  Builder& b = s.builder();
  Value* clipped = b.make("Clip", {s.unary("Round", x), b.scalar(DType::kF32, static_cast<double>(range.lo)), b.scalar(DType::kF32, static_cast<double>(range.hi))});
  return s.cast(clipped, to);
}

/// A scalar or [1] input as f32 of rank 0; 0 when absent.
Value* scalar(Steps& s, int i) {
  return s.in(i) == nullptr ? s.builder().scalar(DType::kF32, 0) : s.cast(s.reshape(s.in(i), {}), DType::kF32);
}

Value* dequantize(Steps& s, int i) { return s.builder().make("DequantizeLinear", {s.in(i), s.in(i + 1), s.in(i + 2)}); }

Value* quantize(Steps& s, Value* real, int scale) {
  if (s.in(scale + 1) != nullptr) return s.builder().make("QuantizeLinear", {real, s.in(scale), s.in(scale + 1)});
  return s.builder().make("QuantizeLinear", {real, s.in(scale)}, {{"output_dtype", onnx_code(s.in(0)->dtype())}});
}

/// Permutations that move the channels of channels_last tensors to axis 1, and back; empty for others.
struct Layout {
  std::vector<int64_t> to_first, to_last;
};
Layout layout_of(const Node& node) {
  const int64_t rank = static_cast<int64_t>(dims_of(node, 0).size());
  Layout out;
  if (node.attr_int("channels_last", 0) == 0 || rank <= 2) return out;
  out.to_first = {0, rank - 1}, out.to_last = {0};
  for (int64_t i = 1; i + 1 < rank; ++i) out.to_first.push_back(i), out.to_last.push_back(i + 1);
  out.to_last.push_back(1);
  return out;
}

Named copied_attrs(const Node& node, std::span<const std::string_view> names) {
  Named out;
  for (std::string_view name : names)
    if (const Attr* attr = node.attrs().find(name)) out.emplace_back(name, *attr);
  return out;
}

/// Shape of the float op's output, found by running its inference on a scratch graph. Inputs x, x_scale, x_zero_point,
/// y_scale, y_zero_point.
Status infer_through_floats(InferContext& c, std::string_view op, Named attrs) {
  TENON_RETURN_IF_ERROR(require_singles(c, {1, 2, 3, 4}));
  if (!c.ranked(0)) {
    c.set(0, unranked(c.dtype(0)));
    return {};
  }
  Dims dims = c.shape(0);
  const bool last = c.node().attr_int("channels_last", 0) != 0 && dims.size() > 2;
  if (last) std::rotate(dims.begin() + 1, dims.end() - 1, dims.end());
  Graph scratch(c.node().graph()->shared_dims());
  Builder b(scratch);
  std::vector<Value*> inputs = {scratch.add_input("x", tensor_of(DType::kF32, dims))};
  std::vector<Value*> y = b.make_n(op, inputs, 1, std::move(attrs));
  if (!b.status().ok()) return Status(b.status()).at(c.node().name());
  Dims out = *y[0]->tensor().dims;
  if (last) std::rotate(out.begin() + 1, out.begin() + 2, out.end());
  c.set(0, tensor_of(c.dtype(0), std::move(out)));
  return {};
}

// ---- Pools

constexpr std::string_view kPoolAttrs[] = {"auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"};

Status infer_average_pool(InferContext& c) { return infer_through_floats(c, "AveragePool", copied_attrs(c.node(), kPoolAttrs)); }

/// A last window that ceil_mode adds counts, with count_include_pad, all its places in ONNX Runtime's quantised pool, where
/// AveragePool counts no place behind the padding. It is a whole window once the padding is `stride - 1` longer.
Named window_attrs(const Node& node) {
  Named attrs = copied_attrs(node, kPoolAttrs);
  const std::string pad = node.attr_string("auto_pad", "NOTSET");
  if (node.attr_int("ceil_mode", 0) == 0 || node.attr_int("count_include_pad", 0) == 0 || pad != "NOTSET") return attrs;
  const size_t axes = node.attr_ints("kernel_shape").size();
  std::vector<int64_t> pads = node.attr_ints("pads"), strides = node.attr_ints("strides");
  pads.resize(2 * axes, 0), strides.resize(axes, 1);
  for (size_t i = 0; i < axes; ++i) pads[axes + i] += strides[i] - 1;
  std::erase_if(attrs, [](const auto& attr) { return attr.first == "ceil_mode" || attr.first == "pads"; });
  attrs.emplace_back("pads", std::move(pads));
  return attrs;
}

/// The mean of the dequantised elements; its rounding comes after the zero point.
Values decompose_average_pool(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  const Layout layout = layout_of(node);
  Value* x = dequantize(s, 0);
  if (!layout.to_first.empty()) x = s.transpose(x, layout.to_first);
  TENON_RETURN_IF_ERROR(b.status());
  std::vector<Value*> inputs = {x};
  std::vector<Value*> y = b.make_n("AveragePool", inputs, 1, window_attrs(node));
  TENON_RETURN_IF_ERROR(b.status());
  Value* out = saturated(s, s.add(s.div(y[0], scalar(s, 3)), scalar(s, 4)), node.output(0)->dtype());
  // A window that begins behind the padding is none.
  const Dims wanted = *node.output(0)->tensor().dims;
  const int64_t first = layout.to_last.empty() ? 2 : 1;
  for (size_t i = 2; i < wanted.size(); ++i) {
    const Dim size = wanted[i - 2 + static_cast<size_t>(first)];
    if (out != nullptr && out->tensor().dim(static_cast<int64_t>(i)) != size) out = s.slice(out, static_cast<int64_t>(i), 0, size);
  }
  return s.done({layout.to_last.empty() ? out : s.transpose(out, layout.to_last)});
}

Status infer_global_pool(InferContext& c) { return infer_through_floats(c, "GlobalAveragePool", {}); }

/// The sum of the levels is exact; one factor, X_scale / (Y_scale count), scales it.
Values decompose_global_pool(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  const Dims d = dims_of(node, 0);
  const int64_t rank = static_cast<int64_t>(d.size());
  const bool last = node.attr_int("channels_last", 0) != 0 && rank > 2;
  std::vector<int64_t> axes;
  Dim count = 1;
  for (int64_t i = last ? 1 : 2; i < (last ? rank - 1 : rank); ++i) {
    axes.push_back(i);
    count = count * d[static_cast<size_t>(i)];
  }
  Value* levels = s.cast(s.in(0), DType::kI32);
  if (s.in(2) != nullptr) levels = s.sub(levels, s.cast(s.reshape(s.in(2), {}), DType::kI32));
  Value* sum = axes.empty() ? levels : s.reduce("ReduceSum", levels, axes);
  Value* factor = s.div(scalar(s, 1), s.mul(scalar(s, 3), s.cast(s.dim_scalar(count), DType::kF32)));
  Value* y = s.unary("Round", s.mul(s.cast(sum, DType::kF32), factor));
  return s.done({saturated(s, s.add(y, scalar(s, 4)), node.output(0)->dtype())});
}

// ---- Softmax

Status infer_softmax(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_singles(c, {1, 2, 3, 4}));
  if (c.ranked(0)) {
    Result<int64_t> axis = normalize_axis(c.node().attr_int("axis", -1), c.in(0).tensor().rank());
    if (!axis.ok()) return std::move(axis).status().at(c.node().name());
  }
  return infer_same(c);
}

/// Exponentials of whole levels below the largest, times floor(1 / Y_scale) over their sum. Before opset 13 (attribute
/// `opset`) over all axes from `axis` on.
Values decompose_softmax(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  const Dims dims = dims_of(node, 0);
  TENON_ASSIGN_OR_RETURN(int64_t axis, normalize_axis(node.attr_int("axis", -1), static_cast<int64_t>(dims.size())));
  Value* x = s.cast(s.in(0), DType::kI32);
  if (node.attr_int("opset", 13) < 13) {
    const std::span<const Dim> all(dims);
    x = s.reshape(x, {product(all.first(static_cast<size_t>(axis))), product(all.subspan(static_cast<size_t>(axis)))});
    axis = 1;
  }
  const std::vector<int64_t> axes = {axis};
  Value* below = s.cast(s.sub(x, s.reduce("ReduceMax", x, axes)), DType::kF32);
  Value* e = s.unary("Exp", s.mul(below, scalar(s, 1)));
  Value* steps = s.unary("Floor", s.unary("Reciprocal", scalar(s, 3)));
  Value* share = s.unary("Round", s.div(s.mul(e, steps), s.reduce("ReduceSum", e, axes)));
  return s.done({s.reshape(saturated(s, s.add(share, scalar(s, 4)), node.output(0)->dtype()), dims)});
}

// ---- ReduceMean, Concat

Result<std::vector<int64_t>> mean_axes(const Node& node, int64_t rank) {
  std::vector<int64_t> axes = node.attr_ints("axes");
  if (axes.empty()) axes = axes_from(0, rank);
  for (int64_t& axis : axes) {
    TENON_ASSIGN_OR_RETURN(axis, normalize_axis(axis, rank, "axes"));
  }
  return axes;
}

Status infer_reduce_mean(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_singles(c, {1, 2, 3, 4}));
  if (!c.ranked(0)) {
    c.set(0, unranked(c.dtype(0)));
    return {};
  }
  Result<std::vector<int64_t>> axes = mean_axes(c.node(), c.in(0).tensor().rank());
  if (!axes.ok()) return std::move(axes).status().at(c.node().name());
  Dims out;
  for (size_t i = 0; i < c.shape(0).size(); ++i) {
    const bool reduced = std::find(axes->begin(), axes->end(), static_cast<int64_t>(i)) != axes->end();
    if (!reduced) out.push_back(c.shape(0)[i]);
    else if (c.node().attr_int("keepdims", 1) != 0) out.push_back(1);
  }
  c.set(0, tensor_of(c.dtype(0), std::move(out)));
  return {};
}

Values decompose_reduce_mean(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  TENON_ASSIGN_OR_RETURN(std::vector<int64_t> axes, mean_axes(node, static_cast<int64_t>(dims_of(node, 0).size())));
  return s.done({quantize(s, s.reduce("ReduceMean", dequantize(s, 0), axes, node.attr_int("keepdims", 1) != 0), 3)});
}

Status infer_qlinear_concat(InferContext& c) {
  int n = c.node().num_inputs();
  if (n < 5 || (n - 2) % 3 != 0) return c.fail("has {} inputs; it takes 2 and then 3 a tensor", n);
  Dims out;
  for (int i = 2; i < n; i += 3) {
    if (!c.has(i)) return c.fail("input {} is missing", i);
    if (!c.ranked(i)) {
      c.set(0, unranked(c.dtype(1)));
      return {};
    }
    if (c.shape(i).empty() || (i > 2 && c.shape(i).size() != out.size())) return c.fail("input {} has another rank than the first", i);
    Result<int64_t> axis = normalize_axis(c.node().attr_int("axis", 0), static_cast<int64_t>(c.shape(i).size()));
    if (!axis.ok()) return std::move(axis).status().at(c.node().name());
    if (i == 2) {
      out = c.shape(i);
      continue;
    }
    for (size_t a = 0; a < out.size(); ++a) {
      if (static_cast<int64_t>(a) == *axis) out[a] = out[a] + c.shape(i)[a];
      else TENON_RETURN_IF_ERROR(require_equal(c, out[a], c.shape(i)[a], "sizes beside the axis"));
    }
  }
  c.set(0, tensor_of(c.dtype(1), std::move(out)));
  return {};
}

Result<std::vector<Value*>> decompose_qlinear_concat(Node& node, Builder& b) {
  Steps s(node, b);
  std::vector<Value*> parts;
  for (int i = 2; i < node.num_inputs(); i += 3) parts.push_back(dequantize(s, i));
  TENON_RETURN_IF_ERROR(b.status());
  std::vector<Value*> joined = b.make_n("Concat", parts, 1, {{"axis", node.attr_int("axis", 0)}});
  TENON_RETURN_IF_ERROR(b.status());
  return s.done({b.make("QuantizeLinear", {joined[0], s.in(0), s.in(1)})});
}

std::vector<Param> qlinear_unary_inputs() {
  return {{"X", "T", kBytes}, {"X_scale", "F", kFloat}, {"X_zero_point", "T", kBytes, true},
          {"Y_scale", "F", kFloat}, {"Y_zero_point", "T", kBytes, true}};
}

OpDef qlinear_binary(std::string_view name, BodyFn body, std::string_view doc) {
  return {.domain = "com.microsoft", .name = name,
          .inputs = {{"A", "T", kBytes}, {"A_scale", "F", kFloat}, {"A_zero_point", "T", kBytes, true},
                     {"B", "T", kBytes}, {"B_scale", "F", kFloat}, {"B_zero_point", "T", kBytes, true},
                     {"C_scale", "F", kFloat}, {"C_zero_point", "T", kBytes, true}},
          .outputs = {{"C", "T", kBytes}},
          .infer = infer_qlinear_binary, .compute = {.body = body}, .doc = doc};
}

}  // namespace

std::vector<OpDef> ms_qlinear_ops() {
  return {
      qlinear_binary("QLinearAdd", qlinear_add_body, "Quantised A + B (ONNX Runtime contrib ops)."),
      qlinear_binary("QLinearMul", qlinear_mul_body, "Quantised A * B (ONNX Runtime contrib ops)."),
      {.domain = "com.microsoft", .name = "QLinearSigmoid", .inputs = qlinear_unary_inputs(), .outputs = {{"Y", "T", kBytes}},
       .infer = infer_qlinear_unary, .compute = {.body = qlinear_unary_body},
       .doc = "Quantised sigmoid (ONNX Runtime contrib ops)."},
      {.domain = "com.microsoft", .name = "QLinearLeakyRelu", .inputs = qlinear_unary_inputs(), .outputs = {{"Y", "T", kBytes}},
       .attrs = {{"alpha", AttrKind::kFloat, false, "0.01"}},
       .infer = infer_qlinear_unary, .compute = {.body = qlinear_unary_body},
       .doc = "Quantised LeakyRelu (ONNX Runtime contrib ops)."},
      {.domain = "com.microsoft", .name = "QLinearSoftmax", .inputs = qlinear_unary_inputs(), .outputs = {{"Y", "T", kBytes}},
       .attrs = {{"axis", AttrKind::kInt, false, "-1"}, {"opset", AttrKind::kInt, false, "13"}},
       .infer = infer_softmax, .compute = {.decompose = decompose_softmax},
       .doc = "Quantised Softmax; `opset` chooses its meaning (ONNX Runtime contrib ops)."},
      {.domain = "com.microsoft", .name = "QLinearAveragePool", .inputs = qlinear_unary_inputs(), .outputs = {{"Y", "T", kBytes}},
       .attrs = {{"auto_pad", AttrKind::kString, false, "NOTSET"}, {"ceil_mode", AttrKind::kInt, false, "0"},
                 {"channels_last", AttrKind::kInt, false, "0"}, {"count_include_pad", AttrKind::kInt, false, "0"},
                 {"kernel_shape", AttrKind::kInts, true}, {"pads", AttrKind::kInts}, {"strides", AttrKind::kInts}},
       .infer = infer_average_pool, .compute = {.decompose = decompose_average_pool},
       .doc = "Quantised AveragePool (ONNX Runtime contrib ops)."},
      {.domain = "com.microsoft", .name = "QLinearGlobalAveragePool", .inputs = qlinear_unary_inputs(), .outputs = {{"Y", "T", kBytes}},
       .attrs = {{"channels_last", AttrKind::kInt, false, "0"}},
       .infer = infer_global_pool, .compute = {.decompose = decompose_global_pool},
       .doc = "Quantised GlobalAveragePool (ONNX Runtime contrib ops)."},
      {.domain = "com.microsoft", .name = "QLinearConcat",
       .inputs = {{"Y_scale", "F", kFloat}, {"Y_zero_point", "T", kBytes}, {.name = "inputs", .var = "", .types = kAnyTensor, .variadic = true}},
       .outputs = {{"Y", "T", kBytes}},
       .attrs = {{"axis", AttrKind::kInt, true}},
       .infer = infer_qlinear_concat, .compute = {.decompose = decompose_qlinear_concat},
       .doc = "Concat of quantised tensors, each with its scale and zero point (ONNX Runtime contrib ops)."},
      {.domain = "com.microsoft",
       .name = "QLinearReduceMean",
       .inputs = {{"data", "T", kBytes}, {"data_scale", "F", kFloat}, {"data_zero_point", "T", kBytes, true}, {"reduced_scale", "F", kFloat}, {"reduced_zero_point", "T", kBytes, true}},
       .outputs = {{"reduced", "T", kBytes}},
       .attrs = {{"axes", AttrKind::kInts}, {"keepdims", AttrKind::kInt, false, "1"}},
       .infer = infer_reduce_mean,
       .compute = {.decompose = decompose_reduce_mean},
       .doc = "Quantised ReduceMean (ONNX Runtime contrib ops)."},
      {.domain = "com.microsoft",
       .name = "QLinearWhere",
       .inputs = {{"condition", "B", dtypes(DType::kBool)}, {"X", "T", kBytes}, {"x_scale", "F", kFloat}, {"x_zero_point", "T", kBytes},
                  {"Y", "T", kBytes}, {"y_scale", "F", kFloat}, {"y_zero_point", "T", kBytes}, {"z_scale", "F", kFloat}, {"z_zero_point", "T", kBytes}},
       .outputs = {{"Z", "T", kBytes}},
       .infer = infer_qlinear_where,
       .compute = {.body = qlinear_where_body},
       .doc = "Where of quantised tensors, each with its scale and zero point (ONNX Runtime contrib ops)."},
  };
}

}  // namespace tenon::ir
