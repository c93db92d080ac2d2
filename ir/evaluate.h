#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "ir/graph.h"
#include "ir/op.h"
#include "support/interrupt.h"
#include "support/memory.h"
#include "support/status.h"
#include "support/tensor.h"

/// The reference interpreter: what every op means, without any pass or generated code. Floats are computed in double and
/// rounded to their dtype after each step; sums and products accumulate in double.
namespace tenon::ir {

struct EvalOptions {
  int64_t max_bytes = static_cast<int64_t>(default_memory_limit());  // of one output, and of all live values together
  int64_t max_loop_trips = int64_t{1} << 21;  // of one Loop or Scan
  Interrupt interrupt;                        // asked before each node and inside long ones
  /// evaluate_node: dims that are known beside those of the inputs, by symbol id.
  std::span<const std::optional<int64_t>> symbols;
  /// evaluate_node: the outer values that regions of the node use; null for one that is not known.
  std::function<const HostValue*(const Value* value)> outer;
  /// Called after each node of the graph and its regions (not of decompositions), with its outputs.
  std::function<void(const Node& node, std::span<const HostValue> outputs)> observe;
  /// Called before `observe` for the same nodes; may put other values of the same type and shape in the place of the outputs.
  std::function<Status(const Node& node, std::span<HostValue> outputs)> alter;
};

/// Runs one node on concrete values: `eval` when its op has one, else its bodies, else its decomposition. Inputs that are
/// absent are std::monostate. Works for nodes whose static types are unknown. Thread-safe.
Status evaluate_node(const Node& node, std::span<const HostValue> inputs, std::span<HostValue> outputs,
                     const EvalOptions& options = {});

/// Runs a graph. Inputs are checked against their declared types; symbols are bound from the actual shapes.
Result<std::vector<HostValue>> evaluate_graph(const Graph& graph, std::span<const HostValue> inputs,
                                              const EvalOptions& options = {});

}  // namespace tenon::ir
