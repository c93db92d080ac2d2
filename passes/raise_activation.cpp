#include <cmath>
#include <numbers>

#include "passes/raise_rules.h"

namespace tenon::passes {
namespace {

using ir::Builder;
using ir::Value;

Pattern erf(const Pattern& p) { return op("Erf", {p}); }
Pattern exp(const Pattern& p) { return op("Exp", {p}); }
Pattern log(const Pattern& p) { return op("Log", {p}); }
Pattern abs(const Pattern& p) { return op("Abs", {p}); }
Pattern tanh(const Pattern& p) { return op("Tanh", {p}); }
Pattern relu(const Pattern& p) { return op("Relu", {p}); }
Pattern sigmoid(const Pattern& p) { return op("Sigmoid", {p}); }
Pattern min(const Pattern& p, const Pattern& q) { return op("Min", {p, q}); }
Pattern max(const Pattern& p, const Pattern& q) { return op("Max", {p, q}); }
Pattern clip(const Pattern& p, const Pattern& low, const Pattern& high) { return op("Clip", {p, low, high}); }
/// p where x is above 0, else q; at 0 the two are equal.
Pattern where_positive(const Pattern& x, const Pattern& p, const Pattern& q) {
  return either(
      {op("Where", {op("Greater|GreaterOrEqual", {x, 0}), p, q}), op("Where", {op("Less|LessOrEqual", {x, 0}), q, p}),
       op("Where", {op("Less|LessOrEqual", {0, x}), p, q}), op("Where", {op("Greater|GreaterOrEqual", {0, x}), q, p})});
}

Value* unary(const Match& m, Builder& builder, std::string_view name) { return builder.make(name, {m["x"]}); }

Value* unary(const Match& m, Builder& builder, std::string_view name, double alpha) {
  return builder.make(name, {m["x"]}, {{"alpha", alpha}});
}

Value* gelu_tanh(const Match& m, Builder& builder) {
  return builder.make("Gelu", {m["x"]}, {{"approximate", std::string("tanh")}});
}

Value* swish(const Match& m, Builder& builder) { return unary(m, builder, "Swish", m.number("a")); }

/// The slope of a LeakyRelu that was written max(x, a x), or relu(x) - a relu(-x).
Value* leaky_relu(const Match& m, Builder& builder) { return unary(m, builder, "LeakyRelu", m.number("a")); }

Value* clip_between(const Match& m, Builder& builder) {
  double low = m.number("lo"), high = m.number("hi");
  DType dtype = m["x"]->dtype();
  constexpr double kExact = 0x1p53;  // integers that a number holds
  if (low > high || (!is_float(dtype) && (std::abs(low) > kExact || std::abs(high) > kExact))) return nullptr;
  return builder.make("Clip", {m["x"], builder.scalar(dtype, low), builder.scalar(dtype, high)});
}

/// clip(a x + b, 0, hi) scaled to [0, 1], with 1/2 at 0: any other clip is better off as one.
Value* hard_sigmoid(const Match& m, Builder& builder) {
  DType dtype = m.out()->dtype();
  double high = m.has("hi") ? m.number("hi") : 1;
  if (!(high > 0) || !says(m.number("b") / high, 0.5, dtype)) return nullptr;
  if (m.has("scale") && !says(m.number("scale"), 1 / high, dtype)) return nullptr;
  return builder.make("HardSigmoid", {m["x"]}, {{"alpha", m.number("a") / high}, {"beta", 0.5}});
}

Value* hard_swish_of_sigmoid(const Match& m, Builder& builder) {
  const ir::Node& node = m.node("gate");
  DType dtype = m.out()->dtype();
  bool same = says(node.attr_float("alpha", 0.2), 1.0 / 6, dtype) && says(node.attr_float("beta", 0.5), 0.5, dtype);
  return same ? unary(m, builder, "HardSwish") : nullptr;
}

Value* prelu(const Match& m, Builder& builder) { return builder.make("PRelu", {m["x"], m["slope"]}); }
Value* prelu_negated(const Match& m, Builder& builder) {
  return builder.make("PRelu", {m["x"], builder.make("Neg", {m["slope"]})});
}

Value* celu(const Match& m, Builder& builder) {
  return m.number("a") > 0 && says(m.number("b"), 1 / m.number("a"), m.out()->dtype())
             ? unary(m, builder, "Celu", m.number("a"))
             : nullptr;
}

Value* selu(const Match& m, Builder& builder) {
  constexpr double kAlpha = 1.67326319217681884765625, kGamma = 1.05070102214813232421875;
  DType dtype = m.out()->dtype();
  double alpha = m.node("elu").attr_float("alpha", 1), gamma = m.number("a");
  if (!says(alpha, kAlpha, dtype) || !says(gamma, kGamma, dtype)) return nullptr;
  return builder.make("Selu", {m["x"]}, {{"alpha", alpha}, {"gamma", gamma}});
}

/// Where(x > threshold, x, log(1 + exp(x))): the threshold is high enough for the two to agree, and low enough for exp.
Value* softplus_above(const Match& m, Builder& builder) {
  DType dtype = m.out()->dtype();
  double threshold = m.number("a");
  bool fits = dtype == DType::kF64 ? threshold >= 37 && threshold < 700 : threshold >= 17 && threshold < 80;
  return fits && dtype != DType::kF16 ? unary(m, builder, "Softplus") : nullptr;
}

std::vector<RaiseRule> make_rules() {
  const Pattern x = any("x"), a = number("a"), b = number("b"), lo = number("lo"), hi = number("hi");
  const Pattern slope = constant("slope"), scale = number("scale");
  const double root = std::sqrt(2 / std::numbers::pi), cubic = 0.044715;
  const Pattern bend = either({root * (x + cubic * pow(x, 3)), root * x * (1 + cubic * pow(x, 2))});
  const Pattern naive_softplus = log(1 + exp(x));
  const Pattern exponential = a * (exp(x) - 1);
  return {
      {0.5 * x * (1 + erf(x / std::numbers::sqrt2)), [](auto& m, auto& to) { return unary(m, to, "Gelu"); }},
      {0.5 * x * (1 + tanh(bend)), gelu_tanh},
      // 1 + tanh(z) = 2 sigmoid(2z)
      {x * sigmoid(either({2 * root * (x + cubic * pow(x, 3)), 2 * root * x * (1 + cubic * pow(x, 2))})), gelu_tanh},

      {max(x, 0), [](auto& m, auto& to) { return unary(m, to, "Relu"); }},
      {min(max(x, lo), hi), clip_between},
      {max(min(x, hi), lo), clip_between},
      {1 / (1 + exp(-x)), [](auto& m, auto& to) { return unary(m, to, "Sigmoid"); }},

      {x * op("HardSigmoid", {x}).as("gate"), hard_swish_of_sigmoid},
      {(1.0 / 6) * x * clip(3 + x, 0, 6), [](auto& m, auto& to) { return unary(m, to, "HardSwish"); }},
      {scale * clip(b + a * x, 0, hi), hard_sigmoid},
      {clip(b + a * x, 0, 1), hard_sigmoid},

      {x * sigmoid(a * x), swish},
      {x / (1 + exp(-1 * a * x)), swish},
      {x * tanh(either({op("Softplus", {x}), naive_softplus})), [](auto& m, auto& to) { return unary(m, to, "Mish"); }},
      {max(x, 0) + log(1 + exp(-abs(x))), [](auto& m, auto& to) { return unary(m, to, "Softplus"); }},
      {relu(x) + log(1 + exp(-abs(x))), [](auto& m, auto& to) { return unary(m, to, "Softplus"); }},
      {op("Where", {op("Greater", {x, a}), x, naive_softplus}), softplus_above},
      {x / (1 + abs(x)), [](auto& m, auto& to) { return unary(m, to, "Softsign"); }},

      {where_positive(x, x, a * x), leaky_relu},
      {max(x, a * x),
       [](auto& m, auto& to) { return m.number("a") > 0 && m.number("a") <= 1 ? leaky_relu(m, to) : nullptr; }},
      {relu(x) + a * relu(-x), [](auto& m, auto& to) { return unary(m, to, "LeakyRelu", -m.number("a")); }},
      {relu(x) - slope * relu(-x), prelu},
      {relu(x) + slope * relu(-x), prelu_negated},
      {where_positive(x, x, slope * x), prelu},
      {op("Where", {op("Greater", {x, a}), x, 0}),
       [](auto& m, auto& to) { return unary(m, to, "ThresholdedRelu", m.number("a")); }},

      {where_positive(x, x, exponential), [](auto& m, auto& to) { return unary(m, to, "Elu", m.number("a")); }},
      {a * op("Elu", {x}).as("elu"), selu},
      {relu(x) + min(a * (exp(b * x) - 1), 0), celu},
  };
}

}  // namespace

std::span<const RaiseRule> activation_rules() {
  static const auto* rules = new std::vector<RaiseRule>(make_rules());
  return *rules;
}

}  // namespace tenon::passes
