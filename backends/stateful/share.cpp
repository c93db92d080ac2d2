#include "backends/stateful/share.h"

#include <algorithm>
#include <set>
#include <unordered_map>

#include "ir/op.h"
#include "passes/passes.h"

namespace tenon::backends {

using ir::Builder;
using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::Value;

namespace {

Status no_pair(const StatePair& pair, std::string why, std::string hint) {
  return Status(Code::kInvalidArgument, std::move(why), fmt::format("state {}={}", pair.input, pair.output), std::move(hint));
}

Result<SharedState> find_pair(const Graph& graph, const StatePair& pair, std::vector<Value*>& inputs) {
  const auto input = std::ranges::find_if(graph.inputs(), [&](const Value* v) { return v->name() == pair.input; });
  const auto listed = [](const auto& names) { return names.empty() ? std::string("there are none") : fmt::format("choose from {}", fmt::join(names, ", ")); };
  std::vector<std::string> names;
  for (const Value* v : graph.inputs()) names.push_back(v->name());
  if (input == graph.inputs().end()) return no_pair(pair, fmt::format("the model has no input '{}'", pair.input), listed(names));
  SharedState out;
  names.clear();
  for (size_t o = 0; o < graph.outputs().size(); ++o) names.push_back(graph.output_name(static_cast<int>(o)));
  out.output = static_cast<size_t>(std::ranges::find(names, pair.output) - names.begin());
  if (out.output == names.size()) return no_pair(pair, fmt::format("the model has no output '{}'", pair.output), listed(names));
  out.info.pair = pair;
  out.type = (*input)->type();
  out.after = graph.outputs()[out.output]->type();
  inputs.push_back(*input);
  return out;
}

int axis_of(const Node& concat) {
  const int64_t axis = concat.attr_int("axis", 0);
  return static_cast<int>(axis < 0 ? axis + concat.output()->tensor().rank() : axis);
}

/// What one run gives must be what the next one takes.
Status check_types(const SharedState& state) {
  const std::string types = fmt::format("the input is {}, the output {}", ir::to_string(state.type), ir::to_string(state.after));
  const auto tensor = [](const ir::Type& type) { return type.is_ranked_tensor() && type.dtype() != DType::kString; };
  if (!tensor(state.type) || !tensor(state.after)) return no_pair(state.info.pair, types, "a state is a tensor of known rank, and not of strings");
  if (state.type.dtype() != state.after.dtype() || state.type.tensor().rank() != state.after.tensor().rank())
    return no_pair(state.info.pair, types, "a state has one dtype and one rank");
  for (int axis = 0; axis < state.type.tensor().rank(); ++axis)
    if (axis != state.longer && ir::known_ne(state.type.tensor().dim(axis), state.after.tensor().dim(axis)) && state.type.tensor().dim(axis).is_const())
      return no_pair(state.info.pair, types, "what a run gives must be what the next one takes");
  return {};
}

/// Symbols that the shapes of what callers give bind.
std::set<int> bound_symbols(const Graph& graph, const std::vector<Value*>& state_inputs) {
  std::set<int> out;
  for (const Value* input : graph.inputs())
    if (std::ranges::find(state_inputs, input) == state_inputs.end() && input->type().is_ranked_tensor())
      for (const Dim& dim : *input->tensor().dims)
        if (dim.is_symbol()) out.insert(dim.symbol_id());
  return out;
}

/// Lets runs write to memory of states: with room, in the place of a state that becomes longer, else to what the state is.
class Sharing {
 public:
  Sharing(Graph& graph, std::set<int> bound) : graph_(graph), bound_(std::move(bound)) {}

  /// The input that is memory to write to; null, and the state's `reason`: there is none.
  Result<Value*> share(SharedState& state, Value* input, std::vector<StateGroup>& groups) {
    const StateChange change = change_of(*input, *graph_.outputs()[state.output]);
    if (change.kind == StateChange::Kind::kScatter) return updated(state, input);
    if (change.kind == StateChange::Kind::kOther) {
      state.info.reason = "its output is no concatenation of its input and something, nor its input with elements replaced";
      return nullptr;
    }
    const bool rows = change.kind == StateChange::Kind::kRows;
    state.masked = rows && change.node->attr_int("keep", 0) == 0;
    const int axis = state.longer;
    const Dim length = input->tensor().dim(axis), whole = change.node->output()->tensor().dim(axis), growth = whole - length;
    if (rows && ir::known_eq(length, whole)) return rewrite_fixed(state, input, *change.node);
    state.info.reason = refusal(*input, length, growth);
    if (!state.info.reason.empty()) return nullptr;
    if (rows && change.node->attr_int("keep", 0) != 0) {
      state.info.reason = "its rows may be more than its input's";
      return nullptr;
    }
    state.info.axis = axis;
    state.cleared = rows;
    state.group = group_of(length, growth, groups);
    return rewrite(state, input, *change.node, length, whole);
  }

