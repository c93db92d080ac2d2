#include <cmath>
#include <numbers>

#include "ir/ops/elementwise.h"
#include "ir/ops/families.h"

namespace tenon::ir {
namespace {

Expr number(Expr like, double value) { return like.pool->constant(like.dtype(), value); }

// log(1 + exp(x)) without overflow.
Expr softplus(Expr x) { return max(x, number(x, 0)) + log1p(exp(-abs(x))); }

Expr gelu(const Node& node, Expr x) {
  if (node.attr_string("approximate", "none") == "tanh") {
    const double c = std::sqrt(2 / std::numbers::pi);
    return 0.5 * x * (1.0 + tanh(x * (x * x * (0.044715 * c) + c)));
  }
  return 0.5 * x * (1.0 + erf(x * (std::numbers::sqrt2 / 2)));
}

// Integers compare and shift as f32.
Expr shrink(const Node& node, Expr x) {
  const double lambda = node.attr_float("lambd", 0.5), bias = node.attr_float("bias", 0);
  const Expr v = is_float(x.dtype()) ? x : x.pool->cast(x, DType::kF32);
  return select(v < -lambda, v + bias, select(v > lambda, v - bias, number(v, 0)));
}

}  // namespace

std::vector<OpDef> activation_ops() {
  return {
      unary("Relu", kFloat16To64 | kSignedInts, [](Expr x) { return max(x, number(x, 0)); }),
      unary("LeakyRelu", kFloat16To64,
            [](const Node& n, Expr x) { return select(x < 0.0, x * n.attr_float("alpha", 0.01), x); },
            {{"alpha", AttrKind::kFloat, false, "0.01"}}),
      [] {
        OpDef op = binary("PRelu", kNumeric, [](Expr x, Expr slope) { return select(x < 0.0, x * slope, x); });
        op.infer = [](InferContext& c) {
          TENON_RETURN_IF_ERROR(infer_elementwise(c, c.dtype(0)));
          if (!c.ranked(0)) return Status();
          // The slope broadcasts to x, not x to the slope.
          const Type& both = c.node().output()->type();
          if (both.is_ranked_tensor() && !std::ranges::equal(*both.tensor().dims, c.shape(0), [&](Dim a, Dim b) { return !c.differ(a, b); }))
            return c.fail("a slope of {} does not broadcast to {}", to_string(c.in(1)), to_string(c.in(0)));
          return infer_as_input(c);
        };
        return op;
      }(),
      unary("Elu", kFloat16To64,
            [](const Node& n, Expr x) { return select(x < 0.0, expm1(x) * n.attr_float("alpha", 1), x); },
            {{"alpha", AttrKind::kFloat, false, "1.0"}}),
      unary("Selu", kFloat16To64,
            [](const Node& n, Expr x) {
              const double alpha = n.attr_float("alpha", 1.67326319217681884765625);
              return select(x > 0.0, x, expm1(x) * alpha) * n.attr_float("gamma", 1.05070102214813232421875);
            },
            {{"alpha", AttrKind::kFloat, false, "1.67326319217681884765625"},
             {"gamma", AttrKind::kFloat, false, "1.05070102214813232421875"}}),
      unary("Celu", kFloat16To64,
            [](const Node& n, Expr x) {
              const double alpha = n.attr_float("alpha", 1);
              return max(x, number(x, 0)) + min(number(x, 0), expm1(x / alpha) * alpha);
            },
            {{"alpha", AttrKind::kFloat, false, "1.0"}}),
      unary("Gelu", kFloat16To64, [](const Node& n, Expr x) { return gelu(n, x); },
            {{"approximate", AttrKind::kString, false, "none"}}),
      unary("Sigmoid", kFloat16To64, [](Expr x) { return sigmoid(x); }),
      unary("Tanh", kFloat16To64, [](Expr x) { return tanh(x); }),
      unary("HardSigmoid", kFloat16To64,
            [](const Node& n, Expr x) {
              return max(number(x, 0), min(number(x, 1), x * n.attr_float("alpha", 0.2) + n.attr_float("beta", 0.5)));
            },
            {{"alpha", AttrKind::kFloat, false, "0.2"}, {"beta", AttrKind::kFloat, false, "0.5"}}),
      unary("HardSwish", kFloat16To64,
            [](Expr x) { return x * max(number(x, 0), min(number(x, 1), x * (1.0 / 6) + 0.5)); }),
      unary("Softplus", kFloat16To64, [](Expr x) { return softplus(x); }),
      unary("Softsign", kFloat16To64, [](Expr x) { return x / (1.0 + abs(x)); }),
      unary("Mish", kFloat16To64, [](Expr x) { return x * tanh(softplus(x)); }),
      unary("Swish", kFloat16To64, [](const Node& n, Expr x) { return x * sigmoid(x * n.attr_float("alpha", 1)); },
            {{"alpha", AttrKind::kFloat, false, "1.0"}}),
      [] {
        OpDef op = binary("SwiGLU", kFloat16To64,
                          [](const Node& n, Expr gate, Expr x) { return gate * sigmoid(gate * n.attr_float("alpha", 1)) * x; },
                          {{"alpha", AttrKind::kFloat, false, "1.0"}});
        op.infer = [](InferContext& c) {
          if (c.ranked(0) && c.ranked(1) && !std::ranges::equal(c.shape(0), c.shape(1), [&](Dim a, Dim b) { return !c.differ(a, b); }))
            return c.fail("the gate is {}, the input {}; they must have one shape", to_string(c.in(0)), to_string(c.in(1)));
          return infer_as_input(c);
        };
        return op;
      }(),
      unary("ThresholdedRelu", kFloat16To64,
            [](const Node& n, Expr x) { return select(x > n.attr_float("alpha", 1), x, number(x, 0)); },
            {{"alpha", AttrKind::kFloat, false, "1.0"}}),
      unary("Shrink", kNumeric, [](const Node& n, Expr x) { return shrink(n, x); },
            {{"lambd", AttrKind::kFloat, false, "0.5"}, {"bias", AttrKind::kFloat, false, "0.0"}}),
  };
}

}  // namespace tenon::ir
