#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

/// Before the passes: values by which the node of this name can be found after them. Its results and, as passes fold a node into the
/// one after it, those of the nodes that alone use them. Also for the name of a value.
std::vector<std::string> places_of(const ir::Graph& graph, const std::string& node);
/// After the passes: the first result of the node of this name, else the first of `places` that is left. kNotFound without one,
/// kUnsupported for results that cannot be made wrong (strings, sequences, packed and complex types).
Status spoil_node(ir::Graph& graph, const std::string& node, std::span<const std::string> places);
/// The first result of a node that something uses, as what uses it sees it: the node may be replaced after, and what stands for the
/// result then is made wrong. Fails in the same ways, and where nothing uses a result.
Status spoil_result(const ir::Node& node);

}  // namespace tenon::passes
