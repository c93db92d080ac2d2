#include "ir/scalar_op.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "support/float_types.h"

namespace tenon::ir {
namespace {

using enum ScalarOp;

constexpr std::array<ScalarOpInfo, static_cast<size_t>(kCount)> kTable = {{
    {kNeg, "neg", 1, false, false},       {kAbs, "abs", 1, false, false},
    {kSign, "sign", 1, false, false},     {kNot, "not", 1, false, false},
    {kSqrt, "sqrt", 1, false, false},     {kRsqrt, "rsqrt", 1, false, false},
    {kRecip, "recip", 1, false, false},   {kExp, "exp", 1, false, false},
    {kExpm1, "expm1", 1, false, false},   {kLog, "log", 1, false, false},
    {kLog1p, "log1p", 1, false, false},   {kSin, "sin", 1, false, false},
    {kCos, "cos", 1, false, false},       {kTan, "tan", 1, false, false},
    {kAsin, "asin", 1, false, false},     {kAcos, "acos", 1, false, false},
    {kAtan, "atan", 1, false, false},     {kSinh, "sinh", 1, false, false},
    {kCosh, "cosh", 1, false, false},     {kTanh, "tanh", 1, false, false},
    {kAsinh, "asinh", 1, false, false},   {kAcosh, "acosh", 1, false, false},
    {kAtanh, "atanh", 1, false, false},   {kErf, "erf", 1, false, false},
    {kSigmoid, "sigmoid", 1, false, false}, {kFloor, "floor", 1, false, false},
    {kCeil, "ceil", 1, false, false},     {kRound, "round", 1, false, false},
    {kTrunc, "trunc", 1, false, false},   {kIsNan, "isnan", 1, true, false},
    {kIsInf, "isinf", 1, true, false},    {kPopcount, "popcount", 1, false, false},
    {kAdd, "add", 2, false, true},        {kSub, "sub", 2, false, false},
    {kMul, "mul", 2, false, true},        {kDiv, "div", 2, false, false},
    {kRem, "rem", 2, false, false},       {kMod, "mod", 2, false, false},
    {kFloorDiv, "floor_div", 2, false, false}, {kPow, "pow", 2, false, false},
    {kMin, "min", 2, false, true},        {kMax, "max", 2, false, true},
    {kAnd, "and", 2, false, true},        {kOr, "or", 2, false, true},
    {kXor, "xor", 2, false, true},        {kShl, "shl", 2, false, false},
    {kShr, "shr", 2, false, false},       {kEq, "eq", 2, true, true},
    {kNe, "ne", 2, true, true},           {kLt, "lt", 2, true, false},
    {kLe, "le", 2, true, false},          {kGt, "gt", 2, true, false},
    {kGe, "ge", 2, true, false},          {kFma, "fma", 3, false, false},
    {kDot4, "dot4", 3, false, false},
    {kSelect, "select", 3, false, false},
    {kDot4Signed, "dot4_signed", 3, false, false},
}};

double round_float(DType dtype, double value) {
  switch (dtype) {
    case DType::kF64: return value;
    case DType::kF32: return static_cast<float>(value);
    case DType::kF16: return half_to_float(double_to_half(value));
    case DType::kBF16: return bf16_to_float(double_to_bf16(value));
    case DType::kF8E4M3FN: return f8e4m3fn_to_float(double_to_f8e4m3fn(value));
    case DType::kF8E4M3FNUZ: return f8e4m3fnuz_to_float(double_to_f8e4m3fnuz(value));
    case DType::kF8E5M2: return f8e5m2_to_float(double_to_f8e5m2(value));
    case DType::kF8E5M2FNUZ: return f8e5m2fnuz_to_float(double_to_f8e5m2fnuz(value));
    case DType::kF8E8M0: return f8e8m0_to_float(double_to_f8e8m0(value));
    case DType::kF4E2M1: return f4e2m1_to_float(double_to_f4e2m1(value));
    default: return value;
  }
}

// The low bits of `value` as the dtype reads them.
int64_t wrap(DType dtype, int64_t value) {
  switch (dtype) {
    case DType::kI8: return static_cast<int8_t>(value);
    case DType::kI16: return static_cast<int16_t>(value);
    case DType::kI32: return static_cast<int32_t>(value);
    case DType::kU8: return static_cast<uint8_t>(value);
    case DType::kU16: return static_cast<uint16_t>(value);
    case DType::kU32: return static_cast<uint32_t>(value);
    case DType::kI4: return ((value & 15) ^ 8) - 8;
    case DType::kU4: return value & 15;
    case DType::kI2: return ((value & 3) ^ 2) - 2;
    case DType::kU2: return value & 3;
    case DType::kBool: return value != 0;
    default: return value;
  }
}

double stable_sigmoid(double x) {
  if (x >= 0) return 1 / (1 + std::exp(-x));
  const double e = std::exp(x);
  return e / (1 + e);
}

double float_mod(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

double eval_float(ScalarOp op, double a, double b, double c) {
  switch (op) {
    case kNeg: return -a;
    case kAbs: return std::fabs(a);
    case kSign: return std::isnan(a) ? a : static_cast<double>((a > 0) - (a < 0));
    case kSqrt: return std::sqrt(a);
    case kRsqrt: return 1 / std::sqrt(a);
    case kRecip: return 1 / a;
    case kExp: return std::exp(a);
    case kExpm1: return std::expm1(a);
    case kLog: return std::log(a);
    case kLog1p: return std::log1p(a);
    case kSin: return std::sin(a);
    case kCos: return std::cos(a);
    case kTan: return std::tan(a);
    case kAsin: return std::asin(a);
    case kAcos: return std::acos(a);
    case kAtan: return std::atan(a);
    case kSinh: return std::sinh(a);
    case kCosh: return std::cosh(a);
    case kTanh: return std::tanh(a);
    case kAsinh: return std::asinh(a);
    case kAcosh: return std::acosh(a);
    case kAtanh: return std::atanh(a);
    case kErf: return std::erf(a);
    case kSigmoid: return stable_sigmoid(a);
    case kFloor: return std::floor(a);
    case kCeil: return std::ceil(a);
    case kRound: return std::nearbyint(a);
    case kTrunc: return std::trunc(a);
    case kAdd: return a + b;
    case kSub: return a - b;
    case kMul: return a * b;
    case kDiv: return a / b;
    case kRem: return std::fmod(a, b);
    case kMod: return float_mod(a, b);
    case kFloorDiv: return std::floor(a / b);
    case kPow: return std::pow(a, b);
    case kMin: return std::isnan(a) || std::isnan(b) ? std::numeric_limits<double>::quiet_NaN() : (b < a ? b : a);
    case kMax: return std::isnan(a) || std::isnan(b) ? std::numeric_limits<double>::quiet_NaN() : (a < b ? b : a);
    case kFma: return std::fma(a, b, c);
    default: return 0;
  }
}

bool compare_floats(ScalarOp op, double a, double b) {
  switch (op) {
    case kIsNan: return std::isnan(a);
    case kIsInf: return std::isinf(a);
    case kEq: return a == b;
    case kNe: return a != b;
    case kLt: return a < b;
    case kLe: return a <= b;
    case kGt: return a > b;
    case kGe: return a >= b;
    default: return false;
  }
}

bool compare_ints(ScalarOp op, bool is_unsigned, int64_t a, int64_t b) {
  const bool less = is_unsigned ? static_cast<uint64_t>(a) < static_cast<uint64_t>(b) : a < b;
  switch (op) {
    case kEq: return a == b;
    case kNe: return a != b;
    case kLt: return less;
    case kLe: return less || a == b;
    case kGt: return !less && a != b;
    case kGe: return !less;
    default: return false;
  }
}

int64_t divide(ScalarOp op, bool is_unsigned, int64_t a, int64_t b) {
  if (b == 0) return 0;
  if (is_unsigned) {
    const uint64_t x = static_cast<uint64_t>(a), y = static_cast<uint64_t>(b);
    return static_cast<int64_t>(op == kDiv || op == kFloorDiv ? x / y : x % y);
  }
  if (b == -1) return op == kDiv || op == kFloorDiv ? static_cast<int64_t>(0 - static_cast<uint64_t>(a)) : 0;
  const int64_t quotient = a / b, rest = a % b;
  const bool adjust = rest != 0 && (rest < 0) != (b < 0);
  switch (op) {
    case kDiv: return quotient;
    case kRem: return rest;
    case kFloorDiv: return quotient - adjust;
    default: return adjust ? rest + b : rest;
  }
}

// Square and multiply, wrapping; a negative exponent gives the reciprocal truncated to an integer.
int64_t int_pow(DType dtype, int64_t base, int64_t exponent) {
  if (!is_unsigned_int(dtype) && exponent < 0) {
    if (base == 1) return 1;
    if (base == -1) return exponent & 1 ? -1 : 1;
    return 0;
  }
  uint64_t result = 1, square = static_cast<uint64_t>(base);
  for (uint64_t e = static_cast<uint64_t>(exponent); e != 0; e >>= 1) {
    if (e & 1) result *= square;
    square *= square;
  }
  return static_cast<int64_t>(result);
}

int64_t shift(ScalarOp op, DType dtype, int64_t a, int64_t by) {
  const int width = dtype == DType::kBool ? 1 : bits(dtype);
  if (by < 0 || by >= width) return op == kShr && !is_unsigned_int(dtype) && a < 0 ? -1 : 0;
  if (op == kShl) return static_cast<int64_t>(static_cast<uint64_t>(a) << by);
  return is_unsigned_int(dtype) ? static_cast<int64_t>(static_cast<uint64_t>(a) >> by) : a >> by;
}

int64_t eval_int(ScalarOp op, DType dtype, int64_t a, int64_t b, int64_t c) {
  const bool is_unsigned = is_unsigned_int(dtype);
  const uint64_t x = static_cast<uint64_t>(a), y = static_cast<uint64_t>(b);
  switch (op) {
    case kNeg: return static_cast<int64_t>(0 - x);
    case kAbs: return !is_unsigned && a < 0 ? static_cast<int64_t>(0 - x) : a;
    case kSign: return is_unsigned ? a != 0 : (a > 0) - (a < 0);
    case kNot: return dtype == DType::kBool ? a == 0 : ~a;
    case kFloor:
    case kCeil:
    case kRound:
    case kTrunc: return a;
    case kPopcount: {
      const int width = bits(dtype);
      return std::popcount(width == 64 ? x : x & ((uint64_t{1} << width) - 1));
    }
    case kAdd: return static_cast<int64_t>(x + y);
    case kSub: return static_cast<int64_t>(x - y);
    case kMul: return static_cast<int64_t>(x * y);
    case kDiv:
    case kRem:
    case kMod:
    case kFloorDiv: return divide(op, is_unsigned, a, b);
    case kPow: return int_pow(dtype, a, b);
    case kMin: return compare_ints(kLt, is_unsigned, b, a) ? b : a;
    case kMax: return compare_ints(kLt, is_unsigned, a, b) ? b : a;
    case kAnd: return a & b;
    case kOr: return a | b;
    case kXor: return a ^ b;
    case kShl:
    case kShr: return shift(op, dtype, a, b);
    case kFma: return static_cast<int64_t>(x * y + static_cast<uint64_t>(c));
    case kDot4:
    case kDot4Signed: {
      int64_t sum = c;
      for (int byte = 0; byte < 4; ++byte) {
        const auto low = static_cast<uint8_t>(x >> 8 * byte);
        sum += (op == kDot4 ? int64_t{low} : int64_t{static_cast<int8_t>(low)}) * static_cast<int8_t>(y >> 8 * byte);
      }
      return sum;
    }
    default:  // transcendental functions of integers go through double
      return cast_scalar({eval_float(op, is_unsigned ? static_cast<double>(x) : static_cast<double>(a),
                                     is_unsigned ? static_cast<double>(y) : static_cast<double>(b), 0)},
                         DType::kF64, dtype)
          .i;
  }
}

// Towards zero. Outside the range: what the x86 conversion to 32 or 64 bits gives, then the low bits.
int64_t float_to_int(double value, DType to) {
  const bool wide = to == DType::kI64 || to == DType::kU64 || to == DType::kU32;
  if (to == DType::kU64 && value >= 0x1p63 && value < 0x1p64)
    return static_cast<int64_t>(static_cast<uint64_t>(value));
  if (wide) {
    const bool fits = value >= -0x1p63 && value < 0x1p63;
    return wrap(to, fits ? static_cast<int64_t>(value) : std::numeric_limits<int64_t>::min());
  }
  const double truncated = std::trunc(value);
  const bool fits = truncated >= -0x1p31 && truncated < 0x1p31;
  return wrap(to, fits ? static_cast<int64_t>(truncated) : std::numeric_limits<int32_t>::min());
}

double encode_unsaturated(double value, DType to) {
  switch (to) {
    case DType::kF8E4M3FN: return f8e4m3fn_to_float(double_to_f8e4m3fn(value, false));
    case DType::kF8E4M3FNUZ: return f8e4m3fnuz_to_float(double_to_f8e4m3fnuz(value, false));
    case DType::kF8E5M2: return f8e5m2_to_float(double_to_f8e5m2(value, false));
    case DType::kF8E5M2FNUZ: return f8e5m2fnuz_to_float(double_to_f8e5m2fnuz(value, false));
    case DType::kF8E8M0: return f8e8m0_to_float(double_to_f8e8m0(value, false));
    default: return round_float(to, value);
  }
}

template <class T>
T read(const void* data, int64_t index) {
  T value;
  std::memcpy(&value, static_cast<const std::byte*>(data) + static_cast<size_t>(index) * sizeof(T), sizeof(T));
  return value;
}
template <class T>
void write(void* data, int64_t index, T value) {
  std::memcpy(static_cast<std::byte*>(data) + static_cast<size_t>(index) * sizeof(T), &value, sizeof(T));
}
int read_packed(const void* data, DType dtype, int64_t index) {
  return get_packed(static_cast<const uint8_t*>(data), static_cast<size_t>(index), bits(dtype), is_signed_int(dtype));
}
void write_packed(void* data, DType dtype, int64_t index, int64_t value) {
  set_packed(static_cast<uint8_t*>(data), static_cast<size_t>(index), bits(dtype), static_cast<int>(value & 0xff));
}

}  // namespace

const ScalarOpInfo& info(ScalarOp op) { return kTable[static_cast<size_t>(op)]; }

std::optional<ScalarOp> scalar_op_from_name(std::string_view name) {
  for (const ScalarOpInfo& row : kTable)
    if (row.name == name) return row.op;
  return std::nullopt;
}

bool takes(ScalarOp op, DType dtype) {
  switch (op) {
    case ScalarOp::kNeg:
    case ScalarOp::kAbs:
    case ScalarOp::kSign:
    case ScalarOp::kAdd:
    case ScalarOp::kSub:
    case ScalarOp::kMul:
    case ScalarOp::kDiv:
    case ScalarOp::kRem:
    case ScalarOp::kMod:
    case ScalarOp::kFloorDiv:
    case ScalarOp::kPow:
    case ScalarOp::kFma:
      return dtype != DType::kBool;
    case ScalarOp::kMin:
    case ScalarOp::kMax:
    case ScalarOp::kEq:
    case ScalarOp::kNe:
    case ScalarOp::kLt:
    case ScalarOp::kLe:
    case ScalarOp::kGt:
    case ScalarOp::kGe:
    case ScalarOp::kSelect:
      return true;
    case ScalarOp::kNot:
    case ScalarOp::kAnd:
    case ScalarOp::kOr:
    case ScalarOp::kXor:
      return !is_float(dtype);
    case ScalarOp::kShl:
    case ScalarOp::kShr:
    case ScalarOp::kPopcount:
      return is_int(dtype);
    case ScalarOp::kDot4:
    case ScalarOp::kDot4Signed:
      return dtype == DType::kI32;
    default:
      return is_float(dtype);
  }
}

Scalar eval_scalar(ScalarOp op, DType dtype, const Scalar* args) {
  if (op == kSelect) return args[0].i != 0 ? args[1] : args[2];
  const int arity = info(op).arity;
  const Scalar a = args[0], b = arity > 1 ? args[1] : Scalar{}, c = arity > 2 ? args[2] : Scalar{};
  if (is_float(dtype)) {
    if (info(op).result_is_bool) return {0, compare_floats(op, a.f, b.f)};
    return {round_float(dtype, eval_float(op, a.f, b.f, c.f)), 0};
  }
  if (info(op).result_is_bool) return {0, compare_ints(op, is_unsigned_int(dtype), a.i, b.i)};
  return {0, wrap(dtype, eval_int(op, dtype, a.i, b.i, c.i))};
}

Scalar cast_scalar(Scalar value, DType from, DType to, bool saturate) {
  if (from == to) return value;
  if (is_float(from)) {
    if (is_float(to)) return {saturate ? round_float(to, value.f) : encode_unsaturated(value.f, to), 0};
    if (to == DType::kBool) return {0, value.f != 0};
    return {0, float_to_int(value.f, to)};
  }
  if (!is_float(to)) return {0, wrap(to, value.i)};
  if (to == DType::kF32)
    return {from == DType::kU64 ? static_cast<float>(static_cast<uint64_t>(value.i)) : static_cast<float>(value.i), 0};
  const double wide = from == DType::kU64 ? static_cast<double>(static_cast<uint64_t>(value.i)) : static_cast<double>(value.i);
  return {saturate ? round_float(to, wide) : encode_unsaturated(wide, to), 0};
}

Scalar load_scalar(const void* data, DType dtype, int64_t index) {
  switch (dtype) {
    case DType::kF32: return {read<float>(data, index), 0};
    case DType::kF64: return {read<double>(data, index), 0};
    case DType::kF16: return {half_to_float(read<uint16_t>(data, index)), 0};
    case DType::kBF16: return {bf16_to_float(read<uint16_t>(data, index)), 0};
    case DType::kF8E4M3FN: return {f8e4m3fn_to_float(read<uint8_t>(data, index)), 0};
    case DType::kF8E4M3FNUZ: return {f8e4m3fnuz_to_float(read<uint8_t>(data, index)), 0};
    case DType::kF8E5M2: return {f8e5m2_to_float(read<uint8_t>(data, index)), 0};
    case DType::kF8E5M2FNUZ: return {f8e5m2fnuz_to_float(read<uint8_t>(data, index)), 0};
    case DType::kF8E8M0: return {f8e8m0_to_float(read<uint8_t>(data, index)), 0};
    case DType::kF4E2M1: return {f4e2m1_to_float(static_cast<uint8_t>(read_packed(data, dtype, index))), 0};
    case DType::kI8: return {0, read<int8_t>(data, index)};
    case DType::kI16: return {0, read<int16_t>(data, index)};
    case DType::kI32: return {0, read<int32_t>(data, index)};
    case DType::kI64:
    case DType::kU64: return {0, read<int64_t>(data, index)};
    case DType::kU8: return {0, read<uint8_t>(data, index)};
    case DType::kU16: return {0, read<uint16_t>(data, index)};
    case DType::kU32: return {0, read<uint32_t>(data, index)};
    case DType::kBool: return {0, read<uint8_t>(data, index) != 0};
    case DType::kI4:
    case DType::kU4:
    case DType::kI2:
    case DType::kU2: return {0, read_packed(data, dtype, index)};
    default: return {};
  }
}

void store_scalar(void* data, DType dtype, int64_t index, Scalar value) {
  switch (dtype) {
    case DType::kF32: return write(data, index, static_cast<float>(value.f));
    case DType::kF64: return write(data, index, value.f);
    case DType::kF16: return write(data, index, double_to_half(value.f));
    case DType::kBF16: return write(data, index, double_to_bf16(value.f));
    // A NaN and an infinity that an unsaturated cast made must stay what they are.
    case DType::kF8E4M3FN: return write(data, index, double_to_f8e4m3fn(value.f, !std::isinf(value.f)));
    case DType::kF8E4M3FNUZ: return write(data, index, double_to_f8e4m3fnuz(value.f, !std::isinf(value.f)));
    case DType::kF8E5M2: return write(data, index, double_to_f8e5m2(value.f, !std::isinf(value.f)));
    case DType::kF8E5M2FNUZ: return write(data, index, double_to_f8e5m2fnuz(value.f, !std::isinf(value.f)));
    case DType::kF8E8M0: return write(data, index, double_to_f8e8m0(value.f));
    case DType::kF4E2M1: return write_packed(data, dtype, index, double_to_f4e2m1(value.f));
    case DType::kI8:
    case DType::kU8: return write(data, index, static_cast<uint8_t>(value.i));
    case DType::kI16:
    case DType::kU16: return write(data, index, static_cast<uint16_t>(value.i));
    case DType::kI32:
    case DType::kU32: return write(data, index, static_cast<uint32_t>(value.i));
    case DType::kI64:
    case DType::kU64: return write(data, index, value.i);
    case DType::kBool: return write<uint8_t>(data, index, value.i != 0);
    case DType::kI4:
    case DType::kU4:
    case DType::kI2:
    case DType::kU2: return write_packed(data, dtype, index, value.i);
    default: return;
  }
}

}  // namespace tenon::ir
