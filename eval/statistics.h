#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace tenon::eval {

/// The p-quantile, 0 <= p <= 1, linear between the two nearest of the sorted values (Hyndman and Fan 1996, type 7). 0 when empty.
double quantile(std::vector<double> values, double p);
double median(std::vector<double> values);

struct Summary {
  double p10 = 0, p50 = 0, p90 = 0, p99 = 0, mean = 0, min = 0;
  std::vector<double> quantiles;  // at 0, 1, … 100 %
};
Summary summarize(std::vector<double> values);

/// Samples of one subject: by launch of its process, by round.
using Launches = std::vector<std::vector<std::vector<double>>>;
std::vector<double> all_samples(const Launches& launches);
/// A median each.
std::vector<std::vector<double>> round_medians(const Launches& launches);

/// NaN for low and high: there is no interval, for want of rounds.
struct Ratio {
  double median = 1, low = std::numeric_limits<double>::quiet_NaN(), high = std::numeric_limits<double>::quiet_NaN();
  bool has_interval() const { return low == low; }
};
/// Median of `base` over median of `other`, two subjects that were launched together and took turns. Above 1, `other` is faster.
///
/// The 95 % interval is a bootstrap over launches, and within them over rounds, of the medians of rounds: pairs are drawn, so that
/// what slowed a whole round or launch slows both. Percentiles are those of the expanded percentile interval (Hesterberg 2015, What
/// Teachers Should Know About the Bootstrap, section 5.3). No percentile of two, three or four launches (or rounds of a single one) is
/// wide enough; there the interval is at least Student's t of their logarithms.
Ratio ratio_of_medians(const Launches& base, const Launches& other);

/// The median itself with its interval by the same bootstrap.
Ratio median_interval(const Launches& samples);

/// The share below which one of n values lies by a two-sided 95 % expanded percentile interval: Φ(-sqrt(n / (n - 1)) t(0.975, n - 1)).
double expanded_tail(size_t n);

/// Student's t distribution: the quantile 0.975 for so many degrees of freedom (Hill 1970, algorithm 396, exact for 1 and 2).
double student_t_975(size_t degrees);

/// Kendall's rank correlation with the order of the values, -1 … 1, and the two-sided p-value of its normal approximation (Mann 1945): a trend.
struct Trend {
  double tau = 0, p = 1;
};
Trend trend(std::span<const double> values);

}  // namespace tenon::eval
