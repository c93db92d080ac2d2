#include <llvm/Analysis/ValueTracking.h>
#include <llvm/Analysis/VectorUtils.h>
#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/IntrinsicsAArch64.h>
#include <llvm/IR/IntrinsicsX86.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/PatternMatch.h>
#include <llvm/TargetParser/Triple.h>

#include "codegen/llvm/constants.h"
#include "codegen/llvm/ops.h"

// Dot products of words of four bytes, or of two numbers of 16 bits: integers, or bf16.
namespace tenon::codegen {

using ir::ScalarOp;
using llvm::Value;

namespace {

/// The word whose low half (or high one) a float or a vector of equal floats is, widened from bf16.
Value* word_of(Value* half, bool low) {
  if (Value* one = llvm::getSplatValue(half)) half = one;
  using namespace llvm::PatternMatch;
  Value* word = nullptr;
  if (low ? match(half, m_BitCast(m_Shl(m_Value(word), m_SpecificInt(16))))
          : match(half, m_BitCast(m_And(m_Value(word), m_SpecificInt(llvm::APInt(32, 0xffff0000))))))
    return word;
  return nullptr;
}

/// The instruction of x86 that multiplies vectors of 16-bit integers and adds neighbours.
llvm::Intrinsic::ID multiply_halves(int width) {
  return width == 512   ? llvm::Intrinsic::x86_avx512_pmaddw_d_512
         : width == 256 ? llvm::Intrinsic::x86_avx2_pmadd_wd
                        : llvm::Intrinsic::x86_sse2_pmadd_wd;
}

/// What integers are the odd and the even half of: a word, or a number of 16 bits whose bytes are both; equal in all lanes, or vectors.
/// Else null.
Value* halved(Value* odd, Value* even) {
  if (Value *x = llvm::getSplatValue(odd), *y = llvm::getSplatValue(even); x != nullptr && y != nullptr) odd = x, even = y;
  using namespace llvm::PatternMatch;
  Value *word = nullptr, *narrow = nullptr;
  if (match(odd, m_AShr(m_Value(word), m_SpecificInt(16))) &&
      match(even, m_AShr(m_Shl(m_Specific(word), m_SpecificInt(16)), m_SpecificInt(16))))
    return word;
  if (match(odd, m_AShr(m_SExt(m_Value(narrow)), m_SpecificInt(8))) && narrow->getType()->getScalarSizeInBits() == 16 &&
      match(even, m_AShr(m_Shl(m_SExt(m_Specific(narrow)), m_SpecificInt(24)), m_SpecificInt(24))))
    return narrow;
  return nullptr;
}

}  // namespace

/// fma(a, b, c) where a and b are the even halves of words and c is the fma of their odd ones, in whole vectors: of x86 a product of
/// pairs and an addition, of aarch64 two multiply-adds of 16-bit numbers. Else null.
Value* OpEmitter::pairs_of_integers(Value* a, Value* b, Value* c) {
  const auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(a->getType());
  if (vector == nullptr || !vector->getElementType()->isIntegerTy(32) ||
      vector->getNumElements() * 32 != static_cast<unsigned>(target_.vector_bits))
    return nullptr;
  using namespace llvm::PatternMatch;
  Value *odd_a = nullptr, *odd_b = nullptr, *sum = nullptr;
  if (!match(c, m_Add(m_Mul(m_Value(odd_a), m_Value(odd_b)), m_Value(sum)))) return nullptr;
  Value *x = halved(odd_a, a), *y = halved(odd_b, b);
  if (x == nullptr || y == nullptr) return nullptr;
  const unsigned lanes = vector->getNumElements();
  llvm::Type* halves = llvm::FixedVectorType::get(b_.getInt16Ty(), lanes * 2);
  const auto words = [&](Value* v) {
    if (!v->getType()->isVectorTy()) v = b_.CreateVectorSplat(lanes, v);
    if (v->getType()->getScalarSizeInBits() == 32) return b_.CreateBitCast(v, halves);
    return b_.CreateSExt(b_.CreateBitCast(v, llvm::FixedVectorType::get(b_.getInt8Ty(), lanes * 2)), halves);
  };
  x = words(x), y = words(y);
  const llvm::Triple triple(b_.GetInsertBlock()->getModule()->getTargetTriple());
  if (triple.isX86()) return b_.CreateAdd(sum, b_.CreateIntrinsic(multiply_halves(target_.vector_bits), {}, {x, y}));
  if (!triple.isAArch64()) return nullptr;
  for (const int first : {0, 1}) {
    llvm::SmallVector<int> chosen;
    for (int lane = 0; lane < static_cast<int>(lanes); ++lane) chosen.push_back(2 * lane + first);
    sum = b_.CreateAdd(sum, b_.CreateIntrinsic(llvm::Intrinsic::aarch64_neon_smull, {sum->getType()},
                                               {b_.CreateShuffleVector(x, chosen), b_.CreateShuffleVector(y, chosen)}));
  }
  return sum;
}

/// fma(a, b, c) where a and b are the low halves of words and c is the fma of their high halves: of AVX512-BF16 one
/// instruction, which does the same but for subnormal numbers (Intel, "Intel 64 and IA-32 Architectures Software
/// Developer's Manual", VDPBF16PS), of FEAT_BF16 two, without the widening (Arm, "Architecture Reference Manual for
/// A-profile", BFMLALB and BFMLALT). Else null.
Value* OpEmitter::pairs_of_bf16(Value* a, Value* b, Value* c) {
  const auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(a->getType());
  const auto* inner = llvm::dyn_cast<llvm::IntrinsicInst>(c);
  const auto width = static_cast<unsigned>(target_.vector_bits);
  if (!target_.has_bf16_pairs || vector == nullptr || inner == nullptr ||
      inner->getIntrinsicID() != llvm::Intrinsic::fma || !vector->getElementType()->isFloatTy() ||
      vector->getNumElements() * 32 != width)
    return nullptr;
  Value *x = word_of(a, true), *y = word_of(b, true);
  if (x == nullptr || y == nullptr || word_of(inner->getArgOperand(0), false) != x ||
      word_of(inner->getArgOperand(1), false) != y)
    return nullptr;
  llvm::Type* halves = llvm::FixedVectorType::get(b_.getBFloatTy(), width / 16);
  const auto pairs = [&](Value* word) {
    return b_.CreateBitCast(word->getType()->isVectorTy() ? word : b_.CreateVectorSplat(vector->getNumElements(), word),
                            halves);
  };
  x = pairs(x), y = pairs(y);
  Value* const sum = inner->getArgOperand(2);
  if (llvm::Triple(b_.GetInsertBlock()->getModule()->getTargetTriple()).isAArch64())
    return b_.CreateIntrinsic(llvm::Intrinsic::aarch64_neon_bfmlalb, {},
                              {b_.CreateIntrinsic(llvm::Intrinsic::aarch64_neon_bfmlalt, {}, {sum, x, y}), x, y});
  const auto id = width == 512   ? llvm::Intrinsic::x86_avx512bf16_dpbf16ps_512
                  : width == 256 ? llvm::Intrinsic::x86_avx512bf16_dpbf16ps_256
                                 : llvm::Intrinsic::x86_avx512bf16_dpbf16ps_128;
  return b_.CreateIntrinsic(id, {}, {sum, x, y});
}

/// One instruction; else products of 16-bit halves, which do not overflow in 32 bits, or of single bytes.
Value* OpEmitter::dot4(ScalarOp op, Value* a, Value* b, Value* c) {
  const auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(a->getType());
  if (vector != nullptr && vector->getNumElements() * 32 == static_cast<unsigned>(target_.vector_bits)) {
    const llvm::Triple triple(b_.GetInsertBlock()->getModule()->getTargetTriple());
    if (triple.isAArch64()) return dot4_aarch64(op, a, b, c);
    if (triple.isX86() && op == ScalarOp::kDot4) return dot4_x86(a, b, c);
  }
  const auto byte_of = [&](Value* v, int byte, bool is_signed) {
    Value* top = b_.CreateShl(v, int_like(v, static_cast<uint64_t>(24 - 8 * byte)));
    return is_signed ? b_.CreateAShr(top, int_like(v, 24)) : b_.CreateLShr(top, int_like(v, 24));
  };
  for (int byte = 0; byte < 4; ++byte) c = b_.CreateAdd(c, b_.CreateMul(byte_of(a, byte, op == ScalarOp::kDot4Signed), byte_of(b, byte, true)));
  return c;
}

/// The even bytes of words and the odd ones.
OpEmitter::Halves OpEmitter::as_halves(Value* words, bool is_signed) {
  const auto* vector = llvm::cast<llvm::FixedVectorType>(words->getType());
  llvm::Type* type = llvm::FixedVectorType::get(b_.getInt16Ty(), vector->getNumElements() * 2);
  Value *halves = b_.CreateBitCast(words, type), *eight = llvm::ConstantInt::get(type, 8);
  if (is_signed) return {b_.CreateAShr(b_.CreateShl(halves, eight), eight), b_.CreateAShr(halves, eight)};
  return {b_.CreateAnd(halves, llvm::ConstantInt::get(type, 0xff)), b_.CreateLShr(halves, eight)};
}

Value* OpEmitter::dot4_x86(Value* a, Value* b, Value* c) {
  const int width = target_.vector_bits;
  if (target_.has_dot4) {
    const auto id = width == 512   ? llvm::Intrinsic::x86_avx512_vpdpbusd_512
                    : width == 256 ? llvm::Intrinsic::x86_avx512_vpdpbusd_256
                                   : llvm::Intrinsic::x86_avx512_vpdpbusd_128;
    return b_.CreateIntrinsic(id, {}, {c, a, b});
  }
  const llvm::Intrinsic::ID id = multiply_halves(width);
  // Two products with bytes below 128 fit 16 bits, so sums of neighbours do not saturate.
  const llvm::Module& module = *b_.GetInsertBlock()->getModule();
  const bool small = (~llvm::computeKnownBits(a, module.getDataLayout()).Zero.getZExtValue() & 0x80808080) == 0;
  if (small && width == 256)
    return b_.CreateAdd(c, sums_of_neighbours(a, b, id));
  const Halves x = as_halves(a, false), y = as_halves(b, true);
  return b_.CreateAdd(c, b_.CreateAdd(b_.CreateIntrinsic(id, {}, {x.even, y.even}), b_.CreateIntrinsic(id, {}, {x.odd, y.odd})));
}

/// Of each word the sum of its bytes' products, in two steps.
Value* OpEmitter::sums_of_neighbours(Value* a, Value* b, unsigned add_pairs) {
  const auto* vector = llvm::cast<llvm::FixedVectorType>(a->getType());
  llvm::Type* bytes = llvm::FixedVectorType::get(b_.getInt8Ty(), vector->getNumElements() * 4);
  Value* pairs = b_.CreateIntrinsic(llvm::Intrinsic::x86_avx2_pmadd_ub_sw, {}, {b_.CreateBitCast(a, bytes), b_.CreateBitCast(b, bytes)});
  return b_.CreateIntrinsic(add_pairs, {}, {pairs, llvm::ConstantInt::get(pairs->getType(), 1)});
}

Value* OpEmitter::dot4_aarch64(ScalarOp op, Value* a, Value* b, Value* c) {
  const bool is_signed = op == ScalarOp::kDot4Signed;
  if (is_signed ? target_.has_dot4_signed : target_.has_dot4) {
    llvm::Type* bytes = llvm::FixedVectorType::get(b_.getInt8Ty(), static_cast<unsigned>(target_.vector_bits / 8));
    const auto id = is_signed ? llvm::Intrinsic::aarch64_neon_sdot : llvm::Intrinsic::aarch64_neon_usdot;
    return b_.CreateIntrinsic(id, {c->getType(), bytes}, {c, b_.CreateBitCast(a, bytes), b_.CreateBitCast(b, bytes)});
  }
  // A product of bytes fits 16 bits; neighbours are added in 32.
  const Halves x = as_halves(a, is_signed), y = as_halves(b, true);
  for (Value* products : {b_.CreateMul(x.even, y.even), b_.CreateMul(x.odd, y.odd)})
    c = b_.CreateAdd(c, b_.CreateIntrinsic(llvm::Intrinsic::aarch64_neon_saddlp, {c->getType(), products->getType()}, {products}));
  return c;
}

}  // namespace tenon::codegen
