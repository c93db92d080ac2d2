#include "ir/ops/contrib.h"
#include "ir/ops/nn_helpers.h"

/// com.microsoft products with weights of few bits, quantised in blocks (ONNX Runtime, docs/ContribOperators.md).
namespace tenon::ir {
namespace {

constexpr DTypeSet kReal = kFloat16To64;
constexpr DTypeSet kInt32 = dtypes(DType::kI32);

struct NBits {
  int64_t n, k, bits, block, blocks;
};

Result<NBits> nbits_of(const Node& node) {
  NBits q{node.attr_int("N", 0), node.attr_int("K", 0), node.attr_int("bits", 4), node.attr_int("block_size", 0), 0};
  if (q.n <= 0 || q.k <= 0 || q.n > INT32_MAX || q.k > INT32_MAX) return error(Code::kInvalidModel, "attributes K and N must be positive");
  if (q.bits != 2 && q.bits != 4 && q.bits != 8) return error(Code::kUnsupported, "{}-bit weights; 2, 4 and 8 are known", q.bits);
  if (q.block < 16 || q.block > INT32_MAX || (q.block & (q.block - 1)) != 0)
    return error(Code::kInvalidModel, "attribute block_size is {}; it must be a power of two from 16", q.block);
  q.blocks = (q.k + q.block - 1) / q.block;
  return q;
}

Status infer_matmul_nbits(InferContext& c) {
  Result<NBits> q = nbits_of(c.node());
  if (!q.ok()) return std::move(q).status().at(c.node().name());
  if (c.has(4)) return c.fail("g_idx is not supported");
  TENON_RETURN_IF_ERROR(require_rank_at_least(c, 0, 1));
  TENON_RETURN_IF_ERROR(require_rank(c, 1, 3));
  if (c.ranked(1)) {
    int64_t want[] = {q->n, q->blocks, q->block * q->bits / 8};
    for (size_t i = 0; i < 3; ++i) TENON_RETURN_IF_ERROR(require_equal(c, c.shape(1)[i], want[i], "packed weights"));
  }
  if (c.ranked(2)) TENON_RETURN_IF_ERROR(require_equal(c, product(c.shape(2)), q->n * q->blocks, "scales and blocks"));
  if (c.has(3) && c.ranked(3)) {
    int64_t row = c.dtype(3) == DType::kU8 ? (q->blocks * q->bits + 7) / 8 : q->blocks;
    TENON_RETURN_IF_ERROR(require_equal(c, product(c.shape(3)), q->n * row, "zero points and blocks"));
  }
  if (!c.ranked(0)) {
    c.set(0, unranked(c.dtype(0)));
    return {};
  }
  TENON_RETURN_IF_ERROR(require_equal(c, c.shape(0).back(), q->k, "A and K"));
  Dims out = c.shape(0);
  out.back() = q->n;
  c.set(0, tensor_of(c.dtype(0), std::move(out)));
  return {};
}

/// Position `flat` in a row-major tensor of these (constant) dims.
std::vector<Expr> unflatten(ExprPool& p, Expr flat, const Dims& dims) {
  std::vector<Expr> at(dims.size());
  for (size_t i = dims.size(); i-- > 0;) {
    at[i] = i == 0 ? flat : mod(flat, p.dim(dims[i]));
    if (i > 0) flat = floor_div(flat, p.dim(dims[i]));
  }
  return at;
}

/// The `bits` wide number at position `at` of a byte, as i32.
Expr bits_at(ExprPool& p, Expr byte, Expr at, int64_t bits) {
  if (bits == 8) return p.cast(byte, DType::kI32);
  std::vector<Expr> shift = {p.cast(byte, DType::kI32), p.cast(at * static_cast<double>(bits), DType::kI32)};
  std::vector<Expr> masked = {p.op(ScalarOp::kShr, shift), p.constant_int(DType::kI32, (int64_t{1} << bits) - 1)};
  return p.op(ScalarOp::kAnd, masked);
}

Result<std::vector<Body>> matmul_nbits_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(NBits q, nbits_of(node));
  Body body;
  ExprPool& p = *body.pool;
  body.kind = ComputeKind::kContraction;
  body.dtype = node.output(0)->dtype();
  body.acc_dtype = accumulator_of(body.dtype);
  body.axes = out_dims(node);
  body.reduce_axes = {q.k};
  size_t rank = body.axes.size();
  auto number = [&](int64_t v) { return p.constant_int(DType::kI64, v); };
  Expr n = p.index(static_cast<int>(rank - 1)), k = p.index(static_cast<int>(rank));
  int64_t per_byte = 8 / q.bits;
  Expr block = floor_div(k, number(q.block)), inside = mod(k, number(q.block));
  std::vector<Expr> b_at = {n, block, per_byte == 1 ? inside : floor_div(inside, number(per_byte))};
  Expr packed = bits_at(p, p.load(1, DType::kU8, b_at), mod(inside, number(per_byte)), q.bits);
  Expr weight = p.cast(packed, DType::kF32);
  if (node.has_input(3) && node.input(3)->dtype() == DType::kU8) {
    int64_t row = (q.blocks * q.bits + 7) / 8;
    Expr byte_at = n * static_cast<double>(row) + floor_div(block, number(per_byte));
    Expr byte = p.load(3, DType::kU8, unflatten(p, byte_at, dims_of(node, 3)));
    weight = weight - p.cast(bits_at(p, byte, mod(block, number(per_byte)), q.bits), DType::kF32);
  } else if (node.has_input(3)) {
    weight = weight - load_as(p, node, 3, unflatten(p, n * static_cast<double>(q.blocks) + block, dims_of(node, 3)), DType::kF32);
  } else {
    weight = weight - static_cast<double>(int64_t{1} << (q.bits - 1));
  }
  Expr scale = load_as(p, node, 2, unflatten(p, n * static_cast<double>(q.blocks) + block, dims_of(node, 2)), DType::kF32);
  std::vector<Expr> a_at = index_range(p, 0, rank - 1);
  a_at.push_back(k);
  body.value = load_as(p, node, 0, a_at, body.acc_dtype) * p.cast(weight * scale, body.acc_dtype);
  if (node.has_input(5))
    body.post = p.cast(p.acc(0, body.acc_dtype) + load_as(p, node, 5, std::vector<Expr>{n}, body.acc_dtype), body.dtype);
  return std::vector<Body>{std::move(body)};
}

}  // namespace

std::vector<OpDef> ms_nbits_ops() {
  return {
      {.domain = "com.microsoft", .name = "MatMulNBits",
       .inputs = {{"A", "T1", kReal}, {"B", "T2", dtypes(DType::kU8)}, {"scales", "T1", kReal},
                  {"zero_points", "T3", kReal | dtypes(DType::kU8), true}, {"g_idx", "T4", kInt32, true}, {"bias", "T1", kReal, true}},
       .outputs = {{"Y", "T1", kReal}},
       .attrs = {{"K", AttrKind::kInt, true}, {"N", AttrKind::kInt, true}, {"accuracy_level", AttrKind::kInt, false, "0"},
                 {"bits", AttrKind::kInt, false, "4"}, {"block_size", AttrKind::kInt, true}},
       .infer = infer_matmul_nbits, .compute = {.body = matmul_nbits_body},
       .doc = "Product with weights of 2, 4 or 8 bits quantised in blocks."},
  };
}

}  // namespace tenon::ir
