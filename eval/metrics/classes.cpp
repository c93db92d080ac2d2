#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "eval/metrics/makers.h"
#include "eval/metrics/scorers.h"

namespace tenon::eval {
namespace {

constexpr int64_t kIgnoredLabel = -100;
constexpr int64_t kMaxClasses = 1 << 20;
constexpr size_t kMaxListed = 1000;  // classes in details
constexpr size_t kMaxMatrix = 100;   // classes of a confusion matrix that is written whole

struct Pair {
  int64_t label, predicted;
};

/// The labelled predictions of every record, with a class for a number: those that occur, in order, and all below options.classes.
struct Labelled {
  std::vector<Pair> pairs;   // by class
  std::vector<size_t> ends;  // of each record's
  std::vector<int64_t> classes;
};

Result<std::vector<Pair>> pairs_of(std::string_view metric, const Record& record) {
  if (const auto* item = std::get_if<ClassOutcome>(&record.outcome)) return std::vector<Pair>{{item->label, item->predicted}};
  const auto* tokens = std::get_if<TokenOutcome>(&record.outcome);
  if (tokens == nullptr) return wrong_outcome(metric, record);
  if (tokens->labels.size() != tokens->predicted.size())
    return Status(Code::kInvalidArgument, fmt::format("{} labels for {} predictions", tokens->labels.size(), tokens->predicted.size()),
                  place_of(record), "give each token one of both");
  std::vector<Pair> out;
  for (size_t i = 0; i < tokens->labels.size(); ++i)
    if (tokens->labels[i] != kIgnoredLabel) out.push_back({tokens->labels[i], tokens->predicted[i]});
  return out;
}

Result<Labelled> label(std::string_view metric, std::span<const Record> records, const MetricOptions& options) {
  if (options.classes < 0 || options.classes > kMaxClasses)
    return Status(Code::kInvalidArgument, fmt::format("{} classes", options.classes), std::string(metric),
                  fmt::format("give 0 to {}", kMaxClasses));
  Labelled out;
  for (int64_t c = 0; c < options.classes; ++c) out.classes.push_back(c);
  for (const Record& record : records) {
    TENON_ASSIGN_OR_RETURN(const std::vector<Pair> pairs, pairs_of(metric, record));
    for (const Pair& pair : pairs) {
      if (options.classes > 0)
        for (int64_t c : {pair.label, pair.predicted})
          if (c < 0 || c >= options.classes)
            return Status(Code::kInvalidArgument, fmt::format("class {} is outside [0, {})", c, options.classes), place_of(record),
                          "give the number of classes of the model");
      out.pairs.push_back(pair);
    }
    out.ends.push_back(out.pairs.size());
  }
  for (const Pair& pair : out.pairs) {
    out.classes.push_back(pair.label);
    out.classes.push_back(pair.predicted);
  }
  std::sort(out.classes.begin(), out.classes.end());
  out.classes.erase(std::unique(out.classes.begin(), out.classes.end()), out.classes.end());
  const auto number = [&](int64_t c) { return std::lower_bound(out.classes.begin(), out.classes.end(), c) - out.classes.begin(); };
  for (Pair& pair : out.pairs) pair = {number(pair.label), number(pair.predicted)};
  return out;
}

/// For each class: those right, those predicted, those labelled.
enum Part { kRight, kPredicted, kLabelled, kParts };

Sums count(const Labelled& labelled) {
  Sums sums(kParts * labelled.classes.size());
  size_t at = 0;
  for (size_t end : labelled.ends) {
    for (; at < end; ++at) {
      const auto [label, predicted] = labelled.pairs[at];
      sums.add(kParts * static_cast<size_t>(label) + kLabelled, 1);
      sums.add(kParts * static_cast<size_t>(predicted) + kPredicted, 1);
      if (label == predicted) sums.add(kParts * static_cast<size_t>(label) + kRight, 1);
    }
    sums.end_record();
  }
  return sums;
}

/// The counts of one class, or of all.
struct Counts {
  double right = 0, predicted = 0, labelled = 0;
  double precision() const { return divided_or_zero(right, predicted); }
  double recall() const { return divided_or_zero(right, labelled); }
  double f1() const { return divided_or_zero(2 * right, predicted + labelled); }
};
using Rate = double (Counts::*)() const;

Counts counts_of(std::span<const double> sums, size_t c) {
  return {sums[kParts * c + kRight], sums[kParts * c + kPredicted], sums[kParts * c + kLabelled]};
}

Counts total_of(std::span<const double> sums) {
  Counts total;
  for (size_t c = 0; c < sums.size() / kParts; ++c) {
    const Counts one = counts_of(sums, c);
    total = {total.right + one.right, total.predicted + one.predicted, total.labelled + one.labelled};
  }
  return total;
}

double micro(std::span<const double> sums, Rate rate) {
  const Counts total = total_of(sums);
  return total.labelled == 0 ? kUndefined : (total.*rate)();
}

/// Over the classes that occur, as labels or predictions.
double macro(std::span<const double> sums, Rate rate) {
  double sum = 0, classes = 0;
  for (size_t c = 0; c < sums.size() / kParts; ++c) {
    const Counts one = counts_of(sums, c);
    if (one.predicted + one.labelled == 0) continue;
    sum += (one.*rate)();
    ++classes;
  }
  return divided(sum, classes);
}

double weighted(std::span<const double> sums, Rate rate) {
  double sum = 0, labelled = 0;
  for (size_t c = 0; c < sums.size() / kParts; ++c) {
    const Counts one = counts_of(sums, c);
    sum += one.labelled * (one.*rate)();
    labelled += one.labelled;
  }
  return divided(sum, labelled);
}

nlohmann::json rates_json(std::span<const double> sums, const std::vector<int64_t>& classes, Rate rate) {
  nlohmann::json out{{"micro", micro(sums, rate)}, {"macro", macro(sums, rate)}, {"weighted", weighted(sums, rate)}};
  if (classes.size() > kMaxListed) return out;
  out["classes"] = nlohmann::json::array();
  for (size_t c = 0; c < classes.size(); ++c) {
    const Counts one = counts_of(sums, c);
    out["classes"].push_back(
        {{"class", classes[c]}, {"precision", one.precision()}, {"recall", one.recall()}, {"f1", one.f1()}, {"support", one.labelled}});
  }
  return out;
}

Result<std::unique_ptr<Scorer>> make_rate(std::string_view metric, Rate rate, std::span<const Record> records,
                                          const MetricOptions& options) {
  TENON_ASSIGN_OR_RETURN(Labelled labelled, label(metric, records, options));
  SumScorer::Finish finish;
  if (options.average == "micro") {
    finish = [rate](std::span<const double> sums) { return micro(sums, rate); };
  } else if (options.average == "macro") {
    finish = [rate](std::span<const double> sums) { return macro(sums, rate); };
  } else if (options.average == "weighted") {
    finish = [rate](std::span<const double> sums) { return weighted(sums, rate); };
  } else if (options.average == "binary") {
    std::optional<size_t> positive;
    for (size_t c = 0; c < labelled.classes.size(); ++c) {
      if (labelled.classes[c] != 0 && labelled.classes[c] != 1)
        return Status(Code::kInvalidArgument, fmt::format("class {} where there are only 0 and 1", labelled.classes[c]),
                      fmt::format("{}, average binary", metric), "choose from micro, macro, weighted");
      if (labelled.classes[c] == 1) positive = c;
    }
    finish = [rate, positive](std::span<const double> sums) {
      if (total_of(sums).labelled == 0) return kUndefined;
      return positive ? (counts_of(sums, *positive).*rate)() : 0;
    };
  } else {
    return Status(Code::kInvalidArgument, fmt::format("there is no average '{}'", options.average), std::string(metric),
                  "choose from micro, macro, weighted, binary");
  }
  Sums sums = count(labelled);
  return std::make_unique<SumScorer>(
      std::move(sums), std::move(finish),
      [classes = std::move(labelled.classes), rate](std::span<const double> s) { return rates_json(s, classes, rate); });
}

/// Gorodkin's R_K (2004), which for two classes is Matthews' correlation.
double matthews_correlation(std::span<const double> sums) {
  double right = 0, total = 0, cross = 0, predicted2 = 0, labelled2 = 0;
  for (size_t c = 0; c < sums.size() / kParts; ++c) {
    const Counts one = counts_of(sums, c);
    right += one.right;
    total += one.labelled;
    cross += one.predicted * one.labelled;
    predicted2 += one.predicted * one.predicted;
    labelled2 += one.labelled * one.labelled;
  }
  if (total == 0) return kUndefined;
  const double scale = (total * total - predicted2) * (total * total - labelled2);
  return scale == 0 ? 0 : (right * total - cross) / std::sqrt(scale);
}

/// The matrix of a moderate number of classes; of more, the pairs that are confused most.
nlohmann::json matrix_json(std::span<const double> sums, const std::vector<Pair>& pairs, const std::vector<int64_t>& classes) {
  if (classes.size() <= kMaxMatrix) {
    std::vector<std::vector<int64_t>> matrix(classes.size(), std::vector<int64_t>(classes.size()));
    for (size_t i = 0; i < pairs.size(); ++i)
      matrix[static_cast<size_t>(pairs[i].label)][static_cast<size_t>(pairs[i].predicted)] = static_cast<int64_t>(sums[i]);
    return {{"classes", classes}, {"matrix", matrix}};
  }
  std::vector<size_t> order;
  for (size_t i = 0; i < pairs.size(); ++i)
    if (pairs[i].label != pairs[i].predicted) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return sums[a] > sums[b]; });
  if (order.size() > kMaxMatrix) order.resize(kMaxMatrix);
  nlohmann::json out{{"classes", classes.size()}, {"most_confused", nlohmann::json::array()}};
  for (size_t i : order)
    out["most_confused"].push_back({{"label", classes[static_cast<size_t>(pairs[i].label)]},
                                    {"predicted", classes[static_cast<size_t>(pairs[i].predicted)]},
                                    {"count", sums[i]}});
  return out;
}

}  // namespace

