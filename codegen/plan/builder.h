#pragma once

#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "codegen/lower/lower.h"
#include "codegen/plan/dim_emitter.h"
#include "codegen/plan/module.h"

namespace tenon::codegen {

/// A node's name, else its op and first result.
std::string node_name(const ir::Node& node);
/// A constant's tensor as kernels read it: see PlanValue::order.
Result<Tensor> stored_constant(const ir::Value& value);

/// Makes the plan of one graph: dispatches.cpp has what runs in kernels, in_place.cpp which of them write to an operand's memory,
/// control_flow.cpp what has bodies, build.cpp the rest.
class PlanBuilder {
 public:
  /// `known`: symbols that have a value when the plan starts, null for none.
  PlanBuilder(const ir::Graph& graph, Module& module, const KnownSymbols* known)
      : graph_(graph), module_(module), known_(known), plan_(std::make_shared<runtime::Plan>()),
        dims_(graph.dims(), plan_->dims) {
    plan_->kernels = module.built.table;
  }

  Result<std::shared_ptr<const runtime::Plan>> build();
  /// Outer values in the order of the plan's inputs after the formal ones.
  const std::vector<const ir::Value*>& captures() const { return captures_; }

 private:
  Status add_node(const ir::Node& node);
  Status add_control_flow(const ir::Node& node, runtime::Step::Kind kind, std::string reason = "");
  Status add_scan(const ir::Node& node);
  Status add_scan_checks(const ir::Node& node);
  Status set_scan_attributes(const ir::Node& node, runtime::Step& step);
  Result<bool> add_view(const ir::Node& node);
  Status define_view(const ir::Value* from, const ir::Value* to);
  Result<bool> add_library(const ir::Node& node, std::string& reason);
  Result<bool> add_generated(const ir::Node& node, std::string& reason);
  Status add_dispatches(const ir::Node& node, LoweredOp& op, bool in_place = false);
  /// Whether the node may write to the memory of its operand `base`: nobody reads that afterwards.
  bool may_update(const ir::Node& node, const ir::Value& base) const;
  /// The node's output is the memory of `base`, which it has written to.
  Status define_updated(const ir::Value& base, const ir::Value* output);
  bool owns_memory(runtime::ValueIdx root) const;
  bool is_carried(runtime::ValueIdx input) const;
  bool all_before(const ir::Value& value, const ir::Node& node) const;
  runtime::ValueIdx root_of(runtime::ValueIdx value) const;
  void number_nodes();
  Status add_setup(const ir::Node& node, LoweredKernel& kernel, std::vector<runtime::ValueIdx>& temporaries, const std::vector<int>& writers);
  Status add_host_call(const ir::Node& node, std::string reason);
  Status add_check(runtime::DimCheck::Kind kind, ir::Dim first, ir::Dim second, std::string node);
  Status add_facts(const ir::Node& node);
  Status add_assumptions();

  Result<runtime::ValueIdx> use(const ir::Value* value);
  Result<runtime::ValueIdx> define(const ir::Value* value, runtime::Storage storage);
  Result<runtime::ValueIdx> define_host(const ir::Value* value);
  Result<std::vector<runtime::ValueIdx>> use_inputs(const ir::Node& node);
  Result<runtime::PlanValue> plan_value(const ir::Value* value, runtime::Storage storage);
  runtime::ValueIdx append(runtime::PlanValue value);
  std::vector<std::vector<int32_t>> orders_of(std::span<const runtime::ValueIdx> values) const;
  bool bind_symbols(const ir::Value* value);
  bool shape_known(const ir::Value* value) const;
  Status check_operands(const ir::Node& node, const LoweredOp& op) const;
  /// The row that the next record() makes.
  int32_t next_row() const { return static_cast<int32_t>(module_.built.placement.size()); }
  void record(const ir::Node& node, Placement::Kind kind, std::string implementation, std::string reason);

  const ir::Graph& graph_;
  Module& module_;
  KnownSymbols known_;
  std::shared_ptr<runtime::Plan> plan_;
  DimEmitter dims_;
  std::unordered_map<const ir::Value*, runtime::ValueIdx> values_;
  std::unordered_map<runtime::ValueIdx, std::vector<const ir::Value*>> sharing_;  // by root value: what lies in its memory and may still be read
  std::unordered_map<const ir::Node*, size_t> position_;                          // of the graph's own nodes
  std::vector<const ir::Value*> captures_;
};

}  // namespace tenon::codegen
