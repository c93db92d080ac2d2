#include "codegen/schedule/contraction_axes.h"

#include <algorithm>

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ExprPool;
using ir::ScalarOp;

std::vector<Dim> extents_of(const Contraction& c, const std::vector<int>& axes) {
  std::vector<Dim> out;
  for (int a : axes) out.push_back(c.axes[static_cast<size_t>(a)]);
  return out;
}

Status factors(const Stage& s, Expr value, Contraction& c) {
  const ExprNode& root = value.node();
  if (s.is_arg() || s.combiner != ir::Combiner::kAdd) return error(Code::kUnsupported, "not a sum");
  c.dot = root.kind == ExprKind::kOp && (root.op == ScalarOp::kDot4 || root.op == ScalarOp::kDot4Signed);
  c.dot_signed = c.dot && root.op == ScalarOp::kDot4Signed;
  if (!c.dot && (root.kind != ExprKind::kOp || root.op != ScalarOp::kMul)) return error(Code::kUnsupported, "not a sum of products");
  c.a = {value.pool, root.args[0]};
  c.b = {value.pool, root.args[1]};
  return {};
}

Status classify(Contraction& c) {
  if (c.outer == 0) return error(Code::kUnsupported, "one output element");
  const int last = static_cast<int>(c.outer) - 1;
  const bool in_a = uses_axis(c.a, last), in_b = uses_axis(c.b, last);
  if (in_a == in_b) return error(Code::kUnsupported, "the innermost output axis is in {} factors", in_a ? "both" : "no");
  if (in_a && c.dot && !c.dot_signed) return error(Code::kUnsupported, "the unsigned bytes have the innermost output axis");
  if (in_a) std::swap(c.a, c.b);
  bool suffix = true;
  for (int axis = last; axis >= 0; --axis) {
    const bool a = uses_axis(c.a, axis), b = uses_axis(c.b, axis);
    suffix = suffix && b && !a;
    (suffix ? c.n_axes : a && !b ? c.m_axes : c.batch_axes).push_back(axis);
  }
  for (std::vector<int>* axes : {&c.n_axes, &c.m_axes, &c.batch_axes}) std::reverse(axes->begin(), axes->end());
  return {};
}

void choose_wide(Contraction& c) {
  const ExprNode& load = c.b.node();
  if (c.n_axes.size() != 2 || load.kind != ExprKind::kLoad || load.guarded || c.b.dtype() != c.acc_dtype) return;
  if (c.padded < 0 || load.operand != kStageOperand + c.padded) return;
  IndexAlgebra algebra(*c.b.pool, c.axes);
  const Affine offset = algebra.affine({c.b.pool, load.args[0]});
  Dim row = 0, column = 0;
  for (const Affine::Term& t : offset.terms) {
    const ExprNode& atom = c.b.pool->node(t.atom);
    if (atom.kind != ExprKind::kIndex) {
      if (uses_axis({c.b.pool, t.atom}, c.n_axes[0]) || uses_axis({c.b.pool, t.atom}, c.n_axes[1])) return;
      continue;
    }
    if (atom.axis == c.n_axes[0]) row = t.coefficient;
    if (atom.axis == c.n_axes[1]) column = t.coefficient;
  }
  if (column.is_const(1) && ir::known_le(c.axes[static_cast<size_t>(c.n_axes[1])], row)) c.b_mode = Contraction::B::kWide;
  c.pitch = row;
}

bool plain_offset(const Contraction& c, Expr e) {
  const ExprNode& load = e.node();
  if (load.kind != ExprKind::kLoad || load.guarded || load.operand >= kStageOperand || e.dtype() != c.acc_dtype) return false;
  IndexAlgebra algebra(*e.pool, c.axes);
  const Affine offset = algebra.affine({e.pool, load.args[0]});
  return std::all_of(offset.terms.begin(), offset.terms.end(),
                     [&](const Affine::Term& t) { return e.pool->node(t.atom).kind == ExprKind::kIndex; });
}