 private:
  static Value* updated(SharedState& state, Value* input) {
    state.updated = true;
    return input;
  }

  int group_of(Dim length, Dim growth, std::vector<StateGroup>& groups) {
    const auto same = [&](const StateGroup& group) { return group.length == length && group.growth == growth; };
    const auto found = std::ranges::find_if(groups, same);
    const auto number = static_cast<int>(found - groups.begin());
    if (found == groups.end()) {
      groups.push_back({length, growth});
      room_.push_back(graph_.dims().fresh("room"));
    }
    return number;
  }

  std::string refusal(const Value& input, Dim length, Dim growth) const {
    if (bits(input.dtype()) < 8 || is_packed(input.dtype())) return "its elements are smaller than a byte";
    if (!length.is_symbol() && !length.is_const()) return fmt::format("its length {} is neither a number nor a symbol", ir::to_string(length));
    std::vector<int> symbols;
    collect_symbols(growth, symbols);
    const auto known = [&](int symbol) { return bound_.contains(symbol) || (length.is_symbol() && length.symbol_id() == symbol); };
    if (!growth.is_valid() || !std::ranges::all_of(symbols, known))
      return fmt::format("how much longer it becomes, {}, is not known before a run", ir::to_string(growth));
    return {};
  }

  /// The elements that a concatenation adds, behind those that memory holds.
  static Value* append(Builder& here, const Node& concat, Value* memory, int64_t axis, Dim length) {
    std::vector<Value*> rest(concat.inputs().begin() + 1, concat.inputs().end());
    Value* update = rest.size() == 1 ? rest[0] : here.make_n("Concat", rest, 1, {{"axis", axis}})[0];
    return here.make("tenon.append", {memory, update}, {{"axis", axis}, {"start", std::vector<Dim>{length}}});
  }

  /// The rows that a tenon.append_rows adds, from the row on that it says.
  static Value* put_rows(Builder& here, const Node& append, Value* memory) {
    Value *fresh = append.input(0), *at = append.input(1);
    const Dim batch = fresh->tensor().dim(0);
    if (!ir::known_eq(at->tensor().dim(0), batch)) at = here.make("tenon.expand", {at}, {{"dims", std::vector<Dim>{batch}}});
    return here.make("TensorScatter", {memory, fresh, at}, {{"axis", int64_t{2}}});
  }

  Result<Value*> rewrite_fixed(SharedState& state, Value* input, Node& change) {
    Builder here(graph_, &change);
    here.set_name(change.name());
    Value* written = put_rows(here, change, input);
    TENON_RETURN_IF_ERROR(here.status());
    graph_.replace_all_uses(change.output(), written);
    graph_.erase(&change);
    return updated(state, input);
  }

  Result<Value*> rewrite(const SharedState& state, Value* input, Node& change, Dim length, Dim whole) {
    const auto axis = static_cast<int64_t>(state.info.axis);
    std::vector<Dim> dims = *input->tensor().dims;
    dims[static_cast<size_t>(axis)] = room_[static_cast<size_t>(state.group)];
    const std::string name = input->name();
    input->set_name(graph_.unique_name(name));
    Value* memory = graph_.add_input(name, ir::TensorType(input->dtype(), std::move(dims)));
    const auto prefix = [&](Builder& b, Value* of, Dim extent) {
      return b.make("tenon.prefix", {of}, {{"axis", axis}, {"extent", std::vector<Dim>{extent}}});
    };
    Builder begin(graph_, graph_.first()), here(graph_, &change);
    here.set_name(change.name());
    Value* written = state.cleared ? put_rows(here, change, memory) : append(here, change, memory, axis, length);
    Value* present = prefix(here, written, whole);
    // Readers behind a concatenation find the same elements in what it gives; those before must not wait for it. Rows may be put in anywhere.
    const std::vector<ir::Use> before = state.cleared ? std::vector<ir::Use>() : uses_before(*input, change);
    Value* past = before.empty() && (!state.cleared || input->has_one_use()) ? nullptr : prefix(begin, memory, length);
    for (const ir::Use& use : before) use.node->set_input(use.index, past);
    Value* past_after = state.cleared ? past : input->has_one_use() ? nullptr : prefix(here, written, length);
    TENON_RETURN_IF_ERROR(begin.status());
    TENON_RETURN_IF_ERROR(here.status());
    graph_.replace_all_uses(change.output(), present);
    graph_.set_output(static_cast<int>(state.output), written);
    graph_.erase(&change);
    if (past_after != nullptr) graph_.replace_all_uses(input, past_after);
    return memory;
  }

