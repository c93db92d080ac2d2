#include "codegen/llvm/ops.h"

#include <limits>

#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/Module.h>

#include "codegen/llvm/constants.h"
#include "support/float_types.h"

namespace tenon::codegen {

using ir::Combiner;
using ir::Scalar;
using ir::ScalarOp;
using llvm::Value;

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
  if (Value* both = pairs_of_bf16(a, b, c)) return both;
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
