#include "passes/assumptions.h"

#include <vector>

#include "ir/op.h"

namespace tenon::passes {

void forget_assumptions_since(ir::Graph& graph, size_t count) {
  if (graph.assumptions().size() <= count) return;
  const auto first = graph.assumptions().first(count);
  const std::vector<ir::Graph::Assumption> kept(first.begin(), first.end());
  graph.forget_assumptions();
  // An assumption is of a node, which may be gone: one that lends its name stands for it.
  ir::Node* node = graph.create(*ir::find_op("Constant"), {}, 1);
  for (const ir::Graph::Assumption& one : kept) {
    node->set_name(one.node);
    graph.assume(one.a, one.b, one.at_most, *node);
  }
  graph.erase(node);
}

}  // namespace tenon::passes
