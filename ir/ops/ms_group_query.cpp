#include <algorithm>
#include <limits>

#include "ir/ops/contrib.h"
#include "ir/ops/ms_attention.h"

/// com.microsoft.GroupQueryAttention: attention with a cache, fewer key heads than query heads, and rotary embedding.
namespace tenon::ir {
namespace {

using Values = Result<std::vector<Value*>>;
constexpr DTypeSet kReal = kFloat16To64;

enum Input { kQuery, kKey, kValue, kPastKey, kPastValue, kLengths, kTotal, kCos, kSin, kPositions, kBias, kSink, kKeyScale, kValueScale, kQueryNorm, kKeyNorm };

struct GroupQuery {
  int64_t heads = 0, kv_heads = 0;
  Dim batch, seq, size, past = 0;
  bool packed = false;
};

Result<GroupQuery> group_query(const Node& node) {
  GroupQuery g;
  g.heads = node.attr_int("num_heads", 0);
  g.kv_heads = node.attr_int("kv_num_heads", 0);
  if (g.heads <= 0 || g.kv_heads <= 0 || g.heads > INT32_MAX || g.kv_heads > INT32_MAX) return error(Code::kInvalidModel, "attributes num_heads and kv_num_heads must be positive");
  if (g.heads % g.kv_heads != 0) return error(Code::kInvalidModel, "{} query heads do not divide among {} key heads", g.heads, g.kv_heads);
  const Dims& q = dims_of(node, kQuery);
  if (q.size() != 3) return error(Code::kInvalidModel, "query has rank {} where 3 is needed", q.size());
  g.packed = !node.has_input(kKey);
  if (g.packed == node.has_input(kValue)) return error(Code::kInvalidModel, "key and value must come together");
  const int64_t parts = g.packed ? g.heads + 2 * g.kv_heads : g.heads;
  if (q[2].is_const() && q[2].value() % parts != 0) return error(Code::kInvalidModel, "{} components do not divide into {} heads", q[2].value(), parts);
  g.batch = q[0], g.seq = q[1], g.size = floor_div(q[2], parts);
  if (!g.packed)
    for (int i : {kKey, kValue}) {
      const Dims& d = dims_of(node, i);
      if (d.size() != 3) return error(Code::kInvalidModel, "input {} has rank {} where 3 is needed", i, d.size());
      const Dims want = {g.batch, g.seq, g.size * g.kv_heads};
      for (size_t a = 0; a < 3; ++a)
        if (differ(node, d[a], want[a])) return error(Code::kInvalidModel, "axis {} of input {} has {} where {} is needed", a, i, to_string(d[a]), to_string(want[a]));
    }
  if (node.has_input(kPastKey) != node.has_input(kPastValue)) return error(Code::kInvalidModel, "past_key and past_value must come together");
  if (node.has_input(kPastKey)) {
    const Dims want = {g.batch, g.kv_heads, dims_of(node, kPastKey).size() == 4 ? dims_of(node, kPastKey)[2] : 0, g.size};
    for (int i : {kPastKey, kPastValue}) {
      const Dims& d = dims_of(node, i);
      if (d.size() != 4) return error(Code::kInvalidModel, "input {} has rank {} where 4 is needed", i, d.size());
      for (size_t a = 0; a < 4; ++a)
        if (differ(node, d[a], want[a])) return error(Code::kInvalidModel, "axis {} of input {} has {} where {} is needed", a, i, to_string(d[a]), to_string(want[a]));
    }
    g.past = want[2];
  }
  return g;
}

/// total_sequence_length where inference knows it.
std::optional<Dim> known_total(Node& node) {
  const auto values = InferContext(node).dim_values(kTotal);
  if (!values || values->size() != 1) return std::nullopt;
  return values->front();
}

Status check_rotary(InferContext& c, const GroupQuery& g) {
  if (c.has(kCos) != c.has(kSin)) return c.fail("cos_cache and sin_cache must come together");
  if (c.node().attr_int("do_rotary", 0) != 0 && !c.has(kCos)) return c.fail("do_rotary needs cos_cache and sin_cache");
  for (int i : {kCos, kSin}) {
    TENON_RETURN_IF_ERROR(require_rank(c, i, 2));
    if (c.has(i) && c.ranked(i) && exceeds(c.node(), c.shape(i)[1] * 2, g.size))
      return c.fail("input {} rotates {} components, a head has {}", i, to_string(c.shape(i)[1] * 2), to_string(g.size));
  }
  return {};
}

Status check_options(InferContext& c) {
  const Node& node = c.node();
  const int64_t causal = node.attr_int("causal", 1), output = node.attr_int("qk_output", 0), window = node.attr_int("local_window_size", -1);
  if (causal != 0 && causal != 1) return c.fail("attribute causal is {}; it must be 0 or 1", causal);
  if (causal == 0 && window > 0) return c.fail("local_window_size needs causal = 1");
  if (output < 0 || output > 2) return c.fail("attribute qk_output is {}; it must be 0, 1 or 2", output);
  for (std::string_view name : {"k_quant_type", "v_quant_type"})
    if (const std::string type = node.attr_string(name, "NONE"); type != "NONE" && !type.empty())
      return Status(Code::kUnsupported, fmt::format("attribute {} is {}", name, type), node.name(), "use a cache of floats");
  if (node.attr_int("sliding_window_cache", 0) != 0)
    return Status(Code::kUnsupported, "attribute sliding_window_cache is 1", node.name(), "use a cache of the whole sequence");
  if (c.has(kQueryNorm) != c.has(kKeyNorm)) return c.fail("q_norm_weight and k_norm_weight must come together");
  return {};
}

Status infer_group_query(InferContext& c) {
  const DType type = c.dtype(kQuery);
  const int outputs = c.node().num_outputs();
  TENON_RETURN_IF_ERROR(check_options(c));
  for (int i : {kQuery, kKey, kValue, kPastKey, kPastValue, kLengths, kTotal})
    if (c.has(i) && !c.ranked(i)) {
      for (int o = 0; o < outputs; ++o) c.set(o, unranked(type));
      return {};
    }
  Result<GroupQuery> g = group_query(c.node());
  if (!g.ok()) return std::move(g).status().at(c.node().name());
  TENON_RETURN_IF_ERROR(check_rotary(c, *g));
  TENON_RETURN_IF_ERROR(require_equal(c, product(c.shape(kLengths)), g->batch, "seqlens_k and the batch"));
  TENON_RETURN_IF_ERROR(require_equal(c, product(c.shape(kTotal)), 1, "elements of total_sequence_length"));
  c.set(0, tensor_of(type, {g->batch, g->seq, g->size * g->heads}));
  const std::optional<Dim> total = known_total(c.node());
  if (total && exceeds(c.node(), 0, *total)) return c.fail("total_sequence_length is {}", to_string(*total));
  for (int o = 1; o < outputs && o < 3; ++o)
    c.set(o, tensor_of(type, {g->batch, g->kv_heads, total ? max(*total, g->past) : c.fresh_dim(o, 2), g->size}));
  if (outputs > 3) c.set(3, tensor_of(type, {g->batch, g->heads, g->seq, total ? *total : c.fresh_dim(3, 3)}));
  return {};
}

/// What the sizes and positions of the run are made of.
struct Places {
  Dim rows;               // of the present cache
  Value* start = nullptr; // i64 [batch] or [1]: rows that the cache holds already
  Value* first = nullptr; // bool scalar: the whole sequence is new; null when it is known not to be
  Value* total = nullptr; // i64 scalar
};

Places read_places(Steps& s, const GroupQuery& g) {
  Builder& b = s.builder();
  Places out;
  out.total = s.reshape(s.cast(s.in(kTotal), DType::kI64), {});
  const std::optional<Dim> known = known_total(s.node());
  if (known) {
    out.rows = max(*known, g.past);
  } else {
    // The size of this range binds the number of rows.
    Value* rows = b.make("Range", {b.scalar(DType::kI64, 0), b.make("Max", {out.total, s.dim_scalar(g.past)}), b.scalar(DType::kI64, 1)});
    if (rows == nullptr) return out;
    out.rows = rows->tensor().dim(0);
  }
  if (known && known_eq(*known, g.seq)) {
    out.first = b.constant(Tensor::scalar(true));
    out.start = b.ints({0});
    return out;
  }
  Value* lengths = s.reshape(s.cast(s.in(kLengths), DType::kI64), {g.batch});
  out.start = s.sub(s.add(lengths, 1), s.dim_scalar(g.seq));
  if (known && known_ne(*known, g.seq)) return out;
  out.first = b.make("Equal", {out.total, s.dim_scalar(g.seq)});
  out.start = b.make("Where", {out.first, b.scalar(DType::kI64, 0), out.start});
  return out;
}

/// The position of every new token: [batch or 1, sequence].
Value* token_positions(Steps& s, const GroupQuery& g, const Places& places) {
  Builder& b = s.builder();
  const Dims starts = *places.start->tensor().dims;
  Value* counted = s.add(s.reshape(places.start, {starts[0], 1}), positions(s, g.seq));
  if (!s.node().has_input(kPositions)) return counted;
  Value* given = s.in(kPositions);
  if (places.first == nullptr) return given;
  // A first prompt counts on from the first one given.
  Value* origin = s.reshape(s.slice(s.reshape(given, {product(*given->tensor().dims)}), 0, 0, 1), {1, 1});
  Value* prompt = s.add(origin, s.reshape(positions(s, g.seq), {1, g.seq}));
  return b.make("Where", {places.first, prompt, given});
}

Value* normalized_heads(Steps& s, Value* x, Value* weight, double epsilon) {
  if (x == nullptr || weight == nullptr) return x;
  std::vector<int64_t> axes = {3};
  return s.mul(normalize(s, x, axes, epsilon, false).y, s.cast(weight, x->dtype()));
}

/// Scores to add where a query does not see a key: [batch or 1, 1, sequence, rows].
Value* visibility(Steps& s, const GroupQuery& g, const Places& places, DType type) {
  Builder& b = s.builder();
  const Dims starts = *places.start->tensor().dims;
  Value* key = s.reshape(positions(s, places.rows), {1, 1, 1, places.rows});
  Value* start = s.reshape(places.start, {starts[0], 1, 1, 1});
  const bool causal = s.node().attr_int("causal", 1) != 0;
  Value* query = causal ? s.add(start, s.reshape(positions(s, g.seq), {1, 1, g.seq, 1})) : s.add(start, s.dim_scalar(g.seq - 1));
  Value* seen = b.make("LessOrEqual", {key, query});
  const int64_t window = s.node().attr_int("local_window_size", -1);
  if (window > 0) seen = b.make("And", {seen, b.make("Greater", {key, s.sub(query, b.constant(Tensor::scalar(window)))})});
  return b.make("Where", {seen, b.scalar(type, 0), b.scalar(type, -std::numeric_limits<double>::infinity())});
}

Value* smooth_sink(Steps& s, const GroupQuery& g, DType type) {
  if (s.node().has_input(kSink)) return s.reshape(s.cast(s.in(kSink), type), {1, g.heads, 1, 1});
  return s.node().attr_int("smooth_softmax", -1) == 1 ? s.builder().scalar(type, 0) : nullptr;
}

Values decompose_group_query(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  TENON_ASSIGN_OR_RETURN(GroupQuery g, group_query(node));
  Steps s(node, b);
  const DType type = s.in(kQuery)->dtype(), wide = type == DType::kF64 ? type : DType::kF32;
  const Dim q_width = g.size * g.heads, kv_width = g.size * g.kv_heads;
  Value *q = nullptr, *k = nullptr, *v = nullptr;
  if (g.packed) {
    q = head_slice(s, s.in(kQuery), 0, q_width, g.heads);
    k = head_slice(s, s.in(kQuery), q_width, q_width + kv_width, g.kv_heads);
    v = head_slice(s, s.in(kQuery), q_width + kv_width, q_width + kv_width * 2, g.kv_heads);
  } else {
    q = split_heads(s, s.in(kQuery), g.heads);
    k = split_heads(s, s.in(kKey), g.kv_heads);
    v = split_heads(s, s.in(kValue), g.kv_heads);
  }
  const Places places = read_places(s, g);
  TENON_RETURN_IF_ERROR(b.status());
  q = s.cast(q, wide);
  k = s.cast(k, wide);
  if (node.has_input(kQueryNorm)) {
    const double epsilon = node.attr_float("qk_norm_epsilon", 1e-6);
    q = normalized_heads(s, q, s.in(kQueryNorm), epsilon);
    k = normalized_heads(s, k, s.in(kKeyNorm), epsilon);
  }
  if (node.attr_int("do_rotary", 0) != 0) {
    Value* at = token_positions(s, g, places);
    TENON_RETURN_IF_ERROR(b.status());
    auto gathered = [&](Value* cache) {
      Value* rows = s.cast(b.make("Gather", {cache, at}, {{"axis", int64_t{0}}}), wide);
      if (rows == nullptr) return rows;
      const Dims d = *rows->tensor().dims;
      return s.reshape(rows, {d[0], 1, d[1], d[2]});
    };
    Value *cos = gathered(s.in(kCos)), *sin = gathered(s.in(kSin));
    const Dim rotary = dims_of(node, kCos)[1] * 2;
    const bool interleaved = node.attr_int("rotary_interleaved", 0) != 0;
    q = rotate(s, q, cos, sin, rotary, interleaved);
    k = rotate(s, k, cos, sin, rotary, interleaved);
  }
  Value* present_k = append_rows(s, s.in(kPastKey), s.cast(k, type), places.start, places.rows, false);
  Value* present_v = append_rows(s, s.in(kPastValue), v, places.start, places.rows, false);
  AttentionSpec spec;
  spec.q = q;
  spec.k = s.cast(present_k, wide);
  spec.v = s.cast(present_v, wide);
  spec.scale = node.attr_float("scale", 0);
  spec.softcap = node.attr_float("softcap", 0);
  spec.biases = {s.cast(extend_bias(s, s.in(kBias), places.rows), wide), visibility(s, g, places, wide)};
  spec.sink = smooth_sink(s, g, wide);
  TENON_RETURN_IF_ERROR(b.status());
  AttentionResult r = attend(s, spec);
  std::vector<Value*> out = {s.cast(merge_heads(s, r.y), type), present_k, present_v};
  if (node.num_outputs() > 3) {
    Value* qk = node.attr_int("qk_output", 0) == 2 ? r.weights : r.capped;
    Value* end = s.reshape(places.total, {1});
    const std::optional<Dim> total = known_total(node);
    qk = total ? s.slice(qk, 3, 0, *total) : b.make("Slice", {qk, b.ints({0}), end, b.ints({3})});
    out.push_back(s.cast(qk, type));
  }
  out.resize(static_cast<size_t>(node.num_outputs()));
  return s.done(std::move(out));
}

}  // namespace

std::vector<OpDef> ms_group_query_ops() {
  constexpr DTypeSet kInt32 = dtypes(DType::kI32), kFloat = dtypes(DType::kF32);
  return {
      {.domain = "com.microsoft",
       .name = "GroupQueryAttention",
       .inputs = {{"query", "T", kReal},
                  {"key", "T", kReal, true},
                  {"value", "T", kReal, true},
                  {"past_key", "T", kReal, true},
                  {"past_value", "T", kReal, true},
                  {"seqlens_k", "M", kInt32},
                  {"total_sequence_length", "M", kInt32},
                  {"cos_cache", "T", kReal, true},
                  {"sin_cache", "T", kReal, true},
                  {"position_ids", "I", dtypes(DType::kI64), true},
                  {"attention_bias", "T", kReal, true},
                  {"head_sink", "T", kReal, true},
                  {"k_scale", "S", kFloat, true},
                  {"v_scale", "S", kFloat, true},
                  {"q_norm_weight", "T", kReal, true},
                  {"k_norm_weight", "T", kReal, true}},
       .outputs = {{"output", "T", kReal}, {"present_key", "T", kReal, true}, {"present_value", "T", kReal, true}, {"output_qk", "T", kReal, true}},
       .attrs = {{"causal", AttrKind::kInt, false, "1"},
                 {"do_rotary", AttrKind::kInt, false, "0"},
                 {"k_quant_type", AttrKind::kString, false, "NONE"},
                 {"kv_cache_bit_width", AttrKind::kInt},
                 {"kv_num_heads", AttrKind::kInt, true},
                 {"local_window_size", AttrKind::kInt, false, "-1"},
                 {"num_heads", AttrKind::kInt, true},
                 {"qk_norm_epsilon", AttrKind::kFloat, false, "1e-6"},
                 {"qk_output", AttrKind::kInt, false, "0"},
                 {"rotary_interleaved", AttrKind::kInt, false, "0"},
                 {"scale", AttrKind::kFloat},
                 {"sliding_window_cache", AttrKind::kInt, false, "0"},
                 {"smooth_softmax", AttrKind::kInt, false, "-1"},
                 {"softcap", AttrKind::kFloat},
                 {"v_quant_type", AttrKind::kString, false, "NONE"}},
       .infer = infer_group_query,
       .compute = {.decompose = decompose_group_query},
       .doc = "Attention of grouped heads with a cache and rotary embedding (ONNX Runtime contrib ops)."},
  };
}

}  // namespace tenon::ir
