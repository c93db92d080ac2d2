#include "eval/profile/crossing.h"

#include <algorithm>
#include <set>

#include "eval/inputs.h"
#include "runtime/plan_sizes.h"

namespace tenon::eval {
namespace {

using runtime::Plan;
using runtime::Step;
using runtime::Storage;
using runtime::ValueIdx;

ValueIdx root_of(const Plan& plan, ValueIdx v) {
  while (plan.values[static_cast<size_t>(v)].storage == Storage::kAlias) v = plan.values[static_cast<size_t>(v)].alias_of;
  return v;
}

class Counter {
 public:
  Counter(const Plan& plan, const std::vector<std::optional<int64_t>>& symbols, bool outermost, Crossing& out)
      : plan_(plan), sizes_(runtime::plan_sizes(plan, symbols)), outermost_(outermost), out_(out) {}

  void count() {
    bool dispatched = false;
    for (const Step& step : plan_.steps) {
      if (step.kind == Step::Kind::kDispatch) {
        out_.segments += !dispatched;
        dispatched = true;
        for (size_t b = 0; b < step.bindings.size(); ++b) visit(step, b);
        continue;
      }
      dispatched = false;
      ++out_.host_steps;
      for (ValueIdx v : step.inputs)
        if (v != -1 && on_device_.contains(root_of(plan_, v)) && brought_.insert(root_of(plan_, v)).second) add(out_.to_host, v);
    }
    if (!outermost_) return;
    for (const runtime::PlanIo& io : plan_.outputs)
      if (on_device_.contains(root_of(plan_, io.value))) add(out_.outputs, io.value);
  }

 private:
  void visit(const Step& step, size_t binding) {
    const ValueIdx v = root_of(plan_, step.bindings[binding]);
    const auto access = (*plan_.kernels)[static_cast<size_t>(step.kernel)].access[binding];
    if (runtime::writes(access)) {
      on_device_.insert(v);
    } else if (!on_device_.contains(v) && given_.insert(v).second) {
      const Storage storage = plan_.values[static_cast<size_t>(v)].storage;
      if (storage == Storage::kInput && outermost_) add(out_.inputs, v);
      else if (storage != Storage::kConstant && storage != Storage::kInput) add(out_.to_device, v);
    }
  }

  void add(double& sum, ValueIdx v) {
    if (const auto& bytes = sizes_.bytes[static_cast<size_t>(v)]) sum += static_cast<double>(*bytes);
    else ++out_.unknown;
  }

  const Plan& plan_;
  const runtime::PlanSizes sizes_;
  const bool outermost_;
  Crossing& out_;
  std::set<ValueIdx> on_device_, given_, brought_;
};

void count(const Plan& plan, const std::vector<std::optional<int64_t>>& symbols, bool outermost, Crossing& out) {
  Counter(plan, symbols, outermost, out).count();
  for (const Step& step : plan.steps)
    for (const auto& body : step.plans) count(*body, symbols, false, out);
}

}  // namespace

Crossing crossing(const backends::Executable& executable) {
  Crossing out;
  const runtime::PreparedPlan* prepared = executable.executed_plan();
  if (prepared == nullptr) return out;
  const std::vector<std::optional<int64_t>> symbols(static_cast<size_t>(std::max(prepared->plan->dims.num_symbols, 0)), kDefaultDim);
  count(*prepared->plan, symbols, true, out);
  return out;
}

nlohmann::json to_json(const Crossing& c) {
  return {{"inputs", c.inputs}, {"outputs", c.outputs}, {"to_host", c.to_host}, {"to_device", c.to_device}, {"host_steps", c.host_steps}, {"segments", c.segments},
          {"unknown", c.unknown}};
}

}  // namespace tenon::eval
