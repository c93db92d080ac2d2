#pragma once

#include <span>
#include <vector>

#include "codegen/spirv/emit.h"
#include "codegen/spirv/matrices.h"
#include "codegen/spirv/module.h"
#include "codegen/spirv/ops.h"

namespace tenon::codegen::spirv {

/// Of a pointer to what other invocations write or read, under Vulkan's memory model.
inline constexpr uint32_t kNonPrivatePointer = spv::MemoryAccessNonPrivatePointerMask;

/// Buffers of a kernel by number.
struct Accesses {
  std::vector<char> reads, writes;
  Accesses() = default;
  explicit Accesses(size_t buffers) : reads(buffers, 0), writes(buffers, 0) {}
  void add(const Accesses& other);
  bool conflicts(const Accesses& later) const;
};

/// Writes one kernel. Where its lanes are 1, each invocation executes a grid index; else a workgroup does: vector loops share their
/// iterations among the invocations, all else is executed by every one alike, and barriers stand where what one invocation wrote may be
/// read or overwritten by another.
class Emitter {
 public:
  /// `matrices`: how matrix units compute its tiles. Without them it has no tile instructions.
  Emitter(const kir::Kernel& kernel, const EmitOptions& options, std::optional<MatrixTiles> matrices)
      : kernel_(kernel), options_(options), matrices_(std::move(matrices)), o_(m_, options.dot_product) {}
  Result<std::vector<uint32_t>> run();

 private:
  Status check_types() const;
  // Entry and memory
  void emit_entry();
  Id builtin(spv::BuiltIn which, Id type);
  Id grid_index(Id begin);
  Id declare(const kir::BufferInfo& buffer);
  Id workgroup_array(Id element, int bytes, int64_t count);
  Id load_address(Id address, Id value_type, int bytes);
  /// The pointer to an element, or to `width` side by side.
  Id element(int buffer, kir::ValueId offset, int width = 1);
  Id private_element(int buffer, int64_t offset);
  Id shared_element(int buffer, Id offset, int offset_bits, int width);
  Operands with_alignment(int buffer, Operands operands, int width = 1) const;
  Id vector_type(Id element, int width) { return width == 1 ? element : m_.type(spv::OpTypeVector, {element, static_cast<uint32_t>(width)}); }
  Status find_vectors(const kir::Region& region);
  void load_wide(const kir::Inst& inst);
  void store_wide(const kir::Inst& inst);
  Id load(int buffer, kir::ValueId offset);
  void store(int buffer, kir::ValueId offset, Id value);

  // Instructions
  /// Constants are made when they are asked for: what folding left over is never.
  Id id(kir::ValueId v) {
    Id& made = ids_[static_cast<size_t>(v)];
    if (const kir::Inst* c = constant(v); made == 0 && c != nullptr) made = narrow(v) ? o_.int_const(32, c->constant.i) : o_.constant(c->dtype, c->constant);
    return made;
  }
  /// The instruction of a constant, else null.
  const kir::Inst* constant(kir::ValueId v) const { return constants_[static_cast<size_t>(v)]; }
  bool narrow(kir::ValueId v) const { return narrow_[static_cast<size_t>(v)] != 0; }
  /// An operand at the width of its dtype.
  Id operand(const kir::Inst& inst, size_t i) { return wide(inst.operands[i]); }
  Id wide(kir::ValueId v) {
    if (!narrow(v)) return id(v);
    const kir::Inst* c = constant(v);
    return c != nullptr ? o_.int_const(64, c->constant.i) : o_.sign_extend(id(v), 32);
  }
  /// A loop's bound, at the width of its counter.
  Id bound(const kir::Inst& loop, size_t i) { return narrow(loop.regions[0].args[0]) ? id(loop.operands[i]) : operand(loop, i); }
  std::vector<Id> wide(std::span<const kir::ValueId> values) {
    std::vector<Id> ids;
    for (kir::ValueId v : values) ids.push_back(wide(v));
    return ids;
  }
  DType operand_dtype(const kir::Inst& inst, size_t i) const { return kernel_.dtype(inst.operands[i]); }
  void define(const kir::Inst& inst, Id value) { ids_[static_cast<size_t>(inst.results[0])] = value; }
  /// Runs `then_body` where the condition holds.
  template <class Body>
  void when(Id condition, Body&& then_body) {
    const Id then_label = m_.new_id(), merge = m_.new_id();
    m_.op(spv::OpSelectionMerge, {merge, spv::SelectionControlMaskNone});
    m_.op(spv::OpBranchConditional, {condition, then_label, merge});
    m_.label(then_label);
    then_body();
    m_.op(spv::OpBranch, {merge});
    m_.label(merge);
  }
  Status emit_region(const kir::Region& region);
  Status emit_inst(const kir::Inst& inst);
  Status emit_op(const kir::Inst& inst);
  void emit_load(const kir::Inst& inst);
  void emit_store(const kir::Inst& inst);
  void emit_check(const kir::Inst& inst);
  /// The loop from `first`, its iterations `step` apart; `inits` are the carried values' first ones. Between two of its bodies, what one
  /// accesses is settled with `around`, what the next one does.
  Status emit_loop(const kir::Inst& inst, Id first, int64_t step, std::span<const Id> inits, std::vector<Id>& results, const Accesses* around);
  Status emit_for(const kir::Inst& inst);
  Status emit_if(const kir::Inst& inst);

