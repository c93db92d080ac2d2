#include "ir/dim.h"

#include <algorithm>
#include <deque>
#include <numeric>
#include <unordered_map>

#include "support/checked.h"

namespace tenon::ir {

struct DimContext::Impl {
  struct Symbol {
    std::string name;
    DimBounds bounds{0, (int64_t{1} << 31) - 1};
    const DimNode* node = nullptr;
  };
  DimContext* owner = nullptr;
  std::deque<DimNode> nodes;
  std::unordered_multimap<size_t, const DimNode*> interned;
  std::deque<Symbol> symbols;
  std::unordered_map<std::string, int> by_name;

  Dim intern(DimNode node);
  static Dim wrap(const DimNode* node) { return Dim(Dim::Interned{}, node); }
};

namespace {

using Term = DimNode::Term;
using Factors = std::vector<const DimNode*>;

size_t mix(size_t seed, size_t value) { return seed ^ (value + 0x9e3779b97f4a7c15ULL + (seed << 6) + (seed >> 2)); }

size_t hash_of(const DimNode& n) {
  size_t h = mix(static_cast<size_t>(n.kind), static_cast<size_t>(n.symbol));
  h = mix(mix(h, n.a.hash()), n.b.hash());
  h = mix(h, static_cast<size_t>(n.constant));
  for (const Term& term : n.terms) {
    h = mix(h, static_cast<size_t>(term.coefficient));
    for (const DimNode* factor : term.factors) h = mix(h, static_cast<size_t>(factor->id));
  }
  return h;
}

bool same(const DimNode& x, const DimNode& y) {
  return x.kind == y.kind && x.symbol == y.symbol && x.a == y.a && x.b == y.b && x.constant == y.constant &&
         std::ranges::equal(x.terms, y.terms, [](const Term& s, const Term& t) {
           return s.coefficient == t.coefficient && s.factors == t.factors;
         });
}

bool id_less(const DimNode* x, const DimNode* y) { return x->id < y->id; }

/// Graded lexicographic order of monomials, the larger degree first.
bool monomial_before(const Factors& x, const Factors& y) {
  if (x.size() != y.size()) return x.size() > y.size();
  return std::ranges::lexicographical_compare(x, y, id_less);
}

/// constant + Σ terms, terms in monomial order without zeros.
struct Poly {
  int64_t constant = 0;
  std::vector<Term> terms;
  DimContext* context = nullptr;

