#include <algorithm>
#include <limits>

#include "ir/ops/contrib.h"
#include "ir/ops/ms_attention.h"

/// com.microsoft attention of projected inputs: MultiHeadAttention, DecoderMaskedMultiHeadAttention.
namespace tenon::ir {
namespace {

using Values = Result<std::vector<Value*>>;
constexpr DTypeSet kReal = kFloat16To64;
constexpr DTypeSet kInt32 = dtypes(DType::kI32);

/// Where the operands stand among the inputs.
struct Layout {
  int mask, attention_bias, past_key, past_length, indirection, bias;
  bool decoder;
};
constexpr Layout kMultiHead = {4, 5, 6, 8, 9, 3, false};
constexpr Layout kDecoder = {3, 4, 5, 7, 9, 10, true};

struct MultiHead {
  int64_t heads = 0;
  Dim batch, queries, keys, past = 0, k_size, v_size;  // sizes of one head; keys: new ones
  Dim total;              // rows of keys that scores are made of
  bool shared = false;    // past and present are one buffer, of which past_sequence_length rows are filled
  bool packed = false;    // [.., q | k | v] in the query (decoder)
};

Status check_past(const Node& node, const Layout& at, MultiHead& m) {
  const Dims &k = dims_of(node, at.past_key), &v = dims_of(node, at.past_key + 1);
  if (k.size() != 4 || v.size() != 4) return error(Code::kInvalidModel, "past_key and past_value must have rank 4");
  const Dims want_k = {m.batch, m.heads, k[2], m.k_size}, want_v = {m.batch, m.heads, k[2], m.v_size};
  for (size_t i = 0; i < 4; ++i)
    if (differ(node, k[i], want_k[i]) || differ(node, v[i], want_v[i]))
      return error(Code::kInvalidModel, "past_key or past_value does not fit the heads on axis {}", i);
  m.past = k[2];
  return {};
}

Result<MultiHead> multi_head_sizes(const Node& node, const Layout& at) {
  MultiHead m;
  m.heads = node.attr_int("num_heads", 0);
  if (m.heads <= 0) return error(Code::kInvalidModel, "attribute num_heads is {}; it must be positive", m.heads);
  const Dims& q = dims_of(node, 0);
  m.packed = at.decoder && !node.has_input(1) && !node.has_input(2);
  if (q.size() != 3 && (at.decoder || q.size() != 5)) return error(Code::kInvalidModel, "query has rank {}", q.size());
  if (q.size() == 3 && !m.packed && !node.has_input(1)) return error(Code::kInvalidModel, "key is missing");
  if (q.size() == 5 && (differ(node, q[2], m.heads) || differ(node, q[3], 3)))
    return error(Code::kInvalidModel, "a packed query must be [batch, sequence, {}, 3, size]", m.heads);
  if (q.size() == 3 && q[2].is_const() && q[2].value() % (m.heads * (m.packed ? 3 : 1)) != 0)
    return error(Code::kInvalidModel, "{} components do not divide into {} heads", q[2].value(), m.heads);
  m.batch = q[0], m.queries = q[1];
  m.keys = q[1];
  m.k_size = m.v_size = q.size() == 5 ? q[4] : floor_div(q[2], m.heads * (m.packed ? 3 : 1));
  if (q.size() == 5 && (node.has_input(1) || node.has_input(2))) return error(Code::kInvalidModel, "a packed query comes without key and value");
  if (node.has_input(1)) {
    const Dims& k = dims_of(node, 1);
    if (k.size() < 3 || k.size() > 5) return error(Code::kInvalidModel, "key has rank {}", k.size());
    m.keys = k.size() == 4 ? k[2] : k[1];
    if (differ(node, k[0], m.batch)) return error(Code::kInvalidModel, "the batch of query is {}, of key {}", to_string(m.batch), to_string(k[0]));
    if (k.size() == 4 && differ(node, k[1], m.heads)) return error(Code::kInvalidModel, "key has {} heads where {} are needed", to_string(k[1]), m.heads);
    const Dim size = k.size() == 3 ? floor_div(k[2], m.heads) : k.back();
    if (differ(node, size, m.k_size)) return error(Code::kInvalidModel, "queries have heads of {}, keys of {}", to_string(m.k_size), to_string(size));
    if (k.size() == 5 && (differ(node, k[2], m.heads) || differ(node, k[3], 2) || node.has_input(2)))
      return error(Code::kInvalidModel, "packed keys must be [batch, sequence, {}, 2, size], without value", m.heads);
  }
  if (node.has_input(2)) {
    const Dims& v = dims_of(node, 2);
    if (v.size() != 3 && v.size() != 4) return error(Code::kInvalidModel, "value has rank {}", v.size());
    if (differ(node, v[0], m.batch)) return error(Code::kInvalidModel, "the batch of query is {}, of value {}", to_string(m.batch), to_string(v[0]));
    if (differ(node, v[v.size() == 4 ? 2 : 1], m.keys)) return error(Code::kInvalidModel, "there are {} keys and {} values", to_string(m.keys), to_string(v[v.size() == 4 ? 2 : 1]));
    if (v.size() == 3 && v[2].is_const() && v[2].value() % m.heads != 0)
      return error(Code::kInvalidModel, "{} components do not divide into {} heads", v[2].value(), m.heads);
    if (v.size() == 4 && differ(node, v[1], m.heads)) return error(Code::kInvalidModel, "value has {} heads where {} are needed", to_string(v[1]), m.heads);
    m.v_size = v.size() == 3 ? floor_div(v[2], m.heads) : v[3];
  } else if (q.size() == 3 && !m.packed && !(node.has_input(1) && dims_of(node, 1).size() == 5)) {
    return error(Code::kInvalidModel, "value is missing");
  }
  if (node.has_input(at.past_key) != node.has_input(at.past_key + 1)) return error(Code::kInvalidModel, "past_key and past_value must come together");
  if (node.has_input(at.past_key)) TENON_RETURN_IF_ERROR(check_past(node, at, m));
  m.shared = at.decoder ? node.attr_int("past_present_share_buffer", 0) != 0 && node.has_input(at.past_key) : node.has_input(at.past_length);
  if (m.shared && (!node.has_input(at.past_length) || !node.has_input(at.past_key)))
    return error(Code::kInvalidModel, "a shared cache needs past_key, past_value and past_sequence_length");
  m.total = m.shared ? m.past : m.past + m.keys;
  return m;
}

Status infer_multi_head(InferContext& c, const Layout& at) {
  const DType type = c.dtype(0);
  const int outputs = c.node().num_outputs();
  for (int i : {0, 1, 2, at.past_key, at.past_key + 1, at.indirection, at.mask})
    if (c.has(i) && !c.ranked(i)) {
      for (int o = 0; o < outputs; ++o) c.set(o, unranked(type));
      return {};
    }
  Result<MultiHead> m = multi_head_sizes(c.node(), at);
  if (!m.ok()) return std::move(m).status().at(c.node().name());
  if (c.has(at.indirection)) {
    if (!m->shared) return c.fail("cache_indirection needs a shared cache");
    TENON_RETURN_IF_ERROR(require_rank(c, at.indirection, 3));
  }
  c.set(0, tensor_of(type, {m->batch, m->queries, m->v_size * m->heads}));
  if (outputs > 1) c.set(1, tensor_of(type, {m->batch, m->heads, m->total, m->k_size}));
  if (outputs > 2) c.set(2, tensor_of(type, {m->batch, m->heads, m->total, m->v_size}));
  if (outputs > 3) {
    Dim seen = m->total;
    if (m->shared) {
      const auto past = c.dim_values(at.past_length);
      seen = past && past->size() == 1 ? past->front() + m->keys : c.fresh_dim(3, 3);
    }
    c.set(3, tensor_of(type, {m->batch, m->heads, m->queries, seen}));
  }
  return {};
}

Status infer_multi_head_attention(InferContext& c) { return infer_multi_head(c, kMultiHead); }
Status infer_decoder(InferContext& c) {
  if (c.ranked(0) && c.shape(0).size() == 3 && c.differ(c.shape(0)[1], 1))
    return c.fail("query has {} positions; it must have 1", to_string(c.shape(0)[1]));
  return infer_multi_head(c, kDecoder);
}

/// [batch, sequence, heads, parts, size] to one part as [batch, heads, sequence, size].
Value* packed_part(Steps& s, Value* x, int64_t part) {
  if (x == nullptr) return nullptr;
  const Dims d = *x->tensor().dims;
  return s.transpose(s.reshape(s.slice(x, 3, part, part + 1), {d[0], d[1], d[2], d[4]}), {0, 2, 1, 3});
}

/// Queries, keys and values as [batch, heads, sequence, size], with their bias.
void read_operands(Steps& s, const Layout& at, const MultiHead& m, AttentionSpec& spec) {
  const Node& node = s.node();
  const Dim qw = m.k_size * m.heads, vw = m.v_size * m.heads;
  auto with_bias = [&](Value* x, Dim from, Dim to) {
    return node.has_input(at.bias) ? s.add(x, s.slice(s.in(at.bias), 0, from, to)) : x;
  };
  auto heads_of = [&](Value* x, Dim from, Dim to) {
    const Dims& d = *x->tensor().dims;
    return d.size() == 4 ? s.reshape(x, {d[0], m.heads, d[2], d[3]}) : split_heads(s, with_bias(x, from, to), m.heads);
  };
  auto packed_with_bias = [&](Value* x, int64_t part, Dim from, Dim to) {
    Value* y = packed_part(s, x, part);
    return node.has_input(at.bias) ? s.add(y, s.reshape(s.slice(s.in(at.bias), 0, from, to), {m.heads, 1, m.k_size})) : y;
  };
  if (m.packed) {
    Value* x = with_bias(s.in(0), 0, qw * 3);
    spec.q = head_slice(s, x, 0, qw, m.heads);
    spec.k = head_slice(s, x, qw, qw * 2, m.heads);
    spec.v = head_slice(s, x, qw * 2, qw * 3, m.heads);
  } else if (dims_of(node, 0).size() == 5) {
    spec.q = packed_with_bias(s.in(0), 0, 0, qw);
    spec.k = packed_with_bias(s.in(0), 1, qw, qw * 2);
    spec.v = packed_with_bias(s.in(0), 2, qw * 2, qw * 3);
  } else {
    const bool packed = dims_of(node, 1).size() == 5;
    spec.q = heads_of(s.in(0), 0, qw);
    spec.k = packed ? packed_with_bias(s.in(1), 0, qw, qw * 2) : heads_of(s.in(1), qw, qw * 2);
    spec.v = packed ? packed_with_bias(s.in(1), 1, qw * 2, qw * 3) : heads_of(s.in(2), qw * 2, qw * 2 + vw);
  }
}

/// Row k of batch entry b, taken from the beam that indirection [batches, beams, rows] says it came from.
Value* through_beams(Steps& s, Value* cache, Value* indirection) {
  Builder& b = s.builder();
  if (cache == nullptr) return nullptr;
  const Dims d = *cache->tensor().dims, from = *indirection->tensor().dims;
  Value* beams = s.slice(s.cast(indirection, DType::kI64), 2, 0, d[2]);
  Value* first = s.mul(s.reshape(positions(s, from[0]), {from[0], 1, 1}), s.dim_scalar(from[1]));
  Value* entry = s.reshape(s.add(beams, first), {d[0], d[2]});
  Value* row = s.add(s.mul(entry, s.dim_scalar(d[2])), positions(s, d[2]));
  Value* rows = s.reshape(s.transpose(cache, {0, 2, 1, 3}), {d[0] * d[2], d[1], d[3]});
  return s.transpose(b.make("Gather", {rows, row}, {{"axis", int64_t{0}}}), {0, 2, 1, 3});
}

Values decompose_multi_head(Node& node, Builder& b, const Layout& at) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  TENON_ASSIGN_OR_RETURN(MultiHead m, multi_head_sizes(node, at));
  Steps s(node, b);
  const DType type = s.in(0)->dtype();
  AttentionSpec spec;
  read_operands(s, at, m, spec);
  TENON_RETURN_IF_ERROR(b.status());
  Value* start = m.shared ? s.cast(s.reshape(s.in(at.past_length), {1}), DType::kI64) : nullptr;
  if (m.shared) {
    spec.k = append_rows(s, s.in(at.past_key), spec.k, start, m.total, true);
    spec.v = append_rows(s, s.in(at.past_key + 1), spec.v, start, m.total, true);
  } else if (node.has_input(at.past_key)) {
    spec.k = s.concat({s.in(at.past_key), spec.k}, 2);
    spec.v = s.concat({s.in(at.past_key + 1), spec.v}, 2);
  }
  Value *present_k = spec.k, *present_v = spec.v;
  if (m.shared && node.has_input(at.indirection)) {
    // What this step appends belongs to its own beam.
    Value* own = b.make("Where", {b.make("Less", {positions(s, m.total), start}), s.slice(s.cast(s.in(at.indirection), DType::kI64), 2, 0, m.total),
                                  s.reshape(positions(s, dims_of(node, at.indirection)[1]), {dims_of(node, at.indirection)[1], 1})});
    TENON_RETURN_IF_ERROR(b.status());
    spec.k = through_beams(s, spec.k, own);
    spec.v = through_beams(s, spec.v, own);
  }
  Value* mask = s.in(at.mask);
  Dim mask_keys = m.total;
  if (m.shared && mask != nullptr && mask->tensor().rank() >= 2) mask_keys = mask->tensor().dims->back();
  TENON_ASSIGN_OR_RETURN(mask, key_mask(s, mask, type, m.batch, m.queries, mask_keys, node.attr_float("mask_filter_value", -10000)));
  TENON_RETURN_IF_ERROR(b.status());
  spec.biases = {extend_bias(s, mask, m.total), extend_bias(s, s.in(at.attention_bias), m.total)};
  const bool causal = node.attr_int("unidirectional", 0) != 0;
  if (m.shared) {
    Value* last = causal ? s.add(s.reshape(positions(s, m.queries), {m.queries, 1}), start) : s.add(start, s.dim_scalar(m.keys - 1));
    Value* seen = b.make("LessOrEqual", {positions(s, m.total), last});
    spec.biases.push_back(b.make("Where", {seen, b.scalar(type, 0), b.scalar(type, -std::numeric_limits<double>::infinity())}));
  } else if (causal) {
    Value* bias = causal_bias(s, type, m.queries, m.total, m.past, causal_filter(type));
    // ONNX Runtime takes no key from the last query, also where keys lie behind the queries.
    if (m.past + m.queries != m.total) {
      Value* is_last = b.make("Equal", {s.reshape(positions(s, m.queries), {m.queries, 1}), s.dim_scalar(m.queries - 1)});
      bias = b.make("Where", {is_last, b.scalar(type, 0), bias});
    }
    spec.biases.push_back(bias);
  }
  spec.scale = node.attr_float("scale", 0);
  TENON_RETURN_IF_ERROR(b.status());
  AttentionResult r = attend(s, spec);
  std::vector<Value*> out = {merge_heads(s, r.y), present_k, present_v, r.biased};
  if (m.shared && node.num_outputs() > 3) {
    InferContext known(node);
    const auto past = known.dim_values(at.past_length);
    Value* end = past && past->size() == 1 ? s.dim_vector({past->front() + m.keys}) : s.add(start, s.dim_scalar(m.keys));
    out[3] = b.make("Slice", {r.biased, b.ints({0}), end, b.ints({3})});
  }
  out.resize(static_cast<size_t>(node.num_outputs()));
  return s.done(std::move(out));
}

Values decompose_multi_head_attention(Node& node, Builder& b) { return decompose_multi_head(node, b, kMultiHead); }
Values decompose_decoder(Node& node, Builder& b) { return decompose_multi_head(node, b, kDecoder); }

}  // namespace

