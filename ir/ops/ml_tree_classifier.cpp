#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "ir/ops/budget.h"
#include "ir/ops/ml_trees.h"

namespace tenon::ir {
namespace {

Labels tree_labels(const Node& node) {
  return {node.attr_ints("classlabels_int64s"), node.attr_strings("classlabels_strings")};
}

Status infer_tree_classifier(InferContext& c) {
  Labels labels = tree_labels(c.node());
  if (labels.size() == 0) return c.fail("there are no class labels");
  TENON_RETURN_IF_ERROR(infer_classifier(c, labels.dtype(), std::max<int64_t>(2, static_cast<int64_t>(labels.size()))));
  if (labels.size() == 1 && c.node().num_outputs() > 1) c.set(1, tensor_of(DType::kF32, {rows_of(c), 1}));
  return {};
}

/// The largest score among the classes that got any weight.
size_t best_seen(const Scores& scores) {
  size_t best = scores.value.size();
  for (size_t i = 0; i < scores.value.size(); ++i)
    if (scores.seen[i] && (best == scores.value.size() || scores.value[i] > scores.value[best])) best = i;
  return best == scores.value.size() ? 0 : best;
}

struct Classifier {
  Labels labels;
  Forest forest;
  PostTransform post;
  std::vector<double> base;
  bool one_sided = false;  // of two classes, only one has weights
  /// That is class 0: its weights are the score of the second class, from which the first's follows (ONNX Runtime,
  /// tree_ensemble_aggregator.h).
  bool binary = false;
  bool all_positive = true, none_zero = true;

  /// Weights that are all positive make probabilities, others margins.
  double threshold() const { return all_positive ? 0.5 : 0; }
  size_t second_class(double score) const { return score > threshold() ? 1 : 0; }
  double bias() const { return base.size() == 1 ? base[0] : base.size() == 2 ? base[1] : 0; }  // of a binary one
};

Result<Classifier> read_classifier(const Node& node) {
  Classifier r{.labels = tree_labels(node), .base = floats_attr(node, "base_values")};
  std::map<NodeKey, size_t> index;
  TENON_ASSIGN_OR_RETURN(r.forest, read_nodes(node, index));
  TENON_RETURN_IF_ERROR(read_weights(node, "class", std::max<size_t>(r.labels.size(), 1), index, r.forest));
  TENON_ASSIGN_OR_RETURN(r.post, post_transform_of(node));
  std::set<size_t> weighted;
  for (const Weight& w : r.forest.weights) {
    weighted.insert(w.target);
    r.all_positive &= w.value >= 0;
    r.none_zero &= w.value != 0;
  }
  r.one_sided = r.labels.size() == 2 && weighted.size() == 1;
  r.binary = r.one_sided && weighted.contains(0);
  return r;
}

struct Decision {
  std::vector<double> scores;
  size_t label;
};

Status eval_tree_classifier(EvalContext& c) {
  TENON_ASSIGN_OR_RETURN(const Classifier model, read_classifier(c.node));
  const size_t classes = model.labels.size();
  TENON_ASSIGN_OR_RETURN(Matrix x, matrix_of(c, 0));
  TENON_RETURN_IF_ERROR(check_columns(c, model.forest, x));
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, model.labels.dtype(), {x.rows}));
  Tensor* z = nullptr;
  if (c.node.num_outputs() > 1) {
    TENON_ASSIGN_OR_RETURN(z, c.allocate(1, DType::kF32, {x.rows, static_cast<int64_t>(classes)}));
  }
  Scores scores{std::vector<double>(classes), std::vector<bool>(classes)};
  StepCounter steps(c.interrupt);
  for (int64_t r = 0; r < x.rows; ++r) {
    TENON_RETURN_IF_ERROR(steps.add(static_cast<int64_t>(classes)));
    TENON_RETURN_IF_ERROR(run_forest(c, model.forest, Aggregate::kSum, x.row(r), scores, steps));
    Decision d;
    if (model.binary) {
      const double score = scores.value[0] + model.bias();
      d = {binary_scores(model.post, score, !model.all_positive), model.second_class(score)};
    } else {
      for (size_t i = 0; i < model.base.size() && i < classes; ++i) {
        scores.value[i] += model.base[i];
        scores.seen[i] = true;
      }
      d.label = model.one_sided ? model.second_class(scores.value[1]) : best_seen(scores);
      d.scores = scores.value;
      apply_post_transform(model.post, d.scores);
    }
    store_label(*out, r, model.labels, d.label);
    for (size_t i = 0; z != nullptr && i < classes; ++i)
      z->set_double(r * static_cast<int64_t>(classes) + static_cast<int64_t>(i), d.scores[i]);
  }
  return {};
}

// ---- As simpler ops

/// Marks the classes that all leaves of the tree weigh.
void mark_weighed(const Forest& f, size_t root, std::vector<bool>& sure) {
  std::vector<size_t> leaves_with(sure.size(), 0), pending = {root};
  std::set<size_t> visited = {root};
  size_t leaves = 0;
  while (!pending.empty()) {
    const TreeNode& n = f.nodes[pending.back()];
    pending.pop_back();
    if (n.test != Test::kLeaf) {
      for (size_t child : {n.yes, n.no})
        if (visited.insert(child).second) pending.push_back(child);
      continue;
    }
    ++leaves;
    std::set<size_t> classes;
    for (size_t w = n.first_weight; w < n.last_weight; ++w) classes.insert(f.weights[w].target);
    for (size_t i : classes) ++leaves_with[i];
  }
  for (size_t i = 0; i < sure.size(); ++i)
    if (leaves > 0 && leaves_with[i] == leaves) sure[i] = true;
}

