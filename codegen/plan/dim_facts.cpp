#include "codegen/plan/dim_facts.h"

#include <algorithm>
#include <optional>
#include <unordered_set>

#include "ir/compute.h"
#include "ir/op.h"

namespace tenon::codegen {
namespace {

using ir::Body;
using ir::Dim;
using ir::ExprKind;
using Kind = runtime::DimCheck::Kind;

void add_fact(std::vector<DimFact>& facts, Kind kind, Dim a, Dim b) {
  if (!a.is_valid() || !b.is_valid()) return;
  if (kind == Kind::kLessEqual ? ir::known_le(a, b) : ir::known_eq(a, b)) return;
  const bool there = std::any_of(facts.begin(), facts.end(),
                                 [&](const DimFact& f) { return f.kind == kind && f.a == a && f.b == b; });
  if (!there) facts.push_back({kind, a, b});
}

/// The axis that an index runs along; `broadcast` when it is 0 instead where the operand's dim is 1.
std::optional<size_t> axis_of(const ir::ExprPool& pool, int id, bool& broadcast) {
  const ir::ExprNode& node = pool.node(id);
  if (node.kind == ExprKind::kIndex) return static_cast<size_t>(node.axis);
  if (node.kind != ExprKind::kOp || node.op != ir::ScalarOp::kSelect) return std::nullopt;
  const ir::ExprNode &zero = pool.node(node.args[1]), &index = pool.node(node.args[2]);
  if (zero.kind != ExprKind::kConst || zero.scalar.i != 0 || index.kind != ExprKind::kIndex) return std::nullopt;
  broadcast = true;
  return static_cast<size_t>(index.axis);
}

/// Visits each part of an expression once, however many others share it.
template <class Visit>
void for_each_part(const ir::ExprPool& pool, int root, Visit visit) {
  std::vector<int> stack = {root};
  std::unordered_set<int> seen;
  while (!stack.empty()) {
    const int id = stack.back();
    stack.pop_back();
    if (!seen.insert(id).second) continue;
    visit(pool.node(id));
    stack.insert(stack.end(), pool.node(id).args.begin(), pool.node(id).args.end());
  }
}

/// The axes that an expression depends on.
void collect_axes(const ir::ExprPool& pool, int root, std::unordered_set<int>& axes) {
  for_each_part(pool, root, [&](const ir::ExprNode& node) {
    if (node.kind == ExprKind::kIndex) axes.insert(node.axis);
  });
}

Dim extent_of(const Body& body, size_t axis) {
  return axis < body.axes.size() ? body.axes[axis] : body.reduce_axes[axis - body.axes.size()];
}

/// The largest value of an index that only grows with its axes: a sum of products and quotients of them and of dims.
std::optional<Dim> largest(const Body& body, int id) {
  const ir::ExprNode& node = body.pool->node(id);
  if (node.kind == ExprKind::kConst && node.scalar.i >= 0) return Dim(node.scalar.i);
  if (node.kind == ExprKind::kDim) return node.dim;
  if (node.kind == ExprKind::kIndex && static_cast<size_t>(node.axis) < body.axes.size() + body.reduce_axes.size())
    return extent_of(body, static_cast<size_t>(node.axis)) - 1;
  if (node.kind != ExprKind::kOp || node.args.size() != 2) return std::nullopt;
  const auto a = largest(body, node.args[0]), b = largest(body, node.args[1]);
  if (!a || !b) return std::nullopt;
  if (node.op == ir::ScalarOp::kAdd) return *a + *b;
  const ir::ExprKind right = body.pool->node(node.args[1]).kind;
  if (right != ExprKind::kConst && right != ExprKind::kDim) return std::nullopt;
  if (node.op == ir::ScalarOp::kMul) return *a * *b;
  if (node.op == ir::ScalarOp::kFloorDiv) return floor_div(*a, *b);
  return std::nullopt;
}

/// Whether an index has a quotient, whose divisor may be the 0 of a tensor without elements.
bool divides(const ir::ExprPool& pool, int root) {
  bool found = false;
  for_each_part(pool, root, [&](const ir::ExprNode& node) {
    found |= node.kind == ExprKind::kOp && node.op == ir::ScalarOp::kFloorDiv;
  });
  return found;
}

/// 1 when there is an element to compute, else at most 0.
Dim any_element(const Body& body) {
  Dim least = 1;
  for (const std::vector<Dim>* extents : {&body.axes, &body.reduce_axes})
    for (const Dim& extent : *extents) least = min(least, extent);
  return least;
}

void add_load_facts(const Body& body, const ir::ExprNode& load, const std::vector<Dim>& shape, std::vector<DimFact>& facts) {
  const ir::ExprPool& pool = *body.pool;
  // Movements may read a part of an axis, unless a guard says which; the others read all of it.
  const Kind kind = body.kind == ir::ComputeKind::kMovement && !load.guarded ? Kind::kLessEqual : Kind::kEqual;
  std::unordered_set<int> guarded;  // axes along which the guard decides what is read
  if (load.guarded) collect_axes(pool, load.args[shape.size()], guarded);
  for (size_t i = 0; i < shape.size(); ++i) {
    if (!guarded.empty()) {
      std::unordered_set<int> read;
      collect_axes(pool, load.args[i], read);
      if (std::any_of(read.begin(), read.end(), [&](int a) { return guarded.contains(a); })) continue;
    }
    bool broadcast = false;
    const auto axis = axis_of(pool, load.args[i], broadcast);
    if (axis && *axis < body.axes.size() + body.reduce_axes.size()) {
      const Dim extent = extent_of(body, *axis);
      // Of no elements one may be the shape, too: a broadcast that needs no choice.
      const bool no_choice = kind == Kind::kEqual && body.kind == ir::ComputeKind::kElementwise && known_le(extent, shape[i]);
      add_fact(facts, broadcast || no_choice ? Kind::kBroadcast : kind, extent, shape[i]);
      continue;
    }
    if (body.kind == ir::ComputeKind::kContraction || (kind == Kind::kLessEqual && !divides(pool, load.args[i])))
      if (const auto last = largest(body, load.args[i])) add_fact(facts, Kind::kLessEqual, *last + 1, shape[i]);
    // Nothing can be read where there is nothing: an index that is clamped to the last element needs one.
    if (!load.guarded) add_fact(facts, Kind::kLessEqual, any_element(body), shape[i]);
  }
}

/// A movement to no elements: any shape may be given another that is as empty.
bool reads_nothing(const Body& body) {
  if (body.kind != ir::ComputeKind::kMovement) return false;
  const auto empty = [](const Dim& d) { return d.is_const(0); };
  return std::any_of(body.axes.begin(), body.axes.end(), empty) || std::any_of(body.reduce_axes.begin(), body.reduce_axes.end(), empty);
}

void add_body_facts(const ir::Node& node, const Body& body, std::vector<DimFact>& facts) {
  for (int id = 0; id < body.pool->size(); ++id) {
    const ir::ExprNode& load = body.pool->node(id);
    if (load.kind != ExprKind::kLoad || reads_nothing(body)) continue;
    const ir::Value* operand = node.input(load.operand);
    if (operand == nullptr || !operand->type().is_ranked_tensor()) continue;
    const auto& shape = *operand->tensor().dims;
    if (load.args.size() != shape.size() + (load.guarded ? 2 : 0)) continue;
    add_load_facts(body, load, shape, facts);
  }
  // A scatter along an axis of its updates may not leave the output's.
  for (size_t i = 0; body.scatter && i < body.axes.size(); ++i) {
    const ir::ExprNode& index = body.pool->node(body.scatter->target[i].id);
    if (index.kind == ExprKind::kIndex)
      add_fact(facts, Kind::kLessEqual, extent_of(body, static_cast<size_t>(index.axis)), body.axes[i]);
  }
  // The first of no elements is none: an arg reduction needs one.
  const bool arg = body.combiner >= ir::Combiner::kArgMin && !body.reduce_axes.empty();
  for (const Dim& extent : body.reduce_axes)
    if (arg) add_fact(facts, Kind::kLessEqual, 1, extent);
}

void add_node_facts(const ir::Node& node, std::vector<DimFact>& facts) {
  for (const auto& region : node.regions())
    for (const auto& inner : region->nodes()) add_node_facts(*inner, facts);
  if (node.op().compute.body == nullptr) return;
  const auto ranked = [](const ir::Value* v) { return v == nullptr || v->type().is_ranked_tensor(); };
  if (!std::all_of(node.inputs().begin(), node.inputs().end(), ranked)) return;
  if (!std::all_of(node.outputs().begin(), node.outputs().end(), ranked)) return;
  const auto bodies = node.op().compute.body(node);
  if (!bodies.ok()) return;
  for (size_t i = 0; i < bodies->size(); ++i) {
    const Body& body = (*bodies)[i];
    const auto& out = *node.output(static_cast<int>(i))->tensor().dims;
    for (size_t axis = 0; axis < body.axes.size() && axis < out.size(); ++axis) add_fact(facts, Kind::kEqual, body.axes[axis], out[axis]);
    add_body_facts(node, body, facts);
  }
}

}  // namespace

std::vector<DimFact> dim_facts(const ir::Node& node) {
  std::vector<DimFact> facts;
  add_node_facts(node, facts);
  return facts;
}

}  // namespace tenon::codegen
