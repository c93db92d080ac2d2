#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "ir/ops/budget.h"
#include "ir/ops/families.h"
#include "ir/ops/ml_trees.h"

namespace tenon::ir {
namespace {

bool passes(const Forest& f, const TreeNode& n, double x) {
  if (std::isnan(x) && n.missing_goes_true) return true;
  switch (n.test) {
    case Test::kLeq: return x <= n.split;
    case Test::kLt: return x < n.split;
    case Test::kGte: return x >= n.split;
    case Test::kGt: return x > n.split;
    case Test::kEq: return x == n.split;
    case Test::kNeq: return x != n.split;
    case Test::kMember:
      return std::find(f.members.begin() + static_cast<ptrdiff_t>(n.first_weight), f.members.begin() + static_cast<ptrdiff_t>(n.last_weight), x) !=
             f.members.begin() + static_cast<ptrdiff_t>(n.last_weight);
    case Test::kLeaf: break;
  }
  return false;
}

Result<Test> test_from_name(const std::string& mode) {
  constexpr std::pair<std::string_view, Test> kTests[] = {
      {"BRANCH_LEQ", Test::kLeq}, {"BRANCH_LT", Test::kLt}, {"BRANCH_GTE", Test::kGte}, {"BRANCH_GT", Test::kGt},
      {"BRANCH_EQ", Test::kEq},   {"BRANCH_NEQ", Test::kNeq}, {"LEAF", Test::kLeaf}};
  for (const auto& [name, test] : kTests)
    if (name == mode) return test;
  return error(Code::kInvalidModel, "attribute nodes_modes holds \"{}\"", mode);
}

Result<Aggregate> aggregate_from_name(const std::string& name) {
  if (name == "SUM") return Aggregate::kSum;
  if (name == "AVERAGE") return Aggregate::kAverage;
  if (name == "MIN") return Aggregate::kMin;
  if (name == "MAX") return Aggregate::kMax;
  return error(Code::kInvalidModel, "attribute aggregate_function is \"{}\"", name);
}

}  // namespace

Status run_forest(const EvalContext& c, const Forest& f, Aggregate how, const double* row, Scores& out, StepCounter& steps) {
  std::fill(out.value.begin(), out.value.end(), 0.0);
  std::fill(out.seen.begin(), out.seen.end(), false);
  for (size_t root : f.roots) {
    size_t at = root, depth = 0;
    for (; f.nodes[at].test != Test::kLeaf; ++depth) {
      if (depth > f.nodes.size()) return eval_error(c, Code::kInvalidModel, "the nodes of a tree form a cycle");
      const TreeNode& n = f.nodes[at];
      at = passes(f, n, row[n.feature]) ? n.yes : n.no;
    }
    TENON_RETURN_IF_ERROR(steps.add(static_cast<int64_t>(depth + 1 + f.nodes[at].last_weight - f.nodes[at].first_weight)));
    for (size_t w = f.nodes[at].first_weight; w < f.nodes[at].last_weight; ++w) {
      auto [target, value] = f.weights[w];
      double& score = out.value[target];
      bool first = !out.seen[target];
      if (how == Aggregate::kMin) score = first ? value : std::min(score, value);
      else if (how == Aggregate::kMax) score = first ? value : std::max(score, value);
      else score += value;
      out.seen[target] = true;
    }
  }
  if (how == Aggregate::kAverage && !f.roots.empty())
    for (double& v : out.value) v /= static_cast<double>(f.roots.size());
  return {};
}

// ---- Reading the attributes of TreeEnsembleClassifier and -Regressor

std::vector<double> floats_attr(const Node& node, const std::string& name) {
  if (const Tensor* t = node.attr_tensor(name + "_as_tensor")) return doubles_of(*t);
  return node.attr_floats(name);
}

Result<Forest> read_nodes(const Node& node, std::map<NodeKey, size_t>& index) {
  Forest f;
  std::vector<int64_t> trees = node.attr_ints("nodes_treeids"), ids = node.attr_ints("nodes_nodeids"),
                       features = node.attr_ints("nodes_featureids"), yes = node.attr_ints("nodes_truenodeids"),
                       no = node.attr_ints("nodes_falsenodeids"), missing = node.attr_ints("nodes_missing_value_tracks_true");
  std::vector<std::string> modes = node.attr_strings("nodes_modes");
  std::vector<double> splits = floats_attr(node, "nodes_values");
  size_t n = trees.size();
  if (ids.size() != n || features.size() != n || yes.size() != n || no.size() != n || modes.size() != n || splits.size() != n ||
      (!missing.empty() && missing.size() != n))
    return error(Code::kInvalidModel, "the nodes_* attributes have different lengths");
  for (size_t i = 0; i < n; ++i)
    if (!index.emplace(NodeKey{trees[i], ids[i]}, i).second)
      return error(Code::kInvalidModel, "node {} of tree {} is given twice", ids[i], trees[i]);
  f.nodes.resize(n);
  std::vector<bool> is_child(n, false);
  for (size_t i = 0; i < n; ++i) {
    TreeNode& t = f.nodes[i];
    TENON_ASSIGN_OR_RETURN(t.test, test_from_name(modes[i]));
    t.missing_goes_true = !missing.empty() && missing[i] != 0;
    t.split = splits[i];
    if (t.test == Test::kLeaf) continue;
    if (features[i] < 0) return error(Code::kInvalidModel, "attribute nodes_featureids holds {}", features[i]);
    t.feature = features[i];
    f.features_needed = std::max(f.features_needed, t.feature + 1);
    auto y = index.find({trees[i], yes[i]}), e = index.find({trees[i], no[i]});
    if (y == index.end() || e == index.end()) return error(Code::kInvalidModel, "node {} of tree {} has a child that is not there", ids[i], trees[i]);
    t.yes = y->second, t.no = e->second;
    is_child[t.yes] = is_child[t.no] = true;
  }
  std::set<int64_t> rooted;
  for (size_t i = 0; i < n; ++i)
    if (!is_child[i] && rooted.insert(trees[i]).second) f.roots.push_back(i);
  for (size_t i = 0; i < n; ++i)
    if (!rooted.contains(trees[i])) return error(Code::kInvalidModel, "tree {} has no root", trees[i]);
  return f;
}

Status read_weights(const Node& node, const std::string& prefix, size_t targets, const std::map<NodeKey, size_t>& index, Forest& f) {
  std::vector<int64_t> trees = node.attr_ints(prefix + "_treeids"), ids = node.attr_ints(prefix + "_nodeids"),
                       target = node.attr_ints(prefix + "_ids");
  std::vector<double> values = floats_attr(node, prefix + "_weights");
  size_t n = trees.size();
  if (ids.size() != n || target.size() != n || values.size() != n)
    return error(Code::kInvalidModel, "the {}_* attributes have different lengths", prefix);
  std::vector<std::pair<size_t, size_t>> order;
  for (size_t i = 0; i < n; ++i) {
    auto at = index.find({trees[i], ids[i]});
    if (at == index.end()) return error(Code::kInvalidModel, "{}_nodeids names node {} of tree {}, which is not there", prefix, ids[i], trees[i]);
    if (target[i] < 0 || static_cast<size_t>(target[i]) >= targets)
      return error(Code::kInvalidModel, "{}_ids holds {}, which is outside [0, {})", prefix, target[i], targets);
    order.emplace_back(at->second, i);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [leaf, i] : order) {
    TreeNode& t = f.nodes[leaf];
    if (t.first_weight == t.last_weight) t.first_weight = f.weights.size();
    f.weights.push_back({static_cast<size_t>(target[i]), values[i]});
    t.last_weight = f.weights.size();
  }
  return {};
}

std::vector<AttrDef> tree_attrs(std::vector<AttrDef> more) {
  std::vector<AttrDef> attrs = {
      {"base_values", AttrKind::kFloats}, {"base_values_as_tensor", AttrKind::kTensor},
      {"nodes_falsenodeids", AttrKind::kInts}, {"nodes_featureids", AttrKind::kInts}, {"nodes_hitrates", AttrKind::kFloats},
      {"nodes_hitrates_as_tensor", AttrKind::kTensor}, {"nodes_missing_value_tracks_true", AttrKind::kInts},
      {"nodes_modes", AttrKind::kStrings}, {"nodes_nodeids", AttrKind::kInts}, {"nodes_treeids", AttrKind::kInts},
      {"nodes_truenodeids", AttrKind::kInts}, {"nodes_values", AttrKind::kFloats}, {"nodes_values_as_tensor", AttrKind::kTensor},
      {"post_transform", AttrKind::kString, false, "NONE"}};
  attrs.insert(attrs.end(), more.begin(), more.end());
  return attrs;
}

Status check_columns(const EvalContext& c, const Forest& f, const Matrix& x) {
  if (f.features_needed <= x.columns) return {};
  return eval_error(c, Code::kInvalidArgument, "the trees look at feature {}; the input has {}", f.features_needed - 1, x.columns);
}

namespace {

// ---- TreeEnsembleRegressor

Status eval_scores(EvalContext& c, const Forest& f, Aggregate how, PostTransform post, size_t targets, const std::vector<double>& base) {
  TENON_ASSIGN_OR_RETURN(Matrix x, matrix_of(c, 0));
  TENON_RETURN_IF_ERROR(check_columns(c, f, x));
  DType dtype = c.node.output(0)->dtype();
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, dtype, {x.rows, static_cast<int64_t>(targets)}));
  Scores scores{std::vector<double>(targets), std::vector<bool>(targets)};
  StepCounter steps(c.interrupt);
  for (int64_t r = 0; r < x.rows; ++r) {
    TENON_RETURN_IF_ERROR(steps.add(static_cast<int64_t>(targets)));
    TENON_RETURN_IF_ERROR(run_forest(c, f, how, x.row(r), scores, steps));
    for (size_t t = 0; t < base.size() && t < targets; ++t) scores.value[t] += base[t];
    apply_post_transform(post, scores.value);
    for (size_t t = 0; t < targets; ++t) out->set_double(r * static_cast<int64_t>(targets) + static_cast<int64_t>(t), scores.value[t]);
  }
  return {};
}

