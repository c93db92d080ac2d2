#include <functional>
#include <queue>
#include <unordered_map>
#include <unordered_set>

#include "frontend/onnx/importer.h"

namespace tenon::frontend {
namespace {

using Names = std::unordered_set<std::string>;

/// Names that a subgraph reads from outside.
void free_names(const onnx::GraphProto& graph, Names& out) {
  Names own;
  for (const auto& input : graph.input()) own.insert(input.name());
  for (const auto& tensor : graph.initializer()) own.insert(tensor.name());
  for (const auto& tensor : graph.sparse_initializer()) own.insert(tensor.values().name());
  for (const auto& node : graph.node()) own.insert(node.output().begin(), node.output().end());
  Names used;
  for (const auto& node : graph.node()) {
    used.insert(node.input().begin(), node.input().end());
    for (std::string& name : named_values(node)) used.insert(std::move(name));
    for (const auto& a : node.attribute()) {
      if (a.has_g()) free_names(a.g(), used);
      for (const auto& g : a.graphs()) free_names(g, used);
    }
  }
  for (const auto& output : graph.output()) used.insert(output.name());
  for (const auto& name : used)
    if (own.count(name) == 0) out.insert(name);
}

std::string describe(const onnx::NodeProto& node) {
  return node.name().empty() ? fmt::format("a {} node", node.op_type()) : fmt::format("node {}", node.name());
}

}  // namespace

Result<std::vector<int>> order_nodes(const Nodes& nodes, const std::function<bool(const std::string&)>& known) {
  const size_t count = static_cast<size_t>(nodes.size());
  std::unordered_map<std::string, int> makers;
  for (int i = 0; i < nodes.size(); ++i)
    for (const std::string& name : nodes[i].output())
      if (!name.empty() && !makers.emplace(name, i).second)
        return Status(Code::kInvalidModel, fmt::format("'{}' is defined twice", name), describe(nodes[i]));

  std::vector<std::vector<int>> followers(count);
  std::vector<int> waiting(count, 0);
  for (int i = 0; i < nodes.size(); ++i) {
    Names reads(nodes[i].input().begin(), nodes[i].input().end());
    for (std::string& name : named_values(nodes[i])) reads.insert(std::move(name));
    for (const auto& a : nodes[i].attribute()) {
      if (a.has_g()) free_names(a.g(), reads);
      for (const auto& g : a.graphs()) free_names(g, reads);
    }
    for (const std::string& name : reads) {
      if (name.empty()) continue;
      auto maker = makers.find(name);
      if (maker == makers.end()) {
        if (!known(name)) return Status(Code::kInvalidModel, fmt::format("nothing defines '{}'", name), describe(nodes[i]));
        continue;
      }
      followers[static_cast<size_t>(maker->second)].push_back(i);
      ++waiting[static_cast<size_t>(i)];
    }
  }

  std::priority_queue<int, std::vector<int>, std::greater<>> ready;
  for (size_t i = 0; i < count; ++i)
    if (waiting[i] == 0) ready.push(static_cast<int>(i));
  std::vector<int> order;
  order.reserve(count);
  while (!ready.empty()) {
    const int i = ready.top();
    ready.pop();
    order.push_back(i);
    for (int f : followers[static_cast<size_t>(i)])
      if (--waiting[static_cast<size_t>(f)] == 0) ready.push(f);
  }
  if (order.size() == count) return order;
  for (int i = 0; i < nodes.size(); ++i)
    if (waiting[static_cast<size_t>(i)] > 0)
      return Status(Code::kInvalidModel, "the graph has a cycle", describe(nodes[i]));
  return order;
}

}  // namespace tenon::frontend
