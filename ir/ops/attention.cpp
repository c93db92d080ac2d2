#include "ir/ops/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ir/ops/families.h"
#include "ir/range.h"

namespace tenon::ir {

namespace {
const Dims& dims_of_value(const Value* v) { return *v->tensor().dims; }

/// A type that holds the values of both.
DType wider_float(DType a, DType b) {
  if (a == b || bits(a) > bits(b)) return a;
  return bits(a) < bits(b) ? b : DType::kF32;  // f16 and bf16
}
}  // namespace

Value* split_heads(Steps& s, Value* x, int64_t heads) {
  if (x == nullptr) return nullptr;
  const Dims d = dims_of_value(x);
  Value* split = s.reshape(x, {d[0], d[1], heads, floor_div(d[2], heads)});
  return s.transpose(split, {0, 2, 1, 3});
}

Value* merge_heads(Steps& s, Value* x) {
  if (x == nullptr) return nullptr;
  const Dims d = dims_of_value(x);
  return s.reshape(s.transpose(x, {0, 2, 1, 3}), {d[0], d[2], d[1] * d[3]});
}

Value* positions(Steps& s, Dim n) {
  Builder& b = s.builder();
  return b.make("Range", {b.scalar(DType::kI64, 0), s.dim_scalar(n), b.scalar(DType::kI64, 1)});
}

Value* causal_bias(Steps& s, DType dtype, Dim queries, Dim keys, Dim offset, double masked, int64_t window) {
  Builder& b = s.builder();
  Value* q = s.reshape(s.add(positions(s, queries), s.dim_scalar(offset)), {queries, 1});
  Value* k = s.reshape(positions(s, keys), {1, keys});
  Value* allowed = b.make("LessOrEqual", {k, q});
  if (window > 0) allowed = b.make("And", {allowed, b.make("Less", {s.sub(q, k), b.scalar(DType::kI64, static_cast<double>(window))})});
  return b.make("Where", {allowed, b.scalar(dtype, 0), b.scalar(dtype, masked)});
}

AttentionResult attend(Steps& s, const AttentionSpec& spec) {
  AttentionResult r;
  if (spec.q == nullptr || spec.k == nullptr || spec.v == nullptr) return r;
  const Dims q = dims_of_value(spec.q), k = dims_of_value(spec.k), v = dims_of_value(spec.v);
  DType type = spec.q->dtype();
  const bool scaled = spec.scale_given || spec.scale != 0;
  double scale = spec.scale;
  if (!scaled) scale = q[3].is_const() && q[3].value() > 0 ? 1.0 / std::sqrt(static_cast<double>(q[3].value())) : 1.0;
  // Fewer key heads: [batch, kv heads, group, queries, size] against [batch, kv heads, 1, keys, size].
  bool grouped = !known_eq(q[1], k[1]);
  Dim group = grouped ? floor_div(q[1], k[1]) : Dim(1);
  Value *qs = spec.q, *ks = spec.k, *vs = spec.v;
  if (grouped) {
    qs = s.reshape(qs, {q[0], k[1], group, q[2], q[3]});
    ks = s.reshape(ks, {k[0], k[1], 1, k[2], k[3]});
    vs = s.reshape(vs, {v[0], v[1], 1, v[2], v[3]});
  }
  Value* kt = s.transpose(ks, grouped ? std::vector<int64_t>{0, 1, 2, 4, 3} : std::vector<int64_t>{0, 1, 3, 2});
  Value* scores = s.mul(s.matmul(qs, kt), scale);
  if (!q[3].is_const() && !scaled) scores = s.div(scores, s.unary("Sqrt", s.cast(s.dim_scalar(q[3]), type)));
  r.scores = grouped ? s.reshape(scores, {q[0], q[1], q[2], k[2]}) : scores;
  auto cap = [&](Value* x) {
    return spec.softcap > 0 ? s.mul(s.unary("Tanh", s.div(x, spec.softcap)), spec.softcap) : x;
  };
  Value* x = r.scores;
  if (!spec.softcap_after_bias) r.capped = x = cap(x);
  for (Value* bias : spec.biases)
    if (bias != nullptr) x = s.add(x, bias);
  r.biased = x;
  if (spec.softcap_after_bias) r.capped = x = cap(x);
  if (spec.softmax_type != DType::kInvalid) x = s.cast(x, spec.softmax_type);
  if (spec.score_mod) x = spec.score_mod(x);
  if (spec.sink != nullptr && x != nullptr) {
    Value* sink = s.expand(s.cast(spec.sink, x->dtype()), {q[0], q[1], q[2], 1});
    x = s.slice(s.softmax(s.concat({x, sink}, 3), 3), 3, 0, k[2]);
  } else if (spec.zero_where_masked && x != nullptr) {
    std::vector<int64_t> axes = {3};
    Value* dead = s.builder().make("Equal", {s.reduce("ReduceMax", x, axes), s.like(x, -std::numeric_limits<double>::infinity())});
    x = s.builder().make("Where", {dead, s.like(x, 0), s.softmax(x, 3)});
  } else {
    x = s.softmax(x, 3);
  }
  if (spec.weight_mod) x = spec.weight_mod(x);
  if (x == nullptr) return r;
  r.weights = spec.values_in_softmax_type ? x : s.cast(x, type);
  const DType mixed = spec.values_in_softmax_type ? x->dtype() : wider_float(type, spec.v->dtype());
  Value* w = grouped ? s.reshape(r.weights, {q[0], k[1], group, q[2], k[2]}) : r.weights;
  r.y = s.cast(s.matmul(s.cast(w, mixed), s.cast(vs, mixed)), type);
  if (grouped) r.y = s.reshape(r.y, {q[0], q[1], q[2], v[3]});
  return r;
}

Value* rotate(Steps& s, Value* x, Value* cos, Value* sin, Dim rotary, bool interleaved) {
  if (x == nullptr) return nullptr;
  const Dims d = dims_of_value(x);
  int64_t last = static_cast<int64_t>(d.size()) - 1;
  bool whole = known_eq(rotary, d.back());
  Value* turned = whole ? x : s.slice(x, last, 0, rotary);
  Dim half = floor_div(rotary, 2);
  Dims pairs(d.begin(), d.end() - 1), halves = pairs;
  pairs.push_back(half);
  pairs.push_back(2);
  halves.push_back(half);
  Value *a = nullptr, *b = nullptr;
  if (interleaved) {
    Value* split = s.reshape(turned, pairs);
    a = s.reshape(s.slice(split, last + 1, 0, 1), halves);
    b = s.reshape(s.slice(split, last + 1, 1, 2), halves);
  } else {
    a = s.slice(turned, last, 0, half);
    b = s.slice(turned, last, half, rotary);
  }
  Value* re = s.sub(s.mul(cos, a), s.mul(sin, b));
  Value* im = s.add(s.mul(sin, a), s.mul(cos, b));
  Value* y = nullptr;
  if (interleaved) {
    Dims column = halves;
    column.push_back(1);
    Dims flat(d.begin(), d.end() - 1);
    flat.push_back(rotary);
    y = s.reshape(s.concat({s.reshape(re, column), s.reshape(im, column)}, last + 1), flat);
  } else {
    y = s.concat({re, im}, last);
  }
  return whole ? y : s.concat({y, s.slice(x, last, rotary, d.back())}, last);
}

namespace {

using Values = Result<std::vector<Value*>>;

// ---- ai.onnx Attention

struct Heads {
  int64_t q, kv;
};

Result<Heads> heads_of(const Node& node) {
  Heads h{node.attr_int("q_num_heads", 0), node.attr_int("kv_num_heads", 0)};
  if (h.q < 0 || h.kv < 0) return error(Code::kInvalidModel, "numbers of heads must be positive");
  return h;
}

/// Dims of input i as [batch, heads, sequence, size].
Result<Dims> head_dims(const Node& node, int i, int64_t heads, std::string_view attr) {
  const Dims& d = dims_of(node, i);
  if (d.size() == 4) return d;
  if (d.size() != 3) return error(Code::kInvalidModel, "input {} has rank {}; it must be 3 or 4", i, d.size());
  if (heads <= 0) return error(Code::kInvalidModel, "attribute {} is missing, and the inputs have rank 3", attr);
  if (differ(node, mod(d[2], heads), 0))
    return error(Code::kInvalidModel, "{} components do not divide into {} heads", to_string(d[2]), heads);
  return Dims{d[0], heads, d[1], floor_div(d[2], heads)};
}

struct AttentionDims {
  Dims q, k, v;
  Dim past = 0, total;
};

Result<AttentionDims> attention_dims(const Node& node) {
  TENON_ASSIGN_OR_RETURN(Heads h, heads_of(node));
  AttentionDims a;
  TENON_ASSIGN_OR_RETURN(a.q, head_dims(node, 0, h.q, "q_num_heads"));
  TENON_ASSIGN_OR_RETURN(a.k, head_dims(node, 1, h.kv, "kv_num_heads"));
  TENON_ASSIGN_OR_RETURN(a.v, head_dims(node, 2, h.kv, "kv_num_heads"));
  if (node.has_input(4) != node.has_input(5)) return error(Code::kInvalidModel, "past_key and past_value must come together");
  if (node.has_input(4)) {
    const Dims& past = dims_of(node, 4);
    if (past.size() != 4 || dims_of(node, 5).size() != 4) return error(Code::kInvalidModel, "past_key and past_value must have rank 4");
    a.past = past[2];
  }
  a.total = a.past + a.k[2];
  for (const Dims* other : {&a.k, &a.v})
    if (differ(node, a.q[0], (*other)[0])) return error(Code::kInvalidModel, "the batch of Q is {}, of K or V {}", to_string(a.q[0]), to_string((*other)[0]));
  if (differ(node, a.q[3], a.k[3])) return error(Code::kInvalidModel, "queries have {} components, keys {}", to_string(a.q[3]), to_string(a.k[3]));
  if (differ(node, a.k[2], a.v[2])) return error(Code::kInvalidModel, "there are {} keys and {} values", to_string(a.k[2]), to_string(a.v[2]));
  if (a.q[1].is_const() && a.k[1].is_const() && (a.k[1].value() == 0 || a.q[1].value() % a.k[1].value() != 0))
    return error(Code::kInvalidModel, "{} query heads do not divide among {} key heads", a.q[1].value(), a.k[1].value());
  return a;
}

Status infer_attention(InferContext& c) {
  for (std::string_view side : {"left_window_size", "right_window_size"}) {
    const int64_t size = c.node().attr_int(side, -1);
    if (size < -1 || size > INT32_MAX) return c.fail("{} is {}", side, size);
  }
  int outputs = c.node().num_outputs();
  for (int i = 0; i < 6; ++i)
    if (c.has(i) && i != 3 && !c.ranked(i)) {
      for (int o = 0; o < outputs; ++o) c.set(o, unranked(c.dtype(o == 2 ? 2 : o == 1 ? 1 : 0)));
      return {};
    }
  Result<AttentionDims> a = attention_dims(c.node());
  if (!a.ok()) return std::move(a).status().at(c.node().name());
  bool flat = c.shape(0).size() == 3;
  c.set(0, tensor_of(c.dtype(0), flat ? Dims{a->q[0], a->q[2], a->q[1] * a->v[3]} : Dims{a->q[0], a->q[1], a->q[2], a->v[3]}));
  if (c.has(3) && c.ranked(3)) {  // a last axis that is shorter is taken to be masked beyond
    const Dims &mask = c.shape(3), scores = {a->q[0], a->q[1], a->q[2], a->total};
    bool fits = mask.size() <= 4;
    for (size_t i = 0; fits && i + 1 < mask.size(); ++i) fits = mask[i].is_const(1) || !c.differ(mask[i], scores[4 - mask.size() + i]);
    if (!fits || (!mask.empty() && exceeds(c.node(), mask.back(), a->total)))
      return c.fail("the mask is {}, the scores are [{}, {}, {}, {}]", to_string(c.in(3)), to_string(scores[0]), to_string(scores[1]), to_string(scores[2]), to_string(scores[3]));
  }
  if (outputs > 1) c.set(1, tensor_of(c.dtype(1), {a->k[0], a->k[1], a->total, a->k[3]}));
  if (outputs > 2) c.set(2, tensor_of(c.dtype(2), {a->v[0], a->v[1], a->total, a->v[3]}));
  if (outputs > 3) c.set(3, tensor_of(c.dtype(0), {a->q[0], a->q[1], a->q[2], a->total}));
  return {};
}

/// attn_mask as scores to add: bool selects, a short last axis is extended with "masked".
Value* mask_bias(Steps& s, Value* mask, DType type, Dim total) {
  Builder& b = s.builder();
  if (mask == nullptr) return nullptr;
  double masked = -std::numeric_limits<double>::infinity();
  if (mask->dtype() == DType::kBool) mask = b.make("Where", {mask, b.scalar(type, 0), b.scalar(type, masked)});
  if (mask == nullptr) return nullptr;
  mask = s.cast(mask, type);
  Dims d = dims_of_value(mask);
  if (d.empty() || known_eq(d.back(), total) || d.back().is_const(1)) return mask;
  if (!(d.back().is_const() && total.is_const() && known_lt(d.back(), total))) return mask;
  d.back() = total - d.back();
  return s.concat({mask, s.expand(b.scalar(type, masked), d)}, static_cast<int64_t>(d.size()) - 1);
}

/// Which keys a query sees: up to its own position when causal, and within a window of which -1 leaves a side open. Null: all.
struct Visibility {
  bool causal;
  int64_t left, right;

