#include <algorithm>
#include <atomic>

#include "runtime/frame.h"
#include "runtime/frame_state.h"

// Dispatches: what a kernel is called with, made once for the dims of a run and used until they change.
namespace tenon::runtime {
namespace {

/// Scalar operations of one grid index that nothing could interrupt, some ten seconds of them.
constexpr int64_t kMaxWorkPerIndex = int64_t{1} << 34;
/// Scalar operations between two looks at the deadline and the cancel flag, inside a dispatch and between short ones.
constexpr int64_t kWorkPerPart = int64_t{1} << 32, kWorkPerLook = int64_t{1} << 22;

}  // namespace

Status index_error(std::string_view where) {
  return Status(Code::kOutOfRange, "an index is outside its tensor", std::string(where), "check the input values");
}

size_t Frame::updated_bytes(const Step& step, ValueIdx v) const {
  const size_t all = bytes_[static_cast<size_t>(v)];
  return std::min(all, storage_bytes(value(v).dtype, std::max<int64_t>(dim(step.updates), 0)).value_or(all));
}

DispatchCost Frame::cost_of(const Step& step) const {
  DispatchCost cost;
  cost.grid = dim(step.grid);
  if (step.work == -1) return cost;
  cost.work = std::max<int64_t>(dim(step.work), 0);
  const PlanKernel& kernel = (*plan_->plan->kernels)[static_cast<size_t>(step.kernel)];
  for (size_t b = 0; b < step.bindings.size(); ++b) {
    const size_t bytes = bytes_[static_cast<size_t>(step.bindings[b])];
    if (reads(kernel.access[b])) cost.read += bytes;
    if (writes(kernel.access[b])) cost.written += step.updates == -1 ? bytes : updated_bytes(step, step.bindings[b]);
  }
  return cost;
}

Result<Frame::Calls*> Frame::calls(size_t run) {
  const PreparedPlan::DispatchRun& range = plan_->dispatch_runs[run];
  Calls& out = calls_[run];
  const uint64_t evaluation = phases_[static_cast<size_t>(range.phase)].evaluation;
  if (out.evaluation != evaluation) {
    out.evaluation = 0;
    out.calls.clear();
    out.moving.clear();
    size_t pointers = 0, dims = 0;
    for (int32_t s = range.first; s <= range.last; ++s) {
      const Step& step = plan_->plan->steps[static_cast<size_t>(s)];
      pointers += step.bindings.size();
      dims += step.kernel_dims.size();
    }
    out.pointers.clear();
    out.dims.clear();
    out.pointers.reserve(pointers);  // calls point into them
    out.dims.reserve(dims);
    int64_t unseen = 0;
    for (int32_t s = range.first; s <= range.last; ++s) {
      TENON_ASSIGN_OR_RETURN(Call call, make_call(static_cast<size_t>(s), out));
      const DimId work = plan_->plan->steps[static_cast<size_t>(s)].work;
      const int64_t operations = work == -1 ? kWorkPerLook : std::clamp<int64_t>(dim(work), 0, kWorkPerLook);
      call.look = s > range.first && unseen + operations > kWorkPerLook;
      unseen = (call.look ? 0 : unseen) + operations;
      out.calls.push_back(call);
    }
    out.evaluation = evaluation;
  }
  for (const auto& [pointer, owner] : out.moving) out.pointers[pointer] = data_[static_cast<size_t>(owner)];
  return &out;
}

Result<Frame::Call> Frame::make_call(size_t index, Calls& calls) {
  const Step& step = plan_->plan->steps[index];
  const PlanKernel& kernel = (*plan_->plan->kernels)[static_cast<size_t>(step.kernel)];
  const DispatchCost cost = cost_of(step);
  if (cost.grid < 0) return error(Code::kOutOfRange, "a grid of {}", cost.grid).at(step.node);
  if (kernel.fn == nullptr) return error(Code::kInternal, "kernel {} has no code", kernel.name).at(step.node);
  const int64_t work = std::max<int64_t>(cost.work, 0), grid = cost.grid;
  if (grid > 0 && work / grid > kMaxWorkPerIndex)
    return error(Code::kResourceExhausted, "one of {} parts takes {} operations, the limit is {}", grid, work / grid,
                 kMaxWorkPerIndex)
        .at(step.node)
        .with_hint("make the reduction or the window smaller");
  Call call;
  call.fn = kernel.fn;
  call.grid = grid;
  const int64_t round = kernel.round > 0 && kernel.round < grid ? kernel.round : grid, rounds = round > 0 ? grid / round : 1;
  call.threads = rounds > 1 ? threads_for_round(cost, rounds, threads_) : threads_for(cost, threads_);
  call.part = work <= kWorkPerPart ? grid : std::max<int64_t>(grid / (work / kWorkPerPart), call.threads);
  call.rounds = round < grid;
  if (round < grid) call.part = call.threads > 1 ? round : std::max<int64_t>(call.part / round, 1) * round;
  call.pointers = calls.pointers.data() + calls.pointers.size();
  call.dims = calls.dims.data() + calls.dims.size();
  for (ValueIdx v : step.bindings) {
    const ValueIdx r = root(v);
    const Storage storage = value(r).storage;
    const bool stays = storage == Storage::kConstant || (storage == Storage::kArena && plan_->output_of[static_cast<size_t>(r)] == -1);
    if (!stays) calls.moving.emplace_back(static_cast<uint32_t>(calls.pointers.size()), r);
    calls.pointers.push_back(data_[static_cast<size_t>(r)]);
  }
  for (DimId d : step.kernel_dims) calls.dims.push_back(dim(d));
  return call;
}

Status Frame::run_dispatches(size_t run) {
  TENON_ASSIGN_OR_RETURN(const Calls* made, calls(run));
  const auto first = static_cast<size_t>(plan_->dispatch_runs[run].first);
  const std::vector<Step>& steps = plan_->plan->steps;
  for (size_t i = 0; i < made->calls.size(); ++i) {
    const Call& c = made->calls[i];
    if (c.look) TENON_RETURN_IF_ERROR(context_.interrupt.check());
    if (c.threads == 1 && c.part == c.grid) {
      if (c.grid > 0 && c.fn(c.pointers, c.dims, 0, c.grid) != 0) return index_error(steps[first + i].node);
    } else {
      TENON_RETURN_IF_ERROR(call(c, steps[first + i]));
    }
  }
  release_after(static_cast<size_t>(plan_->dispatch_runs[run].last));
  return {};
}

Status Frame::call(const Call& c, const Step& step) {
  std::atomic<int32_t> failed = 0;
  for (int64_t first = 0; first < c.grid; first += c.part) {
    if (first > 0) TENON_RETURN_IF_ERROR(context_.interrupt.check());
    const int64_t count = std::min(c.part, c.grid - first);
    if (c.threads == 1) {
      failed = c.fn(c.pointers, c.dims, first, first + count);
    } else {
      const auto run = [&](int64_t begin, int64_t end) {
        if (const int32_t code = c.fn(c.pointers, c.dims, first + begin, first + end); code != 0) failed.store(code, std::memory_order_relaxed);
      };
      if (c.rounds) {  // a thread has the same range in each, since what it read last is in its cache
        context_.executor->parallel_for(
            c.threads,
            [&](int64_t begin, int64_t end, int) {
              for (int64_t part = begin; part < end; ++part) run(count * part / c.threads, count * (part + 1) / c.threads);
            },
            c.threads);
      } else {
        context_.executor->parallel_for(count, [&](int64_t begin, int64_t end, int) { run(begin, end); }, c.threads);
      }
    }
    if (failed != 0) return index_error(step.node);
  }
  return {};
}

// One step of a run of dispatches, when somebody looks at each.
Status Frame::dispatch(size_t index) {
  const Step& step = plan_->plan->steps[index];
  step_threads_ = 1;
  if (context_.device != nullptr) return run_on_device(index, index, device_steps_[index]);
  const auto run = static_cast<size_t>(plan_->dispatch_run_of[index]);
  TENON_ASSIGN_OR_RETURN(const Calls* made, calls(run));
  const Call& c = made->calls[index - static_cast<size_t>(plan_->dispatch_runs[run].first)];
  step_threads_ = c.threads;
  return call(c, step);
}

}  // namespace tenon::runtime
