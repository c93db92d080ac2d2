#include "codegen/llvm/emitter.h"

#include <utility>

#include <llvm/IR/MDBuilder.h>
#include <llvm/TargetParser/Triple.h>

#include "codegen/llvm/emitter_runs.h"

namespace tenon::codegen {
namespace {

using kir::Inst;
using kir::InstKind;
using kir::LoopKind;
using kir::Region;
using kir::ScalarOp;
using kir::ValueId;
using llvm::BasicBlock;
using llvm::PHINode;
using llvm::Value;
using Kind = LaneShape::Kind;

constexpr int64_t kMaxUnrolledInsts = 20000;

}  // namespace

Value* KernelEmitter::widen(Value* value, LaneShape shape) {
  if (lanes_.width == 1 || shape.kind == Kind::kVarying) return value;
  Value* splat = b_.CreateVectorSplat(static_cast<unsigned>(lanes_.width), value);
  if (shape.kind == Kind::kUniform) return splat;
  llvm::SmallVector<llvm::Constant*, 64> offsets;
  for (int l = 0; l < lanes_.width; ++l)
    offsets.push_back(b_.getInt64(static_cast<uint64_t>(l) * static_cast<uint64_t>(shape.stride)));
  return b_.CreateAdd(splat, llvm::ConstantVector::get(offsets));
}

std::optional<int64_t> KernelEmitter::constant(Value* v) const {
  const auto* c = llvm::dyn_cast<llvm::ConstantInt>(v);
  return c ? std::optional(c->getSExtValue()) : std::nullopt;
}

Value* KernelEmitter::entry_alloca(llvm::Type* type, int64_t count, const char* name) {
  llvm::IRBuilder<> entry(&fn_->getEntryBlock(), fn_->getEntryBlock().begin());
  auto* made = entry.CreateAlloca(llvm::ArrayType::get(type, static_cast<uint64_t>(count)), nullptr, name);
  made->setAlignment(llvm::Align(64));
  return made;
}

// Bindings do not alias one another (the plan's promise); each is a scope of its own, as inlined noalias arguments are.
void KernelEmitter::describe_aliasing(const std::string& name) {
  llvm::MDBuilder md(context_);
  llvm::MDNode* domain = md.createAnonymousAliasScopeDomain(name);
  std::vector<llvm::MDNode*> scopes;
  for (const kir::BufferInfo& b : k_.buffers) scopes.push_back(md.createAnonymousAliasScope(domain, b.name));
  for (size_t i = 0; i < scopes.size(); ++i) {
    llvm::SmallVector<llvm::Metadata*, 8> others;
    for (size_t j = 0; j < scopes.size(); ++j)
      if (i != j) others.push_back(scopes[j]);
    alias_.emplace_back(llvm::MDNode::get(context_, {scopes[i]}), llvm::MDNode::get(context_, others));
  }
}

Status KernelEmitter::run(const std::string& name) {
  llvm::Type* i64t = b_.getInt64Ty();
  auto* type = llvm::FunctionType::get(b_.getInt32Ty(), {b_.getPtrTy(), b_.getPtrTy(), i64t, i64t}, false);
  fn_ = llvm::Function::Create(type, llvm::Function::ExternalLinkage, name, module_);
  fn_->addFnAttr(llvm::Attribute::NoUnwind);
  fn_->addFnAttr("prefer-vector-width", std::to_string(target_.vector_bits));
  describe_aliasing(name);
  BasicBlock *entry = block("entry"), *head = block("grid"), *exit = block("exit");
  b_.SetInsertPoint(entry);
  status_ = entry_alloca(b_.getInt32Ty(), 1, "status");
  b_.CreateStore(b_.getInt32(0), status_);
  for (size_t i = 0; i < k_.buffers.size(); ++i) {
    const kir::BufferInfo& buffer = k_.buffers[i];
    buffers_.push_back(
        buffer.space == kir::BufferSpace::kBinding
            ? b_.CreateLoad(b_.getPtrTy(), b_.CreateConstInBoundsGEP1_64(b_.getPtrTy(), fn_->getArg(0), i))
            : entry_alloca(ops_.storage_type(buffer.dtype, 1), buffer.count, buffer.name.c_str()));
  }
  for (int d = 0; d < k_.num_dims; ++d)
    dims_.push_back(b_.CreateLoad(i64t, b_.CreateConstInBoundsGEP1_64(i64t, fn_->getArg(1), static_cast<uint64_t>(d))));
  Value *begin = fn_->getArg(2), *end = fn_->getArg(3);
  b_.CreateCondBr(b_.CreateICmpSLT(begin, end), head, exit);
  BasicBlock* before = b_.GetInsertBlock();
  b_.SetInsertPoint(head);
  PHINode* g = b_.CreatePHI(i64t, 2, "g");
  g->addIncoming(begin, before);
  at(k_.body.args[0]) = k_.round != 0 ? turned(g, begin, end) : g;
  body_of_loop({before, head, g, begin, 1}, [&] { region(k_.body); });
  Value* next = b_.CreateAdd(g, i64(1));
  g->addIncoming(next, b_.GetInsertBlock());
  b_.CreateCondBr(b_.CreateICmpSLT(next, end), head, exit);
  b_.SetInsertPoint(exit);
  b_.CreateRet(b_.CreateLoad(b_.getInt32Ty(), status_));
  return error_;
}

// The index at place g of [begin, end), where every other round runs backwards.
Value* KernelEmitter::turned(Value* g, Value* begin, Value* end) {
  Value* number = b_.CreateUDiv(g, i64(k_.round));
  Value* first = b_.CreateMul(number, i64(k_.round));
  Value* lo = b_.CreateBinaryIntrinsic(llvm::Intrinsic::smax, first, begin);
  Value* hi = b_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, b_.CreateAdd(first, i64(k_.round)), end);
  Value* mirrored = b_.CreateSub(b_.CreateAdd(lo, hi), b_.CreateAdd(g, i64(1)));
  return b_.CreateSelect(b_.CreateTrunc(number, b_.getInt1Ty()), mirrored, g);
}