  bool is_const() const { return terms.empty(); }
  bool is_zero() const { return terms.empty() && constant == 0; }
  /// One term and no constant, or a constant.
  bool is_monomial() const { return terms.empty() || (terms.size() == 1 && constant == 0); }
  /// The leading monomial; a constant is one of degree 0.
  Term lead() const { return terms.empty() ? Term{constant, {}} : terms.front(); }
};

DimContext* context_of(Dim d) { return d.node() ? d.node()->context : nullptr; }

Poly to_poly(Dim d) {
  if (d.is_const()) return {d.value(), {}, nullptr};
  const DimNode* n = d.node();
  if (n->kind == DimKind::kSum) return {n->constant, n->terms, n->context};
  return {0, {Term{1, {n}}}, n->context};
}

Dim from_poly(Poly p) {
  if (p.terms.empty()) return Dim(p.constant);
  if (p.constant == 0 && p.terms.size() == 1 && p.terms[0].coefficient == 1 && p.terms[0].factors.size() == 1)
    return DimContext::Impl::wrap(p.terms[0].factors[0]);
  DimNode node{};
  node.kind = DimKind::kSum;
  node.symbol = -1;
  node.constant = p.constant;
  node.terms = std::move(p.terms);
  return p.context->impl().intern(std::move(node));
}

/// a + scale * b, nullopt on overflow or when the contexts differ.
std::optional<Poly> add(const Poly& a, const Poly& b, int64_t scale) {
  Poly out;
  out.context = a.context ? a.context : b.context;
  if (a.context && b.context && a.context != b.context) return std::nullopt;
  auto scaled = checked_mul(b.constant, scale);
  auto constant = scaled ? checked_add(a.constant, *scaled) : std::nullopt;
  if (!constant) return std::nullopt;
  out.constant = *constant;
  size_t i = 0, k = 0;
  while (i < a.terms.size() || k < b.terms.size()) {
    bool from_a = k == b.terms.size() ||
                  (i < a.terms.size() && monomial_before(a.terms[i].factors, b.terms[k].factors));
    bool from_b = i == a.terms.size() ||
                  (k < b.terms.size() && monomial_before(b.terms[k].factors, a.terms[i].factors));
    if (from_a) {
      out.terms.push_back(a.terms[i++]);
      continue;
    }
    auto coefficient = checked_mul(b.terms[k].coefficient, scale);
    if (coefficient && !from_b) coefficient = checked_add(a.terms[i++].coefficient, *coefficient);
    if (!coefficient) return std::nullopt;
    if (*coefficient != 0) out.terms.push_back({*coefficient, b.terms[k].factors});
    ++k;
  }
  return out;
}

Factors merge(const Factors& a, const Factors& b) {
  Factors out;
  out.reserve(a.size() + b.size());
  std::ranges::merge(a, b, std::back_inserter(out), id_less);
  return out;
}

/// poly × term; nullopt on overflow.
std::optional<Poly> multiply(const Poly& p, const Term& by) {
  Poly out;
  out.context = p.context;
  if (by.coefficient == 0) return out;
  for (const Term& term : p.terms) {
    auto coefficient = checked_mul(term.coefficient, by.coefficient);
    if (!coefficient) return std::nullopt;
    out.terms.push_back({*coefficient, merge(term.factors, by.factors)});
  }
  auto constant = checked_mul(p.constant, by.coefficient);
  if (!constant) return std::nullopt;
  if (by.factors.empty()) {
    out.constant = *constant;
  } else if (*constant != 0) {
    out.terms.push_back({*constant, by.factors});
    if (!out.context) out.context = by.factors[0]->context;
  }
  std::ranges::sort(out.terms, monomial_before, &Term::factors);
  return out;
}

/// term / by as monomials, when the quotient is one with an integer coefficient.
std::optional<Term> divide(const Term& term, const Term& by) {
  auto coefficient = checked_div(term.coefficient, by.coefficient);
  if (!coefficient || *coefficient * by.coefficient != term.coefficient) return std::nullopt;
  if (!std::ranges::includes(term.factors, by.factors, id_less)) return std::nullopt;
  Term out{*coefficient, {}};
  std::ranges::set_difference(term.factors, by.factors, std::back_inserter(out.factors), id_less);
  return out;
}

int64_t floor_quotient(int64_t a, int64_t b) {
  int64_t q = a / b;
  return a % b != 0 && ((a < 0) != (b < 0)) ? q - 1 : q;
}

Dim atom(DimKind kind, Dim a, Dim b) {
  DimNode node{};
  node.kind = kind;
  node.symbol = -1;
  node.a = a;
  node.b = b;
  return (a.is_const() ? context_of(b) : context_of(a))->impl().intern(std::move(node));
}

bool compatible(Dim a, Dim b) {
  if (!a.is_valid() || !b.is_valid()) return false;
  return !context_of(a) || !context_of(b) || context_of(a) == context_of(b);
}

}  // namespace

Dim DimContext::Impl::intern(DimNode node) {
  int64_t size = 1, depth = 0;
  auto count = [&](const DimNode* child) {
    if (!child) return;
    size += child->size;
    depth = std::max<int64_t>(depth, child->depth);
  };
  count(node.a.node());
  count(node.b.node());
  for (const Term& term : node.terms)
    for (const DimNode* factor : term.factors) count(factor);
  if (size > kMaxDimSize || depth + 1 > kMaxDimDepth) return Dim::invalid();

  size_t hash = hash_of(node);
  auto [it, end] = interned.equal_range(hash);
  for (; it != end; ++it)
    if (same(*it->second, node)) return wrap(it->second);
  node.id = static_cast<int>(nodes.size());
  node.size = static_cast<int>(size);
  node.depth = static_cast<int>(depth + 1);
  node.context = owner;
  nodes.push_back(std::move(node));
  interned.emplace(hash, &nodes.back());
  return wrap(&nodes.back());
}

Dim Dim::invalid() {
  Dim d;
  d.valid_ = false;
  return d;
}
bool Dim::is_symbol() const { return node_ && node_->kind == DimKind::kSymbol; }
int Dim::symbol_id() const { return node_->symbol; }
size_t Dim::hash() const {
  return node_ ? static_cast<size_t>(node_->id) * 0x9e3779b97f4a7c15ULL : static_cast<size_t>(value_) * 31 + valid_;
}

Dim operator+(Dim a, Dim b) {
  if (!compatible(a, b)) return Dim::invalid();
  auto sum = add(to_poly(a), to_poly(b), 1);
  return sum ? from_poly(std::move(*sum)) : Dim::invalid();
}

Dim operator-(Dim a, Dim b) {
  if (!compatible(a, b)) return Dim::invalid();
  auto difference = add(to_poly(a), to_poly(b), -1);
  return difference ? from_poly(std::move(*difference)) : Dim::invalid();
}

Dim operator*(Dim a, Dim b) {
  if (!compatible(a, b)) return Dim::invalid();
  Poly x = to_poly(a), y = to_poly(b), out;
  if (x.terms.size() * y.terms.size() > kMaxDimSize) return Dim::invalid();
  std::vector<Term> factors = y.terms;
  factors.push_back({y.constant, {}});
  for (const Term& term : factors) {
    auto part = multiply(x, term);
    auto sum = part ? add(out, *part, 1) : std::nullopt;
    if (!sum) return Dim::invalid();
    out = std::move(*sum);
  }
  return from_poly(std::move(out));
}

Dim product(std::span<const Dim> dims) {
  Dim out = 1;
  for (const Dim& d : dims) {
    if (d.is_const(0)) return 0;
    out = out * d;
  }
  return out;
}

std::optional<Dim> exact_div(Dim a, Dim b) {
  if (!compatible(a, b) || b.is_const(0)) return std::nullopt;
  // Multivariate division (Cox, Little, O'Shea, "Ideals, Varieties, and Algorithms", section 2.3) with one divisor.
  Poly rest = to_poly(a), by = to_poly(b), quotient;
  for (int step = 0; step <= kMaxDimSize; ++step) {
    if (rest.is_zero()) return from_poly(std::move(quotient));
    auto term = divide(rest.lead(), by.lead());
    auto part = term ? multiply(by, *term) : std::nullopt;
    auto next = part ? add(rest, *part, -1) : std::nullopt;
    if (!next) return std::nullopt;
    rest = std::move(*next);
    Poly grown{term->factors.empty() ? term->coefficient : 0, {}, rest.context ? rest.context : by.context};
    if (!term->factors.empty()) {
      grown.terms.push_back(*term);
      grown.context = term->factors[0]->context;
    }
    auto sum = add(quotient, grown, 1);
    if (!sum) return std::nullopt;
    quotient = std::move(*sum);
  }
  return std::nullopt;
}

namespace {

/// a = b * quotient + rest, where the rest holds what the monomial b does not divide (for a constant b > 0: the
/// constant of the rest is in [0, b)).
std::optional<std::pair<Poly, Poly>> split(const Poly& a, const Term& b) {
  Poly quotient, rest;
  quotient.context = rest.context = a.context;
  for (const Term& term : a.terms) {
    if (auto q = divide(term, b)) {
      if (q->factors.empty()) {
        auto sum = checked_add(quotient.constant, q->coefficient);
        if (!sum) return std::nullopt;
        quotient.constant = *sum;
      } else {
        quotient.terms.push_back(*q);
      }
    } else if (int64_t whole = b.factors.empty() && b.coefficient > 0 ? term.coefficient / b.coefficient : 0) {
      quotient.terms.push_back({whole, term.factors});
      rest.terms.push_back({term.coefficient - whole * b.coefficient, term.factors});
    } else {
      rest.terms.push_back(term);
    }
  }
  rest.constant = a.constant;
  if (b.factors.empty() && b.coefficient > 0) {
    int64_t whole = floor_quotient(a.constant, b.coefficient);
    auto sum = checked_add(quotient.constant, whole);
    if (!sum) return std::nullopt;
    quotient.constant = *sum;
    rest.constant = a.constant - whole * b.coefficient;
  }
  std::ranges::sort(quotient.terms, monomial_before, &Term::factors);
  return std::pair(std::move(quotient), std::move(rest));
}

bool within(Dim d, Dim size) { return known_le(0, d) && known_lt(d, size); }

/// floor_div(rest, b) for a constant b > 1 and a rest that b divides no term of.
Dim floor_div_by_constant(Poly rest, int64_t b) {
  int64_t g = b;
  for (const Term& term : rest.terms) g = std::gcd(g, term.coefficient);
  if (g > 1) {  // floor((g x + c) / (g k)) = floor((x + floor(c / g)) / k)
    for (Term& term : rest.terms) term.coefficient /= g;
    rest.constant = floor_quotient(rest.constant, g);
    return floor_div(from_poly(std::move(rest)), b / g);
  }
  if (rest.terms.size() == 1 && rest.terms[0].coefficient == 1 && rest.terms[0].factors.size() == 1) {
    const DimNode* inner = rest.terms[0].factors[0];
    if (inner->kind == DimKind::kFloorDiv && inner->b.is_const() && inner->b.value() > 0) {
      // floor((floor(x / m) + c) / b) = floor((x + c m) / (m b))
      Dim m = inner->b, whole = m * Dim(b), shifted = inner->a + Dim(rest.constant) * m;
      if (whole.is_valid() && shifted.is_valid()) return floor_div(shifted, whole);
    }
  }
  Dim dividend = from_poly(std::move(rest));
  if (!dividend.is_valid()) return dividend;
  if (within(dividend, b)) return 0;
  return atom(DimKind::kFloorDiv, dividend, b);
}

}  // namespace

Dim floor_div(Dim a, Dim b) {
  if (!compatible(a, b) || b.is_const(0)) return Dim::invalid();
  if (a.is_const() && b.is_const())
    return checked_div(a.value(), b.value()) ? Dim(floor_quotient(a.value(), b.value())) : Dim::invalid();
  if (b.is_const(1)) return a;
  if (b.is_const() && b.value() < 0)
    return b.value() == INT64_MIN ? Dim::invalid() : floor_div(Dim(0) - a, -b.value());
  if (auto exact = exact_div(a, b)) return *exact;
  Poly divisor = to_poly(b);
  if (!divisor.is_monomial()) return within(a, b) ? Dim(0) : atom(DimKind::kFloorDiv, a, b);
  auto parts = split(to_poly(a), divisor.lead());
  if (!parts) return Dim::invalid();
  auto& [quotient, rest] = *parts;
  Dim whole = from_poly(std::move(quotient));
  if (b.is_const()) return whole + floor_div_by_constant(std::move(rest), b.value());
  Dim remainder = from_poly(std::move(rest));
  if (!remainder.is_valid()) return remainder;
  return whole + (within(remainder, b) ? Dim(0) : atom(DimKind::kFloorDiv, remainder, b));
}

Dim ceil_div(Dim a, Dim b) {
  if (a.is_const() && b.is_const() && checked_div(a.value(), b.value()))  // the sums below may leave the range where the quotient does not
    return Dim(floor_quotient(a.value(), b.value()) + (a.value() % b.value() != 0));
  if (b.is_const() && b.value() > 0) return floor_div(a + (b.value() - 1), b);
  return Dim(0) - floor_div(Dim(0) - a, b);
}

Dim mod(Dim a, Dim b) {
  if (!compatible(a, b) || b.is_const(0)) return Dim::invalid();
  if (b.is_const(1) || b.is_const(-1)) return 0;
  if (a.is_const() && b.is_const()) return Dim(a.value() - b.value() * floor_quotient(a.value(), b.value()));
  if (exact_div(a, b)) return 0;
  Poly divisor = to_poly(b);
  Dim rest = a;
  if (divisor.is_monomial()) {
    auto parts = split(to_poly(a), divisor.lead());
    if (!parts) return Dim::invalid();
    rest = from_poly(std::move(parts->second));
  }
  if (!rest.is_valid()) return rest;
  if (rest.is_const() && b.is_const()) return mod(rest, b);
  if (within(rest, b)) return rest;
  return rest.is_const(0) ? rest : atom(DimKind::kMod, rest, b);
}

namespace {

Dim extremum(DimKind kind, Dim a, Dim b) {
  if (!compatible(a, b)) return Dim::invalid();
  bool smallest = kind == DimKind::kMin;
  if (known_le(a, b)) return smallest ? a : b;
  if (known_le(b, a)) return smallest ? b : a;
  auto key = [](Dim d) { return d.node() ? d.node()->id : -1; };
  if (key(b) < key(a)) std::swap(a, b);
  return atom(kind, a, b);
}

}  // namespace

Dim min(Dim a, Dim b) { return extremum(DimKind::kMin, a, b); }
Dim max(Dim a, Dim b) { return extremum(DimKind::kMax, a, b); }

// ---- Bounds, with INT64_MIN and INT64_MAX as the infinities

namespace {

int64_t clamp(__int128 v) {
  if (v <= INT64_MIN) return INT64_MIN;
  if (v >= INT64_MAX) return INT64_MAX;
  return static_cast<int64_t>(v);
}

bool infinite(int64_t v) { return v == INT64_MIN || v == INT64_MAX; }

int64_t bound_add(int64_t a, int64_t b) {
  if (infinite(a)) return a;
  if (infinite(b)) return b;
  return clamp(static_cast<__int128>(a) + b);
}

int64_t bound_mul(int64_t a, int64_t b) {
  if (a == 0 || b == 0) return 0;
  if (infinite(a) || infinite(b)) return (a < 0) == (b < 0) ? INT64_MAX : INT64_MIN;
  return clamp(static_cast<__int128>(a) * b);
}

DimBounds bounds_mul(DimBounds x, DimBounds y) {
  int64_t corners[] = {bound_mul(x.lo, y.lo), bound_mul(x.lo, y.hi), bound_mul(x.hi, y.lo), bound_mul(x.hi, y.hi)};
  return {std::ranges::min(corners), std::ranges::max(corners)};
}

DimBounds bounds_div(DimBounds x, DimBounds y) {
  if (y.lo <= 0) return {};
  auto quotient = [](int64_t a, int64_t b) {
    if (infinite(a)) return a;
    if (infinite(b)) return a < 0 ? int64_t{-1} : int64_t{0};
    return floor_quotient(a, b);
  };
  int64_t corners[] = {quotient(x.lo, y.lo), quotient(x.lo, y.hi), quotient(x.hi, y.lo), quotient(x.hi, y.hi)};
  return {std::ranges::min(corners), std::ranges::max(corners)};
}

DimBounds bounds_of(const DimNode& n) {
  switch (n.kind) {
    case DimKind::kSymbol: return n.context->symbol_bounds(n.symbol);
    case DimKind::kFloorDiv: return bounds_div(bounds(n.a), bounds(n.b));
    case DimKind::kMod: {
      DimBounds b = bounds(n.b);
      if (b.lo <= 0) return {};
      return {0, infinite(b.hi) ? b.hi : b.hi - 1};
    }
    case DimKind::kMin:
    case DimKind::kMax: {
      DimBounds a = bounds(n.a), b = bounds(n.b);
      if (n.kind == DimKind::kMin) return {std::min(a.lo, b.lo), std::min(a.hi, b.hi)};
      return {std::max(a.lo, b.lo), std::max(a.hi, b.hi)};
    }
    case DimKind::kSum: break;
  }
  DimBounds out{n.constant, n.constant};
  for (const Term& term : n.terms) {
    DimBounds part{term.coefficient, term.coefficient};
    for (const DimNode* factor : term.factors) part = bounds_mul(part, bounds_of(*factor));
    out = {bound_add(out.lo, part.lo), bound_add(out.hi, part.hi)};
  }
  return out;
}

}  // namespace

DimBounds bounds(Dim d) {
  if (!d.is_valid()) return {};
  return d.node() ? bounds_of(*d.node()) : DimBounds{d.value(), d.value()};
}

bool known_eq(Dim a, Dim b) { return a.is_valid() && a == b; }

bool known_ne(Dim a, Dim b) {
  Dim difference = a - b;
  if (!difference.is_valid()) return false;
  DimBounds range = bounds(difference);
  return range.lo > 0 || range.hi < 0;
}

namespace {

constexpr int kMaxCases = 3;       // nested
constexpr size_t kMaxTerms = 8;

/// Whether d >= 0 in every case: a minimum or maximum is one of its operands, and on one side of both.
bool non_negative_by_cases(Dim d, int cases) {
  if (!d.is_valid()) return false;
  if (bounds(d).lo >= 0) return true;
  if (cases == 0 || d.is_const()) return false;
  const Poly poly = to_poly(d);
  if (poly.terms.size() > kMaxTerms) return false;
  for (size_t i = 0; i < poly.terms.size(); ++i) {
    const Term& term = poly.terms[i];
    const DimNode* atom = term.factors.size() == 1 ? term.factors[0] : nullptr;
    if (atom == nullptr || (atom->kind != DimKind::kMin && atom->kind != DimKind::kMax)) continue;
    Poly others = poly;
    others.terms.erase(others.terms.begin() + static_cast<int64_t>(i));
    const Dim rest = from_poly(std::move(others));
    const auto holds = [&](Dim operand) { return non_negative_by_cases(rest + Dim(term.coefficient) * operand, cases - 1); };
    const bool either = (atom->kind == DimKind::kMin) == (term.coefficient < 0);
    if (either ? holds(atom->a) || holds(atom->b) : holds(atom->a) && holds(atom->b)) return true;
  }
  return false;
}

}  // namespace

bool known_le(Dim a, Dim b) {
  if (!a.is_valid() || !b.is_valid()) return false;
  if (bounds(a).hi <= bounds(b).lo) return true;  // also where the difference overflows
  return non_negative_by_cases(b - a, kMaxCases);
}

bool known_lt(Dim a, Dim b) {
  if (!a.is_valid() || !b.is_valid()) return false;
  if (bounds(a).hi < bounds(b).lo) return true;
  Dim difference = b - a;
  return difference.is_valid() && bounds(difference).lo > 0;
}

// ---- Context

DimContext::DimContext() : impl_(std::make_unique<Impl>()) { impl_->owner = this; }
DimContext::~DimContext() = default;

Dim DimContext::symbol(std::string_view name) {
  auto [it, inserted] = impl_->by_name.try_emplace(std::string(name), static_cast<int>(impl_->symbols.size()));
  if (!inserted) return Impl::wrap(impl_->symbols[static_cast<size_t>(it->second)].node);
  DimNode node{};
  node.kind = DimKind::kSymbol;
  node.symbol = it->second;
  impl_->symbols.push_back({it->first});
  Dim made = impl_->intern(std::move(node));
  impl_->symbols.back().node = made.node();
  return made;
}

Dim DimContext::fresh(std::string_view prefix) {
  for (size_t n = impl_->symbols.size();; ++n) {
    std::string name = fmt::format("{}_{}", prefix, n);
    if (!impl_->by_name.contains(name)) return symbol(name);
  }
}

int DimContext::num_symbols() const { return static_cast<int>(impl_->symbols.size()); }
const std::string& DimContext::symbol_name(int id) const { return impl_->symbols[static_cast<size_t>(id)].name; }

std::optional<Dim> DimContext::find_symbol(std::string_view name) const {
  auto it = impl_->by_name.find(std::string(name));
  if (it == impl_->by_name.end()) return std::nullopt;
  return Impl::wrap(impl_->symbols[static_cast<size_t>(it->second)].node);
}

void DimContext::set_bounds(Dim symbol, DimBounds bounds) {
  impl_->symbols[static_cast<size_t>(symbol.symbol_id())].bounds = bounds;
}
DimBounds DimContext::symbol_bounds(int id) const { return impl_->symbols[static_cast<size_t>(id)].bounds; }

Dim DimContext::substitute(Dim d, const std::function<std::optional<Dim>(int symbol)>& map) {
  if (!d.node()) return d;
  const DimNode& n = *d.node();
  switch (n.kind) {
    case DimKind::kSymbol: return map(n.symbol).value_or(d);
    case DimKind::kFloorDiv: return floor_div(substitute(n.a, map), substitute(n.b, map));
    case DimKind::kMod: return mod(substitute(n.a, map), substitute(n.b, map));
    case DimKind::kMin: return min(substitute(n.a, map), substitute(n.b, map));
    case DimKind::kMax: return max(substitute(n.a, map), substitute(n.b, map));
    case DimKind::kSum: break;
  }
  Dim out = n.constant;
  for (const Term& term : n.terms) {
    Dim part = term.coefficient;
    for (const DimNode* factor : term.factors) part = part * substitute(Impl::wrap(factor), map);
    out = out + part;
  }
  return out;
}

// ---- Evaluation

namespace {

Status overflow() { return error(Code::kOutOfRange, "a dimension's value does not fit 64 bits"); }

Result<int64_t> evaluate_node(const DimNode& n, std::span<const std::optional<int64_t>> symbols);

Result<int64_t> evaluate_sum(const DimNode& n, std::span<const std::optional<int64_t>> symbols) {
  int64_t out = n.constant;
  for (const Term& term : n.terms) {
    std::optional<int64_t> part = term.coefficient;
    for (const DimNode* factor : term.factors) {
      TENON_ASSIGN_OR_RETURN(int64_t value, evaluate_node(*factor, symbols));
      part = checked_mul(*part, value);
      if (!part) return overflow();
    }
    auto sum = checked_add(out, *part);
    if (!sum) return overflow();
    out = *sum;
  }
  return out;
}

Result<int64_t> evaluate_node(const DimNode& n, std::span<const std::optional<int64_t>> symbols) {
  if (n.kind == DimKind::kSum) return evaluate_sum(n, symbols);
  if (n.kind == DimKind::kSymbol) {
    auto id = static_cast<size_t>(n.symbol);
    if (id < symbols.size() && symbols[id]) return *symbols[id];
    return error(Code::kOutOfRange, "dimension '{}' has no value", n.context->symbol_name(n.symbol))
        .with_hint("bind it with --dim or give an input that has it");
  }
  TENON_ASSIGN_OR_RETURN(int64_t a, evaluate(n.a, symbols));
  TENON_ASSIGN_OR_RETURN(int64_t b, evaluate(n.b, symbols));
  if (n.kind == DimKind::kMin) return std::min(a, b);
  if (n.kind == DimKind::kMax) return std::max(a, b);
  if (b == 0) return error(Code::kOutOfRange, "a dimension's value divides by zero");
  if (!checked_div(a, b)) return n.kind == DimKind::kMod ? Result<int64_t>(int64_t{0}) : Result<int64_t>(overflow());
  int64_t quotient = floor_quotient(a, b);
  return n.kind == DimKind::kFloorDiv ? quotient : a - quotient * b;
}

}  // namespace

Result<int64_t> evaluate(Dim d, std::span<const std::optional<int64_t>> symbols) {
  if (!d.is_valid()) return overflow();
  if (d.is_const()) return d.value();
  return evaluate_node(*d.node(), symbols);
}

void collect_symbols(Dim d, std::vector<int>& ids) {
  if (!d.node()) return;
  const DimNode& n = *d.node();
  if (n.kind == DimKind::kSymbol && std::ranges::find(ids, n.symbol) == ids.end()) ids.push_back(n.symbol);
  collect_symbols(n.a, ids);
  collect_symbols(n.b, ids);
  for (const Term& term : n.terms)
    for (const DimNode* factor : term.factors) collect_symbols(DimContext::Impl::wrap(factor), ids);
}

}  // namespace tenon::ir