Result<std::unique_ptr<Scorer>> make_accuracy(std::span<const Record> records, const MetricOptions&) {
  std::vector<Quotient> parts;
  for (const Record& record : records) {
    TENON_ASSIGN_OR_RETURN(const std::vector<Pair> pairs, pairs_of("accuracy", record));
    const auto right = std::count_if(pairs.begin(), pairs.end(), [](const Pair& pair) { return pair.label == pair.predicted; });
    parts.push_back({static_cast<double>(right), static_cast<double>(pairs.size())});
  }
  return quotient_scorer(parts);
}

Result<std::unique_ptr<Scorer>> make_top_k_accuracy(std::span<const Record> records, const MetricOptions& options) {
  if (options.k < 1) return Status(Code::kInvalidArgument, fmt::format("k is {}", options.k), "top_k_accuracy", "give at least 1");
  TENON_ASSIGN_OR_RETURN(const auto outcomes, outcomes_of<ClassOutcome>("top_k_accuracy", records));
  std::vector<double> hits;
  for (const ClassOutcome* outcome : outcomes) hits.push_back(outcome->rank < options.k ? 1 : 0);
  return mean_scorer(hits);
}

Result<std::unique_ptr<Scorer>> make_precision(std::span<const Record> records, const MetricOptions& options) {
  return make_rate("precision", &Counts::precision, records, options);
}
Result<std::unique_ptr<Scorer>> make_recall(std::span<const Record> records, const MetricOptions& options) {
  return make_rate("recall", &Counts::recall, records, options);
}
Result<std::unique_ptr<Scorer>> make_f1(std::span<const Record> records, const MetricOptions& options) {
  return make_rate("f1", &Counts::f1, records, options);
}

