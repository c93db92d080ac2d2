#include "eval/statistics.h"

#include <algorithm>
#include <numeric>
#include <random>

namespace tenon::eval {

double quantile(std::vector<double> values, double p) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double at = p * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (at - static_cast<double>(low)) * (values[high] - values[low]);
}

Summary summarize(const std::vector<double>& values) {
  if (values.empty()) return {};
  return {quantile(values, 0.1), quantile(values, 0.5), quantile(values, 0.9),
          std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size()),
          *std::min_element(values.begin(), values.end())};
}

namespace {

double ratio_of(std::span<const std::vector<double>> base, std::span<const std::vector<double>> other, std::span<const size_t> rounds) {
  std::vector<double> a, b;
  for (size_t r : rounds) {
    a.insert(a.end(), base[r].begin(), base[r].end());
    b.insert(b.end(), other[r].begin(), other[r].end());
  }
  const double divisor = quantile(std::move(b), 0.5);
  return divisor > 0 ? quantile(std::move(a), 0.5) / divisor : 1;
}

}  // namespace

Ratio ratio_of_medians(std::span<const std::vector<double>> base, std::span<const std::vector<double>> other) {
  const size_t rounds = std::min(base.size(), other.size());
  if (rounds == 0) return {};
  std::vector<size_t> picked(rounds);
  std::iota(picked.begin(), picked.end(), size_t{0});
  Ratio out;
  out.median = ratio_of(base, other, picked);
  constexpr int kResamples = 1000;
  std::mt19937_64 random(1);
  std::vector<double> resampled;
  for (int i = 0; i < kResamples; ++i) {
    for (size_t& r : picked) r = static_cast<size_t>(random() % rounds);
    resampled.push_back(ratio_of(base, other, picked));
  }
  out.low = quantile(resampled, 0.025);
  out.high = quantile(resampled, 0.975);
  return out;
}

}  // namespace tenon::eval
