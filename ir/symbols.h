#pragma once

#include <unordered_map>

#include "ir/graph.h"

namespace tenon::ir {

/// Symbols that only run time knows are bound by the actual shape of one value, whose axis they are: see
/// InferContext::fresh_dim. A rewrite that takes such a value away, or learns what the dim is, says so everywhere.

/// Whether dim `axis` of the value is the symbol that this value binds.
bool binds_symbol(const Value& value, int axis);

using SymbolMap = std::unordered_map<int, Dim>;

/// Adds to `map` the symbols that `from` (of the type `before`) bound, with what `now` has in their place.
void collect_rebound(const Value& from, const Type& before, const Type& now, SymbolMap& map);

/// Replaces symbols in every type, dim value and attribute of the module that `graph` belongs to.
void replace_symbols(Graph& graph, const SymbolMap& map);
/// The same for one node and its results, without its regions.
void replace_symbols(Node& node, const SymbolMap& map);

/// Renames a value, and everywhere the symbols that it binds with it.
void rename_value(Value& value, std::string name);
/// The same where only the value's node and those after it can mention the symbols: a value that was just made.
void rename_new_value(Value& value, std::string name);

/// After copying: gives copies, which have names of their own, symbols of their own. `copies` maps values to their copies
/// or to what stands for them.
void separate_symbols(const std::unordered_map<const Value*, Value*>& copies);

/// infer_node, and symbols that the node's results bound until now replaced by what inference has found instead.
Status infer_again(Node& node);

}  // namespace tenon::ir
