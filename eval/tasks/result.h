#pragma once

#include <nlohmann/json.hpp>

#include "eval/tasks/evaluate.h"

/// What an evaluation comes to.
namespace tenon::eval {

struct ScoredMetric {
  std::string title;                         // "f1 (micro)"
  Status status;                             // why there is no score
  Score score;
};
struct PairComparison {
  std::string metric;
  PairedDifference difference;
};
struct ScoredCandidate {
  std::vector<ScoredMetric> metrics;
  double p10 = 0, p50 = 0, p90 = 0, mean = 0;// ms of runs: those of a full batch where there is one, without the first of a session
  bool full_batches = true;                  // whether they are of that
  int64_t runs = 0;                          // that they are of; 0: of the first of a session, which is all there is
  double single_ms = 0;                      // median of examples that ran alone; 0: none did
  double first_run_ms = 0, throughput = 0;   // examples a second of all runs but first ones
  size_t arena_bytes = 0;
  // Against the first candidate; only where both took part to the end.
  bool compared = false;
  double max_abs = 0;
  bool comparable = true;                    // false: shapes differ, or a NaN or infinity is one's alone
  int64_t other_predictions = -1;            // -1: the outcome has no such thing
  std::vector<PairComparison> comparisons;
  std::optional<McNemar> mcnemar;            // of classes
};

/// In the order of the results. `say` is called with what is being done; `interrupt` is looked at before each metric.
Result<std::vector<ScoredCandidate>> score_all(const Evaluation& evaluation, int resamples, const std::function<void(const std::string&)>& say = {},
                                               const Interrupt& interrupt = {});

/// {"kind": "eval", "context", "task", "dataset", "examples", "problems", "results", "comparisons"}; docs/evaluating.md has the keys.
nlohmann::json to_json(const Evaluation& evaluation, const std::vector<ScoredCandidate>& scores, nlohmann::json context);

/// Whether two outcomes predict the same, for those that predict classes, tokens or a text; nullopt for the others.
std::optional<bool> same_prediction(const Outcome& a, const Outcome& b);

}  // namespace tenon::eval