Status infer_tree_regressor(InferContext& c) { return infer_regressor(c, c.node().attr_int("n_targets", 1), DType::kF32); }

struct Regressor {
  Forest forest;
  Aggregate how;
  PostTransform post;
  size_t targets;
  std::vector<double> base;
};

Result<Regressor> read_regressor(const Node& node) {
  Regressor r{.targets = static_cast<size_t>(node.attr_int("n_targets", 1)), .base = floats_attr(node, "base_values")};
  std::map<NodeKey, size_t> index;
  TENON_ASSIGN_OR_RETURN(r.forest, read_nodes(node, index));
  TENON_RETURN_IF_ERROR(read_weights(node, "target", r.targets, index, r.forest));
  TENON_ASSIGN_OR_RETURN(r.how, aggregate_from_name(node.attr_string("aggregate_function", "SUM")));
  TENON_ASSIGN_OR_RETURN(r.post, post_transform_of(node));
  return r;
}

// ---- TreeEnsemble (ai.onnx.ml 5)

Status infer_tree_ensemble(InferContext& c) { return infer_regressor(c, c.node().attr_int("n_targets", 1), c.dtype(0)); }

Result<size_t> child_of(int64_t id, bool leaf, size_t interior, size_t leaves) {
  size_t limit = leaf ? leaves : interior;
  if (id < 0 || static_cast<size_t>(id) >= limit) return error(Code::kInvalidModel, "a child is {}, which is outside [0, {})", id, limit);
  return leaf ? interior + static_cast<size_t>(id) : static_cast<size_t>(id);
}

