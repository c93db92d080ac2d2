#include "runtime/prepare.h"

#include <algorithm>

namespace tenon::runtime {
namespace {

constexpr int kMaxNesting = 256;
constexpr int32_t kEntry = -1;

template <class T>
bool in_range(T index, size_t count) {
  return index >= 0 && static_cast<size_t>(index) < count;
}

template <class... Args>
Status bad(fmt::format_string<Args...> format, Args&&... args) {
  return Status(Code::kInvalidArgument, fmt::format(format, std::forward<Args>(args)...), "plan",
                "compile the model again");
}

Result<std::shared_ptr<const PreparedPlan>> prepare_nested(std::shared_ptr<const Plan> plan, int depth);

class Preparer {
 public:
  Preparer(std::shared_ptr<const Plan> plan, int depth) : out_(std::make_shared<PreparedPlan>()), depth_(depth) {
    out_->plan = std::move(plan);
  }

  Result<std::shared_ptr<const PreparedPlan>> run() {
    TENON_RETURN_IF_ERROR(check_dims());
    TENON_RETURN_IF_ERROR(check_values());
    for (size_t s = 0; s < plan().steps.size(); ++s) TENON_RETURN_IF_ERROR(check_step(s));
    TENON_RETURN_IF_ERROR(find_roots());
    find_updated();
    TENON_RETURN_IF_ERROR(check_io());
    date_dims();
    find_live_ranges();
    find_final_values();
    make_phases();
    TENON_RETURN_IF_ERROR(check_order());
    find_dispatch_runs();
    return std::shared_ptr<const PreparedPlan>(out_);
  }

 private:
  const Plan& plan() const { return *out_->plan; }
  const PlanValue& value(ValueIdx v) const { return plan().values[static_cast<size_t>(v)]; }
  ValueIdx root(ValueIdx v) const { return out_->root[static_cast<size_t>(v)]; }
  bool is_value(ValueIdx v) const { return in_range(v, plan().values.size()); }
  bool is_dim(DimId d) const { return in_range(d, plan().dims.insts.size()); }

  static bool is_order(const PlanValue& value);
  Status check_dims();
  Status check_values();
  Status check_step(size_t index);
  Status check_dispatch(const Step& step);
  Status check_sub_plans(const Step& step, size_t index);
  Status find_roots();
  void find_updated();
  Status check_io();
  void date_dims();
  void find_live_ranges();
  void find_final_values();
  void make_phases();
  size_t phase_at(int32_t after_step);
  Status check_order();
  void find_dispatch_runs();
  int32_t date(DimId d) const { return date_[static_cast<size_t>(d)]; }
  int32_t date_of(ValueIdx v) const {
    int32_t latest = kEntry;
    for (DimId d : value(v).dims) latest = std::max(latest, date(d));
    return latest;
  }

