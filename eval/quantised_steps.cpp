#include "eval/quantised_steps.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "eval/longest_ways.h"
#include "ir/compute.h"
#include "ir/op.h"
#include "passes/pass.h"

namespace tenon::eval {
namespace {

constexpr int kMostBits = 16;  // of codes: wider integers count or index
constexpr double kMostOfRange = 0.25;  // whatever there are quantisers: what is further apart shares little

std::optional<ir::Body> body_of(const ir::Node& node) {
  const auto ranked = [](const ir::Value* v) { return v == nullptr || v->type().is_ranked_tensor(); };
  if (node.op().compute.body == nullptr || !std::ranges::all_of(node.inputs(), ranked) || !std::ranges::all_of(node.outputs(), ranked)) return std::nullopt;
  auto bodies = node.op().compute.body(node);
  if (!bodies.ok() || bodies->size() != 1) return std::nullopt;
  return std::move(bodies->front());
}

bool rounds(const ir::Expr& root) {
  if (!root.valid()) return false;
  std::vector<int> stack = {root.id};
  std::unordered_set<int> seen;
  while (!stack.empty()) {
    const int id = stack.back();
    stack.pop_back();
    const ir::ExprNode& e = root.pool->node(id);
    if (e.kind == ir::ExprKind::kLoad || !seen.insert(id).second) continue;
    if (e.kind == ir::ExprKind::kOp && e.op == ir::ScalarOp::kRound) return true;
    stack.insert(stack.end(), e.args.begin(), e.args.end());
  }
  return false;
}

/// Bits of the codes that the node rounds to; 0: it is no quantiser.
int code_bits(const ir::Node& node) {
  const auto is_code = [](const ir::Value* v) { return v->type().is_ranked_tensor() && is_int(v->dtype()) && bits(v->dtype()) <= kMostBits; };
  if (node.num_outputs() != 1 || !is_code(node.output(0))) return 0;
  const auto body = body_of(node);
  return body && (rounds(body->value) || rounds(body->post)) ? bits(node.output(0)->dtype()) : 0;
}

/// The operand whose elements the node moves and nothing else.
std::optional<int> moved_operand(const ir::Node& node) {
  const auto body = body_of(node);
  if (!body || body->post.valid() || !body->reduce_axes.empty() || body->scatter || body->scan) return std::nullopt;
  const ir::ExprNode& load = body->value.node();
  return load.kind == ir::ExprKind::kLoad ? std::optional(load.operand) : std::nullopt;
}

/// The largest scale of a DequantizeLinear; 0: only run time knows it.
double largest_scale(const ir::Node& node) {
  const Tensor* scale = node.num_inputs() > 1 && node.input(1) != nullptr ? ir::constant_of(node.input(1)) : nullptr;
  double out = 0;
  for (int64_t i = 0; scale != nullptr && i < scale->size(); ++i) out = std::max(out, std::abs(scale->at_double(i)));
  return std::isfinite(out) ? out : 0;
}

}  // namespace

Result<std::unordered_map<std::string, QuantisedSteps>> steps_before(const ir::Graph& graph, const Interrupt& interrupt,
                                                                     const std::function<bool(std::string_view)>& known) {
  const auto copy = graph.clone();
  TENON_RETURN_IF_ERROR(passes::run_pipeline(*copy, {.level = 0, .interrupt = interrupt}));
  const auto counts = longest_ways(*copy, [&](const ir::Node& node) { return code_bits(node) > 0 ? 1 : 0; }, known);
  std::unordered_map<std::string, QuantisedSteps> out;
  for (const auto& node : copy->nodes())
    for (const ir::Value* output : node->outputs()) {
      const int count = counts.at(output->name());
      if (count == 0) continue;
      const auto before = [&](const ir::Value* input) {
        const auto found = input == nullptr || (known && known(input->name())) ? out.end() : out.find(input->name());
        return found == out.end() ? QuantisedSteps{0, kMostBits, 0} : found->second;
      };
      const auto step_of = [&](int input) { return before(node->input(input)).step; };
      const int own = code_bits(*node);
      QuantisedSteps steps{count, own > 0 ? own : kMostBits, 0};
      for (const ir::Value* input : node->inputs()) steps.bits = std::min(steps.bits, before(input).bits);
      if (own > 0) steps.step = 1;
      else if (node->is("DequantizeLinear")) steps.step = step_of(0) * largest_scale(*node);
      else if (const auto moved = moved_operand(*node)) steps.step = step_of(*moved);
      out.emplace(output->name(), steps);
    }
  return out;
}

Result<std::vector<QuantisedSteps>> steps_of_outputs(const ir::Graph& graph, const Interrupt& interrupt) {
  TENON_ASSIGN_OR_RETURN(const auto steps, steps_before(graph, interrupt));
  std::vector<QuantisedSteps> out;
  for (const ir::Value* output : graph.outputs()) {
    const auto found = steps.find(output->name());
    out.push_back(found == steps.end() ? QuantisedSteps() : found->second);
  }
  return out;
}

Tolerance with_steps(Tolerance exact, const QuantisedSteps& steps) {
  const double count = std::sqrt(steps.quantisers);
  if (steps.step > 0) exact.atol += count * steps.step;
  else if (steps.quantisers > 0) exact.scaled_atol = std::max(exact.scaled_atol, std::min(kMostOfRange, std::ldexp(count, 1 - steps.bits)));
  return exact;
}

std::string describe(const QuantisedSteps& steps) {
  if (steps.quantisers == 0) return {};
  if (steps.quantisers == 1) return fmt::format("a quantiser: 1 step of {} bits", steps.bits);
  return fmt::format("{} quantisers one behind the other: {:.2g} steps of {} bits", steps.quantisers, std::sqrt(steps.quantisers), steps.bits);
}

}  // namespace tenon::eval