  /// Uses by nodes, and in their bodies, that are in front of the concatenation.
  std::vector<ir::Use> uses_before(const Value& input, const Node& concat) const {
    std::vector<ir::Use> out;
    if (input.has_one_use()) return out;
    std::set<const Node*> nodes;
    for (const Node* n = graph_.first(); n != &concat; n = n->next()) nodes.insert(n);
    for (const ir::Use& use : input.uses()) {
      const Node* user = use.node;
      while (user != nullptr && user->graph() != &graph_) user = user->graph()->parent();
      if (nodes.contains(user)) out.push_back(use);
    }
    return out;
  }

  Graph& graph_;
  std::set<int> bound_;
  std::vector<Dim> room_;  // by group
};

/// SharedState::longer of each state, whatever the backend makes of it.
Status find_longer(const Graph& graph, bool opened, const Interrupt& interrupt, std::vector<SharedState>& states) {
  std::unique_ptr<Graph> copy;
  if (!opened) {
    copy = graph.clone();
    TENON_RETURN_IF_ERROR(open_states(*copy, interrupt));
  }
  const Graph& open = copy == nullptr ? graph : *copy;
  for (SharedState& state : states) {
    const auto input = std::ranges::find_if(open.inputs(), [&](const Value* v) { return v->name() == state.info.pair.input; });
    const StateChange change = input == open.inputs().end() ? StateChange{} : change_of(**input, *open.outputs()[state.output]);
    if (change.kind == StateChange::Kind::kConcatenation) state.longer = axis_of(*change.node);
    if (change.kind == StateChange::Kind::kRows) state.longer = 2;
  }
  return {};
}

/// An input for the length of each group that has a symbol, without elements, so that its shape alone counts.
std::vector<Value*> add_lengths(Graph& graph, const std::vector<StateGroup>& groups) {
  std::vector<Value*> out;
  for (const StateGroup& group : groups) {
    const bool symbol = group.length.is_symbol();
    out.push_back(symbol ? graph.add_input(graph.unique_name("tenon.length"), ir::TensorType(DType::kBool, {group.length, Dim(0)})) : nullptr);
  }
  return out;
}

}  // namespace

std::vector<std::string> SharedGraph::overwritten() const {
  std::vector<std::string> out;
  for (const SharedState& state : states)
    if (state.overwritten()) out.push_back(state.info.pair.input);
  return out;
}

Result<SharedGraph> share_states(std::unique_ptr<Graph> graph, std::span<const StatePair> pairs, bool in_place, const Interrupt& interrupt) {
  SharedGraph out;
  out.graph = std::move(graph);
  passes::PassContext context;
  context.interrupt = interrupt;
  TENON_RETURN_IF_ERROR(in_place ? open_states(*out.graph, interrupt) : passes::infer(*out.graph, context).status());
  std::vector<Value*> inputs;
  for (const StatePair& pair : pairs) {
    TENON_ASSIGN_OR_RETURN(SharedState state, find_pair(*out.graph, pair, inputs));
    const auto same = [&](const SharedState& other) { return other.output == state.output || other.info.pair.input == pair.input; };
    if (std::ranges::any_of(out.states, same)) return no_pair(pair, "its input or output is another state's as well", "give each once");
    out.states.push_back(std::move(state));
  }
  std::unordered_map<const Value*, InputSource> sources;
  for (size_t i = 0, number = 0; i < out.graph->inputs().size(); ++i) {
    Value* input = out.graph->inputs()[i];
    if (std::ranges::find(inputs, input) != inputs.end()) continue;
    sources.emplace(input, UserInput{number++});
    out.user_types.push_back(input->type());
  }
  TENON_RETURN_IF_ERROR(find_longer(*out.graph, in_place, interrupt, out.states));
  Sharing sharing(*out.graph, bound_symbols(*out.graph, inputs));
  for (size_t s = 0; s < out.states.size(); ++s) {
    TENON_RETURN_IF_ERROR(check_types(out.states[s]));
    Value* memory = nullptr;
    if (in_place) {
      TENON_ASSIGN_OR_RETURN(memory, sharing.share(out.states[s], inputs[s], out.groups));
    } else {
      out.states[s].info.reason = "the backend gives each run's results memory of their own";
    }
    sources.emplace(memory != nullptr ? memory : inputs[s], StateInput{s});
    if (memory != nullptr) out.memories.push_back(memory->name());
  }
  const std::vector<Value*> lengths = add_lengths(*out.graph, out.groups);
  for (size_t g = 0; g < lengths.size(); ++g)
    if (lengths[g] != nullptr) sources.emplace(lengths[g], LengthInput{g});
  for (int i = static_cast<int>(out.graph->inputs().size()); i-- > 0;)
    if (!sources.contains(out.graph->inputs()[static_cast<size_t>(i)])) out.graph->remove_input(i);
  for (const Value* input : out.graph->inputs()) out.inputs.push_back(sources.at(input));
  return out;
}

}  // namespace tenon::backends
