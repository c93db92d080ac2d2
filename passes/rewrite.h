#pragma once

#include "passes/pass.h"

namespace tenon::passes {

/// Calls rewrite(Node& node, Node*& next) for every node of the graph in order, nodes of its regions before it. The
/// function may replace the node, and may set `next` to the first node that it built, to have those visited as well.
/// It returns a Result<bool>: whether it changed anything; so does this. Nodes are counted in the context's steps.
template <class Rewrite>
Result<bool> rewrite_nodes(ir::Graph& graph, PassContext& context, Rewrite&& rewrite) {
  bool changed = false;
  for (ir::Node* node = graph.first(); node;) {
    TENON_RETURN_IF_ERROR(context.step());
    for (const auto& region : node->regions()) {
      TENON_ASSIGN_OR_RETURN(bool inner, rewrite_nodes(*region, context, rewrite));
      changed |= inner;
    }
    ir::Node* next = node->next();
    TENON_ASSIGN_OR_RETURN(bool done, rewrite(*node, next));
    changed |= done;
    node = next;
  }
  return changed;
}

}  // namespace tenon::passes
