#include <algorithm>
#include <cmath>

#include "eval/metrics/makers.h"
#include "eval/metrics/text_outcomes.h"

namespace tenon::eval {
namespace {

double f_measure(double both, double predicted, double reference) { return both == 0 ? 0 : 2 * both / (predicted + reference); }

using Words = std::vector<std::u32string>;

/// n-grams of both texts against those of each.
double ngram_f1(const Words& predicted, const Words& reference, size_t n) {
  Vocabulary vocabulary;
  const Symbols a = vocabulary.numbers(predicted), b = vocabulary.numbers(reference);
  const Overlap overlap = ngram_overlap(a, b, n);
  return f_measure(static_cast<double>(overlap.both), static_cast<double>(overlap.a), static_cast<double>(overlap.b));
}

Result<std::unique_ptr<Scorer>> make_rouge_n(std::string_view metric, size_t n, std::span<const Record> records,
                                             const MetricOptions& options) {
  return best_reference_scorer(
      metric, records, [&](const std::u32string& text) { return tokenize_rouge(text, options.stemmer); },
      [n](const Words& predicted, const Words& reference) -> Result<double> { return ngram_f1(predicted, reference, n); });
}

Symbols letters(std::u32string_view text) { return {text.begin(), text.end()}; }

/// Edits over symbols of the reference, summed over records; of several references, the one with the lowest rate.
template <class Cut>
Result<std::unique_ptr<Scorer>> make_error_rate(std::string_view metric, std::span<const Record> records, Cut cut) {
  TENON_ASSIGN_OR_RETURN(const auto outcomes, text_outcomes(metric, records));
  std::vector<Quotient> parts;
  for (size_t r = 0; r < outcomes.size(); ++r) {
    Vocabulary vocabulary;
    const Symbols predicted = cut(decode_utf8(outcomes[r]->predicted), vocabulary);
    Quotient best;
    bool first = true;
    for (const std::string& text : outcomes[r]->references) {
      const Symbols reference = cut(decode_utf8(text), vocabulary);
      if (Status status = check_pairs(predicted.size(), reference.size()); !status.ok()) return std::move(status).at(place_of(records[r]));
      const Quotient one{static_cast<double>(edit_distance(predicted, reference)), static_cast<double>(reference.size())};
      if (first || one.numerator * best.denominator < best.numerator * one.denominator) best = one;
      first = false;
    }
    parts.push_back(best);
  }
  return quotient_scorer(parts);
}

}  // namespace

Result<std::unique_ptr<Scorer>> make_rouge1(std::span<const Record> records, const MetricOptions& options) {
  return make_rouge_n("rouge1", 1, records, options);
}
Result<std::unique_ptr<Scorer>> make_rouge2(std::span<const Record> records, const MetricOptions& options) {
  return make_rouge_n("rouge2", 2, records, options);
}

Result<std::unique_ptr<Scorer>> make_rouge_l(std::span<const Record> records, const MetricOptions& options) {
  return best_reference_scorer(
      "rougeL", records, [&](const std::u32string& text) { return tokenize_rouge(text, options.stemmer); },
      [](const Words& predicted, const Words& reference) -> Result<double> {
        TENON_RETURN_IF_ERROR(check_pairs(predicted.size(), reference.size()));
        Vocabulary vocabulary;
        const Symbols a = vocabulary.numbers(predicted), b = vocabulary.numbers(reference);
        return f_measure(static_cast<double>(longest_common_subsequence(a, b)), static_cast<double>(a.size()),
                         static_cast<double>(b.size()));
      });
}

Result<std::unique_ptr<Scorer>> make_exact_match(std::span<const Record> records, const MetricOptions&) {
  return best_reference_scorer(
      "exact_match", records, squad_words,
      [](const Words& predicted, const Words& reference) -> Result<double> { return predicted == reference ? 1 : 0; }, 100);
}

Result<std::unique_ptr<Scorer>> make_squad_f1(std::span<const Record> records, const MetricOptions&) {
  return best_reference_scorer(
      "squad_f1", records, squad_words,
      [](const Words& predicted, const Words& reference) -> Result<double> { return ngram_f1(predicted, reference, 1); }, 100);
}

Result<std::unique_ptr<Scorer>> make_wer(std::span<const Record> records, const MetricOptions&) {
  return make_error_rate("wer", records,
                         [](const std::u32string& text, Vocabulary& vocabulary) { return vocabulary.numbers(split_words(text)); });
}

Result<std::unique_ptr<Scorer>> make_cer(std::span<const Record> records, const MetricOptions&) {
  return make_error_rate("cer", records, [](const std::u32string& text, Vocabulary&) { return letters(strip(text)); });
}

Result<std::unique_ptr<Scorer>> make_perplexity(std::span<const Record> records, const MetricOptions&) {
  TENON_ASSIGN_OR_RETURN(const auto outcomes, outcomes_of<LikelihoodOutcome>("perplexity", records));
  Sums sums(2);
  for (size_t r = 0; r < outcomes.size(); ++r) {
    if (outcomes[r]->tokens < 0)
      return Status(Code::kInvalidArgument, fmt::format("{} tokens", outcomes[r]->tokens), place_of(records[r]), "count them from 0");
    sums.add(0, outcomes[r]->nll);
    sums.add(1, static_cast<double>(outcomes[r]->tokens));
    sums.end_record();
  }
  return std::make_unique<SumScorer>(
      std::move(sums), [](std::span<const double> s) { return std::exp(divided(s[0], s[1])); },
      [](std::span<const double> s) {
        return nlohmann::json{{"nll", s[0]}, {"tokens", s[1]}};
      });
}

}  // namespace tenon::eval
