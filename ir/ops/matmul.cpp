#include <algorithm>

#include "ir/ops/families.h"
#include "ir/ops/nn_helpers.h"

namespace tenon::ir {
namespace {

constexpr DTypeSet kMatMulTypes =
    kFloat16To64 | dtypes(DType::kI32, DType::kI64, DType::kU32, DType::kU64, DType::kI8, DType::kU8, DType::kI16, DType::kU16);
constexpr DTypeSet kBytes = dtypes(DType::kI8, DType::kU8);
constexpr DTypeSet kScales = dtypes(DType::kF32, DType::kF16, DType::kBF16);

/// One side of a matrix product as [batch…, rows, columns]: which axis of the operand each logical axis is.
struct Side {
  int operand = 0;
  Dims logical;
  std::vector<size_t> axis_of;  // empty for the axis that a vector lacks
  bool vector = false;
  size_t batch_rank() const { return logical.size() - 2; }
};

Result<Side> make_side(const Dims& dims, int operand, bool left, bool transpose, bool transpose_batch) {
  Side s{.operand = operand};
  if (dims.empty()) return error(Code::kInvalidModel, "input {} is a scalar; a matrix product needs rank 1 or more", operand);
  if (dims.size() == 1) {
    s.vector = true;
    s.logical = left ? Dims{1, dims[0]} : Dims{dims[0], 1};
    s.axis_of = {0, 0};
    return s;
  }
  size_t rank = dims.size();
  for (size_t i = 0; i < rank; ++i) s.axis_of.push_back(i);
  if (transpose_batch) std::rotate(s.axis_of.begin(), s.axis_of.begin() + 1, s.axis_of.end() - 1);
  if (transpose) std::swap(s.axis_of[rank - 1], s.axis_of[rank - 2]);
  for (size_t axis : s.axis_of) s.logical.push_back(dims[axis]);
  return s;
}

struct Sides {
  Side a, b;
  Dims batch, out;
  Dim k;
  size_t m_axis() const { return batch.size(); }
  size_t n_axis() const { return batch.size() + (a.vector ? 0 : 1); }
};

Result<Sides> make_sides(const Node& node, int ia, int ib) {
  Sides s;
  bool ta = node.attr_int("transA", 0) != 0, tb = node.attr_int("transB", 0) != 0;
  bool tba = node.attr_int("transBatchA", 0) != 0, tbb = node.attr_int("transBatchB", 0) != 0;
  TENON_ASSIGN_OR_RETURN(s.a, make_side(dims_of(node, ia), ia, true, ta, tba));
  TENON_ASSIGN_OR_RETURN(s.b, make_side(dims_of(node, ib), ib, false, tb, tbb));
  Dim ka = s.a.logical.back(), kb = s.b.logical[s.b.batch_rank()];
  if (differ(node, ka, kb))
    return error(Code::kInvalidModel, "inner dimensions {} and {} of a matrix product differ", to_string(ka), to_string(kb));
  s.k = ka.is_const() ? ka : kb;
  std::vector<Dims> batches = {Dims(s.a.logical.begin(), s.a.logical.end() - 2), Dims(s.b.logical.begin(), s.b.logical.end() - 2)};
  TENON_ASSIGN_OR_RETURN(s.batch, broadcast(batches));
  s.out = s.batch;
  if (!s.a.vector) s.out.push_back(s.a.logical[s.a.batch_rank()]);
  if (!s.b.vector) s.out.push_back(s.b.logical.back());
  return s;
}

std::vector<Expr> side_indices(ExprPool& p, const Side& side, size_t batch_rank, Expr row, Expr column) {
  std::vector<Expr> logical = broadcast_indices(p, Dims(side.logical.begin(), side.logical.end() - 2), batch_rank);
  logical.push_back(row);
  logical.push_back(column);
  std::vector<Expr> out(logical.size());
  for (size_t i = 0; i < logical.size(); ++i) out[side.axis_of[i]] = logical[i];
  return out;
}

/// The two loads of a product and the body around them; the caller sets value and post.
struct Product {
  Body body;
  Expr a, b;  // in their own dtypes
  Sides sides;
};

Result<Product> make_product(const Node& node, int ia, int ib) {
  Product product;
  TENON_ASSIGN_OR_RETURN(product.sides, make_sides(node, ia, ib));
  const Sides& s = product.sides;
  Body& body = product.body;
  ExprPool& p = *body.pool;
  body.kind = ComputeKind::kContraction;
  body.dtype = node.output(0)->dtype();
  body.axes = out_dims(node);
  body.reduce_axes = {s.k};
  body.acc_dtype = accumulator_of(body.dtype);
  if (body.axes.size() != s.out.size()) return error(Code::kInternal, "output rank of a matrix product is not as inferred");
  Expr zero = p.constant_int(DType::kI64, 0);
  Expr k = p.index(static_cast<int>(s.out.size()));
  Expr m = s.a.vector ? zero : p.index(static_cast<int>(s.m_axis()));
  Expr n = s.b.vector ? zero : p.index(static_cast<int>(s.n_axis()));
  std::vector<Expr> ai = s.a.vector ? std::vector<Expr>{k} : side_indices(p, s.a, s.batch.size(), m, k);
  std::vector<Expr> bi = s.b.vector ? std::vector<Expr>{k} : side_indices(p, s.b, s.batch.size(), k, n);
  product.a = p.load(ia, node.input(ia)->dtype(), ai);
  product.b = p.load(ib, node.input(ib)->dtype(), bi);
  return product;
}

Status infer_product(InferContext& c, int ia, int ib, DType out) {
  if (!c.ranked(ia) || !c.ranked(ib)) {
    c.set(0, unranked(out));
    return {};
  }
  Result<Sides> s = make_sides(c.node(), ia, ib);
  if (!s.ok()) return std::move(s).status().at(c.node().name());
  c.set(0, tensor_of(out, s->out));
  return {};
}

Status infer_matmul(InferContext& c) { return infer_product(c, 0, 1, c.dtype(0)); }

Result<std::vector<Body>> matmul_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(Product product, make_product(node, 0, 1));
  Body& body = product.body;
  ExprPool& p = *body.pool;
  body.value = p.cast(product.a, body.acc_dtype) * p.cast(product.b, body.acc_dtype);
  double alpha = node.attr_float("alpha", 1);
  if (alpha != 1) body.post = p.cast(p.acc(0, body.acc_dtype) * alpha, body.dtype);
  return std::vector<Body>{std::move(body)};
}

// ---- Gemm

Status infer_gemm(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_rank(c, 0, 2));
  TENON_RETURN_IF_ERROR(require_rank(c, 1, 2));
  TENON_RETURN_IF_ERROR(infer_product(c, 0, 1, c.dtype(0)));
  const TensorType& out = c.node().output(0)->tensor();
  if (!out.ranked() || !c.has(2) || !c.ranked(2)) return {};
  if (c.shape(2).size() > 2) return c.fail("C has rank {}; it must broadcast to the output's two axes", c.shape(2).size());
  for (size_t i = 0; i < c.shape(2).size(); ++i) {
    Dim have = c.shape(2)[i], want = (*out.dims)[2 - c.shape(2).size() + i];
    if (!have.is_const(1)) TENON_RETURN_IF_ERROR(require_equal(c, have, want, "C and the product"));
  }
  return {};
}

