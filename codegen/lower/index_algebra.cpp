#include "codegen/lower/index_algebra.h"

#include <algorithm>

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ScalarOp;

namespace {

bool valid(const Affine& a) {
  return a.constant.is_valid() &&
         std::all_of(a.terms.begin(), a.terms.end(), [](const Affine::Term& t) { return t.coefficient.is_valid(); });
}

bool known_positive(Dim d) { return ir::known_le(1, d); }

bool is_comparison(ScalarOp op) {
  return op == ScalarOp::kEq || op == ScalarOp::kNe || op == ScalarOp::kLt || op == ScalarOp::kLe ||
         op == ScalarOp::kGt || op == ScalarOp::kGe;
}

bool is_bool_constant(const Expr& e, bool value) {
  const ExprNode& n = e.node();
  return n.kind == ExprKind::kConst && n.dtype == DType::kBool && (n.scalar.i != 0) == value;
}

}  // namespace

const Dim* Affine::coefficient_of(int atom) const {
  for (const Term& t : terms) {
    if (t.atom == atom) return &t.coefficient;
  }
  return nullptr;
}

Affine IndexAlgebra::add(const Affine& a, const Affine& b, Dim scale_b) {
  Affine sum;
  sum.constant = a.constant + b.constant * scale_b;
  size_t i = 0, j = 0;
  auto push = [&](int atom, Dim c) {
    if (!c.is_const(0)) sum.terms.push_back({atom, c});
  };
  while (i < a.terms.size() || j < b.terms.size()) {
    if (j == b.terms.size() || (i < a.terms.size() && a.terms[i].atom < b.terms[j].atom)) {
      push(a.terms[i].atom, a.terms[i].coefficient);
      ++i;
    } else if (i == a.terms.size() || b.terms[j].atom < a.terms[i].atom) {
      push(b.terms[j].atom, b.terms[j].coefficient * scale_b);
      ++j;
    } else {
      push(a.terms[i].atom, a.terms[i].coefficient + b.terms[j].coefficient * scale_b);
      ++i, ++j;
    }
  }
  return recombine(std::move(sum));
}

Affine IndexAlgebra::atom(Expr e) {
  const ExprNode& node = e.node();
  if (node.kind == ExprKind::kConst) return {{}, Dim(node.scalar.i)};
  if (node.kind == ExprKind::kDim) return {{}, node.dim};
  return {{{e.id, Dim(1)}}, Dim()};
}

IndexAlgebra::Range IndexAlgebra::atom_range(int id) {
  if (const auto found = ranges_.find(id); found != ranges_.end()) return found->second;
  return ranges_[id] = compute_atom_range(id);
}

IndexAlgebra::Range IndexAlgebra::compute_atom_range(int id) {
  const ExprNode node = pool_.node(id);
  if (node.kind == ExprKind::kIndex && static_cast<size_t>(node.axis) < extents_.size()) {
    return {Dim(), extents_[static_cast<size_t>(node.axis)] - 1};
  }
  if (node.kind == ExprKind::kCheckedIndex) {
    const Affine extent = affine({&pool_, node.args[1]});
    if (extent.is_constant()) return {Dim(), extent.constant - 1};
  }
  if (node.kind != ExprKind::kOp) return {};
  if (node.op == ScalarOp::kMod) {
    const Affine d = affine({&pool_, node.args[1]});
    if (d.is_constant() && usable_divisor(d.constant)) return {Dim(), d.constant - 1};
  }
  if (node.op == ScalarOp::kFloorDiv) {
    const Affine d = affine({&pool_, node.args[1]});
    if (!d.is_constant() || !known_positive(d.constant)) return {};
    const Range x = range(affine({&pool_, node.args[0]}));
    Range r;
    if (x.lo) r.lo = ir::known_le(0, *x.lo) ? Dim() : ir::floor_div(*x.lo, d.constant);
    if (x.hi) r.hi = ir::floor_div(*x.hi, d.constant);
    return r;
  }
  if (node.op == ScalarOp::kMin || node.op == ScalarOp::kMax) {
    const Range a = range(affine({&pool_, node.args[0]})), b = range(affine({&pool_, node.args[1]}));
    const bool is_min = node.op == ScalarOp::kMin;
    const auto combine = [&](Dim x, Dim y) { return is_min ? ir::min(x, y) : ir::max(x, y); };
    Range r;
    if (a.lo && b.lo) r.lo = combine(*a.lo, *b.lo);
    if (a.hi && b.hi) r.hi = combine(*a.hi, *b.hi);
    if (node.op == ScalarOp::kMin && !r.hi) r.hi = a.hi ? a.hi : b.hi;
    if (node.op == ScalarOp::kMax && !r.lo) r.lo = a.lo ? a.lo : b.lo;
    return r;
  }
  return {};
}

