#include <algorithm>
#include <cmath>
#include <numeric>

#include "eval/metrics/makers.h"
#include "eval/metrics/scorers.h"

namespace tenon::eval {
namespace {

Result<std::vector<const ValueOutcome*>> values_of(std::string_view metric, std::span<const Record> records) {
  TENON_ASSIGN_OR_RETURN(auto outcomes, outcomes_of<ValueOutcome>(metric, records));
  for (size_t r = 0; r < outcomes.size(); ++r)
    if (outcomes[r]->predicted.size() != outcomes[r]->target.size())
      return Status(Code::kInvalidArgument,
                    fmt::format("{} values where {} are expected", outcomes[r]->predicted.size(), outcomes[r]->target.size()),
                    place_of(records[r]), "give as many");
  return outcomes;
}

/// A function of the values of all records together, by the sums that each pair of values adds to.
template <class Add>
Result<std::unique_ptr<Scorer>> make_pooled(std::string_view metric, std::span<const Record> records, size_t slots, Add add,
                                            SumScorer::Finish finish) {
  TENON_ASSIGN_OR_RETURN(const auto outcomes, values_of(metric, records));
  Sums sums(slots);
  std::vector<double> row(slots);
  for (const ValueOutcome* outcome : outcomes) {
    std::fill(row.begin(), row.end(), 0.0);
    for (size_t i = 0; i < outcome->target.size(); ++i) add(row, outcome->predicted[i], outcome->target[i]);
    for (size_t s = 0; s < slots; ++s) sums.add(s, row[s]);
    sums.end_record();
  }
  return std::make_unique<SumScorer>(std::move(sums), std::move(finish));
}

/// The first pair of values, which sums are taken about so that they keep their digits.
ValueOutcome origin(std::span<const Record> records) {
  for (const Record& record : records)
    if (const auto* outcome = std::get_if<ValueOutcome>(&record.outcome);
        outcome != nullptr && !outcome->target.empty() && !outcome->predicted.empty())
      return {{outcome->predicted[0]}, {outcome->target[0]}};
  return {{0}, {0}};
}

/// Sum of squares about the mean, from those about another value; 0 for what is round-off.
double centred(double count, double sum, double squares) {
  const double out = squares - sum * sum / count;
  return out <= 1e-14 * squares ? 0 : out;
}

double correlation(double count, double x, double y, double xx, double yy, double xy) {
  const double var_x = centred(count, x, xx), var_y = centred(count, y, yy);
  if (count < 2 || var_x == 0 || var_y == 0) return kUndefined;
  const double r = (xy - x * y / count) / std::sqrt(var_x) / std::sqrt(var_y);
  return std::isnan(r) ? r : std::clamp(r, -1.0, 1.0);
}

/// Values in the order of their size, with the record of each; equal ones share a rank.
class Ranking {
 public:
  Ranking(const std::vector<double>& values, const std::vector<uint32_t>& owners) {
    order_.resize(values.size());
    std::iota(order_.begin(), order_.end(), 0u);
    std::sort(order_.begin(), order_.end(), [&](uint32_t a, uint32_t b) { return values[a] < values[b]; });
    for (size_t i = 0; i < order_.size(); ++i) {
      owner_.push_back(owners[order_[i]]);
      tied_.push_back(i > 0 && values[order_[i]] == values[order_[i - 1]]);
    }
  }
  /// Ranks of the values when the records occur so often; 0 for those that do not.
  std::vector<double> ranks(const std::vector<uint32_t>& weights) const {
    std::vector<double> out(order_.size());
    double before = 0;
    for (size_t first = 0, end; first < order_.size(); first = end) {
      double count = weights[owner_[first]];
      for (end = first + 1; end < order_.size() && tied_[end]; ++end) count += weights[owner_[end]];
      for (size_t i = first; i < end; ++i) out[order_[i]] = before + (count + 1) / 2;
      before += count;
    }
    return out;
  }

 private:
  std::vector<uint32_t> order_, owner_;
  std::vector<bool> tied_;  // with the one before
};

class Spearman final : public Scorer {
 public:
  explicit Spearman(const std::vector<const ValueOutcome*>& outcomes) : records_(outcomes.size()), nan_(outcomes.size()) {
    std::vector<double> predicted, target;
    for (size_t r = 0; r < outcomes.size(); ++r)
      for (size_t i = 0; i < outcomes[r]->target.size(); ++i) {
        if (std::isnan(outcomes[r]->predicted[i]) || std::isnan(outcomes[r]->target[i])) {
          nan_[r] = true;
          continue;
        }
        predicted.push_back(outcomes[r]->predicted[i]);
        target.push_back(outcomes[r]->target[i]);
        owners_.push_back(static_cast<uint32_t>(r));
      }
    rankings_ = {Ranking(predicted, owners_), Ranking(target, owners_)};
  }

  double value(std::span<const size_t> sample) const override {
    if (std::any_of(sample.begin(), sample.end(), [&](size_t r) { return nan_[r]; })) return kUndefined;
    const std::vector<uint32_t> weights = multiplicities(sample, records_);
    const std::vector<double> x = rankings_[0].ranks(weights), y = rankings_[1].ranks(weights);
    double count = 0;
    for (uint32_t owner : owners_) count += weights[owner];
    const double mean = (count + 1) / 2;
    double xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < owners_.size(); ++i) {
      const double w = weights[owners_[i]], dx = x[i] - mean, dy = y[i] - mean;
      xx += w * dx * dx;
      yy += w * dy * dy;
      xy += w * dx * dy;
    }
    return correlation(count, 0, 0, xx, yy, xy);
  }

