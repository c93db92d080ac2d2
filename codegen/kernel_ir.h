#pragma once

#include <array>
#include <functional>
#include <optional>
#include <span>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ir/compute.h"
#include "ir/scalar_op.h"
#include "support/dtype.h"
#include "support/short_list.h"
#include "support/status.h"

/// Kernel IR: what one dispatch computes, as structured loops over scalar SSA values. It is scalar and SPMD: a loop says
/// whether its iterations may run as vector lanes, and each emitter widens it for its target (LLVM: vectors of the CPU's
/// width; SPIR-V: one invocation an element). Loads and stores address flat, typed buffers.
///
/// A kernel is executed for every grid index g in [0, extent): the CPU runs chunks of the range on threads, a GPU one
/// invocation (or workgroup, see Kernel::lanes) each. Grid indices are independent: nothing that one writes may another
/// read or write, unless it is of a later round (see Kernel::round).
namespace tenon::kir {

using ir::Combiner;
using ir::Scalar;
using ir::ScalarOp;

enum class LoopKind : uint8_t {
  kSerial,
  kUnroll,   // constant trip count; the emitter unrolls it completely
  kVector,   // iterations independent (carried values combine): CPU lanes; serial where a target cannot widen it
};

enum class InstKind : uint8_t {
  kConst,    // result: `constant` of `dtype`
  kDim,      // result: i64 kernel dim number `index`
  kOp,       // result: `op`(operands)
  kCast,     // result: operand 0 converted to `dtype` (value conversion as ir::cast_scalar)
  kBitcast,  // result: operand 0's bits as `dtype` of the same width (f32 <-> i32 …)
  kLoad,     // result: buffer `index`[operand 0]; with 3 operands: [offset, mask, other], read only where mask holds
  kStore,    // buffer `index`[operand 0] = operand 1; with 3 operands the third is a mask
             // Of both, `width` of 2 or 4: so many elements side by side at once, as results or operands, at an offset that is a multiple
             // of it, in memory that is aligned to them. For GPUs
  kPrefetch, // a hint: buffer `index`[operand 0], which may lie outside, is read soon
  kFor,      // operands lo, hi, init…; region args iv, carried…; results the final carried values; step is `step`
  kIf,       // operand: bool condition (lanes may differ: then each side runs under its mask); regions then, else; results from their yields
  kCheck,    // operand: bool; where false the kernel fails with code `index` (see CheckCode) and goes on
  // What all lanes of a workgroup do together, outside of the loops in lanes; `index` is a buffer of kTile:
  kTileFill, // each element = operand 0
  kTileMma,  // T[r, c] = a(r, i) `op` b(i, c) added, for each i of `depth` in order; tiles[0], tiles[1]: a, b, whose values are
             // converted to T's dtype; operands: the offsets of a, b. op: kFma, kMul (rounded, then added), kDot4, kDot4Signed
  kTileStore,// `depth` rows of T, from row operand 1 on, go to tiles[0] at the offset operand 0
};

/// What a kernel's non-zero return value says.
enum CheckCode : int32_t { kCheckOk = 0, kCheckIndexOutOfRange = 1 };

using ValueId = int32_t;

/// A matrix in a buffer, whose element (r, c) lies at offset + r * stride + c; transposed: at offset + c * stride + r.
struct TileAccess {
  int32_t buffer = 0;
  int64_t stride = 0;
  bool transposed = false;
  bool operator==(const TileAccess&) const = default;
};

struct Inst;
/// Ends an instruction; its memory is the pool's.
struct InstEnd {
  void operator()(Inst* inst) const;
};
using InstPtr = std::unique_ptr<Inst, InstEnd>;

/// A straight list of instructions with block arguments and yielded values.
struct Region {
  std::vector<ValueId> args;
  std::vector<InstPtr> insts;
  std::vector<ValueId> yields;
};

struct Inst {
  InstKind kind = InstKind::kConst;
  ScalarOp op{};
  DType dtype = DType::kInvalid;     // kConst, kCast, kBitcast
  Scalar constant;                   // kConst
  int32_t index = 0;                 // kDim, kLoad, kStore, kPrefetch, kCheck
  LoopKind loop = LoopKind::kSerial; // kFor
  int32_t width = 0;                 // kFor kVector: lanes wanted; 0: the target's width for the widest dtype in the loop. kLoad, kStore: see there
  int64_t step = 1;                  // kFor, > 0
  std::vector<Combiner> combiners;   // kFor kVector with carried values: how lanes combine, one each (kAdd/kMul/kMin/kMax/kAnd/kOr)
  std::vector<TileAccess> tiles;     // kTileMma, kTileStore
  int64_t depth = 0;                 // kTileMma, kTileStore
  ShortList<ValueId, 4> operands;    // few of most, and an expansion has thousands of instructions
  ShortList<ValueId, 2> results;
  std::vector<Region> regions;
};

/// The memory of a kernel's instructions, of which there are thousands, in few blocks that go together.
class InstPool {
 public:
  InstPool() = default;
  InstPool(InstPool&& other) noexcept { *this = std::move(other); }
  /// Exchanges, so that instructions may go after what replaces their pool has come.
  InstPool& operator=(InstPool&& other) noexcept {
    blocks_.swap(other.blocks_);
    std::swap(left_, other.left_);
    return *this;
  }
  ~InstPool();
  InstPtr make();

