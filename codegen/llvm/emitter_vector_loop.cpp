// Vector loops: whole vectors first, several together where one alone would wait for itself, then the rest as one masked vector where
// masks are cheap, or in shorter ones and at last one lane at a time.

#include "codegen/llvm/kernel_emitter.h"

namespace tenon::codegen {
namespace {

using kir::Inst;
using kir::Region;
using kir::ValueId;
using llvm::BasicBlock;
using llvm::PHINode;
using llvm::Value;

constexpr int kShortestVector = 4;  // lanes

}  // namespace

void KernelEmitter::vector_loop(const Inst& i) {
  const LaneShapes shapes = analyze_lanes(k_, i);
  const int width = choose_width(k_, i, shapes, target_);
  if (width <= 1) return serial_loop(i);
  Values inits;
  for (size_t o = 2; o < i.operands.size(); ++o) inits.push_back(at(i.operands[o]));
  vector_loop(i, shapes, width, vectors_together(k_, i, shapes, target_), at(i.operands[0]), inits);
}

/// v, whose lanes are as many or a multiple, in `width` lanes.
Value* KernelEmitter::narrowed(kir::Combiner combiner, DType dtype, Value* v, int width) {
  const auto lanes = static_cast<int>(llvm::cast<llvm::FixedVectorType>(v->getType())->getNumElements());
  for (int half = lanes / 2; half >= width; half /= 2) {
    llvm::SmallVector<int, 64> low, high;
    for (int l = 0; l < half; ++l) low.push_back(l), high.push_back(half + l);
    v = ops_.combine(combiner, dtype, b_.CreateShuffleVector(v, low), b_.CreateShuffleVector(v, high));
  }
  return v;
}

void KernelEmitter::vector_loop(const Inst& i, const LaneShapes& shapes, int width, int together, Value* lo, const Values& inits) {
  const Region& r = i.regions[0];
  Value* hi = at(i.operands[1]);
  Value* span = b_.CreateSub(hi, lo);
  Value* trips = i.step == 1 ? span : b_.CreateSDiv(b_.CreateAdd(span, i64(i.step - 1)), i64(i.step));
  trips = b_.CreateSelect(b_.CreateICmpSLT(lo, hi), trips, i64(0));
  if (const auto known = constant(trips))
    while (together > 1 && *known < together * width) together /= 2;
  const bool masked_rest = masks_are_cheap(k_, i, shapes, target_);

  const auto body = [&](int lanes, Value* t, Value* mask, const Values& carried) {
    LaneScope scope(*this, {lanes, mask, &shapes});
    at(r.args[0]) = b_.CreateAdd(lo, b_.CreateMul(t, i64(i.step)));
    for (size_t c = 0; c < carried.size(); ++c) at(r.args[c + 1]) = carried[c];
    region(r);
    Values yields;
    for (size_t c = 0; c < carried.size(); ++c) {
      Value* y = lanes_of(r.yields[c]);
      yields.push_back(mask ? b_.CreateSelect(mask, y, carried[c]) : y);
    }
    return yields;
  };

  Values carried;
  for (size_t c = 0; c < i.results.size(); ++c) {
    const DType dtype = k_.dtype(i.operands[c + 2]);
    carried.push_back(
        b_.CreateVectorSplat(static_cast<unsigned>(width * together), ops_.constant(dtype, ops_.identity(i.combiners[c], dtype))));
  }
  // Runs make_body under `condition`, merging what it carries with what came in.
  const auto guarded = [&](Value* condition, const char* name, auto&& make_body) {
    if (const auto known = constant(condition)) {
      if (*known) carried = make_body();
      return;
    }
    BasicBlock *before = b_.GetInsertBlock(), *on = block(name), *after = block("after");
    b_.CreateCondBr(condition, on, after);
    b_.SetInsertPoint(on);
    const Values made = make_body();
    BasicBlock* end = b_.GetInsertBlock();
    b_.CreateBr(after);
    b_.SetInsertPoint(after);
    for (size_t c = 0; c < carried.size(); ++c) {
      PHINode* merged = b_.CreatePHI(carried[c]->getType(), 2);
      merged->addIncoming(carried[c], before);
      merged->addIncoming(made[c], end);
      carried[c] = merged;
    }
  };
  // Vectors of `lanes` from trip `from` to trip `to`, whole ones.
  const auto vectors = [&](int lanes, Value* from, Value* to) {
    guarded(b_.CreateICmpSGT(to, from), "vectors", [&]() -> Values {
      if (constant(b_.CreateSub(to, from)) == lanes) return body(lanes, from, nullptr, carried);
      BasicBlock *before = b_.GetInsertBlock(), *head = block("vector"), *after = block("vectors_done");
      b_.CreateBr(head);
      b_.SetInsertPoint(head);
      PHINode* t = b_.CreatePHI(b_.getInt64Ty(), 2, "t");
      t->addIncoming(from, before);
      Values phis;
      for (Value* v : carried) {
        PHINode* phi = b_.CreatePHI(v->getType(), 2);
        phi->addIncoming(v, before);
        phis.push_back(phi);
      }
      Values yields;
      body_of_loop({before, head, t, from, lanes}, [&] { yields = body(lanes, t, nullptr, phis); });
      Value* next = b_.CreateAdd(t, i64(lanes));
      BasicBlock* latch = b_.GetInsertBlock();
      t->addIncoming(next, latch);
      for (size_t c = 0; c < yields.size(); ++c) llvm::cast<PHINode>(phis[c])->addIncoming(yields[c], latch);
      b_.CreateCondBr(b_.CreateICmpSLT(next, to), head, after);
      b_.SetInsertPoint(after);
      return yields;
    });
  };

  Value* whole = b_.CreateAnd(trips, i64(-width));
  Value* start = i64(0);
  if (together > 1) {
    Value* wide = b_.CreateAnd(trips, i64(-width * together));
    vectors(width * together, start, wide);
    start = wide;
    for (size_t c = 0; c < carried.size(); ++c) carried[c] = narrowed(i.combiners[c], k_.dtype(i.operands[c + 2]), carried[c], width);
  }
  vectors(width, start, whole);
  Value* rest = b_.CreateSub(trips, whole);
  if (masked_rest)
    guarded(b_.CreateICmpSGT(rest, i64(0)), "rest", [&] {
      llvm::SmallVector<llvm::Constant*, 64> numbers;
      for (int l = 0; l < width; ++l) numbers.push_back(b_.getInt32(static_cast<uint32_t>(l)));
      Value* limit = b_.CreateVectorSplat(static_cast<unsigned>(width), b_.CreateTrunc(rest, b_.getInt32Ty()));
      return body(width, whole, b_.CreateICmpULT(llvm::ConstantVector::get(numbers), limit), carried);
    });
  for (size_t c = 0; c < carried.size(); ++c) {
    const DType dtype = k_.dtype(i.operands[c + 2]);
    Value* v = narrowed(i.combiners[c], dtype, carried[c], 1);
    at(i.results[c]) = ops_.combine(i.combiners[c], dtype, inits[c], b_.CreateExtractElement(v, uint64_t{0}));
  }
  if (masked_rest || constant(rest) == 0) return;
  // From where the vectors ended, carrying on from the combined values.
  Values combined;
  for (ValueId v : i.results) combined.push_back(at(v));
  Value* next = b_.CreateAdd(lo, b_.CreateMul(whole, i64(i.step)));
  const int shorter = width >= 16 ? width / 4 : width / 2;
  if (shorter >= kShortestVector) return vector_loop(i, shapes, shorter, 1, next, combined);
  const Values results = serial_loop(i, next, hi, combined);
  for (size_t c = 0; c < results.size(); ++c) at(i.results[c]) = results[c];
}

}  // namespace tenon::codegen
