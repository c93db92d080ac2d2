#include <algorithm>
#include <limits>

#include "ir/ops/body_helpers.h"
#include "ir/ops/decompose.h"
#include "ir/ops/families.h"

namespace tenon::ir {
namespace {

constexpr DTypeSet kQuantized = kFloat8 | dtypes(DType::kI8, DType::kU8, DType::kI16, DType::kU16, DType::kI4, DType::kU4,
                                                 DType::kI2, DType::kU2, DType::kF4E2M1);
constexpr DTypeSet kScaleTypes = dtypes(DType::kF32, DType::kF16, DType::kBF16, DType::kF8E8M0, DType::kI32, DType::kF64);
constexpr DTypeSet kBytes = dtypes(DType::kI8, DType::kU8);

/// How scale and zero point spread over the data.
struct Grid {
  enum Kind { kTensor, kAxis, kBlocks } kind = kTensor;
  size_t axis = 0;
  int64_t block = 0;
};

Result<Grid> make_grid(const Node& node) {
  const Dims &x = dims_of(node, 0), &scale = dims_of(node, 1);
  Grid g;
  g.block = node.attr_int("block_size", 0);
  if (g.block < 0) return error(Code::kInvalidModel, "attribute block_size is {}; it must not be negative", g.block);
  if (g.block == 0 && is_single(scale)) return g;
  if (x.empty()) return error(Code::kInvalidModel, "a scalar takes one scale");
  TENON_ASSIGN_OR_RETURN(int64_t axis, normalize_axis(node.attr_int("axis", 1), static_cast<int64_t>(x.size())));
  g.axis = static_cast<size_t>(axis);
  if (g.block == 0) {
    g.kind = Grid::kAxis;
    if (scale.size() != 1) return error(Code::kInvalidModel, "the scale has rank {} where 1 is needed", scale.size());
    if (known_ne(scale[0], x[g.axis]))
      return error(Code::kInvalidModel, "the scale has {} elements where axis {} has {}", to_string(scale[0]), axis, to_string(x[g.axis]));
    return g;
  }
  g.kind = Grid::kBlocks;
  if (scale.size() != x.size()) return error(Code::kInvalidModel, "blocked scales have rank {} where {} is needed", scale.size(), x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    Dim want = i == g.axis ? ceil_div(x[i], g.block) : x[i];
    if (known_ne(scale[i], want))
      return error(Code::kInvalidModel, "the scale has {} elements on axis {} where {} are needed", to_string(scale[i]), i, to_string(want));
  }
  return g;
}

std::vector<Expr> grid_indices(ExprPool& p, const Grid& g, size_t rank, size_t scale_rank) {
  if (g.kind == Grid::kTensor) return std::vector<Expr>(scale_rank, p.constant_int(DType::kI64, 0));
  if (g.kind == Grid::kAxis) return {p.index(static_cast<int>(g.axis))};
  std::vector<Expr> at = index_range(p, 0, rank);
  at[g.axis] = floor_div(at[g.axis], p.constant_int(DType::kI64, g.block));
  return at;
}

Status check_grid(InferContext& c) {
  if (!c.ranked(0) || !c.ranked(1)) return {};
  Result<Grid> g = make_grid(c.node());
  if (!g.ok()) return std::move(g).status().at(c.node().name());
  if (c.has(2) && c.ranked(2)) {
    bool same = c.shape(2).size() == c.shape(1).size() || (is_single(c.shape(1)) && is_single(c.shape(2)));
    for (size_t i = 0; same && i < c.shape(1).size() && i < c.shape(2).size(); ++i) same = !known_ne(c.shape(1)[i], c.shape(2)[i]);
    if (!same) return c.fail("scale and zero point have different shapes");
  }
  return {};
}

Result<DType> dtype_attr(const InferContext& c, std::string_view name, DType fallback) {
  int64_t code = c.node().attr_int(name, 0);
  if (code == 0) return fallback;
  std::optional<DType> dtype = code > 0 && code < 100 ? dtype_from_onnx(static_cast<int>(code)) : std::nullopt;
  if (!dtype) return c.fail("attribute {} is {}, which is no element type", name, code);
  return *dtype;
}

Status infer_quantize(InferContext& c) {
  TENON_RETURN_IF_ERROR(check_grid(c));
  TENON_ASSIGN_OR_RETURN(DType out, dtype_attr(c, "output_dtype", c.has(2) ? c.dtype(2) : DType::kU8));
  if (c.has(2) && c.dtype(2) != out) return c.fail("output_dtype and the zero point's type differ");
  if ((kQuantized & dtype_bit(out)) == 0) return c.fail("cannot quantise to {}", name(out));
  c.set(0, c.ranked(0) ? tensor_of(out, c.shape(0)) : unranked(out));
  return {};
}

/// Conversion to float8 without saturation: what lies beyond the largest number becomes NaN, or infinity where there is
/// one (ONNX Cast, float8 table).
Expr unsaturated(Expr v, DType to) {
  ExprPool& p = *v.pool;
  double limit = to == DType::kF8E4M3FN ? 464 : to == DType::kF8E4M3FNUZ ? 248 : 61440;
  Expr beyond = abs(v) >= limit;
  if (to == DType::kF8E4M3FN) beyond = abs(v) > limit;
  return select(beyond, p.constant(v.dtype(), std::numeric_limits<double>::quiet_NaN()), v);
}

Result<std::vector<Body>> quantize_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(Grid g, make_grid(node));
  Body body;
  ExprPool& p = *body.pool;
  size_t rank = out_dims(node).size();
  body.kind = ComputeKind::kElementwise;
  body.dtype = node.output(0)->dtype();
  body.axes = out_dims(node);
  Expr x = load_as(p, node, 0, index_range(p, 0, rank), DType::kF32);
  Expr scale = load_as(p, node, 1, grid_indices(p, g, rank, dims_of(node, 1).size()), DType::kF32);
  Expr zero;
  if (node.has_input(2)) zero = p.load(2, node.input(2)->dtype(), grid_indices(p, g, rank, dims_of(node, 2).size()));
  Expr real = x / scale;
  bool f8 = (kFloat8 & dtype_bit(body.dtype)) != 0;
  if (f8 && node.attr_int("saturate", 1) == 0 && body.dtype != DType::kF8E5M2 && body.dtype != DType::kF8E5M2FNUZ)
    real = unsaturated(real, body.dtype);
  body.value = quantize_expr(real, zero, body.dtype);
  return std::vector<Body>{std::move(body)};
}

Status infer_dequantize(InferContext& c) {
  TENON_RETURN_IF_ERROR(check_grid(c));
  TENON_ASSIGN_OR_RETURN(DType out, dtype_attr(c, "output_dtype", c.dtype(1)));
  if (!is_float(out)) return c.fail("output_dtype {} is no floating-point type", name(out));
  c.set(0, c.ranked(0) ? tensor_of(out, c.shape(0)) : unranked(out));
  return {};
}

Result<std::vector<Body>> dequantize_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(Grid g, make_grid(node));
  Body body;
  ExprPool& p = *body.pool;
  size_t rank = out_dims(node).size();
  body.kind = ComputeKind::kElementwise;
  body.dtype = node.output(0)->dtype();
  body.axes = out_dims(node);
  DType wide = is_int(node.input(0)->dtype()) ? DType::kI32 : DType::kF32;
  Expr x = load_as(p, node, 0, index_range(p, 0, rank), wide);
  if (node.has_input(2)) x = x - load_as(p, node, 2, grid_indices(p, g, rank, dims_of(node, 2).size()), wide);
  Expr scale = load_as(p, node, 1, grid_indices(p, g, rank, dims_of(node, 1).size()), DType::kF32);
  body.value = p.cast(p.cast(x, DType::kF32) * scale, body.dtype);
  return std::vector<Body>{std::move(body)};
}

