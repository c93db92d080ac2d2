#include "runtime/plan_sizes.h"

#include <algorithm>

#include "runtime/dim_program.h"
#include "support/checked.h"

namespace tenon::runtime {

PlanSizes plan_sizes(const Plan& plan, std::span<const std::optional<int64_t>> symbols) {
  PlanSizes out;
  std::vector<std::optional<int64_t>> given(symbols.begin(), symbols.end());
  given.resize(std::max(given.size(), static_cast<size_t>(std::max(plan.dims.num_symbols, 0))));
  std::vector<int64_t> values(plan.dims.insts.size(), 0);
  const auto known = [&](DimId d) { return d < 0 || out.dims[static_cast<size_t>(d)].has_value(); };
  for (size_t i = 0; i < plan.dims.insts.size(); ++i) {
    const DimProgram::Inst& inst = plan.dims.insts[i];
    out.dims.emplace_back();
    if (!known(inst.a) || !known(inst.b)) continue;
    const Result<int64_t> value = evaluate(plan.dims, static_cast<DimId>(i), values, given);
    if (value.ok()) out.dims[i] = values[i] = *value;
  }
  for (const PlanValue& value : plan.values) {
    out.bytes.emplace_back();
    if (!value.ranked || !std::all_of(value.dims.begin(), value.dims.end(), known)) continue;
    std::vector<int64_t> shape;
    for (DimId d : value.dims) shape.push_back(*out.dims[static_cast<size_t>(d)]);
    const Result<int64_t> count = element_count(shape);
    if (count.ok()) out.bytes.back() = storage_bytes(value.dtype, *count);
  }
  return out;
}

std::optional<DispatchCost> dispatch_cost(const Plan& plan, const Step& step, const PlanSizes& sizes) {
  const auto grid = sizes.dims[static_cast<size_t>(step.grid)];
  if (!grid) return std::nullopt;
  DispatchCost cost;
  cost.grid = *grid;
  const auto work = step.work == -1 ? std::nullopt : sizes.dims[static_cast<size_t>(step.work)];
  if (work) cost.work = std::max<int64_t>(*work, 0);
  const PlanKernel& kernel = (*plan.kernels)[static_cast<size_t>(step.kernel)];
  for (size_t b = 0; b < step.bindings.size(); ++b) {
    const size_t bytes = sizes.bytes[static_cast<size_t>(step.bindings[b])].value_or(0);
    if (reads(kernel.access[b])) cost.read += bytes;
    const auto updates = step.updates == -1 ? std::nullopt : sizes.dims[static_cast<size_t>(step.updates)];
    if (writes(kernel.access[b]))
      cost.written += updates ? std::min(bytes, storage_bytes(plan.values[static_cast<size_t>(step.bindings[b])].dtype, std::max<int64_t>(*updates, 0)).value_or(bytes)) : bytes;
  }
  return cost;
}

Result<ArenaLayout> arena_layout(const PreparedPlan& plan, const PlanSizes& sizes) {
  ArenaLayout sum;
  for (const PreparedPlan::Phase& phase : plan.phases) {
    std::vector<ArenaRequest> requests;
    for (ValueIdx v : phase.arena) {
      const auto i = static_cast<size_t>(v);
      if (plan.first_use[i] <= plan.last_use[i]) requests.push_back({sizes.bytes[i].value_or(0), plan.first_use[i], plan.last_use[i]});
    }
    TENON_ASSIGN_OR_RETURN(const ArenaLayout layout, place(requests));
    sum.bytes += layout.bytes;
    sum.bound += layout.bound;
  }
  return sum;
}

}  // namespace tenon::runtime
