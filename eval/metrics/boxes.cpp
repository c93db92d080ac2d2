#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "eval/metrics/makers.h"
#include "eval/metrics/scorers.h"

namespace tenon::eval {
namespace {

using Box = std::array<double, 4>;

constexpr size_t kThresholds = 10, kRecalls = 101;
constexpr size_t kMaxDetections = 100;  // of one class in one image
constexpr size_t kMaxListed = 1000;

/// 0.5, 0.55 … 0.95 and 0, 0.01 … 1, to the bit as numpy's linspace has them.
double threshold(size_t t) { return t + 1 == kThresholds ? 0.95 : static_cast<double>(t) * ((0.95 - 0.5) / 9) + 0.5; }
double recall_point(size_t r) { return r + 1 == kRecalls ? 1.0 : static_cast<double>(r) * 0.01; }

struct AreaRange {
  std::string_view name;
  double low, high;
};
constexpr AreaRange kAreas[] = {{"all", 0, 1e10}, {"small", 0, 32 * 32}, {"medium", 32 * 32, 96 * 96}, {"large", 96 * 96, 1e10}};

double width(const Box& b) { return b[2] - b[0]; }
double height(const Box& b) { return b[3] - b[1]; }
double area(const Box& b) { return width(b) > 0 && height(b) > 0 ? width(b) * height(b) : 0; }

/// Intersection over union; over the detection alone when the truth is a crowd.
double overlap(const Box& found, const Box& there, bool crowd) {
  const double w = std::min(found[2], there[2]) - std::max(found[0], there[0]);
  const double h = std::min(found[3], there[3]) - std::max(found[1], there[1]);
  if (!(w > 0) || !(h > 0)) return 0;
  return w * h / (crowd ? area(found) : area(found) + area(there) - w * h);
}

/// NaN ranks last.
double rank_score(double score) { return std::isnan(score) ? -std::numeric_limits<double>::infinity() : score; }

/// A detection after matching; a bit a threshold.
struct Judged {
  double score;
  uint32_t record;
  uint16_t matched, ignored;
};

/// One class over all records.
struct Class {
  std::vector<Judged> found;                         // best first
  std::vector<std::pair<uint32_t, uint32_t>> there;  // record, objects that count
};
using Classes = std::map<int64_t, Class>;

/// The objects and detections of one class in one image, matched as pycocotools does: detections by falling score, each taking the
/// object not yet taken that it overlaps most, one that counts before one that does not.
class Matcher {
 public:
  Matcher(std::vector<const BoxOutcome::Truth*> truths, const AreaRange& range) : truths_(std::move(truths)), range_(range) {
    for (const BoxOutcome::Truth* truth : truths_) {
      const double size = truth->area > 0 ? truth->area : area(truth->box);
      skipped_.push_back(truth->crowd || size < range.low || size > range.high);
    }
    order_.resize(truths_.size());
    std::iota(order_.begin(), order_.end(), size_t{0});
    std::stable_sort(order_.begin(), order_.end(), [&](size_t a, size_t b) { return skipped_[a] < skipped_[b]; });
    taken_.resize(truths_.size());
  }

  uint32_t counted() const { return static_cast<uint32_t>(std::count(skipped_.begin(), skipped_.end(), false)); }

  Judged judge(const BoxOutcome::Detection& found, uint32_t record) {
    std::vector<double> overlaps(truths_.size());
    for (size_t g = 0; g < truths_.size(); ++g) overlaps[g] = overlap(found.box, truths_[g]->box, truths_[g]->crowd);
    const double size = area(found.box);
    const bool outside = size < range_.low || size > range_.high;
    Judged out{rank_score(found.score), record, 0, 0};
    for (size_t t = 0; t < kThresholds; ++t) {
      const auto bit = static_cast<uint16_t>(1u << t);
      const size_t match = best(overlaps, t);
      if (match == kNone) {
        if (outside) out.ignored |= bit;
        continue;
      }
      out.matched |= bit;
      if (skipped_[match]) out.ignored |= bit;
      taken_[match] |= bit;
    }
    return out;
  }

 private:
  static constexpr size_t kNone = SIZE_MAX;

  size_t best(const std::vector<double>& overlaps, size_t t) const {
    double least = threshold(t);
    size_t match = kNone;
    for (size_t g : order_) {
      if ((taken_[g] >> t & 1) != 0 && !truths_[g]->crowd) continue;
      if (match != kNone && !skipped_[match] && skipped_[g]) break;
      if (!(overlaps[g] >= least)) continue;
      least = overlaps[g];
      match = g;
    }
    return match;
  }

