#include "codegen/lower/flatten.h"

#include <algorithm>
#include <set>

#include "codegen/lower/index_algebra.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ExprPool;
using ir::ScalarOp;

Expr flatten_loads(Expr e, const std::vector<Dim>& extents,
                   const std::function<const std::vector<Dim>*(int operand)>& shape) {
  ExprPool& pool = *e.pool;
  IndexAlgebra algebra(pool, extents);
  const Expr flat = pool.copy(e, [&](const ExprNode& n, std::span<const Expr> args) -> Expr {
    if (n.kind != ExprKind::kLoad) return {};
    const std::vector<Dim>* dims = shape(n.operand);
    if (dims == nullptr) return {};
    const std::span<const Expr> index = n.guarded ? args.first(args.size() - 2) : args;
    Affine offset;
    Dim stride = 1;
    for (size_t i = index.size(); i-- > 0;) {
      offset = algebra.add(offset, algebra.affine(index[i]), stride);
      stride = stride * (*dims)[i];
    }
    const Expr at[] = {algebra.expr(offset)};
    return n.guarded ? pool.load_guarded(n.operand, n.dtype, at, args[args.size() - 2], args.back())
                     : pool.load(n.operand, n.dtype, at);
  });
  return algebra.simplify(flat);
}

Expr substitute(Expr e, const std::unordered_map<int, Expr>& replacement) {
  ExprPool& pool = *e.pool;
  std::vector<int> order;
  visit(e, [&](int id, const ExprNode&) { order.push_back(id); });
  std::unordered_map<int, Expr> made;
  for (int id : order) {
    if (const auto found = replacement.find(id); found != replacement.end()) {
      made[id] = found->second;
      continue;
    }
    const ExprNode node = pool.node(id);
    std::vector<Expr> args;
    for (int a : node.args) args.push_back(made.at(a));
    Expr& result = made[id];
    result = {&pool, id};
    if (args.empty()) continue;
    if (node.kind == ExprKind::kOp) result = pool.op(node.op, args);
    if (node.kind == ExprKind::kCast) result = pool.cast(args[0], node.dtype);
    if (node.kind == ExprKind::kCheckedIndex) result = pool.checked_index(args[0], args[1]);
    if (node.kind != ExprKind::kLoad) continue;
    const std::span<const Expr> all = args;
    result = node.guarded ? pool.load_guarded(node.operand, node.dtype, all.first(all.size() - 2), all[all.size() - 2], all.back())
                          : pool.load(node.operand, node.dtype, all);
  }
  return made.at(e.id);
}

bool uses_axis(Expr e, int axis) {
  bool found = false;
  visit(e, [&](int, const ExprNode& n) { found |= n.kind == ExprKind::kIndex && n.axis == axis; });
  return found;
}

namespace {

/// Decides whether axes `a` and `a + 1` are one for every load below the roots.
class MergeCheck {
 public:
  MergeCheck(IndexAlgebra& algebra, ExprPool& pool, int axis, Dim inner) : algebra_(algebra), pool_(pool), axis_(axis), inner_(inner) {}

  bool walk(int id) {
    if (!seen_.insert(id).second) return true;
    const ExprNode node = pool_.node(id);
    if (node.kind == ExprKind::kIndex) return node.axis != axis_ && node.axis != axis_ + 1;
    if (node.kind != ExprKind::kLoad) return std::all_of(node.args.begin(), node.args.end(), [&](int a) { return walk(a); });
    if (node.guarded && (!walk(node.args[1]) || !walk(node.args[2]))) return false;
    const Affine offset = algebra_.affine({&pool_, node.args[0]});
    Dim outer = 0, inner = 0;
    for (const Affine::Term& t : offset.terms) {
      const ExprNode& atom = pool_.node(t.atom);
      if (atom.kind == ExprKind::kIndex && atom.axis == axis_) outer = t.coefficient;
      else if (atom.kind == ExprKind::kIndex && atom.axis == axis_ + 1) inner = t.coefficient;
      else if (!walk(t.atom)) return false;
    }
    return ir::known_eq(outer, inner * inner_);
  }

 private:
  IndexAlgebra& algebra_;
  ExprPool& pool_;
  int axis_;
  Dim inner_;
  std::set<int> seen_;
};

}  // namespace

int merge_axes(ExprPool& pool, std::span<Expr*> roots, std::vector<Dim>& extents, int barrier) {
  for (int i = static_cast<int>(extents.size()) - 2; i >= 0; --i) {
    if (i + 1 == barrier) continue;
    const size_t at = static_cast<size_t>(i);
    IndexAlgebra algebra(pool, extents);
    MergeCheck check(algebra, pool, i, extents[at + 1]);
    if (!(extents[at] * extents[at + 1]).is_valid()) continue;
    if (!std::all_of(roots.begin(), roots.end(), [&](const Expr* e) { return check.walk(e->id); })) continue;
    extents[at] = extents[at] * extents[at + 1];
    extents.erase(extents.begin() + i + 1);
    if (i + 1 < barrier) --barrier;
    IndexAlgebra after(pool, extents);
    for (Expr* e : roots) {
      *e = after.simplify(pool.copy(*e, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
        if (n.kind != ExprKind::kIndex || n.axis < i) return {};
        if (n.axis == i) return pool.constant_int(DType::kI64, 0);
        return pool.index(n.axis - 1);
      }));
    }
  }
  return barrier;
}

bool uses_any_axis(Expr e, size_t first, size_t last) {
  for (size_t axis = first; axis < last; ++axis)
    if (uses_axis(e, static_cast<int>(axis))) return true;
  return false;
}

bool is_zero(const ExprNode& node) { return node.kind == ExprKind::kConst && node.scalar.f == 0 && node.scalar.i == 0; }

int64_t evaluation_cost(Expr e) {
  int64_t cost = 0;
  visit(e, [&](int, const ExprNode& n) {
    if (n.kind == ExprKind::kLoad) cost += 2;
    if (n.kind == ExprKind::kCast || n.kind == ExprKind::kCheckedIndex) cost += 1;
    if (n.kind != ExprKind::kOp) return;
    const bool is_basic = n.op == ScalarOp::kNeg || n.op == ScalarOp::kAbs || n.op == ScalarOp::kFloor ||
                          (n.op >= ScalarOp::kAdd && n.op != ScalarOp::kPow && n.op != ScalarOp::kDiv);
    cost += is_basic ? 1 : (n.op == ScalarOp::kDiv || n.op == ScalarOp::kSqrt ? 4 : 12);
  });
  return std::max<int64_t>(cost, 1);
}

}  // namespace tenon::codegen
