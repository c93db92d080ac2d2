#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ir/graph.h"
#include "support/status.h"

/// Wrong results made on purpose, to test what finds them (tenon compare, tenon debug): after a value x of the graph, nodes that
/// make it 1.25 x + 0.25 (integers x + 1, booleans not x) and that take its name.
namespace tenon::passes {

struct Fault {
  std::string node;         // of the graph after all passes, also inside a fused node; empty: none
  int64_t rewrite = 0;      // its number, from 1; 0: none
  bool planted() const { return !node.empty() || rewrite != 0; }
};

/// "kernel:NODE" or "rewrite:N".
Result<Fault> parse_fault(std::string_view text);

/// The first result of the node of this name; a value's name finds the node that computes it. kNotFound without one, kUnsupported
/// for results that cannot be made wrong (strings, sequences, packed and complex types).
Status spoil_node(ir::Graph& graph, const std::string& name);
/// The value of this name, that a node computes. Fails in the same ways.
Status spoil_value(ir::Graph& graph, const std::string& name);

}  // namespace tenon::passes