void KernelEmitter::region(const Region& r) {
  for (const auto& i : r.insts) inst(*i);
}

void KernelEmitter::inst(const Inst& i) {
  switch (i.kind) {
    case InstKind::kConst:
      at(i.results[0]) = ops_.constant(i.dtype, i.constant);
      return;
    case InstKind::kDim:
      at(i.results[0]) = dims_[static_cast<size_t>(i.index)];
      return;
    case InstKind::kOp:
      return op(i);
    case InstKind::kCast:
    case InstKind::kBitcast: {
      const DType from = k_.dtype(i.operands[0]);
      Value* value = varying(i.results[0]) ? lanes_of(i.operands[0]) : at(i.operands[0]);
      at(i.results[0]) =
          i.kind == InstKind::kCast ? ops_.cast(value, from, i.dtype) : ops_.bitcast(value, from, i.dtype);
      return;
    }
    case InstKind::kLoad:
    case InstKind::kStore:
      if (i.width > 1) {
        error_ = error(Code::kInternal, "kernel '{}': several elements at once, which are for GPUs", k_.name);
        return;
      }
      return i.kind == InstKind::kLoad ? load(i) : store(i);
    case InstKind::kPrefetch:
      return prefetch(i);
    case InstKind::kFor:
      return loop(i);
    case InstKind::kIf:
      return uniform(i.operands[0]) ? branch(i) : masked_branch(i);
    case InstKind::kCheck:
      return check(i);
    case InstKind::kTileFill:
    case InstKind::kTileMma:
    case InstKind::kTileStore:
      error_ = error(Code::kInternal, "kernel '{}': a tile, which lanes of a GPU hold", k_.name);
      return;
  }
}

