#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "ir/graph.h"

namespace tenon::eval {

/// A graph that has these inputs and outputs of another one, chosen by name, with names and types, and nothing that computes.
std::unique_ptr<ir::Graph> interface_of(const ir::Graph& graph, const std::function<bool(const std::string& name)>& has_input,
                                        const std::function<bool(const std::string& name)>& has_output);

/// The .tir text of a graph that has the inputs and outputs of this one, with their names and types, and nothing that computes:
/// what callers of a compiled model need to know of it. Nullopt when it does not read as the same again.
std::optional<std::string> interface_text(const ir::Graph& graph);

}  // namespace tenon::eval
