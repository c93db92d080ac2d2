#pragma once

#include <optional>
#include <vector>

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

/// Operand numbers inside row reductions: what a row keeps between its passes, and the element that a map stores.
inline constexpr int kRowBuffer = kStageOperand - 64, kRowStore = kStageOperand - (1 << 16);

/// The least length of a row that a workgroup shares, and the fewest lanes of one.
inline constexpr int64_t kShortRowOfWorkgroup = 32;

/// One reduction of a row, or one of its scalars.
struct RowPass {
  int stage;
  ir::Expr value, post;
  bool full = false;                             // a reduction: value runs along the row
  std::vector<std::pair<int, ir::Expr>> keep;    // number of a row buffer, what to keep in it
};

/// A map along the row. Its element goes where `store`, a load, would read.
struct RowMap {
  int stage;
  ir::Expr value, store;
  bool holds = false;                            // its output has a kept value until the map itself is stored
  bool stored = false;                           // a pass has stored it
};

/// What a row keeps: in an array of its own, or in the output of a map of the row.
struct RowBuffer {
  DType dtype;
  int map = -1;                                  // index in Rows::maps; -1: an array
};

/// Stages over common rows: `axes` are the row's own axes (`outer` of them), then those along the row. Maps along the row
/// share one loop after the passes. Lanes run along the row, or, where that is not how memory lies (or rows are short), along
/// `lane_axis`, one of the row's own: each lane has a row then.
struct Rows {
  std::vector<RowPass> passes;
  std::vector<RowMap> maps;
  std::vector<ir::Dim> axes;
  size_t outer = 0;
  int lane_axis = -1;
  std::vector<RowBuffer> buffers;

  bool lanes_have_rows() const { return lane_axis >= 0; }
  std::vector<ir::Expr> values() const;
  std::vector<ir::Dim> outer_axes() const { return {axes.begin(), axes.begin() + static_cast<int64_t>(outer)}; }
  std::vector<ir::Dim> inner_axes() const { return {axes.begin() + static_cast<int64_t>(outer), axes.end()}; }
  ir::Dim length() const { return ir::product(inner_axes()); }
};

/// The common rows of reductions and of the maps around them, expressions flattened, lanes and buffers chosen. kUnsupported with
/// the reason when the stages share no rows, or when memory lies so that another schedule is better.
Result<Rows> match_rows(Lowering& lowering, std::span<const int> stages);
/// Has the first pass keep what later ones need and is dear; `rows` has its buffers then.
void choose_row_buffers(Lowering& lowering, Rows& rows);

/// Writes the passes of one row, or of a vector of rows.
class RowEmitter {
 public:
  RowEmitter(Lowering& lowering, const Rows& rows, KernelWriter& writer)
      : lowering_(lowering), rows_(rows), writer_(writer), em_(writer.emitter()), b_(writer.builder()) {}
  using Values = std::vector<kir::ValueId>;
  /// `index`: of the row's own axes, which are bound.
  void row(std::span<const kir::ValueId> index);
  /// How many rows `together` takes: several where each streams from memory and the processor's own prefetchers bring them.
  int64_t rows_together() const;
  /// Rows whose one reduction shares the loop along them, by their indices.
  void together(std::span<const Values> indices);

 private:
  void store_scalar(int stage, kir::ValueId value, std::span<const kir::ValueId> index);
  void store_maps();
  void bind_row(std::span<const kir::ValueId> index);
  void keep(const RowPass& p);
  Values along(size_t axis, std::span<const kir::ValueId> carried, const std::vector<ir::Combiner>& combiners,
               const std::function<Values(std::span<const kir::ValueId>)>& body);
  Values along_flat(std::span<const kir::ValueId> carried, const std::vector<ir::Combiner>& combiners,
                    const std::function<Values(std::span<const kir::ValueId>)>& body);
  /// Loads of `value` that stream through memory: of constants larger than a cache, another part for each row.
  std::vector<ir::Expr> streams(ir::Expr value) const;
  void ask_ahead(std::span<const ir::Expr> streamed);
  /// `sum` and one more value.
  kir::ValueId accumulate(ir::Combiner combiner, DType dtype, ir::Expr value, kir::ValueId sum);
  kir::ValueId reduce(const RowPass& p, ir::Combiner combiner, DType dtype, ir::Expr value);
  kir::ValueId arg_reduce(const RowPass& p, const Stage& s);
  /// Where row buffer `number` has the element at hand.
  ir::Expr position(const RowBuffer& buffer) const;

  Lowering& lowering_;
  const Rows& rows_;
  KernelWriter& writer_;
  Emitter& em_;
  kir::KernelBuilder& b_;
};

}  // namespace tenon::codegen
