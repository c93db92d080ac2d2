#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace tenon::passes {

struct PatternNode;

/// What a sub-graph computes, written as its formula. Gelu, for example, is
///
///     const Pattern x = any("x");
///     0.5 * x * (1 + op("Erf", {x / std::numbers::sqrt2}))
///
/// Products (`*`, `/`, pow, sqrt) and sums (`+`, `-`) stand for every tree of nodes that computes them: any order and
/// association, Mul by a number or Div by its inverse, Neg, Reciprocal, Sqrt, Pow by a number, x*x for Pow(x, 2). The
/// numbers of a tree are gathered into one, which must be the pattern's. Max, Min, And, Or and Equal commute.
///
/// A pattern with a name captures the value that it matches; where a name comes again, it is the same value (or
/// number).
class Pattern {
 public:
  Pattern(double number);  // NOLINT: a number, so that `1 + x` reads well
  explicit Pattern(std::shared_ptr<const PatternNode> node) : node_(std::move(node)) {}
  Pattern as(std::string_view name) const;  // the same with a name
  /// An operation that may have further operands than its pattern has.
  Pattern and_more() const;

  const PatternNode& operator*() const { return *node_; }
  const PatternNode* operator->() const { return node_.get(); }

 private:
  std::shared_ptr<const PatternNode> node_;
};

Pattern any(std::string_view name);
/// A constant tensor.
Pattern constant(std::string_view name);
/// A constant whose elements are all the same number. As a factor (or term), the whole number of its product (or
/// sum): 1 (or 0) where no node multiplies (or adds) one.
Pattern number(std::string_view name);
/// A node of this op ("Erf"), or of one of several ("Reshape|Squeeze"), of whose outputs only the first is used.
Pattern op(std::string_view name, std::initializer_list<Pattern> args);
/// The first that lets the whole match.
Pattern either(std::initializer_list<Pattern> choices);
/// p, or a Cast of it.
Pattern maybe_cast(const Pattern& p, std::string_view name = {});

Pattern operator*(const Pattern& a, const Pattern& b);
Pattern operator/(const Pattern& a, const Pattern& b);
Pattern operator+(const Pattern& a, const Pattern& b);
Pattern operator-(const Pattern& a, const Pattern& b);
Pattern operator-(const Pattern& a);
/// Powers are whole numbers or ±1/2.
Pattern pow(const Pattern& base, double power);
Pattern sqrt(const Pattern& a);

struct PatternNode {
  enum class Kind : uint8_t { kAny, kConstant, kNumber, kOp, kEither, kProduct, kSum };
  struct Term {
    Pattern pattern;
    double power;  // exponent in a product, sign in a sum
  };
  Kind kind = Kind::kAny;
  std::string_view name;              // of the capture; patterns are made of string literals
  double value = 0;                   // kNumber without a name; the number of a chain
  std::vector<std::string_view> ops;  // kOp
  std::vector<Pattern> args;          // kOp, kEither
  bool more = false;                  // kOp
  std::vector<Term> terms;            // chains: kProduct, kSum
  std::string_view number;            // chains: the name of a captured number
  bool is_chain() const { return kind == Kind::kProduct || kind == Kind::kSum; }
};

/// Names of ops that a node at the top of the pattern can have.
std::vector<std::string_view> root_ops(const Pattern& pattern);

/// Whether a constant of this dtype says `wanted`: equal where the dtype holds it, else within the dtype's rounding.
bool says(double number, double wanted, DType dtype);

/// What the names of a pattern stand for.
class Match {
 public:
  ir::Value* operator[](std::string_view name) const;  // null when the alternative that matched has no such name
  bool has(std::string_view name) const { return find(name) != nullptr; }
  double number(std::string_view name) const;  // NaN for a name that was not matched
  ir::Node& node(std::string_view name) const { return *(*this)[name]->def(); }
  ir::Node& root() const { return *nodes_.front(); }
  ir::Value* out() const { return root().output(); }
  /// The nodes that compute the pattern, each used by others of them alone, but for the root, the first.
  const std::vector<ir::Node*>& nodes() const { return nodes_; }

 private:
  friend class Matcher;
  struct Binding {
    std::string_view name;
    ir::Value* value;
    double number;
  };
  const Binding* find(std::string_view name) const;
  std::vector<Binding> bindings_;
  std::vector<ir::Node*> nodes_;
};

/// The pattern at the first output of `root`, with all nodes in root's graph. Nothing where a node in it has a use
/// outside of it. The search is bounded: a graph that needs more steps is taken as no match.
std::optional<Match> match(const Pattern& pattern, ir::Node& root);

}  // namespace tenon::passes
