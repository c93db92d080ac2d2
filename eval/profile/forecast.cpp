#include "eval/profile/forecast.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "eval/cost.h"
#include "eval/inputs.h"
#include "runtime/plan_sizes.h"
#include "support/cpu_count.h"

namespace tenon::eval {
namespace {

using backends::Placement;
using Symbols = std::vector<std::optional<int64_t>>;

class Builder {
 public:
  Builder(const std::vector<Placement>& placement, Forecast& out) : placement_(placement), out_(out) {}

  void add(const runtime::Plan& plan, const Symbols& symbols, bool repeated);
  void finish();

 private:
  struct Sum {
    KernelForecast row;
    std::set<std::string> nodes, refused;
    double compute_ms = 0;          // of calls that computation bounds
    bool counted = true;
  };

  const Placement* row_of(const runtime::Step& step) const {
    return step.placement >= 0 && static_cast<size_t>(step.placement) < placement_.size() ? &placement_[static_cast<size_t>(step.placement)] : nullptr;
  }
  void add_step(const runtime::Plan& plan, const runtime::Step& step, const runtime::PlanSizes& sizes, const Symbols& symbols, int max_threads);
  Sum& sum_of(const runtime::Plan& plan, const runtime::Step& step);
  void share_work(const runtime::Plan& plan, const runtime::PlanSizes& sizes);
  void predict(Sum& sum, double flops, const NarrowFlops& narrow, double bytes, int threads) const;

