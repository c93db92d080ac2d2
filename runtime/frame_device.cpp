#include <algorithm>

#include "runtime/frame.h"
#include "runtime/frame_state.h"

// Dispatches on a device: recorded once for the dims of a run, and which side has a value's bytes where the device has memory of its own.
//
// Inputs of a body that lie in the device's memory are there on the device, and so are its outputs; the model's inputs and outputs are the
// host's. Values outside that memory are the host's alone: programs take their bytes when they run.
namespace tenon::runtime {

// Constants stay, and so does the arena; what a caller or a step gives or takes is elsewhere in each run.
bool Frame::moves(ValueIdx r) const {
  const Storage storage = value(r).storage;
  return storage != Storage::kConstant && (storage != Storage::kArena || plan_->output_of[static_cast<size_t>(r)] != -1);
}

Status Frame::record(size_t first, size_t last, DeviceRun& run) {
  run.bound.clear();
  run.written.clear();
  run.moving.clear();
  std::vector<DeviceValue> values;
  std::vector<DeviceCall> calls;
  std::vector<int32_t> bindings;
  std::vector<int64_t> dims;
  size_t num_bindings = 0, num_dims = 0;
  for (size_t s = first; s <= last; ++s) {
    num_bindings += plan_->plan->steps[s].bindings.size();
    num_dims += plan_->plan->steps[s].kernel_dims.size();
  }
  bindings.reserve(num_bindings);  // calls point into them
  dims.reserve(num_dims);
  std::vector<int32_t> number(plan_->plan->values.size(), -1);  // by root: in `values`
  for (size_t s = first; s <= last; ++s) {
    const Step& step = plan_->plan->steps[s];
    const int64_t grid = dim(step.grid);
    if (grid < 0) return error(Code::kOutOfRange, "a grid of {}", grid).at(step.node);
    if (grid == 0) continue;
    const size_t first_binding = bindings.size(), first_dim = dims.size();
    const PlanKernel& kernel = (*plan_->plan->kernels)[static_cast<size_t>(step.kernel)];
    for (size_t b = 0; b < step.bindings.size(); ++b) {
      const ValueIdx r = root(step.bindings[b]);
      const auto i = static_cast<size_t>(r);
      if (number[i] == -1) {
        number[i] = static_cast<int32_t>(values.size());
        const auto* tensor = std::get_if<Tensor>(&slot(r));
        const bool placed = value(r).storage == Storage::kArena;
        values.push_back({{data_[i], placed || tensor == nullptr ? bytes_[i] : tensor->bytes()}, value(r).storage == Storage::kConstant, moves(r)});
        run.bound.push_back(r);
        if (moves(r)) run.moving.push_back(r);
      }
      if (writes(kernel.access[b])) run.written.push_back(r);
      bindings.push_back(number[i]);
    }
    for (DimId d : step.kernel_dims) dims.push_back(dim(d));
    calls.push_back({step.kernel, std::span(bindings).subspan(first_binding), std::span(dims).subspan(first_dim), grid,
                     step.work == -1 ? -1 : std::max<int64_t>(dim(step.work), 0), step.node});
  }
  const bool timed = context_.observer != nullptr;
  auto made = context_.device->record(values, calls, timed, std::move(run.program));
  if (!made.ok()) return std::move(made).status().at(plan_->plan->steps[first].node);
  run.program = std::move(*made);
  return {};
}

Status Frame::run_on_device(size_t first, size_t last, DeviceRun& run) {
  const PreparedPlan::DispatchRun& range = plan_->dispatch_runs[static_cast<size_t>(plan_->dispatch_run_of[first])];
  const uint64_t evaluation = phases_[static_cast<size_t>(range.phase)].evaluation;
  if (run.evaluation != evaluation) {
    run.evaluation = 0;
    TENON_RETURN_IF_ERROR(record(first, last, run));
    run.evaluation = evaluation;
  }
  if (staged()) {
    for (ValueIdx r : run.bound) TENON_RETURN_IF_ERROR(to_device(r));
    for (ValueIdx r : run.written) set_home(r, Home::kDevice);
  }
  pointers_.clear();
  for (ValueIdx r : run.moving) pointers_.push_back(data_[static_cast<size_t>(r)]);
  Status status = context_.device->run(*run.program, pointers_, context_.interrupt);
  return status.ok() ? status : std::move(status).at(plan_->plan->steps[first].node);
}

Status Frame::finish_device(std::string_view where) {
  if (context_.device == nullptr) return {};
  TENON_ASSIGN_OR_RETURN(const int32_t code, context_.device->finish());
  return code == 0 ? Status() : index_error(fmt::format("before {}", where));
}

// ---- memory of a staged device -------------------------------------------------------------------------------------

void Frame::set_home(ValueIdx v, Home home) {
  if (!staged()) return;
  const auto r = static_cast<size_t>(root(v));
  homes_[r] = data_[r] != nullptr && context_.device->holds(data_[r]) ? home : Home::kBoth;
}

Status Frame::to_host(ValueIdx v) {
  if (v == -1 || !staged()) return {};
  const auto r = static_cast<size_t>(root(v));
  if (homes_[r] != Home::kDevice || data_[r] == nullptr) return {};
  homes_[r] = Home::kBoth;
  const auto* tensor = std::get_if<Tensor>(&slots_[r]);
  const size_t bytes = value(root(v)).storage == Storage::kArena || tensor == nullptr ? bytes_[r] : tensor->bytes();
  return context_.device->fetch({data_[r], bytes});
}

Status Frame::to_host(std::span<const ValueIdx> values) {
  for (ValueIdx v : values) TENON_RETURN_IF_ERROR(to_host(v));
  return {};
}

Status Frame::to_device(ValueIdx v) {
  if (v == -1 || !staged()) return {};
  const auto r = static_cast<size_t>(root(v));
  if (homes_[r] != Home::kHost || data_[r] == nullptr) return {};
  homes_[r] = Home::kBoth;
  const auto* tensor = std::get_if<Tensor>(&slots_[r]);
  const size_t bytes = value(root(v)).storage == Storage::kArena || tensor == nullptr ? bytes_[r] : tensor->bytes();
  return context_.device->wrote({data_[r], bytes});
}

void Frame::detach_outputs() {
  for (const PlanIo& io : plan_->plan->outputs) {
    const ValueIdx r = root(io.value);
    if (value(r).storage == Storage::kArena && plan_->output_of[static_cast<size_t>(r)] != -1 && data_[static_cast<size_t>(r)] != nullptr)
      context_.device->detach(data_[static_cast<size_t>(r)]);
  }
}

Status Frame::bring(const HostValue& value) {
  const auto* tensor = std::get_if<Tensor>(&value);
  if (!staged() || tensor == nullptr || !context_.device->holds(tensor->data())) return {};
  TENON_RETURN_IF_ERROR(context_.device->fetch({tensor->data(), tensor->bytes()}));
  return context_.device->finish().status();
}

// What the step reads on the host; bodies find theirs on the device.
Status Frame::fetch_for(const Step& step) {
  if (!staged()) return {};
  TENON_RETURN_IF_ERROR(to_host(step.inputs));
  if (step.kind == Step::Kind::kHostCall) return {};
  for (ValueIdx v : step.inputs) TENON_RETURN_IF_ERROR(to_device(v));
  for (const auto& captures : step.captures)
    for (ValueIdx v : captures) TENON_RETURN_IF_ERROR(to_device(v));
  return {};
}

}  // namespace tenon::runtime
