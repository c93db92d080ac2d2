#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include "eval/statistics.h"

namespace tenon::eval {
namespace {

// Table of the t distribution, two-sided 95 % (NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.6.7.2).
TEST(BenchStatistics, StudentTAgreesWithTheTable) {
  const std::pair<size_t, double> kTable[] = {{1, 12.706}, {2, 4.303}, {3, 3.182}, {4, 2.776}, {5, 2.571}, {9, 2.262}, {19, 2.093}, {30, 2.042}, {100, 1.984}};
  for (const auto& [degrees, t] : kTable) EXPECT_NEAR(student_t_975(degrees), t, 0.0006) << degrees;
}

// Hesterberg 2015, section 5.3: for n = 5 the expanded interval takes the quantiles at about 0.001 and 0.999.
TEST(BenchStatistics, FewLaunchesWidenTheInterval) {
  EXPECT_NEAR(expanded_tail(5), 0.00096, 0.0001);
  EXPECT_NEAR(expanded_tail(10), 0.0086, 0.0005);
  EXPECT_NEAR(expanded_tail(1000), 0.025, 0.0005);
}

TEST(BenchStatistics, QuantilesAreThoseOfType7) {
  EXPECT_EQ(quantile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_EQ(quantile({1, 2, 3, 4, 5}, 0.9), 4.6);
  EXPECT_EQ(quantile({}, 0.5), 0);
}

TEST(BenchStatistics, SummaryHasQuantiles) {
  std::vector<double> values;
  for (int i = 200; i >= 0; --i) values.push_back(i);
  const Summary s = summarize(values);
  EXPECT_EQ(s.p10, 20);
  EXPECT_EQ(s.p50, 100);
  EXPECT_EQ(s.p90, 180);
  EXPECT_EQ(s.p99, 198);
  EXPECT_EQ(s.mean, 100);
  EXPECT_EQ(s.min, 0);
  ASSERT_EQ(s.quantiles.size(), 101u);
  EXPECT_EQ(s.quantiles[25], 50);
  EXPECT_EQ(s.quantiles.back(), 200);
}

/// Launches of rounds of samples around `center`: each launch and each round is off by a normal share of its own.
Launches simulate(std::mt19937_64& random, double center, double launch_sigma, double round_sigma, int launches, int rounds) {
  std::normal_distribution<double> normal;
  Launches out;
  for (int l = 0; l < launches; ++l) {
    const double launch = center * std::exp(launch_sigma * normal(random));
    out.emplace_back();
    for (int r = 0; r < rounds; ++r) {
      out.back().emplace_back();
      const double round = launch * std::exp(round_sigma * normal(random));
      for (int s = 0; s < 5; ++s) out.back().back().push_back(round * std::exp(0.01 * normal(random)));
    }
  }
  return out;
}

TEST(BenchStatistics, IntervalsCoverTheTruthWhateverTheNumberOfLaunches) {
  constexpr int kTries = 100;
  for (int launches = 1; launches <= 6; ++launches) {
    std::mt19937_64 random(3);
    int ratio_covered = 0, median_covered = 0;
    // What differs between launches cannot be seen in one.
    const double launch_sigma = launches == 1 ? 0 : 0.03;
    for (int i = 0; i < kTries; ++i) {
      const Launches a = simulate(random, 3, launch_sigma, 0.02, launches, 4), b = simulate(random, 2, launch_sigma, 0.02, launches, 4);
      const Ratio ratio = ratio_of_medians(a, b), own = median_interval(a);
      EXPECT_LE(ratio.low, ratio.median);
      EXPECT_GE(ratio.high, ratio.median);
      ratio_covered += ratio.low <= 1.5 && 1.5 <= ratio.high;
      median_covered += own.low <= 3 && 3 <= own.high;
    }
    // Of 100 tries at 95 %, fewer than 87 happen about once in 1,000.
    EXPECT_GE(ratio_covered, 87) << launches;
    EXPECT_GE(median_covered, 87) << launches;
  }
}

TEST(BenchStatistics, WhatSlowsARoundOfBothLeavesTheRatio) {
  Launches a(1), b(1);
  for (int r = 0; r < 20; ++r) {
    const double slow = r % 4 == 0 ? 3 : 1 + 0.1 * r;
    a[0].push_back({2 * slow, 2 * slow});
    b[0].push_back({slow, slow});
  }
  const Ratio ratio = ratio_of_medians(a, b);
  EXPECT_DOUBLE_EQ(ratio.median, 2);
  EXPECT_DOUBLE_EQ(ratio.low, 2);
  EXPECT_DOUBLE_EQ(ratio.high, 2);
}

TEST(BenchStatistics, NothingToCompareIsOne) {
  EXPECT_EQ(ratio_of_medians({}, {}).median, 1);
  EXPECT_EQ(ratio_of_medians({{{1.0}}}, {}).median, 1);
  const Ratio single = ratio_of_medians({{{4.0}}}, {{{2.0}}});
  EXPECT_EQ(single.median, 2);
  EXPECT_FALSE(single.has_interval());
}

TEST(BenchStatistics, TrendIsKendallsTau) {
  EXPECT_EQ(trend(std::vector<double>{1, 2, 3, 4, 5}).tau, 1);
  EXPECT_EQ(trend(std::vector<double>{5, 4, 3, 2, 1}).tau, -1);
  EXPECT_NEAR(trend(std::vector<double>{1, 3, 2, 5, 4}).tau, 0.6, 1e-12);  // 8 concordant, 2 discordant of 10 pairs
  // S = 45 of ten rising values: z = 44 / sqrt(10 * 9 * 25 / 18) = 3.935, p = 8.3e-5.
  EXPECT_NEAR(trend(std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}).p, 8.3e-5, 1e-6);
  EXPECT_EQ(trend(std::vector<double>{1, 2}).p, 1);
}

}  // namespace
}  // namespace tenon::eval
