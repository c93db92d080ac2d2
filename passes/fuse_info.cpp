#include "passes/fuse_info.h"

#include <algorithm>
#include <functional>
#include <set>

#include "ir/op.h"

namespace tenon::passes {

using ir::Body;
using ir::Dim;
using ir::ExprKind;
using ir::ExprNode;
using ir::Node;
using ir::Value;

std::vector<Dim> without_units(const std::vector<Dim>& dims) {
  std::vector<Dim> out;
  for (const Dim& d : dims) {
    if (!d.is_const(1)) out.push_back(d);
  }
  return out;
}

std::vector<int> axes_without_units(const std::vector<Dim>& dims, int first) {
  std::vector<int> axes;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (!dims[i].is_const(1)) axes.push_back(first + static_cast<int>(i));
  }
  return axes;
}

std::optional<std::vector<int>> plain_axes(const Body& body, const ExprNode& load, const std::vector<Dim>& dims) {
  if (load.guarded || load.args.size() != dims.size()) return std::nullopt;
  std::vector<int> axes;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i].is_const(1)) continue;
    const ExprNode& index = body.pool->node(load.args[i]);
    if (index.kind != ExprKind::kIndex) return std::nullopt;
    axes.push_back(index.axis);
  }
  return axes;
}

namespace {

constexpr int kManyGathers = 3;  // from so many moved inputs on, a node stays alone (concatenations)

bool kernel_dtype(DType d) {
  const bool is_small_float = is_float(d) && bits(d) < 16;
  return !is_packed(d) && !is_small_float && d != DType::kString && d != DType::kC64 && d != DType::kC128 && d != DType::kInvalid;
}

bool kernel_tensor(const Value* v) { return v->type().is_ranked_tensor() && kernel_dtype(v->dtype()); }

Access access_of(const Body& body, const ExprNode& load, const Value* operand) {
  const std::optional<std::vector<int>> axes = plain_axes(body, load, *operand->tensor().dims);
  if (!axes) return Access::kOther;
  if (!std::is_sorted(axes->begin(), axes->end(), std::less_equal<>())) return Access::kOther;
  return *axes == axes_without_units(body.axes) ? Access::kIdentity : Access::kBroadcast;
}

void reachable(const Body& body, ir::Expr root, std::vector<char>& seen) {
  if (!root.valid()) return;
  seen.resize(std::max(seen.size(), static_cast<size_t>(body.pool->size())), 0);
  seen[static_cast<size_t>(root.id)] = 1;
  for (int id = root.id; id >= 0; --id) {
    if (!seen[static_cast<size_t>(id)]) continue;
    for (int a : body.pool->node(id).args) seen[static_cast<size_t>(a)] = 1;
  }
}

bool is_fixed(const ExprNode& n) { return n.kind == ExprKind::kConst || n.kind == ExprKind::kDim; }

/// Whether different output elements read different elements: every axis is an axis of the output, moved by a constant.
bool reads_once(const Body& body, const ExprNode& load, const std::vector<Dim>& dims) {
  if (load.args.size() < dims.size()) return false;  // the body says that the operand's rank is wrong
  std::set<int> seen;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i].is_const(1)) continue;
    const ExprNode* index = &body.pool->node(load.args[i]);
    const bool moved = index->kind == ExprKind::kOp && (index->op == ir::ScalarOp::kAdd || index->op == ir::ScalarOp::kSub);
    if (moved && !is_fixed(body.pool->node(index->args[1]))) return false;
    if (moved) index = &body.pool->node(index->args[0]);
    if (index->kind == ExprKind::kIndex ? !seen.insert(index->axis).second : !is_fixed(*index)) return false;
  }
  return axes_without_units(body.axes).size() == seen.size();
}

