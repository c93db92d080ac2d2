#include "codegen/plan/build.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "codegen/lower/lower.h"
#include "codegen/plan/dim_emitter.h"
#include "codegen/plan/dim_facts.h"
#include "codegen/plan/row_major_call.h"
#include "ir/op.h"
#include "ir/storage_order.h"
#include "passes/rounded_factors.h"
#include "runtime/storage_order.h"

namespace tenon::codegen {
namespace {

using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::Value;
using runtime::DimId;
using runtime::Plan;
using runtime::PlanValue;
using runtime::Step;
using runtime::Storage;
using runtime::ValueIdx;

std::string node_name(const Node& node) {
  if (!node.name().empty()) return node.name();
  return fmt::format("{} {}", node.op_name(), node.num_outputs() > 0 ? node.output()->name() : "");
}

/// A constant's tensor as kernels read it: see PlanValue::order.
Result<Tensor> stored_constant(const Value& value) {
  const std::vector<int> order = ir::storage_order(value);
  const std::vector<int32_t> axes(order.begin(), order.end());
  return axes.empty() ? *ir::constant_of(&value) : runtime::to_storage_order(*ir::constant_of(&value), axes);
}

bool encloses(const Node& node, const Graph* graph) {
  for (; graph != nullptr; graph = graph->parent() == nullptr ? nullptr : graph->parent()->graph())
    if (graph->parent() == &node) return true;
  return false;
}

// Values of enclosing graphs that the regions of `node` use.
std::vector<const Value*> captures_of(const Node& node) {
  std::vector<const Value*> found;
  std::unordered_set<const Value*> seen;
  const auto add = [&](const Value* v) {
    if (v != nullptr && !encloses(node, v->graph()) && seen.insert(v).second) found.push_back(v);
  };
  for (const auto& region : node.regions()) {
    ir::walk(*region, [&](Node& inner) {
      for (const Value* v : inner.inputs()) add(v);
      for (const auto& nested : inner.regions())
        for (const Value* v : nested->outputs()) add(v);
    });
    for (const Value* v : region->outputs()) add(v);
  }
  return found;
}

/// What a kernel does with its bindings, and whether it computes with what it loads.
class KernelFacts {
 public:
  explicit KernelFacts(const kir::Kernel& kernel)
      : access(static_cast<size_t>(kernel.num_bindings()), Access::kNone), loaded_(kernel.values.size(), false) {
    do {
      changed_ = false;
      visit(kernel.body);
    } while (changed_ && moves);
  }

  using Access = runtime::Access;
  std::vector<Access> access;
  bool moves = true;

 private:
  void add(const kir::Inst& inst, Access what) { add(inst.index, what); }
  void add(int32_t buffer, Access what) {
    const auto b = static_cast<size_t>(buffer);
    if (b < access.size()) access[b] = static_cast<Access>(static_cast<uint8_t>(access[b]) | static_cast<uint8_t>(what));
  }
  bool loaded(kir::ValueId v) const { return loaded_[static_cast<size_t>(v)]; }
  bool any_loaded(std::span<const kir::ValueId> values) const { return std::any_of(values.begin(), values.end(), [&](auto v) { return loaded(v); }); }
  void mark(std::span<const kir::ValueId> values) {
    for (kir::ValueId v : values) {
      changed_ |= !loaded(v);
      loaded_[static_cast<size_t>(v)] = true;
    }
  }

  void visit(const kir::Region& region) {
    for (const auto& inst : region.insts) {
      const bool from_load = any_loaded(inst->operands);
      if (inst->kind == kir::InstKind::kLoad) add(*inst, Access::kRead);
      if (inst->kind == kir::InstKind::kStore) add(*inst, Access::kWrite);
      for (const kir::TileAccess& tile : inst->tiles) {
        add(tile.buffer, inst->kind == kir::InstKind::kTileStore ? Access::kWrite : Access::kRead);
        moves = false;
      }
      if (inst->kind == kir::InstKind::kOp && from_load && inst->op != kir::ScalarOp::kSelect) moves = false;
      if (inst->kind == kir::InstKind::kLoad || from_load) mark(inst->results);
      for (const kir::Region& nested : inst->regions) {
        if (from_load) mark(nested.args);
        visit(nested);
        if (!any_loaded(nested.yields)) continue;
        mark(inst->results);
        mark(nested.args);
      }
    }
  }

