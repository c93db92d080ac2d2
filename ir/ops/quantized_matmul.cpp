#include "ir/ops/decompose.h"
#include "ir/ops/families.h"

/// com.microsoft products of quantised matrices whose results are floats or requantised: what ONNX Runtime's quantiser and
/// optimiser make of MatMul and Gemm (its docs/ContribOperators.md).
namespace tenon::ir {
namespace {

using Values = Result<std::vector<Value*>>;

/// Where the operands of the product stand among an op's inputs.
struct Layout {
  int a, b, a_scale, b_scale, a_zero, b_zero, bias;
};
constexpr Layout kToFloat = {0, 1, 2, 3, 4, 5, 6};
constexpr Layout kDynamic = {0, 1, -1, 2, -1, 3, 4};
constexpr Layout kGemm = {0, 3, 1, 4, 2, 5, 6};

Dims turned(Dims dims, bool turn) {
  if (turn) std::swap(dims[0], dims[1]);
  return dims;
}

/// Scales and zero points: one for the tensor, or one a column.
Status check_grid(InferContext& c, std::initializer_list<int> inputs, Dim columns) {
  for (int i : inputs) {
    if (i < 0 || !c.has(i) || !c.ranked(i) || is_single(c.shape(i))) continue;
    TENON_RETURN_IF_ERROR(require_rank(c, i, 1));
    TENON_RETURN_IF_ERROR(require_equal(c, c.shape(i)[0], columns, "columns and their scales, zero points or bias"));
  }
  return {};
}

Status check_single(InferContext& c, std::initializer_list<int> inputs) {
  for (int i : inputs) {
    if (i < 0 || !c.has(i) || !c.ranked(i)) continue;
    for (const Dim& d : c.shape(i))
      if (c.differ(d, 1)) return c.fail("input {} must have one element", i);
  }
  return {};
}

/// The product's shape, by MatMul's own inference.
Status infer_product(InferContext& c, const Layout& at, DType out, bool turn_a = false, bool turn_b = false) {
  c.set(0, unranked(out));
  TENON_RETURN_IF_ERROR(check_single(c, {at.a_scale, at.a_zero}));
  if (!c.ranked(at.a) || !c.ranked(at.b)) return {};
  Graph scratch(c.node().graph()->shared_dims());
  Builder b(scratch);
  Value* y = b.make("MatMul", {scratch.add_input("a", tensor_of(DType::kF32, turned(c.shape(at.a), turn_a))),
                               scratch.add_input("b", tensor_of(DType::kF32, turned(c.shape(at.b), turn_b)))});
  if (!b.status().ok()) return Status(b.status()).at(c.node().name());
  const Dims dims = *y->tensor().dims;
  c.set(0, tensor_of(out, dims));
  if (c.shape(at.b).size() < 2) return c.fail("B has rank {}; it must be at least 2", c.shape(at.b).size());
  return check_grid(c, {at.b_scale, at.b_zero}, dims.back());
}

/// A single element as a scalar, so that it does not widen what it meets.
Value* scalar(Steps& s, Value* v) { return v == nullptr ? nullptr : s.reshape(v, {}); }
Value* scalar_or_columns(Steps& s, Value* v) { return v != nullptr && is_single(*v->tensor().dims) ? scalar(s, v) : v; }

/// (A - a_zero)(B - b_zero) in 32 bits.
Value* product(Steps& s, Value* a, Value* b, Value* a_zero, Value* b_zero) {
  return s.builder().make("MatMulInteger", {a, b, scalar(s, a_zero), scalar_or_columns(s, b_zero)});
}

Value* scaled(Steps& s, Value* sums, Value* a_scale, Value* b_scale) {
  return s.mul(s.cast(sums, DType::kF32), s.mul(scalar(s, a_scale), scalar_or_columns(s, b_scale)));
}

// ---- MatMulIntegerToFloat, DynamicQuantizeMatMul

Status infer_to_float(InferContext& c) { return infer_product(c, kToFloat, DType::kF32); }
Status infer_dynamic(InferContext& c) { return infer_product(c, kDynamic, DType::kF32); }

Values decompose_to_float(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  Value* y = scaled(s, product(s, s.in(0), s.in(1), s.in(4), s.in(5)), s.in(2), s.in(3));
  return s.done({s.in(6) == nullptr ? y : s.add(y, s.in(6))});
}

Values decompose_dynamic(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  std::vector<Value*> a = {s.in(0)};
  a = b.make_n("DynamicQuantizeLinear", a, 3);
  TENON_RETURN_IF_ERROR(b.status());
  Value* y = scaled(s, product(s, a[0], s.in(1), a[2], s.in(3)), a[1], s.in(2));
  return s.done({s.in(4) == nullptr ? y : s.add(y, s.in(4))});
}

// ---- QGemm

Status infer_qgemm(InferContext& c) {
  for (int i : {0, 3}) TENON_RETURN_IF_ERROR(require_rank(c, i, 2));
  if (c.has(6) && c.ranked(6) && c.shape(6).size() > 2) return c.fail("C has rank {}; it must broadcast to the output's two axes", c.shape(6).size());
  if (c.has(8) && !c.has(7)) return c.fail("y_zero_point needs y_scale");
  TENON_RETURN_IF_ERROR(check_single(c, {7, 8}));
  const DType out = !c.has(7) ? DType::kF32 : c.dtype(c.has(8) ? 8 : 0);
  return infer_product(c, kGemm, out, c.node().attr_int("transA", 0) != 0, c.node().attr_int("transB", 0) != 0);
}

/// C is in the product's units: it is added before scaling.
Values decompose_qgemm(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  Value* x = node.attr_int("transA", 0) != 0 ? s.transpose(s.in(0), {1, 0}) : s.in(0);
  Value* w = node.attr_int("transB", 0) != 0 ? s.transpose(s.in(3), {1, 0}) : s.in(3);
  Value* sums = product(s, x, w, s.in(2), s.in(5));
  if (s.in(6) != nullptr) sums = s.add(sums, s.in(6));
  Value* y = scaled(s, sums, s.in(1), s.in(4));
  const double alpha = node.attr_float("alpha", 1);
  if (alpha != 1) y = s.mul(y, alpha);
  if (s.in(7) == nullptr) return s.done({y});
  if (s.in(8) != nullptr) return s.done({b.make("QuantizeLinear", {y, scalar(s, s.in(7)), scalar(s, s.in(8))})});
  return s.done({b.make("QuantizeLinear", {y, scalar(s, s.in(7))}, {{"output_dtype", onnx_code(node.output(0)->dtype())}})});
}

}  // namespace

std::vector<OpDef> quantized_matmul_ops() {
  constexpr DTypeSet kBytes = dtypes(DType::kI8, DType::kU8), kFloat = dtypes(DType::kF32), kInt32 = dtypes(DType::kI32);
  return {
      {.domain = "com.microsoft", .name = "MatMulIntegerToFloat",
       .inputs = {{"A", "T1", kBytes}, {"B", "T2", kBytes}, {"a_scale", "T3", kFloat}, {"b_scale", "T3", kFloat},
                  {"a_zero_point", "T1", kBytes, true}, {"b_zero_point", "T2", kBytes, true}, {"bias", "T3", kFloat, true}},
       .outputs = {{"Y", "T3", kFloat}},
       .infer = infer_to_float, .compute = {.decompose = decompose_to_float},
       .doc = "Product of quantised matrices as floats (ONNX Runtime contrib ops)."},
      {.domain = "com.microsoft", .name = "DynamicQuantizeMatMul",
       .inputs = {{"A", "T1", kFloat}, {"B", "T2", kBytes}, {"b_scale", "T1", kFloat}, {"b_zero_point", "T2", kBytes, true},
                  {"bias", "T1", kFloat, true}},
       .outputs = {{"Y", "T1", kFloat}},
       .infer = infer_dynamic, .compute = {.decompose = decompose_dynamic},
       .doc = "Quantises A by its own range and multiplies by quantised weights (ONNX Runtime contrib ops)."},
      {.domain = "com.microsoft", .name = "QGemm",
       .inputs = {{"A", "TA", kBytes}, {"a_scale", "T", kFloat}, {"a_zero_point", "TA", kBytes}, {"B", "TB", kBytes}, {"b_scale", "T", kFloat},
                  {"b_zero_point", "TB", kBytes}, {"C", "TC", kInt32, true}, {"y_scale", "T", kFloat, true}, {"y_zero_point", "TYZ", kBytes, true}},
       .outputs = {{"Y", "TY", kBytes | kFloat}},
       .attrs = {{"alpha", AttrKind::kFloat, false, "1.0"}, {"transA", AttrKind::kInt, false, "0"}, {"transB", AttrKind::kInt, false, "0"}},
       .infer = infer_qgemm, .compute = {.decompose = decompose_qgemm},
       .doc = "Gemm of quantised matrices, requantised or as floats (ONNX Runtime contrib ops)."},
  };
}

}  // namespace tenon::ir