void choose_rows(Contraction& c) {
  if (c.wide() || c.n_axes.size() < 2) return;
  const Dim columns = c.axes[static_cast<size_t>(c.n_axes.back())];
  if (!columns.is_const() || columns.value() < c.lanes) return;
  const ExprNode& load = c.b.node();
  if (load.kind != ExprKind::kLoad || load.guarded || c.b.dtype() != c.acc_dtype) return;
  IndexAlgebra algebra(*c.b.pool, c.axes);
  for (const Affine::Term& t : algebra.affine({c.b.pool, load.args[0]}).terms) {
    const ExprNode& atom = c.b.pool->node(t.atom);
    if (atom.kind != ExprKind::kIndex || (atom.axis == c.n_axes.back() && !t.coefficient.is_const(1))) return;
  }
  c.b_mode = Contraction::B::kRows;
  c.batch_axes.insert(c.batch_axes.end(), c.n_axes.begin(), c.n_axes.end() - 1);
  c.n_axes.erase(c.n_axes.begin(), c.n_axes.end() - 1);
  std::sort(c.batch_axes.begin(), c.batch_axes.end());
}

void flatten_groups(Contraction& c, bool keep_k) {
  ir::ExprPool& pool = *c.a.pool;
  std::vector<int> k_axes;
  for (size_t a = c.outer; a < c.axes.size(); ++a) k_axes.push_back(static_cast<int>(a));
  const int base = static_cast<int>(c.axes.size());
  std::vector<Expr> replacement(c.axes.size());
  const auto flatten = [&](const std::vector<int>& group, int flat_axis) {
    Dim inner = 1;
    const Expr flat = pool.index(flat_axis);
    for (size_t i = group.size(); i-- > 0;) {
      const Dim extent = c.axes[static_cast<size_t>(group[i])];
      Expr index = inner.is_const(1) ? flat : ir::floor_div(flat, pool.dim(inner));
      if (i > 0) index = ir::mod(index, pool.dim(extent));
      replacement[static_cast<size_t>(group[i])] = index;
      inner = inner * extent;
    }
    return inner;
  };
  c.m_axis = base, c.n_axis = base + 1, c.k_axis = base + 2;
  c.m = flatten(c.m_axes, c.m_axis);
  c.run = c.taps.empty() ? c.m : c.axes[static_cast<size_t>(c.m_axes.back())];
  if (keep_k) {
    c.k = ir::product(extents_of(c, k_axes));
    for (int a : k_axes) replacement[static_cast<size_t>(a)] = pool.index(a);
    c.k_axes = k_axes;
  } else {
    c.k = flatten(k_axes, c.k_axis);
    c.k_axes = {c.k_axis};
  }
  if (c.wide()) {
    const Dim rows = c.axes[static_cast<size_t>(c.n_axes[0])], columns = c.axes[static_cast<size_t>(c.n_axes[1])];
    c.n = (rows - 1) * c.pitch + columns;
    if (!ir::known_le(1, rows)) c.n = ir::max(c.n, 0);
    for (int a : c.n_axes) replacement[static_cast<size_t>(a)] = pool.index(a);
  } else {
    c.n = flatten(c.n_axes, c.n_axis);
  }
  std::vector<Dim> extents = c.axes;
  extents.insert(extents.end(), {c.m, c.n, c.k});
  IndexAlgebra algebra(pool, extents);
  std::vector<Expr*> all = {&c.a, &c.b, &c.post, &c.row_factor, &c.group_scale, &c.group_sum, &c.stored};
  for (Contraction::Beside& other : c.beside) all.push_back(&other.post);
  for (Contraction::Taps& taps : c.taps) all.push_back(&taps.index);
  for (Expr* e : all) {
    if (!e->valid()) continue;
    if (c.wide() && e == &c.b) {
      replacement[static_cast<size_t>(c.n_axes[0])] = pool.constant_int(DType::kI64, 0);
      replacement[static_cast<size_t>(c.n_axes[1])] = pool.index(c.n_axis);
    } else if (c.wide()) {
      for (int a : c.n_axes) replacement[static_cast<size_t>(a)] = pool.index(a);
    }
    *e = algebra.simplify(pool.copy(*e, [&](const ExprNode& node, std::span<const Expr>) -> Expr {
      return node.kind == ExprKind::kIndex ? replacement[static_cast<size_t>(node.axis)] : Expr{};
    }));
  }
  c.extents = std::move(extents);
}

