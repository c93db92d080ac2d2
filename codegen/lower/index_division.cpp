// Quotients and remainders in normal form.

#include <algorithm>
#include <numeric>

#include "codegen/lower/index_algebra.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ScalarOp;

bool IndexAlgebra::usable_divisor(Dim d) { return d.is_valid() && (d.is_const() ? d.value() > 0 : ir::known_le(0, d)); }

/// c*D*(x / D) + c*(x % D) is c*x, and c*x - c*(x % D) is c*D*(x / D).
Affine IndexAlgebra::recombine(Affine a) {
  for (size_t i = 0; i < a.terms.size(); ++i) {
    const ExprNode node = pool_.node(a.terms[i].atom);
    if (node.kind != ExprKind::kOp || node.op != ScalarOp::kMod) continue;
    const Affine x = affine({&pool_, node.args[0]});
    const Affine d = affine({&pool_, node.args[1]});
    if (!d.is_constant()) continue;
    const Affine quotient = divide(x, d.constant, true);
    const Dim* whole = x.terms.size() == 1 ? a.coefficient_of(x.terms[0].atom) : nullptr;
    if (const Dim unit = a.terms[i].coefficient; whole != nullptr && ir::known_eq(*whole, unit * x.terms[0].coefficient * -1)) {
      a.terms.erase(a.terms.begin() + static_cast<std::ptrdiff_t>(i));
      return add(add(a, x, unit), quotient, unit * d.constant * -1);
    }
    if (quotient.terms.size() != 1 || !quotient.terms[0].coefficient.is_const(1) || !quotient.constant.is_const(0)) continue;
    const Dim* c = a.coefficient_of(quotient.terms[0].atom);
    const Dim unit = a.terms[i].coefficient;
    if (c == nullptr || !ir::known_eq(*c, unit * d.constant)) continue;
    const int mod_atom = a.terms[i].atom, div_atom = quotient.terms[0].atom;
    std::erase_if(a.terms, [&](const Affine::Term& t) { return t.atom == mod_atom || t.atom == div_atom; });
    return add(a, x, unit);
  }
  return a;
}

/// a = divisor * quotient + remainder, where the quotient takes every term that the divisor divides.
std::optional<IndexAlgebra::Division> IndexAlgebra::split(const Affine& a, Dim divisor) {
  if (!usable_divisor(divisor)) return std::nullopt;
  Division d;
  for (const Affine::Term& t : a.terms) {
    const std::optional<Dim> q = ir::exact_div(t.coefficient, divisor);
    if (q) d.quotient.terms.push_back({t.atom, *q});
    else d.remainder.terms.push_back(t);
  }
  if (const std::optional<Dim> q = ir::exact_div(a.constant, divisor)) {
    d.quotient.constant = *q;
  } else if (a.constant.is_const() && divisor.is_const()) {
    d.quotient.constant = ir::floor_div(a.constant, divisor);
    d.remainder.constant = ir::mod(a.constant, divisor);
  } else {
    d.remainder.constant = a.constant;
  }
  return d;
}

/// Quotient (rounded down) or remainder by a dim.
Affine IndexAlgebra::divide(const Affine& a, Dim divisor, bool want_quotient) {
  if (divisor.is_const(1)) return want_quotient ? a : Affine{};
  const auto make = [&](const Affine& numerator, Dim by) {
    const Expr args[] = {expr(numerator), pool_.dim(by)};
    return atom(pool_.op(want_quotient ? ScalarOp::kFloorDiv : ScalarOp::kMod, args));
  };
  std::optional<Division> d = split(a, divisor);
  if (!d) return make(a, divisor);
  const Range r = range(d->remainder);
  const bool in_range = non_negative(d->remainder) && r.hi && ir::known_lt(*r.hi, divisor);
  if (in_range) return want_quotient ? d->quotient : d->remainder;

  Affine rest = d->remainder;
  // (c*q + r) / (c*m) is q / m and (c*q + r) % (c*m) is c * (q % m) + r where 0 <= r < c.
  for (const Affine::Term& t : rest.terms) {
    const Dim c = t.coefficient;
    const std::optional<Dim> m = c.is_const() ? std::nullopt : ir::exact_div(divisor, c);
    if (!m || m->is_const(1) || !usable_divisor(*m)) continue;
    const std::optional<Division> by_c = split(rest, c);
    if (!by_c) continue;
    const Range small = range(by_c->remainder);
    if (!non_negative(by_c->remainder) || !small.hi || !ir::known_lt(*small.hi, c)) continue;
    if (want_quotient) return add(d->quotient, divide(by_c->quotient, *m, true));
    return add(by_c->remainder, divide(by_c->quotient, *m, false), c);
  }
  if (want_quotient) {
    // floor(floor(x / c) / D) is floor(x / (c*D)).
    if (rest.terms.size() == 1 && rest.terms[0].coefficient.is_const(1) && rest.constant.is_const(0)) {
      const ExprNode node = pool_.node(rest.terms[0].atom);
      if (node.kind == ExprKind::kOp && node.op == ScalarOp::kFloorDiv) {
        const Affine inner = affine({&pool_, node.args[1]});
        if (inner.is_constant() && usable_divisor(inner.constant) && (inner.constant * divisor).is_valid()) {
          return add(d->quotient, divide(affine({&pool_, node.args[0]}), inner.constant * divisor, true));
        }
      }
    }
    // A common constant factor cancels when what it does not divide is smaller than it.
    if (divisor.is_const() && rest.constant.is_const()) {
      int64_t g = divisor.value();
      for (const Affine::Term& t : rest.terms) {
        const int64_t c = t.coefficient.is_const() ? t.coefficient.value() : 1;
        if (std::gcd(g, c) > 1) g = std::gcd(g, c);
      }
      if (g > 1 && g < divisor.value()) {
        const std::optional<Division> by_g = split(rest, g);
        const Range small = range(by_g->remainder);
        if (non_negative(by_g->remainder) && small.hi && ir::known_lt(*small.hi, g)) {
          return add(d->quotient, divide(by_g->quotient, divisor.value() / g, true));
        }
      }
    }
    return add(d->quotient, make(rest, divisor));
  }
  return make(rest, divisor);
}

}  // namespace tenon::codegen
