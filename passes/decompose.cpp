#include <algorithm>

#include "passes/passes.h"
#include "passes/patch.h"
#include "passes/rewrite.h"

namespace tenon::passes {
namespace {

using ir::Graph;
using ir::Node;
using ir::Value;

/// What a chain of decompositions may build at most: an op that comes back to itself is a bug, not a hang.
constexpr int64_t kMaxNodes = 4'000'000;

bool wanted(const Node& node) {
  const ir::Compute& compute = node.op().compute;
  // The shape of a decomposition hangs on ranks: where they are known at run time only, the node is evaluated then.
  const auto ranked = [](const Value* v) { return v == nullptr || !v->type().is_tensor() || v->tensor().ranked(); };
  return compute.decompose && !compute.body && !compute.structural && std::ranges::all_of(node.inputs(), ranked);
}

class Decomposer {
 public:
  explicit Decomposer(PassContext& context) : context_(context) {}

  Result<bool> run(Graph& graph) {
    return rewrite_nodes(graph, context_, [&](Node& node, Node*& next) -> Result<bool> {
      if (!wanted(node)) return false;
      return replace(node, next);
    });
  }

 private:
  /// `next` becomes the first node that the decomposition built, if any: it may want one in turn.
  Result<bool> replace(Node& node, Node*& next) {
    if (++visited_ > kMaxNodes) return error(Code::kInternal, "the op {} decomposes without end", node.op_name());
    Patch patch(node);
    auto values = node.op().compute.decompose(node, patch.builder());
    if (!values.ok() || !patch.builder().status().ok()) {
      Status status = patch.builder().status().ok() ? std::move(values).status() : patch.builder().status();
      if (status.code() == Code::kUnsupported) return false;  // it is evaluated as it is, with what run time knows
      return std::move(status).at(fmt::format("{} node '{}'", node.op_name(), node.name()));
    }
    Node* first = patch.first_built();
    TENON_ASSIGN_OR_RETURN(bool done, patch.replace(context_, *values));
    if (done && first) next = first;
    return done;
  }

  PassContext& context_;
  int64_t visited_ = 0;
};

}  // namespace

/// Not a choice: backends know only what is left. So it does not count against --max-rewrites.
Result<bool> decompose(Graph& graph, PassContext& context) {
  PassContext unlimited;
  unlimited.interrupt = context.interrupt;
  Result<bool> changed = Decomposer(unlimited).run(graph);
  context.steps += unlimited.steps;
  return changed;
}

}  // namespace tenon::passes
