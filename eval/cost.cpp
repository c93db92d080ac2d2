#include "eval/cost.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "eval/inputs.h"
#include "ir/compute.h"
#include "ir/op.h"
#include "passes/pass.h"

namespace tenon::eval {
namespace {

using Symbols = std::vector<std::optional<int64_t>>;

std::optional<double> extent(std::span<const ir::Dim> dims, const Symbols& symbols) {
  double out = 1;
  for (const ir::Dim& dim : dims) {
    const Result<int64_t> size = ir::evaluate(dim, symbols);
    if (!size.ok()) return std::nullopt;
    out *= static_cast<double>(*size);
  }
  return out;
}

double bytes_of(const ir::Value& value, const Symbols& symbols) {
  if (!value.type().is_ranked_tensor()) return 0;
  return extent(*value.tensor().dims, symbols).value_or(0) * bits(value.dtype()) / 8;
}

/// Operations on floats or tensors' integers in an expression; index arithmetic is not counted.
int operations(const ir::Expr& root) {
  if (!root.valid()) return 0;
  std::vector<int> stack = {root.id};
  std::unordered_set<int> seen;
  int count = 0;
  while (!stack.empty()) {
    const int id = stack.back();
    stack.pop_back();
    if (!seen.insert(id).second) continue;
    const ir::ExprNode& node = root.pool->node(id);
    if (node.kind == ir::ExprKind::kLoad) continue;
    if (node.kind == ir::ExprKind::kOp) ++count;
    stack.insert(stack.end(), node.args.begin(), node.args.end());
  }
  return count;
}

std::optional<double> flops(const ir::Node& node, const Symbols& symbols) {
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
    const double each = operations(body.value) + (body.reduce_axes.empty() ? 0 : 1);
    if (body.scatter) {
      out += *inner * each;
      continue;
    }
    out += *outer * (*inner * each + operations(body.post));
  }
  return out;
}

/// Values die after their last reader; constants are counted as parameters.
double peak_bytes(const ir::Graph& graph, const Symbols& symbols) {
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

Cost estimate(const ir::Graph& graph) {
  Cost out;
  // Decomposed, so that every op is described by bodies; not fused, so that values are those of the model.
  const std::unique_ptr<ir::Graph> copy = graph.clone();
  const bool lowered = passes::run_pipeline(*copy, {.level = 0}).ok();
  const std::unique_ptr<ir::Graph> plain = lowered ? nullptr : graph.clone();
  ir::Graph& counted = lowered ? *copy : *plain;
  const Symbols symbols(static_cast<size_t>(counted.dims().num_symbols()), kDefaultDim);
  ir::walk(counted, [&](ir::Node& node) {
    if (node.is("Constant")) {
      if (const Tensor* t = node.attr_tensor("value")) {
        out.parameters += static_cast<double>(t->size());
        out.parameter_bytes += static_cast<double>(t->bytes());
      }
      return;
    }
    if (const auto work = flops(node, symbols)) out.flops += *work;
    else if (node.num_regions() == 0) ++out.uncounted;
  });
  out.activation_bytes = peak_bytes(counted, symbols);
  return out;
}

}  // namespace tenon::eval
