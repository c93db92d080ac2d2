#include "backends/stateful/stateful.h"

#include <utility>

#include "backends/stateful/session.h"
#include "runtime/prepare.h"

namespace tenon::backends {
namespace {

class StatefulExecutable final : public Executable {
 public:
  explicit StatefulExecutable(StatefulModel model) : model_(std::make_shared<const StatefulModel>(std::move(model))) {}

  Result<std::unique_ptr<Session>> create_session(const SessionOptions& options) const override {
    TENON_ASSIGN_OR_RETURN(auto session, model_->inner->create_session(options));
    return std::unique_ptr<Session>(std::make_unique<StatefulSession>(model_, std::move(session), options.max_bytes));
  }
  const std::vector<Placement>& placement() const override { return model_->inner->placement(); }
  const CompileStats& stats() const override { return model_->inner->stats(); }
  std::span<const StateInfo> states() const override { return model_->infos; }
  const runtime::PreparedPlan* executed_plan() const override { return model_->inner->executed_plan(); }
  std::string_view code_of() const override { return model_->inner->code_of(); }

 private:
  std::shared_ptr<const StatefulModel> model_;
};

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
    info.in_place = info.axis >= 0 && updates(model.inner->executed_plan(), i, state.output);
    if (info.axis >= 0 && !info.in_place) info.reason = "something reads it after it was appended to";
  }
}

}  // namespace

Result<std::shared_ptr<const Executable>> compile_stateful(const Backend& backend, std::unique_ptr<ir::Graph> graph, const CompileOptions& options,
                                                           std::span<const StatePair> pairs) {
  if (pairs.empty()) return backend.compile_owned(std::move(graph), options);
  const bool in_place = backend.updates_inputs();
  StatefulModel model;
  model.dims = graph->shared_dims();
  TENON_ASSIGN_OR_RETURN(model.shared, share_states(std::move(graph), pairs, in_place, options.interrupt));
  model.num_symbols = model.dims->num_symbols();
  for (const SharedState& state : model.shared.states) model.infos.push_back(state.info);
  CompileOptions inner = options;
  inner.updated_inputs = model.shared.memories;
  if (in_place && options.reload)  // variants are compiled from what is compiled here
    inner.reload = [again = options.reload, copies = std::vector<StatePair>(pairs.begin(), pairs.end())]() -> Result<std::unique_ptr<ir::Graph>> {
      TENON_ASSIGN_OR_RETURN(auto whole, again());
      TENON_ASSIGN_OR_RETURN(SharedGraph shared, share_states(std::move(whole), copies, true, {}));
      return std::move(shared.graph);
    };
  TENON_ASSIGN_OR_RETURN(model.inner, backend.compile_owned(std::exchange(model.shared.graph, nullptr), inner));
  note_updates(model);
  return std::shared_ptr<const Executable>(std::make_shared<StatefulExecutable>(std::move(model)));
}

}  // namespace tenon::backends
