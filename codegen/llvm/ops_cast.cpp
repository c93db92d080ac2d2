#include <limits>

#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/IntrinsicsX86.h>
#include <llvm/IR/Module.h>
#include <llvm/TargetParser/Triple.h>

#include "codegen/llvm/constants.h"
#include "codegen/llvm/ops.h"

// Conversions between dtypes.
namespace tenon::codegen {

using llvm::Value;

namespace {

/// Vectors of f32 by x86's instruction, whose results outside the range are the definition's. Else null.
Value* f32_to_i32_x86(llvm::IRBuilder<>& b, const Target& target, Value* value) {
  const auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(value->getType());
  if (vector == nullptr || !vector->getElementType()->isFloatTy() ||
      !llvm::Triple(b.GetInsertBlock()->getModule()->getTargetTriple()).isX86())
    return nullptr;
  const unsigned width = vector->getNumElements() * 32;
  if (width == 128) return b.CreateIntrinsic(llvm::Intrinsic::x86_sse2_cvttps2dq, {}, {value});
  if (width == 512 && target.vector_bits == 512) {
    constexpr uint32_t kCurrentRounding = 4;
    llvm::Value* nothing = llvm::Constant::getNullValue(llvm::FixedVectorType::get(b.getInt32Ty(), 16));
    return b.CreateIntrinsic(llvm::Intrinsic::x86_avx512_mask_cvttps2dq_512, {},
                             {value, nothing, b.getInt16(0xffff), b.getInt32(kCurrentRounding)});
  }
  if (width != 256 || target.vector_bits < 256) return nullptr;
  return b.CreateIntrinsic(llvm::Intrinsic::x86_avx_cvtt_ps2dq_256, {}, {value});
}

}  // namespace

Value* OpEmitter::cast(Value* value, DType from, DType to) {
  if (from == to) return value;
  if (is_float(from)) {
    if (is_small_float(from)) {
      value = to_f32(value, from);
      from = DType::kF32;
    }
    if (to == DType::kBool) return b_.CreateFCmpUNE(value, fp_like(value, 0));
    if (!is_float(to)) return float_to_int(value, to);
    if (from == to) return value;
    if (is_small_float(to)) return from == DType::kF64 ? from_f64(value, to) : from_f32(value, to);
    return b_.CreateFPCast(value, like(value, register_type(to, 1)));
  }
  const bool is_unsigned = !is_signed_int(from);
  if (is_float(to)) {
    llvm::Type* type = like(value, to == DType::kF32 ? b_.getFloatTy() : b_.getDoubleTy());
    Value* wide = is_unsigned ? b_.CreateUIToFP(value, type) : b_.CreateSIToFP(value, type);
    return is_small_float(to) ? from_f64(wide, to) : wide;
  }
  if (to == DType::kBool) return b_.CreateICmpNE(value, int_like(value, 0));
  return b_.CreateIntCast(value, like(value, register_type(to, 1)), !is_unsigned);
}

// What ir::cast_scalar says: towards zero; outside the range the minimum of 32 or 64 bits, of which the low bits stay.
Value* OpEmitter::float_to_int(Value* value, DType to) {
  const bool wide = to == DType::kI64 || to == DType::kU64 || to == DType::kU32;
  if (Value* converted = wide ? nullptr : f32_to_i32_x86(b_, target_, value))
    return b_.CreateIntCast(converted, like(value, register_type(to, 1)), true);
  llvm::Type* type = like(value, wide ? b_.getInt64Ty() : b_.getInt32Ty());
  const double limit = wide ? 0x1p63 : 0x1p31;
  const int64_t minimum = wide ? std::numeric_limits<int64_t>::min() : std::numeric_limits<int32_t>::min();
  Value* truncated = b_.CreateUnaryIntrinsic(llvm::Intrinsic::trunc, value);
  Value* fits = b_.CreateAnd(b_.CreateFCmpOGE(truncated, fp_like(value, -limit)),
                             b_.CreateFCmpOLT(truncated, fp_like(value, limit)));
  Value* safe = b_.CreateSelect(fits, value, fp_like(value, 0));
  Value* result = b_.CreateSelect(fits, b_.CreateFPToSI(safe, type), llvm::ConstantInt::getSigned(type, minimum));
  if (to == DType::kU64) {
    Value* high =
        b_.CreateAnd(b_.CreateFCmpOGE(value, fp_like(value, 0x1p63)), b_.CreateFCmpOLT(value, fp_like(value, 0x1p64)));
    Value* rest = b_.CreateSelect(high, b_.CreateFSub(value, fp_like(value, 0x1p63)), fp_like(value, 0));
    Value* upper = b_.CreateXor(b_.CreateFPToSI(rest, type), llvm::ConstantInt::getSigned(type, minimum));
    result = b_.CreateSelect(high, upper, result);
  }
  return b_.CreateIntCast(result, like(value, register_type(to, 1)), true);
}

Value* OpEmitter::bitcast(Value* value, DType from, DType to) {
  return b_.CreateBitCast(value, like(value, register_type(to, 1)));
}

Value* OpEmitter::to_f32(Value* small, DType from) {
  if (from == DType::kF16) return half_bits_to_f32(small);
  Value* wide = b_.CreateZExt(small, like(small, b_.getInt32Ty()));
  return b_.CreateBitCast(b_.CreateShl(wide, int_like(wide, 16)), like(small, b_.getFloatTy()));
}

Value* OpEmitter::from_f32(Value* value, DType to) {
  if (to == DType::kF16) return f32_to_half_bits(value);
  if (has_bf16_conversions_) return b_.CreateBitCast(b_.CreateFPTrunc(value, like(value, b_.getBFloatTy())), like(value, b_.getInt16Ty()));
  Value* bits = b_.CreateBitCast(value, like(value, b_.getInt32Ty()));
  Value* odd = b_.CreateAnd(b_.CreateLShr(bits, int_like(bits, 16)), int_like(bits, 1));
  Value* rounded = b_.CreateAdd(bits, b_.CreateAdd(odd, int_like(bits, 0x7fff)));
  Value* quiet = b_.CreateOr(bits, int_like(bits, 0x400000));
  Value* chosen = b_.CreateSelect(b_.CreateFCmpUNO(value, value), quiet, rounded);
  return b_.CreateTrunc(b_.CreateLShr(chosen, int_like(bits, 16)), like(value, b_.getInt16Ty()));
}

Value* OpEmitter::from_f64(Value* value, DType to) { return from_f32(f64_to_f32_odd(value), to); }

// Rounding to odd keeps what a second rounding, to fewer bits, must know of the bits that are lost.
Value* OpEmitter::f64_to_f32_odd(Value* value) {
  llvm::Type* f32 = like(value, b_.getFloatTy());
  llvm::Type* i32 = like(value, b_.getInt32Ty());
  Value* near = b_.CreateFPTrunc(value, f32);
  Value* back = b_.CreateFPExt(near, value->getType());
  Value* bits = b_.CreateBitCast(near, i32);
  const auto abs = [&](Value* v) { return b_.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, v); };
  Value* down = b_.CreateSub(bits, b_.CreateZExt(b_.CreateFCmpOGT(abs(back), abs(value)), i32));
  Value* inexact = b_.CreateZExt(b_.CreateFCmpONE(back, value), i32);
  return b_.CreateBitCast(b_.CreateOr(down, inexact), f32);
}

