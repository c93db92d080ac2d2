#include "eval/statistics.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>
#include <random>

namespace tenon::eval {
namespace {

double sorted_quantile(std::span<const double> sorted, double p) {
  if (sorted.empty()) return 0;
  const double at = p * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

double normal_below(double z) { return 0.5 * std::erfc(-z / std::numbers::sqrt2); }

/// A bootstrap sample: launches, and for each as many rounds as it has.
struct Draw {
  std::vector<size_t> launches;
  std::vector<std::vector<size_t>> rounds;
};

Draw everything(const std::vector<std::vector<double>>& medians) {
  Draw draw;
  for (size_t l = 0; l < medians.size(); ++l) {
    draw.launches.push_back(l);
    std::vector<size_t>& rounds = draw.rounds.emplace_back(medians[l].size());
    std::iota(rounds.begin(), rounds.end(), size_t{0});
  }
  return draw;
}

double median_of(const std::vector<std::vector<double>>& medians, const Draw& draw) {
  std::vector<double> values;
  for (size_t i = 0; i < draw.launches.size(); ++i)
    for (size_t r : draw.rounds[i]) values.push_back(medians[draw.launches[i]][r]);
  return median(std::move(values));
}

constexpr size_t kFewUnits = 5;  // from here on, percentiles cover as often as they should

/// Half of Student's interval of the mean of logarithms.
double student_half(std::span<const double> logs) {
  const double n = static_cast<double>(logs.size());
  const double mean = std::accumulate(logs.begin(), logs.end(), 0.0) / n;
  double squares = 0;
  for (double v : logs) squares += (v - mean) * (v - mean);
  return student_t_975(logs.size() - 1) * std::sqrt(squares / (n - 1) / n);
}

/// The statistic of each launch, or, when there is only one, of each of its rounds: what varies independently.
std::vector<double> unit_logs(const std::vector<std::vector<double>>& shape, const std::function<double(const Draw&)>& statistic) {
  std::vector<double> out;
  for (size_t l = 0; l < shape.size(); ++l) {
    std::vector<size_t> rounds(shape[l].size());
    std::iota(rounds.begin(), rounds.end(), size_t{0});
    if (shape.size() > 1) out.push_back(std::log(statistic({{l}, {rounds}})));
    else
      for (size_t r : rounds) out.push_back(std::log(statistic({{l}, {{r}}})));
  }
  return out;
}

/// `point` times the quantiles of statistic(draw) / statistic(everything).
Ratio bootstrap(double point, const std::vector<std::vector<double>>& shape, const std::function<double(const Draw&)>& statistic) {
  const bool several = shape.size() > 1;
  const size_t units = several ? shape.size() : shape.empty() ? 0 : shape[0].size();
  const double whole = statistic(everything(shape));
  if (units < 2 || !(whole > 0)) return {.median = point};
  constexpr int kResamples = 4000;
  std::mt19937_64 random(1);
  std::vector<double> relative;
  for (int i = 0; i < kResamples; ++i) {
    Draw draw;
    for (size_t l = 0; l < shape.size(); ++l) {
      const size_t from = several ? static_cast<size_t>(random() % shape.size()) : l;
      std::vector<size_t>& picked = draw.rounds.emplace_back(shape[from].size());
      draw.launches.push_back(from);
      for (size_t& r : picked) r = static_cast<size_t>(random() % shape[from].size());
    }
    relative.push_back(statistic(draw) / whole);
  }
  std::sort(relative.begin(), relative.end());
  const double tail = expanded_tail(units);
  Ratio out{point, point * std::min(1.0, sorted_quantile(relative, tail)), point * std::max(1.0, sorted_quantile(relative, 1 - tail))};
  if (units < kFewUnits) {
    const double half = student_half(unit_logs(shape, statistic));
    out.low = std::min(out.low, point * std::exp(-half));
    out.high = std::max(out.high, point * std::exp(half));
  }
  return out;
}

}  // namespace

double quantile(std::vector<double> values, double p) {
  std::sort(values.begin(), values.end());
  return sorted_quantile(values, p);
}

double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }

Summary summarize(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  Summary out{sorted_quantile(values, 0.1), sorted_quantile(values, 0.5), sorted_quantile(values, 0.9), sorted_quantile(values, 0.99),
              std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size()), values.front(), {}};
  for (int p = 0; p <= 100; ++p) out.quantiles.push_back(sorted_quantile(values, p / 100.0));
  return out;
}

