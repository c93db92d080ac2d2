#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <limits>
#include <utility>

#include "passes/facts.h"
#include "passes/pattern.h"

namespace tenon::passes {

using ir::Node;
using ir::Value;
using Kind = PatternNode::Kind;

bool says(double number, double wanted, DType dtype) {
  double step = dtype == DType::kF64    ? 0x1p-52
                : dtype == DType::kF16  ? 0x1p-10
                : dtype == DType::kBF16 ? 0x1p-7
                                        : 0x1p-23;
  // A number with few bits is exact in any of them.
  if (std::ldexp(wanted, 4) == std::round(std::ldexp(wanted, 4)) && std::abs(wanted) <= 256) step = 0x1p-52;
  return std::abs(number - wanted) <= step * std::abs(wanted);
}

const Match::Binding* Match::find(std::string_view name) const {
  auto it = std::ranges::find(bindings_, name, &Binding::name);
  return it == bindings_.end() ? nullptr : &*it;
}

Value* Match::operator[](std::string_view name) const {
  const Binding* binding = find(name);
  return binding ? binding->value : nullptr;
}

double Match::number(std::string_view name) const {
  const Binding* binding = find(name);
  return binding ? binding->number : std::numeric_limits<double>::quiet_NaN();
}

namespace {

constexpr int kMaxSteps = 4000;
constexpr size_t kMaxItems = 12;  // of a chain of the graph
constexpr size_t kMaxTerms = 8;   // of one of the pattern
constexpr int kMaxNumbers = 3;    // in one
constexpr size_t kMaxNodes = 64;  // of a match: each is a level of the search's recursion

bool whole(double power) { return power == std::round(power); }

bool commutes(const Node& node) {
  static constexpr std::string_view kOps[] = {"Max", "Min", "And", "Or", "Equal"};
  return node.num_inputs() == 2 && std::ranges::find(kOps, node.op_name()) != std::end(kOps);
}

}  // namespace

/// What is left to match; it lives as long as the call that it is passed to.
class Continuation {
 public:
  template <class F>
    requires(!std::same_as<std::remove_cvref_t<F>, Continuation>)
  Continuation(F&& f) : object_(&f), call_([](const void* object) { return (*static_cast<const std::remove_cvref_t<F>*>(object))(); }) {}  // NOLINT
  bool operator()() const { return call_(object_); }

 private:
  const void* object_;
  bool (*call_)(const void*);
};

/// A few values, copied by value.
template <class T, size_t N>
class Few {
 public:
  void push_back(const T& value) {
    if (size_ < N) values_[size_] = value;
    ++size_;
  }
  void pop_back() { --size_; }
  T& operator[](size_t i) { return values_[i]; }
  const T& operator[](size_t i) const { return values_[i]; }
  const T& back() const { return values_[size_ - 1]; }
  const T* begin() const { return values_.data(); }
  const T* end() const { return values_.data() + size_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  bool overflowed() const { return size_ > N; }

 private:
  std::array<T, N> values_;
  size_t size_ = 0;
};

/// Backtracking search in continuation-passing style: match() calls `next` for every way in which the value fits, until
/// one lets the rest fit as well.
class Matcher {
 public:
  using Next = const Continuation&;

  explicit Matcher(Node& root) : graph_(root.graph()) {}

  std::optional<Match> run(const Pattern& pattern, Value* value) {
    if (!match(*pattern, value, [&] { return closed(); })) return std::nullopt;
    return std::move(found_);
  }

 private:
  /// One operand of a product or sum in the graph.
  struct Item {
    Value* value;
    double power;
  };
  /// A chain of the graph that is being matched with one of the pattern.
  struct Chain {
    const PatternNode& pattern;
    DType dtype;
    Few<Item, kMaxItems> items;    // not dealt with yet
    Few<double, kMaxTerms> left;  // powers of the pattern's terms still to be found
    double number;
    int numbers = 0;  // that were gathered into `number`
    bool product() const { return pattern.kind == Kind::kProduct; }
  };

