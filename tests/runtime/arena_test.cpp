#include "runtime/arena.h"

#include <gtest/gtest.h>

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

TEST(Arena, RefusesWhatCannotExist) {
  const std::vector<ArenaRequest> requests = {{SIZE_MAX - 100, 0, 1}, {SIZE_MAX - 100, 0, 1}};
  EXPECT_EQ(place(requests).status().code(), Code::kResourceExhausted);
}

}  // namespace
}  // namespace tenon::runtime
