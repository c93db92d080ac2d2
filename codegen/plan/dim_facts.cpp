#include "codegen/plan/dim_facts.h"

#include <algorithm>

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
  if (kind == Kind::kEqual ? ir::known_eq(a, b) : ir::known_le(a, b)) return;
  const bool there = std::any_of(facts.begin(), facts.end(),
                                 [&](const DimFact& f) { return f.kind == kind && f.a == a && f.b == b; });
  if (!there) facts.push_back({kind, a, b});
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
      const ir::ExprNode& index = body.pool->node(load.args[i]);
      if (index.kind != ExprKind::kIndex) continue;
      const auto axis = static_cast<size_t>(index.axis);
      if (axis >= body.axes.size() + body.reduce_axes.size()) continue;
      add_fact(facts, kind, axis < body.axes.size() ? body.axes[axis] : body.reduce_axes[axis - body.axes.size()], shape[i]);
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
