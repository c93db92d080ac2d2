#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "support/status.h"

namespace tenon::runtime {

inline constexpr size_t kArenaAlignment = 64;

/// A buffer wanted from step `first` to step `last`, both included.
struct ArenaRequest {
  size_t bytes = 0;
  int32_t first = 0, last = 0;
};

struct ArenaLayout {
  std::vector<size_t> offsets;  // by request, multiples of kArenaAlignment
  size_t bytes = 0;
  size_t bound = 0;             // what is alive at one step at most: no layout takes less
};

/// Places buffers so that those alive at the same time never overlap, one after the other, each into the tightest gap left by
/// its neighbours in time: largest first, and where that takes more than the bound also by breadth, the steps at which most is
/// alive first (both from Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020), by size times
/// steps, and by first step; the smallest layout counts. A buffer with more than a thousand neighbours goes above all of them, so
/// that n requests take O(n log n) steps in the end. kResourceExhausted when the total does not fit size_t.
Result<ArenaLayout> place(std::span<const ArenaRequest> requests);

}  // namespace tenon::runtime
