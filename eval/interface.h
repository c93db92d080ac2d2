#pragma once

#include <memory>
#include <optional>
#include <string>

#include "ir/graph.h"

namespace tenon::eval {

/// The .tir text of a graph that has the inputs and outputs of this one, with their names and types, and nothing that computes:
/// what callers of a compiled model need to know of it. Nullopt when it does not read as the same again.
std::optional<std::string> interface_text(const ir::Graph& graph);

}  // namespace tenon::eval
