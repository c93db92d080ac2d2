#include <algorithm>
#include <utility>

#include "runtime/frame.h"
#include "runtime/frame_state.h"
#include "runtime/host_values.h"
#include "support/axis.h"

namespace tenon::runtime {
namespace {

// A tensor of one element in the rank that a body declares for it.
Shape unit_shape(const Plan& body, size_t input) {
  const PlanValue& formal = body.values[static_cast<size_t>(body.inputs[input].value)];
  return Shape(formal.ranked ? formal.dims.size() : 0, 1);
}

Status ensure_tensor(HostValue& held, DType dtype, Shape shape) {
  auto* tensor = std::get_if<Tensor>(&held);
  if (tensor != nullptr && tensor->unique() && tensor->dtype() == dtype && tensor->shape() == shape) return {};
  TENON_ASSIGN_OR_RETURN(Tensor made, Tensor::empty(dtype, std::move(shape)));
  held = std::move(made);
  return {};
}

}  // namespace

Status Frame::run_if(size_t index) {
  const Step& step = plan_->plan->steps[index];
  StepState& st = state(index);
  TENON_ASSIGN_OR_RETURN(const HostValue* condition, step.inputs[0] == -1 ? Result<const HostValue*>(&st.condition)
                                                                          : host_value(step.inputs[0]));
  TENON_ASSIGN_OR_RETURN(const int64_t taken, scalar_int(*condition, "condition"));
  const size_t branch = taken != 0 ? 0 : 1;
  st.operands.clear();
  TENON_RETURN_IF_ERROR(add_operands(step.captures[branch], st.operands));
  st.results[branch].resize(step.outputs.size());
  TENON_RETURN_IF_ERROR(context_.hold(st.held[branch], 0));  // the body writes over them
  TENON_RETURN_IF_ERROR(body(index, branch).run(st.operands, symbols_, st.results[branch]));
  TENON_RETURN_IF_ERROR(hold_results(index, branch));
  for (size_t i = 0; i < step.outputs.size(); ++i)
    TENON_RETURN_IF_ERROR(set_output(step.outputs[i], st.results[branch][i], {}));
  return {};
}

Status Frame::hold_results(size_t index, size_t turn) {
  StepState& st = state(index);
  size_t bytes = 0;
  for (const HostValue& result : st.results[turn]) bytes += own_bytes(result);
  return context_.hold(st.held[turn], bytes);
}

Status Frame::own_updated(size_t index, size_t first_in, size_t first_out, size_t carried) {
  const PreparedPlan& body_plan = *plan_->sub_plans[index][0];
  StepState& st = state(index);
  std::vector<HostValue>& made = st.results[st.turn ^ 1];
  st.own.resize(carried);
  for (size_t i = 0; i < carried; ++i) {
    const ValueIdx input = body_plan.plan->inputs[first_in + i].value;
    if (!body_plan.updated[static_cast<size_t>(input)]) continue;
    Operand& operand = st.operands[first_in + i];
    HostValue& own = st.own[i];
    if (first_out + i < made.size() && operand.value == &made[first_out + i]) own = std::exchange(made[first_out + i], HostValue());
    else own = *operand.value;
    auto* tensor = std::get_if<Tensor>(&own);
    if (tensor != nullptr && tensor->defined() && !tensor->unique()) {
      TENON_RETURN_IF_ERROR(context_.hold(st.held[3], st.held[3] + tensor->bytes()));
      TENON_ASSIGN_OR_RETURN(*tensor, tensor->clone());
    }
    operand = {&own, false};
  }
  return {};
}

Status Frame::iterate(size_t index, size_t first_in, size_t first_out, size_t carried) {
  StepState& st = state(index);
  std::vector<HostValue>& results = st.results[st.turn];
  results.resize(plan_->sub_plans[index][0]->plan->outputs.size());
  TENON_RETURN_IF_ERROR(context_.hold(st.held[st.turn], 0));  // the body writes over them
  Status ran = own_updated(index, first_in, first_out, carried);
  if (ran.ok()) ran = body(index, 0).run(st.operands, symbols_, results);
  for (HostValue& own : st.own) own = HostValue();
  TENON_RETURN_IF_ERROR(context_.hold(st.held[3], 0));
  TENON_RETURN_IF_ERROR(ran);
  TENON_RETURN_IF_ERROR(hold_results(index, static_cast<size_t>(st.turn)));
  for (size_t i = 0; i < carried; ++i) st.operands[first_in + i] = {&results[first_out + i], false};
  size_t stacked_bytes = 0;
  for (size_t i = 0; i < st.stacks.size(); ++i) {
    TENON_RETURN_IF_ERROR(bring(results[first_out + carried + i]));
    TENON_RETURN_IF_ERROR(st.stacks[i].append(results[first_out + carried + i], context_.free_bytes()));
    stacked_bytes += st.stacks[i].bytes();
    if (stacked_bytes > st.held[2]) TENON_RETURN_IF_ERROR(context_.hold(st.held[2], stacked_bytes));
  }
  st.turn ^= 1;
  return {};
}

Status Frame::finish_iterations(size_t index, size_t first_in, size_t carried) {
  const Step& step = plan_->plan->steps[index];
  StepState& st = state(index);
  for (size_t i = 0; i < carried; ++i) {
    const Operand last = st.operands[first_in + i];  // after no iteration at all, the initial value
    TENON_RETURN_IF_ERROR(set_output(step.outputs[i], *last.value, {&last, 1}));
  }
  for (size_t i = 0; i < st.stacks.size(); ++i) {
    TENON_ASSIGN_OR_RETURN(Tensor joined, stacked(index, i, carried + i));
    TENON_RETURN_IF_ERROR(set_output(step.outputs[carried + i], std::move(joined), {}));
  }
  return {};
}

// After no iteration, the shape is what the plan knows of it, and 0 where it knows nothing.
Result<Tensor> Frame::stacked(size_t index, size_t which, size_t output) {
  const Step& step = plan_->plan->steps[index];
  const Stack& stack = state(index).stacks[which];
  const bool scan = step.kind == Step::Kind::kScan;
  const int64_t axis = scan ? step.scan_output_axes[which] : 0;
  if (stack.count() > 0) return stack.join(axis, scan && step.scan_output_directions[which] != 0);
  const PlanValue& declared = value(step.outputs[output]);
  const Plan& body_plan = *step.plans[0];
  const size_t body_output = output + (scan ? 0 : 1);
  const PlanValue& inner = body_plan.values[static_cast<size_t>(body_plan.outputs[body_output].value)];
  Shape shape;
  for (DimId d : declared.dims) {
    const DimProgram::Inst& inst = plan_->plan->dims.insts[static_cast<size_t>(d)];
    int64_t size = 0;
    if (inst.op == DimProgram::Op::kConst) size = inst.imm;
    if (inst.op == DimProgram::Op::kSymbol) size = symbols_[static_cast<size_t>(inst.imm)].value_or(0);
    shape.push_back(size);
  }
  if (!declared.ranked) shape.push_back(0);
  if (const auto at = normalize_axis(axis, std::ssize(shape)); at.ok()) shape[static_cast<size_t>(*at)] = 0;
  return Tensor::empty(declared.dtype != DType::kInvalid ? declared.dtype : inner.dtype, std::move(shape));
}

Status Frame::run_loop(size_t index) {
  const Step& step = plan_->plan->steps[index];
  const Plan& body_plan = *step.plans[0];
  StepState& st = state(index);
  const size_t carried = step.inputs.size() - 2;
  st.operands.clear();
  TENON_RETURN_IF_ERROR(add_operands(step.inputs, st.operands));
  TENON_RETURN_IF_ERROR(add_operands(step.captures[0], st.operands));
  int64_t trips = INT64_MAX, going = 1;
  if (step.inputs[0] != -1) {
    TENON_ASSIGN_OR_RETURN(trips, scalar_int(*st.operands[0].value, "trip count"));
  }
  if (step.inputs[1] != -1) {
    TENON_ASSIGN_OR_RETURN(going, scalar_int(*st.operands[1].value, "condition"));
  }
  TENON_RETURN_IF_ERROR(ensure_tensor(st.iteration, DType::kI64, unit_shape(body_plan, 0)));
  TENON_RETURN_IF_ERROR(ensure_tensor(st.condition, DType::kBool, unit_shape(body_plan, 1)));
  st.operands[0] = {&st.iteration, true};
  st.operands[1] = {&st.condition, true};
  st.stacks.resize(step.outputs.size() - carried);
  for (Stack& stack : st.stacks) stack.restart();
  for (int64_t i = 0; i < trips && going != 0; ++i) {
    if (i >= context_.max_loop_trips)
      return error(Code::kResourceExhausted, "more than {} iterations", context_.max_loop_trips)
          .with_hint("raise the session's limit of loop trips if the model means it");
    TENON_RETURN_IF_ERROR(context_.interrupt.check());
    std::get<Tensor>(st.iteration).set_int(0, i);
    std::get<Tensor>(st.condition).set_int(0, going);
    TENON_RETURN_IF_ERROR(iterate(index, 2, 1, carried));
    TENON_RETURN_IF_ERROR(bring(st.results[st.turn ^ 1][0]));
    TENON_ASSIGN_OR_RETURN(going, scalar_int(st.results[st.turn ^ 1][0], "condition"));
  }
  return finish_iterations(index, 2, carried);
}

Status Frame::fill_slices(size_t index, size_t first, int64_t step_number, int64_t length) {
  const Step& step = plan_->plan->steps[index];
  StepState& st = state(index);
  for (size_t k = 0; k < st.in.size(); ++k) {
    TENON_ASSIGN_OR_RETURN(const HostValue* scanned, host_value(step.inputs[first + k]));
    const Tensor& source = std::get<Tensor>(*scanned);
    TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(step.scan_input_axes[k], source.rank()));
    auto* slice = std::get_if<Tensor>(&st.in[k]);
    if (step_number == 0 || slice == nullptr || !slice->unique()) {
      Shape shape = source.shape();
      shape.erase(shape.begin() + axis);
      TENON_RETURN_IF_ERROR(ensure_tensor(st.in[k], source.dtype(), std::move(shape)));
      slice = std::get_if<Tensor>(&st.in[k]);
    }
    const int64_t at = step.scan_input_directions[k] != 0 ? length - 1 - step_number : step_number;
    TENON_RETURN_IF_ERROR(copy_slice(source, axis, at, *slice));
  }
  return {};
}

