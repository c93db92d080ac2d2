#include "ir/ops/decompose.h"
#include "ir/ops/contrib.h"

/// com.microsoft normalisations (ONNX Runtime, docs/ContribOperators.md).
namespace tenon::ir {
namespace {

using Values = Result<std::vector<Value*>>;
constexpr DTypeSet kReal = kFloat16To64;
constexpr DTypeSet kInt32 = dtypes(DType::kI32);
constexpr DTypeSet kIds = dtypes(DType::kI32, DType::kI64);

// ---- SkipLayerNormalization and its relatives

Status infer_skip_norm(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_rank_at_least(c, 0, 1));
  bool simplified = c.node().op().name == "SkipSimplifiedLayerNormalization";
  for (int i : {2, 3}) TENON_RETURN_IF_ERROR(require_rank(c, i, 1));
  if (!simplified) TENON_RETURN_IF_ERROR(require_rank(c, 4, 1));
  for (int i = 2; i < c.node().num_inputs(); ++i)
    if (c.has(i) && c.ranked(i) && c.ranked(0)) TENON_RETURN_IF_ERROR(require_equal(c, c.shape(i)[0], c.shape(0).back(), "a parameter and the last axis"));
  if (c.ranked(0) && c.ranked(1)) {
    const Dims &x = c.shape(0), &skip = c.shape(1);
    if (skip.size() > x.size()) return c.fail("the skip is {}, which does not fit {}", to_string(c.in(1)), to_string(c.in(0)));
    for (size_t i = 0; i < skip.size(); ++i)
      if (!skip[i].is_const(1)) TENON_RETURN_IF_ERROR(require_equal(c, skip[i], x[x.size() - skip.size() + i], "an axis of the skip and of the input"));
  }
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
  for (int i : {5, 6})
    if (c.has(i) && c.ranked(i) && c.ranked(2)) {
      TENON_RETURN_IF_ERROR(require_rank(c, i, 1));
      TENON_RETURN_IF_ERROR(require_equal(c, c.shape(i)[0], c.shape(2)[1], "gamma or beta and the embedding"));
    }
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

}  // namespace

std::vector<OpDef> ms_norm_ops() {
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

}  // namespace tenon::ir
