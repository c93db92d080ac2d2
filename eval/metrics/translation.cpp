#include <algorithm>
#include <array>
#include <cmath>

#include "eval/metrics/makers.h"
#include "eval/metrics/text_outcomes.h"

namespace tenon::eval {
namespace {

// ---- BLEU (Papineni et al. 2002), as sacreBLEU (Post 2018) computes it

constexpr size_t kBleuOrder = 4;
/// Slots: records, length of the predictions, of the references; n-grams right and n-grams, by n.
enum BleuSlot : size_t { kRecords, kLength, kReferenceLength, kRight, kAll = kRight + kBleuOrder, kBleuSlots = kAll + kBleuOrder };

/// The length of a reference that is nearest to that of the prediction; of two, the shorter.
size_t nearest_length(size_t length, std::span<const Symbols> references) {
  const auto distance = [length](size_t other) { return other > length ? other - length : length - other; };
  size_t nearest = references[0].size();
  for (const Symbols& reference : references) {
    const size_t other = reference.size();
    if (distance(other) < distance(nearest) || (distance(other) == distance(nearest) && other < nearest)) nearest = other;
  }
  return nearest;
}

void add_bleu(const TextOutcome& text, Sums& sums) {
  Vocabulary vocabulary;
  std::vector<Symbols> sequences{vocabulary.numbers(tokenize_13a(decode_utf8(text.predicted)))};
  for (const std::string& reference : text.references) sequences.push_back(vocabulary.numbers(tokenize_13a(decode_utf8(reference))));
  const size_t length = sequences[0].size();
  sums.add(kRecords, 1);
  sums.add(kLength, static_cast<double>(length));
  sums.add(kReferenceLength, static_cast<double>(nearest_length(length, std::span(sequences).subspan(1))));
  for (size_t n = 1; n <= kBleuOrder; ++n) {
    int64_t right = 0;
    for_each_ngram(sequences, n, [&](std::span<const NgramCount> counts) {
      if (counts[0].sequence != 0) return;
      int64_t most = 0;
      for (const NgramCount& reference : counts.subspan(1)) most = std::max(most, reference.count);
      right += std::min(counts[0].count, most);
    });
    sums.add(kRight + n - 1, static_cast<double>(right));
    sums.add(kAll + n - 1, length < n ? 0 : static_cast<double>(length - n + 1));
  }
  sums.end_record();
}

/// Precisions in percent; exponential smoothing halves what an order without a match counts for, once more for each (mteval-v13a.pl).
std::array<double, kBleuOrder> bleu_precisions(std::span<const double> sums) {
  std::array<double, kBleuOrder> out{};
  double smooth = 1;
  for (size_t n = 0; n < kBleuOrder && sums[kAll + n] > 0; ++n) {
    if (sums[kRight + n] == 0) smooth *= 2;
    out[n] = 100 * (sums[kRight + n] == 0 ? 1 / smooth : sums[kRight + n]) / sums[kAll + n];
  }
  return out;
}

double brevity_penalty(std::span<const double> sums) {
  if (sums[kLength] >= sums[kReferenceLength]) return 1;
  return sums[kLength] > 0 ? std::exp(1 - sums[kReferenceLength] / sums[kLength]) : 0;
}

double bleu(std::span<const double> sums) {
  if (sums[kRecords] == 0) return kUndefined;
  if (std::all_of(&sums[kRight], &sums[kRight] + kBleuOrder, [](double right) { return right == 0; })) return 0;
  double logs = 0;
  for (double precision : bleu_precisions(sums)) {
    if (precision == 0) return 0;
    logs += std::log(precision);
  }
  return brevity_penalty(sums) * std::exp(logs / kBleuOrder);
}

nlohmann::json bleu_json(std::span<const double> sums) {
  return {{"precisions", bleu_precisions(sums)},
          {"brevity_penalty", brevity_penalty(sums)},
          {"length", sums[kLength]},
          {"reference_length", sums[kReferenceLength]}};
}

// ---- chrF2 (Popović 2015), as sacreBLEU computes it

constexpr size_t kChrfOrder = 6;
constexpr size_t kChrfSlots = 3 * kChrfOrder + 1;  // n-grams predicted, of the reference, of both, by n; and records
using ChrfCounts = std::array<double, kChrfSlots>;

double chrf(std::span<const double> sums) {
  if (sums[kChrfSlots - 1] == 0) return kUndefined;
  double precision = 0, recall = 0, orders = 0;
  for (size_t n = 0; n < kChrfOrder; ++n) {
    const double predicted = sums[3 * n], reference = sums[3 * n + 1], both = sums[3 * n + 2];
    if (predicted == 0 || reference == 0) continue;
    precision += both / predicted;
    recall += both / reference;
    ++orders;
  }
  if (precision + recall == 0) return 0;
  constexpr double kBeta2 = 4;
  precision /= orders;
  recall /= orders;
  return 100 * (1 + kBeta2) * precision * recall / (kBeta2 * precision + recall);
}

/// The code points that are not white space.
Symbols letters_of(std::string_view text) {
  Symbols out;
  for (char32_t c : decode_utf8(text))
    if (!is_space(c)) out.push_back(c);
  return out;
}

ChrfCounts chrf_counts(const Symbols& predicted, const Symbols& reference) {
  ChrfCounts out{};
  for (size_t n = 1; n <= kChrfOrder; ++n) {
    const Overlap overlap = ngram_overlap(predicted, reference, n);
    out[3 * n - 3] = overlap.b > 0 ? static_cast<double>(overlap.a) : 0;
    out[3 * n - 2] = static_cast<double>(overlap.b);
    out[3 * n - 1] = static_cast<double>(overlap.both);
  }
  out[kChrfSlots - 1] = 1;
  return out;
}

void add_chrf(const TextOutcome& text, Sums& sums) {
  const Symbols predicted = letters_of(text.predicted);
  ChrfCounts best{};
  double best_score = -1;
  for (const std::string& reference : text.references) {
    const ChrfCounts counts = chrf_counts(predicted, letters_of(reference));
    if (const double value = chrf(counts); value > best_score) {
      best_score = value;
      best = counts;
    }
  }
  for (size_t i = 0; i < kChrfSlots; ++i) sums.add(i, best[i]);
  sums.end_record();
}

// ---- METEOR (Banerjee and Lavie 2005), with the parameters and the alignment of NLTK, without WordNet

constexpr double kAlpha = 0.9, kBeta = 3, kGamma = 0.5;
constexpr size_t kUnaligned = SIZE_MAX;

/// Words and their stems.
struct Stemmed {
  std::vector<std::u32string> words, stems;
};

Stemmed stemmed(const std::u32string& text) {
  Stemmed out;
  for (std::u32string& word : tokenize_wordpunct(text)) {
    out.words.push_back(lower(std::move(word)));
    out.stems.push_back(porter_stem(out.words.back()));
  }
  return out;
}

/// Aligns what is not aligned yet and equal, from the end: the last words of both first.
void align(const std::vector<std::u32string>& predicted, const std::vector<std::u32string>& reference, std::vector<size_t>& alignment,
           std::vector<bool>& taken) {
  std::unordered_map<std::u32string_view, std::vector<size_t>> places;
  for (size_t j = 0; j < reference.size(); ++j)
    if (!taken[j]) places[reference[j]].push_back(j);
  for (size_t i = predicted.size(); i-- > 0;) {
    if (alignment[i] != kUnaligned) continue;
    const auto found = places.find(predicted[i]);
    if (found == places.end() || found->second.empty()) continue;
    alignment[i] = found->second.back();
    taken[alignment[i]] = true;
    found->second.pop_back();
  }
}

Result<double> meteor(const Stemmed& predicted, const Stemmed& reference) {
  std::vector<size_t> alignment(predicted.words.size(), kUnaligned);
  std::vector<bool> taken(reference.words.size());
  align(predicted.words, reference.words, alignment, taken);
  align(predicted.stems, reference.stems, alignment, taken);
  double matches = 0, chunks = 0;
  for (size_t i = 0; i < alignment.size(); ++i) {
    if (alignment[i] == kUnaligned) continue;
    ++matches;
    if (i == 0 || alignment[i - 1] == kUnaligned || alignment[i] != alignment[i - 1] + 1) ++chunks;
  }
  if (matches == 0) return 0.0;
  const double precision = matches / static_cast<double>(predicted.words.size()),
               recall = matches / static_cast<double>(reference.words.size());
  const double mean = precision * recall / (kAlpha * precision + (1 - kAlpha) * recall);
  return mean * (1 - kGamma * std::pow(chunks / matches, kBeta));
}

}  // namespace

Result<std::unique_ptr<Scorer>> make_bleu(std::span<const Record> records, const MetricOptions&) {
  TENON_ASSIGN_OR_RETURN(const auto outcomes, text_outcomes("bleu", records));
  Sums sums(kBleuSlots);
  for (const TextOutcome* text : outcomes) add_bleu(*text, sums);
  return std::make_unique<SumScorer>(std::move(sums), bleu, bleu_json);
}

Result<std::unique_ptr<Scorer>> make_chrf(std::span<const Record> records, const MetricOptions&) {
  TENON_ASSIGN_OR_RETURN(const auto outcomes, text_outcomes("chrf", records));
  Sums sums(kChrfSlots);
  for (const TextOutcome* text : outcomes) add_chrf(*text, sums);
  return std::make_unique<SumScorer>(std::move(sums), chrf);
}

Result<std::unique_ptr<Scorer>> make_meteor(std::span<const Record> records, const MetricOptions&) {
  return best_reference_scorer("meteor", records, stemmed, meteor);
}

}  // namespace tenon::eval
