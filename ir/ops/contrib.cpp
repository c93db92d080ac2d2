#include <algorithm>
#include <cmath>
#include <limits>

#include "ir/ops/attention.h"
#include "ir/ops/families.h"

/// com.microsoft ops that ONNX Runtime's graph optimisers write (its docs/ContribOperators.md).
namespace tenon::ir {
namespace {

using Values = Result<std::vector<Value*>>;
constexpr DTypeSet kReal = kFloat16To64;
constexpr DTypeSet kInt32 = dtypes(DType::kI32);
constexpr DTypeSet kIds = dtypes(DType::kI32, DType::kI64);

// ---- Activations with bias

Status infer_bias_activation(InferContext& c) {
  if (c.has(1) && c.ranked(1) && c.ranked(0)) {
    TENON_RETURN_IF_ERROR(require_rank(c, 1, 1));
    TENON_RETURN_IF_ERROR(require_rank_at_least(c, 0, 1));
    if (!c.shape(1)[0].is_const(1)) TENON_RETURN_IF_ERROR(require_equal(c, c.shape(1)[0], c.shape(0).back(), "bias and the last axis"));
  }
  return infer_same(c);
}

Result<std::vector<Body>> activation_body(const Node& node) {
  Body body;
  ExprPool& p = *body.pool;
  body.dtype = node.output(0)->dtype();
  body.axes = out_dims(node);
  DType acc = accumulator_of(body.dtype);
  size_t rank = body.axes.size();
  Expr x = load_as(p, node, 0, index_range(p, 0, rank), acc);
  if (node.has_input(1)) x = x + load_as(p, node, 1, broadcast_indices(p, dims_of(node, 1), rank), acc);
  std::string_view op = node.op().name;
  Expr y;
  if (op == "FastGelu") {
    // sqrt(2/pi) (x + 0.044715 x³) (Hendrycks and Gimpel 2016).
    Expr inner = x * (x * x * 0.035677408136300125 + 0.7978845608028654);
    y = x * 0.5 * (tanh(inner) + 1.0);
  } else if (op == "QuickGelu") {
    y = x * sigmoid(x * node.attr_float("alpha", 1.702));
  } else {
    y = x * 0.5 * (erf(x * std::sqrt(0.5)) + 1.0);
  }
  body.value = p.cast(y, body.dtype);
  return std::vector<Body>{std::move(body)};
}

// ---- SkipLayerNormalization and its relatives

Status infer_skip_norm(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_rank_at_least(c, 0, 1));
  bool simplified = c.node().op().name == "SkipSimplifiedLayerNormalization";
  for (int i : {2, 3}) TENON_RETURN_IF_ERROR(require_rank(c, i, 1));
  if (!simplified) TENON_RETURN_IF_ERROR(require_rank(c, 4, 1));
  TENON_RETURN_IF_ERROR(infer_same(c));
  for (int o = 1; o < c.node().num_outputs() && o < 3; ++o) {
    if (!c.ranked(0)) {
      c.set(o, unranked(DType::kF32));
      continue;
    }
    Dims stat = c.shape(0);
    stat.back() = 1;
    c.set(o, tensor_of(DType::kF32, std::move(stat)));
  }
  if (c.node().num_outputs() > 3) c.set(3, c.in(0));
  return {};
}

DType wide(DType d) { return d == DType::kF16 || d == DType::kBF16 ? DType::kF32 : d; }

struct NormOutputs {
  Value *y, *mean, *inv_std;
};

NormOutputs norm_last_axis(Steps& s, Value* sum, Value* gamma, Value* beta, double epsilon, bool subtract_mean) {
  if (sum == nullptr) return {};
  DType type = sum->dtype(), acc = wide(type);
  std::vector<int64_t> axes = {sum->tensor().rank() - 1};
  Normalized n = normalize(s, s.cast(sum, acc), axes, epsilon, subtract_mean);
  Value* y = s.mul(n.y, s.cast(gamma, acc));
  if (beta != nullptr) y = s.add(y, s.cast(beta, acc));
  return {s.cast(y, type), s.cast(n.mean, DType::kF32), s.cast(n.inv_std, DType::kF32)};
}

Values decompose_skip_norm(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  bool simplified = node.op().name == "SkipSimplifiedLayerNormalization";
  Value* sum = s.add(s.in(0), s.in(1));
  Value* bias = s.in(simplified ? 3 : 4);
  if (bias != nullptr) sum = s.add(sum, bias);
  NormOutputs n = norm_last_axis(s, sum, s.in(2), simplified ? nullptr : s.in(3), node.attr_float("epsilon", 1e-12), !simplified);
  std::vector<Value*> out = {n.y, n.mean != nullptr ? n.mean : n.inv_std, n.inv_std, sum};
  out.resize(static_cast<size_t>(node.num_outputs()));
  return s.done(std::move(out));
}

// ---- EmbedLayerNormalization

Status infer_embed_norm(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_rank(c, 0, 2));
  for (int i : {2, 3, 4}) TENON_RETURN_IF_ERROR(require_rank(c, i, 2));
  DType type = c.dtype(2);
  bool known = c.ranked(0) && c.ranked(2);
  c.set(0, known ? tensor_of(type, {c.shape(0)[0], c.shape(0)[1], c.shape(2)[1]}) : unranked(type));
  if (c.node().num_outputs() > 1) c.set(1, c.ranked(0) ? tensor_of(DType::kI32, {c.shape(0)[0]}) : unranked(DType::kI32));
  if (c.node().num_outputs() > 2) c.set(2, c.node().output(0)->type());
  return {};
}

