#include "runtime/arena.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <map>
#include <numeric>

#include "support/checked.h"

namespace tenon::runtime {
namespace {

struct Placed {
  size_t begin, end;
  int32_t first, last;
};

/// Neighbours in time that a search for a gap looks at. Beyond, a buffer goes above all of them.
constexpr size_t kMaxNeighbours = 1024;

/// Placed buffers by the steps in which they live. A segment tree: each buffer is listed at the nodes whose steps it covers
/// wholly, so those alive at one step are the lists on one path; `top` is the highest end below a node.
class Timeline {
 public:
  explicit Timeline(int32_t steps) : leaves_(std::bit_ceil(static_cast<size_t>(std::max(steps, 1)))), nodes_(2 * leaves_) {}

  void add(const Placed& placed) {
    const auto index = static_cast<uint32_t>(placed_.size());
    placed_.push_back(placed);
    starts_[placed.first].push_back(index);
    cover(1, 0, leaves_, static_cast<size_t>(placed.first), static_cast<size_t>(placed.last) + 1, index);
  }

  /// Those alive at the same time, false when there are too many to say.
  bool neighbours(int32_t first, int32_t last, std::vector<Placed>& out) const {
    const auto add = [&](const std::vector<uint32_t>& indices) {
      if (out.size() + indices.size() > kMaxNeighbours) return false;
      for (uint32_t i : indices) out.push_back(placed_[i]);
      return true;
    };
    out.clear();
    for (size_t node = leaves_ + static_cast<size_t>(first); node > 0; node /= 2)
      if (!add(nodes_[node].covered)) return false;
    for (auto it = starts_.upper_bound(first); it != starts_.end() && it->first <= last; ++it)
      if (!add(it->second)) return false;
    return true;
  }

  /// The highest end of those alive at the same time.
  size_t top(int32_t first, int32_t last) const {
    return top(1, 0, leaves_, static_cast<size_t>(first), static_cast<size_t>(last) + 1);
  }

 private:
  struct Node {
    std::vector<uint32_t> covered;
    size_t covered_top = 0, top = 0;
  };

  void cover(size_t node, size_t begin, size_t end, size_t first, size_t last, uint32_t index) {
    if (last <= begin || end <= first) return;
    Node& n = nodes_[node];
    n.top = std::max(n.top, placed_[index].end);
    if (first <= begin && end <= last) {
      n.covered.push_back(index);
      n.covered_top = std::max(n.covered_top, placed_[index].end);
      return;
    }
    const size_t middle = begin + (end - begin) / 2;
    cover(2 * node, begin, middle, first, last, index);
    cover(2 * node + 1, middle, end, first, last, index);
  }

  size_t top(size_t node, size_t begin, size_t end, size_t first, size_t last) const {
    if (last <= begin || end <= first) return 0;
    const Node& n = nodes_[node];
    if (first <= begin && end <= last) return n.top;
    const size_t middle = begin + (end - begin) / 2;
    return std::max({n.covered_top, top(2 * node, begin, middle, first, last), top(2 * node + 1, middle, end, first, last)});
  }

