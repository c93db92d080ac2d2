#pragma once

#include <limits>

#include "eval/metrics/scorers.h"
#include "eval/metrics/text.h"

namespace tenon::eval {

/// The text outcomes of records, each with a reference at least and of a length that can be worked on: code points of the prediction for
/// each reference, and those of the references, 2^24 together.
Result<std::vector<const TextOutcome*>> text_outcomes(std::string_view metric, std::span<const Record> records);

/// The mean over records of the best that `similarity(predicted, reference)` is for a reference. `prepare` makes what it compares.
template <class Prepare, class Similarity>
Result<std::unique_ptr<Scorer>> best_reference_scorer(std::string_view metric, std::span<const Record> records, Prepare prepare,
                                                      Similarity similarity, double factor = 1) {
  TENON_ASSIGN_OR_RETURN(const auto outcomes, text_outcomes(metric, records));
  std::vector<double> values;
  for (size_t r = 0; r < outcomes.size(); ++r) {
    const auto predicted = prepare(decode_utf8(outcomes[r]->predicted));
    double best = -std::numeric_limits<double>::infinity();
    for (const std::string& reference : outcomes[r]->references) {
      Result<double> value = similarity(predicted, prepare(decode_utf8(reference)));
      if (!value.ok()) return std::move(value).status().at(place_of(records[r]));
      best = std::max(best, *value);
    }
    values.push_back(best);
  }
  return mean_scorer(values, factor);
}

/// kResourceExhausted when two sequences are too long to be aligned.
Status check_pairs(size_t a, size_t b);

}  // namespace tenon::eval
