#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "ir/graph.h"

namespace tenon::eval {

/// Which nodes of a model those of its compiled graph stem from, by the names that passes keep and extend.
class Origins {
 public:
  struct Node {
    std::string name, op;
    std::vector<size_t> readers;    // of its outputs, in order
  };

  /// Nodes of regions count; constants do not. Those of equal names are one.
  explicit Origins(const ir::Graph& model);

  const std::vector<Node>& nodes() const { return nodes_; }
  /// Of a compiled node: one of its name, or one whose output's name it extends.
  std::optional<size_t> find(const ir::Node& compiled) const;

 private:
  std::optional<size_t> find_name(std::string_view name) const;

  std::vector<Node> nodes_;
  std::unordered_map<std::string, size_t> by_name_, by_value_;
};

/// A node's name, or its op and output where it has none, as placements show it.
std::string display_name(const ir::Node& node);

}  // namespace tenon::eval