// Multiplying by 2^112 moves a half's exponent and subnormals to where f32 has them.
Value* OpEmitter::half_bits_to_f32(Value* bits) {
  if (has_half_conversions_)
    return b_.CreateFPExt(b_.CreateBitCast(bits, like(bits, b_.getHalfTy())), like(bits, b_.getFloatTy()));
  llvm::Type* f32 = like(bits, b_.getFloatTy());
  Value* wide = b_.CreateZExt(bits, like(bits, b_.getInt32Ty()));
  Value* magnitude = b_.CreateShl(b_.CreateAnd(wide, int_like(wide, 0x7fff)), int_like(wide, 13));
  Value* sign = b_.CreateShl(b_.CreateAnd(wide, int_like(wide, 0x8000)), int_like(wide, 16));
  Value* scaled = b_.CreateBitCast(magnitude, f32);
  scaled = b_.CreateBitCast(b_.CreateFMul(scaled, fp_like(scaled, 0x1p112)), wide->getType());
  Value* special = b_.CreateICmpUGE(magnitude, int_like(wide, 0x7c00 << 13));
  Value* kept = b_.CreateSelect(special, b_.CreateOr(magnitude, int_like(wide, 0x7f800000)), scaled);
  return b_.CreateBitCast(b_.CreateOr(kept, sign), f32);
}

Value* OpEmitter::f32_to_half_bits(Value* value) {
  llvm::Type* i16 = like(value, b_.getInt16Ty());
  if (has_half_conversions_) return b_.CreateBitCast(b_.CreateFPTrunc(value, like(value, b_.getHalfTy())), i16);
  Value* bits = b_.CreateBitCast(value, like(value, b_.getInt32Ty()));
  Value* magnitude = b_.CreateAnd(bits, int_like(bits, 0x7fffffff));
  Value* sign = b_.CreateAnd(b_.CreateLShr(bits, int_like(bits, 16)), int_like(bits, 0x8000));
  // Normal: rebias the exponent by 15 - 127 and round to even at bit 13; carries run into the exponent, up to infinity.
  Value* odd = b_.CreateAnd(b_.CreateLShr(magnitude, int_like(bits, 13)), int_like(bits, 1));
  Value* rebiased = b_.CreateSub(magnitude, int_like(bits, 112u << 23));
  Value* normal = b_.CreateLShr(b_.CreateAdd(rebiased, b_.CreateAdd(odd, int_like(bits, 0xfff))), int_like(bits, 13));
  // Subnormal: adding 1/2 leaves the rounded multiple of 2^-24 in the low bits.
  Value* absolute = b_.CreateBitCast(magnitude, value->getType());
  Value* shifted = b_.CreateBitCast(b_.CreateFAdd(absolute, fp_like(absolute, 0.5)), bits->getType());
  Value* subnormal = b_.CreateSub(shifted, int_like(bits, 0x3f000000));
  Value* result = b_.CreateSelect(b_.CreateICmpULT(magnitude, int_like(bits, 113u << 23)), subnormal, normal);
  result = b_.CreateSelect(b_.CreateICmpUGE(magnitude, int_like(bits, 0x477ff000)), int_like(bits, 0x7c00), result);
  Value* nan = b_.CreateOr(b_.CreateAnd(b_.CreateLShr(magnitude, int_like(bits, 13)), int_like(bits, 0x3ff)),
                           int_like(bits, 0x7e00));
  result = b_.CreateSelect(b_.CreateICmpUGT(magnitude, int_like(bits, 0x7f800000)), nan, result);
  return b_.CreateTrunc(b_.CreateOr(result, sign), i16);
}

}  // namespace tenon::codegen
