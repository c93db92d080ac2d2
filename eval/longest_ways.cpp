#include "eval/longest_ways.h"

#include <algorithm>

namespace tenon::eval {
namespace {

constexpr int64_t kMostTrips = 1 << 16;  // beyond it no tolerance means anything

/// How often a node executes its regions, as far as that is a constant.
int trips(const ir::Node& node) {
  if (!node.is("Loop") || node.num_inputs() == 0 || node.input(0) == nullptr) return 1;
  const auto count = ir::constant_ints(node.input(0));
  return count && count->size() == 1 ? static_cast<int>(std::clamp<int64_t>(count->front(), 1, kMostTrips)) : 1;
}

/// Calls `look` with what the node's regions read from `graph`.
void for_captures(const ir::Node& node, const ir::Graph& graph, const std::function<void(const ir::Value*)>& look) {
  const auto of_graph = [&](const ir::Value* v) {
    if (v != nullptr && v->graph() == &graph) look(v);
  };
  for (const auto& region : node.regions()) {
    for (const auto& inner : region->nodes()) {
      for (const ir::Value* v : inner->inputs()) of_graph(v);
      for_captures(*inner, graph, look);
    }
    for (const ir::Value* v : region->outputs()) of_graph(v);
  }
}

}  // namespace

std::unordered_map<std::string, int> longest_ways(const ir::Graph& graph, const std::function<int(const ir::Node&)>& own,
                                                  const std::function<bool(std::string_view)>& known) {
  std::unordered_map<std::string, int> out;
  const auto before = [&](const ir::Value* v) {
    const auto found = v == nullptr || (known && known(v->name())) ? out.end() : out.find(v->name());
    return found == out.end() ? 0 : found->second;
  };
  for (const auto& node : graph.nodes()) {
    int most = 0, here = own(*node);
    for (const ir::Value* input : node->inputs()) most = std::max(most, before(input));
    for_captures(*node, graph, [&](const ir::Value* v) { most = std::max(most, before(v)); });
    if (!node->is("Scan"))
      for (const auto& region : node->regions())
        for (const auto& [name, inner] : longest_ways(*region, own)) here = std::max(here, inner * trips(*node));  // a region begins anew
    for (const ir::Value* output : node->outputs()) out[output->name()] = most + here;
  }
  return out;
}

}  // namespace tenon::eval