Status Frame::run_scan(size_t index) {
  const Step& step = plan_->plan->steps[index];
  StepState& st = state(index);
  const auto scans = static_cast<size_t>(step.num_scan_inputs);
  const size_t states = step.inputs.size() - scans;
  st.operands.clear();
  TENON_RETURN_IF_ERROR(add_operands(step.inputs, st.operands));
  TENON_RETURN_IF_ERROR(add_operands(step.captures[0], st.operands));
  int64_t length = -1;
  for (size_t k = 0; k < scans; ++k) {
    const auto* source = std::get_if<Tensor>(st.operands[states + k].value);
    const auto axis = normalize_axis(step.scan_input_axes[k], source == nullptr ? 0 : source->rank());
    if (!axis.ok())
      return error(Code::kInvalidModel, "scan input {} is {}, which has no axis {}", k,
                   describe(*st.operands[states + k].value), step.scan_input_axes[k]);
    const int64_t size = source->dim(*axis);
    if (length != -1 && size != length)
      return error(Code::kInvalidModel, "scan inputs have lengths {} and {}", length, size);
    length = size;
  }
  st.in.resize(scans);
  for (size_t k = 0; k < scans; ++k) st.operands[states + k] = {&st.in[k], false};
  st.stacks.resize(step.outputs.size() - states);
  for (Stack& stack : st.stacks) stack.restart();
  for (int64_t i = 0; i < length; ++i) {
    TENON_RETURN_IF_ERROR(context_.interrupt.check());
    TENON_RETURN_IF_ERROR(fill_slices(index, states, i, length));
    TENON_RETURN_IF_ERROR(iterate(index, 0, 0, states));
  }
  return finish_iterations(index, 0, states);
}

}  // namespace tenon::runtime
