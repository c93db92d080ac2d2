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
  int longer = -1;      // the axis that a run makes longer, in whatever memory; -1: none
  int group = -1;       // axis >= 0
  bool cleared = false; // rows are put in from a row on that is data: those that a run makes it longer by and leaves are zeros
  bool updated = false; // of fixed shape, and runs may write to its memory
  bool overwritten() const { return updated || cleared; }  // runs may change elements that it has, not only put some behind them
  bool masked = false;  // what lies behind the rows that a run counts is multiplied by zeros, where the model has zeros: it must be finite
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
  std::vector<std::string> overwritten() const;  // of these, the ones whose elements a run may change, not only those behind them
};

/// Rewrites a model for sessions that keep states. Where `in_place`, an output that is a concatenation of its input and something becomes
/// `tenon.append` to memory with room, and past and present become prefixes of that; rows that are put in from a row on that is data become
/// a TensorScatter to memory, with room where there may be more rows than before. Memory that scatters write to is given up.
Result<SharedGraph> share_states(std::unique_ptr<ir::Graph> graph, std::span<const StatePair> pairs, bool in_place, const Interrupt& interrupt);

/// Types, simple forms, and the decomposition of what takes a graph input and gives a graph output: afterwards concatenations are visible.
Status open_states(ir::Graph& graph, const Interrupt& interrupt);

/// How a graph makes an output of an input.
struct StateChange {
  enum class Kind : uint8_t {
    kOther,
    kConcatenation,     // the input comes first
    kRows,              // tenon.append_rows to it
    kScatter,           // elements replaced, once or several times
  };
  Kind kind = Kind::kOther;
  ir::Node* node = nullptr;  // the output's
};
StateChange change_of(const ir::Value& input, const ir::Value& output);

}  // namespace tenon::backends
