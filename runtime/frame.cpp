#include "runtime/frame.h"

#include <algorithm>
#include <cstring>

#include "runtime/frame_state.h"
#include "runtime/host_values.h"

namespace tenon::runtime {

Status RunContext::hold(size_t& account, size_t bytes) {
  held_bytes -= account;
  account = 0;
  if (bytes > free_bytes())
    return Status(Code::kResourceExhausted,
                  fmt::format("{} bytes beside {} bytes are more than the limit of {}", bytes, arena_bytes + held_bytes, max_bytes), {},
                  "make the inputs smaller or raise the memory limit");
  account = bytes;
  held_bytes += bytes;
  return {};
}

Frame::Frame(std::shared_ptr<const PreparedPlan> plan, RunContext& context, bool repeated, int depth)
    : plan_(std::move(plan)), context_(context), repeated_(repeated), depth_(depth) {
  const Plan& p = *plan_->plan;
  dims_.assign(p.dims.insts.size(), 0);
  bytes_.assign(p.values.size(), 0);
  slots_.resize(p.values.size());
  data_.assign(p.values.size(), nullptr);
  lent_inputs_.assign(p.values.size(), false);
  held_.assign(p.values.size(), 0);
  phases_.resize(plan_->phases.size());
  states_.resize(p.steps.size());
  calls_.resize(plan_->dispatch_runs.size());
  if (context_.device != nullptr) {
    device_runs_.resize(plan_->dispatch_runs.size());
    device_steps_.resize(p.steps.size());
    homes_.assign(p.values.size(), Home::kBoth);
  }
  for (size_t v = 0; v < p.values.size(); ++v) {
    if (p.values[v].storage != Storage::kConstant) continue;
    slots_[v] = p.values[v].constant;
    if (const auto* tensor = std::get_if<Tensor>(&slots_[v])) data_[v] = const_cast<std::byte*>(tensor->data());
  }
}

Frame::~Frame() {
  for (const PhaseState& phase : phases_)
    if (phase.arena != nullptr) context_.arena_bytes -= phase.arena->size();
  for (size_t bytes : held_) context_.held_bytes -= bytes;
  for (const auto& state : states_)
    if (state != nullptr)
      for (size_t bytes : state->held) context_.held_bytes -= bytes;
}

Status Frame::run(std::span<const Operand> inputs, const Symbols& symbols, std::span<HostValue> outputs) {
  const Plan& p = *plan_->plan;
  if (inputs.size() != p.inputs.size() || outputs.size() != p.outputs.size())
    return error(Code::kInvalidArgument, "{} inputs and {} outputs are given, {} and {} are wanted", inputs.size(),
                 outputs.size(), p.inputs.size(), p.outputs.size());
  symbols_ = symbols;
  symbols_.resize(std::max(symbols_.size(), static_cast<size_t>(std::max(p.dims.num_symbols, 0))));
  outputs_ = outputs;
  Status status = bind_inputs(inputs);
  if (status.ok()) status = begin_phase(0, outputs);
  if (status.ok()) status = check_input_shapes();
  context_.began |= status.ok();
  if (status.ok()) status = run_steps();
  for (size_t i = 0; status.ok() && i < outputs.size(); ++i)  // a body's stay where they are, unless they must be copied
    if (const ValueIdx v = p.outputs[i].value; depth_ == 0 || lent(v)) status = to_host(v);
  const Status finished = finish_device("the end of the run");  // also after an error: nothing may be in flight
  if (status.ok()) status = finished;
  if (status.ok()) status = collect_outputs(outputs);
  if (depth_ == 0 && staged()) detach_outputs();
  release();
  return status;
}

Status Frame::bind_inputs(std::span<const Operand> inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    const PlanIo& io = plan_->plan->inputs[i];
    const auto v = static_cast<size_t>(io.value);
    const HostValue& given = *inputs[i].value;
    const auto* tensor = std::get_if<Tensor>(&given);
    const DType wanted = value(io.value).dtype;
    if (wanted != DType::kInvalid && (tensor == nullptr || tensor->dtype() != wanted))
      return error(Code::kInvalidArgument, "{} is given, {} is wanted", describe(given), name(wanted))
          .at(fmt::format("input {}", io.name));
    slots_[v] = given;
    data_[v] = tensor == nullptr ? nullptr : const_cast<std::byte*>(tensor->data());
    lent_inputs_[v] = inputs[i].lent;
    set_home(io.value, depth_ == 0 ? Home::kHost : Home::kDevice);
    Status bound = bind_shape(io.value, given);
    if (!bound.ok()) return std::move(bound).at(fmt::format("input {}", io.name));
  }
  return {};
}