Values decompose_embed_norm(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  const Dims ids = dims_of(node, 0);
  const std::pair<std::string_view, Attr> axis0 = {"axis", int64_t{0}};
  Value* sum = b.make("Gather", {s.in(2), s.in(0)}, {axis0});
  Value* position = node.has_input(8) ? b.make("Gather", {s.in(3), s.in(8)}, {axis0}) : s.slice(s.in(3), 0, 0, ids[1]);
  sum = s.add(sum, position);
  if (node.has_input(1) && node.has_input(4)) sum = s.add(sum, b.make("Gather", {s.in(4), s.in(1)}, {axis0}));
  NormOutputs n = norm_last_axis(s, sum, s.in(5), s.in(6), node.attr_float("epsilon", 1e-12), true);
  std::vector<Value*> out = {n.y};
  if (node.num_outputs() > 1) {
    std::vector<int64_t> axes = {1};
    out.push_back(node.has_input(7) ? s.cast(s.reduce("ReduceSum", s.in(7), axes, false), DType::kI32) : s.expand(b.scalar(DType::kI32, 0), {ids[0]}));
  }
  if (node.num_outputs() > 2) out.push_back(sum);
  return s.done(std::move(out));
}

// ---- Attention

struct Sizes {
  int64_t heads = 0;
  Dim batch, seq, q, k, v, past = 0;  // q, k, v: components over all heads
};

Result<Sizes> attention_sizes(const Node& node) {
  const Dims &x = dims_of(node, 0), &w = dims_of(node, 1);
  Sizes z;
  z.heads = node.attr_int("num_heads", 0);
  if (x.size() != 3 || w.size() != 2) return error(Code::kInvalidModel, "the input must have rank 3 and the weights rank 2");
  if (z.heads <= 0) return error(Code::kInvalidModel, "attribute num_heads is {}; it must be positive", z.heads);
  if (known_ne(x[2], w[0])) return error(Code::kInvalidModel, "the input has {} components, the weights {}", to_string(x[2]), to_string(w[0]));
  z.batch = x[0];
  z.seq = x[1];
  std::vector<int64_t> sizes = node.attr_ints("qkv_hidden_sizes");
  if (sizes.empty()) {
    z.q = z.k = z.v = floor_div(w[1], 3);
  } else {
    if (sizes.size() != 3 || *std::min_element(sizes.begin(), sizes.end()) < 0)
      return error(Code::kInvalidModel, "attribute qkv_hidden_sizes must hold 3 sizes");
    z.q = sizes[0], z.k = sizes[1], z.v = sizes[2];
  }
  for (Dim d : {z.q, z.k, z.v})
    if (d.is_const() && d.value() % z.heads != 0)
      return error(Code::kInvalidModel, "{} components do not divide into {} heads", d.value(), z.heads);
  if (known_ne(z.q + z.k + z.v, w[1])) return error(Code::kInvalidModel, "the weights have {} columns, not {}", to_string(w[1]), to_string(z.q + z.k + z.v));
  if (node.has_input(4)) {
    const Dims& past = dims_of(node, 4);
    if (past.size() != 5) return error(Code::kInvalidModel, "past has rank {} where 5 is needed", past.size());
    z.past = past[3];
  }
  return z;
}

