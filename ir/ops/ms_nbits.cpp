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
  TENON_RETURN_IF_ERROR(require_rank(c, 4, 1));
  if (c.has(4) && c.ranked(4)) TENON_RETURN_IF_ERROR(require_equal(c, c.shape(4)[0], q->k, "g_idx and K"));
  TENON_RETURN_IF_ERROR(require_rank(c, 5, 1));
  if (c.has(5) && c.ranked(5)) TENON_RETURN_IF_ERROR(require_equal(c, c.shape(5)[0], q->n, "bias and N"));
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
  // With g_idx, a row's scale and zero point are those of the block that it names.
  if (node.has_input(4)) block = p.checked_index(load_as(p, node, 4, std::vector<Expr>{k}, DType::kI64), number(q.blocks));
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

// ---- MatMulBnb4

struct Bnb4 {
  int64_t n, k, block, type;
};

Result<Bnb4> bnb4_of(const Node& node) {
  Bnb4 q{node.attr_int("N", 0), node.attr_int("K", 0), node.attr_int("block_size", 0), node.attr_int("quant_type", 0)};
  if (q.n <= 0 || q.k <= 0 || q.n > INT32_MAX || q.k > INT32_MAX) return error(Code::kInvalidModel, "attributes K and N must be positive");
  if (q.block < 16 || q.block > INT32_MAX || (q.block & (q.block - 1)) != 0)
    return error(Code::kInvalidModel, "attribute block_size is {}; it must be a power of two from 16", q.block);
  if (q.type != 0 && q.type != 1) return error(Code::kInvalidModel, "attribute quant_type is {}; it must be 0 (FP4) or 1 (NF4)", q.type);
  return q;
}

