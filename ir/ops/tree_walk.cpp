#include <algorithm>
#include <cmath>

#include "ir/ops/body_helpers.h"
#include "ir/ops/ml_trees.h"

namespace tenon::ir {
namespace {

constexpr int64_t kMaxDepth = 64;
constexpr size_t kMaxWeights = size_t{1} << 24;

// ---- tenon.tree_leaves

Status infer_tree_leaves(InferContext& c) {
  const int64_t depth = c.node().attr_int("depth", 0);
  if (depth < 0 || depth > kMaxDepth) return c.fail("a depth of {}", depth);
  constexpr size_t kRanks[] = {2, 1, 1, 1, 2};
  for (int i = 0; i < 5; ++i)
    if (!c.ranked(i) || c.shape(i).size() != kRanks[i])
      return c.fail("input {} is {}, not of rank {}", i, to_string(c.in(i)), kRanks[i]);
  const Dim nodes = c.shape(2)[0];
  if (c.differ(nodes, c.shape(3)[0]) || c.differ(nodes, c.shape(4)[0]) || c.differ(c.shape(4)[1], 4))
    return c.fail("features {}, splits {} and children {} do not fit", to_string(c.in(2)), to_string(c.in(3)),
                  to_string(c.in(4)));
  c.set(0, TensorType(DType::kI32, {c.shape(0)[0], c.shape(1)[0]}));
  return {};
}

/// One look-up a level: children[node, relation of x[row, feature] to the split].
Result<std::vector<Body>> tree_leaves_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kMovement);
  ExprPool& pool = *body.pool;
  const Expr tree[] = {pool.index(1)}, nodes = pool.dim(input_dims(node, 2)[0]),
             columns = pool.dim(input_dims(node, 0)[1]);
  const DType dtype = node.input(3)->dtype();
  Expr at = load_at(body, node, 1, tree);
  for (int64_t level = 0; level < node.attr_int("depth", 0); ++level) {
    const Expr here[] = {pool.checked_index(pool.cast(at, DType::kI64), nodes)};
    const Expr column = pool.checked_index(pool.cast(load_at(body, node, 2, here), DType::kI64), columns);
    const Expr feature[] = {pool.index(0), column};
    const Expr x = pool.cast(load_at(body, node, 0, feature), dtype), split = load_at(body, node, 3, here);
    const Expr relation = select(x < split, i64(pool, 0),
                                 select(x == split, i64(pool, 1), select(x > split, i64(pool, 2), i64(pool, 3))));
    const Expr child[] = {here[0], relation};
    at = load_at(body, node, 4, child);
  }
  body.value = at;
  return one_body(std::move(body));
}

// ---- A forest as tables

/// Where the test leads for x below, equal to, above and not comparable with the split.
std::array<bool, 4> outcomes(const TreeNode& n) {
  const bool missing = n.missing_goes_true;
  switch (n.test) {
    case Test::kLeq:
      return {true, true, false, missing};
    case Test::kLt:
      return {true, false, false, missing};
    case Test::kGte:
      return {false, true, true, missing};
    case Test::kGt:
      return {false, false, true, missing};
    case Test::kEq:
      return {false, true, false, missing};
    case Test::kNeq:
      return {true, false, true, true};
    default:
      return {};
  }
}

/// Levels below the deepest root.
Result<int64_t> depth_of(const Forest& f) {
  std::vector<size_t> level = f.roots;
  for (int64_t depth = 0; depth <= kMaxDepth; ++depth) {
    std::vector<size_t> next;
    for (size_t at : level) {
      if (f.nodes[at].test == Test::kLeaf) continue;
      next.push_back(f.nodes[at].yes);
      next.push_back(f.nodes[at].no);
    }
    std::ranges::sort(next);
    next.erase(std::ranges::unique(next).begin(), next.end());
    if (next.empty()) return depth;
    level = std::move(next);
  }
  return error(Code::kUnsupported, "trees of more than {} levels", kMaxDepth);
}

Result<Value*> integers(Builder& b, Shape shape, const std::vector<size_t>& values) {
  TENON_ASSIGN_OR_RETURN(Tensor t, Tensor::zeros(DType::kI32, std::move(shape)));
  for (size_t i = 0; i < values.size(); ++i) t.set_int(static_cast<int64_t>(i), static_cast<int64_t>(values[i]));
  return b.constant(std::move(t));
}

/// The splits in f32 where that loses nothing against features of `dtype`, else in f64.
Result<Value*> splits_of(Builder& b, const Forest& f, DType dtype) {
  const bool narrow = (dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16) &&
                      std::ranges::all_of(f.nodes, [](const TreeNode& n) {
                        return static_cast<double>(static_cast<float>(n.split)) == n.split;
                      });
  TENON_ASSIGN_OR_RETURN(Tensor t,
                         Tensor::zeros(narrow ? DType::kF32 : DType::kF64, {static_cast<int64_t>(f.nodes.size())}));
  for (size_t i = 0; i < f.nodes.size(); ++i) t.set_double(static_cast<int64_t>(i), f.nodes[i].split);
  return b.constant(std::move(t));
}

