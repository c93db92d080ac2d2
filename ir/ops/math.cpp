#include <cmath>

#include "ir/ops/elementwise.h"
#include "ir/ops/families.h"

namespace tenon::ir {
namespace {

constexpr DTypeSet kSignedNumeric = kFloat16To64 | kSignedInts;

template <ScalarOp kOp>
OpDef math(std::string_view name, DTypeSet types = kFloat16To64) {
  return unary(name, types, [](Expr x) { return unary(kOp, x); });
}

Dim divide_dims(Dim a, Dim b) {
  if (a.is_const() && b.is_const() && !b.is_const(0) && !(a.is_const(INT64_MIN) && b.is_const(-1)))
    return a.value() / b.value();
  return known_le(0, a) && known_lt(0, b) ? floor_div(a, b) : Dim::invalid();
}

Dim mod_dims(Dim a, Dim b) { return known_le(0, a) && known_lt(0, b) ? mod(a, b) : Dim::invalid(); }

// ---- Pow

// The exponent may have another dtype. Integers to a floating power go through double.
Expr power(const Node& node, std::span<const Expr> x) {
  const Expr base = x[0];
  ExprPool& pool = *base.pool;
  if (const Tensor* exponent = constant_of(node.input(1)); exponent != nullptr && exponent->size() == 1) {
    if (exponent->at_double(0) == 1) return base;
    if (exponent->at_double(0) == 2) return base * base;
  }
  if (!is_float(base.dtype()) && is_float(x[1].dtype()))
    return pow(pool.cast(base, DType::kF64), pool.cast(x[1], DType::kF64));
  return pow(base, pool.cast(x[1], base.dtype()));
}

// ---- Mod

Expr modulo(const Node& node, Expr a, Expr b) {
  const Expr args[] = {a, b};
  return a.pool->op(node.attr_int("fmod", 0) != 0 ? ScalarOp::kRem : ScalarOp::kMod, args);
}

// ---- Clip

Expr clip(const Node&, std::span<const Expr> x) {
  Expr value = x[0];
  if (x.size() > 1 && x[1].valid()) value = max(value, x[1]);
  if (x.size() > 2 && x[2].valid()) value = min(value, x[2]);
  return value;
}

Status infer_clip(InferContext& c) {
  for (int i = 1; i < c.node().num_inputs(); ++i)
    if (c.has(i) && c.ranked(i))
      for (const Dim& d : c.shape(i))
        if (c.differ(d, 1)) return c.fail("min and max must be scalars, not {}", to_string(c.in(i)));
  return infer_as_input(c);
}

// A bound of rank 1 has one element; only its rank may exceed the data's.
Result<std::vector<Body>> clip_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kElementwise);
  const DType dtype = compute_dtype(body.dtype);
  std::vector<Expr> x;
  for (int i = 0; i < node.num_inputs(); ++i)
    x.push_back(!node.has_input(i) ? Expr()
                : i == 0 ? body.pool->cast(load_at(body, node, 0, axis_indices(*body.pool, body.axes.size())), dtype)
                         : body.pool->cast(load_only(body, node, i), dtype));
  body.value = body.pool->cast(clip(node, x), body.dtype);
  return one_body(std::move(body));
}

// ---- Folds of several operands

template <ScalarOp kOp>
Expr fold(std::span<const Expr> x) {
  Expr value = x[0];
  for (const Expr& next : x.subspan(1)) {
    const Expr args[] = {value, next};
    value = value.pool->op(kOp, args);
  }
  return value;
}

}  // namespace