  bool match(const PatternNode& p, Value* value, Next next) {
    if (!value || ++steps_ > kMaxSteps) return false;
    if (p.kind == Kind::kNumber) return match_number(p, value, next);
    if (!p.name.empty())
      if (const Match::Binding* bound = found_.find(p.name)) return bound->value == value && next();
    switch (p.kind) {
      case Kind::kAny:
        return bind(p.name, value, 0, next);
      case Kind::kConstant:
        return ir::constant_of(value) && bind(p.name, value, 0, next);
      case Kind::kOp:
        return match_op(p, value, [&] { return bind(p.name, value, 0, next); });
      case Kind::kEither:
        for (const Pattern& choice : p.args)
          if (match(*choice, value, [&] { return bind(p.name, value, 0, next); })) return true;
        return false;
      default:
        return start_chain(p, value, [&] { return bind(p.name, value, 0, next); });
    }
  }

  bool bind(std::string_view name, Value* value, double number, Next next) {
    if (name.empty()) return next();
    found_.bindings_.push_back({name, value, number});
    if (next()) return true;
    found_.bindings_.pop_back();
    return false;
  }

  bool bind_number(std::string_view name, Value* value, double number, DType dtype, Next next) {
    if (const Match::Binding* bound = found_.find(name)) return says(number, bound->number, dtype) && next();
    return bind(name, value, number, next);
  }

  bool match_number(const PatternNode& p, Value* value, Next next) {
    std::optional<double> number = number_of(value);
    if (!number || std::isnan(*number)) return false;
    if (p.name.empty()) return says(*number, p.value, value->dtype()) && next();
    return bind_number(p.name, value, *number, value->dtype(), next);
  }

  /// The node that computes a value which may be inside of the match.
  Node* inner(const Value* value) const {
    Node* def = value->def();
    if (!def || def->graph() != graph_ || value->def_index() != 0) return nullptr;
    for (int i = 1; i < def->num_outputs(); ++i)
      if (!def->output(i)->unused()) return nullptr;
    return def;
  }

  bool with_node(Node* node, Next next) {
    if (found_.nodes_.size() >= kMaxNodes) return false;
    found_.nodes_.push_back(node);
    if (next()) return true;
    found_.nodes_.pop_back();
    return false;
  }

  bool match_op(const PatternNode& p, Value* value, Next next) {
    Node* node = inner(value);
    if (!node || std::ranges::find(p.ops, node->op_name()) == p.ops.end()) return false;
    if (!p.more)
      for (int i = static_cast<int>(p.args.size()); i < node->num_inputs(); ++i)
        if (node->has_input(i)) return false;
    return with_node(node, [&] {
      return match_args(p, *node, false, 0, next) || (commutes(*node) && match_args(p, *node, true, 0, next));
    });
  }

  bool match_args(const PatternNode& p, const Node& node, bool swapped, size_t i, Next next) {
    if (i == p.args.size()) return next();
    int input = static_cast<int>(i);
    return match(*p.args[i], node.input(swapped ? 1 - input : input),
                 [&] { return match_args(p, node, swapped, i + 1, next); });
  }

  // ---- Products and sums

  bool start_chain(const PatternNode& p, Value* value, Next next) {
    if (!is_float(value->dtype())) return false;
    Chain chain{p, value->dtype(), {}, {}, p.kind == Kind::kProduct ? 1.0 : 0.0};
    chain.items.push_back({value, 1});
    for (const PatternNode::Term& term : p.terms) chain.left.push_back(term.power);
    if (chain.left.overflowed()) return false;
    return match_chain(chain, true, next);
  }

