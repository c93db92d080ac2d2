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
    if (differ(node, scale[0], x[g.axis]))
      return error(Code::kInvalidModel, "the scale has {} elements where axis {} has {}", to_string(scale[0]), axis, to_string(x[g.axis]));
    return g;
  }
  g.kind = Grid::kBlocks;
  if (scale.size() != x.size()) return error(Code::kInvalidModel, "blocked scales have rank {} where {} is needed", scale.size(), x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    Dim want = i == g.axis ? ceil_div(x[i], g.block) : x[i];
    if (differ(node, scale[i], want))
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
  TENON_ASSIGN_OR_RETURN(const DType precision, dtype_attr(c, "precision", DType::kF32));
  if ((dtypes(DType::kF16, DType::kBF16, DType::kF32) & dtype_bit(precision)) == 0) return c.fail("cannot divide in {}", name(precision));
  c.set(0, c.ranked(0) ? tensor_of(out, c.shape(0)) : unranked(out));
  return {};
}

/// The type that x / y_scale is computed in: `precision`, by default that of the scale.
DType division_type(const Node& node) {
  const int64_t code = node.attr_int("precision", 0);
  const DType dtype = code == 0 ? node.input(1)->dtype() : *dtype_from_onnx(static_cast<int>(code));
  return dtype == DType::kF16 || dtype == DType::kBF16 ? dtype : DType::kF32;
}

/// Conversion to a float8 without infinities that does not saturate: what lies beyond the largest number becomes NaN (ONNX
/// Cast, float8 table).
Expr unsaturated(Expr v, DType to) {
  ExprPool& p = *v.pool;
  const double limit = to == DType::kF8E4M3FN ? 464 : to == DType::kF8E4M3FNUZ ? 248 : 61440;
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
  // An f32 quotient of two f16 or bf16 numbers, rounded to their type, is their correctly rounded quotient.
  const DType precision = division_type(node);
  const auto rounded = [&](Expr e) { return p.cast(p.cast(e, precision), DType::kF32); };
  Expr real = rounded(rounded(x) / rounded(scale));
  const bool f8 = (kFloat8 & dtype_bit(body.dtype)) != 0;
  if (f8 && node.attr_int("saturate", 1) == 0) {
    if (body.dtype == DType::kF8E5M2) return error(Code::kUnsupported, "a conversion to infinity is not generated");
    real = unsaturated(real, body.dtype);
  }
  body.value = quantize_expr(real, zero, body.dtype);
  return std::vector<Body>{std::move(body)};
}

/// The division apart from the conversion: for float8e5m2, whose infinities only Cast makes, and for opsets whose op lacks a
/// type. Ones, dequantised, are the scales, or the zero points, spread over x.
Result<std::vector<Value*>> decompose_quantize(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  const DType precision = division_type(node);
  Value* ones = b.make("ConstantOfShape", {b.make("Shape", {s.in(0)})}, {{"value", Tensor::from<int8_t>({1}, {1})}});
  const auto spread = [&](Value* values, DType to) {
    return b.make("DequantizeLinear", {ones, values},
                  {{"axis", node.attr_int("axis", 1)}, {"block_size", node.attr_int("block_size", 0)}, {"output_dtype", onnx_code(to)}});
  };
  const DType made = node.output(0)->dtype();
  Value* real = s.div(s.cast(s.in(0), precision), spread(s.in(1), precision));
  if (is_int(made)) {
    real = s.unary("Round", s.cast(real, DType::kF32));
    if (node.has_input(2)) real = s.add(real, spread(s.cast(s.in(2), DType::kF32), DType::kF32));
    const IntRange range = int_range(made);
    real = b.make("Clip", {real, s.like(real, static_cast<double>(range.lo)), s.like(real, static_cast<double>(range.hi))});
  }
  return s.done({b.make("Cast", {real}, {{"to", onnx_code(made)}, {"saturate", node.attr_int("saturate", 1)}})});
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
       .infer = infer_quantize, .compute = {.body = quantize_body, .decompose = decompose_quantize},
       .doc = "saturate(round(x / y_scale) + y_zero_point), a scale for the tensor, an axis or a block (ONNX QuantizeLinear)."},
      {.domain = "", .name = "DequantizeLinear",
       .inputs = {{"x", "T1", kQuantized | dtypes(DType::kI32)}, {"x_scale", "T2", kScaleTypes & ~dtypes(DType::kI32)},
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
  };
}

}  // namespace tenon::ir