std::vector<double> all_samples(const Launches& launches) {
  std::vector<double> out;
  for (const auto& launch : launches)
    for (const auto& round : launch) out.insert(out.end(), round.begin(), round.end());
  return out;
}

std::vector<std::vector<double>> round_medians(const Launches& launches) {
  std::vector<std::vector<double>> out;
  for (const auto& launch : launches) {
    out.emplace_back();
    for (const auto& round : launch) out.back().push_back(median(round));
  }
  return out;
}

Ratio ratio_of_medians(const Launches& base, const Launches& other) {
  std::vector<std::vector<double>> a = round_medians(base), b = round_medians(other);
  const size_t launches = std::min(a.size(), b.size());
  a.resize(launches);
  b.resize(launches);
  for (size_t l = 0; l < launches; ++l) {
    const size_t rounds = std::min(a[l].size(), b[l].size());
    a[l].resize(rounds);
    b[l].resize(rounds);
  }
  std::erase_if(a, [](const auto& launch) { return launch.empty(); });
  std::erase_if(b, [](const auto& launch) { return launch.empty(); });
  const double divisor = median(all_samples(other));
  if (a.empty() || divisor <= 0) return {};
  return bootstrap(median(all_samples(base)) / divisor, a, [&](const Draw& draw) {
    const double own = median_of(b, draw);
    return own > 0 ? median_of(a, draw) / own : 1;
  });
}

Ratio median_interval(const Launches& samples) {
  std::vector<std::vector<double>> medians = round_medians(samples);
  std::erase_if(medians, [](const auto& launch) { return launch.empty(); });
  return bootstrap(median(all_samples(samples)), medians, [&](const Draw& draw) { return median_of(medians, draw); });
}

double expanded_tail(size_t n) {
  if (n < 2) return 0;
  const double count = static_cast<double>(n);
  return normal_below(-std::sqrt(count / (count - 1)) * student_t_975(n - 1));
}

double student_t_975(size_t degrees) {
  constexpr double kTail = 0.05;  // both sides
  const double n = static_cast<double>(std::max<size_t>(degrees, 1));
  if (degrees <= 1) return std::cos(kTail * std::numbers::pi / 2) / std::sin(kTail * std::numbers::pi / 2);
  if (degrees == 2) return std::sqrt(2 / (kTail * (2 - kTail)) - 2);
  const double a = 1 / (n - 0.5), b = 48 / (a * a);
  double c = ((20700 * a / b - 98) * a - 16) * a + 96.36;
  const double d = ((94.5 / (b + c) - 3) / b + 1) * std::sqrt(a * std::numbers::pi / 2) * n;
  double x = d * kTail, y = std::pow(x, 2 / n);
  if (y > 0.05 + a) {
    x = -1.959963984540054;
    y = x * x;
    if (degrees < 5) c += 0.3 * (n - 4.5) * (x + 0.6);
    c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c;
    y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x;
    y = a * y * y;
    y = y > 0.002 ? std::expm1(y) : 0.5 * y * y + y;
  } else {
    y = ((1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)) * y - 1) * (n + 1) / (n + 2) + 1 / y;
  }
  return std::sqrt(n * y);
}

Trend trend(std::span<const double> values) {
  constexpr size_t kMost = 2000;  // pairs grow with the square
  if (values.size() > kMost) {
    std::vector<double> thinned;
    for (size_t i = 0; i < kMost; ++i) thinned.push_back(values[i * values.size() / kMost]);
    return trend(thinned);
  }
  const size_t n = values.size();
  if (n < 4) return {};
  int64_t sum = 0;
  for (size_t i = 0; i < n; ++i)
    for (size_t j = i + 1; j < n; ++j) sum += (values[j] > values[i]) - (values[j] < values[i]);
  const double count = static_cast<double>(n), s = static_cast<double>(sum);
  const double variance = count * (count - 1) * (2 * count + 5) / 18;
  const double z = s == 0 ? 0 : (s - (s > 0 ? 1 : -1)) / std::sqrt(variance);
  return {s / (count * (count - 1) / 2), 2 * normal_below(-std::abs(z))};
}

}  // namespace tenon::eval