 private:
  std::vector<Inst*> blocks_;
  size_t left_ = 0;  // of the last
};

/// Where a buffer lies. A GPU has kLocal in the memory that a workgroup shares where that executes a grid index.
enum class BufferSpace : uint8_t {
  kBinding,  // memory passed by the caller
  kLocal,    // private to a grid index: `count` elements, uninitialised
  kLane,     // private to a lane: `count` elements for each iteration of the loops in lanes, which run over [0, lanes) then
  kTile,     // a matrix of `count` elements in rows of `columns`, that the lanes hold together in registers: only tile instructions see it
};

struct BufferInfo {
  std::string name;
  DType dtype = DType::kInvalid;     // storage dtype; not packed, not string
  BufferSpace space = BufferSpace::kBinding;
  bool written = false;
  int64_t count = 0;                 // kLocal, kLane, kTile
  int64_t columns = 0;               // kTile
};

struct ValueInfo {
  DType dtype = DType::kInvalid;     // bool, i8…i64, u8…u64, f16, bf16, f32, f64; indices are i64
};

/// Bindings come first in `buffers`, in the order of the dispatch's buffer arguments. `body.args[0]` is the grid index.
struct Kernel {
  std::string name;                  // not part of the structural hash
  std::vector<BufferInfo> buffers;
  int num_dims = 0;                  // i64 parameters
  /// Not 0: the grid is a sequence of rounds of so many indices. Those of one round are independent; a round begins when the
  /// one before is done, on all threads. A range on one thread takes the indices of every other round backwards: what
  /// they read last is what the next round reads first, while it is still in the cache.
  int64_t round = 0;
  /// Not 1: invocations of a GPU that execute a grid index together. They share the iterations of its vector loops (the outermost ones:
  /// the loops in lanes) and execute all else alike, and each sees what all wrote before a loop in lanes began. A power of two.
  int lanes = 1;
  std::vector<ValueInfo> values;
  InstPool pool;                     // of the body's instructions
  Region body;

  DType dtype(ValueId v) const { return values[static_cast<size_t>(v)].dtype; }
  int num_bindings() const;
};

/// Appends instructions at the insertion point; folds constants and trivial identities on i64 and bool as it builds.
class KernelBuilder {
 public:
  explicit KernelBuilder(Kernel& kernel);
  Kernel& kernel() { return kernel_; }

  int add_binding(std::string name, DType dtype, bool written);   // before any local
  int add_local(std::string name, DType dtype, int64_t count, BufferSpace space = BufferSpace::kLocal);
  int add_tile(std::string name, DType dtype, int64_t rows, int64_t columns);
  ValueId grid_index() const { return kernel_.body.args[0]; }

