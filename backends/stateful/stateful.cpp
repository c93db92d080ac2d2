#include "backends/stateful/stateful.h"

#include <utility>

#include "backends/stateful/executable.h"
#include "runtime/prepare.h"

namespace tenon::backends {
namespace {

/// Whether the plan gives the input's own memory as the output.
bool updates(const runtime::PreparedPlan* prepared, size_t input, size_t output) {
  if (prepared == nullptr) return false;
  const runtime::ValueIdx memory = prepared->plan->inputs[input].value, result = prepared->plan->outputs[output].value;
  return prepared->updated[static_cast<size_t>(memory)] && prepared->root[static_cast<size_t>(result)] == memory;
}

void note_updates(StatefulModel& model) {
  for (size_t i = 0; i < model.shared.inputs.size(); ++i) {
    const auto* own = std::get_if<StateInput>(&model.shared.inputs[i]);
    if (own == nullptr) continue;
    const SharedState& state = model.shared.states[own->state];
    StateInfo& info = model.infos[own->state];
    const bool memory = info.axis >= 0 || state.updated;
    info.in_place = memory && updates(model.inner->executed_plan(), i, state.output);
    if (memory && !info.in_place) info.reason = "something reads it after it was written to";
  }
}

}  // namespace

CompileOptions inner_options(const CompileOptions& options, std::span<const StatePair> pairs, const SharedGraph& shared, bool in_place) {
  CompileOptions inner = options;
  inner.updated_inputs = shared.memories;
  inner.overwritten_inputs = shared.overwritten();
  if (!in_place || !options.reload) return inner;
  inner.reload = [again = options.reload, copies = std::vector<StatePair>(pairs.begin(), pairs.end())]() -> Result<std::unique_ptr<ir::Graph>> {
    TENON_ASSIGN_OR_RETURN(auto whole, again());
    TENON_ASSIGN_OR_RETURN(SharedGraph shared, share_states(std::move(whole), copies, true, {}));
    return std::move(shared.graph);
  };
  return inner;
}

Result<std::shared_ptr<const Executable>> compile_stateful(const Backend& backend, std::unique_ptr<ir::Graph> graph, const CompileOptions& options,
                                                           std::span<const StatePair> pairs) {
  if (pairs.empty()) return backend.compile_owned(std::move(graph), options);
  const bool in_place = backend.updates_inputs();
  StatefulModel model;
  model.dims = graph->shared_dims();
  TENON_ASSIGN_OR_RETURN(model.shared, share_states(std::move(graph), pairs, in_place, options.interrupt));
  model.num_symbols = model.dims->num_symbols();
  for (const ir::Value* input : model.shared.graph->inputs()) model.inner_inputs.emplace_back(input->name(), input->type());
  for (const SharedState& state : model.shared.states) model.infos.push_back(state.info);
  const CompileOptions inner = inner_options(options, pairs, model.shared, in_place);
  TENON_ASSIGN_OR_RETURN(model.inner, backend.compile_owned(std::exchange(model.shared.graph, nullptr), inner));
  note_updates(model);
  return std::shared_ptr<const Executable>(std::make_shared<StatefulExecutable>(std::move(model)));
}

}  // namespace tenon::backends