  bool match_chain(const Chain& chain, bool root, Next next) {
    if (++steps_ > kMaxSteps || chain.items.overflowed()) return false;
    if (chain.items.empty()) return end_chain(chain, next);
    Item item = chain.items.back();
    Chain rest = chain;
    rest.items.pop_back();
    if (std::optional<double> n = number_of(item.value); n && std::isfinite(*n) && chain.numbers < kMaxNumbers) {
      Chain more = rest;
      ++more.numbers;
      more.number = chain.product() ? chain.number * std::pow(*n, item.power) : chain.number + *n * item.power;
      if (std::isfinite(more.number) && match_chain(more, false, next)) return true;
    }
    if (root || item.value->has_one_use())
      if (Node* node = inner(item.value)) {
        Chain more = rest;
        if ((chain.product() ? expand_product(*node, item.power, more) : expand_sum(*node, item.power, more)) &&
            with_node(node, [&] { return match_chain(more, false, next); }))
          return true;
      }
    return match_term(rest, item, next);
  }

  /// `item` as (part of) one of the pattern's terms.
  bool match_term(const Chain& rest, Item item, Next next) {
    for (size_t i = 0; i < rest.left.size(); ++i) {
      if (item.power * rest.left[i] <= 0 || std::abs(item.power) > std::abs(rest.left[i])) continue;
      Chain more = rest;
      more.left[i] -= item.power;
      if (match(*rest.pattern.terms[i].pattern, item.value, [&] { return match_chain(more, false, next); }))
        return true;
    }
    return false;
  }

  bool end_chain(const Chain& chain, Next next) {
    for (double power : chain.left)
      if (power != 0) return false;
    const PatternNode& p = chain.pattern;
    if (p.number.empty()) return says(chain.number, p.value, chain.dtype) && next();
    double number = chain.product() ? chain.number / p.value : chain.number - p.value;
    return std::isfinite(number) && bind_number(p.number, nullptr, number, chain.dtype, next);
  }

  /// node's output to the power, as items of `to`.
  static bool expand_product(const Node& node, double power, Chain& to) {
    auto push = [&](int i, double p) { to.items.push_back({node.input(i), p}); };
    if (node.is("Sqrt") && std::abs(power) == 1) return push(0, power / 2), true;
    if (!whole(power)) return false;
    if (node.is("Mul")) return push(0, power), push(1, power), true;
    if (node.is("Div")) return push(0, power), push(1, -power), true;
    if (node.is("Reciprocal")) return push(0, -power), true;
    if (node.is("Neg")) {
      if (std::fmod(power, 2) != 0) to.number = -to.number;
      return push(0, power), true;
    }
    if (!node.is("Pow") || !node.input(1)) return false;
    std::optional<double> exponent = number_of(node.input(1));
    if (!exponent || *exponent == 0 || std::abs(*exponent) > 8) return false;
    if (!whole(*exponent) && !(std::abs(*exponent) == 0.5 && std::abs(power) == 1)) return false;
    return push(0, power * *exponent), true;
  }

  static bool expand_sum(const Node& node, double sign, Chain& to) {
    if (node.is("Add") || node.is("Sum")) {
      for (Value* input : node.inputs()) to.items.push_back({input, sign});
      return true;
    }
    if (node.is("Sub")) {
      to.items.push_back({node.input(0), sign});
      to.items.push_back({node.input(1), -sign});
      return true;
    }
    if (!node.is("Neg")) return false;
    to.items.push_back({node.input(0), -sign});
    return true;
  }

  /// Nothing but the root is used outside of the match.
  bool closed() const {
    const std::vector<Node*>& nodes = found_.nodes_;
    for (size_t i = 1; i < nodes.size(); ++i) {
      const Value* value = nodes[i]->output();
      if (value->num_output_uses() != 0) return false;
      for (const ir::Use& use : value->uses())
        if (std::ranges::find(nodes, use.node) == nodes.end()) return false;
    }
    return true;
  }

  const ir::Graph* graph_;
  Match found_;
  int steps_ = 0;
};

std::optional<Match> match(const Pattern& pattern, Node& root) {
  if (root.num_outputs() == 0) return std::nullopt;
  return Matcher(root).run(pattern, root.output());
}

}  // namespace tenon::passes