Result<Value*> leaves_of(Builder& b, Value* x, const Forest& f) {
  TENON_ASSIGN_OR_RETURN(const int64_t depth, depth_of(f));
  std::vector<size_t> features, children;
  for (size_t i = 0; i < f.nodes.size(); ++i) {
    const TreeNode& n = f.nodes[i];
    if (n.test == Test::kMember || std::isnan(n.split))
      return error(Code::kUnsupported, "tests of membership, or against NaN");
    if (n.feature > INT32_MAX) return error(Code::kUnsupported, "feature {}", n.feature);
    features.push_back(n.test == Test::kLeaf ? 0 : static_cast<size_t>(n.feature));
    for (const bool passes : outcomes(n)) children.push_back(n.test == Test::kLeaf ? i : passes ? n.yes : n.no);
  }
  const auto count = static_cast<int64_t>(f.nodes.size());
  TENON_ASSIGN_OR_RETURN(Value * roots, integers(b, {static_cast<int64_t>(f.roots.size())}, f.roots));
  TENON_ASSIGN_OR_RETURN(Value * columns, integers(b, {count}, features));
  TENON_ASSIGN_OR_RETURN(Value * splits, splits_of(b, f, x->dtype()));
  TENON_ASSIGN_OR_RETURN(Value * next, integers(b, {count, 4}, children));
  return b.make("tenon.tree_leaves", {x, roots, columns, splits, next}, {{"depth", depth}});
}

/// [nodes, targets]: what reaching a node adds to each target.
Result<Tensor> weight_table(const Forest& f, Aggregate how, size_t targets) {
  if (targets > kMaxWeights / std::max<size_t>(f.nodes.size(), 1))
    return error(Code::kUnsupported, "{} targets of {} nodes", targets, f.nodes.size());
  const bool extreme = how == Aggregate::kMin || how == Aggregate::kMax;
  TENON_ASSIGN_OR_RETURN(
      Tensor table, Tensor::zeros(DType::kF64, {static_cast<int64_t>(f.nodes.size()), static_cast<int64_t>(targets)}));
  for (size_t i = 0; i < f.nodes.size(); ++i) {
    const TreeNode& n = f.nodes[i];
    if (n.test != Test::kLeaf) continue;
    std::vector<bool> seen(targets, false);
    for (size_t w = n.first_weight; w < n.last_weight; ++w) {
      const auto at = static_cast<int64_t>(i * targets + f.weights[w].target);
      const double old = table.at_double(at), value = f.weights[w].value;
      const bool first = !seen[f.weights[w].target];
      seen[f.weights[w].target] = true;
      table.set_double(at, !extreme                 ? old + value
                           : first                  ? value
                           : how == Aggregate::kMin ? std::min(old, value)
                                                    : std::max(old, value));
    }
    if (extreme && std::ranges::find(seen, false) != seen.end())
      return error(Code::kUnsupported, "a leaf without a weight for a target");
  }
  return table;
}

}  // namespace

Result<Value*> forest_scores(Builder& b, Value* x, const Forest& forest, Aggregate how, size_t targets,
                             const std::vector<double>& base) {
  if (!x->type().is_ranked_tensor() || forest.roots.empty())
    return error(Code::kUnsupported, "the features' rank is not known, or there is no tree");
  if (x->tensor().rank() == 1) x = b.make("Unsqueeze", {x, b.ints({0})});
  if (x == nullptr || known_le(x->tensor().dim(1), Dim(forest.features_needed) - 1))
    return error(Code::kUnsupported, "there are too few features");
  TENON_ASSIGN_OR_RETURN(Tensor table, weight_table(forest, how, targets));
  TENON_ASSIGN_OR_RETURN(Value * leaves, leaves_of(b, x, forest));
  Value* weights = b.make("Gather", {b.constant(std::move(table)), leaves}, {{"axis", int64_t{0}}});
  const std::string_view reduce = how == Aggregate::kMin   ? "ReduceMin"
                                  : how == Aggregate::kMax ? "ReduceMax"
                                                           : "ReduceSum";
  Value* scores = b.make(reduce, {weights, b.ints({1})}, {{"keepdims", int64_t{0}}});
  if (how == Aggregate::kAverage)
    scores = b.make("Div", {scores, b.scalar(DType::kF64, static_cast<double>(forest.roots.size()))});
  if (base.empty()) return scores;
  TENON_ASSIGN_OR_RETURN(Tensor bias, Tensor::zeros(DType::kF64, {static_cast<int64_t>(targets)}));
  for (size_t t = 0; t < std::min(base.size(), targets); ++t) bias.set_double(static_cast<int64_t>(t), base[t]);
  return b.make("Add", {scores, b.constant(std::move(bias))});
}

OpDef tree_leaves_op() {
  return {.domain = "tenon",
          .name = "tree_leaves",
          .inputs = {{"x", "X", kMlInputs | kFloat16To64},
                     {"roots", "I", dtypes(DType::kI32)},
                     {"features", "I", dtypes(DType::kI32)},
                     {"splits", "S", dtypes(DType::kF32, DType::kF64)},
                     {"children", "I", dtypes(DType::kI32)}},
          .outputs = {{"leaves", "I", dtypes(DType::kI32)}},
          .attrs = {{"depth", AttrKind::kInt, true}},
          .infer = infer_tree_leaves,
          .compute = {.body = tree_leaves_body},
          .doc =
              "The node that each row [N, C] reaches in each tree [T] after `depth` levels: children [nodes, 4] for a "
              "feature below, "
              "equal to, above and not comparable with the node's split"};
}

}  // namespace tenon::ir