/// Gives the MEMBER nodes their runs of membership_values, which NaNs separate.
Status read_members(const Node& node, Forest& f) {
  const Tensor* tensor = node.attr_tensor("membership_values");
  std::vector<double> values = tensor != nullptr ? doubles_of(*tensor) : std::vector<double>();
  size_t next = 0;
  for (TreeNode& t : f.nodes) {
    if (t.test != Test::kMember) continue;
    if (next > values.size() || values.empty()) return error(Code::kInvalidModel, "membership_values has too few sets");
    t.first_weight = f.members.size();
    while (next < values.size() && !std::isnan(values[next])) f.members.push_back(values[next++]);
    ++next;
    t.last_weight = f.members.size();
  }
  return {};
}

Result<Forest> read_ensemble_nodes(const Node& node, size_t targets) {
  Forest f;
  std::vector<int64_t> features = node.attr_ints("nodes_featureids"), yes = node.attr_ints("nodes_truenodeids"),
                       no = node.attr_ints("nodes_falsenodeids"), yes_leaf = node.attr_ints("nodes_trueleafs"),
                       no_leaf = node.attr_ints("nodes_falseleafs"), missing = node.attr_ints("nodes_missing_value_tracks_true"),
                       leaf_targets = node.attr_ints("leaf_targetids"), roots = node.attr_ints("tree_roots");
  const Tensor *modes = node.attr_tensor("nodes_modes"), *splits = node.attr_tensor("nodes_splits"), *weights = node.attr_tensor("leaf_weights");
  size_t n = features.size(), leaves = leaf_targets.size();
  if (modes == nullptr || splits == nullptr || weights == nullptr) return error(Code::kInvalidModel, "nodes_modes, nodes_splits or leaf_weights is missing");
  if (yes.size() != n || no.size() != n || yes_leaf.size() != n || no_leaf.size() != n || static_cast<size_t>(modes->size()) != n ||
      static_cast<size_t>(splits->size()) != n || (!missing.empty() && missing.size() != n) || static_cast<size_t>(weights->size()) != leaves)
    return error(Code::kInvalidModel, "the nodes_* or leaf_* attributes have different lengths");
  f.nodes.resize(n + leaves);
  for (size_t i = 0; i < n; ++i) {
    TreeNode& t = f.nodes[i];
    int64_t mode = modes->at_int(static_cast<int64_t>(i));
    if (mode < 0 || mode > 6) return error(Code::kInvalidModel, "nodes_modes holds {}", mode);
    t.test = static_cast<Test>(mode);
    if (features[i] < 0) return error(Code::kInvalidModel, "nodes_featureids holds {}", features[i]);
    t.feature = features[i];
    f.features_needed = std::max(f.features_needed, t.feature + 1);
    t.missing_goes_true = !missing.empty() && missing[i] != 0;
    t.split = splits->at_double(static_cast<int64_t>(i));
    TENON_ASSIGN_OR_RETURN(t.yes, child_of(yes[i], yes_leaf[i] != 0, n, leaves));
    TENON_ASSIGN_OR_RETURN(t.no, child_of(no[i], no_leaf[i] != 0, n, leaves));
  }
  for (size_t i = 0; i < leaves; ++i) {
    if (leaf_targets[i] < 0 || static_cast<size_t>(leaf_targets[i]) >= targets)
      return error(Code::kInvalidModel, "leaf_targetids holds {}, which is outside [0, {})", leaf_targets[i], targets);
    f.nodes[n + i].first_weight = i;
    f.nodes[n + i].last_weight = i + 1;
    f.weights.push_back({static_cast<size_t>(leaf_targets[i]), weights->at_double(static_cast<int64_t>(i))});
  }
  // A root whose two children are the same leaf stands for a tree of one leaf; it needs no care here.
  for (int64_t root : roots) {
    TENON_ASSIGN_OR_RETURN(size_t at, child_of(root, false, n, leaves));
    f.roots.push_back(at);
  }
  TENON_RETURN_IF_ERROR(read_members(node, f));
  return f;
}

