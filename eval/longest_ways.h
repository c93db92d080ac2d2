#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "ir/graph.h"

namespace tenon::eval {

/// For every value of the graph, by name, the most that `own` of the nodes on a way to it adds up to, its own node's among them: on ways that
/// begin at inputs and at values for which `known` holds. Values in regions, and the steps of a Scan, are left out; a Loop counts its body's
/// as often as it runs where that is a constant, else once.
std::unordered_map<std::string, int> longest_ways(const ir::Graph& graph, const std::function<int(const ir::Node&)>& own,
                                                  const std::function<bool(std::string_view name)>& known = {});

}  // namespace tenon::eval
