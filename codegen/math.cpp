#include "codegen/math.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "codegen/kernel_copy.h"
#include "codegen/math_builder.h"

namespace tenon::kir {
namespace {

using math::V;

constexpr MathAccuracy kAccuracy[] = {
    {ScalarOp::kExp, 2, 2},   {ScalarOp::kExpm1, 1, 3},   {ScalarOp::kLog, 2, 2},   {ScalarOp::kLog1p, 1, 4},
    {ScalarOp::kSin, 2, 2},   {ScalarOp::kCos, 2, 2},     {ScalarOp::kTan, 1, 3},   {ScalarOp::kAsin, 1, 3},
    {ScalarOp::kAcos, 1, 3},  {ScalarOp::kAtan, 1, 2},    {ScalarOp::kSinh, 1, 4},  {ScalarOp::kCosh, 1, 4},
    {ScalarOp::kTanh, 4, 5},  {ScalarOp::kAsinh, 1, 5},   {ScalarOp::kAcosh, 1, 5}, {ScalarOp::kAtanh, 1, 5},
    {ScalarOp::kErf, 3, 3},   {ScalarOp::kSigmoid, 4, 4}, {ScalarOp::kPow, 2, 16},  {ScalarOp::kRsqrt, 2, 2},
    {ScalarOp::kRecip, 1, 1},
};

bool is_small_float(DType d) { return d == DType::kF16 || d == DType::kBF16; }

bool must_expand(ScalarOp op, DType dtype) {
  if (!is_float(dtype)) return op == ScalarOp::kPow;
  switch (op) {
    case ScalarOp::kSign:
    case ScalarOp::kRsqrt:
    case ScalarOp::kRecip:
    case ScalarOp::kExp:
    case ScalarOp::kExpm1:
    case ScalarOp::kLog:
    case ScalarOp::kLog1p:
    case ScalarOp::kSin:
    case ScalarOp::kCos:
    case ScalarOp::kTan:
    case ScalarOp::kAsin:
    case ScalarOp::kAcos:
    case ScalarOp::kAtan:
    case ScalarOp::kSinh:
    case ScalarOp::kCosh:
    case ScalarOp::kTanh:
    case ScalarOp::kAsinh:
    case ScalarOp::kAcosh:
    case ScalarOp::kAtanh:
    case ScalarOp::kErf:
    case ScalarOp::kSigmoid:
    case ScalarOp::kIsNan:
    case ScalarOp::kIsInf:
    case ScalarOp::kPow:
    case ScalarOp::kRem:
    case ScalarOp::kMod:
    case ScalarOp::kFloorDiv:
      return true;
    default:
      return false;
  }
}

// Square and multiply over the exponent's bits; a negative exponent gives the reciprocal, truncated to an integer.
V int_pow(V x, V y) {
  KernelBuilder& b = *x.b;
  const DType dtype = x.dtype();
  const V one = x.lit_int(1), zero = x.lit_int(0);
  const ValueId inits[] = {one.id, x.id};
  const auto power = b.loop(
      LoopKind::kSerial, b.i64(0), b.i64(bits(dtype)), 1, inits, [&](ValueId iv, std::span<const ValueId> carried) {
        const V result{&b, carried[0]}, square{&b, carried[1]};
        const V bit = y.op(ScalarOp::kShr, V{&b, iv}.to(dtype)) & one;
        return std::vector<ValueId>{select(bit == one, result * square, result).id, (square * square).id};
      });
  const V result{&b, power[0]};
  if (!is_signed_int(dtype)) return result;
  const V minus_one = x.lit_int(-1);
  const V sign = select((y & one) == one, minus_one, one);
  const V reciprocal = select(x == one, one, select(x == minus_one, sign, zero));
  return select(y < zero, reciprocal, result);
}

V expand(ScalarOp op, V x, V y, bool not_above_0) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const DType dtype = x.dtype();
  if (!is_float(dtype)) return int_pow(x, y);
  if (op == ScalarOp::kIsNan) return is_nan(x);
  if (op == ScalarOp::kIsInf) return abs(x) == kInfinity;
  if (is_small_float(dtype)) {
    const V wide = x.to(DType::kF32);
    return expand(op, wide, y.id == x.id ? wide : y.to(DType::kF32), not_above_0).to(dtype);
  }
  if (op == ScalarOp::kSign) return select(x > 0, 1.0, select(x < 0, -1.0, select(x == 0.0, 0.0, x)));
  if (op == ScalarOp::kRecip) return 1 / x;
  if (op == ScalarOp::kRsqrt) return 1 / sqrt(x);
  return dtype == DType::kF64 ? math::expand64(op, x, y) : math::expand32(op, x, y, not_above_0);
}

/// x to a power that a few operations give, or nothing. sqrt alone would keep -0 and lose -inf.
std::optional<V> small_power(V x, double exponent) {
  if (exponent == 1) return x;
  if (exponent == 2) return x * x;
  if (exponent == 3) return x * x * x;
  if (exponent == -1) return 1 / x;
  if (exponent == 0.5) return select(x == -std::numeric_limits<double>::infinity(), -x, sqrt(x) + 0.0);
  return std::nullopt;
}

/// Copies a kernel, expanding as it goes.
class Expander final : public KernelCopier {
 public:
  Expander(const Kernel& from, Kernel& to) : KernelCopier(from, to), math_(from, b_) {}

