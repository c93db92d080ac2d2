#include "passes/pattern.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace tenon::passes {

using Kind = PatternNode::Kind;

namespace {

Pattern made(PatternNode node) { return Pattern(std::make_shared<const PatternNode>(std::move(node))); }

/// A chain to which `p` belongs as `power` says; an unnamed chain of the same kind dissolves in it.
void append(PatternNode& chain, const Pattern& p, double power) {
  bool product = chain.kind == Kind::kProduct;
  if (p->kind == Kind::kNumber && p->name.empty()) {
    chain.value = product ? chain.value * std::pow(p->value, power) : chain.value + p->value * power;
  } else if (p->kind == Kind::kNumber && power == 1) {
    chain.number = p->name;
  } else if (p->kind == chain.kind && p->name.empty() && p->number.empty() && power == std::round(power)) {
    chain.value = product ? chain.value * std::pow(p->value, power) : chain.value + p->value * power;
    for (const PatternNode::Term& term : p->terms) append(chain, term.pattern, term.power * power);
  } else {
    for (PatternNode::Term& term : chain.terms)
      if (&*term.pattern == &*p && product && term.power == std::round(term.power)) {
        term.power += power;
        return;
      }
    chain.terms.push_back({p, power});
  }
}

Pattern chain(Kind kind, std::initializer_list<PatternNode::Term> terms) {
  PatternNode node{.kind = kind, .value = kind == Kind::kProduct ? 1.0 : 0.0};
  // A capture of the number keeps its chain apart, so it goes in last: `number("a") * x * y` is one product.
  for (const PatternNode::Term& term : terms) {
    if (term.pattern->kind == kind && term.pattern->name.empty() && !term.pattern->number.empty() && term.power == 1) {
      node.number = term.pattern->number;
      PatternNode rest = *term.pattern;
      rest.number = {};
      append(node, made(std::move(rest)), 1);
    } else {
      append(node, term.pattern, term.power);
    }
  }
  return made(std::move(node));
}

}  // namespace

Pattern::Pattern(double number) : node_(made({.kind = Kind::kNumber, .value = number}).node_) {}

Pattern Pattern::as(std::string_view name) const {
  PatternNode copy = *node_;
  copy.name = name;
  return made(std::move(copy));
}

Pattern Pattern::and_more() const {
  PatternNode copy = *node_;
  copy.more = true;
  return made(std::move(copy));
}

Pattern any(std::string_view name) { return made({.kind = Kind::kAny, .name = name}); }
Pattern constant(std::string_view name) { return made({.kind = Kind::kConstant, .name = name}); }
Pattern number(std::string_view name) { return made({.kind = Kind::kNumber, .name = name}); }
Pattern either(std::initializer_list<Pattern> choices) { return made({.kind = Kind::kEither, .args = choices}); }
Pattern maybe_cast(const Pattern& p, std::string_view name) { return either({op("Cast", {p}).as(name), p}); }

Pattern op(std::string_view name, std::initializer_list<Pattern> args) {
  PatternNode node{.kind = Kind::kOp, .args = args};
  for (size_t at = 0; at <= name.size();) {
    size_t end = std::min(name.find('|', at), name.size());
    node.ops.push_back(name.substr(at, end - at));
    at = end + 1;
  }
  return made(std::move(node));
}

Pattern operator*(const Pattern& a, const Pattern& b) { return chain(Kind::kProduct, {{a, 1}, {b, 1}}); }
Pattern operator/(const Pattern& a, const Pattern& b) { return chain(Kind::kProduct, {{a, 1}, {b, -1}}); }
Pattern operator+(const Pattern& a, const Pattern& b) { return chain(Kind::kSum, {{a, 1}, {b, 1}}); }
Pattern operator-(const Pattern& a, const Pattern& b) { return chain(Kind::kSum, {{a, 1}, {b, -1}}); }
Pattern operator-(const Pattern& a) { return -1 * a; }
Pattern pow(const Pattern& base, double power) { return chain(Kind::kProduct, {{base, power}}); }
Pattern sqrt(const Pattern& a) { return pow(a, 0.5); }

std::vector<std::string_view> root_ops(const Pattern& pattern) {
  switch (pattern->kind) {
    case Kind::kOp:
      return pattern->ops;
    case Kind::kSum:
      return {"Add", "Sub", "Sum"};
    case Kind::kProduct:
      if (pattern->terms.size() > 1) return {"Mul", "Div"};
      return {"Mul", "Div", "Neg", "Reciprocal", "Sqrt", "Pow"};
    case Kind::kEither: {
      std::vector<std::string_view> out;
      for (const Pattern& choice : pattern->args)
        for (std::string_view name : root_ops(choice))
          if (std::ranges::find(out, name) == out.end()) out.push_back(name);
      return out;
    }
    default:
      return {};
  }
}

}  // namespace tenon::passes
