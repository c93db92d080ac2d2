#include "support/executor.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cfenv>
#include <chrono>
#include <mutex>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace tenon {
namespace {

using Range = std::pair<int64_t, int64_t>;

// The ranges that a call makes, in their order.
std::vector<Range> ranges_of(Executor& executor, int64_t n, int max_threads) {
  std::vector<Range> ranges;
  std::mutex mutex;
  executor.parallel_for(
      n,
      [&](int64_t begin, int64_t end, int) {
        const std::lock_guard lock(mutex);
        ranges.emplace_back(begin, end);
      },
      max_threads);
  std::sort(ranges.begin(), ranges.end());
  return ranges;
}

TEST(ThreadPool, PiecesAreNearlyEqualAndCoverTheRangeOnce) {
  ThreadPool pool(4);
  ASSERT_EQ(pool.num_threads(), 4);
  for (int64_t n : {1, 2, 3, 4, 5, 7, 8, 1000, 1001}) {
    for (int cap : {0, 1, 2, 3, 4, 9}) {
      const int64_t threads = std::min<int64_t>(n, cap == 0 || cap > 4 ? 4 : cap);
      const auto ranges = ranges_of(pool, n, cap);
      ASSERT_GE(static_cast<int64_t>(ranges.size()), threads);
      ASSERT_LE(ranges.size(), 16U);
      int64_t next = 0, least = n, most = 0;
      for (auto [begin, end] : ranges) {
        ASSERT_EQ(begin, next);
        least = std::min(least, end - begin);
        most = std::max(most, end - begin);
        next = end;
      }
      EXPECT_EQ(next, n);
      EXPECT_LE(most - least, 1);
    }
  }
}

TEST(ThreadPool, HugeRangesDoNotOverflow) {
  ThreadPool pool(3);
  const auto ranges = ranges_of(pool, INT64_MAX, 0);
  ASSERT_GE(ranges.size(), 3U);
  EXPECT_EQ(ranges.back().second, INT64_MAX);
}

// A thread that is held up keeps what it is at; the others do the rest meanwhile.
TEST(ThreadPool, WhatAHeldUpThreadLeavesIsDoneByOthers) {
  ThreadPool pool(2);
  std::atomic<int> done = 0;
  std::atomic<bool> held = false;
  pool.parallel_for(8, [&](int64_t begin, int64_t end, int) {
    ASSERT_EQ(end - begin, 1);
    if (!held.exchange(true)) {
      const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (done.load() < 7 && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
      EXPECT_EQ(done.load(), 7);
    }
    ++done;
  });
  EXPECT_EQ(done.load(), 8);
}

TEST(ThreadPool, NoTwoRangesOfOneWorkerOverlapInTime) {
  ThreadPool pool(4);
  std::array<std::atomic<int>, 4> inside{};
  for (int i = 0; i < 2000; ++i)
    pool.parallel_for(37, [&](int64_t, int64_t, int worker) {
      EXPECT_EQ(inside[static_cast<size_t>(worker)].fetch_add(1), 0);
      inside[static_cast<size_t>(worker)].fetch_sub(1);
    });
}

TEST(ThreadPool, EmptyAndNegativeRangesDoNothing) {
  ThreadPool pool(2);
  EXPECT_TRUE(ranges_of(pool, 0, 0).empty());
  EXPECT_TRUE(ranges_of(pool, -5, 0).empty());
}

TEST(ThreadPool, OneThreadRunsInline) {
  ThreadPool pool(1);
  EXPECT_EQ(pool.num_threads(), 1);
  const auto caller = std::this_thread::get_id();
  pool.parallel_for(100, [&](int64_t begin, int64_t end, int worker) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    EXPECT_EQ(begin, 0);
    EXPECT_EQ(end, 100);
    EXPECT_EQ(worker, 0);
  });
  EXPECT_EQ(ThreadPool(0).num_threads(), 1);
}

TEST(ThreadPool, WritesAreVisibleAfterEachOfManyCalls) {
  ThreadPool pool(4);
  std::vector<int64_t> data(1000, 0);
  for (int round = 0; round < 5000; ++round)
    pool.parallel_for(
        static_cast<int64_t>(data.size()),
        [&](int64_t begin, int64_t end, int) {
          for (int64_t i = begin; i < end; ++i) data[static_cast<size_t>(i)] += i;
        },
        round % 5);
  for (size_t i = 0; i < data.size(); ++i) ASSERT_EQ(data[i], static_cast<int64_t>(i) * 5000);
}

TEST(ThreadPool, WakesSleepingWorkers) {
  ThreadPool pool(3);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    EXPECT_EQ(ranges_of(pool, 3, 0).size(), 3u);
  }
}

TEST(ThreadPool, NestedCallsRunInline) {
  ThreadPool pool(4);
  std::atomic<int64_t> sum = 0;
  pool.parallel_for(8, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const auto outer = std::this_thread::get_id();
      pool.parallel_for(100, [&](int64_t b, int64_t e, int worker) {
        EXPECT_EQ(std::this_thread::get_id(), outer);
        EXPECT_EQ(worker, 0);
        sum += e - b;
      });
    }
  });
  EXPECT_EQ(sum, 800);
}

TEST(ThreadPool, ConcurrentCallersAllFinish) {
  ThreadPool pool(3);
  std::atomic<int64_t> sum = 0;
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c)
    callers.emplace_back([&] {
      for (int round = 0; round < 500; ++round)
        pool.parallel_for(30, [&](int64_t begin, int64_t end, int) { sum += end - begin; });
    });
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(sum, 4 * 500 * 30);
}

TEST(ThreadPool, WorkersFollowTheCallersRounding) {
  ThreadPool pool(3);
  const auto third = [] {
    volatile float one = 1, three = 3;
    return one / three;
  };
  const float nearest = third();
  for (int mode : {FE_DOWNWARD, FE_UPWARD, FE_TONEAREST}) {
    std::fesetround(mode);
    const float expected = third();
    pool.parallel_for(3, [&](int64_t, int64_t, int) { EXPECT_EQ(third(), expected); });
  }
  EXPECT_EQ(third(), nearest);
}

TEST(ThreadPool, IdleThreadsUseNoProcessorTime) {
  ThreadPool pool(4);
  pool.parallel_for(4, [](int64_t, int64_t, int) {});
  const auto cpu_seconds = [] {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec) + static_cast<double>(usage.ru_utime.tv_usec) * 1e-6;
  };
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(cpu_seconds() - before, 0.1);  // one spinning thread would use 0.3
}

TEST(ThreadPool, StartsAndStopsRepeatedly) {
  for (int i = 0; i < 50; ++i) {
    ThreadPool pool(1 + i % 4);
    if (i % 2) ranges_of(pool, 10, 0);
  }
}

TEST(InlineExecutor, RunsEverythingOnce) {
  InlineExecutor executor;
  EXPECT_EQ(ranges_of(executor, 10, 4), (std::vector<Range>{{0, 10}}));
  EXPECT_TRUE(ranges_of(executor, 0, 4).empty());
}

TEST(DefaultPool, IsOneAndWorks) {
  EXPECT_EQ(&default_pool(), &default_pool());
  EXPECT_GE(default_pool().num_threads(), 1);
  std::atomic<int64_t> sum = 0;
  default_pool().parallel_for(1000, [&](int64_t begin, int64_t end, int) { sum += end - begin; });
  EXPECT_EQ(sum, 1000);
}

}  // namespace
}  // namespace tenon
