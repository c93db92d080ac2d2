#pragma once

#include <unordered_map>
#include <vector>

#include "ir/graph.h"

/// What nodes need of other nodes beside their operands: symbols of dims, and what their regions use.
namespace tenon::passes {

/// The node of `graph` after which each symbol has a value: the first one whose results have it in their types. Symbols of
/// the graph's inputs and of outer graphs are not there.
std::unordered_map<int, const ir::Node*> symbol_definitions(const ir::Graph& graph);
/// Symbols in the types and attributes of a node and of its regions.
std::vector<int> symbols_of(const ir::Node& node);

/// Nodes of `graph` whose values `node` uses, in its own operands or anywhere in its regions.
void collect_definitions(const ir::Node& node, const ir::Graph& graph, std::vector<const ir::Node*>& defs);

}  // namespace tenon::passes