/// x * factor; for integer types with a factor that is no integer, through f64.
Expr scaled(Expr x, double factor) {
  if (factor == 1) return x;
  if (is_float(x.dtype()) || factor == static_cast<double>(static_cast<int32_t>(factor))) return x * factor;
  return x.pool->cast(x.pool->cast(x, DType::kF64) * factor, x.dtype());
}

Result<std::vector<Body>> gemm_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(Product product, make_product(node, 0, 1));
  Body& body = product.body;
  ExprPool& p = *body.pool;
  body.value = p.cast(product.a, body.acc_dtype) * p.cast(product.b, body.acc_dtype);
  double alpha = node.attr_float("alpha", 1), beta = node.attr_float("beta", 1);
  Expr result = scaled(p.acc(0, body.acc_dtype), std::clamp(alpha, -1e30, 1e30));
  if (node.has_input(2) && beta != 0) {
    std::vector<Expr> at = broadcast_indices(p, dims_of(node, 2), 2);
    result = result + scaled(load_as(p, node, 2, at, body.acc_dtype), std::clamp(beta, -1e30, 1e30));
  }
  std::vector<double> params = {node.attr_float("activation_alpha", 0.01), node.attr_float("activation_beta", 0),
                                node.attr_float("activation_gamma", 0)};
  if (!node.attrs().has("activation_alpha")) params.clear();
  TENON_ASSIGN_OR_RETURN(result, activation_expr(node.attr_string("activation", ""), params, result));
  body.post = p.cast(result, body.dtype);
  return std::vector<Body>{std::move(body)};
}

