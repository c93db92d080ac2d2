#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>

#include "eval/metrics/scorers.h"

namespace tenon::eval {
namespace {

constexpr int kFewestResamples = 20;
constexpr int kFewestAsked = 100;                       // 2.5 % of fewer are hardly a sample
constexpr std::chrono::seconds kLongest{30};            // of one interval, where the estimate of its cost was too low

/// Calls `sample` as often as that, but no longer than kLongest once there are a few; how often it was called.
int repeat(int times, const std::function<void()>& sample) {
  const auto end = std::chrono::steady_clock::now() + kLongest;
  int done = 0;
  while (done < times && (done < kFewestResamples || std::chrono::steady_clock::now() < end)) {
    sample();
    ++done;
  }
  return done;
}

/// As many samples as were asked for and can be paid for.
int affordable(const Scorer& scorer, size_t records, const ScoreOptions& options) {
  const double each = scorer.cost() + 4 * static_cast<double>(records) + 1;
  return std::min(options.resamples, static_cast<int>(std::max<double>(kFewestResamples, std::min(options.max_cost / each, 1e9))));
}

/// A sample of `records` positions, with replacement; the same on every machine.
void draw(std::mt19937_64& random, std::vector<size_t>& sample) {
  const uint64_t n = sample.size();
  for (size_t& position : sample) position = static_cast<size_t>((random() >> 32) * n >> 32);  // n is below 2^32
}

std::vector<size_t> everything(size_t records) {
  std::vector<size_t> out(records);
  std::iota(out.begin(), out.end(), size_t{0});
  return out;
}

Status check(std::span<const Record> records, const ScoreOptions& options) {
  constexpr int kMaxResamples = 1'000'000;
  if (options.resamples != 0 && (options.resamples < kFewestAsked || options.resamples > kMaxResamples))
    return Status(Code::kInvalidArgument, fmt::format("{} resamples", options.resamples), {},
                  fmt::format("give {} to {}, or 0 for no intervals", kFewestAsked, kMaxResamples));
  if (records.size() > UINT32_MAX)
    return Status(Code::kResourceExhausted, fmt::format("{} records", records.size()), {}, "evaluate at most 2^32 - 1");
  return {};
}

/// Linear between the two nearest of the sorted values (Hyndman and Fan 1996, type 7); infinities stay what they are.
double percentile(const std::vector<double>& sorted, double p) {
  const double at = p * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  const double part = at - static_cast<double>(low);
  if (part == 0 || sorted[low] == sorted[high]) return sorted[low];
  return sorted[low] + part * (sorted[high] - sorted[low]);
}

/// The middle 95 % of the values that are numbers; NaN when none is.
std::pair<double, double> middle(std::vector<double> values) {
  std::erase_if(values, [](double v) { return std::isnan(v); });
  if (values.empty()) return {kUndefined, kUndefined};
  std::sort(values.begin(), values.end());
  return {percentile(values, 0.025), percentile(values, 0.975)};
}

/// kInvalidArgument unless both are of the same examples in the same order.
Status check_pairing(std::span<const Record> first, std::span<const Record> second) {
  if (first.size() != second.size())
    return Status(Code::kInvalidArgument, fmt::format("{} records against {}", first.size(), second.size()), {},
                  "compare results on the same examples");
  for (size_t i = 0; i < first.size(); ++i)
    if (first[i].index != second[i].index)
      return Status(Code::kInvalidArgument, fmt::format("{} stands against record {}", place_of(first[i]), second[i].index), {},
                    "compare results on the same examples, ordered by index");
  return {};
}

}  // namespace

Result<Score> score(const MetricInfo& metric, std::span<const Record> records, const ScoreOptions& options) {
  TENON_RETURN_IF_ERROR(check(records, options));
  TENON_ASSIGN_OR_RETURN(const std::unique_ptr<Scorer> scorer, metric.make(records, options.metric));
  Score out;
  std::vector<size_t> sample = everything(records.size());
  out.value = scorer->value(sample);
  out.low = out.high = kUndefined;
  out.details = scorer->details();
  if (options.resamples == 0 || std::isnan(out.value) || records.size() < 2) return out;
  out.resamples = affordable(*scorer, records.size(), options);
  std::mt19937_64 random(options.seed);
  std::vector<double> values;
  out.resamples = repeat(out.resamples, [&] {
    draw(random, sample);
    values.push_back(scorer->value(sample));
  });
  std::tie(out.low, out.high) = middle(std::move(values));
  return out;
}

Result<PairedDifference> paired_bootstrap(const MetricInfo& metric, std::span<const Record> first, std::span<const Record> second,
                                          const ScoreOptions& options) {
  TENON_RETURN_IF_ERROR(check(first, options));
  TENON_RETURN_IF_ERROR(check_pairing(first, second));
  TENON_ASSIGN_OR_RETURN(const std::unique_ptr<Scorer> a, metric.make(first, options.metric));
  TENON_ASSIGN_OR_RETURN(const std::unique_ptr<Scorer> b, metric.make(second, options.metric));
  std::vector<size_t> sample = everything(first.size());
  PairedDifference out;
  out.difference = b->value(sample) - a->value(sample);
  out.low = out.high = kUndefined;
  if (std::isnan(out.difference)) out.p = kUndefined;
  if (options.resamples == 0 || std::isnan(out.difference) || first.size() < 2) return out;
  out.resamples = std::min(affordable(*a, first.size(), options), affordable(*b, first.size(), options));
  std::mt19937_64 random(options.seed);
  std::vector<double> differences;
  out.resamples = repeat(out.resamples, [&] {
    draw(random, sample);
    differences.push_back(b->value(sample) - a->value(sample));
  });
  const auto at_most = std::count_if(differences.begin(), differences.end(), [](double d) { return !(d > 0); });
  const auto at_least = std::count_if(differences.begin(), differences.end(), [](double d) { return !(d < 0); });
  out.p = std::min(1.0, 2.0 * static_cast<double>(std::min(at_most, at_least) + 1) / (out.resamples + 1));
  std::tie(out.low, out.high) = middle(std::move(differences));
  return out;
}

Result<McNemar> mcnemar(std::span<const Record> first, std::span<const Record> second) {
  TENON_RETURN_IF_ERROR(check_pairing(first, second));
  TENON_ASSIGN_OR_RETURN(const auto a, outcomes_of<ClassOutcome>("McNemar's test", first));
  TENON_ASSIGN_OR_RETURN(const auto b, outcomes_of<ClassOutcome>("McNemar's test", second));
  McNemar out;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i]->label != b[i]->label)
      return Status(Code::kInvalidArgument, fmt::format("labels {} and {}", a[i]->label, b[i]->label), place_of(first[i]),
                    "compare results on the same examples");
    const bool first_right = a[i]->predicted == a[i]->label, second_right = b[i]->predicted == b[i]->label;
    out.only_first += first_right && !second_right ? 1 : 0;
    out.only_second += second_right && !first_right ? 1 : 0;
  }
  constexpr int64_t kFewest = 25;  // pairs that chi-squared needs
  const int64_t discordant = out.only_first + out.only_second;
  const auto n = static_cast<double>(discordant);
  if (discordant < kFewest) {
    const int64_t fewer = std::min(out.only_first, out.only_second);
    double tail = 0, ways = 1;
    for (int64_t k = 0; k <= fewer; ++k) {
      tail += ways;
      ways = ways * static_cast<double>(discordant - k) / static_cast<double>(k + 1);
    }
    out.statistic = static_cast<double>(fewer);
    out.p = std::min(1.0, 2 * std::ldexp(tail, -static_cast<int>(discordant)));
  } else {
    const double excess = std::abs(static_cast<double>(out.only_first - out.only_second)) - 1;
    out.statistic = excess > 0 ? excess * excess / n : 0;
    out.p = std::erfc(std::sqrt(out.statistic / 2));
  }
  return out;
}

}  // namespace tenon::eval
