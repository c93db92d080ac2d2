#include <algorithm>

#include "runtime/frame.h"
#include "runtime/observer.h"
#include "runtime/storage_order.h"

namespace tenon::runtime {

namespace {

using Clock = std::chrono::steady_clock;

Clock::duration nanoseconds(double ns) { return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double, std::nano>(ns)); }

}  // namespace

Status Frame::observe(size_t index) {
  const Step& step = plan_->plan->steps[index];
  const Clock::time_point start = Clock::now();
  TENON_RETURN_IF_ERROR(execute(index));
  TENON_RETURN_IF_ERROR(finish_device(step.node));
  Clock::time_point end = Clock::now();
  if (step.kind == Step::Kind::kDispatch && context_.device != nullptr)
    if (const auto& program = device_steps_[index].program; program != nullptr && !program->times_ns().empty()) end = start + nanoseconds(program->times_ns()[0]);
  show_step(index, start, end);
  return depth_ == 0 ? observe_values(index) : Status();
}

bool Frame::observes_together(const PreparedPlan::DispatchRun& range) const {
  if (context_.device == nullptr || !context_.device->measures()) return false;
  if (depth_ > 0) return true;
  for (auto s = static_cast<size_t>(range.first); s <= static_cast<size_t>(range.last); ++s)
    for (ValueIdx v : plan_->final_after[s])
      if (context_.observer->wants(*plan_->plan, v)) return false;
  return true;
}

// The dispatches' own times, one after the other: what passes between them is nobody's.
Status Frame::observe_run(size_t run) {
  const PreparedPlan::DispatchRun& range = plan_->dispatch_runs[run];
  const auto first = static_cast<size_t>(range.first), last = static_cast<size_t>(range.last);
  Clock::time_point at = Clock::now();
  TENON_RETURN_IF_ERROR(run_on_device(first, last, device_runs_[run]));
  TENON_RETURN_IF_ERROR(finish_device(plan_->plan->steps[last].node));
  const std::span<const double> times = device_runs_[run].program->times_ns();
  step_threads_ = 1;
  size_t dispatch = 0;
  for (size_t s = first; s <= last; ++s) {
    const bool empty = dim(plan_->plan->steps[s].grid) == 0;
    const Clock::time_point end = empty || dispatch >= times.size() ? at : at + nanoseconds(times[dispatch++]);
    show_step(s, at, end);
    at = end;
  }
  return {};
}

void Frame::show_step(size_t index, Clock::time_point start, Clock::time_point end) {
  const Step& step = plan_->plan->steps[index];
  StepEvent event{*plan_->plan, static_cast<int32_t>(index), depth_, start, end};
  event.threads = step.kind == Step::Kind::kDispatch ? step_threads_ : step.kind == Step::Kind::kHostCall ? context_.max_threads : 1;
  if (step.work != -1) event.work = dim(step.work);
  std::vector<ValueIdx> read, written = step.outputs;
  for (size_t b = 0; b < step.bindings.size(); ++b) {
    const Access access = (*plan_->plan->kernels)[static_cast<size_t>(step.kernel)].access[b];
    if (reads(access)) read.push_back(step.bindings[b]);
    if (!writes(access)) continue;
    if (step.updates == -1) written.push_back(step.bindings[b]);
    else event.written_bytes += updated_bytes(step, step.bindings[b]);
  }
  read.insert(read.end(), step.inputs.begin(), step.inputs.end());
  for (const auto& captures : step.captures) read.insert(read.end(), captures.begin(), captures.end());
  event.read_bytes = tensor_bytes(read);
  event.written_bytes += tensor_bytes(written);
  event.symbols = symbols_;
  context_.observer->on_step(event);
}

Status Frame::observe_values(size_t index) {
  const Plan& plan = *plan_->plan;
  for (ValueIdx v : plan_->final_after[index]) {
    if (!context_.observer->wants(plan, v)) continue;
    TENON_RETURN_IF_ERROR(to_host(v));
    TENON_RETURN_IF_ERROR(finish_device(plan.steps[index].node));
    TENON_ASSIGN_OR_RETURN(const HostValue* made, host_value(v));
    if (std::holds_alternative<std::monostate>(*made)) continue;  // an optional output that was not made
    Status seen = show_value(v, *made);
    if (!seen.ok()) return std::move(seen).at(fmt::format("value {}", value(v).name));
  }
  return {};
}

Status Frame::show_value(ValueIdx v, const HostValue& made) {
  if (value(v).order.empty()) return context_.observer->on_value(*plan_->plan, v, made);
  TENON_ASSIGN_OR_RETURN(Tensor tensor, to_row_major(std::get<Tensor>(made), value(v).order));
  return context_.observer->on_value(*plan_->plan, v, HostValue(std::move(tensor)));
}

// Each phase has memory of its own; they count as one arena, one after the other.
void Frame::observe_arena(size_t phase) {
  std::vector<ArenaRange> ranges;
  size_t base = 0;
  for (size_t p = 0; p <= phase; ++p) {
    if (phases_[p].arena == nullptr || plan_->phases[p].arena.empty()) continue;
    for (ValueIdx v : plan_->phases[p].arena) {
      const auto i = static_cast<size_t>(v);
      if (bytes_[i] == 0 || plan_->first_use[i] > plan_->last_use[i]) continue;
      const auto offset = static_cast<size_t>(data_[i] - phases_[p].arena->data());
      ranges.push_back({v, base + offset, bytes_[i], plan_->first_use[i], plan_->last_use[i]});
    }
    base += phases_[p].arena->size();
  }
  context_.observer->on_arena(*plan_->plan, ranges);
}

// Views of the same tensor count once.
size_t Frame::tensor_bytes(std::span<const ValueIdx> values) const {
  std::vector<ValueIdx> roots;
  for (ValueIdx v : values)
    if (v != -1) roots.push_back(root(v));
  std::sort(roots.begin(), roots.end());
  roots.erase(std::unique(roots.begin(), roots.end()), roots.end());
  size_t bytes = 0;
  for (ValueIdx r : roots) {
    const auto* tensor = std::get_if<Tensor>(&slots_[static_cast<size_t>(r)]);
    const bool placed = value(r).storage == Storage::kArena || tensor == nullptr;
    bytes += placed ? bytes_[static_cast<size_t>(r)] : tensor->bytes();
  }
  return bytes;
}

}  // namespace tenon::runtime