Result<Regressor> read_ensemble(const Node& node) {
  Regressor r{.targets = static_cast<size_t>(node.attr_int("n_targets", 1)), .base = {}};
  TENON_ASSIGN_OR_RETURN(r.forest, read_ensemble_nodes(node, r.targets));
  const int64_t how = node.attr_int("aggregate_function", 1), post = node.attr_int("post_transform", 0);
  if (how < 0 || how > 3) return error(Code::kInvalidModel, "attribute aggregate_function is {}", how);
  if (post < 0 || post > 4) return error(Code::kInvalidModel, "attribute post_transform is {}", post);
  r.how = static_cast<Aggregate>(how);
  r.post = static_cast<PostTransform>(post);
  return r;
}

// ---- Both regressors

Result<Regressor> read_any(const Node& node) {
  return node.op().name == "TreeEnsemble" ? read_ensemble(node) : read_regressor(node);
}

Status eval_regressor(EvalContext& c) {
  TENON_ASSIGN_OR_RETURN(const Regressor r, read_any(c.node));
  return eval_scores(c, r.forest, r.how, r.post, r.targets, r.base);
}

Result<std::vector<Value*>> decompose_regressor(Node& node, Builder& b) {
  TENON_ASSIGN_OR_RETURN(const Regressor r, read_any(node));
  TENON_ASSIGN_OR_RETURN(Value * scores, forest_scores(b, node.input(0), r.forest, r.how, r.targets, r.base));
  TENON_ASSIGN_OR_RETURN(scores, post_transformed(b, scores, r.post));
  return std::vector<Value*>{cast_to(b, scores, node.output()->dtype())};
}

}  // namespace

