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

bool scatters(const Node& node) { return node.is("TensorScatter") || node.is("ScatterND") || node.is("ScatterElements"); }

bool concatenates(const Value& input, const Value& output) {
  const Node& node = *output.def();
  if (!node.is("Concat") || node.num_inputs() < 2 || node.input(0) != &input || !input.type().is_ranked_tensor() || input.tensor().rank() == 0) return false;
  return output.type().is_ranked_tensor() && std::ranges::count(node.inputs(), &input) == 1;
}

/// The value that an output has its other elements from; null: it is no change of one.
const Value* origin_of(const Value& output) {
  const Value* at = &output;
  while (at->def() != nullptr && scatters(*at->def())) at = at->def()->input(0);
  if (at != &output || at->def() == nullptr) return at;
  const Node& node = *at->def();
  return node.is("tenon.append_rows") ? node.input(2) : node.is("Concat") ? node.input(0) : nullptr;
}

}  // namespace

StateChange change_of(const Value& input, const Value& output) {
  using Kind = StateChange::Kind;
  Node* node = output.def();
  if (node == nullptr || origin_of(output) != &input) return {};
  if (node->is("tenon.append_rows")) return {Kind::kRows, node};
  if (!node->is("Concat")) return {Kind::kScatter, node};
  return concatenates(input, output) ? StateChange{Kind::kConcatenation, node} : StateChange{};
}

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
    const Value* input = origin_of(output);
    if (!is_input(*copy, input) || change_of(*input, output).kind == StateChange::Kind::kOther) continue;
    if (taken.insert(input).second) out.push_back({input->name(), copy->output_name(static_cast<int>(o))});
  }
  return out;
}

}  // namespace tenon::backends
