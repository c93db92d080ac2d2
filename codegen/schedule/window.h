#pragma once

#include <span>
#include <vector>

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

/// A reduction with flat load offsets and merged axes: `axes` of the output (first `outer` ones), then those reduced over.
struct Window {
  Stage stage;
  ir::Expr value, post;
  std::vector<ir::Dim> axes;
  size_t outer = 0;
  bool fma = false;           // the value is a product that is added in one operation

  ir::Dim extent(int axis) const { return axes[static_cast<size_t>(axis)]; }
  std::vector<ir::Dim> outer_axes() const { return {axes.begin(), axes.begin() + static_cast<int64_t>(outer)}; }
  ir::Dim trips() const { return ir::product(std::span(axes).subspan(outer)); }
};
Window prepare_window(Lowering& lowering, int stage);

/// The sum (or other combination) `acc` with one more value.
kir::ValueId accumulate(Emitter& em, const Window& w, kir::ValueId acc, ir::Expr value);

/// Register tiles of a window that slides along one output axis (columns) while another one (lanes) lies along memory in
/// every load: channels-last depthwise convolution and pooling with lanes of channels; row-major ones with lanes along rows of
/// pixels and tiles of several rows. All columns of a tile share what they load. Guards that rows or columns of pixels decide
/// split the loops into an interior without guards and borders. Refuses with the reason; appends nothing then.
Status schedule_window_tile(Lowering& lowering, int stage);

}  // namespace tenon::codegen
