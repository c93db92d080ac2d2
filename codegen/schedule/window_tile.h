#pragma once

#include <optional>
#include <vector>

#include "codegen/schedule/window.h"

namespace tenon::codegen {

/// How a window becomes register tiles: see schedule_window_tile. Axes are numbered as in the window.
struct WindowTile {
  Window w;
  int lanes = -1;                     // output axis in lanes, of stride 1 (or not there) in every load
  int columns = -1;                   // output axis of which a tile takes `count`
  int tap = -1;                       // reduce axis along which the columns slide; unrolled
  int rows = -1;                      // output axis walked inside a grid index, so that what rows share stays in the L1 cache; -1: none
  std::vector<int> serial;            // the other reduce axes
  std::vector<int> others;            // the other output axes
  int64_t count = 1;
  int64_t lane_block = 0, row_block = 1, column_block = 0;  // of a grid index

  /// Conjuncts of the loads' guards, by what decides them. Others stay where they are.
  std::vector<int> column_guards;     // the column and reduce axes: hold for every tap in columns [lo, hi)
  std::vector<int> lane_guards;       // the lane and reduce axes: hold in lanes [lane_lo, lane_hi)
  std::vector<int> row_guards;        // what is known before the tile's taps: one branch; all guarded loads have them
  ir::Dim lo = 0, hi, lane_lo = 0, lane_hi;
  bool split_lanes = false;           // lanes long enough for an interior of their own

  ir::Dim extent(int axis) const { return w.extent(axis); }
};

/// Writes the kernel; returns the grid's extent.
class WindowTileEmitter {
 public:
  WindowTileEmitter(const WindowTile& t, KernelWriter& writer, int output)
      : t_(t), w_(t.w), em_(writer.emitter()), b_(writer.builder()), output_(output), algebra_(em_.pool(), t.w.axes) {}
  ir::Dim emit();

 private:
  /// The expressions of a tile: inside[column][tap], and outside where the row guards do not hold (empty without those).
  struct TileCode {
    std::vector<std::vector<ir::Expr>> inside, outside;
    ir::Expr row_inside;
    std::vector<ir::Expr> post, offset;  // by column
    bool border = false;                 // of few columns: short rather than fast
  };
  /// The guards that hold.
  struct Known {
    bool columns = false, lanes = false;
  };

  ir::Dim bind_grid();
  bool fixed_runs();
  void symbolic_runs();
  void tiles(kir::ValueId lo, kir::ValueId hi, int64_t count, Known known);
  // From here on, a tile begins at the column `first`, or at the bound one.
  void rows_of(std::optional<int64_t> first, int64_t count, Known known);
  void all_lanes(std::optional<int64_t> first, int64_t count, Known known);
  void lanes_of(std::optional<int64_t> first, int64_t count, Known known, kir::ValueId lo, kir::ValueId hi);
  std::vector<kir::ValueId> reduce(size_t depth, const TileCode& code, std::span<const kir::ValueId> sums);
  std::vector<kir::ValueId> taps(const std::vector<std::vector<ir::Expr>>& values, std::span<const kir::ValueId> sums);
  TileCode code_of(std::optional<int64_t> first, int64_t count, Known known);
  ir::Expr place(ir::Expr e, ir::Expr column, std::optional<int64_t> tap);
  ir::Expr ordered(Affine a);
  void hoist_offsets(const std::vector<std::vector<ir::Expr>>& values);
  kir::ValueId minimum(kir::ValueId x, kir::ValueId y) { return b_.op(ir::ScalarOp::kMin, {x, y}); }
  kir::ValueId maximum(kir::ValueId x, kir::ValueId y) { return b_.op(ir::ScalarOp::kMax, {x, y}); }

  const WindowTile& t_;
  const Window& w_;
  Emitter& em_;
  kir::KernelBuilder& b_;
  int output_;
  IndexAlgebra algebra_;
  kir::ValueId lane_lo_ = -1, lane_hi_ = -1, row_lo_ = -1, row_hi_ = -1, column_lo_ = -1, column_hi_ = -1;
  int64_t border_ = 0;             // columns of tiles at fixed places
  kir::ValueId whole_block_ = -1;  // the number of lanes, when all blocks have as many
};

}  // namespace tenon::codegen
