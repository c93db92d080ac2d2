#pragma once

#include <optional>
#include <vector>

#include "ir/graph.h"
#include "passes/axis_order.h"

namespace tenon::passes {

/// How a node reads one input, as far as the order of axes in memory goes.
struct LayoutAccess {
  enum class Kind : uint8_t {
    kUnread,    // only its shape or contents matter, or it is a scalar
    kMapped,    // by `to`: reading is best in the order that corresponds to an output's
    kFactor,    // the images of a convolution: one scalar serves a vector of results, in whatever order they lie
    kRowMajor,  // anything else
  } kind = Kind::kUnread;
  size_t output = 0;  // to which `to` leads
  AxisMap to;
};

/// A product with weights whose results are best stored with the weights' axes innermost: then they run in lanes. This is so for
/// convolutions of any rank, depthwise and transposed ones included.
struct LayoutAnchor {
  size_t output = 0;
  Order order;             // of that output, channels last
  ir::Dim channels = 1;    // extent of the weights' axes
  ir::Dim terms = 1;       // products in each sum
  bool shared = true;      // one scalar of the images serves several channels; not so in depthwise convolutions
  int64_t skipped = 1;     // of so many products one counts, where a stride interleaves sums of different taps (transposed convolutions) …
  int64_t interleaved = 1; // … and so many pixels along the innermost axis have different taps
  int weights = -1;        // the input that they are, where they are one constant, and the order with the channels innermost
  Order weights_order;
  int image = -1;          // the input whose elements are multiplied by them, where it is one, shared, and read by one load; and
  Order image_order;       // the order with what the sums run over, but for windows, innermost
};

/// What a layout pass needs to know of a node, all from bodies.
struct LayoutFlow {
  bool generated = false;  // one kernel or several will compute it, in any order of axes; else its values must be row-major
  bool pinned = false;     // … but its results are best row-major, whatever others prefer
  bool moves = false;      // one element read for each written, nothing computed
  std::vector<LayoutAccess> inputs;
  std::optional<LayoutAnchor> anchor;
};
LayoutFlow layout_flow(const ir::Node& node);

/// Gives the values inside a fused node the orders that those outside have.
void order_region(ir::Node& fused);

}  // namespace tenon::passes
