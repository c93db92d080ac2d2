#pragma once

#include <span>
#include <vector>

namespace tenon::eval {

/// The p-quantile, 0 <= p <= 1, linear between the two nearest of the sorted values (Hyndman and Fan 1996, type 7). 0 when empty.
double quantile(std::vector<double> values, double p);

struct Summary {
  double p10 = 0, p50 = 0, p90 = 0, mean = 0, min = 0;
};
Summary summarize(const std::vector<double>& values);

struct Ratio {
  double median = 1, low = 1, high = 1;
};
/// Median of `base` over median of `other`, both given as rounds of samples taken in turn, with a 95 % interval from a bootstrap over
/// rounds: pairs of rounds are drawn with replacement, so that what slowed a whole round slows both. Above 1, `other` is faster.
Ratio ratio_of_medians(std::span<const std::vector<double>> base, std::span<const std::vector<double>> other);

}  // namespace tenon::eval
