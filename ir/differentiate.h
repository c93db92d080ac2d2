#pragma once

#include <span>
#include <vector>

#include "ir/op.h"
#include "ir/ops/decompose.h"

/// Reverse-mode differentiation (Griewank and Walther, "Evaluating Derivatives", 2008) of a graph by its ops'
/// derivative rules.
namespace tenon::ir {

/// One node on the way back: the cotangents of its outputs, from which a rule makes those of its inputs.
struct Pullback {
  Steps& s;
  Node& node;
  std::span<Value* const> cotangents;  // one an output; null: zero

  Value* x(int i = 0) const { return node.input(i); }
  Value* y(int i = 0) const { return node.output(i); }
  Value* g(int i = 0) const { return cotangents[static_cast<size_t>(i)]; }
  /// The dims of input i; empty for an unranked one, which the driver has refused where rules need them.
  const Dims& dims(int i = 0) const { return *x(i)->tensor().dims; }
};

/// Cotangents of the inputs, null where there is none. Those of broadcast inputs have the output's shape; the caller
/// sums them back.
using DerivativeFn = Result<std::vector<Value*>> (*)(Pullback& p);
struct DerivativeRule {
  std::string_view ops;  // qualified names, separated by spaces
  DerivativeFn rule;
};

/// The rule of an op; null when there is none. An op without one that decomposes is differentiated through what it
/// decomposes to.
DerivativeFn derivative_of(const OpDef& op);
std::span<const DerivativeRule> derivative_rules();

/// Σ cotangent · ∂y/∂x for each x of `xs`, with ones as y's cotangent; x's shape and dtype. Zeros for an x that y does
/// not depend on. Nodes are appended to `builder`'s graph. The way from y back ends at `xs`: what they are made of is
/// not visited. kInvalidModel when y or an x is no float tensor; kUnsupported, with the node's name, for an op without
/// a rule.
Result<std::vector<Value*>> gradients(Builder& builder, Value* y, std::span<Value* const> xs);

/// y's value when each of `from` holds what the value of `to` at its place does: copies of the nodes in between.
Result<Value*> substitute(Builder& builder, Value* y, std::span<Value* const> from, std::span<Value* const> to);

}  // namespace tenon::ir
