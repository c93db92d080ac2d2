#include "runtime/arena.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "support/checked.h"

namespace tenon::runtime {
namespace {

struct Placed {
  size_t begin, end;
  int32_t first, last;
};

// The offset of the tightest gap of at least `bytes` among `busy`, which is sorted by begin; past all when there is none.
size_t best_gap(const std::vector<Placed>& placed, const ArenaRequest& request, size_t bytes) {
  size_t cursor = 0, best = 0, best_size = std::numeric_limits<size_t>::max();
  bool found = false;
  for (const Placed& p : placed) {
    if (p.last < request.first || p.first > request.last) continue;
    if (p.begin > cursor) {
      const size_t gap = p.begin - cursor;
      if (gap >= bytes && gap < best_size) {
        best = cursor;
        best_size = gap;
        found = true;
      }
    }
    cursor = std::max(cursor, p.end);
  }
  return found ? best : cursor;
}

}  // namespace

Result<ArenaLayout> place(std::span<const ArenaRequest> requests) {
  ArenaLayout layout;
  layout.offsets.assign(requests.size(), 0);
  std::vector<uint32_t> order(requests.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return requests[a].bytes > requests[b].bytes; });
  std::vector<Placed> placed;
  placed.reserve(requests.size());
  for (uint32_t index : order) {
    const ArenaRequest& request = requests[index];
    if (request.bytes == 0) continue;
    const auto padded = checked_add(request.bytes, kArenaAlignment - 1);
    if (!padded) return error(Code::kResourceExhausted, "a buffer of {} bytes does not fit in memory", request.bytes);
    const size_t bytes = *padded / kArenaAlignment * kArenaAlignment;
    const size_t offset = best_gap(placed, request, bytes);
    const auto end = checked_add(offset, bytes);
    if (!end) return error(Code::kResourceExhausted, "buffers of more than 2^64 bytes are wanted");
    layout.offsets[index] = offset;
    layout.bytes = std::max(layout.bytes, *end);
    const Placed entry{offset, *end, request.first, request.last};
    const auto at = std::upper_bound(placed.begin(), placed.end(), entry,
                                     [](const Placed& a, const Placed& b) { return a.begin < b.begin; });
    placed.insert(at, entry);
  }
  return layout;
}

}  // namespace tenon::runtime