// ---- Integer products

/// A zero point or scale of one side: one element, one a row (or column), or shaped to broadcast over the output.
Result<Expr> per_side(ExprPool& p, const Node& node, int input, const Sides& s, bool left, DType dtype) {
  const Dims& dims = dims_of(node, input);
  if (is_single(dims)) return load_single(p, node, input, dtype);
  const Side& side = left ? s.a : s.b;
  if (side.vector) return error(Code::kInvalidModel, "input {} must have one element, as its operand is a vector", input);
  if (dims.size() == 1) {
    std::vector<Expr> at = {p.index(static_cast<int>(left ? s.m_axis() : s.n_axis()))};
    return load_as(p, node, input, at, dtype);
  }
  if (dims.size() > s.out.size()) return error(Code::kInvalidModel, "input {} has more axes than the product", input);
  return load_as(p, node, input, broadcast_indices(p, dims, s.out.size()), dtype);
}

Result<Expr> zero_shifted(ExprPool& p, const Node& node, Expr element, int zero_point, const Sides& s, bool left, DType acc) {
  Expr wide = p.cast(element, acc);
  if (!node.has_input(zero_point)) return wide;
  TENON_ASSIGN_OR_RETURN(Expr zero, per_side(p, node, zero_point, s, left, acc));
  return wide - zero;
}

/// Zero points and scales must be single, or match the rows (columns) that they belong to.
Status check_per_side(InferContext& c, int input, int matrix, bool left) {
  if (!c.has(input) || !c.ranked(input) || !c.ranked(matrix) || is_single(c.shape(input))) return {};
  if (c.shape(input).size() != 1) return {};
  if (c.shape(matrix).size() < 2) return c.fail("input {} must have one element, as input {} is a vector", input, matrix);
  Dim lines = left ? c.shape(matrix)[c.shape(matrix).size() - 2] : c.shape(matrix).back();
  return require_equal(c, c.shape(input)[0], lines, "a zero point or scale and its matrix");
}

Status infer_matmul_integer(InferContext& c) {
  TENON_RETURN_IF_ERROR(check_per_side(c, 2, 0, true));
  TENON_RETURN_IF_ERROR(check_per_side(c, 3, 1, false));
  return infer_product(c, 0, 1, DType::kI32);
}

Result<std::vector<Body>> matmul_integer_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(Product product, make_product(node, 0, 1));
  Body& body = product.body;
  ExprPool& p = *body.pool;
  body.acc_dtype = DType::kI32;
  TENON_ASSIGN_OR_RETURN(Expr a, zero_shifted(p, node, product.a, 2, product.sides, true, DType::kI32));
  TENON_ASSIGN_OR_RETURN(Expr b, zero_shifted(p, node, product.b, 3, product.sides, false, DType::kI32));
  body.value = a * b;
  return std::vector<Body>{std::move(body)};
}

Status infer_qlinear_matmul(InferContext& c) {
  for (int i : {1, 2}) TENON_RETURN_IF_ERROR(check_per_side(c, i, 0, true));
  for (int i : {4, 5}) TENON_RETURN_IF_ERROR(check_per_side(c, i, 3, false));
  return infer_product(c, 0, 3, c.dtype(7));
}

Result<std::vector<Body>> qlinear_matmul_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(Product product, make_product(node, 0, 3));
  Body& body = product.body;
  ExprPool& p = *body.pool;
  const Sides& s = product.sides;
  body.acc_dtype = is_int(node.input(0)->dtype()) ? DType::kI32 : DType::kF32;
  TENON_ASSIGN_OR_RETURN(Expr a, zero_shifted(p, node, product.a, 2, s, true, body.acc_dtype));
  TENON_ASSIGN_OR_RETURN(Expr b, zero_shifted(p, node, product.b, 5, s, false, body.acc_dtype));
  body.value = a * b;
  TENON_ASSIGN_OR_RETURN(Expr a_scale, per_side(p, node, 1, s, true, DType::kF32));
  TENON_ASSIGN_OR_RETURN(Expr b_scale, per_side(p, node, 4, s, false, DType::kF32));
  TENON_ASSIGN_OR_RETURN(Expr y_scale, per_side(p, node, 6, s, true, DType::kF32));
  TENON_ASSIGN_OR_RETURN(Expr y_zero, per_side(p, node, 7, s, true, DType::kF32));
  Expr real = p.cast(p.acc(0, body.acc_dtype), DType::kF32) * (a_scale * b_scale / y_scale);
  body.post = quantize_expr(real, y_zero, body.dtype);
  return std::vector<Body>{std::move(body)};
}

}  // namespace

