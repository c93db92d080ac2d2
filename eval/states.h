#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "frontend/onnx/import.h"
#include "ir/graph.h"

namespace tenon::eval {

/// Which states a model is to have (backends/stateful): none, those of these pairs, or also those that its graph says itself.
struct StateRequest {
  bool automatic = false;
  std::vector<backends::StatePair> pairs;
  bool any() const { return automatic || !pairs.empty(); }
};

/// "auto" or "INPUT=OUTPUT" each, as --state takes them.
Result<StateRequest> parse_states(std::span<const std::string> texts);

/// The pairs that a request means for a graph; none where `auto` finds none and none are given.
Result<std::vector<backends::StatePair>> states_of(const ir::Graph& graph, const StateRequest& request, const Interrupt& interrupt);

/// The states of a model, and what is compiled for sessions that keep them.
struct FoundStates {
  std::vector<backends::StatePair> pairs;
  std::unique_ptr<ir::Graph> growing;   // the graph without what is bound of states; null: where that is the same
  frontend::ImportOptions import;       // what is bound in it
};

/// States of a model that was imported from `file`. Dims that are given for a state say how it begins: what is compiled does not have them, nor
/// what is looked for states, since nothing is concatenated to an empty one.
Result<FoundStates> find_states(const std::filesystem::path& file, const ir::Graph& graph, const frontend::ImportOptions& import, const StateRequest& request);

/// The inputs that callers give and the outputs that they get, with names and types; nothing computes.
std::unique_ptr<ir::Graph> without_states(const ir::Graph& graph, std::span<const backends::StatePair> pairs);

/// Values for all inputs of a graph as values for a session without states: sets these (monostate: leaves them) and returns the others.
Result<std::vector<HostValue>> set_states(backends::Session& session, const ir::Graph& graph, std::span<const HostValue> inputs);
/// The outputs of a run in the graph's order, with a copy of each state in the place of its output.
Result<std::vector<HostValue>> with_states(backends::Session& session, const ir::Graph& graph, std::vector<HostValue> outputs);

}  // namespace tenon::eval
