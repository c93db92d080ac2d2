#include "eval/debug/variant.h"

#include <algorithm>
#include <map>

#include "ir/op.h"

namespace tenon::eval {
namespace {

constexpr size_t kOutputsAtATime = 32;  // of --tap-outputs

bool numbers(DType dtype) { return dtype != DType::kInvalid && dtype != DType::kString; }

/// Keeps the wanted values of a plan as they are made.
class Tap final : public runtime::Observer {
 public:
  Tap(const std::unordered_set<std::string>& names, Spill& spill) : names_(names), spill_(spill) {}

  void on_step(const runtime::StepEvent&) override {}
  bool wants(const runtime::Plan& plan, runtime::ValueIdx value) const override {
    const runtime::PlanValue& v = plan.values[static_cast<size_t>(value)];
    return numbers(v.dtype) && names_.contains(v.name);
  }
  Status on_value(const runtime::Plan& plan, runtime::ValueIdx value, const HostValue& host) override {
    const auto* tensor = std::get_if<Tensor>(&host);
    return tensor == nullptr ? Status() : spill_.put(plan.values[static_cast<size_t>(value)].name, *tensor);
  }

 private:
  const std::unordered_set<std::string>& names_;
  Spill& spill_;
};

Status keep_outputs(const ir::Graph& graph, std::span<const HostValue> outputs, const std::unordered_set<std::string>& names, Spill& spill) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string& name = graph.outputs()[i]->name();
    const auto* tensor = std::get_if<Tensor>(&outputs[i]);
    if (tensor != nullptr && numbers(tensor->dtype()) && names.contains(name)) TENON_RETURN_IF_ERROR(spill.put(name, *tensor));
  }
  return {};
}

/// Runs copies of the model that have some of the values as outputs as well.
Status tap_by_outputs(const ir::Graph& graph, const Variant& variant, std::span<const HostValue> inputs, const TapOptions& options,
                      const std::unordered_set<std::string>& names, Spill& spill) {
  std::vector<std::string> left;
  for (const auto& node : graph.nodes())
    for (const ir::Value* output : node->outputs())
      if (names.contains(output->name()) && !spill.has(output->name())) left.push_back(output->name());
  Variant exported = variant;
  exported.compile.model.clear();
  for (size_t begin = 0; begin < left.size(); begin += kOutputsAtATime) {
    const std::unique_ptr<ir::Graph> copy = graph.clone();
    std::map<std::string, ir::Value*> values;
    for (const auto& node : copy->nodes())
      for (ir::Value* output : node->outputs()) values[output->name()] = output;
    for (size_t i = begin; i < std::min(left.size(), begin + kOutputsAtATime); ++i) copy->add_output(values.at(left[i]));
    TENON_ASSIGN_OR_RETURN(const Running running, start(*copy, exported, options.session, options.interrupt));
    TENON_ASSIGN_OR_RETURN(const auto outputs, running.session->run(inputs, options.interrupt));
    TENON_RETURN_IF_ERROR(keep_outputs(*copy, outputs, names, spill));
  }
  return {};
}

}  // namespace

Result<Running> start(const ir::Graph& graph, const Variant& variant, const backends::SessionOptions& session, const Interrupt& interrupt) {
  backends::CompileOptions compile = variant.compile;
  compile.interrupt = interrupt;
  Running out;
  TENON_ASSIGN_OR_RETURN(out.executable, variant.backend->compile(graph, compile));
  TENON_ASSIGN_OR_RETURN(out.session, out.executable->create_session(session));
  return out;
}

std::unordered_set<std::string> comparable_values(const ir::Graph& graph) {
  std::unordered_set<std::string> names;
  for (const auto& node : graph.nodes()) {
    if (node->is("Constant")) continue;
    for (const ir::Value* output : node->outputs())
      if (!output->type().known() || (output->type().is_tensor() && output->dtype() != DType::kString)) names.insert(output->name());
  }
  return names;
}

Result<Tapped> run_tapped(const ir::Graph& graph, const Variant& variant, std::span<const HostValue> inputs, const TapOptions& options) {
  const std::unordered_set<std::string> names = comparable_values(graph);
  Tapped out;
  TENON_ASSIGN_OR_RETURN(out.values, Spill::create(options.max_spill_bytes));
  Tap tap(names, out.values);
  backends::SessionOptions session = options.session;
  session.observer = &tap;
  TENON_ASSIGN_OR_RETURN(const Running running, start(graph, variant, session, options.interrupt));
  TENON_ASSIGN_OR_RETURN(out.outputs, running.session->run(inputs, options.interrupt));
  TENON_RETURN_IF_ERROR(keep_outputs(graph, out.outputs, names, out.values));
  if (options.tap_outputs) TENON_RETURN_IF_ERROR(tap_by_outputs(graph, variant, inputs, options, names, out.values));
  return out;
}

}  // namespace tenon::eval