bool direct_load(const Contraction& c, Expr e, const std::vector<int>& axes, int unit_axis) {
  const ExprNode& node = e.node();
  if (node.kind != ExprKind::kLoad || node.guarded) return false;
  IndexAlgebra algebra(*e.pool, c.extents);
  const Affine offset = algebra.affine({e.pool, node.args[0]});
  bool unit = unit_axis < 0;
  for (const Affine::Term& t : offset.terms) {
    const ExprNode& atom = e.pool->node(t.atom);
    if (atom.kind == ExprKind::kIndex) {
      unit |= atom.axis == unit_axis && t.coefficient.is_const(1);
      continue;
    }
    bool checked = false;
    visit({e.pool, t.atom}, [&](int, const ExprNode& n) {
      checked |= n.kind == ExprKind::kLoad || n.kind == ExprKind::kCheckedIndex;
    });
    const bool inside = std::any_of(axes.begin(), axes.end(), [&](int axis) { return uses_axis({e.pool, t.atom}, axis); });
    if (checked || inside || (unit_axis >= 0 && uses_axis({e.pool, t.atom}, unit_axis))) return false;
  }
  return unit;
}

std::optional<std::pair<int, int64_t>> divided_axis(const Stage& s) {
  const ir::ExprPool& pool = *s.value.pool;
  std::optional<std::pair<int, int64_t>> found;
  visit(s.value, [&](int, const ExprNode& n) {
    if (found || n.kind != ExprKind::kOp || n.op != ScalarOp::kFloorDiv || n.dtype != DType::kI64) return;
    const ExprNode &axis = pool.node(n.args[0]), &by = pool.node(n.args[1]);
    if (axis.kind != ExprKind::kIndex || static_cast<size_t>(axis.axis) >= s.axes.size()) return;
    const Dim extent = s.axes[static_cast<size_t>(axis.axis)];
    const std::optional<int64_t> divisor = by.kind == ExprKind::kConst                       ? std::optional(by.scalar.i)
                                           : by.kind == ExprKind::kDim && by.dim.is_const() ? std::optional(by.dim.value())
                                                                                             : std::nullopt;
    if (divisor && *divisor > 1 && extent.is_const() && *divisor < extent.value() && extent.value() % *divisor == 0)
      found = std::pair(axis.axis, *divisor);
  });
  return found;
}

void split_axis(Stage& s, int axis, int64_t inner) {
  ir::ExprPool& pool = *s.value.pool;
  const auto at = s.axes.begin() + axis;
  const int64_t outer = at->value() / inner;
  *at = outer;
  s.axes.insert(at + 1, Dim(inner));
  IndexAlgebra algebra(pool, s.all_axes());
  for (Expr* e : {&s.value, &s.post}) {
    *e = algebra.simplify(pool.copy(*e, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
      if (n.kind != ExprKind::kIndex || n.axis < axis) return {};
      if (n.axis > axis) return pool.index(n.axis + 1);
      return pool.index(axis) * pool.constant_int(DType::kI64, inner) + pool.index(axis + 1);
    }));
  }
}

