#pragma once

#include <algorithm>
#include <vector>

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

/// C[batch, m, n] = post(sum over k of A(batch, m, k) * B(batch, k, n)): a matrix product or convolution (as an implicit matrix
/// product) whose axes are sorted into batch, M (only in A), N (only in B, innermost in the output) and K. A register tile holds
/// tile_rows × tile_lanes sums; the blocking is that of Goto & van de Geijn, "Anatomy of High-Performance Matrix
/// Multiplication" (2008), with the panel of B in the L2 cache.
struct Contraction {
  ir::Expr a, b, post;              // over the batch axes and the flat axes m_axis, n_axis, k_axis
  std::vector<ir::Dim> axes;        // output axes (the first `outer`), then reduce axes
  std::vector<ir::Dim> extents;     // axes, then M, N, K
  size_t outer = 0;
  std::vector<int> batch_axes, m_axes, n_axes;
  int m_axis = 0, n_axis = 0, k_axis = 0;
  ir::Dim m, n, k;
  DType acc_dtype = DType::kInvalid;
  std::vector<int> k_axes;          // the loops over K: k_axis, or (wide) the reduce axes themselves
  /// Wide: N's two axes are a window's rows and columns over a padded image, whose rows are `pitch` apart. The flat N runs
  /// over whole image rows, so that B is read in place; the columns beyond the window's last are computed and dropped.
  bool wide = false;
  ir::Dim pitch;
  int padded = -1;                  // the stage made for the padded image
  int64_t tile_rows = 0, tile_lanes = 0, k_block = 0, m_block = 0;
  bool one_k_block = false;
  bool a_direct = false;            // A's scalars are read in place; else packed, rows of k_block
  bool b_contiguous = false;        // B's rows can be read in place; else, and for many rows of A, packed as k_block × tile_lanes
  int64_t direct_rows = 0;          // up to so many rows of A, packing does not pay
  bool fma = false;
  bool is_k(int axis) const { return std::find(k_axes.begin(), k_axes.end(), axis) != k_axes.end(); }
};

/// Writes the kernel: grid over batch, blocks of M and tiles of N.
class ContractionEmitter {
 public:
  ContractionEmitter(const Contraction& c, KernelWriter& writer, int output)
      : c_(c), em_(writer.emitter()), b_(writer.builder()), output_(output) {}
  void emit();

 private:
  void bind_grid();
  void whole_or_edge(const std::function<void(bool edge)>& body);
  void choose_direct(const std::function<void()>& body);
  void block_of_k(kir::ValueId k0, kir::ValueId k_count);
  void pack_b(kir::ValueId k0, kir::ValueId k_count);
  void pack_a(kir::ValueId k0, kir::ValueId k_count);
  void register_tile(kir::ValueId row, kir::ValueId k0, kir::ValueId k_count);
  void epilogue();
  void epilogue_row(kir::ValueId row, std::vector<kir::ValueId> index);
  void epilogue_row_wide(kir::ValueId row, std::vector<kir::ValueId> index);
  std::vector<kir::ValueId> over_k(size_t axis, kir::ValueId lo, kir::ValueId hi, std::span<const kir::ValueId> carried,
                                   const std::function<std::vector<kir::ValueId>(std::span<const kir::ValueId>)>& body);
  void split_a_offset(ir::Expr& base, ir::Expr& along_k);
  kir::ValueId multiply_add(kir::ValueId x, kir::ValueId y, kir::ValueId sum);
  kir::ValueId minimum(kir::ValueId x, kir::ValueId y) { return b_.op(ir::ScalarOp::kMin, {x, y}); }
  kir::ValueId zero() { return constant(b_, c_.acc_dtype, {}); }

  const Contraction& c_;
  Emitter& em_;
  kir::KernelBuilder& b_;
  int output_;
  int panel_ = -1, rows_of_a_ = -1, sums_ = -1;
  bool edge_ = false;               // emitting the code for a tile that N cuts off
  bool direct_ = false;             // emitting the code that reads B in place
  kir::ValueId m0_ = -1, n0_ = -1, m_count_ = -1, n_count_ = -1;
  std::vector<kir::ValueId> output_index_;  // by output axis; batch ones are set
};

}  // namespace tenon::codegen