  std::shared_ptr<PreparedPlan> out_;
  int depth_;
  std::vector<int32_t> date_;  // by dim: the step after which it is known
};

Status Preparer::check_dims() {
  const DimProgram& dims = plan().dims;
  for (size_t i = 0; i < dims.insts.size(); ++i) {
    const DimProgram::Inst& inst = dims.insts[i];
    if (inst.op == DimProgram::Op::kConst) continue;
    if (inst.op == DimProgram::Op::kSymbol) {
      if (!in_range(inst.imm, static_cast<size_t>(std::max(dims.num_symbols, 0)))) return bad("dim {} reads no symbol", i);
      continue;
    }
    if (inst.op > DimProgram::Op::kMax) return bad("dim {} has an unknown operation", i);
    if (!in_range(inst.a, i) || !in_range(inst.b, i)) return bad("dim {} uses a later one", i);
  }
  for (const DimCheck& check : plan().checks)
    if (!is_dim(check.a) || !is_dim(check.b) || check.kind > DimCheck::Kind::kBroadcast) return bad("a check reads no dim");
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
    if (v.storage > Storage::kHost || v.dtype >= DType::kCount) return bad("value {} has an unknown kind", v.name);
    for (DimId d : v.dims)
      if (!is_dim(d)) return bad("value {} has an unknown dim", v.name);
    if (v.storage == Storage::kArena && (!v.ranked || bits(v.dtype) == 0))
      return bad("value {} cannot live in the arena", v.name);
    if (v.storage == Storage::kAlias && !is_value(v.alias_of)) return bad("value {} is an alias of nothing", v.name);
    if (!v.order.empty() && !is_order(v)) return bad("value {} is stored in no order of its axes", v.name);
    if (v.storage == Storage::kConstant && v.ranked && !std::holds_alternative<Tensor>(v.constant))
      return bad("constant {} has no value", v.name);
  }
  return {};
}

Status Preparer::check_dispatch(const Step& step) {
  if (plan().kernels == nullptr || !in_range(step.kernel, plan().kernels->size()))
    return bad("step {} has no kernel", step.node);
  const PlanKernel& kernel = (*plan().kernels)[static_cast<size_t>(step.kernel)];
  if (step.bindings.size() != static_cast<size_t>(kernel.num_bindings) || kernel.access.size() != step.bindings.size() ||
      step.kernel_dims.size() != static_cast<size_t>(kernel.num_dims))
    return bad("step {} does not fit its kernel {}", step.node, kernel.name);
  for (ValueIdx v : step.bindings)
    if (!is_value(v) || !value(v).ranked) return bad("step {} binds no tensor", step.node);
  for (DimId d : step.kernel_dims)
    if (!is_dim(d)) return bad("step {} has an unknown dim", step.node);
  if (!is_dim(step.grid) || (step.work != -1 && !is_dim(step.work)) || (step.updates != -1 && !is_dim(step.updates)))
    return bad("step {} has no extent", step.node);
  out_->max_dims = std::max(out_->max_dims, step.kernel_dims.size());
  return {};
}

Status Preparer::check_sub_plans(const Step& step, size_t index) {
  std::vector<ValueIdx> operands = step.inputs;
  for (const std::vector<ValueIdx>& captures : step.captures) operands.insert(operands.end(), captures.begin(), captures.end());
  operands.insert(operands.end(), step.outputs.begin(), step.outputs.end());
  for (ValueIdx v : operands)
    if (is_value(v) && !value(v).order.empty()) return bad("step {} hands over value {}, which is not row-major", step.node, value(v).name);
  const size_t wanted = step.kind == Step::Kind::kIf ? 2 : 1;
  if (step.plans.size() != wanted || step.captures.size() != wanted) return bad("step {} lacks a body", step.node);
  for (size_t p = 0; p < wanted; ++p) {
    for (ValueIdx v : step.captures[p])
      if (!is_value(v)) return bad("step {} captures no value", step.node);
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
  return good ? Status() : bad("step {} does not fit its body", step.node);
}

Status Preparer::check_step(size_t index) {
  out_->sub_plans.resize(plan().steps.size());
  const Step& step = plan().steps[index];
  const bool dispatch = step.kind == Step::Kind::kDispatch;
  const bool calls = !step.inputs.empty() || !step.outputs.empty() || !step.captures.empty();
  const bool dispatches = !step.bindings.empty() || !step.kernel_dims.empty() || step.work != -1 || step.updates != -1;
  if (dispatch ? calls : dispatches) return bad("step {} has operands of another kind of step", step.node);
  if (dispatch) return check_dispatch(step);
  if (step.kind > Step::Kind::kScan) return bad("step {} has an unknown kind", step.node);
  for (ValueIdx v : step.inputs)
    if (v != -1 && !is_value(v)) return bad("step {} reads no value", step.node);
  for (ValueIdx v : step.outputs) {
    if (!is_value(v)) return bad("step {} writes no value", step.node);
    const Storage storage = value(v).storage;
    if (storage != Storage::kHost && (storage != Storage::kArena || step.kind != Step::Kind::kHostCall))
      return bad("step {} cannot write value {}", step.node, value(v).name);
  }
  if (step.kind != Step::Kind::kHostCall) return check_sub_plans(step, index);
  return step.host == nullptr ? bad("step {} has no host function", step.node) : Status();
}

Status Preparer::find_roots() {
  const size_t count = plan().values.size();
  out_->root.resize(count);
  for (size_t i = 0; i < count; ++i) {
    auto v = static_cast<ValueIdx>(i);
    for (size_t hops = 0; value(v).storage == Storage::kAlias; ++hops) {
      if (hops == count) return bad("value {} is an alias of itself", value(v).name);
      v = value(v).alias_of;
    }
    out_->root[i] = v;
  }
  for (const Step& step : plan().steps)
    for (ValueIdx v : step.bindings)
      if (!value(root(v)).ranked || bits(value(root(v)).dtype) == 0)
        return bad("step {} binds value {}, whose memory has no fixed form", step.node, value(v).name);
  return {};
}

void Preparer::find_updated() {
  out_->updated.assign(plan().values.size(), false);
  for (const Step& step : plan().steps) {
    if (step.kind != Step::Kind::kDispatch) continue;
    const PlanKernel& kernel = (*plan().kernels)[static_cast<size_t>(step.kernel)];
    for (size_t b = 0; b < step.bindings.size(); ++b)
      if (const ValueIdx r = root(step.bindings[b]); writes(kernel.access[b]) && (value(r).storage == Storage::kInput || step.bindings[b] != r)) out_->updated[static_cast<size_t>(r)] = true;
  }
}

Status Preparer::check_io() {
  out_->output_of.assign(plan().values.size(), -1);
  for (const PlanIo& io : plan().inputs)
    if (!is_value(io.value) || value(io.value).storage != Storage::kInput || !value(io.value).order.empty())
      return bad("input {} has no row-major value", io.name);
  for (size_t i = 0; i < plan().outputs.size(); ++i) {
    const PlanIo& io = plan().outputs[i];
    if (!is_value(io.value) || !value(io.value).order.empty()) return bad("output {} has no row-major value", io.name);
    const ValueIdx owner = root(io.value);
    int32_t& output = out_->output_of[static_cast<size_t>(owner)];
    if (value(owner).storage == Storage::kArena && output == -1) output = static_cast<int32_t>(i);
  }
  for (size_t i = 0; i < plan().values.size(); ++i) {
    const auto v = static_cast<ValueIdx>(i);
    const Storage storage = value(root(v)).storage;
    const bool in_arena = storage == Storage::kArena && out_->output_of[static_cast<size_t>(root(v))] == -1;
    if (!in_arena && storage != Storage::kConstant) out_->transient.push_back(v);
  }
  return {};
}

void Preparer::date_dims() {
  const DimProgram& dims = plan().dims;
  constexpr int32_t kUnbound = -2;
  std::vector<int32_t> symbol_date(static_cast<size_t>(std::max(dims.num_symbols, 0)), kUnbound);
  const auto bind = [&](ValueIdx v, int32_t step) {
    for (DimId d : value(v).dims) {
      const DimProgram::Inst& inst = dims.insts[static_cast<size_t>(d)];
      if (inst.op != DimProgram::Op::kSymbol) continue;
      int32_t& date = symbol_date[static_cast<size_t>(inst.imm)];
      if (date == kUnbound) date = step;
    }
  };
  for (const PlanIo& io : plan().inputs) bind(io.value, kEntry);
  for (size_t s = 0; s < plan().steps.size(); ++s)
    for (ValueIdx v : plan().steps[s].outputs)
      if (value(v).storage == Storage::kHost) bind(v, static_cast<int32_t>(s));
  date_.resize(dims.insts.size());
  for (size_t i = 0; i < dims.insts.size(); ++i) {
    const DimProgram::Inst& inst = dims.insts[i];
    if (inst.op == DimProgram::Op::kConst) date_[i] = kEntry;
    else if (inst.op == DimProgram::Op::kSymbol)  // what nobody here binds comes from the enclosing plan
      date_[i] = std::max(symbol_date[static_cast<size_t>(inst.imm)], kEntry);
    else date_[i] = std::max(date(inst.a), date(inst.b));
  }
}

void Preparer::find_live_ranges() {
  const size_t count = plan().values.size();
  const auto steps = static_cast<int32_t>(plan().steps.size());
  out_->first_use.assign(count, steps);
  out_->last_use.assign(count, kEntry);
  const auto extend = [&](ValueIdx v, int32_t step) {
    const auto r = static_cast<size_t>(root(v));
    out_->first_use[r] = std::min(out_->first_use[r], step);
    out_->last_use[r] = std::max(out_->last_use[r], step);
  };
  for (size_t s = 0; s < plan().steps.size(); ++s) {
    const Step& step = plan().steps[s];
    const auto at = static_cast<int32_t>(s);
    for (const auto* list : {&step.bindings, &step.inputs, &step.outputs})
      for (ValueIdx v : *list)
        if (v != -1) extend(v, at);
    for (const auto& captures : step.captures)
      for (ValueIdx v : captures) extend(v, at);
  }
  for (const PlanIo& io : plan().outputs) extend(io.value, steps);
  out_->release_after.resize(plan().steps.size());
  for (size_t v = 0; v < count; ++v) {
    const int32_t last = out_->last_use[v];
    if (plan().values[v].storage == Storage::kHost && last >= 0 && last < steps)
      out_->release_after[static_cast<size_t>(last)].push_back(static_cast<ValueIdx>(v));
  }
}

// An alias whose shape becomes known after its bytes are there counts from then on, if somebody still needs them.
void Preparer::find_final_values() {
  const size_t count = plan().values.size();
  std::vector<int32_t> written(count, kEntry);
  for (size_t s = 0; s < plan().steps.size(); ++s) {
    const Step& step = plan().steps[s];
    for (ValueIdx v : step.outputs) written[static_cast<size_t>(root(v))] = static_cast<int32_t>(s);
    if (step.kind != Step::Kind::kDispatch) continue;
    const PlanKernel& kernel = (*plan().kernels)[static_cast<size_t>(step.kernel)];
    for (size_t b = 0; b < step.bindings.size(); ++b)
      if (writes(kernel.access[b])) written[static_cast<size_t>(root(step.bindings[b]))] = static_cast<int32_t>(s);
  }
  out_->final_after.resize(plan().steps.size());
  for (size_t i = 0; i < count; ++i) {
    const auto v = static_cast<ValueIdx>(i);
    const auto r = static_cast<size_t>(root(v));
    if (written[r] == kEntry) continue;
    const int32_t when = value(v).storage == Storage::kAlias ? std::max(written[r], date_of(v)) : written[r];
    if (when <= out_->last_use[r] && static_cast<size_t>(when) < plan().steps.size())
      out_->final_after[static_cast<size_t>(when)].push_back(v);
  }
}

size_t Preparer::phase_at(int32_t after_step) {
  return after_step == kEntry ? 0 : static_cast<size_t>(out_->phase_after[static_cast<size_t>(after_step)]);
}

void Preparer::make_phases() {
  std::vector<int32_t> dates = date_;
  dates.push_back(kEntry);
  std::sort(dates.begin(), dates.end());
  dates.erase(std::unique(dates.begin(), dates.end()), dates.end());
  out_->phase_after.assign(plan().steps.size(), -1);
  for (const Step& step : plan().steps) out_->work_known.push_back(step.work != -1 && date(step.work) == kEntry);
  for (int32_t when : dates) {
    if (when != kEntry) out_->phase_after[static_cast<size_t>(when)] = static_cast<int32_t>(out_->phases.size());
    out_->phases.emplace_back().after_step = when;
  }
  auto& phases = out_->phases;
  for (size_t i = 0; i < date_.size(); ++i) {
    auto& phase = phases[phase_at(date_[i])];
    phase.insts.push_back(static_cast<DimId>(i));
    const DimProgram::Inst& inst = plan().dims.insts[i];
    if (inst.op == DimProgram::Op::kSymbol) phase.symbols.push_back(static_cast<int32_t>(inst.imm));
  }
  out_->phase_of.assign(plan().values.size(), -1);
  for (size_t i = 0; i < plan().values.size(); ++i) {
    const auto v = static_cast<ValueIdx>(i);
    if (!value(v).ranked) continue;
    const int32_t known = date_of(v);
    out_->phase_of[i] = static_cast<int32_t>(phase_at(known));
    phases[phase_at(known)].shapes.push_back(v);
    if (value(v).storage == Storage::kAlias && value(root(v)).ranked)
      phases[phase_at(std::max(known, date_of(root(v))))].aliases.push_back(v);
    const Storage owner_storage = value(root(v)).storage;
    const bool in_arena = owner_storage == Storage::kArena && out_->output_of[static_cast<size_t>(root(v))] == -1;
    if (in_arena || (owner_storage == Storage::kConstant && v != root(v))) {
      const size_t own = phase_at(known), owner = phase_at(date_of(root(v)));
      phases[own].views.push_back(v);
      if (owner != own) phases[owner].views.push_back(v);
    }
    if (value(v).storage != Storage::kArena) continue;
    const int32_t output = out_->output_of[i];
    if (output != -1) phases[phase_at(known)].outputs.push_back(output);
    else phases[phase_at(known)].arena.push_back(v);
  }
  for (size_t i = 0; i < plan().checks.size(); ++i) {
    const DimCheck& check = plan().checks[i];
    phases[phase_at(std::max(date(check.a), date(check.b)))].checks.push_back(static_cast<int32_t>(i));
  }
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
    if (!good) return bad("step {} needs a dim before it is known", step.node);
  }
  return {};
}

// A run ends where host values are to be released.
void Preparer::find_dispatch_runs() {
  out_->dispatch_run_of.assign(plan().steps.size(), -1);
  int32_t phase = 0;
  bool open = false;
  for (size_t s = 0; s < plan().steps.size(); ++s) {
    const auto at = static_cast<int32_t>(s);
    if (plan().steps[s].kind == Step::Kind::kDispatch) {
      if (!open) out_->dispatch_runs.push_back({at, at, phase});
      out_->dispatch_runs.back().last = at;
      out_->dispatch_run_of[s] = static_cast<int32_t>(out_->dispatch_runs.size()) - 1;
    }
    open = plan().steps[s].kind == Step::Kind::kDispatch && out_->release_after[s].empty();
    if (out_->phase_after[s] >= 0) phase = out_->phase_after[s];
  }
}

Result<std::shared_ptr<const PreparedPlan>> prepare_nested(std::shared_ptr<const Plan> plan, int depth) {
  if (plan == nullptr) return bad("a body is missing");
  if (depth > kMaxNesting) return bad("bodies are nested more than {} deep", kMaxNesting);
  return Preparer(std::move(plan), depth).run();
}

}  // namespace

Result<std::shared_ptr<const PreparedPlan>> prepare(std::shared_ptr<const Plan> plan) {
  return prepare_nested(std::move(plan), 0);
}

}  // namespace tenon::runtime
