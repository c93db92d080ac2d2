#include "passes/dependences.h"

namespace tenon::passes {

using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::Value;

namespace {

void collect_type_symbols(const Value* v, std::vector<int>& ids) {
  if (v->type().is_ranked_tensor()) {
    for (const Dim& d : *v->tensor().dims) ir::collect_symbols(d, ids);
  }
  if (v->dim_values()) {
    for (const Dim& d : *v->dim_values()) ir::collect_symbols(d, ids);
  }
}

void collect_node_symbols(const Node& node, std::vector<int>& ids) {
  for (const Value* v : node.outputs()) collect_type_symbols(v, ids);
  for (const auto& [name, attr] : node.attrs()) {
    const auto* dims = std::get_if<std::vector<Dim>>(&attr);
    if (dims == nullptr) continue;
    for (const Dim& d : *dims) ir::collect_symbols(d, ids);
  }
  for (const auto& region : node.regions()) {
    for (const auto& inner : region->nodes()) collect_node_symbols(*inner, ids);
  }
}

}  // namespace

std::vector<int> symbols_of(const Node& node) {
  std::vector<int> ids;
  collect_node_symbols(node, ids);
  return ids;
}

/// Symbols in the types of values that `node` and its regions use and that neither they nor `graph` make.
void collect_outer_symbols(const Node& node, const Graph& graph, std::vector<int>& ids) {
  const auto outer = [&](const Value* v) {
    for (const Graph* g = v->graph(); g != nullptr; g = g->parent() == nullptr ? nullptr : g->parent()->graph())
      if (g == &graph) return false;
    return true;
  };
  const auto add = [&](const Value* v) {
    if (v != nullptr && outer(v)) collect_type_symbols(v, ids);
  };
  for (const Value* v : node.inputs()) add(v);
  for (const auto& region : node.regions()) {
    for (const auto& inner : region->nodes()) collect_outer_symbols(*inner, graph, ids);
    for (const Value* v : region->outputs()) add(v);
  }
}

std::unordered_map<int, const Node*> symbol_definitions(const Graph& graph) {
  std::vector<int> given;
  for (const Value* v : graph.inputs()) collect_type_symbols(v, given);
  std::unordered_map<int, const Node*> defs;
  for (int s : given) defs[s] = nullptr;
  for (const auto& n : graph.nodes()) {
    std::vector<int> ids;
    if (graph.parent() != nullptr) collect_outer_symbols(*n, graph, ids);
    for (int s : ids) defs.emplace(s, nullptr);
    ids.clear();
    for (const Value* v : n->outputs()) collect_type_symbols(v, ids);
    for (int s : ids) defs.emplace(s, n.get());
  }
  std::erase_if(defs, [](const auto& entry) { return entry.second == nullptr; });
  return defs;
}

void collect_definitions(const Node& node, const Graph& graph, std::vector<const Node*>& defs) {
  const auto add = [&](const Value* v) {
    if (v != nullptr && v->def() != nullptr && v->graph() == &graph) defs.push_back(v->def());
  };
  for (const Value* v : node.inputs()) add(v);
  for (const auto& region : node.regions()) {
    for (const auto& inner : region->nodes()) collect_definitions(*inner, graph, defs);
    for (const Value* v : region->outputs()) add(v);
  }
}

}  // namespace tenon::passes