Status infer_ms_attention(InferContext& c) {
  DType type = c.dtype(0);
  for (int i : {0, 1, 4})
    if (c.has(i) && !c.ranked(i)) {
      for (int o = 0; o < c.node().num_outputs(); ++o) c.set(o, unranked(type));
      return {};
    }
  Result<Sizes> z = attention_sizes(c.node());
  if (!z.ok()) return std::move(z).status().at(c.node().name());
  if (c.node().attr_int("do_rotary", 0) != 0) return c.fail("do_rotary is not supported here; use RotaryEmbedding nodes");
  c.set(0, tensor_of(type, {z->batch, z->seq, z->v}));
  if (c.node().num_outputs() > 1)
    c.set(1, tensor_of(type, {2, z->batch, z->heads, z->past + z->seq, floor_div(z->k, z->heads)}));
  return {};
}

/// A mask of ONNX Runtime's attention ops as scores to add: 0 where a key counts, `masked` elsewhere.
/// [batch]: lengths; [2 batch]: ends, then starts; [batch, keys], [batch, queries, keys], [batch, 1, max, max]: 1 keeps.
Result<Value*> key_mask(Steps& s, Value* mask, DType type, Dim batch, Dim queries, Dim keys, double masked) {
  Builder& b = s.builder();
  if (mask == nullptr) return nullptr;
  const Dims d = *mask->tensor().dims;
  Value* keep = nullptr;
  if (d.size() == 1) {
    Value* at = s.reshape(positions(s, keys), {1, 1, 1, keys});
    Value* ends = s.cast(mask, DType::kI64);
    if (known_eq(d[0], batch * 2) && !known_eq(d[0], batch)) {
      Value* starts = s.reshape(s.slice(ends, 0, batch, batch * 2), {batch, 1, 1, 1});
      ends = s.reshape(s.slice(ends, 0, 0, batch), {batch, 1, 1, 1});
      keep = b.make("And", {b.make("Less", {at, ends}), b.make("GreaterOrEqual", {at, starts})});
    } else if (known_eq(d[0], batch)) {
      keep = b.make("Less", {at, s.reshape(ends, {batch, 1, 1, 1})});
    } else {
      return Status(Code::kUnsupported, fmt::format("a key mask of {} elements", to_string(d[0])), s.node().name(), "use a mask of rank 2");
    }
  } else {
    Value* m = s.cast(mask, DType::kBool);
    if (d.size() == 2) keep = s.reshape(m, {d[0], 1, 1, d[1]});
    else if (d.size() == 3) keep = s.reshape(m, {d[0], 1, d[1], d[2]});
    else if (d.size() == 4) keep = s.slice(s.slice(m, 2, keys - queries, keys), 3, 0, keys);
    else return Status(Code::kInvalidModel, fmt::format("a key mask of rank {}", d.size()), s.node().name());
  }
  return b.make("Where", {keep, b.scalar(type, 0), b.scalar(type, masked)});
}

Values decompose_ms_attention(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  TENON_ASSIGN_OR_RETURN(Sizes z, attention_sizes(node));
  Steps s(node, b);
  DType type = s.in(0)->dtype();
  Value* qkv = s.matmul(s.in(0), s.in(1));
  if (node.has_input(2)) qkv = s.add(qkv, s.in(2));
  TENON_RETURN_IF_ERROR(b.status());
  AttentionSpec spec;
  spec.q = split_heads(s, s.slice(qkv, 2, 0, z.q), z.heads);
  spec.k = split_heads(s, s.slice(qkv, 2, z.q, z.q + z.k), z.heads);
  spec.v = split_heads(s, s.slice(qkv, 2, z.q + z.k, z.q + z.k + z.v), z.heads);
  TENON_RETURN_IF_ERROR(b.status());
  Dim keys = z.past + z.seq;
  if (node.has_input(4)) {
    Dims half = {z.batch, z.heads, z.past, floor_div(z.k, z.heads)};
    spec.k = s.concat({s.reshape(s.slice(s.in(4), 0, 0, 1), half), spec.k}, 2);
    spec.v = s.concat({s.reshape(s.slice(s.in(4), 0, 1, 2), half), spec.v}, 2);
    TENON_RETURN_IF_ERROR(b.status());
  }
  spec.scale = node.attr_float("scale", 0);
  TENON_ASSIGN_OR_RETURN(Value* mask, key_mask(s, s.in(3), type, z.batch, z.seq, keys, node.attr_float("mask_filter_value", -10000)));
  spec.biases = {mask, s.in(5)};
  if (node.attr_int("unidirectional", 0) != 0) {
    double lowest = type == DType::kF16 ? -65504 : static_cast<double>(std::numeric_limits<float>::lowest());
    spec.biases.push_back(causal_bias(s, type, z.seq, keys, z.past, lowest));
  }
  std::vector<Value*> out = {merge_heads(s, attend(s, spec).y)};
  if (node.num_outputs() > 1) {
    Dims one = {1, z.batch, z.heads, keys, floor_div(z.k, z.heads)};
    out.push_back(s.concat({s.reshape(spec.k, one), s.reshape(spec.v, one)}, 0));
  }
  return s.done(std::move(out));
}

