#include "codegen/lower/pad.h"

#include <algorithm>

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ExprPool;
using ir::ScalarOp;

namespace {

constexpr size_t kMaxConjuncts = 64;

void conjuncts(ExprPool& pool, int guard, std::vector<int>& out) {
  if (out.size() > kMaxConjuncts) return;
  const ExprNode& n = pool.node(guard);
  if (n.kind != ExprKind::kOp || n.op != ScalarOp::kAnd) {
    out.push_back(guard);
    return;
  }
  for (int a : n.args) conjuncts(pool, a, out);
}

/// A comparison of integers as `affine >= 0`.
std::optional<Affine> at_least_zero(IndexAlgebra& algebra, ExprPool& pool, int id) {
  const ExprNode n = pool.node(id);
  if (n.kind != ExprKind::kOp || n.args.size() != 2 || pool.node(n.args[0]).dtype != DType::kI64) return std::nullopt;
  const Affine a = algebra.affine({&pool, n.args[0]}), b = algebra.affine({&pool, n.args[1]});
  const auto minus_one = [&](Affine x) {
    x.constant = x.constant - 1;
    return x;
  };
  switch (n.op) {
    case ScalarOp::kGe: return algebra.add(a, b, -1);
    case ScalarOp::kGt: return minus_one(algebra.add(a, b, -1));
    case ScalarOp::kLe: return algebra.add(b, a, -1);
    case ScalarOp::kLt: return minus_one(algebra.add(b, a, -1));
    default: return std::nullopt;
  }
}

bool same(IndexAlgebra& algebra, const Affine& a, const Affine& b) {
  const Affine d = algebra.add(a, b, -1);
  return d.is_constant() && d.constant.is_const(0);
}

/// One axis of the operand: its index, the range of it, and which bounds the guard must keep.
struct AxisBounds {
  Affine index;
  Dim lo, hi;
  bool below = false, above = false;
};

/// The operand's axes, when the guard says nothing but that the index is inside.
std::optional<std::vector<AxisBounds>> bounds_of(IndexAlgebra& algebra, ExprPool& pool, const ExprNode& load,
                                                 const std::vector<Dim>& shape) {
  std::vector<int> guards;
  conjuncts(pool, load.args[load.args.size() - 2], guards);
  if (guards.size() > kMaxConjuncts) return std::nullopt;
  std::vector<Affine> held;
  for (int g : guards) {
    const std::optional<Affine> a = at_least_zero(algebra, pool, g);
    if (!a) return std::nullopt;
    held.push_back(*a);
  }
  std::vector<char> explained(held.size(), 0);
  std::vector<AxisBounds> axes;
  for (size_t j = 0; j < shape.size(); ++j) {
    AxisBounds axis{.index = algebra.affine({&pool, load.args[j]})};
    const IndexAlgebra::Range range = algebra.range(axis.index);
    if (!range.lo || !range.hi) return std::nullopt;
    axis.lo = *range.lo, axis.hi = *range.hi;
    Affine above = algebra.scale(axis.index, -1);
    above.constant = above.constant + shape[j] - 1;
    bool below_held = false, above_held = false;
    for (size_t h = 0; h < held.size(); ++h) {
      const bool is_below = same(algebra, held[h], axis.index), is_above = same(algebra, held[h], above);
      below_held |= is_below;
      above_held |= is_above;
      if (is_below || is_above) explained[h] = 1;
    }
    axis.below = !algebra.non_negative(axis.index);
    axis.above = !ir::known_le(axis.hi, shape[j] - 1);
    if ((axis.below && !below_held) || (axis.above && !above_held)) return std::nullopt;
    axes.push_back(std::move(axis));
  }
  if (std::find(explained.begin(), explained.end(), 0) != explained.end()) return std::nullopt;
  return axes;
}

bool is_zero(const ExprNode& n) { return n.kind == ExprKind::kConst && n.scalar.f == 0 && n.scalar.i == 0; }

/// The padded operand as a stage: axes in the coordinates of the padded tensor.
Stage padded_stage(ExprPool& pool, const ExprNode& load, const std::vector<AxisBounds>& axes, const std::vector<Dim>& shape,
                   DType dtype, int64_t slack) {
  Stage s;
  std::vector<Expr> index;
  Expr guard;
  for (size_t j = 0; j < axes.size(); ++j) {
    const Dim extent = axes[j].hi - axes[j].lo + 1;
    s.shape.push_back(extent);
    Expr at = pool.dim(axes[j].lo);
    if (!extent.is_const(1)) {
      at = pool.index(static_cast<int>(s.axes.size())) + at;
      s.axes.push_back(extent);
    }
    index.push_back(at);
    const auto require = [&](Expr condition) { guard = guard.valid() ? guard && condition : condition; };
    if (axes[j].below) require(at >= pool.constant_int(DType::kI64, 0));
    if (axes[j].above) require(at < pool.dim(shape[j]));
  }
  if (!guard.valid()) guard = pool.constant_int(DType::kBool, 1);
  s.value = pool.cast(pool.load_guarded(load.operand, load.dtype, index, guard, constant_expr(pool, load.dtype)), dtype);
  s.value = IndexAlgebra(pool, s.axes).simplify(s.value);
  s.dtype = s.acc_dtype = dtype;
  s.slack = slack;
  return s;
}

}  // namespace

std::optional<Padded> materialise_padding(Lowering& lowering, int stage, Expr factor, int64_t slack) {
  ExprPool& pool = *lowering.group.pool;
  const Stage& s = lowering.stage(stage);
  int load_id = factor.id;
  if (factor.node().kind == ExprKind::kCast) load_id = factor.node().args[0];
  const ExprNode load = pool.node(load_id);
  if (load.kind != ExprKind::kLoad || !load.guarded || !is_zero(pool.node(load.args.back()))) return std::nullopt;
  IndexAlgebra algebra(pool, s.all_axes());
  const std::vector<Dim> shape = lowering.group.shape_of(load.operand);
  const auto axes = bounds_of(algebra, pool, load, shape);
  if (!axes) return std::nullopt;
  Stage padded = padded_stage(pool, load, *axes, shape, factor.dtype(), slack);
  if (!ir::product(padded.shape).is_valid()) return std::nullopt;
  std::vector<Expr> index;
  for (const AxisBounds& axis : *axes) {
    Affine at = axis.index;
    at.constant = at.constant - axis.lo;
    index.push_back(algebra.expr(at));
  }
  const int number = static_cast<int>(lowering.group.stages.size());
  const Expr read = pool.load(kStageOperand + number, factor.dtype(), index);
  const Expr value = substitute(s.value, {{factor.id, read}});
  lowering.group.stages.push_back(std::move(padded));
  return Padded{number, value};
}

}  // namespace tenon::codegen
