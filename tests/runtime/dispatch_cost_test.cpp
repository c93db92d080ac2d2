#include "runtime/dispatch_cost.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace tenon::runtime {
namespace {

TEST(DispatchCost, ShortOnesGetOneThreadAndUnknownOnesAll) {
  EXPECT_EQ(threads_for({.grid = 1000, .work = 1000, .read = 4000, .written = 4000}, 8), 1);
  EXPECT_EQ(threads_for({.grid = 1000}, 8), 8);
  EXPECT_EQ(threads_for({.grid = 1000, .work = int64_t{1} << 40}, 8), 8);
  EXPECT_EQ(threads_for({.grid = 1, .work = int64_t{1} << 40}, 8), 1);
  EXPECT_EQ(threads_for({.grid = 1000}, 1), 1);
}

TEST(DispatchCost, BytesCountWhereThereAreFewOperations) {
  const DispatchCost copy{.grid = 1000, .work = 1 << 22, .read = size_t{1} << 24, .written = size_t{1} << 24};
  EXPECT_GT(predicted_ns(copy), predicted_ns({.grid = 1000, .work = 1 << 22}));
  EXPECT_GT(threads_for(copy, 8), threads_for({.grid = 1000, .work = 1 << 16}, 8));
}

// A gather of a few rows binds the whole table and reads little of it.
TEST(DispatchCost, NoMoreIsReadThanOperationsCanTouch) {
  const DispatchCost gather{.grid = 8, .work = 8 * 64, .read = size_t{1} << 30, .written = 8 * 64 * 4};
  EXPECT_EQ(threads_for(gather, 8), 1);
}

TEST(DispatchCost, HugeFiguresDoNotOverflow) {
  EXPECT_GT(predicted_ns({.grid = 1, .work = INT64_MAX, .read = SIZE_MAX, .written = SIZE_MAX}), 0);
  EXPECT_EQ(threads_for({.grid = INT64_MAX, .work = INT64_MAX, .read = SIZE_MAX, .written = SIZE_MAX}, 64), 64);
}

TEST(DispatchCost, WhatIsCalledMoreWorkNeverGetsFewerThreads) {
  int before = 1;
  for (int64_t work = 1; work < int64_t{1} << 40; work *= 2) {
    const int threads = threads_for({.grid = 1 << 20, .work = work, .read = static_cast<size_t>(work), .written = 64}, 16);
    EXPECT_GE(threads, before);
    before = threads;
  }
}

}  // namespace
}  // namespace tenon::runtime
