#include "runtime/arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace tenon::runtime {
namespace {

TEST(Arena, BuffersAliveTogetherNeverOverlap) {
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<ArenaRequest> requests;
    size_t total = 0;
    for (int i = 0; i < 60; ++i) {
      const int32_t first = static_cast<int32_t>(random() % 100), last = first + static_cast<int32_t>(random() % 20);
      requests.push_back({random() % 5000, first, last});
      total += (requests.back().bytes + 63) / 64 * 64;
    }
    const auto layout = place(requests);
    ASSERT_TRUE(layout.ok());
    EXPECT_LT(layout->bytes, total) << "nothing was shared";
    for (size_t a = 0; a < requests.size(); ++a) {
      EXPECT_EQ(layout->offsets[a] % kArenaAlignment, 0u);
      EXPECT_LE(layout->offsets[a] + requests[a].bytes, layout->bytes);
      for (size_t b = 0; b < a; ++b) {
        const bool together = requests[a].first <= requests[b].last && requests[b].first <= requests[a].last;
        const bool overlap = layout->offsets[a] < layout->offsets[b] + requests[b].bytes &&
                             layout->offsets[b] < layout->offsets[a] + requests[a].bytes;
        EXPECT_FALSE(together && overlap && requests[a].bytes > 0 && requests[b].bytes > 0);
      }
    }
  }
}

TEST(Arena, AChainNeedsTwoBuffers) {
  std::vector<ArenaRequest> requests;
  for (int32_t i = 0; i < 10; ++i) requests.push_back({1000, i, i + 1});
  EXPECT_EQ(place(requests)->bytes, 2048u);
}

// The greedy choice by looking at everything, largest first.
ArenaLayout place_slowly(const std::vector<ArenaRequest>& requests) {
  std::vector<size_t> order(requests.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto padded = [&](size_t i) { return (requests[i].bytes + kArenaAlignment - 1) / kArenaAlignment; };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return padded(a) > padded(b); });
  ArenaLayout layout;
  layout.offsets.assign(requests.size(), 0);
  std::vector<size_t> placed;
  for (size_t index : order) {
    const ArenaRequest& r = requests[index];
    const size_t bytes = (r.bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
    if (bytes == 0) continue;
    std::vector<std::pair<size_t, size_t>> busy;
    for (size_t p : placed)
      if (requests[p].first <= r.last && r.first <= requests[p].last)
        busy.emplace_back(layout.offsets[p], layout.offsets[p] + (requests[p].bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment);
    std::sort(busy.begin(), busy.end());
    size_t cursor = 0, best = SIZE_MAX, best_size = SIZE_MAX;
    for (const auto& [begin, end] : busy) {
      if (begin >= cursor + bytes && begin - cursor < best_size) {
        best = cursor;
        best_size = begin - cursor;
      }
      cursor = std::max(cursor, end);
    }
    layout.offsets[index] = best_size == SIZE_MAX ? cursor : best;
    layout.bytes = std::max(layout.bytes, layout.offsets[index] + bytes);
    placed.push_back(index);
  }
  return layout;
}

size_t alive_at_most(const std::vector<ArenaRequest>& requests) {
  size_t most = 0;
  for (const ArenaRequest& at : requests) {
    size_t sum = 0;
    for (const ArenaRequest& r : requests)
      if (r.first <= at.first && at.first <= std::max(r.first, r.last)) sum += (r.bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
    most = std::max(most, at.bytes == 0 ? 0 : sum);
  }
  return most;
}

TEST(Arena, TakesNoMoreThanTheTightestGapsFromTheLargestOn) {
  std::mt19937 random(3);
  int better = 0;
  for (int round = 0; round < 100; ++round) {
    std::vector<ArenaRequest> requests;
    const int steps = 1 + static_cast<int>(random() % 70);
    for (int i = 0; i < 80; ++i) {
      const auto first = static_cast<int32_t>(random() % static_cast<unsigned>(steps)) - 1;
      requests.push_back({random() % 700, first, first + static_cast<int32_t>(random() % 12)});
    }
    const auto layout = place(requests);
    ASSERT_TRUE(layout.ok());
    const ArenaLayout expected = place_slowly(requests);
    EXPECT_LE(layout->bytes, expected.bytes);
    EXPECT_EQ(layout->bound, alive_at_most(requests));
    EXPECT_GE(layout->bytes, layout->bound);
    if (expected.bytes == layout->bound) {
      EXPECT_EQ(layout->offsets, expected.offsets);
    }
    better += layout->bytes < expected.bytes;
  }
  EXPECT_GT(better, 0);
}

// Comparing every pair would take 10^12 steps.
TEST(Arena, PlacesAMillionBuffers) {
  constexpr int32_t kCount = 1000000;
  std::vector<ArenaRequest> requests;
  for (int32_t i = 0; i < kCount; ++i) requests.push_back({100, i, i + 1});
  EXPECT_EQ(place(requests)->bytes, 256u);
  // All alive at once: nothing can be shared, and all of it is needed.
  for (int32_t i = 0; i < kCount; ++i) requests[static_cast<size_t>(i)] = {100, i, kCount};
  EXPECT_EQ(place(requests)->bytes, size_t{128} * kCount);
}

TEST(Arena, RefusesWhatCannotExist) {
  const std::vector<ArenaRequest> requests = {{SIZE_MAX - 100, 0, 1}, {SIZE_MAX - 100, 0, 1}};
  EXPECT_EQ(place(requests).status().code(), Code::kResourceExhausted);
}

}  // namespace
}  // namespace tenon::runtime
