#include "codegen/plan/build.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "codegen/plan/builder.h"
#include "codegen/plan/dim_facts.h"
#include "codegen/plan/row_major_call.h"
#include "ir/op.h"
#include "ir/storage_order.h"
#include "passes/rounded_factors.h"
#include "runtime/storage_order.h"

namespace tenon::codegen {

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

Result<Tensor> stored_constant(const Value& value) {
  const std::vector<int> order = ir::storage_order(value);
  const std::vector<int32_t> axes(order.begin(), order.end());
  return axes.empty() ? *ir::constant_of(&value) : runtime::to_storage_order(*ir::constant_of(&value), axes);
}

namespace {

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

}  // namespace

Result<std::shared_ptr<const Plan>> PlanBuilder::build() {
  module_.plans.push_back(plan_);
  number_nodes();
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
  const ValueIdx v = values_[value] = append(std::move(made));
  if (storage != Storage::kAlias) sharing_[v].push_back(value);
  return v;
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
  sharing_[root_of(source)].push_back(to);
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

Result<BuiltPlan> build_plan(const Graph& graph, const PlanOptions& options) {
  Module module{options, {}, {}, {}, {}};
  module.built.table = std::make_shared<std::vector<runtime::PlanKernel>>();
  PlanBuilder builder(graph, module, nullptr);
  TENON_ASSIGN_OR_RETURN(module.built.plan, builder.build());
  if (options.merge_kernels) merge_kernels(module);
  return std::move(module.built);
}

}  // namespace tenon::codegen
