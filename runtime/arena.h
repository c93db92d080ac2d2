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
};

/// Places buffers so that those alive at the same time never overlap: largest first, each into the tightest gap left by
/// its neighbours in time (greedy by size: Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference",
/// 2020). A buffer with more than a thousand neighbours goes above all of them, so that n requests take O(n log n) steps
/// in the end. kResourceExhausted when the total does not fit size_t.
Result<ArenaLayout> place(std::span<const ArenaRequest> requests);

}  // namespace tenon::runtime