Result<std::unique_ptr<Scorer>> make_matthews_correlation(std::span<const Record> records, const MetricOptions& options) {
  TENON_ASSIGN_OR_RETURN(const Labelled labelled, label("matthews_correlation", records, options));
  return std::make_unique<SumScorer>(count(labelled), matthews_correlation);
}

Result<std::unique_ptr<Scorer>> make_confusion_matrix(std::span<const Record> records, const MetricOptions& options) {
  TENON_ASSIGN_OR_RETURN(Labelled labelled, label("confusion_matrix", records, options));
  std::map<std::pair<int64_t, int64_t>, size_t> slots;
  for (const Pair& pair : labelled.pairs) slots.try_emplace({pair.label, pair.predicted}, slots.size());
  std::vector<Pair> pairs(slots.size());
  for (const auto& [pair, slot] : slots) pairs[slot] = {pair.first, pair.second};
  Sums sums(slots.size());
  size_t at = 0;
  for (size_t end : labelled.ends) {
    for (; at < end; ++at) sums.add(slots.at({labelled.pairs[at].label, labelled.pairs[at].predicted}), 1);
    sums.end_record();
  }
  const auto finish = [pairs](std::span<const double> s) {
    double right = 0, total = 0;
    for (size_t i = 0; i < pairs.size(); ++i) {
      total += s[i];
      if (pairs[i].label == pairs[i].predicted) right += s[i];
    }
    return divided(right, total);
  };
  return std::make_unique<SumScorer>(std::move(sums), finish, [pairs, classes = std::move(labelled.classes)](std::span<const double> s) {
    return matrix_json(s, pairs, classes);
  });
}

}  // namespace tenon::eval