Status infer_dynamic_quantize(InferContext& c) {
  c.set(0, c.ranked(0) ? tensor_of(DType::kU8, c.shape(0)) : unranked(DType::kU8));
  c.set(1, tensor_of(DType::kF32, {}));
  c.set(2, tensor_of(DType::kU8, {}));
  return {};
}

/// The range, widened to hold 0, over 255 steps (ONNX DynamicQuantizeLinear). A range of one point has scale 1.
Result<std::vector<Value*>> decompose_dynamic_quantize(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  std::vector<int64_t> all = axes_from(0, static_cast<int64_t>(dims_of(node, 0).size()));
  Value* zero = b.scalar(DType::kF32, 0);
  Value* hi = b.make("Max", {s.reduce("ReduceMax", s.in(0), all, false), zero});
  Value* lo = b.make("Min", {s.reduce("ReduceMin", s.in(0), all, false), zero});
  Value* step = s.div(s.sub(hi, lo), 255);
  Value* scale = b.make("Where", {b.make("Equal", {step, zero}), s.like(step, 1), step});
  Value* exact = s.unary("Round", s.sub(zero, s.div(lo, scale)));
  Value* clipped = b.make("Clip", {exact, zero, b.scalar(DType::kF32, 255)});
  Value* point = s.cast(clipped, DType::kU8);
  return s.done({b.make("QuantizeLinear", {s.in(0), scale, point}), scale, point});
}

