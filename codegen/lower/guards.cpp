#include "codegen/lower/guards.h"

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
    case ScalarOp::kGe: return algebra.add(a, b, -1);
    case ScalarOp::kGt: return minus_one(algebra.add(a, b, -1));
    case ScalarOp::kLe: return algebra.add(b, a, -1);
    case ScalarOp::kLt: return minus_one(algebra.add(b, a, -1));
    default: return std::nullopt;
  }
}

}  // namespace tenon::codegen
