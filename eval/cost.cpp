#include "eval/cost.h"

#include <algorithm>
#include <unordered_map>

#include "eval/inputs.h"
#include "ir/compute.h"
#include "ir/op.h"
#include "passes/pass.h"

namespace tenon::eval {
namespace {

using Symbols = std::span<const std::optional<int64_t>>;

std::optional<double> extent(std::span<const ir::Dim> dims, Symbols symbols) {
  double out = 1;
  for (const ir::Dim& dim : dims) {
    const Result<int64_t> size = ir::evaluate(dim, symbols);
    if (!size.ok()) return std::nullopt;
    out *= static_cast<double>(*size);
  }
  return out;
}

double bytes_of(const ir::Value& value, Symbols symbols) {
  if (!value.type().is_ranked_tensor()) return 0;
  return extent(*value.tensor().dims, symbols).value_or(0) * bits(value.dtype()) / 8;
}

/// Operations on elements of operands in an expression: what is computed from indices alone, and choices that they make, move them.
int operations(const ir::Expr& root) {
  if (!root.valid()) return 0;
  std::unordered_map<int, bool> is_data;  // by node, once it is known
  std::vector<int> stack = {root.id};
  int count = 0;
  while (!stack.empty()) {
    const int id = stack.back();
    const ir::ExprNode& node = root.pool->node(id);
    if (is_data.contains(id)) {
      stack.pop_back();
      continue;
    }
    if (node.kind == ir::ExprKind::kLoad || node.kind == ir::ExprKind::kAcc) {
      is_data[id] = true;
      stack.pop_back();
      continue;
    }
    bool ready = true;
    for (int arg : node.args)
      if (!is_data.contains(arg)) {
        stack.push_back(arg);
        ready = false;
      }
    if (!ready) continue;
    stack.pop_back();
    const bool chooses = node.kind == ir::ExprKind::kOp && node.op == ir::ScalarOp::kSelect;
    is_data[id] = std::any_of(node.args.begin(), node.args.end(), [&](int arg) { return is_data[arg]; });
    if (node.kind == ir::ExprKind::kOp && (chooses ? is_data[node.args[0]] : is_data[id])) ++count;
  }
  return count;
}

std::optional<double> own_flops(const ir::Node& node, Symbols symbols) {
  if (node.op().compute.body == nullptr) return std::nullopt;
  for (const ir::Value* v : node.inputs())
    if (v != nullptr && !v->type().is_ranked_tensor()) return std::nullopt;
  for (const ir::Value* v : node.outputs())
    if (!v->type().is_ranked_tensor()) return std::nullopt;
  const Result<std::vector<ir::Body>> bodies = node.op().compute.body(node);
  if (!bodies.ok()) return std::nullopt;
  double out = 0;
  for (const ir::Body& body : *bodies) {
    const auto outer = extent(body.axes, symbols), inner = extent(body.reduce_axes, symbols);
    if (!outer || !inner) return std::nullopt;
    const double each = operations(body.value) + (body.reduce_axes.empty() && !body.scan ? 0 : 1);
    if (body.scatter) out += *inner * (operations(body.value) + (body.scatter->replaces ? 0 : 1));
    else out += *outer * (*inner * each + operations(body.post));
  }
  return out;
}

/// Values die after their last reader; constants are counted as parameters.
double peak_bytes(const ir::Graph& graph, Symbols symbols) {
  std::unordered_map<const ir::Value*, size_t> last;
  size_t index = 0;
  for (const auto& node : graph.nodes()) {
    for (const ir::Value* v : node->inputs())
      if (v != nullptr) last[v] = index;
    ++index;
  }
  double live = 0, peak = 0;
  for (const ir::Value* input : graph.inputs()) live += bytes_of(*input, symbols);
  std::unordered_map<size_t, double> ends;
  for (const auto& [value, at] : last)
    if (value->graph() == &graph && !ir::constant_of(value)) ends[at] += bytes_of(*value, symbols);
  index = 0;
  for (const auto& node : graph.nodes()) {
    if (!node->is("Constant"))
      for (const ir::Value* v : node->outputs()) live += bytes_of(*v, symbols);
    peak = std::max(peak, live);
    live -= ends[index++];
  }
  return std::max(peak, live);
}

}  // namespace

std::optional<double> node_flops(const ir::Node& node, Symbols symbols) {
  if (!node.is("tenon.fused")) return own_flops(node, symbols);
  double out = 0;
  for (const auto& inner : node.region(0).nodes()) {
    if (inner->is("Constant")) continue;
    const auto flops = own_flops(*inner, symbols);
    if (!flops) return std::nullopt;
    out += *flops;
  }
  return out;
}

std::optional<double> node_elements(const ir::Node& node, Symbols symbols) {
  double out = 0;
  for (const ir::Value* v : node.outputs()) {
    const auto count = v->type().is_ranked_tensor() ? extent(*v->tensor().dims, symbols) : std::nullopt;
    if (!count) return std::nullopt;
    out += *count;
  }
  return out;
}

Cost estimate(const ir::Graph& graph) {
  Cost out;
  // Decomposed, so that every op is described by bodies; not fused, so that values are those of the model.
  const std::unique_ptr<ir::Graph> copy = graph.clone();
  const bool lowered = passes::run_pipeline(*copy, {.level = 0}).ok();
  const std::unique_ptr<ir::Graph> plain = lowered ? nullptr : graph.clone();
  ir::Graph& counted = lowered ? *copy : *plain;
  const std::vector<std::optional<int64_t>> symbols(static_cast<size_t>(counted.dims().num_symbols()), kDefaultDim);
  ir::walk(counted, [&](ir::Node& node) {
    if (node.is("Constant")) {
      if (const Tensor* t = node.attr_tensor("value")) {
        out.parameters += static_cast<double>(t->size());
        out.parameter_bytes += static_cast<double>(t->bytes());
      }
      return;
    }
    if (const auto work = own_flops(node, symbols)) out.flops += *work;
    else if (node.num_regions() == 0) ++out.uncounted;
  });
  out.activation_bytes = peak_bytes(counted, symbols);
  return out;
}

}  // namespace tenon::eval