// ---- MultiHeadAttention

struct MultiHead {
  int64_t heads = 0;
  Dim batch, queries, keys, past = 0, k_size, v_size;  // sizes of one head
};

Result<MultiHead> multi_head_sizes(const Node& node) {
  MultiHead m;
  m.heads = node.attr_int("num_heads", 0);
  if (m.heads <= 0) return error(Code::kInvalidModel, "attribute num_heads is {}; it must be positive", m.heads);
  const Dims& q = dims_of(node, 0);
  if (q.size() != 3 && q.size() != 5) return error(Code::kInvalidModel, "query has rank {}; it must be 3 or 5", q.size());
  if (q.size() == 3 && !node.has_input(1)) return error(Code::kInvalidModel, "key is missing");
  m.batch = q[0], m.queries = q[1];
  m.keys = q[1];
  m.k_size = m.v_size = q.size() == 5 ? q[4] : floor_div(q[2], m.heads);
  if (node.has_input(1)) {
    const Dims& k = dims_of(node, 1);
    if (k.size() < 3 || k.size() > 5) return error(Code::kInvalidModel, "key has rank {}", k.size());
    m.keys = k.size() == 4 ? k[2] : k[1];
    m.k_size = k.size() == 3 ? floor_div(k[2], m.heads) : k.back();
    m.v_size = m.k_size;
  }
  if (node.has_input(2)) {
    const Dims& v = dims_of(node, 2);
    if (v.size() != 3 && v.size() != 4) return error(Code::kInvalidModel, "value has rank {}", v.size());
    m.v_size = v.size() == 3 ? floor_div(v[2], m.heads) : v[3];
  } else if (q.size() == 3 && !(node.has_input(1) && dims_of(node, 1).size() == 5)) {
    return error(Code::kInvalidModel, "value is missing");
  }
  if (node.has_input(6)) {
    if (dims_of(node, 6).size() != 4 || !node.has_input(7)) return error(Code::kInvalidModel, "past_key and past_value must have rank 4");
    m.past = dims_of(node, 6)[2];
  }
  return m;
}

Status infer_multi_head(InferContext& c) {
  DType type = c.dtype(0);
  for (int i : {0, 1, 2, 6, 7})
    if (c.has(i) && !c.ranked(i)) {
      for (int o = 0; o < c.node().num_outputs(); ++o) c.set(o, unranked(type));
      return {};
    }
  Result<MultiHead> m = multi_head_sizes(c.node());
  if (!m.ok()) return std::move(m).status().at(c.node().name());
  if (c.has(8) || c.has(9)) return c.fail("shared past buffers (past_sequence_length, cache_indirection) are not supported");
  Dim total = m->past + m->keys;
  Dims out[] = {{m->batch, m->queries, m->v_size * m->heads},
                {m->batch, m->heads, total, m->k_size},
                {m->batch, m->heads, total, m->v_size},
                {m->batch, m->heads, m->queries, total}};
  for (int o = 0; o < c.node().num_outputs() && o < 4; ++o) c.set(o, tensor_of(type, out[o]));
  return {};
}

/// [batch, sequence, heads, parts, size] to one part as [batch, heads, sequence, size].
Value* packed_part(Steps& s, Value* x, int64_t part) {
  if (x == nullptr) return nullptr;
  const Dims d = *x->tensor().dims;
  return s.transpose(s.reshape(s.slice(x, 3, part, part + 1), {d[0], d[1], d[2], d[4]}), {0, 2, 1, 3});
}