  double cost() const override { return 10.0 * static_cast<double>(owners_.size()) + static_cast<double>(records_); }

 private:
  size_t records_;
  std::vector<bool> nan_;  // records with a value that is none
  std::vector<uint32_t> owners_;
  std::vector<Ranking> rankings_;
};

double cosine(const ValueOutcome& outcome) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < outcome.target.size(); ++i) {
    ab += outcome.predicted[i] * outcome.target[i];
    aa += outcome.predicted[i] * outcome.predicted[i];
    bb += outcome.target[i] * outcome.target[i];
  }
  return divided_or_zero(ab, std::sqrt(aa) * std::sqrt(bb));
}

double divergence(const ValueOutcome& outcome) {
  const auto negative = [](double v) { return v < 0; };
  if (std::any_of(outcome.predicted.begin(), outcome.predicted.end(), negative) ||
      std::any_of(outcome.target.begin(), outcome.target.end(), negative))
    return kUndefined;
  const double q_sum = std::accumulate(outcome.predicted.begin(), outcome.predicted.end(), 0.0);
  const double p_sum = std::accumulate(outcome.target.begin(), outcome.target.end(), 0.0);
  if (p_sum == 0 || q_sum == 0) return kUndefined;
  double sum = 0;
  for (size_t i = 0; i < outcome.target.size(); ++i) {
    const double p = outcome.target[i] / p_sum, q = outcome.predicted[i] / q_sum;
    if (p != 0) sum += p * std::log(p / q);  // NaN is not 0
  }
  return sum;
}

Result<std::unique_ptr<Scorer>> make_mean(std::string_view metric, std::span<const Record> records, double (*of)(const ValueOutcome&)) {
  TENON_ASSIGN_OR_RETURN(const auto outcomes, values_of(metric, records));
  std::vector<double> values;
  for (const ValueOutcome* outcome : outcomes) values.push_back(of(*outcome));
  return mean_scorer(values);
}

void add_squared(std::vector<double>& row, double predicted, double target) {
  row[0] += (predicted - target) * (predicted - target);
  row[1] += 1;
}

}  // namespace

Result<std::unique_ptr<Scorer>> make_mse(std::span<const Record> records, const MetricOptions&) {
  return make_pooled("mse", records, 2, add_squared, [](std::span<const double> s) { return divided(s[0], s[1]); });
}

Result<std::unique_ptr<Scorer>> make_rmse(std::span<const Record> records, const MetricOptions&) {
  return make_pooled("rmse", records, 2, add_squared, [](std::span<const double> s) { return std::sqrt(divided(s[0], s[1])); });
}

Result<std::unique_ptr<Scorer>> make_mae(std::span<const Record> records, const MetricOptions&) {
  const auto add = [](std::vector<double>& row, double predicted, double target) {
    row[0] += std::abs(predicted - target);
    row[1] += 1;
  };
  return make_pooled("mae", records, 2, add, [](std::span<const double> s) { return divided(s[0], s[1]); });
}

Result<std::unique_ptr<Scorer>> make_r2(std::span<const Record> records, const MetricOptions&) {
  const double about = origin(records).target[0];
  const auto add = [about](std::vector<double>& row, double predicted, double target) {
    row[0] += 1;
    row[1] += target - about;
    row[2] += (target - about) * (target - about);
    row[3] += (predicted - target) * (predicted - target);
  };
  return make_pooled("r2", records, 4, add, [](std::span<const double> s) {
    if (s[0] < 2) return kUndefined;
    const double total = centred(s[0], s[1], s[2]);
    if (total == 0) return s[3] == 0 ? 1.0 : 0.0;
    return 1 - s[3] / total;
  });
}

Result<std::unique_ptr<Scorer>> make_pearsonr(std::span<const Record> records, const MetricOptions&) {
  const ValueOutcome about = origin(records);
  const auto add = [x0 = about.predicted[0], y0 = about.target[0]](std::vector<double>& row, double predicted, double target) {
    const double x = predicted - x0, y = target - y0;
    row[0] += 1;
    row[1] += x;
    row[2] += y;
    row[3] += x * x;
    row[4] += y * y;
    row[5] += x * y;
  };
  return make_pooled("pearsonr", records, 6, add,
                     [](std::span<const double> s) { return correlation(s[0], s[1], s[2], s[3], s[4], s[5]); });
}

Result<std::unique_ptr<Scorer>> make_spearmanr(std::span<const Record> records, const MetricOptions&) {
  TENON_ASSIGN_OR_RETURN(const auto outcomes, values_of("spearmanr", records));
  return std::make_unique<Spearman>(outcomes);
}

Result<std::unique_ptr<Scorer>> make_cosine_similarity(std::span<const Record> records, const MetricOptions&) {
  return make_mean("cosine_similarity", records, cosine);
}
Result<std::unique_ptr<Scorer>> make_kl_divergence(std::span<const Record> records, const MetricOptions&) {
  return make_mean("kl_divergence", records, divergence);
}

}  // namespace tenon::eval
