#include <algorithm>

#include "runtime/preparer.h"

namespace tenon::runtime {

Status Preparer::check_dims() {
  const DimProgram& dims = plan().dims;
  for (size_t i = 0; i < dims.insts.size(); ++i) {
    const DimProgram::Inst& inst = dims.insts[i];
    if (inst.op == DimProgram::Op::kConst) continue;
    if (inst.op == DimProgram::Op::kSymbol) {
      if (!in_range(inst.imm, static_cast<size_t>(std::max(dims.num_symbols, 0)))) return bad_plan("dim {} reads no symbol", i);
      continue;
    }
    if (inst.op > DimProgram::Op::kMax) return bad_plan("dim {} has an unknown operation", i);
    if (!in_range(inst.a, i) || !in_range(inst.b, i)) return bad_plan("dim {} uses a later one", i);
  }
  for (const DimCheck& check : plan().checks)
    if (!is_dim(check.a) || !is_dim(check.b) || check.kind > DimCheck::Kind::kBroadcast) return bad_plan("a check reads no dim");
  return {};
}

bool Preparer::is_order(const PlanValue& value) {
  std::vector<int32_t> axes = value.order;
  std::sort(axes.begin(), axes.end());
  for (size_t i = 0; i < axes.size(); ++i)
    if (axes[i] != static_cast<int32_t>(i)) return false;
  return value.ranked && axes.size() == value.dims.size();
}

Status Preparer::check_values() {
  for (const PlanValue& v : plan().values) {
    if (v.storage > Storage::kHost || v.dtype >= DType::kCount) return bad_plan("value {} has an unknown kind", v.name);
    for (DimId d : v.dims)
      if (!is_dim(d)) return bad_plan("value {} has an unknown dim", v.name);
    if (v.storage == Storage::kArena && (!v.ranked || bits(v.dtype) == 0))
      return bad_plan("value {} cannot live in the arena", v.name);
    if (v.storage == Storage::kAlias && !is_value(v.alias_of)) return bad_plan("value {} is an alias of nothing", v.name);
    if (!v.order.empty() && !is_order(v)) return bad_plan("value {} is stored in no order of its axes", v.name);
    if (v.storage == Storage::kConstant && v.ranked && !std::holds_alternative<Tensor>(v.constant))
      return bad_plan("constant {} has no value", v.name);
  }
  return {};
}

Status Preparer::check_dispatch(const Step& step) {
  if (plan().kernels == nullptr || !in_range(step.kernel, plan().kernels->size()))
    return bad_plan("step {} has no kernel", step.node);
  const PlanKernel& kernel = (*plan().kernels)[static_cast<size_t>(step.kernel)];
  if (step.bindings.size() != static_cast<size_t>(kernel.num_bindings) || kernel.access.size() != step.bindings.size() ||
      step.kernel_dims.size() != static_cast<size_t>(kernel.num_dims))
    return bad_plan("step {} does not fit its kernel {}", step.node, kernel.name);
  for (ValueIdx v : step.bindings)
    if (!is_value(v) || !value(v).ranked) return bad_plan("step {} binds no tensor", step.node);
  for (DimId d : step.kernel_dims)
    if (!is_dim(d)) return bad_plan("step {} has an unknown dim", step.node);
  if (!is_dim(step.grid) || (step.work != -1 && !is_dim(step.work)) || (step.updates != -1 && !is_dim(step.updates)))
    return bad_plan("step {} has no extent", step.node);
  out_->max_dims = std::max(out_->max_dims, step.kernel_dims.size());
  return {};
}

Status Preparer::check_sub_plans(const Step& step, size_t index) {
  std::vector<ValueIdx> operands = step.inputs;
  for (const std::vector<ValueIdx>& captures : step.captures) operands.insert(operands.end(), captures.begin(), captures.end());
  operands.insert(operands.end(), step.outputs.begin(), step.outputs.end());
  for (ValueIdx v : operands)
    if (is_value(v) && !value(v).order.empty()) return bad_plan("step {} hands over value {}, which is not row-major", step.node, value(v).name);
  const size_t wanted = step.kind == Step::Kind::kIf ? 2 : 1;
  if (step.plans.size() != wanted || step.captures.size() != wanted) return bad_plan("step {} lacks a body", step.node);
  for (size_t p = 0; p < wanted; ++p) {
    for (ValueIdx v : step.captures[p])
      if (!is_value(v)) return bad_plan("step {} captures no value", step.node);
    TENON_ASSIGN_OR_RETURN(auto body, prepare_nested(step.plans[p], depth_ + 1));
    out_->sub_plans[index].push_back(std::move(body));
  }
  const Plan& body = *step.plans[0];
  const size_t inputs = step.inputs.size(), captures = step.captures[0].size(), outputs = step.outputs.size();
  const auto fits = [](const Plan& p, size_t in, size_t out) { return p.inputs.size() == in && p.outputs.size() == out; };
  bool good = false;
  if (step.kind == Step::Kind::kIf) {
    good = inputs == 1 && fits(body, captures, outputs) && fits(*step.plans[1], step.captures[1].size(), outputs);
  } else if (step.kind == Step::Kind::kLoop) {
    good = inputs >= 2 && outputs >= inputs - 2 && fits(body, inputs + captures, outputs + 1);
  } else {
    const auto scans = static_cast<size_t>(std::max(step.num_scan_inputs, 0));
    good = step.num_scan_inputs > 0 && inputs >= scans && outputs >= inputs - scans &&
           fits(body, inputs + captures, outputs) && step.scan_input_axes.size() == scans &&
           step.scan_input_directions.size() == scans &&
           step.scan_output_axes.size() == outputs - (inputs - scans) &&
           step.scan_output_directions.size() == step.scan_output_axes.size();
  }
  return good ? Status() : bad_plan("step {} does not fit its body", step.node);
}

Status Preparer::check_step(size_t index) {
  out_->sub_plans.resize(plan().steps.size());
  const Step& step = plan().steps[index];
  const bool dispatch = step.kind == Step::Kind::kDispatch;
  const bool calls = !step.inputs.empty() || !step.outputs.empty() || !step.captures.empty();
  const bool dispatches = !step.bindings.empty() || !step.kernel_dims.empty() || step.work != -1 || step.updates != -1;
  if (dispatch ? calls : dispatches) return bad_plan("step {} has operands of another kind of step", step.node);
  if (dispatch) return check_dispatch(step);
  if (step.kind > Step::Kind::kScan) return bad_plan("step {} has an unknown kind", step.node);
  for (ValueIdx v : step.inputs)
    if (v != -1 && !is_value(v)) return bad_plan("step {} reads no value", step.node);
  for (ValueIdx v : step.outputs) {
    if (!is_value(v)) return bad_plan("step {} writes no value", step.node);
    const Storage storage = value(v).storage;
    if (storage != Storage::kHost && (storage != Storage::kArena || step.kind != Step::Kind::kHostCall))
      return bad_plan("step {} cannot write value {}", step.node, value(v).name);
  }
  if (step.kind != Step::Kind::kHostCall) return check_sub_plans(step, index);
  return step.host == nullptr ? bad_plan("step {} has no host function", step.node) : Status();
}

// Nothing may need a dim, or memory whose size is a dim, before the dim is known.
Status Preparer::check_order() {
  for (size_t s = 0; s < plan().steps.size(); ++s) {
    const Step& step = plan().steps[s];
    const auto at = static_cast<int32_t>(s);
    bool good = true;
    for (DimId d : step.kernel_dims) good &= date(d) < at;
    if (step.kind == Step::Kind::kDispatch) good &= date(step.grid) < at && (step.work == -1 || date(step.work) < at) && (step.updates == -1 || date(step.updates) < at);
    for (ValueIdx v : step.bindings) good &= date_of(v) < at && date_of(root(v)) < at;
    for (ValueIdx v : step.outputs) good &= value(v).storage != Storage::kArena || date_of(v) < at;
    if (!good) return bad_plan("step {} needs a dim before it is known", step.node);
  }
  return {};
}

}  // namespace tenon::runtime