// ---- com.microsoft: arithmetic on quantised tensors with one scale each

/// Element less zero point: inputs i (data) and i + 2 (zero point, optional).
Expr levels(ExprPool& p, const Node& node, int i, std::span<const Expr> at) {
  Expr x = load_as(p, node, i, at, DType::kI32);
  return node.has_input(i + 2) ? x - load_single(p, node, i + 2, DType::kI32) : x;
}

/// A quantised tensor as f32: inputs i (data), i + 1 (scale), i + 2 (zero point, optional).
Expr dequantized(ExprPool& p, const Node& node, int i, std::span<const Expr> at) {
  return p.cast(levels(p, node, i, at), DType::kF32) * load_single(p, node, i + 1, DType::kF32);
}

Expr requantized(ExprPool& p, const Node& node, Expr real, int scale, DType to) {
  Expr zero;
  if (node.has_input(scale + 1)) zero = load_single(p, node, scale + 1, DType::kI32);
  return quantize_expr(real / load_single(p, node, scale, DType::kF32), zero, to);
}

Status require_singles(InferContext& c, std::initializer_list<int> inputs) {
  for (int i : inputs) {
    if (!c.has(i) || !c.ranked(i)) continue;
    for (const Dim& d : c.shape(i))
      if (known_ne(d, 1)) return c.fail("input {} must have one element", i);
  }
  return {};
}

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

Result<std::vector<Body>> qlinear_add_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kElementwise);
  ExprPool& p = *body.pool;
  Expr a = dequantized(p, node, 0, broadcast_indices(p, dims_of(node, 0), body.axes.size()));
  Expr b = dequantized(p, node, 3, broadcast_indices(p, dims_of(node, 3), body.axes.size()));
  body.value = requantized(p, node, a + b, 6, body.dtype);
  return std::vector<Body>{std::move(body)};
}

/// The product of the levels is exact; one factor, A_scale B_scale / C_scale, scales it, as the specification has it.
Result<std::vector<Body>> qlinear_mul_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kElementwise);
  ExprPool& p = *body.pool;
  Expr product = levels(p, node, 0, broadcast_indices(p, dims_of(node, 0), body.axes.size())) *
                 levels(p, node, 3, broadcast_indices(p, dims_of(node, 3), body.axes.size()));
  Expr factor = load_single(p, node, 1, DType::kF32) * load_single(p, node, 4, DType::kF32) / load_single(p, node, 6, DType::kF32);
  Expr zero;
  if (node.has_input(7)) zero = load_single(p, node, 7, DType::kI32);
  body.value = quantize_expr(p.cast(product, DType::kF32) * factor, zero, body.dtype);
  return std::vector<Body>{std::move(body)};
}

Status infer_qlinear_unary(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_singles(c, {1, 2, 3, 4}));
  return infer_same(c);
}

Result<std::vector<Body>> qlinear_unary_body(const Node& node) {
  Body body;
  ExprPool& p = *body.pool;
  body.dtype = node.output(0)->dtype();
  body.axes = out_dims(node);
  Expr x = dequantized(p, node, 0, index_range(p, 0, body.axes.size()));
  Expr y = node.op().name == "QLinearSigmoid" ? sigmoid(x)
                                              : select(x < 0.0, x * node.attr_float("alpha", 0.01), x);
  body.value = requantized(p, node, y, 3, body.dtype);
  return std::vector<Body>{std::move(body)};
}

Value* dequantize(Steps& s, int i) {
  return s.builder().make("DequantizeLinear", {s.in(i), s.in(i + 1), s.in(i + 2)});
}

Value* quantize(Steps& s, Value* real, int scale) {
  if (s.in(scale + 1) != nullptr) return s.builder().make("QuantizeLinear", {real, s.in(scale), s.in(scale + 1)});
  return s.builder().make("QuantizeLinear", {real, s.in(scale)}, {{"output_dtype", onnx_code(s.in(0)->dtype())}});
}

std::vector<std::pair<std::string, Attr>> copied_attrs(const Node& node, std::span<const std::string_view> names) {
  std::vector<std::pair<std::string, Attr>> out;
  for (std::string_view name : names)
    if (const Attr* attr = node.attrs().find(name)) out.emplace_back(name, *attr);
  return out;
}