  bool bounded() const { return causal || left >= 0 || right >= 0; }
  Value* of(Steps& s, Value* key, Value* query) const {
    Builder& b = s.builder();
    Value* keep = nullptr;
    const auto also = [&](Value* term) { keep = keep == nullptr ? term : b.make("And", {keep, term}); };
    const auto moved = [&](int64_t by) { return s.add(query, b.scalar(DType::kI64, static_cast<double>(by))); };
    if (causal) also(b.make("LessOrEqual", {key, query}));
    if (left >= 0) also(b.make("GreaterOrEqual", {key, moved(-left)}));
    if (right >= 0) also(b.make("LessOrEqual", {key, moved(right)}));
    return keep;
  }
};

Values decompose_attention(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  TENON_ASSIGN_OR_RETURN(AttentionDims a, attention_dims(node));
  Steps s(node, b);
  bool flat = dims_of(node, 0).size() == 3;
  AttentionSpec spec;
  DType type = s.in(0)->dtype();
  auto as_heads = [&](int i, const Dims& d) { return dims_of(node, i).size() == 3 ? split_heads(s, s.in(i), d[1].value()) : s.in(i); };
  spec.q = as_heads(0, a.q);
  spec.k = as_heads(1, a.k);
  spec.v = as_heads(2, a.v);
  if (node.has_input(4)) {
    spec.k = s.concat({s.in(4), spec.k}, 2);
    spec.v = s.concat({s.in(5), spec.v}, 2);
  }
  TENON_RETURN_IF_ERROR(b.status());
  spec.scale = node.attr_float("scale", 0);
  spec.scale_given = node.attrs().has("scale");
  spec.softcap = node.attr_float("softcap", 0);
  double masked = -std::numeric_limits<double>::infinity();
  spec.biases.push_back(mask_bias(s, s.in(3), type, a.total));
  const Visibility visible{node.attr_int("is_causal", 0) != 0, node.attr_int("left_window_size", -1), node.attr_int("right_window_size", -1)};
  spec.zero_where_masked = node.has_input(6) || visible.left >= 0 || (node.has_input(3) && !(range_of(spec.biases[0]).lo > masked));
  const auto keep_only = [&](Value* keep) { spec.biases.push_back(b.make("Where", {keep, b.scalar(type, 0), b.scalar(type, masked)})); };
  if (visible.bounded() && !node.has_input(6)) {
    Value* query = s.reshape(s.add(positions(s, a.q[2]), s.dim_scalar(a.past)), {a.q[2], 1});
    keep_only(visible.of(s, s.reshape(positions(s, a.total), {1, a.total}), query));
  }
  if (node.has_input(6)) {
    // With lengths, the last query of a batch entry stands at its last real key.
    Value* lengths = s.reshape(s.in(6), {a.q[0], 1, 1, 1});
    Value* key = s.reshape(positions(s, a.total), {1, 1, 1, a.total});
    Value* keep = b.make("Less", {key, lengths});
    if (visible.bounded()) {
      Value* query = s.add(s.reshape(positions(s, a.q[2]), {1, 1, a.q[2], 1}), s.sub(lengths, s.dim_scalar(a.q[2])));
      keep = b.make("And", {keep, visible.of(s, key, query)});
    }
    keep_only(keep);
  }
  if (node.attrs().has("softmax_precision")) {
    std::optional<DType> precision = dtype_from_onnx(static_cast<int>(node.attr_int("softmax_precision", 1)));
    if (precision && is_float(*precision)) spec.softmax_type = *precision;
  }
  AttentionResult r = attend(s, spec);
  std::vector<Value*> out = {flat ? merge_heads(s, r.y) : r.y, spec.k, spec.v};
  constexpr int kScores = 0, kCapped = 1, kBiased = 2;
  int64_t mode = node.attr_int("qk_matmul_output_mode", 0);
  out.push_back(mode == kScores ? r.scores : mode == kBiased ? r.biased : mode == kCapped ? r.capped : r.weights);
  out.resize(static_cast<size_t>(node.num_outputs()));
  return s.done(std::move(out));
}

// ---- ai.onnx RotaryEmbedding

Status infer_rotary(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_rank_at_least(c, 0, 3));
  if (c.ranked(0) && c.shape(0).size() > 4) return c.fail("X has rank {}; it must be 3 or 4", c.shape(0).size());
  if (c.ranked(0) && c.shape(0).size() == 3) {
    int64_t heads = c.node().attr_int("num_heads", 0);
    bool microsoft = c.node().op().domain == "com.microsoft";
    if (heads < 0 || (heads == 0 && !microsoft)) return c.fail("attribute num_heads is needed, as X has rank 3");
    if (heads > 0 && c.differ(mod(c.shape(0)[2], heads), 0))
      return c.fail("{} components do not divide into {} heads", to_string(c.shape(0)[2]), heads);
  }
  const bool microsoft = c.node().op().domain == "com.microsoft";
  const int ids = microsoft ? 1 : 3;
  if (c.has(ids) && c.ranked(ids) && c.shape(ids).size() != 2 && !(microsoft && c.shape(ids).size() == 1))
    return c.fail("the position ids are {}", to_string(c.in(ids)));
  if (c.has(ids) && c.ranked(ids) && c.ranked(0) && c.shape(ids).size() == 2) {
    TENON_RETURN_IF_ERROR(require_equal(c, c.shape(ids)[0], c.shape(0)[0], "the batch of the position ids and of X"));
    TENON_RETURN_IF_ERROR(require_equal(c, c.shape(ids)[1], c.shape(0)[c.shape(0).size() - 2], "the length of the position ids and of X"));
  }
  const int cos = microsoft ? 2 : 1;
  for (int i : {cos, cos + 1}) {
    TENON_RETURN_IF_ERROR(require_rank(c, i, c.has(ids) ? 2 : 3));
    if (c.has(ids) || !c.ranked(0) || !c.ranked(i)) continue;
    const Dims &x = c.shape(0), &cache = c.shape(i);
    const Dim want[] = {x[0], x[x.size() - 2]};
    for (size_t k = 0; k < 2; ++k)
      if (!cache[k].is_const(1)) TENON_RETURN_IF_ERROR(require_equal(c, cache[k], want[k], "an axis of a cache and of X"));
  }
  int64_t rotary = c.node().attr_int("rotary_embedding_dim", 0);
  if (rotary < 0 || rotary % 2 != 0) return c.fail("attribute rotary_embedding_dim is {}; it must be even", rotary);
  return infer_same(c);
}

/// x: [batch, heads, seq, size] when `heads_first`, else [batch, seq, heads, size]; caches: [max, half], or [batch, seq, half].
Value* apply_rotary(Steps& s, Value* x, Value* cos, Value* sin, Value* ids, bool heads_first, Dim rotary, bool interleaved) {
  Builder& b = s.builder();
  if (ids != nullptr) {
    cos = b.make("Gather", {cos, ids}, {{"axis", int64_t{0}}});
    sin = b.make("Gather", {sin, ids}, {{"axis", int64_t{0}}});
  }
  if (x == nullptr || cos == nullptr || sin == nullptr) return nullptr;
  auto spread = [&](Value* v) {
    const Dims d = dims_of_value(v);
    if (d.size() != 3) return v;
    return s.reshape(v, heads_first ? Dims{d[0], 1, d[1], d[2]} : Dims{d[0], d[1], 1, d[2]});
  };
  return rotate(s, x, s.cast(spread(cos), x->dtype()), s.cast(spread(sin), x->dtype()), rotary, interleaved);
}

Values decompose_rotary(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  bool microsoft = node.op().domain == "com.microsoft";
  Value *x = s.in(0), *cos = s.in(microsoft ? 2 : 1), *sin = s.in(microsoft ? 3 : 2), *ids = s.in(microsoft ? 1 : 3);
  const Dims d = dims_of(node, 0);
  bool flat = d.size() == 3;
  Dim heads = node.attr_int("num_heads", 0), rotary = node.attr_int("rotary_embedding_dim", 0);
  if (rotary.is_const(0)) {
    Dim half = cos->tensor().dims->back();
    rotary = half * 2;
    if (flat && heads.is_const(0)) {
      heads = floor_div(d[2], rotary);
      if (differ(node, heads * rotary, d[2]))
        return Status(Code::kInvalidModel, fmt::format("{} components do not divide into heads of {}", to_string(d[2]), to_string(rotary)), node.name());
    }
  } else if (flat && heads.is_const(0)) {
    return Status(Code::kInvalidModel, "attribute num_heads is needed with rotary_embedding_dim", node.name());
  }
  if (flat) x = s.reshape(x, {d[0], d[1], heads, floor_div(d[2], heads)});
  Dim seq = flat ? d[1] : d[2];
  if (microsoft && dims_of(node, 1).size() == 1)
    ids = s.reshape(s.add(positions(s, seq), ids), {1, seq});
  Value* y = apply_rotary(s, x, cos, sin, ids, !flat, rotary, node.attr_int("interleaved", 0) != 0);
  return s.done({flat ? s.reshape(y, d) : y});
}

}  // namespace

