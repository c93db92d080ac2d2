#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "codegen/lower/emitter.h"
#include "codegen/lower/flatten.h"
#include "codegen/lower/group.h"
#include "codegen/lower/lower.h"

namespace tenon::codegen {

/// How far before its use memory that streams through once is asked for: about the latency of memory times its bandwidth.
inline constexpr int64_t kStreamAheadBytes = 4608;
inline constexpr int64_t kLineBytes = 64;  // of the caches

/// A group on its way to kernels: where its stages are stored, and the kernels made so far.
struct Lowering {
  Group group;
  const Target& target;
  LoweredOp out;
  std::vector<int> temporary_of;  // by stage; -1: none (yet)

  bool gpu() const { return target.kind == Target::Kind::kGpu; }
  Stage& stage(int s) { return group.stages[static_cast<size_t>(s)]; }
  /// The buffer that holds an operand or a stage's result; makes a temporary for a stage that is no output.
  BindingRef storage(int operand);
};

/// One kernel being written. Bindings are made for everything that `reads` loads, then for the stages `writes`.
class KernelWriter {
 public:
  KernelWriter(Lowering& lowering, std::string_view name, std::span<const ir::Expr> reads, std::span<const int> writes,
               std::span<const int> in_registers = {});
  Emitter& emitter() { return *emitter_; }
  kir::KernelBuilder& builder() { return emitter_->builder(); }
  int output(int stage) const;
  /// Appends the kernel to the lowered op.
  void finish(ir::Dim grid, ir::Dim work);

 private:
  Lowering& lowering_;
  std::unique_ptr<LoweredKernel> kernel_;
  std::unique_ptr<Emitter> emitter_;
  std::vector<std::pair<int, int>> outputs_;
};

/// Shapes of everything in memory, for flatten_loads.
std::function<const std::vector<ir::Dim>*(int)> shapes(const Lowering& lowering, std::vector<int> except = {});

/// The axis that runs in lanes: the innermost one, unless that is very short and another one is long.
size_t choose_lane_axis(const std::vector<ir::Dim>& axes);
/// Offset of the element `index` of a row-major tensor; the term of axis `last` is added last.
kir::ValueId row_major_offset(Emitter& em, const std::vector<ir::Dim>& axes, std::span<const kir::ValueId> index, size_t last);
/// Grid of a CPU over a tensor: blocks of `block` elements of a long row along `lane_axis`, or of several whole rows along one
/// of the other axes; what the latter share of `hoisted` is computed once. Binds the other axes and calls row(index by axis, lo,
/// hi), which runs the lane axis over [lo, hi). Returns the grid's extent.
ir::Dim emit_row_grid(Emitter& em, const std::vector<ir::Dim>& axes, size_t lane_axis, int64_t block,
                      const std::function<void(std::span<kir::ValueId> index, kir::ValueId lo, kir::ValueId hi)>& row,
                      std::span<const ir::Expr> hoisted = {});
/// The operation that combines two values; arg reductions have none.
kir::ScalarOp combine_op(ir::Combiner combiner);
/// A constant of any dtype; zero as an expression.
kir::ValueId constant(kir::KernelBuilder& b, DType dtype, ir::Scalar value);
ir::Expr constant_expr(ir::ExprPool& pool, DType dtype);
/// Row-major position among axes `first`, first + 1 … of these extents, as an expression.
ir::Expr row_major_position(ir::ExprPool& pool, std::span<const ir::Dim> extents, int first);

/// The schedules. Each appends kernels for the stages given, or refuses with kUnsupported and the reason, having appended nothing.
/// `stages` of a map have equal axes.
Status schedule_map(Lowering& lowering, std::span<const int> stages);
Status schedule_rows(Lowering& lowering, std::span<const int> stages);
Status schedule_contraction(Lowering& lowering, int stage);
/// A convolution of 3×3 taps by fewer products (winograd.h), where the target allows it and it is estimated to be faster.
Status schedule_winograd(Lowering& lowering, int stage);
/// The axis of a scan in order, the others in parallel.
Status schedule_scan(Lowering& lowering, int stage);
/// A loop over time (ONNX Scan): see recurrence.h. `lowering` has an empty group.
Status schedule_recurrence(Lowering& lowering, const ir::Node& scan);
/// A copy of what there is before, then the updates: in parallel along axes that lead to different elements, in order along the others.
Status schedule_scatter(Lowering& lowering, int stage);
/// A GPU has kernels for few rows and for many. Of rows whose number is a multiple of `few` that only a run knows, as a decoder's one and a
/// prompt's hundreds, both are made, and the grid of one is 0: the factors of theirs, 0 or 1.
struct RowsOfRun {
  ir::Dim few, many;
};
RowsOfRun rows_of_run(ir::Dim rows, int64_t few);
/// The product of the constants among `extents`: rows where symbols are 1. INT64_MAX: beyond 64 bits.
int64_t product_of_constants(std::span<const ir::Dim> extents);
/// Where a device would be idle with `workgroups` of a reduction's sums, and these are long (in several parts of at least `least`
/// elements): replaces the stage by one that reduces what a new stage makes, of which every element is the reduction of a part; those of one
/// element lie side by side (`parts_innermost`), or all of one part do. Returns the new stage's number, or -1. In which order elements
/// are combined depends on the shapes alone.
int split_reduction(Lowering& lowering, int stage, ir::Dim workgroups, int64_t least, bool parts_innermost);
/// Any reduction; never refuses what kernels can express.
Status schedule_window(Lowering& lowering, int stage);

}  // namespace tenon::codegen