/// Inputs x, x_scale, x_zero, y_scale, y_zero: the float op between dequantisation and quantisation. channels_last moves
/// the channels to axis 1 around it.
Result<std::vector<Value*>> through_floats(Node& node, Builder& b, std::string_view op,
                                           std::vector<std::pair<std::string, Attr>> attrs) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  Value* x = dequantize(s, 0);
  int64_t rank = static_cast<int64_t>(dims_of(node, 0).size());
  bool last = node.attr_int("channels_last", 0) != 0 && rank > 2;
  std::vector<int64_t> to_first = {0, rank - 1}, to_last = {0};
  for (int64_t i = 1; i + 1 < rank; ++i) to_first.push_back(i), to_last.push_back(i + 1);
  to_last.push_back(1);
  if (last) x = s.transpose(x, to_first);
  TENON_RETURN_IF_ERROR(b.status());
  std::vector<Value*> inputs = {x};
  std::vector<Value*> y = b.make_n(op, inputs, 1, std::move(attrs));
  TENON_RETURN_IF_ERROR(b.status());
  return s.done({quantize(s, last ? s.transpose(y[0], to_last) : y[0], 3)});
}

/// Shape of the float op's output, found by running its inference on a scratch graph.
Status infer_through_floats(InferContext& c, std::string_view op, std::vector<std::pair<std::string, Attr>> attrs) {
  TENON_RETURN_IF_ERROR(require_singles(c, {1, 2, 3, 4}));
  if (!c.ranked(0)) {
    c.set(0, unranked(c.dtype(0)));
    return {};
  }
  Dims dims = c.shape(0);
  bool last = c.node().attr_int("channels_last", 0) != 0 && dims.size() > 2;
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

constexpr std::string_view kPoolAttrs[] = {"auto_pad", "ceil_mode", "count_include_pad", "kernel_shape",
                                                                "pads", "strides"};
Status infer_qlinear_average_pool(InferContext& c) {
  return infer_through_floats(c, "AveragePool", copied_attrs(c.node(), kPoolAttrs));
}
Result<std::vector<Value*>> decompose_qlinear_average_pool(Node& node, Builder& b) {
  return through_floats(node, b, "AveragePool", copied_attrs(node, kPoolAttrs));
}
Status infer_qlinear_global_pool(InferContext& c) { return infer_through_floats(c, "GlobalAveragePool", {}); }
Result<std::vector<Value*>> decompose_qlinear_global_pool(Node& node, Builder& b) {
  return through_floats(node, b, "GlobalAveragePool", {});
}
Result<std::vector<Value*>> decompose_qlinear_softmax(Node& node, Builder& b) {
  int64_t axis = node.attr_int("axis", -1);
  if (node.attr_int("opset", 13) >= 13) return through_floats(node, b, "Softmax", {{"axis", axis}});
  // Before opset 13, Softmax ran over all axes from `axis` on.
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  const Dims dims = dims_of(node, 0);
  int64_t rank = static_cast<int64_t>(dims.size());
  TENON_ASSIGN_OR_RETURN(axis, normalize_axis(axis, rank));
  Dims flat = {product(std::span<const Dim>(dims).first(static_cast<size_t>(axis))),
               product(std::span<const Dim>(dims).subspan(static_cast<size_t>(axis)))};
  return s.done({quantize(s, s.reshape(s.softmax(s.reshape(dequantize(s, 0), flat), 1), dims), 3)});
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
  constexpr DTypeSet kFloat = dtypes(DType::kF32);
  return {{"X", "T", kBytes}, {"X_scale", "F", kFloat}, {"X_zero_point", "T", kBytes, true},
          {"Y_scale", "F", kFloat}, {"Y_zero_point", "T", kBytes, true}};
}

OpDef qlinear_binary(std::string_view name, BodyFn body, std::string_view doc) {
  constexpr DTypeSet kFloat = dtypes(DType::kF32);
  return {.domain = "com.microsoft", .name = name,
          .inputs = {{"A", "T", kBytes}, {"A_scale", "F", kFloat}, {"A_zero_point", "T", kBytes, true},
                     {"B", "T", kBytes}, {"B_scale", "F", kFloat}, {"B_zero_point", "T", kBytes, true},
                     {"C_scale", "F", kFloat}, {"C_zero_point", "T", kBytes, true}},
          .outputs = {{"C", "T", kBytes}},
          .infer = infer_qlinear_binary, .compute = {.body = body}, .doc = doc};
}

}  // namespace

