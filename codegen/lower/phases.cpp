#include "codegen/lower/phases.h"

#include <algorithm>

#include "codegen/lower/guards.h"
#include "codegen/schedule/contraction.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ExprPool;
using ir::ScalarOp;

namespace {

constexpr int64_t kMaxStride = 64;

/// (index of `outer` + offset - index of `reduce`) % stride is 0 wherever the product is not.
struct Phase {
  int outer, reduce;
  int64_t offset, stride;
  int image = -1;  // the factor whose guard says so
};

std::optional<Phase> phase_of(IndexAlgebra& algebra, ExprPool& pool, const Stage& s, int comparison) {
  const ExprNode n = pool.node(comparison);
  if (n.kind != ExprKind::kOp || n.op != ScalarOp::kEq || !is_zero(pool.node(n.args[1]))) return std::nullopt;
  const ExprNode mod = pool.node(n.args[0]);
  if (mod.kind != ExprKind::kOp || mod.op != ScalarOp::kMod) return std::nullopt;
  const Affine index = algebra.affine({&pool, mod.args[0]}), by = algebra.affine({&pool, mod.args[1]});
  if (!by.is_constant() || !by.constant.is_const() || !index.constant.is_const() || index.terms.size() != 2)
    return std::nullopt;
  Phase phase{-1, -1, index.constant.value(), by.constant.value()};
  if (phase.stride < 2 || phase.stride > kMaxStride) return std::nullopt;
  for (const Affine::Term& t : index.terms) {
    const ExprNode& atom = pool.node(t.atom);
    if (atom.kind != ExprKind::kIndex) return std::nullopt;
    const bool reduced = static_cast<size_t>(atom.axis) >= s.axes.size();
    if (!t.coefficient.is_const(reduced ? -1 : 1)) return std::nullopt;
    (reduced ? phase.reduce : phase.outer) = atom.axis;
  }
  if (phase.outer < 0 || phase.reduce < 0) return std::nullopt;
  const Dim taps = s.reduce_axes[static_cast<size_t>(phase.reduce) - s.axes.size()];
  const bool whole = ir::mod(s.axes[static_cast<size_t>(phase.outer)], phase.stride).is_const(0);
  return taps.is_const() && whole ? std::optional(phase) : std::nullopt;
}

/// Of the factors, one is zero where its guard does not hold.
std::optional<Phase> find_phase(const Stage& s) {
  ExprPool& pool = *s.value.pool;
  const ExprNode root = s.value.node();
  if (s.combiner != ir::Combiner::kAdd || root.kind != ExprKind::kOp || root.op != ScalarOp::kMul) return std::nullopt;
  IndexAlgebra algebra(pool, s.all_axes());
  for (int factor : root.args) {
    const ExprNode node = pool.node(factor), load = node.kind == ExprKind::kCast ? pool.node(node.args[0]) : node;
    if (load.kind != ExprKind::kLoad || !load.guarded || !is_zero(pool.node(load.args.back()))) continue;
    const std::optional<std::vector<int>> guards = conjuncts(pool, load.args[load.args.size() - 2]);
    if (!guards) continue;
    for (int g : *guards)
      if (std::optional<Phase> phase = phase_of(algebra, pool, s, g)) {
        phase->image = factor;
        return phase;
      }
  }
  return std::nullopt;
}

/// Leaves out an axis of one element.
void drop_axis(Stage& s, int axis) {
  ExprPool& pool = *s.value.pool;
  s.reduce_axes.erase(s.reduce_axes.begin() + (axis - static_cast<int>(s.axes.size())));
  for (Expr* e : {&s.value, &s.post})
    *e = pool.copy(*e, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
      if (n.kind != ExprKind::kIndex || n.axis < axis) return {};
      return n.axis == axis ? pool.constant_int(DType::kI64, 0) : pool.index(n.axis - 1);
    });
}

/// Whether the factor beside the image is a load of constants, of which zeros beyond the taps make zeros of all products.
bool has_weights(const Lowering& lowering, const Stage& s, const Phase& phase) {
  const ExprPool& pool = *s.value.pool;
  return std::ranges::any_of(s.value.node().args, [&](int factor) {
    if (factor == phase.image || !uses_axis({s.value.pool, factor}, phase.reduce)) return false;
    ExprNode load = pool.node(factor);
    while (load.kind == ExprKind::kCast) load = pool.node(load.args[0]);
    return load.kind == ExprKind::kLoad && (!load.guarded || is_zero(pool.node(load.args.back()))) && reads_constants(lowering, {s.value.pool, factor});
  });
}

void split(const Lowering& lowering, Stage& s, const Phase& phase) {
  ExprPool& pool = *s.value.pool;
  Dim& taps = s.reduce_axes[static_cast<size_t>(phase.reduce) - s.axes.size()];
  const Dim all_taps = taps;
  const bool beyond = !ir::mod(taps, phase.stride).is_const(0);
  taps = ir::ceil_div(taps, phase.stride);
  const bool one_tap = taps.is_const(1) && s.reduce_axes.size() > 1;
  const auto outer = s.axes.begin() + phase.outer;
  *outer = ir::floor_div(*outer, phase.stride);
  s.axes.insert(outer + 1, Dim(phase.stride));

  const Expr stride = pool.constant_int(DType::kI64, phase.stride), p = pool.index(phase.outer + 1);
  const Expr o = pool.index(phase.outer) * stride + p;
  const Expr k =
      pool.index(phase.reduce + 1) * stride + ir::mod(p + pool.constant_int(DType::kI64, phase.offset), stride);
  const Expr inside = k < pool.dim(all_taps);
  const bool weights_alone = lowering.target.winograd && has_weights(lowering, s, phase);
  for (Expr* e : {&s.value, &s.post})
    *e = pool.copy(*e, [&](const ExprNode& n, std::span<const Expr> args) -> Expr {
      if (n.kind == ExprKind::kIndex)
        return n.axis == phase.outer    ? o
               : n.axis == phase.reduce ? k
                                        : pool.index(n.axis < phase.outer ? n.axis : n.axis + 1);
      const auto walks = [&](int arg) { return uses_axis({&pool, arg}, phase.reduce); };
      if (!beyond || n.kind != ExprKind::kLoad || std::none_of(n.args.begin(), n.args.end(), walks)) return {};
      if (weights_alone && !reads_constants(lowering, pool.load(n.operand, n.dtype, {}))) return {};
      if (!n.guarded) return pool.load_guarded(n.operand, n.dtype, args, inside, constant_expr(pool, n.dtype));
      return pool.load_guarded(n.operand, n.dtype, args.first(args.size() - 2), inside && args[args.size() - 2],
                               args.back());
    });
  if (one_tap) drop_axis(s, phase.reduce + 1);
  IndexAlgebra algebra(pool, s.all_axes());
  for (Expr* e : {&s.value, &s.post}) *e = algebra.simplify(*e);
}

}  // namespace

void split_phases(Lowering& lowering, int stage) {
  while (const std::optional<Phase> phase = find_phase(lowering.stage(stage))) split(lowering, lowering.stage(stage), *phase);
}

}  // namespace tenon::codegen
