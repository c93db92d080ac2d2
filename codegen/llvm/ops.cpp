#include "codegen/llvm/ops.h"

#include <limits>

#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/Module.h>

#include "support/float_types.h"

namespace tenon::codegen {

using ir::Combiner;
using ir::Scalar;
using ir::ScalarOp;
using llvm::Value;

namespace {

bool is_small_float(DType d) { return d == DType::kF16 || d == DType::kBF16; }

llvm::Constant* int_like(Value* v, uint64_t bits) { return llvm::ConstantInt::get(v->getType(), bits); }
llvm::Constant* fp_like(Value* v, double value) { return llvm::ConstantFP::get(v->getType(), value); }

}  // namespace

OpEmitter::OpEmitter(llvm::IRBuilder<>& builder, const Target& target)
    : b_(builder), target_(target), has_fma_(target.has_fma), has_half_conversions_(target.has_fma),
      has_bf16_conversions_(target.features.find("+bf16") != std::string::npos) {}

llvm::Type* OpEmitter::like(Value* value, llvm::Type* element) {
  const auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(value->getType());
  return vector ? llvm::FixedVectorType::get(element, vector->getNumElements()) : element;
}

llvm::Type* OpEmitter::register_type(DType dtype, int lanes) {
  llvm::Type* type = dtype == DType::kF32   ? b_.getFloatTy()
                     : dtype == DType::kF64 ? b_.getDoubleTy()
                     : dtype == DType::kBool
                         ? b_.getInt1Ty()
                         : static_cast<llvm::Type*>(b_.getIntNTy(static_cast<unsigned>(bits(dtype))));
  return lanes == 1 ? type : llvm::FixedVectorType::get(type, static_cast<unsigned>(lanes));
}

llvm::Type* OpEmitter::storage_type(DType dtype, int lanes) {
  return register_type(dtype == DType::kBool ? DType::kU8 : dtype, lanes);
}

Value* OpEmitter::from_storage(DType dtype, Value* value) {
  return dtype == DType::kBool ? b_.CreateICmpNE(value, int_like(value, 0)) : value;
}

Value* OpEmitter::to_storage(DType dtype, Value* value) {
  return dtype == DType::kBool ? b_.CreateZExt(value, like(value, b_.getInt8Ty())) : value;
}

llvm::Constant* OpEmitter::constant(DType dtype, Scalar value) {
  llvm::Type* type = register_type(dtype, 1);
  switch (dtype) {
    case DType::kF32:
      return llvm::ConstantFP::get(b_.getContext(), llvm::APFloat(static_cast<float>(value.f)));
    case DType::kF64:
      return llvm::ConstantFP::get(b_.getContext(), llvm::APFloat(value.f));
    case DType::kF16:
      return llvm::ConstantInt::get(type, double_to_half(value.f));
    case DType::kBF16:
      return llvm::ConstantInt::get(type, double_to_bf16(value.f));
    case DType::kBool:
      return llvm::ConstantInt::get(type, value.i != 0);
    default:
      return llvm::ConstantInt::get(type, static_cast<uint64_t>(value.i));
  }
}

Value* OpEmitter::op(ScalarOp op, DType dtype, llvm::ArrayRef<Value*> args) {
  if (op == ScalarOp::kSelect) return b_.CreateSelect(args[0], args[1], args[2]);
  if (!is_float(dtype)) return int_op(op, dtype, args);
  const bool compares = info(op).result_is_bool;
  llvm::SmallVector<Value*, 3> wide(args.begin(), args.end());
  if (is_small_float(dtype)) {
    for (Value*& v : wide) v = to_f32(v, dtype);
    if (op == ScalarOp::kFma) {
      for (Value*& v : wide) v = b_.CreateFPExt(v, like(v, b_.getDoubleTy()));
      return from_f64(fma(wide[0], wide[1], wide[2]), dtype);
    }
  }
  if (compares) return float_compare(op, wide[0], wide.size() > 1 ? wide[1] : nullptr);
  Value* result = float_op(op, wide);
  return result && is_small_float(dtype) ? from_f32(result, dtype) : result;
}

Value* OpEmitter::float_op(ScalarOp op, llvm::ArrayRef<Value*> a) {
  using llvm::Intrinsic::ID;
  const auto unary = [&](ID id) { return b_.CreateUnaryIntrinsic(id, a[0]); };
  switch (op) {
    case ScalarOp::kNeg:
      return b_.CreateFNeg(a[0]);
    case ScalarOp::kAbs:
      return unary(llvm::Intrinsic::fabs);
    case ScalarOp::kSqrt:
      return unary(llvm::Intrinsic::sqrt);
    case ScalarOp::kFloor:
      return unary(llvm::Intrinsic::floor);
    case ScalarOp::kCeil:
      return unary(llvm::Intrinsic::ceil);
    case ScalarOp::kRound:
      return unary(llvm::Intrinsic::roundeven);
    case ScalarOp::kTrunc:
      return unary(llvm::Intrinsic::trunc);
    case ScalarOp::kRecip:
      return b_.CreateFDiv(fp_like(a[0], 1), a[0]);
    case ScalarOp::kAdd:
      return b_.CreateFAdd(a[0], a[1]);
    case ScalarOp::kSub:
      return b_.CreateFSub(a[0], a[1]);
    case ScalarOp::kMul:
      return b_.CreateFMul(a[0], a[1]);
    case ScalarOp::kDiv:
      return b_.CreateFDiv(a[0], a[1]);
    case ScalarOp::kMin:
      return float_min_max(false, a[0], a[1]);
    case ScalarOp::kMax:
      return float_min_max(true, a[0], a[1]);
    case ScalarOp::kFma:
      return fma(a[0], a[1], a[2]);
    default:
      return nullptr;
  }
}

Value* OpEmitter::float_compare(ScalarOp op, Value* a, Value* b) {
  switch (op) {
    case ScalarOp::kIsNan:
      return b_.CreateFCmpUNO(a, a);
    case ScalarOp::kIsInf:
      return b_.CreateFCmpOEQ(b_.CreateUnaryIntrinsic(llvm::Intrinsic::fabs, a),
                              llvm::ConstantFP::getInfinity(a->getType()));
    case ScalarOp::kEq:
      return b_.CreateFCmpOEQ(a, b);
    case ScalarOp::kNe:
      return b_.CreateFCmpUNE(a, b);
    case ScalarOp::kLt:
      return b_.CreateFCmpOLT(a, b);
    case ScalarOp::kLe:
      return b_.CreateFCmpOLE(a, b);
    case ScalarOp::kGt:
      return b_.CreateFCmpOGT(a, b);
    case ScalarOp::kGe:
      return b_.CreateFCmpOGE(a, b);
    default:
      return nullptr;
  }
}

// "x < y ? x : y" is one minps: it gives y when either is NaN. So a NaN of y comes out by itself, and one of x must be
// chosen, which a constant x does not need. Equal operands give the first, as eval_scalar does.
Value* OpEmitter::float_min_max(bool max, Value* a, Value* b) {
  const auto is_number = [](Value* v) {
    const auto* c = llvm::dyn_cast<llvm::Constant>(v);
    if (c && c->getType()->isVectorTy()) c = c->getSplatValue();
    const auto* fp = llvm::dyn_cast_or_null<llvm::ConstantFP>(c);
    return fp && !fp->isNaN();
  };
  Value *x = b, *y = a;
  if (is_number(a)) std::swap(x, y);
  Value* result = b_.CreateSelect(max ? b_.CreateFCmpOGT(x, y) : b_.CreateFCmpOLT(x, y), x, y);
  return is_number(x) ? result : b_.CreateSelect(b_.CreateFCmpUNO(x, x), x, result);
}

Value* OpEmitter::fma(Value* a, Value* b, Value* c) {
  if (!has_fma_ && a->getType()->getScalarType()->isFloatTy()) return fma_by_f64(a, b, c);
  return b_.CreateIntrinsic(llvm::Intrinsic::fma, {a->getType()}, {a, b, c});
}

// Without the instruction: the product is exact in f64; the sum is rounded to odd there (its error from Knuth's
// TwoSum), after which rounding to f32 is right (Boldo, Melquiond, "Emulation of FMA and correctly rounded sums",
// 2008).
Value* OpEmitter::fma_by_f64(Value* a, Value* b, Value* c) {
  llvm::Type* f64 = like(a, b_.getDoubleTy());
  Value* p = b_.CreateFMul(b_.CreateFPExt(a, f64), b_.CreateFPExt(b, f64));
  Value* w = b_.CreateFPExt(c, f64);
  Value* s = b_.CreateFAdd(p, w);
  Value* t = b_.CreateFSub(s, p);
  Value* error = b_.CreateFAdd(b_.CreateFSub(p, b_.CreateFSub(s, t)), b_.CreateFSub(w, t));
  llvm::Type* i64 = like(a, b_.getInt64Ty());
  Value* sum_bits = b_.CreateBitCast(s, i64);
  Value* even = b_.CreateICmpEQ(b_.CreateAnd(sum_bits, int_like(sum_bits, 1)), int_like(sum_bits, 0));
  Value* adjust = b_.CreateAnd(even, b_.CreateFCmpONE(error, fp_like(error, 0)));
  Value* away = b_.CreateICmpSGE(b_.CreateXor(sum_bits, b_.CreateBitCast(error, i64)), int_like(sum_bits, 0));
  Value* delta = b_.CreateSelect(away, int_like(sum_bits, 1), llvm::ConstantInt::getSigned(i64, -1));
  Value* odd = b_.CreateSelect(adjust, b_.CreateAdd(sum_bits, delta), sum_bits);
  return b_.CreateFPTrunc(b_.CreateBitCast(odd, f64), a->getType());
}

Value* OpEmitter::int_op(ScalarOp op, DType dtype, llvm::ArrayRef<Value*> a) {
  const bool is_unsigned = !is_signed_int(dtype);
  const auto zero = [&] { return int_like(a[0], 0); };
  const auto compare = [&](llvm::CmpInst::Predicate s, llvm::CmpInst::Predicate u) {
    return b_.CreateICmp(is_unsigned ? u : s, a[0], a[1]);
  };
  using P = llvm::CmpInst;
  switch (op) {
    case ScalarOp::kNeg:
      return b_.CreateNeg(a[0]);
    case ScalarOp::kAbs:
      return is_unsigned ? a[0] : b_.CreateSelect(b_.CreateICmpSLT(a[0], zero()), b_.CreateNeg(a[0]), a[0]);
    case ScalarOp::kSign: {
      Value* positive = b_.CreateZExt(b_.CreateICmpNE(a[0], zero()), a[0]->getType());
      if (is_unsigned) return positive;
      return b_.CreateSelect(b_.CreateICmpSLT(a[0], zero()), llvm::ConstantInt::getSigned(a[0]->getType(), -1),
                             positive);
    }
    case ScalarOp::kNot:
      return b_.CreateNot(a[0]);
    case ScalarOp::kPopcount:
      return b_.CreateUnaryIntrinsic(llvm::Intrinsic::ctpop, a[0]);
    case ScalarOp::kAdd:
      return b_.CreateAdd(a[0], a[1]);
    case ScalarOp::kSub:
      return b_.CreateSub(a[0], a[1]);
    case ScalarOp::kMul:
      return b_.CreateMul(a[0], a[1]);
    case ScalarOp::kFma:
      return b_.CreateAdd(b_.CreateMul(a[0], a[1]), a[2]);
    case ScalarOp::kDot4:
    case ScalarOp::kDot4Signed:
      return dot4(op, a[0], a[1], a[2]);
    case ScalarOp::kDiv:
    case ScalarOp::kRem:
    case ScalarOp::kMod:
    case ScalarOp::kFloorDiv:
      if (dtype == DType::kI64 && a[0]->getType()->isVectorTy()) return divide_by_reciprocal(op, a[0], a[1]);
      return int_divide(op, is_unsigned, a[0], a[1]);
    case ScalarOp::kMin:
      return b_.CreateSelect(compare(P::ICMP_SLT, P::ICMP_ULT), a[0], a[1]);
    case ScalarOp::kMax:
      return b_.CreateSelect(compare(P::ICMP_SGT, P::ICMP_UGT), a[0], a[1]);
    case ScalarOp::kAnd:
      return b_.CreateAnd(a[0], a[1]);
    case ScalarOp::kOr:
      return b_.CreateOr(a[0], a[1]);
    case ScalarOp::kXor:
      return b_.CreateXor(a[0], a[1]);
    case ScalarOp::kShl:
    case ScalarOp::kShr:
      return shift(op, is_unsigned, a[0], a[1]);
    case ScalarOp::kEq:
      return b_.CreateICmpEQ(a[0], a[1]);
    case ScalarOp::kNe:
      return b_.CreateICmpNE(a[0], a[1]);
    case ScalarOp::kLt:
      return compare(P::ICMP_SLT, P::ICMP_ULT);
    case ScalarOp::kLe:
      return compare(P::ICMP_SLE, P::ICMP_ULE);
    case ScalarOp::kGt:
      return compare(P::ICMP_SGT, P::ICMP_UGT);
    case ScalarOp::kGe:
      return compare(P::ICMP_SGE, P::ICMP_UGE);
    default:
      return nullptr;
  }
}

// Divisors 0 and, when signed, -1 are replaced by 1 before dividing: the hardware traps on 0 and on minimum / -1.
Value* OpEmitter::int_divide(ScalarOp op, bool is_unsigned, Value* a, Value* b) {
  const bool quotient = op == ScalarOp::kDiv || op == ScalarOp::kFloorDiv;
  Value* by_zero = b_.CreateICmpEQ(b, int_like(b, 0));
  Value* zero = int_like(a, 0);
  if (is_unsigned) {
    Value* safe = b_.CreateSelect(by_zero, int_like(b, 1), b);
    return b_.CreateSelect(by_zero, zero, quotient ? b_.CreateUDiv(a, safe) : b_.CreateURem(a, safe));
  }
  Value* by_minus_one = b_.CreateICmpEQ(b, llvm::ConstantInt::getSigned(b->getType(), -1));
  Value* safe = b_.CreateSelect(b_.CreateOr(by_zero, by_minus_one), int_like(b, 1), b);
  Value* q = b_.CreateSDiv(a, safe);
  Value* result = q;
  if (op != ScalarOp::kDiv) {
    Value* rest = b_.CreateSub(a, b_.CreateMul(q, safe));
    Value* crosses = b_.CreateAnd(b_.CreateICmpNE(rest, zero), b_.CreateICmpSLT(b_.CreateXor(rest, safe), zero));
    if (op == ScalarOp::kRem)
      result = rest;
    else if (op == ScalarOp::kMod)
      result = b_.CreateSelect(crosses, b_.CreateAdd(rest, safe), rest);
    else
      result = b_.CreateSub(q, b_.CreateZExt(crosses, q->getType()));
  }
  result = b_.CreateSelect(by_minus_one, quotient ? b_.CreateNeg(a) : zero, result);
  return b_.CreateSelect(by_zero, zero, result);
}

// No vector unit divides 64-bit integers, and index arithmetic does it often. Where every lane has |a| < 2^51 and
// 0 < b < 2^51 the quotient is computed in f64, in error by one at most, which the remainder tells; else lane by lane.
// Adding 1.5 * 2^52 converts between such integers and doubles.
Value* OpEmitter::divide_by_reciprocal(ScalarOp op, Value* a, Value* b) {
  constexpr uint64_t kLimit = uint64_t{1} << 51;
  llvm::Type* f64 = like(a, b_.getDoubleTy());
  Value* in_range = b_.CreateAnd(b_.CreateICmpULT(b_.CreateAdd(a, int_like(a, kLimit)), int_like(a, 2 * kLimit)),
                                 b_.CreateICmpULT(b_.CreateSub(b, int_like(b, 1)), int_like(b, kLimit)));
  Value* all = b_.CreateAndReduce(in_range);
  llvm::Function* fn = b_.GetInsertBlock()->getParent();
  const auto block = [&](const char* name) { return llvm::BasicBlock::Create(b_.getContext(), name, fn); };
  llvm::BasicBlock *fast = block("divide"), *slow = block("divide_lanes"), *after = block("after");
  b_.CreateCondBr(all, fast, slow);

  b_.SetInsertPoint(fast);
  Value* magic = fp_like(llvm::UndefValue::get(f64), 0x1.8p52);
  Value* magic_bits = b_.CreateBitCast(magic, a->getType());
  const auto to_float = [&](Value* v) {
    return b_.CreateFSub(b_.CreateBitCast(b_.CreateAdd(v, magic_bits), f64), magic);
  };
  Value* reciprocal = b_.CreateFDiv(fp_like(magic, 1), to_float(b));
  Value* shifted = b_.CreateFAdd(b_.CreateFMul(to_float(a), reciprocal), magic);
  Value* q = b_.CreateSub(b_.CreateBitCast(shifted, a->getType()), magic_bits);
  Value* rest = b_.CreateSub(a, b_.CreateMul(q, b));
  const auto step = [&](Value* condition, bool up) {
    Value* one = b_.CreateSExt(condition, a->getType());
    q = up ? b_.CreateSub(q, one) : b_.CreateAdd(q, one);
    Value* by = b_.CreateAnd(one, b);
    rest = up ? b_.CreateSub(rest, by) : b_.CreateAdd(rest, by);
  };
  step(b_.CreateICmpSGE(rest, b), true);
  step(b_.CreateICmpSLT(rest, int_like(a, 0)), false);
  if (op == ScalarOp::kDiv || op == ScalarOp::kRem)
    step(b_.CreateAnd(b_.CreateICmpSLT(a, int_like(a, 0)), b_.CreateICmpNE(rest, int_like(a, 0))), true);
  Value* result = op == ScalarOp::kDiv || op == ScalarOp::kFloorDiv ? q : rest;
  b_.CreateBr(after);

  b_.SetInsertPoint(slow);
  Value* exact = int_divide(op, false, a, b);
  llvm::BasicBlock* slow_end = b_.GetInsertBlock();
  b_.CreateBr(after);
  b_.SetInsertPoint(after);
  llvm::PHINode* merged = b_.CreatePHI(a->getType(), 2);
  merged->addIncoming(result, fast);
  merged->addIncoming(exact, slow_end);
  return merged;
}

Value* OpEmitter::shift(ScalarOp op, bool is_unsigned, Value* a, Value* by) {
  const unsigned width = a->getType()->getScalarSizeInBits();
  Value* inside = b_.CreateICmpULT(by, int_like(by, width));
  Value* zero = int_like(a, 0);
  if (op == ScalarOp::kShr && !is_unsigned)
    return b_.CreateAShr(a, b_.CreateSelect(inside, by, int_like(by, width - 1)));
  Value* safe = b_.CreateSelect(inside, by, zero);
  return b_.CreateSelect(inside, op == ScalarOp::kShl ? b_.CreateShl(a, safe) : b_.CreateLShr(a, safe), zero);
}

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

Value* OpEmitter::combine(Combiner combiner, DType dtype, Value* a, Value* b) {
  switch (combiner) {
    case Combiner::kAdd:
      return op(ScalarOp::kAdd, dtype, {a, b});
    case Combiner::kMul:
      return op(ScalarOp::kMul, dtype, {a, b});
    case Combiner::kMin:
      return op(ScalarOp::kMin, dtype, {a, b});
    case Combiner::kMax:
      return op(ScalarOp::kMax, dtype, {a, b});
    case Combiner::kAnd:
      return op(ScalarOp::kAnd, dtype, {a, b});
    default:
      return op(ScalarOp::kOr, dtype, {a, b});
  }
}

Scalar OpEmitter::identity(Combiner combiner, DType dtype) {
  const int width = dtype == DType::kBool ? 1 : bits(dtype);
  const bool is_unsigned = is_unsigned_int(dtype);
  const double infinity = std::numeric_limits<double>::infinity();
  const int64_t low = is_unsigned ? 0 : static_cast<int64_t>(uint64_t{1} << (width - 1));
  switch (combiner) {
    case Combiner::kAdd:
      return {-0.0, 0};  // -0 + x is x, also for x = -0
    case Combiner::kMul:
      return {1, 1};
    case Combiner::kMin:
      return {infinity, is_unsigned ? -1 : ~low};
    case Combiner::kMax:
      return {-infinity, low};
    case Combiner::kAnd:
      return {0, -1};
    default:
      return {0, 0};
  }
}

}  // namespace tenon::codegen
