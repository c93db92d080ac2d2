#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "eval/metrics/record.h"
#include "support/status.h"

namespace tenon::eval {

struct MetricOptions {
  std::string average = "macro";      // of precision, recall, F1: micro, macro, weighted; binary: of class 1 alone
  int64_t classes = 0;                // 0: the largest label + 1
  int64_t k = 5;                      // of top-k
  int64_t bins = 15;                  // of the expected calibration error
  bool stemmer = false;               // of ROUGE: whether words of more than three letters are compared by their Porter stems
  std::vector<std::string> names;     // of the classes, by number: "O", "B-PER" …, which entities need
};

/// A metric over one set of records, which it has looked through once. The records outlive it.
class Scorer {
 public:
  virtual ~Scorer() = default;
  /// Its value over these records, by position in the set; a position may occur several times (a bootstrap sample). NaN where it is
  /// not defined (no record, one class for ROC-AUC …).
  virtual double value(std::span<const size_t> sample) const = 0;
  /// Parts that belong to the value over all records: per class, the confusion matrix …; null when there are none.
  virtual nlohmann::json details() const { return nullptr; }
  /// Roughly how many additions value() does for as many records as there are.
  virtual double cost() const = 0;
};

/// One row a metric. Names and definitions are those of Hugging Face evaluate and scikit-learn.
struct MetricInfo {
  std::string_view name;              // "accuracy", "f1", "bleu"
  std::string_view title;             // "Accuracy"
  std::string_view outcome;           // the outcome that it reads: "class", "tokens", "text", "likelihood", "values", "pixels", "image", "boxes"
  std::string_view also;              // another that it reads; empty: none
  bool higher_is_better;
  bool needs_probabilities;           // ClassOutcome::probabilities
  std::string_view formula;           // one line
  std::string_view source;            // paper, specification or implementation that defines it
  /// kInvalidArgument for records of another outcome, naming the first.
  Result<std::unique_ptr<Scorer>> (*make)(std::span<const Record> records, const MetricOptions& options);
};

/// All metrics, in the order of the documentation.
std::span<const MetricInfo> metrics();
/// Null when there is none of that name.
const MetricInfo* find_metric(std::string_view name);
/// Names of all metrics in the order of the table, or of those that read an outcome, for error messages.
std::string metric_names(std::string_view outcome = {});
/// Whether a metric reads outcomes of this name.
bool reads(const MetricInfo& metric, std::string_view outcome);
/// "class", "tokens" …
std::string_view outcome_name(const Outcome& outcome);
/// The table as Markdown: a section with a row a metric.
std::string metrics_markdown();

struct Score {
  double value = 0;
  double low = 0, high = 0;           // 95 % bootstrap interval over records (percentile method; Efron and Tibshirani 1993)
  int resamples = 0;                  // that the interval comes from
  nlohmann::json details;
};
struct ScoreOptions {
  MetricOptions metric;
  int resamples = 1000;               // 0: no interval, low and high are NaN; else 100 or more
  uint64_t seed = 1;
  double max_cost = 1e10;             // Scorer::cost() of all samples, half a minute or so: fewer are drawn, but 20 at least
};
Result<Score> score(const MetricInfo& metric, std::span<const Record> records, const ScoreOptions& options = {});

/// Two backends on the same records (equal indices in equal order, or kInvalidArgument).
struct PairedDifference {
  double difference = 0, low = 0, high = 0;  // second less first, with a 95 % interval of the paired bootstrap (Koehn 2004)
  double p = 1;                              // two-sided, of the paired bootstrap: at least 2 / (resamples + 1)
  int resamples = 0;
};
Result<PairedDifference> paired_bootstrap(const MetricInfo& metric, std::span<const Record> first, std::span<const Record> second, const ScoreOptions& options = {});

/// Whether two classifiers err equally often (McNemar 1947): exact binomial below 25 discordant pairs, else chi-squared with
/// Edwards' continuity correction.
struct McNemar {
  int64_t only_first = 0, only_second = 0;   // right by one alone
  double statistic = 0, p = 1;
};
Result<McNemar> mcnemar(std::span<const Record> first, std::span<const Record> second);

/// A line of JSON, without the newline, and back. Numbers survive unchanged, NaN and infinities too; bytes that are no UTF-8 become
/// U+FFFD. Of lines, up to 64 MiB are read.
std::string to_line(const Record& record);
Result<Record> record_from_line(std::string_view line);

}  // namespace tenon::eval
