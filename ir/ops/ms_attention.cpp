#include "ir/ops/ms_attention.h"

#include <algorithm>

#include "ir/ops/contrib.h"

/// com.microsoft attention ops that project their input: Attention, QAttention, DecoderMaskedSelfAttention.
namespace tenon::ir {
namespace {

using Values = Result<std::vector<Value*>>;
constexpr DTypeSet kReal = kFloat16To64;
constexpr DTypeSet kInt32 = dtypes(DType::kI32);

/// Where an op has what they share.
struct Layout {
  int mask, past, bias, past_length;  // -1: the op does not have it
};
constexpr Layout kAttention = {3, 4, 5, 6};
constexpr Layout kQuantized = {5, 8, -1, -1};
constexpr Layout kDecoder = {3, 4, 5, 6};

struct Sizes {
  int64_t heads = 0;
  Dim batch, seq, q, k, v;  // q, k, v: components over all heads
  Dim past = 0, keys;       // rows of the cache; keys that scores are made of
  bool shared = false;      // past and present are one buffer, of which past_sequence_length rows are filled
  Dim head() const { return floor_div(k, heads); }
};

Result<Sizes> attention_sizes(const Node& node, const Layout& at) {
  const Dims &x = dims_of(node, 0), &w = dims_of(node, 1);
  Sizes z;
  z.heads = node.attr_int("num_heads", 0);
  if (x.size() != 3 || w.size() != 2) return error(Code::kInvalidModel, "the input must have rank 3 and the weights rank 2");
  if (z.heads <= 0) return error(Code::kInvalidModel, "attribute num_heads is {}; it must be positive", z.heads);
  if (differ(node, x[2], w[0])) return error(Code::kInvalidModel, "the input has {} components, the weights {}", to_string(x[2]), to_string(w[0]));
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
  if (differ(node, z.q, z.k)) return error(Code::kInvalidModel, "queries have {} components, keys {}", to_string(z.q), to_string(z.k));
  if (differ(node, z.q + z.k + z.v, w[1])) return error(Code::kInvalidModel, "the weights have {} columns, not {}", to_string(w[1]), to_string(z.q + z.k + z.v));
  z.shared = at.past_length >= 0 && node.attr_int("past_present_share_buffer", 0) != 0;
  if (node.has_input(at.past)) {
    const Dims& past = dims_of(node, at.past);
    if (past.size() != 5) return error(Code::kInvalidModel, "past has rank {} where 5 is needed", past.size());
    if (differ(node, z.k, z.v)) return error(Code::kInvalidModel, "with a past, keys and values must have one size; they have {} and {}", to_string(z.k), to_string(z.v));
    const Dims want = {2, z.batch, z.heads, past[3], z.head()};
    for (size_t i = 0; i < 5; ++i)
      if (differ(node, past[i], want[i])) return error(Code::kInvalidModel, "axis {} of past has {} where {} is needed", i, to_string(past[i]), to_string(want[i]));
    z.past = past[3];
  } else if (z.shared) {
    return error(Code::kInvalidModel, "past_present_share_buffer needs past");
  }
  if (z.shared && !node.has_input(at.past_length)) return error(Code::kInvalidModel, "past_present_share_buffer needs past_sequence_length");
  z.keys = z.shared ? z.past : z.past + z.seq;
  return z;
}

Status infer_projecting(InferContext& c, const Layout& at, DType type) {
  for (int i : {0, 1, at.past, at.mask})
    if (c.has(i) && !c.ranked(i)) {
      for (int o = 0; o < c.node().num_outputs(); ++o) c.set(o, unranked(type));
      return {};
    }
  Result<Sizes> z = attention_sizes(c.node(), at);
  if (!z.ok()) return std::move(z).status().at(c.node().name());
  if (c.node().num_outputs() > 1 && c.differ(z->k, z->v))
    return c.fail("present holds keys and values of one size; they have {} and {}", to_string(z->k), to_string(z->v));
  int64_t rotary = c.node().attr_int("rotary_embedding_dim", 0);
  if (rotary < 0 || rotary % 2 != 0) return c.fail("attribute rotary_embedding_dim is {}; it must be even", rotary);
  if (known_lt(z->head(), rotary)) return c.fail("attribute rotary_embedding_dim is {}, a head has {}", rotary, to_string(z->head()));
  c.set(0, tensor_of(type, {z->batch, z->seq, z->v}));
  if (c.node().num_outputs() > 1) c.set(1, tensor_of(type, {2, z->batch, z->heads, z->keys, z->head()}));
  return {};
}

/// Keys of a shared buffer are stored by groups of 16 bytes: [batch, heads, size / x, rows, x].
Value* regrouped(Steps& s, Value* keys, bool to_groups) {
  if (keys == nullptr) return nullptr;
  const Dims d = *keys->tensor().dims;
  const Dim x = 16 / (bits(keys->dtype()) / 8), groups = floor_div(d[3], x);
  const Dims stored = {d[0], d[1], groups, d[2], x}, plain = {d[0], d[1], d[2], groups, x};
  const std::vector<int64_t> swap = {0, 1, 3, 2, 4};
  return s.reshape(s.transpose(s.reshape(keys, to_groups ? plain : stored), swap), d);
}

/// Everything behind the projection `qkv` [batch, sequence, q + k + v].
Values attend_projected(Steps& s, const Layout& at, const Sizes& z, Value* qkv, bool grouped_cache) {
  Builder& b = s.builder();
  const Node& node = s.node();
  TENON_RETURN_IF_ERROR(b.status());
  const DType type = qkv->dtype();
  AttentionSpec spec;
  spec.q = head_slice(s, qkv, 0, z.q, z.heads);
  spec.k = head_slice(s, qkv, z.q, z.q + z.k, z.heads);
  spec.v = head_slice(s, qkv, z.q + z.k, z.q + z.k + z.v, z.heads);
  // The row that the first new key takes.
  Value* start = z.shared ? s.cast(s.reshape(s.in(at.past_length), {1}), DType::kI64) : s.dim_vector({z.past});
  TENON_RETURN_IF_ERROR(b.status());
  if (node.attr_int("do_rotary", 0) != 0) {
    Dim rotary = node.attr_int("rotary_embedding_dim", 0);
    if (rotary.is_const(0)) rotary = z.head();
    Angles angles = rotary_angles(s, s.add(positions(s, z.seq), start), rotary, type);
    spec.q = rotate(s, spec.q, angles.cos, angles.sin, rotary, false);
    spec.k = rotate(s, spec.k, angles.cos, angles.sin, rotary, false);
  }
  if (node.has_input(at.past)) {
    const Dims half = {z.batch, z.heads, z.past, z.head()};
    Value* past_k = s.reshape(s.slice(s.in(at.past), 0, 0, 1), half);
    Value* past_v = s.reshape(s.slice(s.in(at.past), 0, 1, 2), half);
    if (grouped_cache) past_k = regrouped(s, past_k, false);
    spec.k = z.shared ? append_rows(s, past_k, spec.k, start, z.keys, true) : s.concat({past_k, spec.k}, 2);
    spec.v = z.shared ? append_rows(s, past_v, spec.v, start, z.keys, true) : s.concat({past_v, spec.v}, 2);
  }
  TENON_RETURN_IF_ERROR(b.status());
  spec.scale = node.attr_float("scale", 0);
  Value* mask = s.in(at.mask);
  TENON_ASSIGN_OR_RETURN(mask, key_mask(s, mask, type, z.batch, z.seq, mask != nullptr && z.shared && mask->tensor().rank() >= 2 ? mask->tensor().dims->back() : z.keys,
                                        node.attr_float("mask_filter_value", -10000)));
  spec.biases = {extend_bias(s, mask, z.keys), at.bias < 0 ? nullptr : extend_bias(s, s.in(at.bias), z.keys)};
  if (z.shared) {
    Value* query = s.add(s.reshape(positions(s, z.seq), {z.seq, 1}), start);
    if (node.attr_int("unidirectional", 0) == 0) query = s.sub(s.add(start, s.dim_scalar(z.seq)), s.like(start, 1));
    Value* seen = b.make("LessOrEqual", {positions(s, z.keys), query});
    spec.biases.push_back(b.make("Where", {seen, b.scalar(type, 0), b.scalar(type, -std::numeric_limits<double>::infinity())}));
  } else if (node.attr_int("unidirectional", 0) != 0) {
    spec.biases.push_back(causal_bias(s, type, z.seq, z.keys, z.past, causal_filter(type)));
  }
  std::vector<Value*> out = {merge_heads(s, attend(s, spec).y)};
  if (node.num_outputs() > 1) {
    const Dims one = {1, z.batch, z.heads, z.keys, z.head()};
    out.push_back(s.concat({s.reshape(grouped_cache ? regrouped(s, spec.k, true) : spec.k, one), s.reshape(spec.v, one)}, 0));
  }
  return s.done(std::move(out));
}

// ---- Attention, DecoderMaskedSelfAttention

Status infer_attention(InferContext& c) { return infer_projecting(c, kAttention, c.dtype(0)); }

Values decompose_attention(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  TENON_ASSIGN_OR_RETURN(Sizes z, attention_sizes(node, kAttention));
  Steps s(node, b);
  Value* qkv = s.matmul(s.in(0), s.in(1));
  if (node.has_input(2)) qkv = s.add(qkv, s.in(2));
  return attend_projected(s, kAttention, z, qkv, false);
}

Status infer_decoder(InferContext& c) {
  if (c.has(8)) return c.fail("cache_indirection (beam search) is not supported");
  if (c.ranked(0) && c.shape(0).size() == 3 && c.differ(c.shape(0)[1], 1))
    return c.fail("the input has {} positions; it must have 1", to_string(c.shape(0)[1]));
  if (c.node().attr_int("past_present_share_buffer", 0) != 0 && c.ranked(4) && c.shape(4).size() == 5) {
    const int64_t group = 16 / (bits(c.dtype(0)) / 8);
    if (c.shape(4)[4].is_const() && c.shape(4)[4].value() % group != 0) return c.fail("heads of {} components do not divide into groups of {}", to_string(c.shape(4)[4]), group);
  }
  return infer_projecting(c, kDecoder, c.dtype(0));
}

Values decompose_decoder(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  TENON_ASSIGN_OR_RETURN(Sizes z, attention_sizes(node, kDecoder));
  Steps s(node, b);
  return attend_projected(s, kDecoder, z, s.add(s.matmul(s.in(0), s.in(1)), s.in(2)), z.shared);
}

// ---- QAttention

Status infer_qattention(InferContext& c) {
  for (int i : {3, 6})
    if (c.has(i) && c.ranked(i) && c.differ(product(c.shape(i)), 1)) return c.fail("input {} must have one element", i);
  for (int i : {4, 7})
    if (c.has(i) && c.ranked(i) && c.ranked(1) && !is_single(c.shape(i))) {
      TENON_RETURN_IF_ERROR(require_rank(c, i, 1));
      if (c.shape(1).size() == 2) TENON_RETURN_IF_ERROR(require_equal(c, c.shape(i)[0], c.shape(1)[1], "columns and their scales or zero points"));
    }
  return infer_projecting(c, kQuantized, c.dtype(3));
}

Values decompose_qattention(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  TENON_ASSIGN_OR_RETURN(Sizes z, attention_sizes(node, kQuantized));
  Steps s(node, b);
  const DType type = s.in(3)->dtype();
  auto scalar = [&](Value* v) { return v == nullptr ? nullptr : s.reshape(v, {}); };
  auto columns = [&](Value* v) { return v != nullptr && is_single(*v->tensor().dims) ? scalar(v) : v; };
  Value* sums = b.make("MatMulInteger", {s.in(0), s.in(1), scalar(s.in(6)), columns(s.in(7))});
  Value* qkv = s.mul(s.cast(sums, type), s.mul(columns(s.in(4)), scalar(s.in(3))));
  return attend_projected(s, kQuantized, z, s.add(qkv, s.in(2)), false);
}

std::vector<AttrDef> attention_attrs(std::vector<AttrDef> more = {}) {
  std::vector<AttrDef> attrs = {{"do_rotary", AttrKind::kInt, false, "0"},
                                {"mask_filter_value", AttrKind::kFloat, false, "-10000"},
                                {"num_heads", AttrKind::kInt, true},
                                {"past_present_share_buffer", AttrKind::kInt, false, "0"},
                                {"scale", AttrKind::kFloat}};
  attrs.insert(attrs.end(), more.begin(), more.end());
  return attrs;
}

}  // namespace

std::vector<OpDef> ms_attention_ops() {
  constexpr DTypeSet kBytes = dtypes(DType::kI8, DType::kU8), kScale = dtypes(DType::kF32, DType::kF16);
  const AttrDef unidirectional = {"unidirectional", AttrKind::kInt, false, "0"};
  return {
      {.domain = "com.microsoft",
       .name = "Attention",
       .inputs = {{"input", "T", kReal},
                  {"weights", "T", kReal},
                  {"bias", "T", kReal, true},
                  {"mask_index", "M", kInt32, true},
                  {"past", "T", kReal, true},
                  {"attention_bias", "T", kReal, true},
                  {"past_sequence_length", "M", kInt32, true}},
       .outputs = {{"output", "T", kReal}, {"present", "T", kReal, true}},
       .attrs = attention_attrs({unidirectional, {"qkv_hidden_sizes", AttrKind::kInts}, {"rotary_embedding_dim", AttrKind::kInt, false, "0"}}),
       .infer = infer_attention,
       .compute = {.decompose = decompose_attention},
       .doc = "Projection to queries, keys and values, and multi-head attention (ONNX Runtime contrib ops)."},
      {.domain = "com.microsoft",
       .name = "DecoderMaskedSelfAttention",
       .inputs = {{"input", "T", kReal},
                  {"weights", "T", kReal},
                  {"bias", "T", kReal},
                  {"mask_index", "M", kInt32, true},
                  {"past", "T", kReal},
                  {"attention_bias", "T", kReal, true},
                  {"past_sequence_length", "M", kInt32},
                  {"beam_width", "M", kInt32, true},
                  {"cache_indirection", "M", kInt32, true}},
       .outputs = {{"output", "T", kReal}, {"present", "T", kReal, true}},
       .attrs = attention_attrs(),
       .infer = infer_decoder,
       .compute = {.decompose = decompose_decoder},
       .doc = "Attention of one new position over a cache (ONNX Runtime contrib ops)."},
      {.domain = "com.microsoft",
       .name = "QAttention",
       .inputs = {{"input", "T1", kBytes},
                  {"weight", "T2", kBytes},
                  {"bias", "T3", kScale},
                  {"input_scale", "T3", kScale},
                  {"weight_scale", "T3", kScale},
                  {"mask_index", "T4", kInt32, true},
                  {"input_zero_point", "T1", kBytes, true},
                  {"weight_zero_point", "T2", kBytes, true},
                  {"past", "T3", kScale, true}},
       .outputs = {{"output", "T3", kScale}, {"present", "T3", kScale, true}},
       .attrs = attention_attrs({unidirectional}),
       .infer = infer_qattention,
       .compute = {.decompose = decompose_qattention},
       .doc = "Attention whose projection is a product of quantised matrices (ONNX Runtime contrib ops)."},
  };
}

}  // namespace tenon::ir
