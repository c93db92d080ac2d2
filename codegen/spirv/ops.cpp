#include "codegen/spirv/ops.h"

#include <bit>
#include <cmath>

#include <spirv/unified1/GLSL.std.450.h>

#include "support/float_types.h"

namespace tenon::codegen::spirv {

using ir::ScalarOp;

namespace {

// bf16 has no SPIR-V 1.5 type: in registers it is its 16 bits, and only casts touch it.
bool is_arith_float(DType d) { return d == DType::kF16 || d == DType::kF32 || d == DType::kF64; }

/// 8, 16, 32, 64 from 0 on.
size_t index_of(int width) { return static_cast<size_t>(std::countr_zero(static_cast<unsigned>(width)) - 3); }

}  // namespace


Id Ops::int_type(int width) {
  Id& made = int_types_[index_of(width)];
  if (made != 0) return made;
  if (width == 8) m_.capability(spv::CapabilityInt8);
  if (width == 16) m_.capability(spv::CapabilityInt16);
  return made = m_.type(spv::OpTypeInt, {static_cast<uint32_t>(width), 0});
}
Id Ops::float_type(int width) {
  Id& made = float_types_[index_of(width)];
  if (made != 0) return made;
  if (width == 16) m_.capability(spv::CapabilityFloat16);
  if (width == 64) m_.capability(spv::CapabilityFloat64);
  return made = m_.type(spv::OpTypeFloat, {static_cast<uint32_t>(width)});
}
Id Ops::bool_type() { return bool_ != 0 ? bool_ : bool_ = m_.type(spv::OpTypeBool, {}); }
Id Ops::type(DType d) {
  if (d == DType::kBool) return bool_type();
  return is_arith_float(d) ? float_type(bits(d)) : int_type(bits(d));
}
Id Ops::memory_type(DType d) {
  if (bits(d) == 8) m_.capability(spv::CapabilityStorageBuffer8BitAccess);
  if (bits(d) == 16) m_.capability(spv::CapabilityStorageBuffer16BitAccess);
  return d == DType::kBool ? int_type(8) : type(d);
}
Id Ops::pointer(spv::StorageClass storage, Id pointee) {
  return m_.type(spv::OpTypePointer, {static_cast<uint32_t>(storage), pointee});
}
Id Ops::int_const(int width, int64_t value) {
  const uint64_t bits = static_cast<uint64_t>(value), kept = width == 64 ? bits : bits & ((uint64_t{1} << width) - 1);
  const uint32_t words[] = {static_cast<uint32_t>(kept), static_cast<uint32_t>(kept >> 32)};
  const Id id = m_.constant(int_type(width), std::span(words).first(width == 64 ? 2 : 1));
  if (facts_.size() <= id) facts_.resize(id + 1);
  const bool minus_one = (kept & (kept + 1)) == 0 && std::popcount(kept) == width;
  facts_[id] = static_cast<uint8_t>((kept != 0 && !minus_one ? kDivisor : 0) | (kept < static_cast<uint64_t>(width) ? kShift : 0));
  return id;
}
Id Ops::constant(DType d, const ir::Scalar& value) {
  switch (d) {
    case DType::kBool: return m_.constant_bool(bool_type(), value.i != 0);
    case DType::kF32: {
      const uint32_t word = std::bit_cast<uint32_t>(static_cast<float>(value.f));
      return m_.constant(type(d), std::span(&word, 1));
    }
    case DType::kF64: {
      const uint64_t b = std::bit_cast<uint64_t>(value.f);
      const uint32_t words[] = {static_cast<uint32_t>(b), static_cast<uint32_t>(b >> 32)};
      return m_.constant(type(d), words);
    }
    case DType::kF16: {
      const uint32_t word = float_to_half(static_cast<float>(value.f));
      return m_.constant(type(d), std::span(&word, 1));
    }
    case DType::kBF16: return int_const(16, float_to_bf16(static_cast<float>(value.f)));
    default: return int_const(bits(d), value.i);
  }
}

Id Ops::cast(Id value, DType from, DType to) {
  if (from == to) return value;
  if (from == DType::kBF16) return cast(bfloat16_to_f32(value), DType::kF32, to);
  if (to == DType::kBF16) return f32_to_bfloat16(cast(value, from, DType::kF32));
  const Id result = type(to);
  if (to == DType::kBool) {
    if (is_float(from)) return m_.value(spv::OpFUnordNotEqual, result, {value, constant(from, {})});
    return m_.value(spv::OpINotEqual, result, {value, int_const(bits(from), 0)});
  }
  if (from == DType::kBool)
    return m_.value(spv::OpSelect, result, {value, constant(to, {1.0, 1}), constant(to, {0.0, 0})});
  if (is_float(from) && is_float(to)) return m_.value(spv::OpFConvert, result, {value});
  if (is_float(from)) return float_to_int(value, from, to);
  if (is_float(to))
    return m_.value(is_signed_int(from) ? spv::OpConvertSToF : spv::OpConvertUToF, result, {value});
  if (bits(from) == bits(to)) return value;
  if (is_signed_int(from) && bits(to) == 64) return sign_extend(value, bits(from));
  return m_.value(is_signed_int(from) ? spv::OpSConvert : spv::OpUConvert, result, {value});
}

// By shifts: Mesa 22.3 folds a comparison of a sign-converted value with a 64-bit constant to a wrong result.
Id Ops::sign_extend(Id value, int from) {
  const Id t = int_type(64), distance = int_const(64, 64 - from);
  const Id raised = m_.value(spv::OpShiftLeftLogical, t, {m_.value(spv::OpUConvert, t, {value}), distance});
  return m_.value(spv::OpShiftRightArithmetic, t, {raised, distance});
}

// SPIR-V leaves values outside the result type undefined; here they are the minimum of the type that is converted to
// first, i32 or i64, which then wraps (ir::cast_scalar).
Id Ops::float_to_int(Id value, DType from, DType to) {
  const int width = bits(to) == 64 || to == DType::kU32 ? 64 : 32;
  const double half = std::ldexp(1.0, width - 1);
  if (from == DType::kF16) value = m_.value(spv::OpFConvert, float_type(32), {value}), from = DType::kF32;
  const Id b = bool_type(), t = int_type(width);
  const Id above = m_.value(spv::OpFOrdGreaterThanEqual, b, {value, constant(from, {-half, 0})});
  const Id below = m_.value(spv::OpFOrdLessThan, b, {value, constant(from, {half, 0})});
  const Id fits = m_.value(spv::OpLogicalAnd, b, {above, below});
  const Id inside = m_.value(spv::OpSelect, type(from), {fits, value, constant(from, {})});
  const Id converted = m_.value(spv::OpConvertFToS, t, {inside});
  const Id result = m_.value(spv::OpSelect, t, {fits, converted, int_const(width, width == 64 ? INT64_MIN : INT32_MIN)});
  if (bits(to) < width) return m_.value(spv::OpUConvert, type(to), {result});
  if (to != DType::kU64) return result;
  const Id large = m_.value(spv::OpFOrdGreaterThanEqual, b, {value, constant(from, {half, 0})});
  const Id small = m_.value(spv::OpFOrdLessThan, b, {value, constant(from, {2 * half, 0})});
  const Id upper = m_.value(spv::OpLogicalAnd, b, {large, small});
  const Id safe = m_.value(spv::OpSelect, type(from), {upper, value, constant(from, {half, 0})});
  return m_.value(spv::OpSelect, t, {upper, m_.value(spv::OpConvertFToU, t, {safe}), result});
}

Id Ops::bitcast(Id value, DType from, DType to) {
  return type(from) == type(to) ? value : m_.value(spv::OpBitcast, type(to), {value});
}

Id Ops::bfloat16_to_f32(Id value) {
  const Id wide = m_.value(spv::OpUConvert, int_type(32), {value});
  const Id shifted = m_.value(spv::OpShiftLeftLogical, int_type(32), {wide, int_const(32, 16)});
  return m_.value(spv::OpBitcast, float_type(32), {shifted});
}

// Round to nearest even on the upper half; a NaN keeps its upper bits and becomes quiet.
Id Ops::f32_to_bfloat16(Id value) {
  const Id u32 = int_type(32);
  const Id raw = m_.value(spv::OpBitcast, u32, {value});
  const Id upper = m_.value(spv::OpShiftRightLogical, u32, {raw, int_const(32, 16)});
  const Id odd = m_.value(spv::OpBitwiseAnd, u32, {upper, int_const(32, 1)});
  const Id bias = m_.value(spv::OpIAdd, u32, {odd, int_const(32, 0x7fff)});
  const Id rounded = m_.value(spv::OpShiftRightLogical, u32,
                              {m_.value(spv::OpIAdd, u32, {raw, bias}), int_const(32, 16)});
  const Id quiet = m_.value(spv::OpBitwiseOr, u32, {upper, int_const(32, 0x40)});
  const Id nan = m_.value(spv::OpIsNan, bool_type(), {value});
  return m_.value(spv::OpUConvert, int_type(16), {m_.value(spv::OpSelect, u32, {nan, quiet, rounded})});
}

Id Ops::apply(ScalarOp op, DType d, std::span<const Id> a) {
  if (op == ScalarOp::kSelect) return m_.value(spv::OpSelect, type(d), a);
  if (d == DType::kBool) return bool_op(op, a);
  if (is_arith_float(d)) return float_op(op, d, a);
  return d == DType::kBF16 ? 0 : int_op(op, d, a);
}

Id Ops::bool_op(ScalarOp op, std::span<const Id> a) {
  const Id t = bool_type();
  switch (op) {
    case ScalarOp::kNot: return m_.value(spv::OpLogicalNot, t, a);
    case ScalarOp::kAnd: case ScalarOp::kMin: case ScalarOp::kMul: return m_.value(spv::OpLogicalAnd, t, a);
    case ScalarOp::kOr: case ScalarOp::kMax: case ScalarOp::kAdd: return m_.value(spv::OpLogicalOr, t, a);
    case ScalarOp::kXor: case ScalarOp::kNe: return m_.value(spv::OpLogicalNotEqual, t, a);
    case ScalarOp::kEq: return m_.value(spv::OpLogicalEqual, t, a);
    default: return 0;
  }
}

Id Ops::extended(uint32_t instruction, Id t, std::span<const Id> a) {
  if (glsl_ == 0) glsl_ = m_.ext_inst_set("GLSL.std.450");
  Operands operands{glsl_, instruction};
  for (Id id : a) operands.push_back(id);
  return m_.value(spv::OpExtInst, t, operands);
}
Id Ops::exact(spv::Op op, Id t, std::span<const Id> a) {
  const Id result = m_.value(op, t, a);
  m_.decorate(result, spv::DecorationNoContraction);
  return result;
}

// To the nearest integer, halves to the even one. Drivers have no instruction for doubles: Mesa 22 rounds 1.5 to 1 on processors without
// AVX-512.
Id Ops::round_f64(Id x) {
  const Id t = type(DType::kF64), b = bool_type();
  const auto number = [&](double value) { return constant(DType::kF64, {.f = value}); };
  const auto floor = [&](Id value) { return extended(GLSLstd450Floor, t, Operands{value}); };
  const Id low = floor(x), part = exact(spv::OpFSub, t, Operands{x, low}), half = exact(spv::OpFMul, t, Operands{low, number(0.5)});
  const Id odd = m_.value(spv::OpFOrdNotEqual, b, {floor(half), half});
  const Id tie = m_.value(spv::OpFOrdEqual, b, {part, number(0.5)}), above = m_.value(spv::OpFOrdGreaterThan, b, {part, number(0.5)});
  const Id up = m_.value(spv::OpLogicalOr, b, {above, m_.value(spv::OpLogicalAnd, b, {tie, odd})});
  const Id rounded = m_.value(spv::OpSelect, t, {up, exact(spv::OpFAdd, t, Operands{low, number(1)}), low});
  const Id to_zero = m_.value(spv::OpLogicalAnd, b, {m_.value(spv::OpFOrdLessThan, b, {x, number(0)}), m_.value(spv::OpFOrdEqual, b, {rounded, number(0)})});
  return m_.value(spv::OpSelect, t, {to_zero, number(-0.0), rounded});
}

Id Ops::float_op(ScalarOp op, DType d, std::span<const Id> a) {
  const Id t = type(d), b = bool_type();
  switch (op) {
    case ScalarOp::kNeg: return m_.value(spv::OpFNegate, t, a);
    case ScalarOp::kAbs: return extended(GLSLstd450FAbs, t, a);
    case ScalarOp::kSqrt: return extended(GLSLstd450Sqrt, t, a);
    case ScalarOp::kFloor: return extended(GLSLstd450Floor, t, a);
    case ScalarOp::kCeil: return extended(GLSLstd450Ceil, t, a);
    case ScalarOp::kRound: return d == DType::kF64 ? round_f64(a[0]) : extended(GLSLstd450RoundEven, t, a);
    case ScalarOp::kTrunc: return extended(GLSLstd450Trunc, t, a);
    case ScalarOp::kFma: return extended(GLSLstd450Fma, t, a);
    case ScalarOp::kIsNan: return m_.value(spv::OpIsNan, b, a);
    case ScalarOp::kIsInf: return m_.value(spv::OpIsInf, b, a);
    case ScalarOp::kAdd: return exact(spv::OpFAdd, t, a);
    case ScalarOp::kSub: return exact(spv::OpFSub, t, a);
    case ScalarOp::kMul: return exact(spv::OpFMul, t, a);
    case ScalarOp::kDiv: return exact(spv::OpFDiv, t, a);
    case ScalarOp::kMin: return nan_aware(spv::OpFOrdLessThan, t, a);
    case ScalarOp::kMax: return nan_aware(spv::OpFOrdGreaterThan, t, a);
    case ScalarOp::kEq: return m_.value(spv::OpFOrdEqual, b, a);
    case ScalarOp::kNe: return m_.value(spv::OpFUnordNotEqual, b, a);
    case ScalarOp::kLt: return m_.value(spv::OpFOrdLessThan, b, a);
    case ScalarOp::kLe: return m_.value(spv::OpFOrdLessThanEqual, b, a);
    case ScalarOp::kGt: return m_.value(spv::OpFOrdGreaterThan, b, a);
    case ScalarOp::kGe: return m_.value(spv::OpFOrdGreaterThanEqual, b, a);
    default: return 0;
  }
}

// a when a wins or is NaN, else b, which carries its own NaN.
Id Ops::nan_aware(spv::Op wins, Id t, std::span<const Id> a) {
  const Id first = m_.value(wins, bool_type(), a), nan = m_.value(spv::OpIsNan, bool_type(), {a[0]});
  return m_.value(spv::OpSelect, t, {m_.value(spv::OpLogicalOr, bool_type(), {first, nan}), a[0], a[1]});
}

Id Ops::int_op(ScalarOp op, DType d, std::span<const Id> a) {
  const Id t = type(d), b = bool_type();
  const bool is_signed = is_signed_int(d);
  const int width = bits(d);
  auto compare = [&](spv::Op s, spv::Op u) { return m_.value(is_signed ? s : u, b, a); };
  switch (op) {
    case ScalarOp::kNeg: return m_.value(spv::OpSNegate, t, a);
    case ScalarOp::kNot: return m_.value(spv::OpNot, t, a);
    case ScalarOp::kAbs: {
      if (!is_signed) return a[0];
      const Id negative = m_.value(spv::OpSLessThan, b, {a[0], int_const(width, 0)});
      return m_.value(spv::OpSelect, t, {negative, m_.value(spv::OpSNegate, t, a), a[0]});
    }
    case ScalarOp::kSign: return sign(d, a[0]);
    case ScalarOp::kPopcount: return width == 32 ? m_.value(spv::OpBitCount, t, a) : 0;
    case ScalarOp::kAdd: return m_.value(spv::OpIAdd, t, a);
    case ScalarOp::kSub: return m_.value(spv::OpISub, t, a);
    case ScalarOp::kMul: return m_.value(spv::OpIMul, t, a);
    case ScalarOp::kFma: return m_.value(spv::OpIAdd, t, {m_.value(spv::OpIMul, t, {a[0], a[1]}), a[2]});
    case ScalarOp::kDot4:
    case ScalarOp::kDot4Signed:
      return dot4(op, t, a);
    case ScalarOp::kDiv: return divide(d, a, false);
    case ScalarOp::kRem: return divide(d, a, true);
    case ScalarOp::kFloorDiv: return floor_divide(d, a, false);
    case ScalarOp::kMod: return floor_divide(d, a, true);
    case ScalarOp::kMin: return m_.value(spv::OpSelect, t, {compare(spv::OpSLessThan, spv::OpULessThan), a[0], a[1]});
    case ScalarOp::kMax: return m_.value(spv::OpSelect, t, {compare(spv::OpSGreaterThan, spv::OpUGreaterThan), a[0], a[1]});
    case ScalarOp::kAnd: return m_.value(spv::OpBitwiseAnd, t, a);
    case ScalarOp::kOr: return m_.value(spv::OpBitwiseOr, t, a);
    case ScalarOp::kXor: return m_.value(spv::OpBitwiseXor, t, a);
    case ScalarOp::kShl: return shift(spv::OpShiftLeftLogical, d, a, int_const(width, 0));
    case ScalarOp::kShr: {
      if (!is_signed) return shift(spv::OpShiftRightLogical, d, a, int_const(width, 0));
      const Id fill = m_.value(spv::OpShiftRightArithmetic, t, {a[0], int_const(width, width - 1)});
      return shift(spv::OpShiftRightArithmetic, d, a, fill);
    }
    case ScalarOp::kEq: return m_.value(spv::OpIEqual, b, a);
    case ScalarOp::kNe: return m_.value(spv::OpINotEqual, b, a);
    case ScalarOp::kLt: return compare(spv::OpSLessThan, spv::OpULessThan);
    case ScalarOp::kLe: return compare(spv::OpSLessThanEqual, spv::OpULessThanEqual);
    case ScalarOp::kGt: return compare(spv::OpSGreaterThan, spv::OpUGreaterThan);
    case ScalarOp::kGe: return compare(spv::OpSGreaterThanEqual, spv::OpUGreaterThanEqual);
    default: return 0;
  }
}

Id Ops::sign(DType d, Id x) {
  const Id t = type(d), b = bool_type(), zero = int_const(bits(d), 0), one = int_const(bits(d), 1);
  const Id magnitude = m_.value(spv::OpSelect, t, {m_.value(spv::OpINotEqual, b, {x, zero}), one, zero});
  if (!is_signed_int(d)) return magnitude;
  return m_.value(spv::OpSelect, t, {m_.value(spv::OpSLessThan, b, {x, zero}), int_const(bits(d), -1), magnitude});
}

/// Products of words of bytes, the second one's signed, and a sum.
Id Ops::dot4(ScalarOp op, Id t, std::span<const Id> a) {
  const bool is_signed = op == ScalarOp::kDot4Signed;
  if (dot_product_) {
    m_.extension("SPV_KHR_integer_dot_product");
    m_.capability(spv::CapabilityDotProduct);
    m_.capability(spv::CapabilityDotProductInput4x8BitPacked);
    constexpr uint32_t kPacked = spv::PackedVectorFormatPackedVectorFormat4x8Bit;
    const Id product = is_signed ? m_.value(spv::OpSDot, t, {a[0], a[1], kPacked}) : m_.value(spv::OpSUDot, t, {a[1], a[0], kPacked});
    return m_.value(spv::OpIAdd, t, {product, a[2]});
  }
  const spv::Op first = is_signed ? spv::OpBitFieldSExtract : spv::OpBitFieldUExtract;
  Id sum = a[2];
  for (int byte = 0; byte < 4; ++byte) {
    const Id at = int_const(32, 8 * byte), eight = int_const(32, 8);
    const Id x = m_.value(first, t, {a[0], at, eight}), y = m_.value(spv::OpBitFieldSExtract, t, {a[1], at, eight});
    sum = m_.value(spv::OpIAdd, t, {sum, m_.value(spv::OpIMul, t, {x, y})});
  }
  return sum;
}

// SPIR-V leaves x/0, minimum/-1 and shifts by the width undefined; Kernel IR defines them (ir/scalar_op.h).
Id Ops::divide(DType d, std::span<const Id> a, bool remainder) {
  const Id t = type(d), b = bool_type();
  const int width = bits(d);
  const spv::Op unsigned_op = remainder ? spv::OpUMod : spv::OpUDiv, signed_op = remainder ? spv::OpSRem : spv::OpSDiv;
  if (is(kDivisor, a[1])) return m_.value(is_signed_int(d) ? signed_op : unsigned_op, t, a);
  const Id zero = int_const(width, 0), one = int_const(width, 1);
  const Id by_zero = m_.value(spv::OpIEqual, b, {a[1], zero});
  Id divisor = m_.value(spv::OpSelect, t, {by_zero, one, a[1]});
  if (!is_signed_int(d)) {
    const Id q = m_.value(unsigned_op, t, {a[0], divisor});
    return m_.value(spv::OpSelect, t, {by_zero, zero, q});
  }
  const Id minus = m_.value(spv::OpIEqual, b, {divisor, int_const(width, -1)});
  const Id safe = m_.value(spv::OpSelect, t, {minus, one, divisor});
  const Id q = m_.value(signed_op, t, {a[0], safe});
  const Id negated = remainder ? zero : m_.value(spv::OpSNegate, t, {a[0]});
  return m_.value(spv::OpSelect, t, {by_zero, zero, m_.value(spv::OpSelect, t, {minus, negated, q})});
}

Id Ops::floor_divide(DType d, std::span<const Id> a, bool remainder) {
  if (!is_signed_int(d)) return divide(d, a, remainder);
  const Id t = type(d), b = bool_type(), quotient = divide(d, a, false);
  const Id rest = is(kDivisor, a[1]) ? m_.value(spv::OpISub, t, {a[0], m_.value(spv::OpIMul, t, {quotient, a[1]})}) : divide(d, a, true);
  const int width = bits(d);
  const Id zero = int_const(width, 0);
  const Id inexact = m_.value(spv::OpINotEqual, b, {rest, zero});
  const Id signs = m_.value(spv::OpBitwiseXor, t, {rest, a[1]});
  const Id adjust = m_.value(spv::OpLogicalAnd, b, {inexact, m_.value(spv::OpSLessThan, b, {signs, zero})});
  const Id moved = remainder ? m_.value(spv::OpIAdd, t, {rest, a[1]})
                             : m_.value(spv::OpISub, t, {quotient, int_const(width, 1)});
  return m_.value(spv::OpSelect, t, {adjust, moved, remainder ? rest : quotient});
}

Id Ops::shift(spv::Op op, DType d, std::span<const Id> a, Id beyond) {
  const Id t = type(d);
  if (is(kShift, a[1])) return m_.value(op, t, a);
  const int width = bits(d);
  const Id inside = m_.value(spv::OpULessThan, bool_type(), {a[1], int_const(width, width)});
  const Id amount = m_.value(spv::OpSelect, t, {inside, a[1], int_const(width, 0)});
  return m_.value(spv::OpSelect, t, {inside, m_.value(op, t, {a[0], amount}), beyond});
}

}  // namespace tenon::codegen::spirv
