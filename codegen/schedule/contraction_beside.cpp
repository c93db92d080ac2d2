#include "codegen/schedule/contraction_beside.h"

#include <algorithm>

#include "passes/product_columns.h"

namespace tenon::codegen {

using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;

namespace {

/// The factors of a sum of products, of which the second has the innermost axis of the result.
std::optional<std::pair<Expr, Expr>> factors_of(const Stage& s) {
  if (!s.reduces() || s.is_arg() || s.combiner != ir::Combiner::kAdd || s.axes.empty() || s.stored.valid()) return std::nullopt;
  const ExprNode& root = s.value.node();
  if (root.kind != ExprKind::kOp || root.op != ir::ScalarOp::kMul) return std::nullopt;
  const Expr x{s.value.pool, root.args[0]}, y{s.value.pool, root.args[1]};
  const int last = static_cast<int>(s.axes.size()) - 1;
  if (uses_axis(x, last) == uses_axis(y, last)) return std::nullopt;
  return uses_axis(y, last) ? std::pair(x, y) : std::pair(y, x);
}

/// Whether a load of a stage's result is of the element at the reader's own axes.
bool at_own_place(const ExprNode& load, const Stage& from) {
  if (load.guarded || load.args.size() != from.shape.size()) return false;
  int axis = 0;
  for (size_t i = 0; i < from.shape.size(); ++i) {
    if (from.shape[i].is_const(1)) continue;
    const ExprNode& index = from.value.pool->node(load.args[i]);
    if (index.kind != ExprKind::kIndex || index.axis != axis++) return false;
  }
  return axis == static_cast<int>(from.axes.size());
}

/// Whether constants have the axes that others have, so that both can be packed alike.
bool same_axes(Expr b, Expr other, const Stage& s) {
  const int axes = static_cast<int>(s.all_axes().size());
  for (int axis = 0; axis < axes; ++axis)
    if (uses_axis(b, axis) != uses_axis(other, axis)) return false;
  return true;
}

}  // namespace

std::optional<std::vector<Beside>> products_beside(const Lowering& lowering) {
  const std::vector<Stage>& stages = lowering.group.stages;
  if (stages.size() < 2 || stages.size() > passes::kMostProductsBeside) return std::nullopt;
  const Stage& own = stages.back();
  const auto factors = factors_of(own);
  if (!factors) return std::nullopt;
  std::vector<Beside> beside;
  for (size_t i = 0; i + 1 < stages.size(); ++i) {
    const Stage& s = stages[i];
    const auto others = factors_of(s);
    if (!others || others->first.id != factors->first.id || s.output != nullptr) return std::nullopt;
    if (s.axes != own.axes || s.reduce_axes != own.reduce_axes || s.acc_dtype != own.acc_dtype) return std::nullopt;
    if (!reads_constants(lowering, others->second) || !same_axes(factors->second, others->second, own))
      return std::nullopt;
    const std::vector<int> read = s.operands();
    if (std::any_of(read.begin(), read.end(), [](int o) { return o >= kStageOperand; })) return std::nullopt;
    beside.push_back({static_cast<int>(i), others->second, s.post});
  }
  bool in_place = true;
  visit(own.post, [&](int, const ExprNode& n) {
    if (n.kind == ExprKind::kLoad && n.operand >= kStageOperand)
      in_place &= at_own_place(n, stages[static_cast<size_t>(n.operand - kStageOperand)]);
  });
  visit(own.value, [&](int, const ExprNode& n) { in_place &= n.kind != ExprKind::kLoad || n.operand < kStageOperand; });
  return in_place ? std::optional(beside) : std::nullopt;
}

}  // namespace tenon::codegen
