#pragma once

#include <cstddef>
#include <memory>

#include "ir/graph.h"

namespace tenon::ir {

inline constexpr size_t kLargeConstant = size_t{64} << 10;  // bytes

/// Takes the tensors of the graph's large constants away, those of its regions aside. What is left has all types, names and
/// small constants, and must not be executed.
void drop_weights(Graph& graph);

/// Such a graph, of one that stays as it is.
std::unique_ptr<Graph> without_weights(const Graph& graph);

}  // namespace tenon::ir