std::vector<OpDef> math_ops() {
  return {
      math<ScalarOp::kAbs>("Abs", kNumeric),
      math<ScalarOp::kNeg>("Neg", kSignedNumeric),
      math<ScalarOp::kSign>("Sign", kNumeric),
      math<ScalarOp::kSqrt>("Sqrt"),
      math<ScalarOp::kRecip>("Reciprocal"),
      math<ScalarOp::kExp>("Exp"),
      math<ScalarOp::kLog>("Log"),
      math<ScalarOp::kSin>("Sin"),
      math<ScalarOp::kCos>("Cos"),
      math<ScalarOp::kTan>("Tan"),
      math<ScalarOp::kAsin>("Asin"),
      math<ScalarOp::kAcos>("Acos"),
      math<ScalarOp::kAtan>("Atan"),
      math<ScalarOp::kSinh>("Sinh"),
      math<ScalarOp::kCosh>("Cosh"),
      math<ScalarOp::kAsinh>("Asinh"),
      math<ScalarOp::kAcosh>("Acosh"),
      math<ScalarOp::kAtanh>("Atanh"),
      math<ScalarOp::kFloor>("Floor"),
      math<ScalarOp::kCeil>("Ceil"),
      math<ScalarOp::kRound>("Round"),
      unary("Erf", kNumeric, [](Expr x) {
        return erf(is_float(x.dtype()) ? x : x.pool->cast(x, DType::kF64));
      }),

      arithmetic("Add", kNumeric, [](Expr a, Expr b) { return a + b; }, [](Dim a, Dim b) { return a + b; }),
      arithmetic("Sub", kNumeric, [](Expr a, Expr b) { return a - b; }, [](Dim a, Dim b) { return a - b; }),
      arithmetic("Mul", kNumeric, [](Expr a, Expr b) { return a * b; }, [](Dim a, Dim b) { return a * b; }),
      arithmetic("Div", kNumeric, [](Expr a, Expr b) { return a / b; }, [](Dim a, Dim b) { return divide_dims(a, b); }),
      arithmetic("Mod", kNumeric, [](const Node& n, Expr a, Expr b) { return modulo(n, a, b); },
                 [](Dim a, Dim b) { return mod_dims(a, b); }, {{"fmod", AttrKind::kInt, false, "0"}}),
      {.domain = "",
       .name = "Pow",
       .inputs = {{"X", "T", kFloat16To64 | kInts}, {"Y", "T1", kNumeric}},
       .outputs = {{"Z", "T", kFloat16To64 | kInts}},
       .infer = [](InferContext& c) { return infer_elementwise(c, c.dtype(0)); },
       .compute = {.body = [](const Node& node) { return elementwise_body(node, power); }},
       .doc = "x to the power y, in the type of x (Pow)"},
      binary("BitShift", kUnsignedInts,
             [](const Node& node, Expr a, Expr b) {
               const Expr args[] = {a, b};
               return a.pool->op(node.attr_string("direction", "LEFT") == "RIGHT" ? ScalarOp::kShr : ScalarOp::kShl, args);
             },
             {{"direction", AttrKind::kString, true}}),

      variadic("Sum", kNumeric, [](const Node&, std::span<const Expr> x) { return fold<ScalarOp::kAdd>(x); }),
      variadic("Mean", kFloat16To64,
               [](const Node&, std::span<const Expr> x) { return fold<ScalarOp::kAdd>(x) / static_cast<double>(x.size()); }),
      [] {
        OpDef op = variadic("Max", kNumeric, [](const Node&, std::span<const Expr> x) { return fold<ScalarOp::kMax>(x); });
        op.infer = [](InferContext& c) {
          TENON_RETURN_IF_ERROR(infer_elementwise(c, c.dtype(0)));
          if (c.node().num_inputs() == 2) propagate_dims(c, [](Dim a, Dim b) { return max(a, b); });
          return Status();
        };
        return op;
      }(),
      [] {
        OpDef op = variadic("Min", kNumeric, [](const Node&, std::span<const Expr> x) { return fold<ScalarOp::kMin>(x); });
        op.infer = [](InferContext& c) {
          TENON_RETURN_IF_ERROR(infer_elementwise(c, c.dtype(0)));
          if (c.node().num_inputs() == 2) propagate_dims(c, [](Dim a, Dim b) { return min(a, b); });
          return Status();
        };
        return op;
      }(),
      {.domain = "",
       .name = "Clip",
       .inputs = {{"input", "T", kNumeric}, {"min", "T", kNumeric, true}, {"max", "T", kNumeric, true}},
       .outputs = {{"output", "T", kNumeric}},
       .infer = infer_clip,
       .compute = {.body = clip_body},
       .doc = "min(max(input, min), max) (Clip)"},

      predicate("IsNaN", kFloat16To64 | kFloat8, [](Expr x) { return unary(ScalarOp::kIsNan, x); }),
      predicate("IsInf", kFloat16To64 | kFloat8,
                [](const Node& node, Expr x) {
                  const Expr infinite = unary(ScalarOp::kIsInf, x);
                  if (node.attr_int("detect_negative", 1) == 0) return infinite && x > 0.0;
                  if (node.attr_int("detect_positive", 1) == 0) return infinite && x < 0.0;
                  return infinite;
                },
                {{"detect_negative", AttrKind::kInt, false, "1"}, {"detect_positive", AttrKind::kInt, false, "1"}}),
  };
}

}  // namespace tenon::ir
