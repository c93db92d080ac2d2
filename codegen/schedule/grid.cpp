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

Dim emit_row_grid(Emitter& em, const std::vector<Dim>& axes, size_t lane_axis, int64_t block,
                  const std::function<void(std::span<ValueId> index, ValueId lo, ValueId hi)>& row) {
  kir::KernelBuilder& b = em.builder();
  std::vector<Dim> outer;
  std::vector<size_t> outer_axis;
  for (size_t a = 0; a < axes.size(); ++a) {
    if (a == lane_axis) continue;
    outer.push_back(axes[a]);
    outer_axis.push_back(a);
  }
  const Dim rows = ir::product(outer), lanes = axes[lane_axis];
  const bool split_row = !ir::known_le(lanes, block);
  const bool several_rows = lanes.is_const() && !split_row && !rows.is_const(1);
  const int64_t rows_per_block = several_rows ? std::max<int64_t>(1, block / std::max<int64_t>(1, lanes.value())) : 1;

  ValueId row_block = b.grid_index(), lo = b.i64(0), hi = em.dim(lanes);
  if (split_row) {
    // Rows vary fastest, so that rows which share cache lines are done together.
    const bool one = rows.is_const(1);
    const ValueId part = one ? b.grid_index() : b.op(ScalarOp::kDiv, {b.grid_index(), em.dim(rows)});
    row_block = one ? b.i64(0) : b.sub(b.grid_index(), b.mul(part, em.dim(rows)));
    lo = b.mul(part, b.i64(block));
    hi = b.op(ScalarOp::kMin, {b.add(lo, b.i64(block)), em.dim(lanes)});
  }
  const auto one_row = [&](ValueId flat) {
    const std::vector<ValueId> outer_index = em.unflatten(flat, outer);
    std::vector<ValueId> index(axes.size(), -1);
    for (size_t i = 0; i < outer.size(); ++i) {
      em.bind(static_cast<int>(outer_axis[i]), outer_index[i]);
      index[outer_axis[i]] = outer_index[i];
    }
    row(index, lo, hi);
  };
  if (rows_per_block == 1) {
    one_row(row_block);
    return split_row ? rows * ir::ceil_div(lanes, block) : rows;
  }
  const ValueId first = b.mul(row_block, b.i64(rows_per_block));
  const ValueId last = b.op(ScalarOp::kMin, {b.add(first, b.i64(rows_per_block)), em.dim(rows)});
  em.loop(kir::LoopKind::kSerial, first, last, 1, one_row);
  return ir::ceil_div(rows, rows_per_block);
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