IndexAlgebra::Range IndexAlgebra::range(const Affine& a) {
  Range r{a.constant, a.constant};
  for (const Affine::Term& t : a.terms) {
    const Range x = atom_range(t.atom);
    const bool up = ir::known_le(0, t.coefficient), down = ir::known_le(t.coefficient, 0);
    if (!up && !down) return {};
    const std::optional<Dim>& lo = up ? x.lo : x.hi;
    const std::optional<Dim>& hi = up ? x.hi : x.lo;
    r.lo = r.lo && lo ? std::optional(*r.lo + *lo * t.coefficient) : std::nullopt;
    r.hi = r.hi && hi ? std::optional(*r.hi + *hi * t.coefficient) : std::nullopt;
  }
  if (r.lo && !r.lo->is_valid()) r.lo.reset();
  if (r.hi && !r.hi->is_valid()) r.hi.reset();
  return r;
}

bool IndexAlgebra::non_negative(const Affine& a) {
  const Range r = range(a);
  if (r.lo && ir::known_le(0, *r.lo)) return true;
  // With symbolic extents, 0 <= lo may need each term's own sign.
  if (!ir::known_le(0, a.constant)) return false;
  return std::all_of(a.terms.begin(), a.terms.end(), [&](const Affine::Term& t) {
    const Range x = atom_range(t.atom);
    return ir::known_le(0, t.coefficient) && x.lo && ir::known_le(0, *x.lo);
  });
}

Affine IndexAlgebra::opaque(const ExprNode& node) {
  std::vector<Expr> args;
  for (int a : node.args) args.push_back(simplify({&pool_, a}));
  return atom(pool_.op(node.op, args));
}

Affine IndexAlgebra::affine(Expr e) {
  if (const auto found = affine_.find(e.id); found != affine_.end()) return found->second;
  const ExprNode node = e.node();
  const auto arg = [&](int i) { return affine({&pool_, node.args[static_cast<size_t>(i)]}); };
  Affine result;
  if (node.kind == ExprKind::kConst || node.kind == ExprKind::kDim) {
    result = atom(e);
  } else if (node.kind == ExprKind::kIndex) {
    const bool one = static_cast<size_t>(node.axis) < extents_.size() && extents_[static_cast<size_t>(node.axis)].is_const(1);
    result = one ? Affine{} : atom(e);
  } else if (node.kind != ExprKind::kOp) {
    result = atom(simplify(e));
  } else if (node.op == ScalarOp::kAdd || node.op == ScalarOp::kSub) {
    result = add(arg(0), arg(1), node.op == ScalarOp::kAdd ? 1 : -1);
  } else if (node.op == ScalarOp::kNeg) {
    result = scale(arg(0), -1);
  } else if (node.op == ScalarOp::kMul) {
    const Affine a = arg(0), b = arg(1);
    if (b.is_constant()) result = scale(a, b.constant);
    else if (a.is_constant()) result = scale(b, a.constant);
    else result = opaque(node);
  } else if (node.op == ScalarOp::kFloorDiv || node.op == ScalarOp::kDiv || node.op == ScalarOp::kMod ||
             node.op == ScalarOp::kRem) {
    const Affine a = arg(0), b = arg(1);
    const bool truncates = node.op == ScalarOp::kDiv || node.op == ScalarOp::kRem;
    const bool ok = b.is_constant() && usable_divisor(b.constant) && (!truncates || non_negative(a));
    const bool quotient = node.op == ScalarOp::kFloorDiv || node.op == ScalarOp::kDiv;
    result = ok ? divide(a, b.constant, quotient) : opaque(node);
  } else if (node.op == ScalarOp::kMin || node.op == ScalarOp::kMax) {
    const Affine a = arg(0), b = arg(1);
    const std::optional<bool> le = compare(ScalarOp::kLe, a, b);
    if (le) result = *le == (node.op == ScalarOp::kMin) ? a : b;
    else if (a.is_constant() && b.is_constant() && (a.constant.is_const() && b.constant.is_const()))
      result.constant = node.op == ScalarOp::kMin ? ir::min(a.constant, b.constant) : ir::max(a.constant, b.constant);
    else result = opaque(node);
  } else if (node.op == ScalarOp::kSelect) {
    const Expr c = simplify({&pool_, node.args[0]});
    if (is_bool_constant(c, true)) result = arg(1);
    else if (is_bool_constant(c, false)) result = arg(2);
    else result = opaque(node);
  } else {
    result = opaque(node);
  }
  if (!valid(result)) result = atom(e);  // a coefficient beyond 64 bits: leave the arithmetic as it was written
  affine_.emplace(e.id, result);
  return result;
}

int IndexAlgebra::depth(int id, const std::vector<int>& rank, std::unordered_map<int, int>& known) {
  if (const auto found = known.find(id); found != known.end()) return found->second;
  const ExprNode& node = pool_.node(id);
  int d = -1;
  if (node.kind == ExprKind::kIndex) {
    const size_t axis = static_cast<size_t>(node.axis);
    d = axis < rank.size() ? rank[axis] : node.axis;
  } else if (node.kind == ExprKind::kLoad || node.kind == ExprKind::kAcc) {
    d = 1 << 20;
  }
  for (int x : node.args) d = std::max(d, depth(x, rank, known));
  return known[id] = d;
}