std::vector<OpDef> ms_multihead_ops() {
  const std::vector<Param> outputs = {
      {"output", "T", kReal}, {"present_key", "T", kReal, true}, {"present_value", "T", kReal, true}, {"qk", "QK", kReal, true}};
  return {
      {.domain = "com.microsoft",
       .name = "MultiHeadAttention",
       .inputs = {{"query", "T", kReal},
                  {"key", "T", kReal, true},
                  {"value", "T", kReal, true},
                  {"bias", "T", kReal, true},
                  {"key_padding_mask", "M", kInt32, true},
                  {"attention_bias", "T", kReal, true},
                  {"past_key", "T", kReal, true},
                  {"past_value", "T", kReal, true},
                  {"past_sequence_length", "M", kInt32, true},
                  {"cache_indirection", "M", kInt32, true}},
       .outputs = outputs,
       .attrs = {{"mask_filter_value", AttrKind::kFloat, false, "-10000"},
                 {"num_heads", AttrKind::kInt, true},
                 {"scale", AttrKind::kFloat},
                 {"unidirectional", AttrKind::kInt, false, "0"}},
       .infer = infer_multi_head_attention,
       .compute = {.decompose = decompose_multi_head_attention},
       .doc = "Multi-head attention of projected inputs (ONNX Runtime contrib ops)."},
      {.domain = "com.microsoft",
       .name = "DecoderMaskedMultiHeadAttention",
       .inputs = {{"query", "T", kReal},
                  {"key", "T", kReal, true},
                  {"value", "T", kReal, true},
                  {"mask_index", "M", kInt32, true},
                  {"attention_bias", "T", kReal, true},
                  {"past_key", "T", kReal, true},
                  {"past_value", "T", kReal, true},
                  {"past_sequence_length", "M", kInt32, true},
                  {"beam_width", "M", kInt32, true},
                  {"cache_indirection", "M", kInt32, true},
                  {"bias", "T", kReal, true}},
       .outputs = outputs,
       .attrs = {{"mask_filter_value", AttrKind::kFloat, false, "-10000"},
                 {"num_heads", AttrKind::kInt, true},
                 {"output_qk", AttrKind::kInt, false, "0"},
                 {"past_present_share_buffer", AttrKind::kInt, false, "0"},
                 {"scale", AttrKind::kFloat}},
       .infer = infer_decoder,
       .compute = {.decompose = decompose_decoder},
       .doc = "Multi-head attention of one new position, over itself and a cache or over given keys (ONNX Runtime contrib ops)."},
  };
}

}  // namespace tenon::ir
