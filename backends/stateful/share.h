#pragma once

#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "backends/backend.h"
#include "ir/graph.h"

namespace tenon::backends {

/// States that have the same length and grow by the same: they have the same room.
struct StateGroup {
  ir::Dim length, growth;
};

struct SharedState {
  StateInfo info;
  ir::Type type;        // of the input, as the model has it
  ir::Type after;       // of the output
  size_t output = 0;    // of the graph
  int group = -1;       // axis >= 0
  int longer = -1;      // the axis along which a concatenation makes it longer, in place or not; -1: none does
};

/// Inputs of a graph with shared memory: the model's other inputs by number, memories of states, and lengths of groups, which bind a symbol
/// by the shape of a tensor without elements.
struct UserInput { size_t number; };
struct StateInput { size_t state; };
struct LengthInput { size_t group; };
using InputSource = std::variant<UserInput, StateInput, LengthInput>;

/// A graph on its way to a backend, and what its inputs and outputs are.
struct SharedGraph {
  std::unique_ptr<ir::Graph> graph;
  std::vector<SharedState> states;
  std::vector<StateGroup> groups;
  std::vector<InputSource> inputs;         // of the graph
  std::vector<ir::Type> user_types;        // of the inputs that callers give
  std::vector<std::string> memories;       // names of the inputs that are memory with room
};

/// Rewrites a model for sessions that keep states. Where `in_place`, an output that is a concatenation of its input and something becomes
/// `tenon.append` to memory with room, and past and present become prefixes of that.
Result<SharedGraph> share_states(std::unique_ptr<ir::Graph> graph, std::span<const StatePair> pairs, bool in_place, const Interrupt& interrupt);

/// Types, simple forms, and the decomposition of what takes a graph input and gives a graph output: afterwards concatenations are visible.
Status open_states(ir::Graph& graph, const Interrupt& interrupt);
/// The concatenation that makes `output` of `input`, which comes first and is not empty; null: none.
ir::Node* concatenation_of(const ir::Value& input, const ir::Value& output);

}  // namespace tenon::backends