Status Frame::run_steps() {
  const size_t count = plan_->plan->steps.size();
  for (size_t s = 0; s < count;) {
    const int32_t run = plan_->dispatch_run_of[s];
    TENON_RETURN_IF_ERROR(context_.interrupt.check());
    const PreparedPlan::DispatchRun* range = run < 0 ? nullptr : &plan_->dispatch_runs[static_cast<size_t>(run)];
    if (range == nullptr || (context_.observer != nullptr && !observes_together(*range))) {
      TENON_RETURN_IF_ERROR(run_step(s++));
      continue;
    }
    if (context_.device == nullptr) {
      TENON_RETURN_IF_ERROR(run_dispatches(static_cast<size_t>(run)));
    } else {
      TENON_RETURN_IF_ERROR(context_.observer == nullptr ? run_on_device(s, static_cast<size_t>(range->last), device_runs_[static_cast<size_t>(run)])
                                                         : observe_run(static_cast<size_t>(run)));
      release_after(static_cast<size_t>(range->last));
    }
    s = static_cast<size_t>(range->last) + 1;
  }
  return {};
}

Status Frame::run_step(size_t index) {
  TENON_RETURN_IF_ERROR(context_.observer == nullptr ? execute(index) : observe(index));
  release_after(index);
  return {};
}

void Frame::release_after(size_t index) {
  for (ValueIdx v : plan_->release_after[index]) {
    forget(v);
    data_[static_cast<size_t>(v)] = nullptr;
  }
}

Status Frame::execute(size_t index) {
  const Step& step = plan_->plan->steps[index];
  if (step.kind == Step::Kind::kDispatch) return dispatch(index);
  Status status = fetch_for(step);
  if (status.ok()) status = finish_device(step.node);
  if (!status.ok()) return status;
  switch (step.kind) {
    case Step::Kind::kIf: status = run_if(index); break;
    case Step::Kind::kLoop: status = run_loop(index); break;
    case Step::Kind::kScan: status = run_scan(index); break;
    default: status = call_host(index); break;
  }
  const int32_t phase = plan_->phase_after[index];
  if (status.ok() && phase >= 0) status = begin_phase(static_cast<size_t>(phase), outputs_);
  for (size_t i = 0; status.ok() && i < step.outputs.size(); ++i)
    if (value(step.outputs[i]).storage == Storage::kHost) status = check_shape(step.outputs[i], slot(step.outputs[i]));
  return status.ok() ? status : std::move(status).at(step.node);
}

Result<std::shared_ptr<Buffer>> Frame::allocate_for_output(size_t bytes) {
  return context_.device != nullptr ? context_.device->allocate(bytes) : context_.outputs->allocate(bytes);
}

Status Frame::call_host(size_t index) {
  const Step& step = plan_->plan->steps[index];
  StepState& st = state(index);
  st.operands.clear();
  TENON_RETURN_IF_ERROR(add_operands(step.inputs, st.operands));
  st.in.resize(step.inputs.size());
  st.out.resize(step.outputs.size());
  for (size_t i = 0; i < st.in.size(); ++i) st.in[i] = *st.operands[i].value;
  for (size_t i = 0; i < st.out.size(); ++i) {
    st.out[i] = std::monostate();
    if (value(step.outputs[i]).storage != Storage::kArena) continue;
    TENON_ASSIGN_OR_RETURN(const HostValue* target, host_value(step.outputs[i]));
    st.out[i] = *target;
  }
  HostCallContext call{st.in, st.out, symbols_, context_.executor, context_.max_threads, context_.interrupt, std::max<size_t>(context_.free_bytes(), 1)};
  Status status = step.host->call(call);
  for (size_t i = 0; status.ok() && i < st.out.size(); ++i) {
    const ValueIdx v = step.outputs[i];
    status = value(v).storage == Storage::kArena ? store_output(v, st.out[i])
                                                 : set_output(v, std::move(st.out[i]), st.operands, Home::kHost);
  }
  for (HostValue& in : st.in) clear(in);
  for (HostValue& out : st.out) out = std::monostate();
  return status;
}

// What a host function returns for an output in the arena is there already, or is copied there.
Status Frame::store_output(ValueIdx v, const HostValue& made) {
  const auto* tensor = std::get_if<Tensor>(&made);
  const size_t bytes = bytes_[static_cast<size_t>(v)];
  if (tensor == nullptr || tensor->dtype() != value(v).dtype || !shape_is(*tensor, v))
    return error(Code::kInternal, "{} was made for {}, which is {}[{}]", describe(made), value(v).name,
                 name(value(v).dtype), to_string(shape_of(v)));
  std::byte* target = data_[static_cast<size_t>(v)];
  if (bytes != 0 && tensor->data() != target) std::memmove(target, tensor->data(), bytes);
  set_home(v, Home::kHost);
  return {};
}