void KernelEmitter::op(const Inst& i) {
  Values args;
  for (ValueId v : i.operands) args.push_back(varying(i.results[0]) ? lanes_of(v) : at(v));
  const DType dtype = k_.dtype(i.operands[i.op == ScalarOp::kSelect ? 1 : 0]);
  Value* result = ops_.op(i.op, dtype, args);
  if (!result) {
    if (error_.ok())
      error_ = error(Code::kInternal, "kernel '{}': no machine operation for {} of {}", k_.name, info(i.op).name,
                     tenon::name(dtype));
    result =
        llvm::PoisonValue::get(ops_.register_type(k_.dtype(i.results[0]), varying(i.results[0]) ? lanes_.width : 1));
  }
  at(i.results[0]) = result;
}

void KernelEmitter::check(const Inst& i) {
  Value* bad = b_.CreateNot(at(i.operands[0]));
  if (!uniform(i.operands[0])) bad = any(both(lanes_.mask, bad));
  Value* old = b_.CreateLoad(b_.getInt32Ty(), status_);
  b_.CreateStore(b_.CreateSelect(bad, b_.getInt32(static_cast<uint32_t>(i.index)), old), status_);
}

// Loops

void KernelEmitter::body_of_loop(LoopAddresses::Loop loop, llvm::function_ref<void()> body) {
  const bool scales_indices = llvm::Triple(module_.getTargetTriple()).isX86();
  LoopAddresses addresses(b_, block_numbers_, loop, scales_indices);
  LoopAddresses* const outer = std::exchange(addresses_, &addresses);
  body();
  addresses.close();
  addresses_ = outer;
}

void KernelEmitter::loop(const Inst& i) {
  if (i.loop == LoopKind::kUnroll && unroll(i)) return;
  if (i.loop == LoopKind::kVector && lanes_.width == 1) return vector_loop(i);
  const LaneShape lo = shape(i.operands[0]), hi = shape(i.operands[1]);
  if (lo.kind == Kind::kVarying || !(lo == hi)) return masked_trips_loop(i);
  serial_loop(i);
}

namespace {

int64_t count_insts(const Region& r) {
  int64_t n = static_cast<int64_t>(r.insts.size());
  for (const auto& i : r.insts)
    for (const Region& inner : i->regions) n += count_insts(inner);
  return n;
}

}  // namespace

bool KernelEmitter::unroll(const Inst& i) {
  const auto lo = constant(at(i.operands[0])), hi = constant(at(i.operands[1]));
  if (!lo || !hi) return false;
  const int64_t trips = *lo < *hi ? (*hi - *lo + i.step - 1) / i.step : 0;
  if (trips * count_insts(i.regions[0]) > kMaxUnrolledInsts) return false;
  const Region& r = i.regions[0];
  Values carried;
  for (size_t c = 0; c < i.results.size(); ++c)
    carried.push_back(held(at(i.operands[c + 2]), shape(i.operands[c + 2]), shape(i.results[c])));
  UnrolledRuns runs;
  if (trips > 1 && trips == lanes_.width && i.step == 1) runs = find_runs(r, trips);
  UnrolledRuns* const outer_runs = std::exchange(runs_, &runs);
  for (int64_t t = 0; t < trips; ++t) {
    runs.trip = t;
    at(r.args[0]) = i64(*lo + t * i.step);
    for (size_t c = 0; c < carried.size(); ++c) at(r.args[c + 1]) = carried[c];
    region(r);
    for (size_t c = 0; c < carried.size(); ++c)
      carried[c] = held(at(r.yields[c]), shape(r.yields[c]), shape(i.results[c]));
  }
  runs_ = outer_runs;
  for (size_t c = 0; c < carried.size(); ++c) at(i.results[c]) = carried[c];
  return true;
}

// All lanes make the same number of trips, so the scalars of lane 0 (or of all) decide.
void KernelEmitter::serial_loop(const Inst& i) {
  Values inits;
  for (size_t c = 0; c < i.results.size(); ++c)
    inits.push_back(held(at(i.operands[c + 2]), shape(i.operands[c + 2]), shape(i.results[c])));
  const Values results = serial_loop(i, at(i.operands[0]), at(i.operands[1]), inits);
  for (size_t c = 0; c < results.size(); ++c) at(i.results[c]) = results[c];
}