  std::vector<bool> loaded_;  // by value: it depends on a load
  bool changed_ = false;
};

// What a plan and its bodies share while they are built.
struct Module {
  const PlanOptions& options;
  BuiltPlan built;
  std::unordered_multimap<uint64_t, int32_t> by_hash;
  /// Constants that setup steps make, by kernel, plan, what is read and dims.
  std::map<std::vector<uint64_t>, std::vector<ValueIdx>> made_once;

  int32_t kernel(kir::Kernel kernel) {
    const uint64_t hash = kir::structural_hash(kernel);
    const auto [begin, end] = by_hash.equal_range(hash);
    for (auto it = begin; it != end; ++it)
      if (same(built.kernels[static_cast<size_t>(it->second)], kernel)) return it->second;
    const auto index = static_cast<int32_t>(built.kernels.size());
    KernelFacts facts(kernel);
    built.table->push_back({kernel.name, nullptr, kernel.num_bindings(), kernel.num_dims, std::move(facts.access), facts.moves, kernel.round});
    built.kernels.push_back(std::move(kernel));
    by_hash.emplace(hash, index);
    return index;
  }

  static bool same(const kir::Kernel& a, kir::Kernel& b) {
    std::string name = a.name;
    std::swap(name, b.name);
    const bool equal = kir::print(a) == kir::print(b);
    std::swap(name, b.name);
    return equal;
  }
};

class PlanBuilder {
 public:
  /// `known`: symbols that have a value when the plan starts, null for none.
  PlanBuilder(const Graph& graph, Module& module, const KnownSymbols* known)
      : graph_(graph), module_(module), known_(known), plan_(std::make_shared<Plan>()),
        dims_(graph.dims(), plan_->dims) {
    plan_->kernels = module.built.table;
  }

  Result<std::shared_ptr<const Plan>> build();
  /// Outer values in the order of the plan's inputs after the formal ones.
  const std::vector<const Value*>& captures() const { return captures_; }

 private:
  Status add_node(const Node& node);
  Status add_control_flow(const Node& node, Step::Kind kind, std::string reason = "");
  Status add_scan(const Node& node);
  Status add_scan_checks(const Node& node);
  Status set_scan_attributes(const Node& node, Step& step);
  Result<bool> add_view(const Node& node);
  Status define_view(const Value* from, const Value* to);
  Result<bool> add_library(const Node& node, std::string& reason);
  Result<bool> add_generated(const Node& node, std::string& reason);
  Status add_dispatches(const Node& node, LoweredOp& op);
  Status add_setup(const Node& node, LoweredKernel& kernel, std::vector<ValueIdx>& temporaries, const std::vector<int>& writers);
  Status add_host_call(const Node& node, std::string reason);
  Status add_check(runtime::DimCheck::Kind kind, Dim first, Dim second, std::string node);
  Status add_facts(const Node& node);
  Status add_assumptions();

  Result<ValueIdx> use(const Value* value);
  Result<ValueIdx> define(const Value* value, Storage storage);
  Result<ValueIdx> define_host(const Value* value);
  Result<std::vector<ValueIdx>> use_inputs(const Node& node);
  Result<PlanValue> plan_value(const Value* value, Storage storage);
  ValueIdx append(PlanValue value);
  std::vector<std::vector<int32_t>> orders_of(std::span<const ValueIdx> values) const;
  bool bind_symbols(const Value* value);
  bool shape_known(const Value* value) const;
  Status check_operands(const Node& node, const LoweredOp& op) const;
  /// The row that the next record() makes.
  int32_t next_row() const { return static_cast<int32_t>(module_.built.placement.size()); }
  void record(const Node& node, Placement::Kind kind, std::string implementation, std::string reason);

