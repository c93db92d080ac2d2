#pragma once

#include <cstddef>

#include "ir/graph.h"

namespace tenon::passes {

/// Forgets what inference has taken on trust (Graph::assumptions) since the graph had `count` assumptions: of nodes that were tried and are
/// erased again. Linear in `count`, and only where there are more.
void forget_assumptions_since(ir::Graph& graph, size_t count);

}  // namespace tenon::passes
