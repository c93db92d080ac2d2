#pragma once

#include <map>

#include "ir/ops/budget.h"
#include "ir/ops/ml_decompose.h"

/// Decision trees of ai.onnx.ml, as all three of its ops describe them.
namespace tenon::ir {

enum class Test : uint8_t { kLeq, kLt, kGte, kGt, kEq, kNeq, kMember, kLeaf };
/// How the weights that the trees give one target combine.
enum class Aggregate { kAverage, kSum, kMin, kMax };

struct TreeNode {
  Test test = Test::kLeaf;
  bool missing_goes_true = false;
  int64_t feature = 0;
  double split = 0;
  size_t yes = 0, no = 0;
  size_t first_weight = 0, last_weight = 0;  // kLeaf; kMember: into members
};

struct Weight {
  size_t target;
  double value;
};

/// A leaf leads to itself. The weights of the leaves are next to one another.
struct Forest {
  std::vector<TreeNode> nodes;
  std::vector<size_t> roots;
  std::vector<Weight> weights;
  std::vector<double> members;
  int64_t features_needed = 0;
};

/// What a row gets of the leaves that it reaches. `seen` says which targets got any weight.
struct Scores {
  std::vector<double> value;
  std::vector<bool> seen;
};

Status check_columns(const EvalContext& c, const Forest& f, const Matrix& x);
Status run_forest(const EvalContext& c, const Forest& f, Aggregate how, const double* row, Scores& out,
                  StepCounter& steps);

/// The attributes that TreeEnsembleClassifier and -Regressor share, and `more`.
std::vector<AttrDef> tree_attrs(std::vector<AttrDef> more);
std::vector<double> floats_attr(const Node& node, const std::string& name);  // or <name>_as_tensor
using NodeKey = std::pair<int64_t, int64_t>;                                 // tree, node
Result<Forest> read_nodes(const Node& node, std::map<NodeKey, size_t>& index);
/// Adds the leaves' weights from <prefix>_treeids, _nodeids, _ids and _weights.
Status read_weights(const Node& node, const std::string& prefix, size_t targets, const std::map<NodeKey, size_t>& index,
                    Forest& f);

/// Scores [rows, targets] in f64 of the features `x`, `base` added: each tree is walked from its root to a leaf level
/// by level (tenon.tree_leaves), whose weights are gathered and combined. kUnsupported for what that cannot say: set
/// membership, cycles, trees of more than 64 levels, extremes of leaves without a weight.
Result<Value*> forest_scores(Builder& b, Value* x, const Forest& forest, Aggregate how, size_t targets,
                             const std::vector<double>& base);

/// tenon.tree_leaves, in which forest_scores() is expressed.
OpDef tree_leaves_op();
OpDef tree_classifier_op();

}  // namespace tenon::ir