std::vector<OpDef> attention_ops() {
  constexpr DTypeSet kMask = kNumeric | dtypes(DType::kBool);
  return {
      {.domain = "", .name = "Attention",
       .inputs = {{"Q", "T1", kFloat16To64}, {"K", "T1", kFloat16To64}, {"V", "T2", kFloat16To64}, {"attn_mask", "U", kMask, true},
                  {"past_key", "T1", kFloat16To64, true}, {"past_value", "T2", kFloat16To64, true},
                  {"nonpad_kv_seqlen", "I", dtypes(DType::kI64), true}},
       .outputs = {{"Y", "T1", kFloat16To64}, {"present_key", "T1", kFloat16To64, true}, {"present_value", "T2", kFloat16To64, true},
                   {"qk_matmul_output", "T1", kFloat16To64, true}},
       .attrs = {{"is_causal", AttrKind::kInt, false, "0"}, {"kv_num_heads", AttrKind::kInt}, {"left_window_size", AttrKind::kInt, false, "-1"},
                 {"q_num_heads", AttrKind::kInt}, {"qk_matmul_output_mode", AttrKind::kInt, false, "0"},
                 {"right_window_size", AttrKind::kInt, false, "-1"}, {"scale", AttrKind::kFloat}, {"softcap", AttrKind::kFloat, false, "0"},
                 {"softmax_precision", AttrKind::kInt}},
       .infer = infer_attention, .compute = {.decompose = decompose_attention},
       .doc = "Scaled dot-product attention with masks, caches and grouped heads (ONNX Attention)."},
      {.domain = "", .name = "RotaryEmbedding",
       .inputs = {{"X", "T", kFloat16To64}, {"cos_cache", "T", kFloat16To64}, {"sin_cache", "T", kFloat16To64},
                  {"position_ids", "M", dtypes(DType::kI64), true}},
       .outputs = {{"Y", "T", kFloat16To64}},
       .attrs = {{"interleaved", AttrKind::kInt, false, "0"}, {"num_heads", AttrKind::kInt},
                 {"rotary_embedding_dim", AttrKind::kInt, false, "0"}},
       .infer = infer_rotary, .compute = {.decompose = decompose_rotary},
       .doc = "Rotary position embedding (ONNX RotaryEmbedding)."},
      {.domain = "com.microsoft", .name = "RotaryEmbedding",
       .inputs = {{"input", "T", kFloat16To64}, {"position_ids", "M", dtypes(DType::kI64)}, {"cos_cache", "T", kFloat16To64},
                  {"sin_cache", "T", kFloat16To64}},
       .outputs = {{"output", "T", kFloat16To64}},
       .attrs = {{"interleaved", AttrKind::kInt, false, "0"}, {"is_packed_batching", AttrKind::kInt, false, "0"},
                 {"num_heads", AttrKind::kInt, false, "0"}, {"rotary_embedding_dim", AttrKind::kInt, false, "0"},
                 {"scale", AttrKind::kFloat, false, "1"}},
       .infer = infer_rotary, .compute = {.decompose = decompose_rotary},
       .doc = "Rotary position embedding (ONNX Runtime contrib ops)."},
  };
}

}  // namespace tenon::ir