Expr IndexAlgebra::expr(const Affine& a, const std::vector<int>& rank) {
  struct Ranked {
    int rank;
    Affine::Term term;
  };
  std::unordered_map<int, int> known;
  std::vector<Ranked> terms;
  for (const Affine::Term& t : a.terms) terms.push_back({depth(t.atom, rank, known), t});
  std::stable_sort(terms.begin(), terms.end(), [](const Ranked& x, const Ranked& y) { return x.rank < y.rank; });
  Expr sum;
  if (!a.constant.is_const(0) || terms.empty()) sum = pool_.dim(a.constant);
  for (const Ranked& t : terms) {
    Expr x{&pool_, t.term.atom};
    if (!t.term.coefficient.is_const(1)) x = x * pool_.dim(t.term.coefficient);
    sum = sum.valid() ? sum + x : x;
  }
  return sum;
}

std::optional<bool> IndexAlgebra::compare(ScalarOp op, const Affine& a, const Affine& b) {
  const Affine d = add(a, b, -1);
  if (!valid(d)) return std::nullopt;
  const Range r = range(d);
  const bool ge = (r.lo && ir::known_le(0, *r.lo)) || non_negative(d), gt = r.lo && ir::known_lt(0, *r.lo);
  const bool le = r.hi && ir::known_le(*r.hi, 0), lt = r.hi && ir::known_lt(*r.hi, 0);
  const auto decide = [](bool yes, bool no) { return yes ? std::optional(true) : no ? std::optional(false) : std::nullopt; };
  switch (op) {
    case ScalarOp::kLt: return decide(lt, ge);
    case ScalarOp::kLe: return decide(le, gt);
    case ScalarOp::kGt: return decide(gt, le);
    case ScalarOp::kGe: return decide(ge, lt);
    case ScalarOp::kEq: return decide(ge && le, gt || lt);
    case ScalarOp::kNe: return decide(gt || lt, ge && le);
    default: return std::nullopt;
  }
}

Expr IndexAlgebra::simplify_op(const ExprNode& node) {
  std::vector<Expr> args;
  for (int a : node.args) args.push_back(simplify({&pool_, a}));
  if (is_comparison(node.op) && args[0].dtype() == DType::kI64) {
    if (const std::optional<bool> known = compare(node.op, affine(args[0]), affine(args[1]))) {
      return pool_.constant_int(DType::kBool, *known ? 1 : 0);
    }
  }
  if (node.dtype == DType::kBool && (node.op == ScalarOp::kAnd || node.op == ScalarOp::kOr)) {
    const bool neutral = node.op == ScalarOp::kAnd;
    for (size_t i = 0; i < 2; ++i) {
      if (is_bool_constant(args[i], neutral)) return args[1 - i];
      if (is_bool_constant(args[i], !neutral)) return args[i];
    }
    if (args[0].id == args[1].id) return args[0];
  }
  if (node.op == ScalarOp::kSelect) {
    if (is_bool_constant(args[0], true)) return args[1];
    if (is_bool_constant(args[0], false)) return args[2];
  }
  return pool_.op(node.op, args);
}

Expr IndexAlgebra::simplify(Expr e) {
  if (const auto found = simplified_.find(e.id); found != simplified_.end()) return {&pool_, found->second};
  const ExprNode node = e.node();
  const auto arg = [&](size_t i) { return simplify({&pool_, node.args[i]}); };
  Expr result = e;
  switch (node.kind) {
    case ExprKind::kConst:
    case ExprKind::kDim:
    case ExprKind::kAcc: break;
    case ExprKind::kIndex: result = expr(affine(e)); break;
    case ExprKind::kOp:
      result = node.dtype == DType::kI64 ? expr(affine(e)) : simplify_op(node);
      break;
    case ExprKind::kCast: result = pool_.cast(arg(0), node.dtype); break;
    case ExprKind::kCheckedIndex: {
      const Expr index = arg(0), extent = arg(1);
      const Affine i = affine(index);
      const bool inside = non_negative(i) && compare(ScalarOp::kLt, i, affine(extent)).value_or(false);
      result = inside ? index : pool_.checked_index(index, extent);
      break;
    }
    case ExprKind::kLoad: {
      std::vector<Expr> args;
      for (size_t i = 0; i < node.args.size(); ++i) args.push_back(arg(i));
      if (!node.guarded) {
        result = pool_.load(node.operand, node.dtype, args);
        break;
      }
      const Expr guard = args[args.size() - 2], other = args.back();
      args.resize(args.size() - 2);
      if (is_bool_constant(guard, true)) result = pool_.load(node.operand, node.dtype, args);
      else if (is_bool_constant(guard, false)) result = other;
      else result = pool_.load_guarded(node.operand, node.dtype, args, guard, other);
      break;
    }
  }
  simplified_.emplace(e.id, result.id);
  simplified_.emplace(result.id, result.id);
  return result;
}

}  // namespace tenon::codegen
