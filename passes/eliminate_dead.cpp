#include <algorithm>

#include "passes/passes.h"

namespace tenon::passes {

/// Users before what they use, so that one sweep is enough.
Result<bool> eliminate_dead(ir::Graph& graph, PassContext& context) {
  bool changed = false;
  ir::Node* node = graph.nodes().empty() ? nullptr : graph.nodes().back().get();
  while (node) {
    ir::Node* previous = node->prev();
    if (std::ranges::all_of(node->outputs(), [](const ir::Value* output) { return output->unused(); })) {
      if (!context.take_rewrite()) return changed;
      graph.erase(node);
      changed = true;
    } else {
      for (const auto& region : node->regions()) {
        TENON_ASSIGN_OR_RETURN(bool inner, eliminate_dead(*region, context));
        changed |= inner;
      }
    }
    node = previous;
  }
  return changed;
}

}  // namespace tenon::passes