namespace {

/// Whether the axis walks a factor's memory element by element.
bool lies_along(const Lowering& lowering, const Stage& s, Expr factor, int axis) {
  const Expr flat = flatten_loads(factor, s.all_axes(), shapes(lowering));
  const ExprNode& load = flat.node();
  if (load.kind != ExprKind::kLoad) return false;
  IndexAlgebra algebra(*factor.pool, s.all_axes());
  for (const Affine::Term& t : algebra.affine({factor.pool, load.args[0]}).terms) {
    const ExprNode& atom = factor.pool->node(t.atom);
    if (atom.kind == ExprKind::kIndex && atom.axis == axis) return t.coefficient.is_const(1);
  }
  return false;
}

/// The load of a factor that is converted, less a zero point.
Expr loaded(Expr factor) {
  const auto first = [&] { return Expr{factor.pool, factor.node().args[0]}; };
  if (factor.node().kind == ExprKind::kOp && factor.node().op == ScalarOp::kSub) factor = first();
  return factor.node().kind == ExprKind::kCast ? first() : factor;
}

}  // namespace

bool lies_along_k(const Lowering& lowering, const Stage& s, Expr factor) {
  return lies_along(lowering, s, factor, static_cast<int>(s.all_axes().size()) - 1);
}

void put_constant_innermost(Lowering& lowering, int stage) {
  Stage& s = lowering.stage(stage);
  Contraction c;
  if (!factors(s, s.value, c).ok() || s.axes.size() < 2) return;
  const int rank = static_cast<int>(s.axes.size());
  if (uses_axis(c.a, rank - 1) == uses_axis(c.b, rank - 1)) return;
  if (uses_axis(c.b, rank - 1)) std::swap(c.a, c.b);
  if (!reads_constants(lowering, c.b) || reads_constants(lowering, c.a) || !lies_along_k(lowering, s, loaded(c.a))) return;
  Dim columns = 1;
  for (int axis = 0; axis < rank; ++axis)
    if (uses_axis(c.b, axis) && !uses_axis(c.a, axis)) columns = columns * s.axes[static_cast<size_t>(axis)];
  const bool few = columns.is_const() && columns.value() < lowering.target.lanes(bits(s.acc_dtype));
  if (few && lies_along(lowering, s, loaded(c.a), rank - 1)) return;
  std::vector<int> order;  // axes of the result, by their new places
  for (int axis = 0; axis < rank; ++axis)
    if (uses_axis(c.a, axis) || !uses_axis(c.b, axis)) order.push_back(axis);
  const size_t others = order.size();
  for (int axis = 0; axis < rank; ++axis)
    if (uses_axis(c.b, axis) && !uses_axis(c.a, axis)) order.push_back(axis);
  if (others == order.size()) return;
  ExprPool& pool = *s.value.pool;
  std::vector<int> place(order.size());
  std::vector<Dim> axes;
  for (size_t i = 0; i < order.size(); ++i) {
    place[static_cast<size_t>(order[i])] = static_cast<int>(i);
    axes.push_back(s.axes[static_cast<size_t>(order[i])]);
  }
  std::vector<Expr> at;  // `shape` has axes of extent 1 that `axes` lacks, and one where `axes` may have several
  size_t axis = 0;
  for (const Dim& extent : s.shape) {
    Expr index = pool.constant_int(DType::kI64, 0);
    Dim covered = 1;
    for (; axis < order.size() && covered != extent; ++axis) {
      index = index * pool.dim(s.axes[axis]) + pool.index(place[axis]);
      covered = covered * s.axes[axis];
    }
    if (covered != extent) return;
    at.push_back(index);
  }
  if (axis != order.size()) return;
  s.stored = pool.load(kStageOperand + stage, s.dtype, at);
  s.axes = std::move(axes);
  for (Expr* e : {&s.value, &s.post})
    *e = pool.copy(*e, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
      return n.kind == ExprKind::kIndex && n.axis < rank ? pool.index(place[static_cast<size_t>(n.axis)]) : Expr{};
    });
}

}  // namespace tenon::codegen
