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

/// Leaves out what lies further than `halo` elements beyond the ends of the operand.
void limit(AxisWalk& axis, Dim extent, int64_t halo) {
  const Dim lo = ir::max(axis.lo, -halo), end = ir::min(axis.lo + axis.positions, extent + halo);
  axis.position.constant = axis.position.constant + axis.lo - lo;
  axis.positions = end - lo;
  axis.lo = lo;
}

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

/// What words are made of: bytes, those of signed integers or of the unsigned ones that are 128 above, numbers of bf16, or integers of 16
/// bits, less a zero point.
struct Element {
  DType dtype = DType::kU8;
  bool is_signed = false;
  Expr zero = {};
  int64_t per_word() const { return kWordBytes * 8 / bits(dtype); }
};

/// The axis of the operand that `reduce_axis` walks by ones, alone or in multiples of whole words; -1 if there is none.
int walked_axis(ExprPool& pool, const std::vector<AxisWalk>& axes, int reduce_axis, Dim extent, int64_t per_word) {
  int found = -1;
  for (size_t j = 0; j < axes.size(); ++j) {
    bool walks = false, whole_words = true;
    for (const Affine::Term& t : axes[j].position.terms) {
      const ExprNode& atom = pool.node(t.atom);
      const bool own = atom.kind == ExprKind::kIndex && atom.axis == reduce_axis;
      if (!own && uses_axis({&pool, t.atom}, reduce_axis)) return -1;
      if (own && (!t.coefficient.is_const(1) || found >= 0)) return -1;
      walks |= own;
      whole_words &= own || (t.coefficient.is_const() && t.coefficient.value() % per_word == 0);
    }
    if (!walks) continue;
    const bool alone = axes[j].position.terms.size() == 1 && axes[j].position.constant.is_const(0);
    if (!alone && (!whole_words || !axes[j].position.constant.is_const(0) || extent.value() % per_word != 0)) return -1;
    found = static_cast<int>(j);
  }
  return found;
}

/// What the operand's loads are in words, with axis `last` innermost, `width` of it.
Stage element_stage(ExprPool& pool, const ExprNode& load, const std::vector<AxisWalk>& axes,
                    const std::vector<Dim>& shape, size_t last, int64_t width, Element element) {
  Stage s;
  std::vector<Expr> index(axes.size());
  Expr inside = pool.constant_int(DType::kBool, 1);
  const auto add_axis = [&](size_t j, Dim extent) {
    s.shape.push_back(extent);
    Expr at = pool.constant_int(DType::kI64, 0);
    if (!extent.is_const(1)) {
      s.axes.push_back(extent);
      at = pool.index(static_cast<int>(s.axes.size()) - 1);
    }
    index[j] = at + pool.dim(axes[j].lo);
    if (load.guarded) inside = inside && index[j] >= pool.constant_int(DType::kI64, 0) && index[j] < pool.dim(shape[j]);
    return at;
  };
  for (size_t j = 0; j < axes.size(); ++j)
    if (j != last) add_axis(j, axes[j].positions);
  const Expr filled = add_axis(last, width) < pool.dim(axes[last].positions);
  const Expr zero = constant_expr(pool, load.dtype);
  Expr value = pool.load_guarded(load.operand, load.dtype, index, inside && filled, load.guarded ? Expr{&pool, load.args.back()} : zero);
  value = pool.cast(value, element.dtype);
  if (element.zero.valid()) value = value - pool.cast(element.zero, element.dtype);
  if (element.dtype == DType::kU8 && (load.dtype == DType::kI8) != element.is_signed) {
    const Expr flipped[] = {value, pool.constant_int(DType::kU8, 128)};
    value = pool.op(ScalarOp::kXor, flipped);
  }
  if (!axes[last].positions.is_const(width)) value = ir::select(filled, value, constant_expr(pool, element.dtype));
  s.value = IndexAlgebra(pool, s.axes).simplify(value);
  s.dtype = s.acc_dtype = element.dtype;
  return s;
}