  // Workgroups (emit_lanes.cpp)
  bool cooperative() const { return kernel_.lanes > 1; }
  /// Executed by all invocations alike.
  bool uniform() const { return cooperative() && !in_lanes_; }
  bool is_lane_loop(const kir::Inst& inst) const { return uniform() && inst.kind == kir::InstKind::kFor && inst.loop == kir::LoopKind::kVector; }
  Status emit_lane_loop(const kir::Inst& inst);
  bool one_trip(const kir::Inst& loop) const;
  Status emit_trip(const kir::Inst& loop, Id index, std::span<const Id> inits, std::vector<Id>& results);
  /// All invocations' values as one.
  Id reduce(kir::Combiner combiner, DType d, Id value);
  Id reduce_in_memory(ir::ScalarOp op, DType d, Id value);
  Id reduce_subgroups(ir::ScalarOp op, DType d, Id value);
  Id scratch_element(DType d, Id array, Id index);
  Accesses accesses_of(const kir::Inst& inst) const;
  void add_accesses(const kir::Inst& inst, Accesses& to) const;
  /// Before what makes these accesses: a barrier if any of them meets an earlier one.
  void settle(const Accesses& next);
  /// Settles a load or store that all execute alike, and remembers it.
  void note(const kir::Inst& access);
  void barrier();

  // Matrix units (emit_matrices.cpp)
  struct Block {
    Id row = 0, column = 0;
  };
  void declare_matrices();
  void find_blocks();
  Id matrix_type(DType d, int64_t rows, int64_t columns, uint32_t use);
  Id matrix_element(const kir::TileAccess& access, Id offset, Id r, int64_t i, Id c, int64_t j);
  Id element_of(const kir::TileAccess& access, Id offset, Id row, Id column);
  Id place(const kir::TileAccess& access, Id offset, Id row, Id column);
  Id matrix_stride(const kir::TileAccess& access);
  Id load_matrix(Id type, const kir::TileAccess& access, Id pointer);
  Id in_32_bits(kir::ValueId v);
  void emit_tile(const kir::Inst& inst);
  void multiply(const kir::Inst& inst, const MatrixTile& t, Id type);
  void store_elements(const kir::Inst& inst, const MatrixTile& t, Id type);
  /// Operands of a load or store of shared memory, with what the memory model wants.
  Operands shared(Operands operands) const {
    if (matrices_) operands.push_back(kNonPrivatePointer);
    return operands;
  }

  const kir::Kernel& kernel_;
  const EmitOptions& options_;
  const std::optional<MatrixTiles> matrices_;
  std::vector<std::vector<Id>> fragments_;  // by buffer: variables
  std::vector<Block> blocks_;
  Module m_;
  Ops o_;
  Id exit_ = 0, error_address_ = 0, push_ = 0;
  Id lane_ = 0;                     // of this invocation, 32 bits
  std::vector<char> narrow_;        // by value
  bool in_lanes_ = false;
  Accesses pending_;                // since the last barrier
  int64_t shared_bytes_ = 0;
  std::vector<Id> interface_;
  std::vector<std::pair<Id, Id>> scratch_;  // element type, array
  Id subgroup_ = 0, subgroup_lane_ = 0;     // built-in variables
  std::vector<Id> ids_, buffers_, dims_;
  std::vector<const kir::Inst*> constants_;         // by value
  std::vector<std::vector<Id>> elements_;           // by buffer of an invocation's own, by constant offset: pointers; 0: not yet made
  std::vector<int> vectors_;        // by buffer: 2 or 4 where an array in shared memory is of vectors, for accesses of so many elements
};

}  // namespace tenon::codegen::spirv
