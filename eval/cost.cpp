#include "eval/cost.h"

#include <algorithm>
#include <functional>
#include <unordered_map>
#include <unordered_set>

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
    out *= static_cast<double>(std::max<int64_t>(*size, 0));  // below 0: the dims do not fit the model
  }
  return out;
}

double bytes_of(const ir::Value& value, Symbols symbols) {
  if (!value.type().is_ranked_tensor()) return 0;
  return extent(*value.tensor().dims, symbols).value_or(0) * bits(value.dtype()) / 8;
}

/// The axes that an expression depends on, a bit each; none from the 64th on.
uint64_t axes_in(const ir::ExprPool& pool, int root) {
  uint64_t axes = 0;
  std::vector<int> stack = {root};
  std::unordered_set<int> seen;
  while (!stack.empty()) {
    const int id = stack.back();
    stack.pop_back();
    if (!seen.insert(id).second) continue;
    const ir::ExprNode& node = pool.node(id);
    if (node.kind == ir::ExprKind::kIndex && node.axis < 64) axes |= uint64_t{1} << node.axis;
    stack.insert(stack.end(), node.args.begin(), node.args.end());
  }
  return axes;
}

/// Operations on elements of operands in an expression, each as often as the axes that it depends on have places: what is computed from
/// indices alone, and choices that they make, move elements. `extents` by axis; what was accumulated depends on the first `outer` of them.
double operations(const ir::Expr& root, std::span<const double> extents, size_t outer) {
  struct Known {
    bool is_data = false;
    uint64_t axes = 0;
  };
  if (!root.valid()) return 0;
  const auto places = [&](uint64_t axes) {
    double out = 1;
    for (size_t axis = 0; axis < extents.size(); ++axis)
      if (axis >= 64 || (axes >> axis & 1) != 0) out *= extents[axis];
    return out;
  };
  std::unordered_map<int, Known> known;  // by node
  std::vector<int> stack = {root.id};
  double count = 0;
  while (!stack.empty()) {
    const int id = stack.back();
    const ir::ExprNode& node = root.pool->node(id);
    if (known.contains(id)) {
      stack.pop_back();
      continue;
    }
    if (node.kind == ir::ExprKind::kLoad) {  // what computes its place moves elements
      known.emplace(id, Known{true, axes_in(*root.pool, id)});
      continue;
    }
    const size_t waiting = stack.size();
    for (int arg : node.args)
      if (!known.contains(arg)) stack.push_back(arg);
    if (stack.size() > waiting) continue;
    stack.pop_back();
    Known own;
    for (int arg : node.args) {
      own.is_data |= known[arg].is_data;
      own.axes |= known[arg].axes;
    }
    if (node.kind == ir::ExprKind::kIndex && node.axis < 64) own.axes |= uint64_t{1} << node.axis;
    if (node.kind == ir::ExprKind::kAcc) own.axes |= outer >= 64 ? ~uint64_t{0} : (uint64_t{1} << outer) - 1;
    if (node.kind == ir::ExprKind::kAcc) own.is_data = true;
    const bool counts = node.kind == ir::ExprKind::kOp && (node.op == ir::ScalarOp::kSelect ? known[node.args[0]].is_data : own.is_data);
    if (counts) count += places(own.axes);
    known.emplace(id, own);
  }
  return count;
}

/// Nullopt where bodies cannot say.
std::optional<std::vector<ir::Body>> bodies_of(const ir::Node& node) {
  if (node.op().compute.body == nullptr) return std::nullopt;
  for (const ir::Value* v : node.inputs())
    if (v != nullptr && !v->type().is_ranked_tensor()) return std::nullopt;
  for (const ir::Value* v : node.outputs())
    if (!v->type().is_ranked_tensor()) return std::nullopt;
  Result<std::vector<ir::Body>> bodies = node.op().compute.body(node);
  if (!bodies.ok()) return std::nullopt;
  return std::move(*bodies);
}

/// Whether a factor is a byte, maybe less its zero point, converted to the dtype of the sum.
bool is_byte(const ir::ExprPool& pool, const ir::ExprNode* factor) {
  if (factor->kind == ir::ExprKind::kOp && factor->op == ir::ScalarOp::kSub) factor = &pool.node(factor->args[0]);
  return factor->kind == ir::ExprKind::kCast && bits(pool.node(factor->args[0]).dtype) == 8;
}

/// Whether a factor is widened from bf16, by the body or by the node before it in a fused one.
bool is_bf16(const ir::Node& node, const ir::ExprPool& pool, const ir::ExprNode* factor) {
  if (factor->kind == ir::ExprKind::kCast) factor = &pool.node(factor->args[0]);
  if (factor->dtype == DType::kBF16) return true;
  const ir::Value* given = factor->kind == ir::ExprKind::kLoad ? node.input(factor->operand) : nullptr;
  const ir::Node* def = given == nullptr ? nullptr : given->def();
  return def != nullptr && def->is("Cast") && def->input(0)->dtype() == DType::kBF16;
}

