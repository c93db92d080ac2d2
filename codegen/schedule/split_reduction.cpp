#include <algorithm>

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ExprPool;

namespace {

constexpr int64_t kMostParts = 256;

/// The reduce axis to cut, into how many parts, and whether these are of one size.
struct Cut {
  size_t axis = 0;  // among the reduce axes
  int64_t parts = 1;
  bool even = true;
};

/// The most parts up to `wanted` that divide some axis, the outermost of equals; of an axis that none divides well, or of unknown size,
/// the last part is shorter.
Cut choose_cut(const std::vector<Dim>& reduce_axes, int64_t wanted) {
  Cut best;
  for (size_t axis = 0; axis < reduce_axes.size(); ++axis) {
    if (!reduce_axes[axis].is_const()) continue;
    int64_t parts = std::min(wanted, reduce_axes[axis].value());
    while (parts > 1 && reduce_axes[axis].value() % parts != 0) --parts;
    if (parts > best.parts) best = {axis, parts, true};
  }
  if (best.parts * 2 > wanted) return best;
  for (size_t axis = 0; axis < reduce_axes.size(); ++axis)
    if (!reduce_axes[axis].is_const() || reduce_axes[axis].value() >= wanted * 2) return {axis, wanted, false};
  return best;
}

/// `e`, whose loads read only where `condition` holds.
Expr guarded(Expr e, Expr condition) {
  ExprPool& pool = *e.pool;
  return pool.copy(e, [&](const ExprNode& n, std::span<const Expr> args) -> Expr {
    if (n.kind != ExprKind::kLoad) return {};
    if (!n.guarded) return pool.load_guarded(n.operand, n.dtype, args, condition, constant_expr(pool, n.dtype));
    const size_t rank = args.size() - 2;
    return pool.load_guarded(n.operand, n.dtype, args.first(rank), args[rank] && condition, args[rank + 1]);
  });
}

Expr identity_expr(ExprPool& pool, const Stage& s) {
  const ir::Scalar value = ir::identity(s.combiner, s.acc_dtype);
  return is_float(s.acc_dtype) ? pool.constant(s.acc_dtype, value.f) : pool.constant_int(s.acc_dtype, value.i);
}

/// A sum of products stays one: both factors are zero where there is nothing.
Expr within(const Stage& s, Expr value, Expr condition) {
  ExprPool& pool = *value.pool;
  const ExprNode root = value.node();
  const bool dot = root.kind == ExprKind::kOp && (root.op == ir::ScalarOp::kDot4 || root.op == ir::ScalarOp::kDot4Signed);
  const bool product = s.combiner == ir::Combiner::kAdd && root.kind == ExprKind::kOp && (root.op == ir::ScalarOp::kMul || dot);
  if (!product) return ir::select(condition, guarded(value, condition), identity_expr(pool, s));
  const auto factor = [&](size_t i) {
    const Expr e{&pool, root.args[i]};
    return ir::select(condition, guarded(e, condition), constant_expr(pool, e.dtype()));
  };
  if (!dot) return factor(0) * factor(1);
  const Expr args[] = {factor(0), factor(1), {&pool, root.args[2]}};
  return pool.op(root.op, args);
}

/// The parts' own reductions: axes are those of `s`, with the parts before them or behind.
Stage parts_of(ExprPool& pool, const Stage& s, const Cut& cut, bool innermost) {
  Stage made;
  const size_t outer = s.axes.size(), part = innermost ? outer : 0;
  const Dim whole = s.reduce_axes[cut.axis], length = ir::ceil_div(whole, cut.parts);
  made.axes = s.axes;
  made.axes.insert(made.axes.begin() + static_cast<int64_t>(part), Dim(cut.parts));
  made.reduce_axes = s.reduce_axes;
  made.reduce_axes[cut.axis] = length;
  made.shape = made.axes;
  made.combiner = s.combiner;
  made.acc_dtype = made.dtype = s.acc_dtype;
  made.post = pool.acc(0, s.acc_dtype);
  const int cut_axis = static_cast<int>(outer + cut.axis);
  const Expr at = pool.index(static_cast<int>(part)) * pool.dim(length) + pool.index(cut_axis + 1);
  const Expr moved = pool.copy(s.value, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
    if (n.kind != ExprKind::kIndex) return {};
    return n.axis == cut_axis ? at : pool.index(n.axis + (static_cast<size_t>(n.axis) >= part ? 1 : 0));
  });
  made.value = cut.even ? moved : within(s, moved, at < pool.dim(whole));
  return made;
}

}  // namespace

RowsOfRun rows_of_run(Dim rows, int64_t few) {
  const Dim many = ir::min(1, ir::floor_div(rows, few + 1));
  return {ir::min(1, rows) - many, many};
}

int64_t product_of_constants(std::span<const Dim> extents) {
  Dim all = 1;
  for (Dim d : extents)
    if (d.is_const()) all = all * d;
  return all.is_const() ? all.value() : INT64_MAX;
}

int split_reduction(Lowering& lowering, int stage, Dim workgroups, int64_t least, bool parts_innermost) {
  const Stage s = lowering.stage(stage);
  const int64_t busy = lowering.target.busy_workgroups;
  if (s.is_arg() || s.ordered() || !workgroups.is_const() || workgroups.value() < 1 || workgroups.value() > busy / 2) return -1;
  const Dim length = ir::product(s.reduce_axes);
  if (!length.is_valid() || ir::known_le(length, 2 * least - 1)) return -1;
  int64_t wanted = std::min(busy / workgroups.value(), kMostParts);
  if (length.is_const()) wanted = std::min(wanted, length.value() / least);
  const Cut cut = choose_cut(s.reduce_axes, wanted);
  if (cut.parts < 2) return -1;
  ExprPool& pool = *lowering.group.pool;
  const int number = static_cast<int>(lowering.group.stages.size());
  lowering.group.stages.push_back(parts_of(pool, s, cut, parts_innermost));
  std::vector<Expr> index;
  for (size_t a = 0; a < s.axes.size(); ++a) index.push_back(pool.index(static_cast<int>(a)));
  index.insert(parts_innermost ? index.end() : index.begin(), pool.index(static_cast<int>(s.axes.size())));
  Stage& left = lowering.stage(stage);
  left.reduce_axes = {Dim(cut.parts)};
  left.value = pool.load(kStageOperand + number, s.acc_dtype, index);
  return number;
}

}  // namespace tenon::codegen