  size_t leaves_;
  std::vector<Node> nodes_;
  std::vector<Placed> placed_;
  std::map<int32_t, std::vector<uint32_t>> starts_;
};

/// The offset of the tightest gap of at least `bytes` among `busy`; past all when there is none.
size_t best_gap(std::vector<Placed>& busy, size_t bytes) {
  std::sort(busy.begin(), busy.end(), [](const Placed& a, const Placed& b) { return a.begin < b.begin; });
  size_t cursor = 0, best = 0, best_size = std::numeric_limits<size_t>::max();
  bool found = false;
  for (const Placed& p : busy) {
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

/// More requests than this are placed in one order only.
constexpr size_t kMaxRequestsToReorder = 4096;

/// A request in numbered steps, its size a multiple of the alignment.
struct Block {
  size_t bytes = 0;
  int32_t first = 0, last = 0;
};

/// Only the order of the steps counts. A request that ends before it begins lives in its first step.
Result<std::vector<Block>> number(std::span<const ArenaRequest> requests, int32_t& steps) {
  std::vector<int32_t> used;
  for (const ArenaRequest& request : requests) {
    if (request.bytes == 0) continue;
    used.push_back(request.first);
    used.push_back(std::max(request.first, request.last));
  }
  std::sort(used.begin(), used.end());
  used.erase(std::unique(used.begin(), used.end()), used.end());
  const auto place_of = [&](int32_t step) {
    return static_cast<int32_t>(std::lower_bound(used.begin(), used.end(), step) - used.begin());
  };
  steps = static_cast<int32_t>(used.size());
  std::vector<Block> blocks(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    const ArenaRequest& request = requests[i];
    if (request.bytes == 0) continue;
    const auto padded = checked_add(request.bytes, kArenaAlignment - 1);
    if (!padded) return error(Code::kResourceExhausted, "a buffer of {} bytes does not fit in memory", request.bytes);
    blocks[i] = {*padded / kArenaAlignment * kArenaAlignment, place_of(request.first), place_of(std::max(request.last, request.first))};
  }
  return blocks;
}

/// Bytes alive at each step; kResourceExhausted when they do not fit size_t.
Result<std::vector<size_t>> alive(std::span<const Block> blocks, int32_t steps) {
  std::vector<size_t> begin(static_cast<size_t>(steps) + 1, 0), end(static_cast<size_t>(steps) + 1, 0);
  for (const Block& block : blocks) {
    const auto sum = checked_add(begin[static_cast<size_t>(block.first)], block.bytes);
    if (!sum) return error(Code::kResourceExhausted, "buffers of more than 2^64 bytes are wanted");
    begin[static_cast<size_t>(block.first)] = *sum;
    end[static_cast<size_t>(block.last) + 1] += block.bytes;
  }
  std::vector<size_t> out(static_cast<size_t>(steps), 0);
  size_t now = 0;
  for (size_t s = 0; s < out.size(); ++s) {
    const auto sum = checked_add(now - end[s], begin[s]);
    if (!sum) return error(Code::kResourceExhausted, "buffers of more than 2^64 bytes are wanted");
    out[s] = now = *sum;
  }
  return out;
}

using Order = std::vector<uint32_t>;

Order by_size(std::span<const Block> blocks) {
  Order order(blocks.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return blocks[a].bytes > blocks[b].bytes; });
  return order;
}

Order by_area(std::span<const Block> blocks) {
  Order order = by_size(blocks);
  const auto area = [&](uint32_t i) { return static_cast<double>(blocks[i].bytes) * (blocks[i].last - blocks[i].first + 1); };
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return area(a) > area(b); });
  return order;
}

Order by_start(std::span<const Block> blocks) {
  Order order = by_size(blocks);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return blocks[a].first < blocks[b].first; });
  return order;
}

/// The most that is alive at any step of a block, most first.
Order by_breadth(std::span<const Block> blocks, const std::vector<size_t>& alive) {
  std::vector<size_t> breadth(blocks.size(), 0);
  for (size_t i = 0; i < blocks.size(); ++i)
    for (int32_t s = blocks[i].first; blocks[i].bytes > 0 && s <= blocks[i].last; ++s)
      breadth[i] = std::max(breadth[i], alive[static_cast<size_t>(s)]);
  Order order = by_size(blocks);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return breadth[a] > breadth[b]; });
  return order;
}

Result<ArenaLayout> place_in(const Order& order, std::span<const Block> blocks, int32_t steps) {
  ArenaLayout layout;
  layout.offsets.assign(blocks.size(), 0);
  Timeline timeline(steps);
  std::vector<Placed> busy;
  for (uint32_t index : order) {
    const auto& [bytes, first, last] = blocks[index];
    if (bytes == 0) continue;
    const size_t offset = timeline.neighbours(first, last, busy) ? best_gap(busy, bytes) : timeline.top(first, last);
    const auto top = checked_add(offset, bytes);
    if (!top) return error(Code::kResourceExhausted, "buffers of more than 2^64 bytes are wanted");
    layout.offsets[index] = offset;
    layout.bytes = std::max(layout.bytes, *top);
    timeline.add({offset, *top, first, last});
  }
  return layout;
}

}  // namespace

Result<ArenaLayout> place(std::span<const ArenaRequest> requests) {
  int32_t steps = 0;
  TENON_ASSIGN_OR_RETURN(const std::vector<Block> blocks, number(requests, steps));
  TENON_ASSIGN_OR_RETURN(const std::vector<size_t> at_step, alive(blocks, steps));
  const size_t bound = at_step.empty() ? 0 : *std::max_element(at_step.begin(), at_step.end());
  TENON_ASSIGN_OR_RETURN(ArenaLayout best, place_in(by_size(blocks), blocks, steps));
  const auto orders = {+[](std::span<const Block> b, const std::vector<size_t>& a) { return by_breadth(b, a); },
                       +[](std::span<const Block> b, const std::vector<size_t>&) { return by_area(b); },
                       +[](std::span<const Block> b, const std::vector<size_t>&) { return by_start(b); }};
  for (const auto order : orders) {
    if (best.bytes <= bound || requests.size() > kMaxRequestsToReorder) break;
    Result<ArenaLayout> other = place_in(order(blocks, at_step), blocks, steps);
    if (other.ok() && other->bytes < best.bytes) best = std::move(*other);
  }
  best.bound = bound;
  return best;
}

}  // namespace tenon::runtime
