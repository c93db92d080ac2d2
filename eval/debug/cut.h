#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "ir/graph.h"
#include "support/status.h"
#include "support/tensor.h"

namespace tenon::eval {

/// "Conv 'conv1'": a node as messages name it.
std::string describe(const ir::Node& node);

/// The nodes that compute a value from what is known: in graph order, constants left out.
struct Region {
  std::vector<const ir::Node*> nodes;
  std::vector<const ir::Value*> inputs;   // known values and inputs of the graph that they read
};
/// Walks up from the node that defines `value`. `known` names values whose contents are given.
Region region_of(const ir::Value& value, const std::unordered_set<std::string>& known);

/// A piece of a graph with what it is to be run on.
struct Cut {
  std::unique_ptr<ir::Graph> graph;
  std::vector<HostValue> inputs;
};

/// Copies what computes the values named by `outputs` from the values in `given`, which become inputs (small integers, which tell
/// shapes, constants). `inputs` are those of `from`; the piece has the shapes that these and `given` have, as numbers. An error when
/// inference refuses it, or when a value is none of the graph's own or has no type that an input can have.
Result<Cut> cut(const ir::Graph& from, const std::vector<HostValue>& inputs, const std::vector<std::string>& outputs,
                const std::map<std::string, HostValue>& given);

/// Nodes without constants.
size_t count_operations(const ir::Graph& graph);

}  // namespace tenon::eval
