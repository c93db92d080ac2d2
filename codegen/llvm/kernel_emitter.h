#pragma once

#include <unordered_map>

#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

#include "codegen/llvm/lanes.h"
#include "codegen/llvm/loop_addresses.h"
#include "codegen/llvm/ops.h"

namespace tenon::codegen {

/// Iterations that are executed together: `width` lanes, of which those of `mask` (null: all) are on; at least one is.
/// Without shapes there is one lane and every value is a scalar.
struct Lanes {
  int width = 1;
  llvm::Value* mask = nullptr;
  const LaneShapes* shapes = nullptr;
};

/// Loads of an unrolled loop that read neighbouring elements from one trip to the next: where lanes lie apart, each lane loads
/// its run at once and the trips' vectors come from a transposition of the runs.
struct UnrolledRuns {
  int64_t trips = 0, trip = 0;
  std::unordered_map<const kir::Inst*, llvm::SmallVector<llvm::Value*, 16>> loads;  // by trip, once made
};

/// One kernel's way into a module. Scalar code is the case of one lane; structure is in emitter.cpp, loops that open lanes in
/// emitter_vector_loop.cpp, loads and stores in emitter_memory.cpp.
class KernelEmitter {
 public:
  KernelEmitter(const kir::Kernel& kernel, const Target& target, llvm::Module& module)
      : k_(kernel),
        target_(target),
        module_(module),
        context_(module.getContext()),
        b_(context_),
        ops_(b_, target),
        values_(kernel.values.size(), nullptr) {}

  Status run(const std::string& name);

 private:
  using Values = llvm::SmallVector<llvm::Value*, 8>;

  // Values. A uniform value is held as a scalar, an affine one as the scalar of lane 0.
  llvm::Value*& at(kir::ValueId v) { return values_[static_cast<size_t>(v)]; }
  LaneShape shape(kir::ValueId v) const {
    return lanes_.shapes ? (*lanes_.shapes)[static_cast<size_t>(v)] : LaneShape{};
  }
  bool uniform(kir::ValueId v) const { return shape(v).kind == LaneShape::Kind::kUniform; }
  bool varying(kir::ValueId v) const { return shape(v).kind == LaneShape::Kind::kVarying; }
  llvm::Value* lanes_of(kir::ValueId v) { return widen(at(v), shape(v)); }
  llvm::Value* widen(llvm::Value* value, LaneShape shape);
  llvm::Value* held(llvm::Value* vector_or_scalar, LaneShape from, LaneShape to) {
    return from == to ? vector_or_scalar : widen(vector_or_scalar, from);
  }
  llvm::Value* both(llvm::Value* a, llvm::Value* b) { return !a ? b : !b ? a : b_.CreateAnd(a, b); }
  llvm::Value* any(llvm::Value* mask) { return b_.CreateOrReduce(mask); }
  llvm::Value* i64(int64_t v) { return b_.getInt64(static_cast<uint64_t>(v)); }
  std::optional<int64_t> constant(llvm::Value* v) const;

  llvm::BasicBlock* block(const char* name) {
    auto* made = llvm::BasicBlock::Create(context_, name, fn_);
    block_numbers_.emplace(made, block_numbers_.size());
    return made;
  }
  llvm::Value* entry_alloca(llvm::Type* type, int64_t count, const char* name);

  // Structure.
  llvm::Value* turned(llvm::Value* g, llvm::Value* begin, llvm::Value* end);
  void region(const kir::Region& r);
  void inst(const kir::Inst& i);
  void op(const kir::Inst& i);
  void body_of_loop(LoopAddresses::Loop loop, llvm::function_ref<void()> body);
  void loop(const kir::Inst& i);
  void serial_loop(const kir::Inst& i);
  Values serial_loop(const kir::Inst& i, llvm::Value* lo, llvm::Value* hi, const Values& inits);
  void masked_trips_loop(const kir::Inst& i);
  bool unroll(const kir::Inst& i);
  void branch(const kir::Inst& i);
  void masked_branch(const kir::Inst& i);
  Values masked_region(const kir::Region& r, llvm::Value* mask, const kir::Inst& i);
  void vector_loop(const kir::Inst& i);
  void vector_loop(const kir::Inst& i, const LaneShapes& shapes, int width, int together, llvm::Value* lo, const Values& inits);
  llvm::Value* narrowed(kir::Combiner combiner, DType dtype, llvm::Value* v, int width);
  void check(const kir::Inst& i);

  // Memory.
  void load(const kir::Inst& i);
  void store(const kir::Inst& i);
  void prefetch(const kir::Inst& i);
  llvm::Value* scalar_load(const kir::Inst& i);
  llvm::Value* branching_load(const kir::Inst& i);
  bool reads_runs(const kir::Inst& i) const;
  llvm::Value* run_load(const kir::Inst& i);
  llvm::Value* vector_load(const kir::Inst& i, LaneShape offset, llvm::Value* mask, llvm::Value* other);
  void vector_store(const kir::Inst& i, LaneShape offset, llvm::Value* mask, llvm::Value* value);
  llvm::Value* element(int buffer, llvm::Value* offset);
  llvm::Value* reverse(llvm::Value* v) { return b_.CreateVectorReverse(v); }
  template <class I>
  I* tag(I* access, int buffer) {
    const auto& [scope, others] = alias_[static_cast<size_t>(buffer)];
    if (scope) access->setMetadata(llvm::LLVMContext::MD_alias_scope, scope);
    if (others) access->setMetadata(llvm::LLVMContext::MD_noalias, others);
    return access;
  }
  void describe_aliasing(const std::string& name);

  const kir::Kernel& k_;
  const Target& target_;
  llvm::Module& module_;
  llvm::LLVMContext& context_;
  llvm::IRBuilder<> b_;
  OpEmitter ops_;
  llvm::Function* fn_ = nullptr;
  std::vector<llvm::Value*> values_, buffers_, dims_;
  std::vector<std::pair<llvm::MDNode*, llvm::MDNode*>> alias_;
  llvm::Value* status_ = nullptr;
  Lanes lanes_;
  UnrolledRuns* runs_ = nullptr;  // of the innermost unrolled loop
  BlockNumbers block_numbers_;
  LoopAddresses* addresses_ = nullptr;  // of the innermost loop
  Status error_;

  friend struct LaneScope;
};

/// Executes under other lanes while it lives.
struct LaneScope {
  LaneScope(KernelEmitter& emitter, Lanes lanes) : emitter_(emitter), saved_(emitter.lanes_) {
    emitter_.lanes_ = lanes;
  }
  ~LaneScope() { emitter_.lanes_ = saved_; }
  KernelEmitter& emitter_;
  Lanes saved_;
};

}  // namespace tenon::codegen
