#pragma once

#include <memory>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "backends/backend.h"
#include "eval/debug/spill.h"

namespace tenon::eval {

/// One way to run a model.
struct Variant {
  std::string name;                     // "cpu -O3"
  const backends::Backend* backend = nullptr;
  backends::CompileOptions compile;
  /// The interpreter on the graph as it is: what the others are judged by.
  bool is_reference() const { return backend->name() == "reference"; }
};

struct TapOptions {
  backends::SessionOptions session;     // its observer is not used
  uint64_t max_spill_bytes = uint64_t{16} << 30;
  /// Adds values to the model's outputs, some at a time, for backends that show nothing else. That may keep a backend from fusing
  /// what it fuses otherwise.
  bool tap_outputs = false;
  Interrupt interrupt;
};

/// What a variant computed.
struct Tapped {
  std::vector<HostValue> outputs;
  Spill values;                         // of the graph's own names, outputs among them
};

/// The values of `graph` that nodes compute and that can be compared: tensors of numbers.
std::unordered_set<std::string> comparable_values(const ir::Graph& graph);

/// A compiled graph and a session of it.
struct Running {
  std::shared_ptr<const backends::Executable> executable;
  std::unique_ptr<backends::Session> session;
};
Result<Running> start(const ir::Graph& graph, const Variant& variant, const backends::SessionOptions& session, const Interrupt& interrupt);

/// Compiles the graph and runs it once. Of the comparable values it keeps those that are still there in what was compiled, under
/// the same name: a name keeps its meaning through all passes. Not for the reference, whose values evaluate_graph shows.
Result<Tapped> run_tapped(const ir::Graph& graph, const Variant& variant, std::span<const HostValue> inputs, const TapOptions& options);

}  // namespace tenon::eval