  const std::vector<Placement>& placement_;
  Forecast& out_;
  std::map<std::string, Sum> sums_;
  std::map<const Placement*, double> work_;  // of the dispatches of a row in the plan that is added
  std::set<const std::byte*> weights_;
};

/// A row's operations are divided among its dispatches by the plan's estimates, those that only copy aside.
double own_work(const runtime::Plan& plan, const runtime::Step& step, const runtime::DispatchCost& cost) {
  return (*plan.kernels)[static_cast<size_t>(step.kernel)].moves ? 0.0 : static_cast<double>(std::max<int64_t>(cost.work, 1));
}

void Builder::share_work(const runtime::Plan& plan, const runtime::PlanSizes& sizes) {
  work_.clear();
  for (const runtime::Step& step : plan.steps) {
    if (step.kind != runtime::Step::Kind::kDispatch) continue;
    if (const auto cost = runtime::dispatch_cost(plan, step, sizes)) work_[row_of(step)] += own_work(plan, step, *cost);
  }
}

void Builder::add(const runtime::Plan& plan, const Symbols& symbols, bool repeated) {
  const runtime::PlanSizes sizes = runtime::plan_sizes(plan, symbols);
  share_work(plan, sizes);
  for (const runtime::PlanValue& value : plan.values)
    if (const auto* tensor = std::get_if<Tensor>(&value.constant); tensor != nullptr && tensor->data() != nullptr && weights_.insert(tensor->data()).second)
      out_.weight_bytes += tensor->bytes();
  // As a session chooses: a run that is over before a sleeping thread has woken up gets one.
  int64_t ns = 0;
  bool parallel = repeated;
  for (const runtime::Step& step : plan.steps) {
    if (step.kind != runtime::Step::Kind::kDispatch) continue;
    const auto cost = runtime::dispatch_cost(plan, step, sizes);
    const int64_t one = cost ? runtime::predicted_ns(*cost) : -1;
    ns += std::max<int64_t>(one, 0);
    parallel |= one < 0 || runtime::worth_threads(ns);
  }
  for (const runtime::Step& step : plan.steps) add_step(plan, step, sizes, symbols, parallel ? out_.threads : 1);
  for (const runtime::Step& step : plan.steps)
    for (const auto& body : step.plans) add(*body, symbols, step.kind != runtime::Step::Kind::kIf);
}

Builder::Sum& Builder::sum_of(const runtime::Plan& plan, const runtime::Step& step) {
  const Placement* row = row_of(step);
  const bool dispatched = step.kind == runtime::Step::Kind::kDispatch;
  const std::string name = dispatched ? fmt::format("{}.{}", (*plan.kernels)[static_cast<size_t>(step.kernel)].name, step.kernel)
                                      : row == nullptr ? step.node : row->implementation;
  Sum& sum = sums_[name];
  sum.row.name = name;
  if (row == nullptr) return sum;
  sum.row.implementation = row->implementation;
  const std::vector<std::string> self = {row->node};
  for (const std::string& node : row->covers.empty() ? self : row->covers)
    if (sum.nodes.insert(node).second) sum.row.nodes.push_back(node);
  if (!row->reason.empty() && sum.refused.insert(row->reason).second) sum.row.refused += (sum.row.refused.empty() ? "" : " | ") + row->reason;
  return sum;
}

void Builder::add_step(const runtime::Plan& plan, const runtime::Step& step, const runtime::PlanSizes& sizes, const Symbols& symbols, int max_threads) {
  Sum& sum = sum_of(plan, step);
  ++sum.row.calls;
  const Placement* row = row_of(step);
  const bool dispatched = step.kind == runtime::Step::Kind::kDispatch;
  const auto cost = dispatched ? runtime::dispatch_cost(plan, step, sizes) : std::nullopt;
  if (!cost || row == nullptr || row->source == nullptr) {
    sum.counted = false;
    return;
  }
  const int threads = runtime::threads_for(*cost, max_threads);
  sum.row.grid = std::max(sum.row.grid, cost->grid);
  sum.row.threads = std::max(sum.row.threads, threads);
  const double all = work_[row], share = all > 0 ? own_work(plan, step, *cost) / all : 0;
  const auto flops = node_flops(*row->source, symbols), loads = node_loads(*row->source, symbols);
  double read = static_cast<double>(cost->read);
  if (loads && all > 0 && share == 1) read = std::min(read, *loads);
  const double bytes = read + static_cast<double>(cost->written);
  sum.row.bytes += bytes;
  if (!flops || !std::isfinite(*flops)) {
    sum.counted = false;
    return;
  }
  sum.row.flops = sum.row.flops.value_or(0) + *flops * share;
  predict(sum, *flops * share, node_narrow_flops(*row->source, symbols) * share, bytes, threads);
}

void Builder::predict(Sum& sum, double flops, const NarrowFlops& narrow, double bytes, int threads) const {
  if (!out_.peak) return;
  const Peak peak = out_.peak->at(threads);
  const double compute = peak.compute_ms(flops, narrow);
  const double rate = peak.gbps(bytes), memory = rate > 0 ? bytes / rate * 1e-6 : 0;
  sum.row.ms = sum.row.ms.value_or(0) + std::max(compute, memory);
  if (compute >= memory) sum.compute_ms += compute;
}

void Builder::finish() {
  for (auto& [name, sum] : sums_) {
    KernelForecast& row = sum.row;
    if (!sum.counted) row.flops.reset();
    if (!row.flops) row.ms.reset();
    if (row.ms) row.bound = 2 * sum.compute_ms > *row.ms ? "compute" : "memory";
    out_.ms += row.ms.value_or(0);
    out_.kernels.push_back(std::move(row));
  }
  std::stable_sort(out_.kernels.begin(), out_.kernels.end(), [](const auto& a, const auto& b) { return a.ms.value_or(0) > b.ms.value_or(0); });
}

}  // namespace

Result<Forecast> forecast(const backends::Executable& executable, const ForecastOptions& options) {
  const runtime::PreparedPlan* prepared = executable.executed_plan();
  if (prepared == nullptr) return Status(Code::kUnsupported, "this backend runs no plan of kernels", "", "explain cpu or vulkan");
  Forecast out;
  out.threads = options.threads > 0 ? options.threads : default_placement().cores;
  if (options.calibrate) {
    TENON_ASSIGN_OR_RETURN(const codegen::Target target, codegen::cpu_target(options.target.empty() ? "host" : options.target));
    TENON_ASSIGN_OR_RETURN(out.peak, calibrate(target, default_pool(), out.threads));
  }
  const runtime::Plan& plan = *prepared->plan;
  const Symbols symbols(static_cast<size_t>(std::max(plan.dims.num_symbols, 0)), kDefaultDim);
  Builder builder(executable.placement(), out);
  builder.add(plan, symbols, false);
  builder.finish();
  TENON_ASSIGN_OR_RETURN(const runtime::ArenaLayout arena, runtime::arena_layout(*prepared, runtime::plan_sizes(plan, symbols)));
  out.arena_bytes = arena.bytes;
  out.arena_bound = arena.bound;
  return out;
}

nlohmann::json to_json(const Forecast& forecast) {
  const auto number = [](const std::optional<double>& value) { return value ? nlohmann::json(*value) : nlohmann::json(); };
  nlohmann::json kernels = nlohmann::json::array();
  for (const KernelForecast& k : forecast.kernels)
    kernels.push_back({{"name", k.name}, {"implementation", k.implementation}, {"refused", k.refused},
                       {"nodes", k.nodes}, {"calls", k.calls}, {"grid", k.grid}, {"threads", k.threads}, {"operations", number(k.flops)},
                       {"bytes", k.bytes}, {"predicted_ms", number(k.ms)}, {"bound", k.bound}});
  return {{"threads", forecast.threads}, {"kernels", kernels}, {"predicted_ms", forecast.ms}, {"weight_bytes", forecast.weight_bytes},
          {"arena_bytes", forecast.arena_bytes}, {"arena_bound_bytes", forecast.arena_bound}};
}

}  // namespace tenon::eval
