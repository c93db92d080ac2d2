#include "codegen/llvm/constants.h"
#include "codegen/llvm/ops.h"

// Operations on integers: what ir::eval_scalar says for every operand, where the machine's instructions trap or say nothing.
namespace tenon::codegen {

using ir::ScalarOp;
using llvm::Value;

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
      if (Value* sum = pairs_of_integers(a[0], a[1], a[2])) return sum;
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
  const auto* known = llvm::dyn_cast<llvm::Constant>(inside);
  if (known != nullptr && known->isAllOnesValue())
    return op == ScalarOp::kShl ? b_.CreateShl(a, by) : is_unsigned ? b_.CreateLShr(a, by) : b_.CreateAShr(a, by);
  Value* zero = int_like(a, 0);
  if (op == ScalarOp::kShr && !is_unsigned)
    return b_.CreateAShr(a, b_.CreateSelect(inside, by, int_like(by, width - 1)));
  Value* safe = b_.CreateSelect(inside, by, zero);
  return b_.CreateSelect(inside, op == ScalarOp::kShl ? b_.CreateShl(a, safe) : b_.CreateLShr(a, safe), zero);
}

}  // namespace tenon::codegen