 private:
  bool rewrite(const Inst& i, std::span<const ValueId> o) override {
    const std::optional<ValueId> value = math_.rewrite(i, o);
    if (value) map(i.results[0]) = *value;
    return value.has_value();
  }

  MathExpander math_;
};

}  // namespace

std::optional<double> MathExpander::constant(ValueId v) const {
  const auto it = std::ranges::find(constants_, v, &std::pair<ValueId, double>::first);
  return it == constants_.end() ? std::nullopt : std::optional(it->second);
}

std::optional<ValueId> MathExpander::rewrite(const Inst& i, std::span<const ValueId> o) {
  if (i.kind == InstKind::kConst && is_float(i.dtype)) constants_.emplace_back(i.results[0], i.constant.f);
  if (i.kind != InstKind::kOp) return std::nullopt;
  const DType dtype = from_.dtype(i.operands[i.op == ScalarOp::kSelect ? 1 : 0]);
  if (i.op == ScalarOp::kPow && is_float(dtype)) {
    const DType wide = is_small_float(dtype) ? DType::kF32 : dtype;
    const std::optional<double> exponent = constant(i.operands[1]);
    const auto power = exponent ? small_power(V{&b_, o[0]}.to(wide), *exponent) : std::nullopt;
    if (power) return power->to(dtype).id;
  }
  if (i.op == ScalarOp::kMin && std::ranges::any_of(i.operands, [&](ValueId v) { return constant(v).value_or(1) <= 0; }))
    not_above_0_.push_back(i.results[0]);
  if (!must_expand(i.op, dtype)) return std::nullopt;
  return expand(i.op, {&b_, o[0]}, {&b_, o.back()}, std::ranges::find(not_above_0_, i.operands[0]) != not_above_0_.end()).id;
}

std::span<const MathAccuracy> math_accuracy() { return kAccuracy; }

namespace {

bool has_math(const Kernel& kernel, const Region& region) {
  return std::ranges::any_of(region.insts, [&](const auto& inst) {
    if (inst->kind == InstKind::kOp && (inst->op == ScalarOp::kPow || must_expand(inst->op, kernel.dtype(inst->operands[inst->op == ScalarOp::kSelect ? 1 : 0]))))
      return true;
    return std::ranges::any_of(inst->regions, [&](const Region& inner) { return has_math(kernel, inner); });
  });
}

}  // namespace

bool has_math(const Kernel& kernel) { return has_math(kernel, kernel.body); }

Kernel math_expanded(const Kernel& kernel) {
  Kernel out = without_body(kernel);
  Expander(kernel, out).run();
  return out;
}

void expand_math(Kernel& kernel) { kernel = math_expanded(kernel); }

}  // namespace tenon::kir