std::vector<OpDef> quantize_ops() {
  constexpr DTypeSet kReal = kFloat16To64 | dtypes(DType::kI32);
  constexpr DTypeSet kFloat = dtypes(DType::kF32), kByte = dtypes(DType::kU8);
  return {
      {.domain = "", .name = "QuantizeLinear",
       .inputs = {{"x", "T1", kReal}, {"y_scale", "T2", kScaleTypes}, {"y_zero_point", "T3", kQuantized, true}},
       .outputs = {{"y", "T3", kQuantized}},
       .attrs = {{"axis", AttrKind::kInt, false, "1"}, {"block_size", AttrKind::kInt, false, "0"},
                 {"output_dtype", AttrKind::kInt, false, "0"}, {"precision", AttrKind::kInt, false, "0"},
                 {"saturate", AttrKind::kInt, false, "1"}},
       .infer = infer_quantize, .compute = {.body = quantize_body},
       .doc = "saturate(round(x / y_scale) + y_zero_point), a scale for the tensor, an axis or a block (ONNX QuantizeLinear)."},
      {.domain = "", .name = "DequantizeLinear",
       .inputs = {{"x", "T1", kQuantized | dtypes(DType::kI32)}, {"x_scale", "T2", kScaleTypes},
                  {"x_zero_point", "T1", kQuantized | dtypes(DType::kI32), true}},
       .outputs = {{"y", "T3", kFloat16To64}},
       .attrs = {{"axis", AttrKind::kInt, false, "1"}, {"block_size", AttrKind::kInt, false, "0"},
                 {"output_dtype", AttrKind::kInt, false, "0"}},
       .infer = infer_dequantize, .compute = {.body = dequantize_body},
       .doc = "(x - x_zero_point) * x_scale (ONNX DequantizeLinear)."},
      {.domain = "", .name = "DynamicQuantizeLinear",
       .inputs = {{"x", "T1", kFloat}},
       .outputs = {{"y", "T2", kByte}, {"y_scale", "F", kFloat}, {"y_zero_point", "T2", kByte}},
       .infer = infer_dynamic_quantize, .compute = {.decompose = decompose_dynamic_quantize},
       .doc = "Quantises with the tensor's own range (ONNX DynamicQuantizeLinear)."},
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
       .infer = infer_qlinear_unary, .compute = {.decompose = decompose_qlinear_softmax},
       .doc = "Quantised Softmax; `opset` chooses its meaning (ONNX Runtime contrib ops)."},
      {.domain = "com.microsoft", .name = "QLinearAveragePool", .inputs = qlinear_unary_inputs(), .outputs = {{"Y", "T", kBytes}},
       .attrs = {{"auto_pad", AttrKind::kString, false, "NOTSET"}, {"ceil_mode", AttrKind::kInt, false, "0"},
                 {"channels_last", AttrKind::kInt, false, "0"}, {"count_include_pad", AttrKind::kInt, false, "0"},
                 {"kernel_shape", AttrKind::kInts, true}, {"pads", AttrKind::kInts}, {"strides", AttrKind::kInts}},
       .infer = infer_qlinear_average_pool, .compute = {.decompose = decompose_qlinear_average_pool},
       .doc = "Quantised AveragePool (ONNX Runtime contrib ops)."},
      {.domain = "com.microsoft", .name = "QLinearGlobalAveragePool", .inputs = qlinear_unary_inputs(), .outputs = {{"Y", "T", kBytes}},
       .attrs = {{"channels_last", AttrKind::kInt, false, "0"}},
       .infer = infer_qlinear_global_pool, .compute = {.decompose = decompose_qlinear_global_pool},
       .doc = "Quantised GlobalAveragePool (ONNX Runtime contrib ops)."},
      {.domain = "com.microsoft", .name = "QLinearConcat",
       .inputs = {{"Y_scale", "F", kFloat}, {"Y_zero_point", "T", kBytes}, {.name = "inputs", .var = "", .types = kAnyTensor, .variadic = true}},
       .outputs = {{"Y", "T", kBytes}},
       .attrs = {{"axis", AttrKind::kInt, true}},
       .infer = infer_qlinear_concat, .compute = {.decompose = decompose_qlinear_concat},
       .doc = "Concat of quantised tensors, each with its scale and zero point (ONNX Runtime contrib ops)."},
  };
}

}  // namespace tenon::ir
