#include "codegen/math.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>

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

V expand(ScalarOp op, V x, V y) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const DType dtype = x.dtype();
  if (!is_float(dtype)) return int_pow(x, y);
  if (op == ScalarOp::kIsNan) return is_nan(x);
  if (op == ScalarOp::kIsInf) return abs(x) == kInfinity;
  if (is_small_float(dtype)) {
    const V wide = x.to(DType::kF32);
    return expand(op, wide, y.id == x.id ? wide : y.to(DType::kF32)).to(dtype);
  }
  if (op == ScalarOp::kSign) return select(x > 0, 1.0, select(x < 0, -1.0, select(x == 0.0, 0.0, x)));
  if (op == ScalarOp::kRecip) return 1 / x;
  if (op == ScalarOp::kRsqrt) return 1 / sqrt(x);
  return dtype == DType::kF64 ? math::expand64(op, x, y) : math::expand32(op, x, y);
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

/// Copies a kernel through a builder, expanding as it goes.
class Expander {
 public:
  Expander(const Kernel& from, Kernel& to) : from_(from), b_(to), map_(from.values.size(), -1) {
    map(from.body.args[0]) = b_.grid_index();
  }

  void region(const Region& r) {
    for (const auto& i : r.insts) inst(*i);
  }

 private:
  ValueId& map(ValueId v) { return map_[static_cast<size_t>(v)]; }
  std::vector<ValueId> mapped(std::span<const ValueId> values) {
    std::vector<ValueId> out;
    for (ValueId v : values) out.push_back(map(v));
    return out;
  }

  void inst(const Inst& i) {
    const std::vector<ValueId> o = mapped(i.operands);
    switch (i.kind) {
      case InstKind::kConst:
        if (is_float(i.dtype)) constants_[i.results[0]] = i.constant.f;
        map(i.results[0]) =
            is_float(i.dtype) ? b_.constant(i.dtype, i.constant.f) : b_.constant_int(i.dtype, i.constant.i);
        return;
      case InstKind::kDim:
        map(i.results[0]) = b_.dim(i.index);
        return;
      case InstKind::kOp: {
        const DType dtype = from_.dtype(i.operands[i.op == ScalarOp::kSelect ? 1 : 0]);
        if (i.op == ScalarOp::kPow && is_float(dtype) && constants_.count(i.operands[1])) {
          const DType wide = is_small_float(dtype) ? DType::kF32 : dtype;
          if (const auto power = small_power(V{&b_, o[0]}.to(wide), constants_[i.operands[1]])) {
            map(i.results[0]) = power->to(dtype).id;
            return;
          }
        }
        map(i.results[0]) = must_expand(i.op, dtype) ? expand(i.op, {&b_, o[0]}, {&b_, o.back()}).id : b_.op(i.op, o);
        return;
      }
      case InstKind::kCast:
        map(i.results[0]) = b_.cast(o[0], i.dtype);
        return;
      case InstKind::kBitcast:
        map(i.results[0]) = b_.bitcast(o[0], i.dtype);
        return;
      case InstKind::kLoad:
        map(i.results[0]) = o.size() == 1 ? b_.load(i.index, o[0]) : b_.load_masked(i.index, o[0], o[1], o[2]);
        return;
      case InstKind::kStore:
        if (o.size() == 2)
          b_.store(i.index, o[0], o[1]);
        else
          b_.store_masked(i.index, o[0], o[1], o[2]);
        return;
      case InstKind::kPrefetch:
        b_.prefetch(i.index, o[0]);
        return;
      case InstKind::kCheck:
        b_.check(o[0], static_cast<CheckCode>(i.index));
        return;
      case InstKind::kFor: {
        const Region& r = i.regions[0];
        const auto results = b_.loop(
            i.loop, o[0], o[1], i.step, std::span(o).subspan(2),
            [&](ValueId iv, std::span<const ValueId> carried) {
              map(r.args[0]) = iv;
              for (size_t c = 0; c < carried.size(); ++c) map(r.args[c + 1]) = carried[c];
              region(r);
              return mapped(r.yields);
            },
            i.combiners, i.width);
        for (size_t c = 0; c < results.size(); ++c) map(i.results[c]) = results[c];
        return;
      }
      case InstKind::kIf: {
        const auto side = [&](size_t s) {
          region(i.regions[s]);
          return mapped(i.regions[s].yields);
        };
        const auto results = b_.if_else(o[0], [&] { return side(0); }, [&] { return side(1); });
        for (size_t c = 0; c < results.size(); ++c) map(i.results[c]) = results[c];
        return;
      }
    }
  }

  const Kernel& from_;
  KernelBuilder b_;
  std::vector<ValueId> map_;
  std::map<ValueId, double> constants_;  // of floats
};

}  // namespace

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
  Kernel out;
  out.name = kernel.name;
  out.buffers = kernel.buffers;
  out.num_dims = kernel.num_dims;
  out.lanes = kernel.lanes;
  Expander expander(kernel, out);
  expander.region(kernel.body);
  return out;
}

void expand_math(Kernel& kernel) { kernel = math_expanded(kernel); }

}  // namespace tenon::kir