Values decompose_multi_head(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  TENON_ASSIGN_OR_RETURN(MultiHead m, multi_head_sizes(node));
  Steps s(node, b);
  DType type = s.in(0)->dtype();
  AttentionSpec spec;
  Dim qw = m.k_size * m.heads, vw = m.v_size * m.heads;
  auto with_bias = [&](Value* x, Dim from, Dim to) { return node.has_input(3) ? s.add(x, s.slice(s.in(3), 0, from, to)) : x; };
  auto heads_of = [&](Value* x, Dim from, Dim to) {
    return x->tensor().rank() == 4 ? x : split_heads(s, with_bias(x, from, to), m.heads);
  };
  if (dims_of(node, 0).size() == 5) {
    spec.q = packed_part(s, s.in(0), 0);
    spec.k = packed_part(s, s.in(0), 1);
    spec.v = packed_part(s, s.in(0), 2);
  } else {
    spec.q = heads_of(s.in(0), 0, qw);
    bool packed = dims_of(node, 1).size() == 5;
    spec.k = packed ? packed_part(s, s.in(1), 0) : heads_of(s.in(1), qw, qw * 2);
    spec.v = packed ? packed_part(s, s.in(1), 1) : heads_of(s.in(2), qw * 2, qw * 2 + vw);
  }
  TENON_RETURN_IF_ERROR(b.status());
  if (node.has_input(6)) {
    spec.k = s.concat({s.in(6), spec.k}, 2);
    spec.v = s.concat({s.in(7), spec.v}, 2);
  }
  Dim keys = m.past + m.keys;
  TENON_ASSIGN_OR_RETURN(Value* mask, key_mask(s, s.in(4), type, m.batch, m.queries, keys, node.attr_float("mask_filter_value", -10000)));
  spec.biases = {mask, s.in(5)};
  if (node.attr_int("unidirectional", 0) != 0)
    spec.biases.push_back(causal_bias(s, type, m.queries, keys, keys - m.queries, type == DType::kF16 ? -65504 : -3.4028234663852886e38));
  spec.scale = node.attr_float("scale", 0);
  TENON_RETURN_IF_ERROR(b.status());
  AttentionResult r = attend(s, spec);
  std::vector<Value*> out = {merge_heads(s, r.y), spec.k, spec.v, r.scores};
  out.resize(static_cast<size_t>(node.num_outputs()));
  return s.done(std::move(out));
}

// ---- MatMulNBits

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

OpDef activation(std::string_view name, bool bias, bool bias_optional, std::vector<AttrDef> attrs, std::string_view doc) {
  OpDef def{.domain = "com.microsoft", .name = name, .inputs = {{"X", "T", kReal}}, .outputs = {{"Y", "T", kReal}},
            .attrs = std::move(attrs), .infer = infer_bias_activation, .compute = {.body = activation_body}, .doc = doc};
  if (bias) def.inputs.push_back({"bias", "T", kReal, bias_optional});
  return def;
}

std::vector<OpDef> norm_ops() {
  constexpr DTypeSet kFloat = dtypes(DType::kF32);
  const std::vector<Param> outputs = {{"output", "T", kReal}, {"mean", "U", kFloat, true}, {"inv_std_var", "U", kFloat, true},
                                      {"input_skip_bias_sum", "T", kReal, true}};
  const std::vector<AttrDef> attrs = {{"epsilon", AttrKind::kFloat, false, "1e-12"}};
  return {
      {.domain = "com.microsoft", .name = "SkipLayerNormalization",
       .inputs = {{"input", "T", kReal}, {"skip", "T", kReal}, {"gamma", "T", kReal}, {"beta", "T", kReal, true}, {"bias", "T", kReal, true}},
       .outputs = outputs, .attrs = attrs, .infer = infer_skip_norm, .compute = {.decompose = decompose_skip_norm},
       .doc = "LayerNormalization of input + skip + bias."},
      {.domain = "com.microsoft", .name = "SkipSimplifiedLayerNormalization",
       .inputs = {{"input", "T", kReal}, {"skip", "T", kReal}, {"gamma", "T", kReal}, {"bias", "T", kReal, true}},
       .outputs = outputs, .attrs = attrs, .infer = infer_skip_norm, .compute = {.decompose = decompose_skip_norm},
       .doc = "RMSNormalization of input + skip + bias."},
      {.domain = "com.microsoft", .name = "EmbedLayerNormalization",
       .inputs = {{"input_ids", "T1", kIds}, {"segment_ids", "T1", kIds, true}, {"word_embedding", "T", kReal},
                  {"position_embedding", "T", kReal}, {"segment_embedding", "T", kReal, true}, {"gamma", "T", kReal}, {"beta", "T", kReal},
                  {"mask", "T1", kIds, true}, {"position_ids", "T1", kIds, true}},
       .outputs = {{"output", "T", kReal}, {"mask_index", "M", kInt32, true}, {"embedding_sum", "T", kReal, true}},
       .attrs = {{"epsilon", AttrKind::kFloat, false, "1e-12"}, {"mask_index_type", AttrKind::kInt, false, "0"}},
       .infer = infer_embed_norm, .compute = {.decompose = decompose_embed_norm},
       .doc = "Sum of word, position and segment embeddings, normalised."},
  };
}

}  // namespace