Result<const HostValue*> Frame::host_value(ValueIdx v) {
  const ValueIdx r = root(v);
  HostValue& held = slot(v);
  const bool in_arena = value(r).storage == Storage::kArena && plan_->output_of[static_cast<size_t>(r)] == -1;
  if (v == r && !in_arena) return &held;
  const auto* cached = std::get_if<Tensor>(&held);
  if (cached != nullptr && cached->defined() && value(v).ranked && cached->data() == data_[static_cast<size_t>(r)] &&
      shape_is(*cached, v))
    return &held;
  if (v == r) {
    const auto& arena = phases_[static_cast<size_t>(plan_->phase_of[static_cast<size_t>(v)])].arena;
    const auto offset = static_cast<size_t>(data_[static_cast<size_t>(v)] - arena->data());
    TENON_ASSIGN_OR_RETURN(Tensor view, Tensor::view(value(v).dtype, shape_of(v), arena, offset));
    held = std::move(view);
    return &held;
  }
  TENON_ASSIGN_OR_RETURN(const HostValue* base, host_value(r));
  const auto* tensor = std::get_if<Tensor>(base);
  if (tensor == nullptr || !value(v).ranked) {
    held = *base;
    return &held;
  }
  TENON_ASSIGN_OR_RETURN(Tensor view, tensor->reinterpreted(value(v).dtype, shape_of(v)));
  held = std::move(view);
  return &held;
}

bool Frame::lent(ValueIdx v) const {
  const auto r = static_cast<size_t>(root(v));
  const Storage storage = value(root(v)).storage;
  return (storage == Storage::kArena && plan_->output_of[r] == -1) || (storage == Storage::kInput && lent_inputs_[r]) || plan_->updated[r];
}

Status Frame::add_operands(std::span<const ValueIdx> values, std::vector<Operand>& operands) {
  static const HostValue absent;
  for (ValueIdx v : values) {
    if (v == -1) {
      operands.push_back({&absent, false});
      continue;
    }
    TENON_ASSIGN_OR_RETURN(const HostValue* operand, host_value(v));
    operands.push_back({operand, lent(v)});
  }
  return {};
}

Status Frame::set_output(ValueIdx v, HostValue made, std::span<const Operand> inputs, Home home) {
  const auto i = static_cast<size_t>(v);
  const bool unused = plan_->first_use[i] == plan_->last_use[i];
  if (std::holds_alternative<std::monostate>(made) && unused) return {};
  const auto* tensor = std::get_if<Tensor>(&made);
  if (value(v).dtype != DType::kInvalid && (tensor == nullptr || tensor->dtype() != value(v).dtype))
    return error(Code::kInternal, "{} was made for {}, which is {}", describe(made), value(v).name, name(value(v).dtype));
  for (const Operand& input : inputs) {
    const auto* source = std::get_if<Tensor>(input.value);
    if (!input.lent || source == nullptr) continue;
    if (home == Home::kDevice) TENON_RETURN_IF_ERROR(bring(*input.value));
    TENON_ASSIGN_OR_RETURN(made, copy_overlapping(made, source->data(), source->bytes()));
  }
  Status bound = bind_shape(v, made);
  if (!bound.ok()) return std::move(bound).at(fmt::format("value {}", value(v).name));
  forget(v);
  slot(v) = std::move(made);
  TENON_RETURN_IF_ERROR(context_.hold(held_[i], own_bytes(slot(v))));
  auto* kept = std::get_if<Tensor>(&slot(v));
  data_[i] = kept == nullptr ? nullptr : kept->mutable_data();
  set_home(v, home);
  return {};
}

Status Frame::collect_outputs(std::span<HostValue> outputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const ValueIdx v = plan_->plan->outputs[i].value;
    TENON_ASSIGN_OR_RETURN(const HostValue* made, host_value(v));
    const auto* tensor = std::get_if<Tensor>(made);
    auto* given = std::get_if<Tensor>(&outputs[i]);
    const auto r = static_cast<size_t>(root(v));
    const bool own = plan_->updated[r] && (value(root(v)).storage != Storage::kArena || plan_->output_of[r] != -1);
    if (!lent(v) || tensor == nullptr || own) {
      if (depth_ > 0) TENON_RETURN_IF_ERROR(to_device(v));
      outputs[i] = *made;
    } else if (given != nullptr && given->dtype() == tensor->dtype() && given->shape() == tensor->shape() &&
               given->unique() && tensor->dtype() != DType::kString) {
      std::copy_n(tensor->data(), tensor->bytes(), given->mutable_data());
      if (depth_ > 0 && staged() && context_.device->holds(given->data()))
        TENON_RETURN_IF_ERROR(context_.device->wrote({given->data(), given->bytes()}));
    } else {
      TENON_ASSIGN_OR_RETURN(Tensor copy, tensor->clone());
      outputs[i] = std::move(copy);
    }
  }
  return {};
}

void Frame::release() {
  for (ValueIdx v : plan_->transient) forget(v);
  outputs_ = {};
}

void Frame::forget(ValueIdx v) {
  clear(slot(v));
  size_t& held = held_[static_cast<size_t>(v)];
  context_.held_bytes -= held;
  held = 0;
}

Frame::StepState& Frame::state(size_t index) {
  if (states_[index] == nullptr) states_[index] = std::make_unique<StepState>();
  return *states_[index];
}

Frame& Frame::body(size_t index, size_t which) {
  auto& frame = state(index).bodies[which];
  if (frame == nullptr) {
    const bool repeated = plan_->plan->steps[index].kind != Step::Kind::kIf;
    frame = std::make_unique<Frame>(plan_->sub_plans[index][which], context_, repeated, depth_ + 1);
  }
  return *frame;
}

}  // namespace tenon::runtime