KernelEmitter::Values KernelEmitter::serial_loop(const Inst& i, Value* lo, Value* hi, const Values& inits) {
  const Region& r = i.regions[0];
  Value* runs = b_.CreateICmpSLT(lo, hi);
  const std::optional<int64_t> known = constant(runs);
  if (known && *known == 0) return inits;
  BasicBlock *before = b_.GetInsertBlock(), *body = block("loop"), *after = block("after");
  if (known) b_.CreateBr(body);
  else b_.CreateCondBr(runs, body, after);
  b_.SetInsertPoint(body);
  PHINode* iv = b_.CreatePHI(b_.getInt64Ty(), 2, "iv");
  iv->addIncoming(lo, before);
  at(r.args[0]) = iv;
  llvm::SmallVector<PHINode*, 8> carried;
  for (size_t c = 0; c < inits.size(); ++c) {
    carried.push_back(b_.CreatePHI(inits[c]->getType(), 2));
    carried[c]->addIncoming(inits[c], before);
    at(r.args[c + 1]) = carried[c];
  }
  Values yields;
  body_of_loop({before, body, iv, lo, i.step}, [&] {
    region(r);
    for (size_t c = 0; c < inits.size(); ++c)
      yields.push_back(held(at(r.yields[c]), shape(r.yields[c]), shape(i.results[c])));
  });
  Value* next = b_.CreateAdd(iv, i64(i.step));
  BasicBlock* latch = b_.GetInsertBlock();
  iv->addIncoming(next, latch);
  for (size_t c = 0; c < inits.size(); ++c) carried[c]->addIncoming(yields[c], latch);
  b_.CreateCondBr(b_.CreateICmpSLT(next, hi), body, after);
  b_.SetInsertPoint(after);
  if (known) return yields;
  Values results;
  for (size_t c = 0; c < inits.size(); ++c) {
    PHINode* result = b_.CreatePHI(inits[c]->getType(), 2);
    result->addIncoming(inits[c], before);
    result->addIncoming(yields[c], latch);
    results.push_back(result);
  }
  return results;
}

// Lanes differ in their trips: run as many as the busiest lane needs, each lane under the mask of its own count.
void KernelEmitter::masked_trips_loop(const Inst& i) {
  const Region& r = i.regions[0];
  Value *lo = lanes_of(i.operands[0]), *hi = lanes_of(i.operands[1]);
  Value* zero = llvm::ConstantInt::get(lo->getType(), 0);
  Value* span =
      b_.CreateAdd(b_.CreateSub(hi, lo), llvm::ConstantInt::get(lo->getType(), static_cast<uint64_t>(i.step - 1)));
  Value* trips = b_.CreateSDiv(span, llvm::ConstantInt::get(lo->getType(), static_cast<uint64_t>(i.step)));
  Value* runs = both(lanes_.mask, b_.CreateICmpSLT(lo, hi));
  trips = b_.CreateSelect(runs, trips, zero);
  Value* most = b_.CreateIntMaxReduce(trips, true);
  Values inits;
  for (size_t c = 0; c < i.results.size(); ++c) inits.push_back(lanes_of(i.operands[c + 2]));
  BasicBlock *before = b_.GetInsertBlock(), *body = block("lanes_loop"), *after = block("after");
  b_.CreateCondBr(b_.CreateICmpSLT(i64(0), most), body, after);
  b_.SetInsertPoint(body);
  PHINode* t = b_.CreatePHI(b_.getInt64Ty(), 2, "t");
  t->addIncoming(i64(0), before);
  llvm::SmallVector<PHINode*, 8> carried;
  for (size_t c = 0; c < inits.size(); ++c) {
    carried.push_back(b_.CreatePHI(inits[c]->getType(), 2));
    carried[c]->addIncoming(inits[c], before);
    at(r.args[c + 1]) = carried[c];
  }
  Value* base = varying(i.operands[0]) ? lo : at(i.operands[0]);
  Value* advance = b_.CreateMul(t, i64(i.step));
  if (varying(i.operands[0])) advance = b_.CreateVectorSplat(static_cast<unsigned>(lanes_.width), advance);
  at(r.args[0]) = b_.CreateAdd(base, advance);
  Value* mask = b_.CreateICmpSLT(b_.CreateVectorSplat(static_cast<unsigned>(lanes_.width), t), trips);
  Values yields;
  {
    LaneScope scope(*this, {lanes_.width, mask, lanes_.shapes});
    region(r);
    for (size_t c = 0; c < inits.size(); ++c)
      yields.push_back(b_.CreateSelect(mask, lanes_of(r.yields[c]), carried[c]));
  }
  Value* next = b_.CreateAdd(t, i64(1));
  BasicBlock* latch = b_.GetInsertBlock();
  t->addIncoming(next, latch);
  for (size_t c = 0; c < inits.size(); ++c) carried[c]->addIncoming(yields[c], latch);
  b_.CreateCondBr(b_.CreateICmpSLT(next, most), body, after);
  b_.SetInsertPoint(after);
  for (size_t c = 0; c < inits.size(); ++c) {
    PHINode* result = b_.CreatePHI(inits[c]->getType(), 2);
    result->addIncoming(inits[c], before);
    result->addIncoming(yields[c], latch);
    at(i.results[c]) = result;
  }
}

