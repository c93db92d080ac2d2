#include <algorithm>
#include <cmath>
#include <numeric>

#include "eval/metrics/makers.h"
#include "eval/metrics/scorers.h"

namespace tenon::eval {
namespace {

constexpr size_t kMaxListed = 1000;

/// The area under the curve of one class against the others is the share of pairs of a record of the class and one of the others that
/// the scores put in order, equal ones counting half (Hanley and McNeil 1982). One sort serves every sample.
class RocAuc final : public Scorer {
 public:
  explicit RocAuc(std::vector<const ClassOutcome*> outcomes) : outcomes_(std::move(outcomes)) {
    const size_t classes = outcomes_.empty() ? 0 : outcomes_[0]->probabilities.size();
    for (size_t c = classes == 2 ? 1 : 0; c < classes; ++c) classes_.push_back(c);
    for (size_t c : classes_) {
      std::vector<uint32_t> order(outcomes_.size());
      std::iota(order.begin(), order.end(), 0u);
      std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return score(a, c) < score(b, c); });
      orders_.push_back(std::move(order));
    }
  }

  double value(std::span<const size_t> sample) const override {
    const std::vector<uint32_t> weights = multiplicities(sample, outcomes_.size());
    double sum = 0, defined = 0;
    for (size_t i = 0; i < classes_.size(); ++i)
      if (const double area = area_of(i, weights); !std::isnan(area)) {
        sum += area;
        ++defined;
      }
    return divided(sum, defined);
  }

  nlohmann::json details() const override {
    if (classes_.size() < 2 || classes_.size() > kMaxListed) return nullptr;
    const std::vector<uint32_t> weights(outcomes_.size(), 1);
    nlohmann::json areas = nlohmann::json::array();
    for (size_t i = 0; i < classes_.size(); ++i) areas.push_back({{"class", classes_[i]}, {"roc_auc", area_of(i, weights)}});
    return {{"classes", areas}};
  }

  double cost() const override { return 4.0 * static_cast<double>(classes_.size()) * static_cast<double>(outcomes_.size()); }

 private:
  /// NaN is below every number.
  float score(uint32_t record, size_t c) const {
    const float p = outcomes_[record]->probabilities[c];
    return std::isnan(p) ? -std::numeric_limits<float>::infinity() : p;
  }

  double area_of(size_t i, const std::vector<uint32_t>& weights) const {
    const std::vector<uint32_t>& order = orders_[i];
    const size_t c = classes_[i];
    double below = 0, above = 0, in_order = 0;
    for (size_t at = 0; at < order.size();) {
      const float tied = score(order[at], c);
      double positive = 0, negative = 0;
      for (; at < order.size() && score(order[at], c) == tied; ++at)
        (outcomes_[order[at]]->label == static_cast<int64_t>(c) ? positive : negative) += weights[order[at]];
      in_order += positive * (below + negative / 2);
      below += negative;
      above += positive;
    }
    return divided(in_order, above * below);
  }

  std::vector<const ClassOutcome*> outcomes_;
  std::vector<size_t> classes_;                // that have a curve: of two classes the second alone
  std::vector<std::vector<uint32_t>> orders_;  // of the records, by score
};

}  // namespace

Result<std::unique_ptr<Scorer>> make_roc_auc(std::span<const Record> records, const MetricOptions&) {
  TENON_ASSIGN_OR_RETURN(auto outcomes, outcomes_of<ClassOutcome>("roc_auc", records));
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const size_t classes = outcomes[i]->probabilities.size(), expected = outcomes[0]->probabilities.size();
    if (classes < 2)
      return Status(Code::kInvalidArgument, classes == 0 ? "no probabilities" : "probabilities of one class", place_of(records[i]),
                    "roc_auc needs those of every class, of two at least");
    if (classes != expected)
      return Status(Code::kInvalidArgument, fmt::format("probabilities of {} classes where others have {}", classes, expected),
                    place_of(records[i]), "evaluate one model");
    if (outcomes[i]->label < 0 || outcomes[i]->label >= static_cast<int64_t>(classes))
      return Status(Code::kInvalidArgument, fmt::format("label {} where there are {} classes", outcomes[i]->label, classes),
                    place_of(records[i]), "check the labels");
  }
  return std::make_unique<RocAuc>(std::move(outcomes));
}

Result<std::unique_ptr<Scorer>> make_log_loss(std::span<const Record> records, const MetricOptions&) {
  TENON_ASSIGN_OR_RETURN(const auto outcomes, outcomes_of<ClassOutcome>("log_loss", records));
  constexpr double kLeast = std::numeric_limits<double>::epsilon();
  std::vector<double> losses;
  for (const ClassOutcome* outcome : outcomes) {
    const double p = outcome->probability;
    losses.push_back(std::isnan(p) ? kUndefined : -std::log(std::clamp(p, kLeast, 1 - kLeast)));
  }
  return mean_scorer(losses);
}

Result<std::unique_ptr<Scorer>> make_expected_calibration_error(std::span<const Record> records, const MetricOptions& options) {
  constexpr int64_t kMaxBins = 10000;
  if (options.bins < 1 || options.bins > kMaxBins)
    return Status(Code::kInvalidArgument, fmt::format("{} bins", options.bins), "expected_calibration_error",
                  fmt::format("give 1 to {}", kMaxBins));
  TENON_ASSIGN_OR_RETURN(const auto outcomes, outcomes_of<ClassOutcome>("expected_calibration_error", records));
  const auto bins = static_cast<size_t>(options.bins);
  Sums sums(3 * bins);  // of each bin: records, confidence, those right
  for (const ClassOutcome* outcome : outcomes) {
    const double at = std::ceil(outcome->confidence * static_cast<double>(bins)) - 1;
    const size_t bin = at > 0 ? static_cast<size_t>(std::min(at, static_cast<double>(bins - 1))) : 0;
    sums.add(3 * bin, 1);
    sums.add(3 * bin + 1, outcome->confidence);
    sums.add(3 * bin + 2, outcome->predicted == outcome->label ? 1 : 0);
    sums.end_record();
  }
  const auto finish = [bins](std::span<const double> s) {
    double gap = 0, records_in = 0;
    for (size_t b = 0; b < bins; ++b) {
      gap += std::abs(s[3 * b + 1] - s[3 * b + 2]);
      records_in += s[3 * b];
    }
    return divided(gap, records_in);
  };
  const auto details = [bins](std::span<const double> s) {
    nlohmann::json list = nlohmann::json::array();
    for (size_t b = 0; b < bins; ++b)
      if (s[3 * b] > 0)
        list.push_back({{"up_to", static_cast<double>(b + 1) / static_cast<double>(bins)},
                        {"count", s[3 * b]},
                        {"confidence", s[3 * b + 1] / s[3 * b]},
                        {"accuracy", s[3 * b + 2] / s[3 * b]}});
    return nlohmann::json{{"bins", list}};
  };
  return std::make_unique<SumScorer>(std::move(sums), finish, details);
}

}  // namespace tenon::eval