  const Graph& graph_;
  Module& module_;
  KnownSymbols known_;
  std::shared_ptr<Plan> plan_;
  DimEmitter dims_;
  std::unordered_map<const Value*, ValueIdx> values_;
  std::vector<const Value*> captures_;
};

Result<std::shared_ptr<const Plan>> PlanBuilder::build() {
  for (bool more = true; more;) {
    more = false;
    for (const Value* input : graph_.inputs()) more |= bind_symbols(input);
  }
  for (const Value* input : graph_.inputs()) {
    TENON_ASSIGN_OR_RETURN(const ValueIdx v, define(input, Storage::kInput));
    plan_->inputs.push_back({input->name(), v});
  }
  for (const auto& node : graph_.nodes()) {
    Status status = module_.options.interrupt.check();
    if (status.ok()) status = add_node(*node);
    if (!status.ok()) return std::move(status).at(node_name(*node));
  }
  TENON_RETURN_IF_ERROR(add_assumptions());
  for (size_t i = 0; i < graph_.outputs().size(); ++i) {
    TENON_ASSIGN_OR_RETURN(const ValueIdx v, use(graph_.outputs()[i]));
    plan_->outputs.push_back({graph_.output_name(static_cast<int>(i)), v});
  }
  return std::shared_ptr<const Plan>(plan_);
}

bool PlanBuilder::shape_known(const Value* value) const {
  if (!value->type().is_ranked_tensor()) return false;
  const auto& dims = *value->tensor().dims;
  return std::all_of(dims.begin(), dims.end(), [&](Dim d) { return is_known(d, known_); });
}

// The run time takes bare symbols from the actual shape, when that settles all of the value's dims.
bool PlanBuilder::bind_symbols(const Value* value) {
  if (!value->type().is_ranked_tensor()) return false;
  std::vector<int> bound;
  for (Dim d : *value->tensor().dims)
    if (d.is_symbol() && known_.insert(d.symbol_id())) bound.push_back(d.symbol_id());
  if (bound.empty()) return false;
  if (shape_known(value)) return true;
  for (int symbol : bound) known_.erase(symbol);
  return false;
}

// A tensor whose dims cannot all be computed is one of unknown shape to the plan.
Result<PlanValue> PlanBuilder::plan_value(const Value* value, Storage storage) {
  PlanValue out;
  out.name = value->name();
  out.dtype = value->dtype();
  out.storage = storage;
  out.ranked = shape_known(value);
  if (!out.ranked) return out;
  const std::vector<int> order = ir::storage_order(*value);
  out.order.assign(order.begin(), order.end());
  for (Dim d : *value->tensor().dims) {
    TENON_ASSIGN_OR_RETURN(const DimId id, dims_.emit(d));
    out.dims.push_back(id);
  }
  return out;
}

std::vector<std::vector<int32_t>> PlanBuilder::orders_of(std::span<const ValueIdx> values) const {
  std::vector<std::vector<int32_t>> orders;
  for (ValueIdx v : values) orders.push_back(v < 0 ? std::vector<int32_t>() : plan_->values[static_cast<size_t>(v)].order);
  return orders;
}

ValueIdx PlanBuilder::append(PlanValue value) {
  plan_->values.push_back(std::move(value));
  return static_cast<ValueIdx>(plan_->values.size()) - 1;
}

Result<ValueIdx> PlanBuilder::define(const Value* value, Storage storage) {
  TENON_ASSIGN_OR_RETURN(PlanValue made, plan_value(value, storage));
  return values_[value] = append(std::move(made));
}

Result<ValueIdx> PlanBuilder::define_host(const Value* value) {
  bind_symbols(value);
  return define(value, Storage::kHost);
}

Result<ValueIdx> PlanBuilder::use(const Value* value) {
  if (const auto found = values_.find(value); found != values_.end()) return found->second;
  if (const Tensor* constant = ir::constant_of(value); constant != nullptr) {
    TENON_ASSIGN_OR_RETURN(const ValueIdx v, define(value, Storage::kConstant));
    TENON_ASSIGN_OR_RETURN(plan_->values.back().constant, stored_constant(*value));
    return v;
  }
  if (value->graph() == &graph_) return error(Code::kInternal, "value {} is used before it is defined", value->name());
  captures_.push_back(value);
  TENON_ASSIGN_OR_RETURN(const ValueIdx v, define(value, Storage::kInput));
  plan_->inputs.push_back({value->name(), v});
  return v;
}

Result<std::vector<ValueIdx>> PlanBuilder::use_inputs(const Node& node) {
  std::vector<ValueIdx> out;
  for (const Value* input : node.inputs()) {
    out.push_back(-1);
    if (input == nullptr) continue;
    TENON_ASSIGN_OR_RETURN(out.back(), use(input));
  }
  return out;
}

void PlanBuilder::record(const Node& node, Placement::Kind kind, std::string implementation, std::string reason) {
  Placement row;
  row.source = &node;
  row.node = node_name(node);
  row.op = std::string(node.op_name());
  row.kind = kind;
  row.implementation = std::move(implementation);
  // Schedules of products say it themselves, beside what follows from it.
  if (const auto factors = passes::rounded_factors(node); factors && kind == Placement::Kind::kGenerated)
    if (const std::string of = fmt::format(" of {}", name(*factors)); row.implementation.find(of) == std::string::npos) row.implementation += of;
  row.reason = std::move(reason);
  if (node.is("tenon.fused"))
    for (const auto& inner : node.region(0).nodes()) {
      if (!inner->is("Constant") && !passes::rounds_a_factor(*inner)) row.covers.push_back(node_name(*inner));
    }
  module_.built.placement.push_back(std::move(row));
}

Status PlanBuilder::add_node(const Node& node) {
  if (node.is("Constant")) return {};  // values that are used become the plan's constants
  if (node.is("If")) return add_control_flow(node, Step::Kind::kIf);
  if (node.is("Loop")) return add_control_flow(node, Step::Kind::kLoop);
  if (node.is("Scan")) return add_scan(node);
  TENON_RETURN_IF_ERROR(add_facts(node));
  TENON_ASSIGN_OR_RETURN(bool done, add_view(node));
  std::string reason;
  if (!done && module_.options.prefer_library) {
    TENON_ASSIGN_OR_RETURN(done, add_library(node, reason));
  }
  if (!done) {
    TENON_ASSIGN_OR_RETURN(done, add_generated(node, reason));
  }
  if (!done && !module_.options.prefer_library) {
    TENON_ASSIGN_OR_RETURN(done, add_library(node, reason));
  }
  return done ? Status() : add_host_call(node, std::move(reason));
}

Status PlanBuilder::add_check(runtime::DimCheck::Kind kind, Dim first, Dim second, std::string node) {
  if (!is_known(first, known_) || !is_known(second, known_)) return {};  // then the node runs on the host
  TENON_ASSIGN_OR_RETURN(const DimId a, dims_.emit(first));
  TENON_ASSIGN_OR_RETURN(const DimId b, dims_.emit(second));
  plan_->checks.push_back({kind, a, b, std::move(node)});
  return {};
}

Status PlanBuilder::add_facts(const Node& node) {
  for (const DimFact& fact : dim_facts(node)) TENON_RETURN_IF_ERROR(add_check(fact.kind, fact.a, fact.b, node_name(node)));
  return {};
}

Status PlanBuilder::add_assumptions() {
  using Kind = runtime::DimCheck::Kind;
  for (const Graph::Assumption& one : graph_.assumptions())
    TENON_RETURN_IF_ERROR(add_check(one.at_most ? Kind::kLessEqual : Kind::kEqual, one.a, one.b, one.node));
  return {};
}

// The same bytes under another shape. A tensor of unknown shape has no fixed memory to look at.
Result<bool> PlanBuilder::add_view(const Node& node) {
  const Value* from = node.op().compute.view ? node.input(0) : nullptr;
  if (from == nullptr) return false;
  const Value* to = node.output();
  if (to->dtype() == DType::kBool && from->dtype() != DType::kBool) return false;  // its bytes must be 0 or 1
  if (!is_row_major(*from) || !is_row_major(*to)) return false;  // lowering sees whether the bytes are the same
  const bool tensors = shape_known(from) && shape_known(to);
  if (!tensors && (!node.is("Identity") || to->type().is_ranked_tensor())) return false;
  TENON_RETURN_IF_ERROR(define_view(from, to));
  record(node, Placement::Kind::kView, "view", "");
  return true;
}

Status PlanBuilder::define_view(const Value* from, const Value* to) {
  TENON_ASSIGN_OR_RETURN(const ValueIdx source, use(from));
  TENON_ASSIGN_OR_RETURN(const ValueIdx view, define(to, Storage::kAlias));
  plan_->values[static_cast<size_t>(view)].alias_of = source;
  return {};
}

Result<bool> PlanBuilder::add_library(const Node& node, std::string& reason) {
  if (!module_.options.library) return false;
  const auto row_major = [](const Value* v) { return v == nullptr || is_row_major(*v); };
  const auto outputs = node.outputs();
  if (!std::ranges::all_of(node.inputs(), row_major) || !std::ranges::all_of(outputs, row_major)) return false;
  Result<LibraryCall> call = module_.options.library(node);
  const bool known = std::all_of(outputs.begin(), outputs.end(), [&](const Value* v) { return shape_known(v); });
  if (!call.ok() || !known) {
    const std::string why = call.ok() ? "its shape is known at run time only" : call.status().what();
    if (module_.options.prefer_library) reason += fmt::format("library: {}; ", why);
    return false;
  }
  Step step;
  step.kind = Step::Kind::kHostCall;
  step.node = node_name(node);
  step.placement = next_row();
  step.host = call->function;
  TENON_ASSIGN_OR_RETURN(step.inputs, use_inputs(node));
  for (const Value* output : outputs) {
    TENON_ASSIGN_OR_RETURN(const ValueIdx v, define(output, Storage::kArena));
    step.outputs.push_back(v);
  }
  plan_->steps.push_back(std::move(step));
  record(node, Placement::Kind::kLibrary, call->implementation, reason);
  return true;
}

// Kernels need the shape of everything that they touch before they start.
Status PlanBuilder::check_operands(const Node& node, const LoweredOp& op) const {
  for (const Value* v : node.outputs())
    if (!shape_known(v)) return error(Code::kUnsupported, "the shape of {} is known at run time only", v->name());
  const auto known = [&](Dim d) { return is_known(d, known_); };
  for (const LoweredKernel& kernel : op.kernels) {
    for (const BindingRef& binding : kernel.bindings) {
      const auto* v = std::get_if<const Value*>(&binding);
      if (v != nullptr && !shape_known(*v))
        return error(Code::kUnsupported, "the shape of {} is known at run time only", (*v)->name());
    }
    if (!known(kernel.grid) || !std::all_of(kernel.dims.begin(), kernel.dims.end(), known))
      return error(Code::kUnsupported, "a dim is known at run time only");
  }
  for (const Temporary& t : op.temporaries)
    if (!known(t.count)) return error(Code::kUnsupported, "the size of a temporary is known at run time only");
  return {};
}

Result<bool> PlanBuilder::add_generated(const Node& node, std::string& reason) {
  Result<LoweredOp> op = lower(node, module_.options.target);
  Status refused = op.ok() ? check_operands(node, *op) : op.status();
  if (refused.ok() && module_.options.refuse) {
    for (const LoweredKernel& kernel : op->kernels)
      if (auto why = module_.options.refuse(kernel.kernel)) refused = Status(Code::kUnsupported, *why);
  }
  if (!refused.ok()) {
    reason += refused.what();
    return false;
  }
  if (op->view_of != nullptr) {
    if (!shape_known(op->view_of)) return false;
    TENON_RETURN_IF_ERROR(define_view(op->view_of, node.output()));
    record(node, Placement::Kind::kView, "view", "");
    return true;
  }
  for (const std::string& why : op->refused) reason += (reason.empty() ? "" : "; ") + why;
  TENON_RETURN_IF_ERROR(add_dispatches(node, *op));
  record(node, Placement::Kind::kGenerated, op->implementation, std::move(reason));
  module_.built.placement.back().tunables = std::move(op->tunables);
  return true;
}

Status PlanBuilder::add_dispatches(const Node& node, LoweredOp& op) {
  for (const Value* output : node.outputs()) TENON_RETURN_IF_ERROR(define(output, Storage::kArena).status());
  std::vector<ValueIdx> temporaries;
  for (const Temporary& t : op.temporaries) {
    PlanValue value;
    value.name = fmt::format("{}.t{}", node_name(node), temporaries.size());
    value.dtype = t.dtype;
    value.ranked = true;
    TENON_ASSIGN_OR_RETURN(const DimId count, dims_.emit(t.count));
    value.dims = {count};
    temporaries.push_back(append(std::move(value)));
  }
  std::vector<int> writers(temporaries.size(), 0);  // kernels that write each
  for (const LoweredKernel& kernel : op.kernels)
    for (size_t b = 0; b < kernel.bindings.size(); ++b)
      if (const int* t = std::get_if<int>(&kernel.bindings[b]); t != nullptr && kernel.kernel.buffers[b].written) ++writers[static_cast<size_t>(*t)];
  for (LoweredKernel& kernel : op.kernels) {
    if (kernel.once) {
      TENON_RETURN_IF_ERROR(add_setup(node, kernel, temporaries, writers));
      continue;
    }
    Step step;
    step.kind = Step::Kind::kDispatch;
    step.node = node_name(node);
    step.placement = next_row();
    for (const BindingRef& binding : kernel.bindings) {
      ValueIdx v = -1;
      if (const int* t = std::get_if<int>(&binding)) v = temporaries.at(static_cast<size_t>(*t));
      else {
        TENON_ASSIGN_OR_RETURN(v, use(std::get<const Value*>(binding)));
      }
      step.bindings.push_back(v);
    }
    for (Dim d : kernel.dims) {
      TENON_ASSIGN_OR_RETURN(const DimId id, dims_.emit(d));
      step.kernel_dims.push_back(id);
    }
    TENON_ASSIGN_OR_RETURN(step.grid, dims_.emit(kernel.grid));
    if (is_known(kernel.work, known_)) {
      TENON_ASSIGN_OR_RETURN(step.work, dims_.emit(kernel.work));
    }
    step.kernel = module_.kernel(std::move(kernel.kernel));
    plan_->steps.push_back(std::move(step));
    ++module_.built.dispatches;
  }
  return {};
}

Status PlanBuilder::add_setup(const Node& node, LoweredKernel& kernel, std::vector<ValueIdx>& temporaries,
                              const std::vector<int>& writers) {
  SetupStep step{.plan = plan_, .grid = kernel.grid.value(), .node = node_name(node)};
  if (kernel.work.is_valid() && kernel.work.is_const()) step.work = kernel.work.value();
  for (Dim d : kernel.dims) step.dims.push_back(d.value());
  std::vector<uint64_t> key{reinterpret_cast<uint64_t>(plan_.get())};
  std::vector<size_t> written;  // temporaries
  for (size_t b = 0; b < kernel.bindings.size(); ++b) {
    if (const int* t = std::get_if<int>(&kernel.bindings[b])) {
      const auto temporary = static_cast<size_t>(*t);
      step.bindings.emplace_back(temporaries[temporary]);
      // Parts of a temporary that several kernels write are those of this node alone.
      if (kernel.kernel.buffers[b].written && writers[temporary] > 1) key.push_back(static_cast<uint64_t>(temporaries[temporary]));
      if (kernel.kernel.buffers[b].written) written.push_back(temporary);
      else key.push_back(static_cast<uint64_t>(temporaries[temporary]));
      continue;
    }
    TENON_ASSIGN_OR_RETURN(const Tensor constant, stored_constant(*std::get<const Value*>(kernel.bindings[b])));
    step.bindings.emplace_back(constant);
    key.push_back(reinterpret_cast<uint64_t>(constant.data()));
  }
  for (int64_t d : step.dims) key.push_back(static_cast<uint64_t>(d));
  step.kernel = module_.kernel(std::move(kernel.kernel));
  key.push_back(static_cast<uint64_t>(step.kernel));
  key.push_back(static_cast<uint64_t>(step.grid));
  std::vector<ValueIdx>& made = module_.made_once[key];
  if (!made.empty()) {
    for (size_t i = 0; i < written.size(); ++i) temporaries[written[i]] = made[i];
    return {};
  }
  for (size_t t : written) {
    made.push_back(temporaries[t]);
    plan_->values[static_cast<size_t>(temporaries[t])].storage = Storage::kConstant;
  }
  module_.built.setup.push_back(std::move(step));
  return {};
}

Status PlanBuilder::add_host_call(const Node& node, std::string reason) {
  const std::vector<const Value*> captures = captures_of(node);
  Step step;
  step.kind = Step::Kind::kHostCall;
  step.node = node_name(node);
  step.placement = next_row();
  step.host = interpreted_call(node, captures);
  if (module_.options.host) {
    TENON_ASSIGN_OR_RETURN(step.host, module_.options.host(node, captures));
  }
  TENON_ASSIGN_OR_RETURN(step.inputs, use_inputs(node));
  for (const Value* capture : captures) {
    TENON_ASSIGN_OR_RETURN(const ValueIdx v, use(capture));
    step.inputs.push_back(v);
  }
  for (const Value* output : node.outputs()) {
    TENON_ASSIGN_OR_RETURN(const ValueIdx v, define_host(output));
    step.outputs.push_back(v);
  }
  step.host = row_major_call(std::move(step.host), orders_of(step.inputs), orders_of(step.outputs));
  plan_->steps.push_back(std::move(step));
  record(node, Placement::Kind::kHost, fmt::format("host {}", node.op_name()), std::move(reason));
  return {};
}

// All steps in kernels, or the body step by step.
Status PlanBuilder::add_scan(const Node& node) {
  std::string reason;
  TENON_ASSIGN_OR_RETURN(const bool done, add_generated(node, reason));
  return done ? add_scan_checks(node) : add_control_flow(node, Step::Kind::kScan, std::move(reason));
}

// What running the body step by step would check.
Status PlanBuilder::add_scan_checks(const Node& node) {
  using Kind = runtime::DimCheck::Kind;
  const auto scans = node.attr_int("num_scan_inputs", 0), states = node.num_inputs() - scans;
  const Graph& region = node.region(0);
  for (int i = 0; i < states; ++i) {
    const auto &outer = *node.input(i)->tensor().dims, &inner = *region.inputs()[static_cast<size_t>(i)]->tensor().dims;
    for (size_t a = 0; a < outer.size(); ++a) TENON_RETURN_IF_ERROR(add_check(Kind::kEqual, outer[a], inner[a], node_name(node)));
  }
  const std::vector<int64_t> axes = node.attr_ints("scan_input_axes");
  const auto length = [&](int64_t i) {
    const auto& dims = *node.input(static_cast<int>(states + i))->tensor().dims;
    const int64_t axis = axes.empty() ? 0 : axes[static_cast<size_t>(i)];
    return dims[static_cast<size_t>(axis < 0 ? axis + std::ssize(dims) : axis)];
  };
  for (int64_t i = 1; i < scans; ++i) TENON_RETURN_IF_ERROR(add_check(Kind::kEqual, length(0), length(i), node_name(node)));
  Status status;
  for (const auto& body : node.regions())
    ir::walk(*body, [&](Node& inner) {
      if (status.ok()) status = add_facts(inner);
    });
  for (const Graph::Assumption& one : region.assumptions())
    if (status.ok()) status = add_check(one.at_most ? Kind::kLessEqual : Kind::kEqual, one.a, one.b, one.node);
  return status;
}

Status PlanBuilder::set_scan_attributes(const Node& node, Step& step) {
  step.num_scan_inputs = static_cast<int32_t>(node.attr_int("num_scan_inputs", 0));
  const auto scans = static_cast<size_t>(std::max(step.num_scan_inputs, 0));
  if (scans == 0 || scans > step.inputs.size())
    return error(Code::kInvalidModel, "num_scan_inputs {} is out of range", step.num_scan_inputs);
  const size_t states = step.inputs.size() - scans;
  const size_t stacked = static_cast<size_t>(node.num_outputs()) - std::min(states, static_cast<size_t>(node.num_outputs()));
  const auto list = [&](std::string_view name, size_t size) {
    std::vector<int64_t> values = node.attr_ints(name);
    values.resize(size, 0);
    return values;
  };
  step.scan_input_axes = list("scan_input_axes", scans);
  step.scan_input_directions = list("scan_input_directions", scans);
  step.scan_output_axes = list("scan_output_axes", stacked);
  step.scan_output_directions = list("scan_output_directions", stacked);
  return {};
}

Status PlanBuilder::add_control_flow(const Node& node, Step::Kind kind, std::string reason) {
  Step step;
  step.kind = kind;
  step.node = node_name(node);
  step.placement = next_row();
  TENON_ASSIGN_OR_RETURN(step.inputs, use_inputs(node));
  if (kind == Step::Kind::kLoop) step.inputs.resize(std::max<size_t>(step.inputs.size(), 2), -1);
  if (kind == Step::Kind::kScan) TENON_RETURN_IF_ERROR(set_scan_attributes(node, step));
  constexpr std::string_view kNames[] = {"", "", "if", "loop", "scan"};
  record(node, Placement::Kind::kHost, fmt::format("{}, body compiled", kNames[static_cast<size_t>(kind)]), std::move(reason));
  for (const auto& region : node.regions()) {
    PlanBuilder body(*region, module_, &known_);
    TENON_ASSIGN_OR_RETURN(auto plan, body.build());
    step.plans.push_back(std::move(plan));
    std::vector<ValueIdx>& captures = step.captures.emplace_back();
    for (const Value* outer : body.captures()) {
      TENON_ASSIGN_OR_RETURN(const ValueIdx v, use(outer));
      captures.push_back(v);
    }
  }
  for (const Value* output : node.outputs()) {
    TENON_ASSIGN_OR_RETURN(const ValueIdx v, define_host(output));
    step.outputs.push_back(v);
  }
  plan_->steps.push_back(std::move(step));
  return {};
}

}  // namespace

Result<BuiltPlan> build_plan(const Graph& graph, const PlanOptions& options) {
  Module module{options, {}, {}};
  module.built.table = std::make_shared<std::vector<runtime::PlanKernel>>();
  PlanBuilder builder(graph, module, nullptr);
  TENON_ASSIGN_OR_RETURN(module.built.plan, builder.build());
  return std::move(module.built);
}

}  // namespace tenon::codegen
