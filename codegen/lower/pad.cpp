#include "codegen/lower/pad.h"

#include <algorithm>

#include "codegen/lower/guards.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ExprPool;
using ir::ScalarOp;

namespace {

/// One axis of the operand: its index counted from the lowest that occurs, and the stride with which an output axis walks it.
/// A stride splits it into phase and position, index = stride * position + phase, so that positions lie side by side.
struct AxisWalk {
  Dim lo;
  int64_t stride = 1;
  Affine phase, position;
  Dim phases = 1, positions = 1;
};

constexpr int64_t kMaxStride = 4;

/// The stride of the one output axis in the index, if it has one.
int64_t stride_of(const Affine& index, const ExprPool& pool, size_t outer) {
  int64_t stride = 1;
  int walking = 0;
  for (const Affine::Term& t : index.terms) {
    const ExprNode& atom = pool.node(t.atom);
    if (atom.kind != ExprKind::kIndex || static_cast<size_t>(atom.axis) >= outer) continue;
    ++walking;
    if (t.coefficient.is_const()) stride = t.coefficient.value();
  }
  return walking == 1 && stride > 1 && stride <= kMaxStride ? stride : 1;
}

std::optional<std::vector<AxisWalk>> walks_of(IndexAlgebra& algebra, ExprPool& pool, const ExprNode& load, size_t rank, size_t outer,
                                              bool split_strides) {
  std::vector<AxisWalk> axes;
  for (size_t j = 0; j < rank; ++j) {
    Affine index = algebra.affine({&pool, load.args[j]});
    const IndexAlgebra::Range range = algebra.range(index);
    if (!range.lo || !range.hi) return std::nullopt;
    AxisWalk axis{.lo = *range.lo, .stride = split_strides ? stride_of(index, pool, outer) : 1};
    index.constant = index.constant - axis.lo;
    const Expr at = algebra.expr(index);
    axis.phase = algebra.affine(ir::mod(at, pool.constant_int(DType::kI64, axis.stride)));
    axis.position = algebra.affine(ir::floor_div(at, pool.constant_int(DType::kI64, axis.stride)));
    const IndexAlgebra::Range phases = algebra.range(axis.phase), positions = algebra.range(axis.position);
    if (!phases.hi || !positions.hi) return std::nullopt;
    axis.phases = *phases.hi + 1;
    axis.positions = *positions.hi + 1;
    axes.push_back(std::move(axis));
  }
  return axes;
}

bool is_zero(const ExprNode& n) { return n.kind == ExprKind::kConst && n.scalar.f == 0 && n.scalar.i == 0; }

/// The operand as the stage stores it: axes are the phases, then the positions.
Stage padded_stage(ExprPool& pool, const ExprNode& load, const std::vector<AxisWalk>& axes, const std::vector<Dim>& shape,
                   DType dtype, int64_t slack) {
  Stage s;
  const auto add_axis = [&](Dim extent) {
    s.shape.push_back(extent);
    if (extent.is_const(1)) return pool.constant_int(DType::kI64, 0);
    s.axes.push_back(extent);
    return pool.index(static_cast<int>(s.axes.size()) - 1);
  };
  std::vector<Expr> phase, index;
  for (const AxisWalk& axis : axes) phase.push_back(add_axis(axis.phases));
  Expr guard = pool.constant_int(DType::kBool, 1);
  for (size_t j = 0; j < axes.size(); ++j) {
    const Expr at = add_axis(axes[j].positions) * pool.constant_int(DType::kI64, axes[j].stride) + phase[j] + pool.dim(axes[j].lo);
    guard = guard && at >= pool.constant_int(DType::kI64, 0) && at < pool.dim(shape[j]);
    index.push_back(at);
  }
  s.value = pool.cast(pool.load_guarded(load.operand, load.dtype, index, guard, constant_expr(pool, load.dtype)), dtype);
  s.value = IndexAlgebra(pool, s.axes).simplify(s.value);
  s.dtype = s.acc_dtype = dtype;
  s.slack = slack;
  return s;
}

}  // namespace

std::optional<Padded> materialise_padding(Lowering& lowering, int stage, Expr factor, int64_t slack, bool split_strides) {
  ExprPool& pool = *lowering.group.pool;
  const Stage& s = lowering.stage(stage);
  int load_id = factor.id;
  if (factor.node().kind == ExprKind::kCast) load_id = factor.node().args[0];
  const ExprNode load = pool.node(load_id);
  if (load.kind != ExprKind::kLoad || (load.guarded && !is_zero(pool.node(load.args.back())))) return std::nullopt;
  IndexAlgebra algebra(pool, s.all_axes());
  const std::vector<Dim> shape = lowering.group.shape_of(load.operand);
  const auto axes = walks_of(algebra, pool, load, shape.size(), s.axes.size(), split_strides);
  if (!axes) return std::nullopt;
  const bool strided = std::any_of(axes->begin(), axes->end(), [](const AxisWalk& a) { return a.stride > 1; });
  if (load.guarded ? !guards_bounds(algebra, pool, load, shape) : !strided) return std::nullopt;
  Stage padded = padded_stage(pool, load, *axes, shape, factor.dtype(), slack);
  if (!ir::product(padded.shape).is_valid()) return std::nullopt;
  std::vector<Expr> index;
  for (const AxisWalk& axis : *axes) index.push_back(algebra.expr(axis.phase));
  for (const AxisWalk& axis : *axes) index.push_back(algebra.expr(axis.position));
  const int number = static_cast<int>(lowering.group.stages.size());
  lowering.group.stages.push_back(std::move(padded));
  return Padded{number, std::move(index)};
}

}  // namespace tenon::codegen