std::optional<Padded> materialise(Lowering& lowering, int stage, Expr load, int reduce_axis, Element element) {
  ExprPool& pool = *lowering.group.pool;
  const Stage& s = lowering.stage(stage);
  const ExprNode node = load.node();
  const std::vector<Dim> shape = lowering.group.shape_of(node.operand), extents = s.all_axes();
  IndexAlgebra algebra(pool, extents);
  const auto axes = walks_of(algebra, pool, node, shape.size(), s.axes.size(), false);
  if (!axes || (node.guarded && !guards_bounds(algebra, pool, node, shape))) return std::nullopt;
  if (node.guarded && uses_any_axis({&pool, node.args.back()}, 0, extents.size())) return std::nullopt;
  const Dim extent = extents[static_cast<size_t>(reduce_axis)];
  const int last = walked_axis(pool, *axes, reduce_axis, extent, element.per_word());
  if (last < 0 || !(*axes)[static_cast<size_t>(last)].positions.is_const()) return std::nullopt;
  const int64_t words =
      ((*axes)[static_cast<size_t>(last)].positions.value() + element.per_word() - 1) / element.per_word();
  Stage elements =
      element_stage(pool, node, *axes, shape, static_cast<size_t>(last), words * element.per_word(), element);
  if (!ir::product(elements.shape).is_valid()) return std::nullopt;
  Stage view = elements;
  view.shape.back() = words;
  view.dtype = view.acc_dtype = DType::kI32;
  view.same_memory_as = kStageOperand + static_cast<int>(lowering.group.stages.size());
  std::vector<Expr> index;
  for (size_t j = 0; j < axes->size(); ++j)
    if (j != static_cast<size_t>(last)) index.push_back(algebra.expr((*axes)[j].position));
  Affine word = (*axes)[static_cast<size_t>(last)].position;
  for (Affine::Term& t : word.terms)
    if (pool.node(t.atom).kind != ExprKind::kIndex || pool.node(t.atom).axis != reduce_axis)
      t.coefficient = t.coefficient.value() / element.per_word();
  index.push_back(algebra.expr(word));
  lowering.group.stages.push_back(std::move(elements));
  lowering.group.stages.push_back(std::move(view));
  return Padded{static_cast<int>(lowering.group.stages.size()) - 1, std::move(index)};
}

}  // namespace

std::optional<Padded> materialise_words(Lowering& lowering, int stage, Expr load, int reduce_axis, bool is_signed) {
  return materialise(lowering, stage, load, reduce_axis, {.is_signed = is_signed});
}

std::optional<Padded> materialise_differences(Lowering& lowering, int stage, Expr load, Expr zero, int reduce_axis) {
  return materialise(lowering, stage, load, reduce_axis, {.dtype = DType::kI16, .zero = zero});
}

std::optional<Padded> materialise_pairs(Lowering& lowering, int stage, Expr load, int reduce_axis) {
  return materialise(lowering, stage, load, reduce_axis, {.dtype = DType::kBF16});
}

std::optional<Padded> materialise_padding(Lowering& lowering, int stage, Expr factor, int64_t slack, bool split_strides,
                                          std::span<const std::optional<int64_t>> halo) {
  ExprPool& pool = *lowering.group.pool;
  const Stage& s = lowering.stage(stage);
  int load_id = factor.id;
  if (factor.node().kind == ExprKind::kCast) load_id = factor.node().args[0];
  const ExprNode load = pool.node(load_id);
  if (load.kind != ExprKind::kLoad || (load.guarded && !is_zero(pool.node(load.args.back())))) return std::nullopt;
  IndexAlgebra algebra(pool, s.all_axes());
  const std::vector<Dim> shape = lowering.group.shape_of(load.operand);
  auto axes = walks_of(algebra, pool, load, shape.size(), s.axes.size(), split_strides);
  if (!axes) return std::nullopt;
  for (size_t j = 0; j < halo.size(); ++j)
    if (halo[j]) limit((*axes)[j], shape[j], *halo[j]);
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
