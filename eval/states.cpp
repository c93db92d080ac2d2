#include "eval/states.h"

#include <algorithm>
#include <set>
#include <utility>

#include "backends/stateful/stateful.h"
#include "eval/interface.h"
#include "eval/model.h"
#include "frontend/onnx/model_fields.h"

namespace tenon::eval {

using backends::StatePair;

namespace {

bool is_state(std::span<const StatePair> pairs, const std::string& input) {
  return std::ranges::any_of(pairs, [&](const StatePair& pair) { return pair.input == input; });
}

/// The place of a state in the session's list by the name of its input or output.
std::optional<size_t> state_by(const backends::States& states, std::string StatePair::*name, const std::string& text) {
  const auto list = states.list();
  const auto found = std::ranges::find_if(list, [&](const backends::StateInfo& info) { return info.pair.*name == text; });
  return found == list.end() ? std::nullopt : std::optional(static_cast<size_t>(found - list.begin()));
}

/// What an import binds without the dims of states that change from run to run. `unbound`: the model imported without any.
frontend::ImportOptions without_state_dims(const ir::Graph& unbound, std::span<const StatePair> pairs, frontend::ImportOptions import) {
  std::set<std::string> lengths, others;
  for (const ir::Value* input : unbound.inputs()) {
    if (!input->type().is_ranked_tensor()) continue;
    const auto pair = std::ranges::find_if(pairs, [&](const StatePair& one) { return one.input == input->name(); });
    const ir::Type* after = nullptr;
    for (size_t o = 0; pair != pairs.end() && o < unbound.outputs().size(); ++o)
      if (unbound.output_name(static_cast<int>(o)) == pair->output) after = &unbound.outputs()[o]->type();
    const bool same_rank = after != nullptr && after->is_ranked_tensor() && after->tensor().rank() == input->tensor().rank();
    for (int axis = 0; axis < input->tensor().rank(); ++axis) {
      const ir::Dim dim = input->tensor().dim(axis);
      if (!dim.is_symbol()) continue;
      const std::string& symbol = unbound.dims().symbol_name(dim.symbol_id());
      const auto named = unbound.metadata.find(frontend::fields::dim_param(symbol));
      const std::string& name = named == unbound.metadata.end() ? symbol : named->second;
      (same_rank && after->tensor().dim(axis) != dim ? lengths : others).insert(name);
    }
  }
  std::erase_if(import.dims, [&](const auto& dim) { return lengths.contains(dim.first) && !others.contains(dim.first); });
  std::erase_if(import.shapes, [&](const auto& shape) { return is_state(pairs, shape.first); });
  return import;
}

}  // namespace

Result<StateRequest> parse_states(std::span<const std::string> texts) {
  StateRequest out;
  for (const std::string& text : texts) {
    const size_t eq = text.find('=');
    if (text == "auto") out.automatic = true;
    else if (eq == std::string::npos || eq == 0 || eq + 1 == text.size()) return Status(Code::kInvalidArgument, fmt::format("'{}' is not of the form INPUT=OUTPUT", text), "--state", "write that, or auto");
    else out.pairs.push_back({text.substr(0, eq), text.substr(eq + 1)});
  }
  return out;
}

Result<std::vector<StatePair>> states_of(const ir::Graph& graph, const StateRequest& request, const Interrupt& interrupt) {
  std::vector<StatePair> out = request.pairs;
  if (!request.automatic) return out;
  TENON_ASSIGN_OR_RETURN(const std::vector<StatePair> found, backends::find_states(graph, interrupt));
  for (const StatePair& pair : found) {
    const auto taken = [&](const StatePair& given) { return given.input == pair.input || given.output == pair.output; };
    if (std::ranges::none_of(request.pairs, taken)) out.push_back(pair);
  }
  return out;
}

Result<FoundStates> find_states(const std::filesystem::path& file, const ir::Graph& graph, const frontend::ImportOptions& import, const StateRequest& request) {
  FoundStates out{.import = import};
  if (!request.any()) return out;
  const bool bound = !import.dims.empty() || !import.shapes.empty();
  if (bound) {
    out.import.dims.clear();
    out.import.shapes.clear();
    TENON_ASSIGN_OR_RETURN(out.growing, load_model(file, out.import));
  }
  TENON_ASSIGN_OR_RETURN(out.pairs, states_of(bound ? *out.growing : graph, request, import.interrupt));
  if (out.pairs.empty())
    return Status(Code::kNotFound, "no output is an input with something behind it or in it", "--state auto", "name pairs with --state INPUT=OUTPUT");
  if (!bound) return out;
  out.import = without_state_dims(*out.growing, out.pairs, import);
  const bool all = out.import.dims == import.dims && out.import.shapes == import.shapes;
  out.growing.reset();
  if (all) return out;
  TENON_ASSIGN_OR_RETURN(out.growing, load_model(file, out.import));
  return out;
}

std::unique_ptr<ir::Graph> without_states(const ir::Graph& graph, std::span<const StatePair> pairs) {
  std::set<std::string> inputs, outputs;
  for (const StatePair& pair : pairs) {
    inputs.insert(pair.input);
    outputs.insert(pair.output);
  }
  return interface_of(graph, [&](const std::string& name) { return !inputs.contains(name); }, [&](const std::string& name) { return !outputs.contains(name); });
}

Result<std::vector<HostValue>> set_states(backends::Session& session, const ir::Graph& graph, std::span<const HostValue> inputs) {
  backends::States* states = session.states();
  if (states == nullptr) return std::vector<HostValue>(inputs.begin(), inputs.end());
  std::vector<HostValue> out;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto state = state_by(*states, &StatePair::input, graph.inputs()[i]->name());
    if (!state) {
      out.push_back(inputs[i]);
    } else if (const auto* tensor = std::get_if<Tensor>(&inputs[i])) {
      TENON_RETURN_IF_ERROR(states->set(*state, *tensor));
    }
  }
  return out;
}

Result<std::vector<HostValue>> with_states(backends::Session& session, const ir::Graph& graph, std::vector<HostValue> outputs) {
  backends::States* states = session.states();
  if (states == nullptr) return outputs;
  std::vector<HostValue> out;
  size_t next = 0;
  for (size_t o = 0; o < graph.outputs().size(); ++o) {
    const auto state = state_by(*states, &StatePair::output, graph.output_name(static_cast<int>(o)));
    if (state) {
      TENON_ASSIGN_OR_RETURN(Tensor value, states->get(*state));
      out.emplace_back(std::move(value));
    } else if (next < outputs.size()) {
      out.push_back(std::move(outputs[next++]));
    }
  }
  return out;
}

}  // namespace tenon::eval