// Branches

void KernelEmitter::branch(const Inst& i) {
  BasicBlock *on = block("then"), *off = block("else"), *after = block("after");
  b_.CreateCondBr(at(i.operands[0]), on, off);
  Values results[2];
  BasicBlock* ends[2];
  for (int s = 0; s < 2; ++s) {
    b_.SetInsertPoint(s == 0 ? on : off);
    const Region& r = i.regions[static_cast<size_t>(s)];
    region(r);
    for (size_t c = 0; c < i.results.size(); ++c)
      results[s].push_back(held(at(r.yields[c]), shape(r.yields[c]), shape(i.results[c])));
    ends[s] = b_.GetInsertBlock();
    b_.CreateBr(after);
  }
  b_.SetInsertPoint(after);
  for (size_t c = 0; c < i.results.size(); ++c) {
    PHINode* result = b_.CreatePHI(results[0][c]->getType(), 2);
    for (int s = 0; s < 2; ++s) result->addIncoming(results[s][c], ends[s]);
    at(i.results[c]) = result;
  }
}

void KernelEmitter::masked_branch(const Inst& i) {
  Value* condition = at(i.operands[0]);
  const Values on = masked_region(i.regions[0], both(lanes_.mask, condition), i);
  const Values off = masked_region(i.regions[1], both(lanes_.mask, b_.CreateNot(condition)), i);
  for (size_t c = 0; c < i.results.size(); ++c) at(i.results[c]) = b_.CreateSelect(condition, on[c], off[c]);
}

KernelEmitter::Values KernelEmitter::masked_region(const Region& r, Value* mask, const Inst& i) {
  Values results;
  if (r.insts.empty()) {
    for (ValueId y : r.yields) results.push_back(lanes_of(y));
    return results;
  }
  BasicBlock *before = b_.GetInsertBlock(), *body = block("some"), *after = block("after");
  b_.CreateCondBr(any(mask), body, after);
  b_.SetInsertPoint(body);
  {
    LaneScope scope(*this, {lanes_.width, mask, lanes_.shapes});
    region(r);
    for (ValueId y : r.yields) results.push_back(lanes_of(y));
  }
  BasicBlock* end = b_.GetInsertBlock();
  b_.CreateBr(after);
  b_.SetInsertPoint(after);
  for (Value*& v : results) {
    PHINode* result = b_.CreatePHI(v->getType(), 2);
    result->addIncoming(llvm::PoisonValue::get(v->getType()), before);
    result->addIncoming(v, end);
    v = result;
  }
  return results;
}

Status emit_kernel(const kir::Kernel& kernel, const Target& target, const std::string& name, llvm::Module& module) {
  if (kernel.lanes != 1) return error(Code::kUnsupported, "kernel {} is for {} lanes of a GPU", kernel.name, kernel.lanes);
  return KernelEmitter(kernel, target, module).run(name);
}

}  // namespace tenon::codegen