/// Whether best_seen() is the largest score of all classes, whatever the row.
bool largest_is_seen(const Classifier& m) {
  // A sum of no weights, 0, is less than one of positive weights.
  if (m.base.empty() && m.all_positive && m.none_zero) return true;
  std::vector<bool> sure(m.labels.size(), false);
  std::fill_n(sure.begin(), std::min(m.base.size(), sure.size()), true);
  for (size_t root : m.forest.roots) mark_weighed(m.forest, root, sure);
  return std::ranges::find(sure, false) == sure.end();
}

/// The forest with as many targets more: the number of weights of each.
Forest with_counts(const Forest& f, size_t targets) {
  Forest out = f;
  out.weights.clear();
  for (TreeNode& n : out.nodes) {
    if (n.test != Test::kLeaf) continue;
    const size_t first = std::exchange(n.first_weight, out.weights.size()), last = n.last_weight;
    for (size_t w = first; w < last; ++w) {
      out.weights.push_back(f.weights[w]);
      out.weights.push_back({targets + f.weights[w].target, 1});
    }
    n.last_weight = out.weights.size();
  }
  return out;
}

struct Choice {
  Value *which, *scores;
};

/// best_seen() where a row may leave classes without weights: the largest score of those whose weights' count is not 0.
Result<Choice> choose_seen(Builder& b, Value* x, const Classifier& m) {
  const size_t classes = m.labels.size();
  const auto n = static_cast<int64_t>(classes);
  std::vector<double> base = m.base;
  base.resize(classes, 0);
  for (size_t i = 0; i < classes; ++i) base.push_back(i < m.base.size() ? 1 : 0);
  TENON_ASSIGN_OR_RETURN(Value * sums,
                         forest_scores(b, x, with_counts(m.forest, classes), Aggregate::kSum, 2 * classes, base));
  Value* scores = b.make("Slice", {sums, b.ints({0}), b.ints({n}), b.ints({1})});
  Value* counts = b.make("Slice", {sums, b.ints({n}), b.ints({2 * n}), b.ints({1})});
  Value* seen = b.make("Greater", {counts, b.scalar(DType::kF64, 0)});
  Value* candidates = b.make("Where", {seen, scores, b.scalar(DType::kF64, -INFINITY)});
  return Choice{b.make("ArgMax", {candidates}, {{"axis", int64_t{1}}, {"keepdims", int64_t{0}}}), scores};
}

Result<Choice> choose(Builder& b, Value* x, const Classifier& m) {
  const auto second = [&](Value* score) {  // second_class() of scores [rows, 1]
    Value* above = b.make("Greater", {score, b.scalar(DType::kF64, m.threshold())});
    return cast_to(b, b.make("Squeeze", {above, b.ints({1})}), DType::kI64);
  };
  if (m.binary) {
    TENON_ASSIGN_OR_RETURN(Value * score, forest_scores(b, x, m.forest, Aggregate::kSum, 1, {m.bias()}));
    Value* scores = both_scores(b, score, m.post, !m.all_positive);
    return Choice{second(score), scores};
  }
  if (!m.one_sided && !largest_is_seen(m)) {
    TENON_ASSIGN_OR_RETURN(Choice c, choose_seen(b, x, m));
    TENON_ASSIGN_OR_RETURN(c.scores, post_transformed(b, c.scores, m.post));
    return c;
  }
  TENON_ASSIGN_OR_RETURN(Value * scores, forest_scores(b, x, m.forest, Aggregate::kSum, m.labels.size(), m.base));
  Value* which = m.one_sided ? second(b.make("Slice", {scores, b.ints({1}), b.ints({2}), b.ints({1})}))
                             : b.make("ArgMax", {scores}, {{"axis", int64_t{1}}, {"keepdims", int64_t{0}}});
  TENON_ASSIGN_OR_RETURN(scores, post_transformed(b, scores, m.post));
  return Choice{which, scores};
}

Result<std::vector<Value*>> decompose_classifier(Node& node, Builder& b) {
  TENON_ASSIGN_OR_RETURN(const Classifier model, read_classifier(node));
  if (model.labels.size() == 0) return error(Code::kUnsupported, "there are no class labels");
  const auto finite = [](double v) { return std::isfinite(v); };
  if (!std::ranges::all_of(model.forest.weights, finite, &Weight::value) || !std::ranges::all_of(model.base, finite))
    return error(Code::kUnsupported, "weights that are not finite");
  TENON_ASSIGN_OR_RETURN(Choice choice, choose(b, node.input(0), model));
  TENON_ASSIGN_OR_RETURN(Value * label, labels_at(b, model.labels, choice.which));
  std::vector<Value*> out{label};
  if (node.num_outputs() > 1) out.push_back(cast_to(b, choice.scores, DType::kF32));
  return out;
}

}  // namespace

OpDef tree_classifier_op() {
  return {.domain = "ai.onnx.ml",
          .name = "TreeEnsembleClassifier",
          .inputs = {{"X", "T", kMlInputs}},
          .outputs = {{"Y", "L", kMlLabels}, {"Z", "F", kMlFloat, true}},
          .attrs = tree_attrs({{"class_ids", AttrKind::kInts},
                               {"class_nodeids", AttrKind::kInts},
                               {"class_treeids", AttrKind::kInts},
                               {"class_weights", AttrKind::kFloats},
                               {"class_weights_as_tensor", AttrKind::kTensor},
                               {"classlabels_int64s", AttrKind::kInts},
                               {"classlabels_strings", AttrKind::kStrings}}),
          .infer = infer_tree_classifier,
          .compute = {.decompose = decompose_classifier, .eval = eval_tree_classifier},
          .doc = "Classification by decision trees (ai.onnx.ml TreeEnsembleClassifier)."};
}

}  // namespace tenon::ir