Status infer_matmul_bnb4(InferContext& c) {
  Result<Bnb4> q = bnb4_of(c.node());
  if (!q.ok()) return std::move(q).status().at(c.node().name());
  if (c.node().attr_int("training_mode", 0) != 0) return c.fail("training_mode is not supported");
  if (c.node().attr_int("transB", 1) == 0) return c.fail("transB must be 1");
  TENON_RETURN_IF_ERROR(require_rank_at_least(c, 0, 1));
  const Dim count = Dim(q->n) * q->k;
  if (c.ranked(1)) TENON_RETURN_IF_ERROR(require_equal(c, product(c.shape(1)), ceil_div(count, 2), "bytes of packed weights"));
  if (c.ranked(2)) TENON_RETURN_IF_ERROR(require_equal(c, product(c.shape(2)), ceil_div(count, q->block), "absmax and blocks"));
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

/// The element of a table of 16 at a position (i32), as a tree of selections by its bits.
Expr pick(ExprPool& p, std::span<const float, 16> table, Expr at) {
  std::vector<Expr> level;
  for (float v : table) level.push_back(p.constant(DType::kF32, v));
  for (int64_t bit = 1; level.size() > 1; bit *= 2) {
    const std::vector<Expr> masked = {at, p.constant_int(DType::kI32, bit)};
    const Expr set = p.op(ScalarOp::kAnd, masked) != 0.0;
    std::vector<Expr> next;
    for (size_t i = 0; i < level.size(); i += 2) next.push_back(select(set, level[i + 1], level[i]));
    level = std::move(next);
  }
  return level[0];
}

/// Weights [N, K] in one row of 4-bit codes, the first of a byte in its high half, with a scale for each block of the row.
/// The codes' values are those of bitsandbytes: FP4 (sign, 2 bits of exponent, 1 of mantissa, over its largest number) and
/// NF4 (quantiles of the normal distribution; Dettmers et al. 2023, appendix E).
Result<std::vector<Body>> matmul_bnb4_body(const Node& node) {
  static constexpr float kFp4[16] = {0.0F,  5.208333333e-03F,  0.66666667F,  1.0F,  0.33333333F,  0.5F,  0.16666667F,  0.25F,
                                     -0.0F, -5.208333333e-03F, -0.66666667F, -1.0F, -0.33333333F, -0.5F, -0.16666667F, -0.25F};
  static constexpr float kNf4[16] = {-1.0F,
                                     -0.6961928009986877F,
                                     -0.5250730514526367F,
                                     -0.39491748809814453F,
                                     -0.28444138169288635F,
                                     -0.18477343022823334F,
                                     -0.09105003625154495F,
                                     0.0F,
                                     0.07958029955625534F,
                                     0.16093020141124725F,
                                     0.24611230194568634F,
                                     0.33791524171829224F,
                                     0.44070982933044434F,
                                     0.5626170039176941F,
                                     0.7229568362236023F,
                                     1.0F};
  TENON_ASSIGN_OR_RETURN(Bnb4 q, bnb4_of(node));
  Body body;
  ExprPool& p = *body.pool;
  body.kind = ComputeKind::kContraction;
  body.dtype = node.output(0)->dtype();
  body.acc_dtype = accumulator_of(body.dtype);
  body.axes = out_dims(node);
  body.reduce_axes = {q.k};
  const size_t rank = body.axes.size();
  auto number = [&](int64_t v) { return p.constant_int(DType::kI64, v); };
  const Expr n = p.index(static_cast<int>(rank - 1)), k = p.index(static_cast<int>(rank));
  const Expr flat = n * number(q.k) + k;
  const Expr byte = p.cast(p.load(1, DType::kU8, unflatten(p, floor_div(flat, number(2)), dims_of(node, 1))), DType::kI32);
  const std::vector<Expr> high = {byte, p.constant_int(DType::kI32, 4)}, low = {byte, p.constant_int(DType::kI32, 15)};
  const Expr code = select(mod(flat, number(2)) == 0.0, p.op(ScalarOp::kShr, high), p.op(ScalarOp::kAnd, low));
  const Expr scale = load_as(p, node, 2, unflatten(p, floor_div(flat, number(q.block)), dims_of(node, 2)), DType::kF32);
  const Expr weight = pick(p, std::span<const float, 16>(q.type == 0 ? kFp4 : kNf4), code) * scale;
  std::vector<Expr> a_at = index_range(p, 0, rank - 1);
  a_at.push_back(k);
  body.value = load_as(p, node, 0, a_at, body.acc_dtype) * p.cast(weight, body.acc_dtype);
  return std::vector<Body>{std::move(body)};
}

// ---- GatherBlockQuantized

constexpr DTypeSet kFourBits = dtypes(DType::kI4, DType::kU4);
constexpr DTypeSet kSmallFloats = kFloat8 | dtypes(DType::kF4E2M1);

struct BlockGather {
  size_t gather, quantize;   // axes
  Dim block;                 // of elements on the quantised axis
  int64_t bits = 0, per_byte = 1;  // packed bytes hold several elements of the last axis
  Dims logical;              // shape of the elements
};

Result<BlockGather> block_gather(const Node& node) {
  const Dims& data = dims_of(node, 0);
  const DType type = node.input(0)->dtype();
  const int64_t rank = static_cast<int64_t>(data.size());
  BlockGather g;
  if (rank == 0) return error(Code::kInvalidModel, "data is a scalar");
  TENON_ASSIGN_OR_RETURN(const int64_t gather, normalize_axis(node.attr_int("gather_axis", 0), rank, "gather_axis"));
  TENON_ASSIGN_OR_RETURN(const int64_t quantize, normalize_axis(node.attr_int("quantize_axis", 1), rank, "quantize_axis"));
  g.gather = static_cast<size_t>(gather), g.quantize = static_cast<size_t>(quantize);
  g.bits = node.attr_int("bits", 4);
  g.logical = data;
  if (type == DType::kU8) {
    if (g.bits != 2 && g.bits != 4 && g.bits != 8) return error(Code::kInvalidModel, "attribute bits is {}; it must be 2, 4 or 8", g.bits);
    if (gather != 0 || quantize != rank - 1 || rank < 2)
      return error(Code::kInvalidModel, "packed data must be gathered on its first axis and quantised on its last");
    g.per_byte = 8 / g.bits;
    g.logical.back() = g.logical.back() * g.per_byte;
  }
  const int64_t block = node.attr_int("block_size", 128);
  const bool whole = block == 0 && (kSmallFloats & dtype_bit(type)) != 0;
  if (!whole && (block < 16 || block > INT32_MAX || (block & (block - 1)) != 0))
    return error(Code::kInvalidModel, "attribute block_size is {}; it must be a power of two from 16", block);
  g.block = whole ? max(g.logical[g.quantize], 1) : Dim(block);
  return g;
}

Status infer_block_gather(InferContext& c) {
  const DType type = c.dtype(2);
  c.set(0, unranked(type));
  if (!c.ranked(0) || !c.ranked(1)) return {};
  Result<BlockGather> g = block_gather(c.node());
  if (!g.ok()) return std::move(g).status().at(c.node().name());
  const bool floats = (kSmallFloats & dtype_bit(c.dtype(0))) != 0;
  if (floats && c.has(3)) return c.fail("data of floats takes no zero points");
  TENON_RETURN_IF_ERROR(require_rank(c, 2, static_cast<int64_t>(g->logical.size())));
  TENON_RETURN_IF_ERROR(require_rank(c, 3, static_cast<int64_t>(g->logical.size())));
  for (size_t i = 0; i < g->logical.size(); ++i) {
    const Dim blocks = i == g->quantize ? ceil_div(g->logical[i], g->block) : g->logical[i];
    if (c.ranked(2) && !(floats && i != g->quantize && c.shape(2)[i].is_const(1)))
      TENON_RETURN_IF_ERROR(require_equal(c, c.shape(2)[i], blocks, "scales and blocks"));
    if (c.has(3) && c.ranked(3))
      TENON_RETURN_IF_ERROR(require_equal(c, c.shape(3)[i], i == g->quantize ? ceil_div(blocks, g->per_byte) : blocks, "zero points and blocks"));
  }
  Dims out(g->logical.begin(), g->logical.begin() + static_cast<int64_t>(g->gather));
  out.insert(out.end(), c.shape(1).begin(), c.shape(1).end());
  out.insert(out.end(), g->logical.begin() + static_cast<int64_t>(g->gather) + 1, g->logical.end());
  c.set(0, tensor_of(type, std::move(out)));
  return {};
}

/// An element of packed bytes, or of a tensor of small numbers, as f32.
Expr element_at(ExprPool& p, const Node& node, int operand, std::vector<Expr> at, const BlockGather& g) {
  if (g.per_byte == 1) return load_as(p, node, operand, at, DType::kF32);
  const Expr per_byte = p.constant_int(DType::kI64, g.per_byte), position = mod(at.back(), per_byte);
  at.back() = floor_div(at.back(), per_byte);
  return p.cast(bits_at(p, p.load(operand, DType::kU8, at), position, g.bits), DType::kF32);
}

Result<std::vector<Body>> block_gather_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(BlockGather g, block_gather(node));
  Body body;
  ExprPool& p = *body.pool;
  body.kind = ComputeKind::kMovement;
  body.dtype = node.output(0)->dtype();
  body.axes = out_dims(node);
  const size_t rank = g.logical.size(), inner = dims_of(node, 1).size();
  const Expr extent = p.dim(g.logical[g.gather]);
  Expr index = load_as(p, node, 1, index_range(p, g.gather, inner), DType::kI64);
  index = p.checked_index(select(index < 0.0, index + extent, index), extent);
  std::vector<Expr> at = index_range(p, 0, g.gather);
  at.push_back(index);
  for (Expr e : index_range(p, g.gather + inner, rank - g.gather - 1)) at.push_back(e);
  std::vector<Expr> block = at;
  block[g.quantize] = floor_div(block[g.quantize], p.dim(g.block));
  Expr value = element_at(p, node, 0, at, g);
  if (node.has_input(3)) value = value - element_at(p, node, 3, block, g);
  else if (node.input(0)->dtype() == DType::kU8) value = value - static_cast<double>(int64_t{1} << (g.bits - 1));
  const Dims& scales = dims_of(node, 2);
  for (size_t i = 0; i < rank; ++i)
    if (scales[i].is_const(1)) block[i] = p.constant_int(DType::kI64, 0);
  body.value = p.cast(value * load_as(p, node, 2, block, DType::kF32), body.dtype);
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
      {.domain = "com.microsoft",
       .name = "MatMulBnb4",
       .inputs = {{"A", "T1", kReal}, {"B", "T2", dtypes(DType::kU8)}, {"absmax", "T1", kReal}},
       .outputs = {{"Y", "T1", kReal}},
       .attrs = {{"K", AttrKind::kInt, true},
                 {"N", AttrKind::kInt, true},
                 {"block_size", AttrKind::kInt, true},
                 {"quant_type", AttrKind::kInt, true},
                 {"training_mode", AttrKind::kInt, false, "0"},
                 {"transB", AttrKind::kInt, false, "1"}},
       .infer = infer_matmul_bnb4,
       .compute = {.body = matmul_bnb4_body},
       .doc = "Product with weights in bitsandbytes' FP4 or NF4 (ONNX Runtime contrib ops)."},
      {.domain = "com.microsoft",
       .name = "GatherBlockQuantized",
       .inputs = {{"data", "T1", kFourBits | kSmallFloats | dtypes(DType::kU8)},
                  {"indices", "Tind", dtypes(DType::kI32, DType::kI64)},
                  {"scales", "T2", kReal},
                  {"zero_points", "T1", kFourBits | dtypes(DType::kU8), true}},
       .outputs = {{"output", "T2", kReal}},
       .attrs = {{"bits", AttrKind::kInt, false, "4"},
                 {"block_size", AttrKind::kInt, false, "128"},
                 {"gather_axis", AttrKind::kInt, false, "0"},
                 {"quantize_axis", AttrKind::kInt, false, "1"}},
       .infer = infer_block_gather,
       .compute = {.body = block_gather_body},
       .doc = "Gather from data quantised in blocks, dequantised (ONNX Runtime contrib ops)."},
  };
}

}  // namespace tenon::ir