/// Adds `operations`, where the body sums products of narrow factors.
void add_narrow(const ir::Node& node, const ir::Body& body, double operations, NarrowFlops& out) {
  const ir::ExprNode& product = body.value.node();
  if (body.kind != ir::ComputeKind::kContraction || product.kind != ir::ExprKind::kOp || product.op != ir::ScalarOp::kMul) return;
  const auto all = [&](auto&& is) { return std::ranges::all_of(product.args, [&](int factor) { return is(&body.pool->node(factor)); }); };
  if (body.acc_dtype == DType::kI32 && all([&](const ir::ExprNode* f) { return is_byte(*body.pool, f); })) out.bytes += operations;
  if (body.acc_dtype == DType::kF32 && all([&](const ir::ExprNode* f) { return is_bf16(node, *body.pool, f); })) out.bf16 += operations;
}

struct Flops {
  double all = 0;
  NarrowFlops narrow;
};

std::optional<Flops> own_flops(const ir::Node& node, Symbols symbols) {
  const auto bodies = bodies_of(node);
  if (!bodies) return std::nullopt;
  Flops out;
  for (const ir::Body& body : *bodies) {
    std::vector<double> extents;
    for (const std::vector<ir::Dim>* dims : {&body.axes, &body.reduce_axes})
      for (const ir::Dim& dim : *dims) {
        const auto size = extent(std::span(&dim, 1), symbols);
        if (!size) return std::nullopt;
        extents.push_back(*size);
      }
    const auto outer = extent(body.axes, symbols), inner = extent(body.reduce_axes, symbols);
    if (body.scatter) {  // over the updates, whose axes are numbered behind the output's
      out.all += operations(body.value, extents, 0) + (body.scatter->replaces ? 0 : *inner);
      continue;
    }
    const double combined = body.reduce_axes.empty() && !body.scan ? 0 : *outer * *inner;
    out.all += operations(body.value, extents, body.axes.size()) + combined + operations(body.post, extents, body.axes.size());
    add_narrow(node, body, 2 * *outer * *inner, out.narrow);
  }
  return out;
}

/// Bytes that one evaluation loads, of operands that `counts` is true for.
double loaded_bytes(const ir::Expr& root, const ir::Node& node, const std::function<bool(const ir::Value*)>& counts) {
  if (!root.valid()) return 0;
  double bytes = 0;
  std::vector<int> stack = {root.id};
  std::unordered_set<int> seen;
  while (!stack.empty()) {
    const int id = stack.back();
    stack.pop_back();
    if (!seen.insert(id).second) continue;
    const ir::ExprNode& e = root.pool->node(id);
    if (e.kind == ir::ExprKind::kLoad && counts(node.input(e.operand))) bytes += bits(e.dtype) / 8.0;
    stack.insert(stack.end(), e.args.begin(), e.args.end());
  }
  return bytes;
}

std::optional<double> own_loads(const ir::Node& node, Symbols symbols, const std::function<bool(const ir::Value*)>& counts) {
  const auto bodies = bodies_of(node);
  if (!bodies) return std::nullopt;
  double out = 0;
  for (const ir::Body& body : *bodies) {
    const auto outer = extent(body.axes, symbols), inner = extent(body.reduce_axes, symbols);
    if (!outer || !inner) return std::nullopt;
    double updates = loaded_bytes(body.value, node, counts);
    if (!body.scatter) {
      out += *outer * (*inner * updates + loaded_bytes(body.post, node, counts));
      continue;
    }
    for (const ir::Expr& target : body.scatter->target) updates += loaded_bytes(target, node, counts);
    out += *inner * updates + *outer * loaded_bytes(body.scatter->init, node, counts);
  }
  return out;
}

/// Of a node, or of all nodes of a fused one's region.
template <class Fn>
std::optional<double> sum_of(const ir::Node& node, Fn&& fn) {
  if (!node.is("tenon.fused")) return fn(node);
  double out = 0;
  for (const auto& inner : node.region(0).nodes()) {
    if (inner->is("Constant")) continue;
    const std::optional<double> each = fn(*inner);
    if (!each) return std::nullopt;
    out += *each;
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
  return sum_of(node, [&](const ir::Node& n) -> std::optional<double> {
    const auto own = own_flops(n, symbols);
    return own ? std::optional(own->all) : std::nullopt;
  });
}

NarrowFlops node_narrow_flops(const ir::Node& node, Symbols symbols) {
  NarrowFlops out;
  sum_of(node, [&](const ir::Node& n) -> std::optional<double> {
    const auto own = own_flops(n, symbols);
    if (own) out = {out.bytes + own->narrow.bytes, out.bf16 + own->narrow.bf16};
    return 0;
  });
  return out;
}

std::optional<double> node_loads(const ir::Node& node, Symbols symbols) {
  const bool fused = node.is("tenon.fused");
  const auto counts = [&](const ir::Value* v) { return v != nullptr && (!fused || v->def() == nullptr || v->graph() != &node.region(0)); };
  return sum_of(node, [&](const ir::Node& n) { return own_loads(n, symbols, counts); });
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
    if (const auto work = own_flops(node, symbols)) out.flops += work->all;
    else if (node.num_regions() == 0) ++out.uncounted;
  });
  out.activation_bytes = peak_bytes(counted, symbols);
  return out;
}

}  // namespace tenon::eval