std::vector<OpDef> contrib_ops() {
  std::vector<OpDef> ops = {
      activation("Gelu", false, false, {}, "x Phi(x)."),
      activation("FastGelu", true, true, {}, "Gelu's tanh form, of x + bias."),
      activation("BiasGelu", true, false, {}, "Gelu of x + bias."),
      activation("QuickGelu", false, false, {{"alpha", AttrKind::kFloat, false, "1.702"}}, "x sigmoid(alpha x)."),
      {.domain = "com.microsoft", .name = "Attention",
       .inputs = {{"input", "T", kReal}, {"weights", "T", kReal}, {"bias", "T", kReal, true}, {"mask_index", "M", kInt32, true},
                  {"past", "T", kReal, true}, {"attention_bias", "T", kReal, true}, {"past_sequence_length", "M", kInt32, true}},
       .outputs = {{"output", "T", kReal}, {"present", "T", kReal, true}},
       .attrs = {{"do_rotary", AttrKind::kInt, false, "0"}, {"mask_filter_value", AttrKind::kFloat, false, "-10000"},
                 {"num_heads", AttrKind::kInt, true}, {"past_present_share_buffer", AttrKind::kInt, false, "0"},
                 {"qkv_hidden_sizes", AttrKind::kInts}, {"rotary_embedding_dim", AttrKind::kInt, false, "0"},
                 {"scale", AttrKind::kFloat}, {"unidirectional", AttrKind::kInt, false, "0"}},
       .infer = infer_ms_attention, .compute = {.decompose = decompose_ms_attention},
       .doc = "Projection to queries, keys and values, and multi-head attention."},
      {.domain = "com.microsoft", .name = "MultiHeadAttention",
       .inputs = {{"query", "T", kReal}, {"key", "T", kReal, true}, {"value", "T", kReal, true}, {"bias", "T", kReal, true},
                  {"key_padding_mask", "M", kInt32, true}, {"attention_bias", "T", kReal, true}, {"past_key", "T", kReal, true},
                  {"past_value", "T", kReal, true}, {"past_sequence_length", "M", kInt32, true}, {"cache_indirection", "M", kInt32, true}},
       .outputs = {{"output", "T", kReal}, {"present_key", "T", kReal, true}, {"present_value", "T", kReal, true}, {"qk", "QK", kReal, true}},
       .attrs = {{"mask_filter_value", AttrKind::kFloat, false, "-10000"}, {"num_heads", AttrKind::kInt, true}, {"scale", AttrKind::kFloat},
                 {"unidirectional", AttrKind::kInt, false, "0"}},
       .infer = infer_multi_head, .compute = {.decompose = decompose_multi_head},
       .doc = "Multi-head attention of projected inputs."},
      {.domain = "com.microsoft", .name = "MatMulNBits",
       .inputs = {{"A", "T1", kReal}, {"B", "T2", dtypes(DType::kU8)}, {"scales", "T1", kReal},
                  {"zero_points", "T3", kReal | dtypes(DType::kU8), true}, {"g_idx", "T4", kInt32, true}, {"bias", "T1", kReal, true}},
       .outputs = {{"Y", "T1", kReal}},
       .attrs = {{"K", AttrKind::kInt, true}, {"N", AttrKind::kInt, true}, {"accuracy_level", AttrKind::kInt, false, "0"},
                 {"bits", AttrKind::kInt, false, "4"}, {"block_size", AttrKind::kInt, true}},
       .infer = infer_matmul_nbits, .compute = {.body = matmul_nbits_body},
       .doc = "Product with weights of 2, 4 or 8 bits quantised in blocks."},
  };
  for (OpDef& op : norm_ops()) ops.push_back(std::move(op));
  return ops;
}

}  // namespace tenon::ir