  std::vector<const BoxOutcome::Truth*> truths_;
  AreaRange range_;
  std::vector<bool> skipped_;  // crowds, and what is outside the range
  std::vector<size_t> order_;  // those that count first
  std::vector<uint16_t> taken_;
};

void match_image(const BoxOutcome& image, uint32_t record, const AreaRange& range, Classes& classes) {
  std::map<int64_t, std::pair<std::vector<const BoxOutcome::Detection*>, std::vector<const BoxOutcome::Truth*>>> by_class;
  for (const auto& found : image.detections) by_class[found.label].first.push_back(&found);
  for (const auto& there : image.truths) by_class[there.label].second.push_back(&there);
  for (auto& [label, both] : by_class) {
    auto& [found, there] = both;
    Class& into = classes[label];
    Matcher matcher(std::move(there), range);
    if (matcher.counted() > 0) into.there.emplace_back(record, matcher.counted());
    std::stable_sort(found.begin(), found.end(), [](const auto* a, const auto* b) { return rank_score(a->score) > rank_score(b->score); });
    if (found.size() > kMaxDetections) found.resize(kMaxDetections);
    for (const auto* one : found) into.found.push_back(matcher.judge(*one, record));
  }
}

/// `order` are the records by their index, which decides between equal scores.
Classes match_all(const std::vector<const BoxOutcome*>& images, const std::vector<uint32_t>& order, const AreaRange& range) {
  Classes classes;
  for (uint32_t record : order) match_image(*images[record], record, range, classes);
  for (auto& [label, one] : classes)
    std::stable_sort(one.found.begin(), one.found.end(), [](const Judged& a, const Judged& b) { return a.score > b.score; });
  return classes;
}

/// Average precision at every threshold, and the highest recall.
struct Curve {
  std::array<double, kThresholds> precision{}, recall{};
};

/// False when the class has no object in the sample.
bool curve_of(const Class& one, const std::vector<uint32_t>& weights, Curve& out) {
  double objects = 0;
  for (const auto& [record, count] : one.there) objects += static_cast<double>(weights[record]) * count;
  if (objects == 0) return false;
  std::vector<double> recalls, precisions;
  for (size_t t = 0; t < kThresholds; ++t) {
    recalls.clear();
    precisions.clear();
    double right = 0, wrong = 0;
    for (const Judged& found : one.found) {
      if ((found.ignored >> t & 1) != 0) continue;
      for (uint32_t copy = 0; copy < weights[found.record]; ++copy) {
        ((found.matched >> t & 1) != 0 ? right : wrong) += 1;
        recalls.push_back(right / objects);
        precisions.push_back(right / (right + wrong + std::numeric_limits<double>::epsilon()));
      }
    }
    for (size_t i = precisions.size(); i-- > 1;) precisions[i - 1] = std::max(precisions[i - 1], precisions[i]);
    double sum = 0;
    size_t at = 0;
    for (size_t r = 0; r < kRecalls; ++r) {
      while (at < recalls.size() && recalls[at] < recall_point(r)) ++at;
      if (at < recalls.size()) sum += precisions[at];
    }
    out.precision[t] = sum / kRecalls;
    out.recall[t] = recalls.empty() ? 0 : recalls.back();
  }
  return true;
}

double mean(const std::array<double, kThresholds>& values) { return std::accumulate(values.begin(), values.end(), 0.0) / kThresholds; }

class CocoMap final : public Scorer {
 public:
  CocoMap(std::span<const Record> records, std::vector<const BoxOutcome*> images) : images_(std::move(images)), order_(images_.size()) {
    std::iota(order_.begin(), order_.end(), 0u);
    std::stable_sort(order_.begin(), order_.end(), [&](uint32_t a, uint32_t b) { return records[a].index < records[b].index; });
    classes_ = match_all(images_, order_, kAreas[0]);
  }

  double value(std::span<const size_t> sample) const override {
    const std::vector<uint32_t> weights = multiplicities(sample, images_.size());
    double sum = 0, present = 0;
    for (const auto& [label, one] : classes_)
      if (Curve curve; curve_of(one, weights, curve)) {
        sum += mean(curve.precision);
        ++present;
      }
    return divided(sum, present);
  }

  nlohmann::json details() const override {
    nlohmann::json out = summary("", classes_);
    for (const AreaRange& range : std::span(kAreas).subspan(1)) out.update(summary(range.name, match_all(images_, order_, range)));
    return out;
  }

  double cost() const override {
    double found = 0;
    for (const auto& [label, one] : classes_) found += static_cast<double>(one.found.size()) + static_cast<double>(kRecalls);
    return 4.0 * kThresholds * found;
  }

 private:
  /// Means over the classes that have objects of the range.
  nlohmann::json summary(std::string_view range, const Classes& classes) const {
    const std::vector<uint32_t> once(images_.size(), 1);
    std::array<double, 4> sums{};  // precision, that at the first threshold and at 0.75, recall
    double present = 0;
    nlohmann::json list = nlohmann::json::array();
    for (const auto& [label, one] : classes) {
      Curve curve;
      if (!curve_of(one, once, curve)) continue;
      ++present;
      sums[0] += mean(curve.precision);
      sums[1] += curve.precision[0];
      sums[2] += curve.precision[5];
      sums[3] += mean(curve.recall);
      if (list.size() < kMaxListed) list.push_back({{"class", label}, {"ap", mean(curve.precision)}});
    }
    const auto name = [&](const char* what) { return range.empty() ? std::string(what) : fmt::format("{}_{}", what, range); };
    nlohmann::json out{{name("ap"), divided(sums[0], present)}, {name("ar"), divided(sums[3], present)}};
    if (range.empty()) {
      out["ap50"] = divided(sums[1], present);
      out["ap75"] = divided(sums[2], present);
      out["classes"] = std::move(list);
    }
    return out;
  }

  std::vector<const BoxOutcome*> images_;
  std::vector<uint32_t> order_;
  Classes classes_;
};

}  // namespace

Result<std::unique_ptr<Scorer>> make_coco_map(std::span<const Record> records, const MetricOptions&) {
  TENON_ASSIGN_OR_RETURN(auto images, outcomes_of<BoxOutcome>("coco_map", records));
  return std::make_unique<CocoMap>(records, std::move(images));
}

}  // namespace tenon::eval
