#include "codegen/plan/dim_facts.h"

#include <algorithm>
#include <optional>

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

void add_body_facts(const ir::Node& node, const Body& body, std::vector<DimFact>& facts) {
  // Movements may read a part of an axis; the others read all of it.
  const Kind kind = body.kind == ir::ComputeKind::kMovement ? Kind::kLessEqual : Kind::kEqual;
  for (int id = 0; id < body.pool->size(); ++id) {
    const ir::ExprNode& load = body.pool->node(id);
    if (load.kind != ExprKind::kLoad || load.guarded) continue;
    const ir::Value* operand = node.input(load.operand);
    if (operand == nullptr || !operand->type().is_ranked_tensor()) continue;
    const auto& shape = *operand->tensor().dims;
    if (shape.size() != load.args.size()) continue;
    for (size_t i = 0; i < shape.size(); ++i) {
      bool broadcast = false;
      const auto axis = axis_of(*body.pool, load.args[i], broadcast);
      if (!axis || *axis >= body.axes.size() + body.reduce_axes.size()) continue;
      const Dim extent = *axis < body.axes.size() ? body.axes[*axis] : body.reduce_axes[*axis - body.axes.size()];
      add_fact(facts, broadcast ? Kind::kBroadcast : kind, extent, shape[i]);
    }
  }
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
  for (const Body& body : *bodies) add_body_facts(node, body, facts);
}

}  // namespace

std::vector<DimFact> dim_facts(const ir::Node& node) {
  std::vector<DimFact> facts;
  add_node_facts(node, facts);
  return facts;
}

}  // namespace tenon::codegen
