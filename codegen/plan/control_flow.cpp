// Nodes with bodies: If, Loop and Scan.

#include <algorithm>

#include "codegen/plan/builder.h"
#include "ir/op.h"

namespace tenon::codegen {

using ir::Graph;
using ir::Node;
using ir::Value;
using runtime::Step;
using runtime::ValueIdx;

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

}  // namespace tenon::codegen