  ValueId constant(DType dtype, double value);
  ValueId constant_int(DType dtype, int64_t value);
  ValueId i64(int64_t value) { return constant_int(DType::kI64, value); }
  ValueId dim(int index);
  ValueId op(ScalarOp op, std::initializer_list<ValueId> operands);
  ValueId op(ScalarOp op, std::span<const ValueId> operands);
  ValueId cast(ValueId value, DType to);
  ValueId bitcast(ValueId value, DType to);
  ValueId load(int buffer, ValueId offset);
  ValueId load_masked(int buffer, ValueId offset, ValueId mask, ValueId other);
  void store(int buffer, ValueId offset, ValueId value);
  void store_masked(int buffer, ValueId offset, ValueId value, ValueId mask);
  std::vector<ValueId> load_wide(int buffer, ValueId offset, int width);
  void store_wide(int buffer, ValueId offset, std::span<const ValueId> values);
  void prefetch(int buffer, ValueId offset);
  void check(ValueId condition, CheckCode code);
  void tile_fill(int tile, ValueId value);
  void tile_mma(int tile, ScalarOp op, TileAccess a, ValueId a_offset, TileAccess b, ValueId b_offset, int64_t depth);
  void tile_store(int tile, ValueId first_row, int64_t rows, TileAccess to, ValueId offset);
  // i64 shorthands
  ValueId add(ValueId a, ValueId b) { return op(ScalarOp::kAdd, {a, b}); }
  ValueId sub(ValueId a, ValueId b) { return op(ScalarOp::kSub, {a, b}); }
  ValueId mul(ValueId a, ValueId b) { return op(ScalarOp::kMul, {a, b}); }

  /// body(iv, carried) returns the yielded values; the result is the loop's results.
  std::vector<ValueId> loop(LoopKind kind, ValueId lo, ValueId hi, int64_t step, std::span<const ValueId> inits,
                            const std::function<std::vector<ValueId>(ValueId iv, std::span<const ValueId> carried)>& body,
                            std::vector<Combiner> combiners = {}, int width = 0);
  void loop(LoopKind kind, ValueId lo, ValueId hi, int64_t step, const std::function<void(ValueId iv)>& body, int width = 0);
  std::vector<ValueId> if_else(ValueId condition, const std::function<std::vector<ValueId>()>& then_body,
                               const std::function<std::vector<ValueId>()>& else_body);

  /// The value of a constant instruction, when `v` is one of integer dtype.
  std::optional<int64_t> as_constant(ValueId v) const;

 private:
  ValueId new_value(DType dtype);
  Inst& append(InstKind kind);
  Kernel& kernel_;
  Region* block_;
  std::vector<const Inst*> def_;  // by value id; null for block arguments
};

/// Checks every rule of the form: types, dominance, regions, bindings, constants. Names the instruction.
Status verify(const Kernel& kernel);

/// Text form (.kir); parse(print(k)) gives the same kernel.
std::string print(const Kernel& kernel);
Result<Kernel> parse(std::string_view text);

/// A deep copy.
Kernel clone(const Kernel& kernel);

/// Content hash of everything but the name.
uint64_t structural_hash(const Kernel& kernel);

/// Executes grid indices [begin, end) one lane at a time: the definition that emitters are tested against. Accesses are
/// bounds-checked against `sizes` (elements). Vector loops run in order with their combiners.
struct BufferView {
  void* data;
  int64_t size;  // elements
};
Status interpret(const Kernel& kernel, std::span<const BufferView> bindings, std::span<const int64_t> dims,
                 int64_t begin, int64_t end);

/// Replaces math functions (exp, log, tanh, erf, sigmoid, pow, sin, cos …) of floats by sequences of basic operations, with the
/// accuracy that codegen/math.h states; f16 and bf16 compute in f32. Basic operations that every emitter must have remain:
/// neg abs sqrt floor ceil round trunc add sub mul div fma min max select, comparisons, int and bool operations, cast, bitcast.
void expand_math(Kernel& kernel);

}  // namespace tenon::kir
