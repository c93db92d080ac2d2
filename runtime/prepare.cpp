#include "runtime/preparer.h"

#include <algorithm>

namespace tenon::runtime {
namespace {

constexpr int kMaxNesting = 256;

}  // namespace

Status Preparer::find_roots() {
  const size_t count = plan().values.size();
  out_->root.resize(count);
  for (size_t i = 0; i < count; ++i) {
    auto v = static_cast<ValueIdx>(i);
    for (size_t hops = 0; value(v).storage == Storage::kAlias; ++hops) {
      if (hops == count) return bad_plan("value {} is an alias of itself", value(v).name);
      v = value(v).alias_of;
    }
    out_->root[i] = v;
  }
  for (const Step& step : plan().steps)
    for (ValueIdx v : step.bindings)
      if (!value(root(v)).ranked || bits(value(root(v)).dtype) == 0)
        return bad_plan("step {} binds value {}, whose memory has no fixed form", step.node, value(v).name);
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
      return bad_plan("input {} has no row-major value", io.name);
  for (size_t i = 0; i < plan().outputs.size(); ++i) {
    const PlanIo& io = plan().outputs[i];
    if (!is_value(io.value) || !value(io.value).order.empty()) return bad_plan("output {} has no row-major value", io.name);
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
  if (plan == nullptr) return bad_plan("a body is missing");
  if (depth > kMaxNesting) return bad_plan("bodies are nested more than {} deep", kMaxNesting);
  return Preparer(std::move(plan), depth).run();
}

Result<std::shared_ptr<const PreparedPlan>> prepare(std::shared_ptr<const Plan> plan) {
  return prepare_nested(std::move(plan), 0);
}

}  // namespace tenon::runtime
