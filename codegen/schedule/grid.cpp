#include <algorithm>

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

using ir::Dim;
using ir::ScalarOp;
using kir::ValueId;

size_t choose_lane_axis(const std::vector<Dim>& axes) {
  // What a symbol may stand for is unknown: often one, as the size of a batch. It takes the lanes only from very short axes.
  constexpr int64_t kPresumed = 16;
  constexpr int64_t kShort = 5;  // from here on part of a vector in place beats whole vectors that are gathered
  const size_t last = axes.size() - 1;
  if (!axes[last].is_const() || axes[last].value() >= kShort) return last;
  size_t best = last;
  int64_t longest = axes[last].value() * 4;
  for (size_t i = last; i-- > 0;) {
    const int64_t size = axes[i].is_const() ? axes[i].value() : kPresumed;
    if (size <= longest) continue;
    best = i;
    longest = size;
  }
  return best;
}

ValueId row_major_offset(Emitter& em, const std::vector<Dim>& axes, std::span<const ValueId> index, size_t last) {
  kir::KernelBuilder& b = em.builder();
  ValueId offset = b.i64(0), last_term = -1;
  Dim stride = 1;
  for (size_t i = axes.size(); i-- > 0;) {
    const ValueId term = b.mul(index[i], em.dim(stride));
    if (i == last) last_term = term;
    else offset = b.add(offset, term);
    stride = stride * axes[i];
  }
  return last_term < 0 ? offset : b.add(offset, last_term);
}

namespace {

/// The axes of a row grid but for the lanes'.
struct RowAxes {
  std::vector<Dim> extents;
  std::vector<size_t> axis;
};

RowAxes row_axes(const std::vector<Dim>& axes, size_t lane_axis) {
  RowAxes rows;
  for (size_t a = 0; a < axes.size(); ++a) {
    if (a == lane_axis) continue;
    rows.extents.push_back(axes[a]);
    rows.axis.push_back(a);
  }
  return rows;
}

}  // namespace

Dim emit_row_grid(Emitter& em, const std::vector<Dim>& axes, size_t lane_axis, int64_t block,
                  const std::function<void(std::span<ValueId> index, ValueId lo, ValueId hi)>& row, std::span<const ir::Expr> hoisted) {
  kir::KernelBuilder& b = em.builder();
  const RowAxes rows = row_axes(axes, lane_axis);
  const Dim lanes = axes[lane_axis];
  std::vector<ValueId> index(axes.size(), -1);
  const auto bind = [&](size_t i, ValueId value) {
    em.bind(static_cast<int>(rows.axis[i]), value);
    index[rows.axis[i]] = value;
  };
  if (!ir::known_le(lanes, block)) {
    // Rows vary fastest, so that rows which share cache lines are done together.
    const Dim count = ir::product(rows.extents);
    const bool one = count.is_const(1);
    const ValueId part = one ? b.grid_index() : b.op(ScalarOp::kDiv, {b.grid_index(), em.dim(count)});
    const ValueId flat = one ? b.i64(0) : b.sub(b.grid_index(), b.mul(part, em.dim(count)));
    const std::vector<ValueId> at = em.unflatten(flat, rows.extents);
    for (size_t i = 0; i < at.size(); ++i) bind(i, at[i]);
    const ValueId lo = b.mul(part, b.i64(block));
    row(index, lo, b.op(ScalarOp::kMin, {b.add(lo, b.i64(block)), em.dim(lanes)}));
    return count * ir::ceil_div(lanes, block);
  }
  // Short rows: several along the last of their axes, so that what depends on the others is computed once.
  std::vector<Dim> grid = rows.extents;
  const int64_t several = lanes.is_const() ? std::max<int64_t>(1, block / std::max<int64_t>(1, lanes.value())) : 1;
  if (!grid.empty() && several > 1) grid.back() = ir::ceil_div(grid.back(), several);
  const std::vector<ValueId> at = em.unflatten(b.grid_index(), grid);
  const size_t outer = grid.empty() || several == 1 ? at.size() : at.size() - 1;
  for (size_t i = 0; i < outer; ++i) bind(i, at[i]);
  if (outer == at.size()) {
    row(index, b.i64(0), em.dim(lanes));
    return ir::product(grid);
  }
  const bool whole = grid.back().is_const(1);
  const ValueId extent = em.dim(rows.extents.back());
  const ValueId first = whole ? b.i64(0) : b.mul(at.back(), b.i64(several));
  const ValueId last = whole ? extent : b.op(ScalarOp::kMin, {b.add(first, b.i64(several)), extent});
  for (ir::Expr e : hoisted) em.hoist(e);
  em.loop(kir::LoopKind::kSerial, first, last, 1, [&](ValueId iv) {
    bind(outer, iv);
    row(index, b.i64(0), em.dim(lanes));
  });
  return ir::product(grid);
}

ScalarOp combine_op(ir::Combiner combiner) {
  switch (combiner) {
    case ir::Combiner::kMul: return ScalarOp::kMul;
    case ir::Combiner::kMin: return ScalarOp::kMin;
    case ir::Combiner::kMax: return ScalarOp::kMax;
    case ir::Combiner::kAnd: return ScalarOp::kAnd;
    case ir::Combiner::kOr: return ScalarOp::kOr;
    default: return ScalarOp::kAdd;
  }
}

ValueId constant(kir::KernelBuilder& b, DType dtype, ir::Scalar value) {
  return is_float(dtype) ? b.constant(dtype, value.f) : b.constant_int(dtype, value.i);
}

ir::Expr constant_expr(ir::ExprPool& pool, DType dtype) {
  return is_float(dtype) ? pool.constant(dtype, 0) : pool.constant_int(dtype, 0);
}

ir::Expr row_major_position(ir::ExprPool& pool, std::span<const Dim> extents, int first) {
  ir::Expr position;
  Dim stride = 1;
  for (size_t i = extents.size(); i-- > 0;) {
    const ir::Expr term = pool.index(first + static_cast<int>(i)) * pool.dim(stride);
    position = position.valid() ? term + position : term;
    stride = stride * extents[i];
  }
  return position.valid() ? position : pool.constant_int(DType::kI64, 0);
}

}  // namespace tenon::codegen
