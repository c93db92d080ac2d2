#include "codegen/llvm/kernel_emitter.h"

namespace tenon::codegen {

using kir::Inst;
using llvm::BasicBlock;
using llvm::PHINode;
using llvm::Value;
using Kind = LaneShape::Kind;

Value* KernelEmitter::element(int buffer, Value* offset) {
  const size_t i = static_cast<size_t>(buffer);
  llvm::Type* type = ops_.storage_type(k_.buffers[i].dtype, 1);
  Value* moving = addresses_ == nullptr ? nullptr : addresses_->element(type, buffers_[i], offset);
  return moving != nullptr ? moving : b_.CreateGEP(type, buffers_[i], offset);
}

void KernelEmitter::load(const Inst& i) {
  const DType dtype = k_.buffers[static_cast<size_t>(i.index)].dtype;
  Value* loaded = nullptr;
  if (uniform(i.results[0])) {
    loaded = scalar_load(i);
  } else if (reads_runs(i)) {
    loaded = run_load(i);
  } else if (i.operands.size() == 3 && uniform(i.operands[1])) {
    loaded = branching_load(i);
  } else {
    Value *mask = lanes_.mask, *other = nullptr;
    if (i.operands.size() == 3) {
      mask = both(mask, lanes_of(i.operands[1]));
      other = ops_.to_storage(dtype, lanes_of(i.operands[2]));
    }
    loaded = vector_load(i, shape(i.operands[0]), mask, other);
  }
  at(i.results[0]) = ops_.from_storage(dtype, loaded);
}

Value* KernelEmitter::scalar_load(const Inst& i) {
  const DType dtype = k_.buffers[static_cast<size_t>(i.index)].dtype;
  llvm::Type* type = ops_.storage_type(dtype, 1);
  Value* offset = at(i.operands[0]);
  if (i.operands.size() == 1) return tag(b_.CreateLoad(type, element(i.index, offset)), i.index);
  Value* other = ops_.to_storage(dtype, at(i.operands[2]));
  BasicBlock *before = b_.GetInsertBlock(), *on = block("load"), *after = block("after");
  b_.CreateCondBr(at(i.operands[1]), on, after);
  b_.SetInsertPoint(on);
  Value* loaded = tag(b_.CreateLoad(type, element(i.index, offset)), i.index);
  b_.CreateBr(after);
  b_.SetInsertPoint(after);
  PHINode* result = b_.CreatePHI(type, 2);
  result->addIncoming(other, before);
  result->addIncoming(loaded, on);
  return result;
}

/// All lanes or none.
Value* KernelEmitter::branching_load(const Inst& i) {
  const DType dtype = k_.buffers[static_cast<size_t>(i.index)].dtype;
  Value* other = ops_.to_storage(dtype, lanes_of(i.operands[2]));
  BasicBlock *before = b_.GetInsertBlock(), *on = block("load"), *after = block("after");
  b_.CreateCondBr(at(i.operands[1]), on, after);
  b_.SetInsertPoint(on);
  Value* loaded = vector_load(i, shape(i.operands[0]), lanes_.mask, nullptr);
  BasicBlock* end = b_.GetInsertBlock();
  b_.CreateBr(after);
  b_.SetInsertPoint(after);
  PHINode* result = b_.CreatePHI(loaded->getType(), 2);
  result->addIncoming(other, before);
  result->addIncoming(loaded, end);
  return result;
}

Value* KernelEmitter::vector_load(const Inst& i, LaneShape offset, Value* mask, Value* other) {
  const DType dtype = k_.buffers[static_cast<size_t>(i.index)].dtype;
  llvm::Type* type = ops_.storage_type(dtype, lanes_.width);
  const llvm::Align align(static_cast<uint64_t>(bits(dtype) < 8 ? 1 : bits(dtype) / 8));
  Value* base = at(i.operands[0]);
  const auto contiguous = [&](Value* first, Value* m, Value* o) -> Value* {
    Value* pointer = element(i.index, first);
    if (!m) return tag(b_.CreateAlignedLoad(type, pointer, align), i.index);
    return tag(b_.CreateMaskedLoad(type, pointer, align, m, o ? o : llvm::PoisonValue::get(type)), i.index);
  };
  const int w = lanes_.width;
  if (offset.kind == Kind::kAffine && offset.stride == 1) return contiguous(base, mask, other);
  if (offset.kind == Kind::kAffine && offset.stride == -1) {
    Value* first = b_.CreateSub(base, i64(w - 1));
    return reverse(contiguous(first, mask ? reverse(mask) : nullptr, other ? reverse(other) : nullptr));
  }
  if (offset.kind == Kind::kAffine && offset.stride == 2 && (!mask || target_.vector_bits >= 512)) {
    // Two vectors that end exactly with the last element, then every other lane. Masks spread out as the lanes do.
    llvm::SmallVector<int, 64> pick, low, high;
    for (int l = 0; l < w; ++l) {
      pick.push_back(l < w / 2 ? 2 * l : w + 2 * l - (w - 1));
      low.push_back(l % 2 == 0 ? l / 2 : w);
      high.push_back(l % 2 == 1 ? (l + w - 1) / 2 : w);
    }
    Value* off = mask ? llvm::Constant::getNullValue(mask->getType()) : nullptr;
    Value* first = contiguous(base, mask ? b_.CreateShuffleVector(mask, off, low) : nullptr, nullptr);
    Value* second =
        contiguous(b_.CreateAdd(base, i64(w - 1)), mask ? b_.CreateShuffleVector(mask, off, high) : nullptr, nullptr);
    Value* picked = b_.CreateShuffleVector(first, second, pick);
    return mask && other ? b_.CreateSelect(mask, picked, other) : picked;
  }
  Value* pointers = element(i.index, lanes_of(i.operands[0]));
  return tag(b_.CreateMaskedGather(type, pointers, align, mask, other), i.index);
}

void KernelEmitter::prefetch(const Inst& i) {
  constexpr int kRead = 0, kSecondLevel = 2, kData = 1, kLineBits = 512;
  const LaneShape offset = shape(i.operands[0]);
  const bool run = offset.kind == Kind::kAffine && offset.stride == 1;
  if (!run && offset.kind != Kind::kUniform) return;
  const int line = kLineBits / bits(k_.buffers[static_cast<size_t>(i.index)].dtype);
  for (int lane = 0; lane < (run ? lanes_.width : 1); lane += line) {
    Value* pointer = element(i.index, b_.CreateAdd(at(i.operands[0]), i64(lane)));
    b_.CreateIntrinsic(llvm::Intrinsic::prefetch, {pointer->getType()}, {pointer, b_.getInt32(kRead), b_.getInt32(kSecondLevel), b_.getInt32(kData)});
  }
}

void KernelEmitter::store(const Inst& i) {
  const DType dtype = k_.buffers[static_cast<size_t>(i.index)].dtype;
  const bool masked = i.operands.size() == 3;
  if (uniform(i.operands[0]) && uniform(i.operands[1]) && (!masked || uniform(i.operands[2]))) {
    Value* value = ops_.to_storage(dtype, at(i.operands[1]));
    Value* pointer = element(i.index, at(i.operands[0]));
    if (!masked) {
      tag(b_.CreateStore(value, pointer), i.index);
      return;
    }
    BasicBlock *on = block("store"), *after = block("after");
    b_.CreateCondBr(at(i.operands[2]), on, after);
    b_.SetInsertPoint(on);
    tag(b_.CreateStore(value, pointer), i.index);
    b_.CreateBr(after);
    b_.SetInsertPoint(after);
    return;
  }
  Value* mask = lanes_.mask;
  if (masked) mask = both(mask, lanes_of(i.operands[2]));
  vector_store(i, shape(i.operands[0]), mask, ops_.to_storage(dtype, lanes_of(i.operands[1])));
}

void KernelEmitter::vector_store(const Inst& i, LaneShape offset, Value* mask, Value* value) {
  const DType dtype = k_.buffers[static_cast<size_t>(i.index)].dtype;
  const llvm::Align align(static_cast<uint64_t>(bits(dtype) < 8 ? 1 : bits(dtype) / 8));
  Value* base = at(i.operands[0]);
  if (offset.kind == Kind::kAffine && offset.stride == -1) {
    base = b_.CreateSub(base, i64(lanes_.width - 1));
    value = reverse(value);
    if (mask) mask = reverse(mask);
    offset.stride = 1;
  }
  if (offset.kind == Kind::kAffine && offset.stride == 1) {
    Value* pointer = element(i.index, base);
    if (mask)
      tag(b_.CreateMaskedStore(value, pointer, align, mask), i.index);
    else
      tag(b_.CreateAlignedStore(value, pointer, align), i.index);
    return;
  }
  // Lanes that meet in one element are stored in their order.
  tag(b_.CreateMaskedScatter(value, element(i.index, lanes_of(i.operands[0])), align, mask), i.index);
}

}  // namespace tenon::codegen