std::vector<OpDef> matmul_ops() {
  constexpr DTypeSet kQuantized = kBytes | kFloat8;
  return {
      {.domain = "", .name = "MatMul",
       .inputs = {{"A", "T", kMatMulTypes}, {"B", "T", kMatMulTypes}},
       .outputs = {{"Y", "T", kMatMulTypes}},
       .infer = infer_matmul, .compute = {.body = matmul_body},
       .doc = "Matrix product with NumPy's rules for vectors and batches (ONNX MatMul)."},
      {.domain = "com.microsoft", .name = "FusedMatMul",
       .inputs = {{"A", "T", kFloat16To64}, {"B", "T", kFloat16To64}},
       .outputs = {{"Y", "T", kFloat16To64}},
       .attrs = {{"alpha", AttrKind::kFloat, false, "1"}, {"transA", AttrKind::kInt, false, "0"},
                 {"transB", AttrKind::kInt, false, "0"}, {"transBatchA", AttrKind::kInt, false, "0"},
                 {"transBatchB", AttrKind::kInt, false, "0"}},
       .infer = infer_matmul, .compute = {.body = matmul_body},
       .doc = "alpha * A' B' with optional transposes (ONNX Runtime contrib ops)."},
      {.domain = "", .name = "Gemm",
       .inputs = {{"A", "T", kMatMulTypes}, {"B", "T", kMatMulTypes}, {"C", "T", kMatMulTypes, true}},
       .outputs = {{"Y", "T", kMatMulTypes}},
       .attrs = {{"alpha", AttrKind::kFloat, false, "1"}, {"beta", AttrKind::kFloat, false, "1"},
                 {"transA", AttrKind::kInt, false, "0"}, {"transB", AttrKind::kInt, false, "0"}},
       .infer = infer_gemm, .compute = {.body = gemm_body},
       .doc = "alpha A' B' + beta C (ONNX Gemm)."},
      {.domain = "com.microsoft", .name = "FusedGemm",
       .inputs = {{"A", "T", kFloat16To64}, {"B", "T", kFloat16To64}, {"C", "T", kFloat16To64, true}},
       .outputs = {{"Y", "T", kFloat16To64}},
       .attrs = {{"alpha", AttrKind::kFloat, false, "1"}, {"beta", AttrKind::kFloat, false, "1"},
                 {"transA", AttrKind::kInt, false, "0"}, {"transB", AttrKind::kInt, false, "0"},
                 {"activation", AttrKind::kString}, {"activation_alpha", AttrKind::kFloat},
                 {"activation_beta", AttrKind::kFloat}, {"activation_gamma", AttrKind::kFloat}},
       .infer = infer_gemm, .compute = {.body = gemm_body},
       .doc = "Gemm with an activation (ONNX Runtime contrib ops)."},
      {.domain = "", .name = "MatMulInteger",
       .inputs = {{"A", "T1", kBytes}, {"B", "T2", kBytes}, {"a_zero_point", "T1", kBytes, true}, {"b_zero_point", "T2", kBytes, true}},
       .outputs = {{"Y", "T3", dtypes(DType::kI32)}},
       .infer = infer_matmul_integer, .compute = {.body = matmul_integer_body},
       .doc = "(A - a_zero_point)(B - b_zero_point) in 32 bits (ONNX MatMulInteger)."},
      {.domain = "", .name = "QLinearMatMul",
       .inputs = {{"a", "T1", kQuantized}, {"a_scale", "TS", kScales}, {"a_zero_point", "T1", kQuantized},
                  {"b", "T2", kQuantized}, {"b_scale", "TS", kScales}, {"b_zero_point", "T2", kQuantized},
                  {"y_scale", "TS", kScales}, {"y_zero_point", "T3", kQuantized}},
       .outputs = {{"y", "T3", kQuantized}},
       .infer = infer_qlinear_matmul, .compute = {.body = qlinear_matmul_body},
       .doc = "Product of quantised matrices, requantised (ONNX QLinearMatMul)."},
  };
}

}  // namespace tenon::ir