void analyze_accesses(const Node& node, const Body& body, FuseInfo& info) {
  std::vector<char> seen;
  reachable(body, body.value, seen);
  reachable(body, body.post, seen);
  int loads = 0;
  std::optional<std::vector<int>> axes;
  for (size_t id = 0; id < seen.size(); ++id) {
    const ExprNode& n = body.pool->node(static_cast<int>(id));
    if (!seen[id] || n.kind != ExprKind::kLoad) continue;
    ++loads;
    const auto at = static_cast<size_t>(n.operand);
    info.once[at] = info.inputs[at] == Access::kNone && reads_once(body, n, *node.input(n.operand)->tensor().dims);
    Access& access = info.inputs[static_cast<size_t>(n.operand)];
    access = std::max(access, access_of(body, n, node.input(n.operand)));
    axes = plain_axes(body, n, *node.input(n.operand)->tensor().dims);
  }
  const ExprNode& root = body.value.node();
  info.moves = !info.reduces && loads == 1 && root.kind == ExprKind::kLoad && !root.guarded;
  for (size_t id = 0; id < seen.size(); ++id)
    if (seen[id] && body.pool->node(static_cast<int>(id)).kind == ExprKind::kCheckedIndex) info.moves = false;
  info.exponential = root.kind == ExprKind::kOp && root.op == ir::ScalarOp::kExp;
  info.contraction = info.reduces && body.kind == ir::ComputeKind::kContraction;
  info.combiner = body.combiner;
  info.permutes = !info.reduces && loads == 1 && axes && root.kind == ExprKind::kLoad;
  if (info.permutes) {
    std::sort(axes->begin(), axes->end());
    info.permutes = std::adjacent_find(axes->begin(), axes->end()) == axes->end();
    axes = plain_axes(body, root, *node.input(root.operand)->tensor().dims);
  }
  const bool in_place = std::all_of(info.inputs.begin(), info.inputs.end(), [](Access a) { return a != Access::kOther; });
  info.elementwise = !info.reduces && in_place;
  if (!info.contraction && std::count(info.inputs.begin(), info.inputs.end(), Access::kOther) >= kManyGathers) info.fusable = false;
  if (!info.reduces || loads != 1 || !axes || body.kind == ir::ComputeKind::kContraction) return;
  // A row reduction reads each element of its one operand once, the axes kept in their order and those reduced in theirs.
  std::vector<int> kept, reduced;
  const int outer = static_cast<int>(body.axes.size());
  for (int a : *axes) (a < outer ? kept : reduced).push_back(a);
  info.row = !reduced.empty() && kept == axes_without_units(body.axes) && reduced == axes_without_units(body.reduce_axes, outer);
  for (int a : *axes) {
    info.kept.push_back(a < outer);
    info.domain.push_back(a < outer ? body.axes[static_cast<size_t>(a)] : body.reduce_axes[static_cast<size_t>(a - outer)]);
  }
}

}  // namespace

FuseInfo analyze_for_fusion(const Node& node) {
  FuseInfo info;
  if (node.op().compute.body == nullptr || node.op().side_effects || node.num_regions() != 0) return info;
  if (node.num_outputs() != 1) {
    for (int i = 1; i < node.num_outputs(); ++i) {
      if (!node.output(i)->unused()) return info;
    }
  }
  if (!kernel_tensor(node.output())) return info;
  for (const Value* v : node.inputs()) {
    if (v != nullptr && !kernel_tensor(v)) return info;
  }
  Result<std::vector<Body>> bodies = node.op().compute.body(node);
  if (!bodies.ok() || bodies->empty()) return info;
  const Body& body = (*bodies)[0];
  if (body.scan || body.scatter) return info;  // kernels of their own
  for (int id = 0; id < body.pool->size(); ++id) {
    if (!kernel_dtype(body.pool->node(id).dtype)) return info;
  }
  info.fusable = true;
  info.reduces = !body.reduce_axes.empty();
  info.shape = without_units(body.axes);
  info.inputs.assign(static_cast<size_t>(node.num_inputs()), Access::kNone);
  info.once.assign(info.inputs.size(), false);
  analyze_accesses(node, body, info);
  info.view = node.op().compute.view;
  if (info.view) info.fusable = info.permutes = false;
  return info;
}

}  // namespace tenon::passes
