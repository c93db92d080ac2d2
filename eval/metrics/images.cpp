#include <cmath>
#include <map>

#include "eval/metrics/makers.h"
#include "eval/metrics/scorers.h"

namespace tenon::eval {
namespace {

constexpr size_t kMaxListed = 1000;

/// Pixels of one class: right, predicted, labelled.
struct Region {
  double right, predicted, labelled;
  double iou() const { return right / (predicted + labelled - right); }
  double dice() const { return 2 * right / (predicted + labelled); }
};
using Share = double (Region::*)() const;

Region region(std::span<const double> sums, size_t c) { return {sums[3 * c], sums[3 * c + 1], sums[3 * c + 2]}; }

/// Over the classes that are labelled or predicted.
double mean_share(std::span<const double> sums, Share share) {
  double sum = 0, classes = 0;
  for (size_t c = 0; c < sums.size() / 3; ++c) {
    const Region one = region(sums, c);
    if (one.predicted + one.labelled == 0) continue;
    sum += (one.*share)();
    ++classes;
  }
  return divided(sum, classes);
}

nlohmann::json shares_json(std::span<const double> sums) {
  double right = 0, labelled = 0;
  nlohmann::json classes = nlohmann::json::array();
  for (size_t c = 0; c < sums.size() / 3; ++c) {
    const Region one = region(sums, c);
    right += one.right;
    labelled += one.labelled;
    if (one.predicted + one.labelled > 0 && classes.size() < kMaxListed)
      classes.push_back({{"class", c}, {"iou", one.iou()}, {"dice", one.dice()}, {"pixels", one.labelled}});
  }
  return {{"pixel_accuracy", divided(right, labelled)}, {"classes", classes}};
}

Result<std::unique_ptr<Scorer>> make_shares(std::string_view metric, Share share, std::span<const Record> records) {
  TENON_ASSIGN_OR_RETURN(const auto outcomes, outcomes_of<PixelOutcome>(metric, records));
  constexpr int64_t kMaxClasses = 1 << 14;
  size_t classes = 0;
  for (size_t r = 0; r < outcomes.size(); ++r) {
    const int64_t n = outcomes[r]->classes;
    if (n < 0 || n > kMaxClasses)
      return Status(Code::kInvalidArgument, fmt::format("counts of pixels for {} classes", n), place_of(records[r]),
                    fmt::format("there may be {}", kMaxClasses));
    for (const PixelOutcome::Count& c : outcomes[r]->counts)
      if (c.label < 0 || c.label >= n || c.predicted < 0 || c.predicted >= n || c.pixels < 0)
        return Status(Code::kInvalidArgument, fmt::format("{} pixels of class {} predicted as {}, for {} classes", c.pixels, c.label, c.predicted, n),
                      place_of(records[r]), "give classes from 0 to their number, and how many pixels");
    classes = std::max(classes, static_cast<size_t>(n));
  }
  Sums sums(3 * classes);
  for (const PixelOutcome* outcome : outcomes) {
    std::map<size_t, double> by_sum;
    for (const PixelOutcome::Count& c : outcome->counts) {
      const auto label = static_cast<size_t>(c.label), predicted = static_cast<size_t>(c.predicted);
      const auto pixels = static_cast<double>(c.pixels);
      if (label == predicted) by_sum[3 * label] += pixels;
      by_sum[3 * predicted + 1] += pixels;
      by_sum[3 * label + 2] += pixels;
    }
    for (const auto& [at, pixels] : by_sum) sums.add(at, pixels);
    sums.end_record();
  }
  return std::make_unique<SumScorer>(
      std::move(sums), [share](std::span<const double> s) { return mean_share(s, share); }, shares_json);
}

}  // namespace

Result<std::unique_ptr<Scorer>> make_mean_iou(std::span<const Record> records, const MetricOptions&) {
  return make_shares("mean_iou", &Region::iou, records);
}
Result<std::unique_ptr<Scorer>> make_dice(std::span<const Record> records, const MetricOptions&) {
  return make_shares("dice", &Region::dice, records);
}

Result<std::unique_ptr<Scorer>> make_psnr(std::span<const Record> records, const MetricOptions&) {
  TENON_ASSIGN_OR_RETURN(const auto outcomes, outcomes_of<ImageOutcome>("psnr", records));
  std::vector<double> values;
  for (const ImageOutcome* outcome : outcomes) values.push_back(10 * std::log10(outcome->peak * outcome->peak / outcome->mse));
  return mean_scorer(values);
}

Result<std::unique_ptr<Scorer>> make_ssim(std::span<const Record> records, const MetricOptions&) {
  TENON_ASSIGN_OR_RETURN(const auto outcomes, outcomes_of<ImageOutcome>("ssim", records));
  std::vector<double> values;
  for (const ImageOutcome* outcome : outcomes) values.push_back(outcome->ssim);
  return mean_scorer(values);
}

}  // namespace tenon::eval
