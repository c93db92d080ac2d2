#include "codegen/lower/guards.h"

#include <algorithm>
#include <numeric>

namespace tenon::codegen {

using ir::ExprKind;
using ir::ExprNode;
using ir::ExprPool;
using ir::ScalarOp;

namespace {

constexpr size_t kMaxConjuncts = 64;

void collect(ExprPool& pool, int guard, std::vector<int>& out) {
  if (out.size() > kMaxConjuncts) return;
  const ExprNode n = pool.node(guard);
  if (n.kind != ExprKind::kOp || n.op != ScalarOp::kAnd) {
    out.push_back(guard);
    return;
  }
  for (int a : n.args) collect(pool, a, out);
}

/// `a >= 0` divided by what all coefficients have in common.
Affine tightened(Affine a) {
  int64_t common = 0;
  for (const Affine::Term& t : a.terms) {
    if (!t.coefficient.is_const() || t.coefficient.value() == INT64_MIN) return a;
    common = std::gcd(common, t.coefficient.value());
  }
  if (common < 2 || !a.constant.is_valid()) return a;
  for (Affine::Term& t : a.terms) t.coefficient = t.coefficient.value() / common;
  a.constant = ir::floor_div(a.constant, common);
  return a;
}

bool same(IndexAlgebra& algebra, const Affine& a, const Affine& b) {
  const Affine d = algebra.add(a, b, -1);
  return d.is_constant() && d.constant.is_const(0);
}

}  // namespace

std::optional<std::vector<int>> conjuncts(ExprPool& pool, int guard) {
  std::vector<int> out;
  collect(pool, guard, out);
  return out.size() > kMaxConjuncts ? std::nullopt : std::optional(out);
}

std::optional<Affine> at_least_zero(IndexAlgebra& algebra, ExprPool& pool, int comparison) {
  const ExprNode n = pool.node(comparison);
  if (n.kind != ExprKind::kOp || n.args.size() != 2 || pool.node(n.args[0]).dtype != DType::kI64) return std::nullopt;
  const Affine a = algebra.affine({&pool, n.args[0]}), b = algebra.affine({&pool, n.args[1]});
  const auto minus_one = [&](Affine x) {
    x.constant = x.constant - 1;
    return x;
  };
  switch (n.op) {
    case ScalarOp::kGe: return tightened(algebra.add(a, b, -1));
    case ScalarOp::kGt: return tightened(minus_one(algebra.add(a, b, -1)));
    case ScalarOp::kLe: return tightened(algebra.add(b, a, -1));
    case ScalarOp::kLt: return tightened(minus_one(algebra.add(b, a, -1)));
    default: return std::nullopt;
  }
}

bool guards_bounds(IndexAlgebra& algebra, ExprPool& pool, const ExprNode& load, const std::vector<ir::Dim>& shape) {
  const std::optional<std::vector<int>> guards = conjuncts(pool, load.args[load.args.size() - 2]);
  if (!guards) return false;
  std::vector<Affine> held;
  for (int g : *guards) {
    const std::optional<Affine> a = at_least_zero(algebra, pool, g);
    if (!a) return false;
    held.push_back(*a);
  }
  std::vector<char> explained(held.size(), 0);
  for (size_t j = 0; j < shape.size(); ++j) {
    const Affine index = algebra.affine({&pool, load.args[j]});
    const IndexAlgebra::Range range = algebra.range(index);
    Affine above = algebra.scale(index, -1);
    above.constant = above.constant + shape[j] - 1;
    bool below_held = algebra.non_negative(index), above_held = range.hi && ir::known_le(*range.hi, shape[j] - 1);
    for (size_t h = 0; h < held.size(); ++h) {
      const bool is_below = same(algebra, held[h], index), is_above = same(algebra, held[h], above);
      below_held |= is_below;
      above_held |= is_above;
      if (is_below || is_above) explained[h] = 1;
    }
    if (!below_held || !above_held) return false;
  }
  return std::find(explained.begin(), explained.end(), 0) == explained.end();
}

}  // namespace tenon::codegen
