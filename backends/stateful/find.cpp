#include <algorithm>
#include <set>

#include "backends/stateful/share.h"
#include "backends/stateful/stateful.h"
#include "ir/op.h"
#include "passes/passes.h"
#include "passes/patch.h"

namespace tenon::backends {

using ir::Graph;
using ir::Node;
using ir::Value;

namespace {

constexpr int kMaxRounds = 4;  // of ops that decompose into ops that do

Status tidy(Graph& graph, passes::PassContext& context) {
  for (const auto pass : {passes::infer, passes::fold_constants, passes::simplify, passes::eliminate_common, passes::eliminate_dead})
    TENON_RETURN_IF_ERROR(pass(graph, context).status());
  return {};
}

bool is_input(const Graph& graph, const Value* value) {
  return value != nullptr && std::ranges::find(graph.inputs(), value) != graph.inputs().end();
}

/// Whether only its decomposition says how the node's output comes from an input.
bool hides_state(const Graph& graph, const Node* node) {
  if (node == nullptr || node->op().compute.decompose == nullptr || node->op().compute.body != nullptr || node->op().compute.structural) return false;
  const auto ranked = [](const Value* v) { return v == nullptr || !v->type().is_tensor() || v->tensor().ranked(); };
  return std::ranges::all_of(node->inputs(), ranked) && std::ranges::any_of(node->inputs(), [&](const Value* v) { return is_input(graph, v); });
}

Result<bool> decompose(Node& node, passes::PassContext& context) {
  passes::Patch patch(node);
  auto values = node.op().compute.decompose(node, patch.builder());
  const Status status = patch.builder().status().ok() ? values.status() : patch.builder().status();
  if (!status.ok()) return status.code() == Code::kUnsupported ? Result<bool>(false) : Result<bool>(Status(status).at(node.name()));
  return patch.replace(context, *values);
}

/// The input that an output is, with elements replaced.
const Value* scattered_input(const Value& output) {
  const Node* node = output.def();
  if (node == nullptr) return nullptr;
  const bool scatters = node->is("TensorScatter") || node->is("ScatterND") || node->is("ScatterElements");
  return scatters ? node->input(0) : nullptr;
}

}  // namespace

Status open_states(Graph& graph, const Interrupt& interrupt) {
  passes::PassContext context;
  context.interrupt = interrupt;
  TENON_RETURN_IF_ERROR(tidy(graph, context));
  for (int round = 0; round < kMaxRounds; ++round) {
    std::vector<Node*> nodes;
    for (const Value* output : graph.outputs())
      if (hides_state(graph, output->def()) && std::ranges::find(nodes, output->def()) == nodes.end()) nodes.push_back(output->def());
    bool changed = false;
    for (Node* node : nodes) {
      TENON_ASSIGN_OR_RETURN(const bool done, decompose(*node, context));
      changed |= done;
    }
    if (!changed) break;
    TENON_RETURN_IF_ERROR(tidy(graph, context));
  }
  return {};
}

Result<std::vector<StatePair>> find_states(const Graph& graph, const Interrupt& interrupt) {
  const std::unique_ptr<Graph> copy = graph.clone();
  TENON_RETURN_IF_ERROR(open_states(*copy, interrupt));
  std::vector<StatePair> out;
  std::set<const Value*> taken;
  for (size_t o = 0; o < copy->outputs().size(); ++o) {
    const Value& output = *copy->outputs()[o];
    const Value* input = scattered_input(output);
    if (input == nullptr && output.def() != nullptr && output.def()->is("Concat")) input = output.def()->input(0);
    if (!is_input(*copy, input) || (scattered_input(output) == nullptr && concatenation_of(*input, output) == nullptr)) continue;
    if (taken.insert(input).second) out.push_back({input->name(), copy->output_name(static_cast<int>(o))});
  }
  return out;
}

}  // namespace tenon::backends
