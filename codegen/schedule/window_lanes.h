#pragma once

#include <utility>
#include <vector>

#include "codegen/schedule/window.h"

namespace tenon::codegen {

/// A window that slides, on a GPU (depthwise convolution, pooling): an invocation computes `count` neighbouring elements along one output
/// axis, whose windows overlap along a reduce axis. What their taps have in common is loaded once, and weights once for all of them: of
/// 3 × 3 taps, 4 columns load 18 elements and 9 weights where single ones would load 36 and 36. Neighbouring invocations have neighbouring
/// elements of the last axis, so that what they load lies side by side; rows that several of them read are in the L1 cache.
struct WindowLanes {
  Window w;
  int columns = -1;       // the output axis of which an invocation has several elements; not the last one
  int tap = -1;           // the reduce axis along which the columns slide, unrolled
  int64_t count = 1;      // the last tile of a row begins earlier, so that all are whole
};

/// Refuses with kUnsupported and the reason, having appended nothing: where nothing slides, extents are not known, or fewer invocations
/// would leave the device idle.
Status schedule_window_lanes(Lowering& lowering, int stage);

}  // namespace tenon::codegen