std::vector<OpDef> ml_tree_ops() {
  return {
      {.domain = "ai.onnx.ml",
       .name = "TreeEnsembleRegressor",
       .inputs = {{"X", "T", kMlInputs}},
       .outputs = {{"Y", "F", kMlFloat}},
       .attrs = tree_attrs({{"aggregate_function", AttrKind::kString, false, "SUM"},
                              {"n_targets", AttrKind::kInt},
                              {"target_ids", AttrKind::kInts},
                              {"target_nodeids", AttrKind::kInts},
                              {"target_treeids", AttrKind::kInts},
                              {"target_weights", AttrKind::kFloats},
                              {"target_weights_as_tensor", AttrKind::kTensor}}),
       .infer = infer_tree_regressor,
       .compute = {.decompose = decompose_regressor, .eval = eval_regressor},
       .doc = "Regression by decision trees (ai.onnx.ml TreeEnsembleRegressor)."},
      tree_classifier_op(),
      {.domain = "ai.onnx.ml",
       .name = "TreeEnsemble",
       .inputs = {{"X", "T", kFloat16To64}},
       .outputs = {{"Y", "T", kFloat16To64}},
       .attrs = {{"aggregate_function", AttrKind::kInt, false, "1"},
                 {"leaf_targetids", AttrKind::kInts, true},
                 {"leaf_weights", AttrKind::kTensor, true},
                 {"membership_values", AttrKind::kTensor},
                 {"n_targets", AttrKind::kInt},
                 {"nodes_falseleafs", AttrKind::kInts, true},
                 {"nodes_falsenodeids", AttrKind::kInts, true},
                 {"nodes_featureids", AttrKind::kInts, true},
                 {"nodes_hitrates", AttrKind::kTensor},
                 {"nodes_missing_value_tracks_true", AttrKind::kInts},
                 {"nodes_modes", AttrKind::kTensor, true},
                 {"nodes_splits", AttrKind::kTensor, true},
                 {"nodes_trueleafs", AttrKind::kInts, true},
                 {"nodes_truenodeids", AttrKind::kInts, true},
                 {"post_transform", AttrKind::kInt, false, "0"},
                 {"tree_roots", AttrKind::kInts, true}},
       .infer = infer_tree_ensemble,
       .compute = {.decompose = decompose_regressor, .eval = eval_regressor},
       .doc = "Decision trees with set membership tests (ai.onnx.ml TreeEnsemble)."},
      tree_leaves_op(),
  };
}

}  // namespace tenon::ir
