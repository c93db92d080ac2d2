#include "eval/metrics/text_outcomes.h"

namespace tenon::eval {
namespace {

constexpr double kMaxSymbols = 1 << 24;

}  // namespace

Result<std::vector<const TextOutcome*>> text_outcomes(std::string_view metric, std::span<const Record> records) {
  TENON_ASSIGN_OR_RETURN(auto outcomes, outcomes_of<TextOutcome>(metric, records));
  for (size_t r = 0; r < outcomes.size(); ++r) {
    const TextOutcome& text = *outcomes[r];
    if (text.references.empty())
      return Status(Code::kInvalidArgument, "no reference", place_of(records[r]), fmt::format("{} compares with one at least", metric));
    double symbols = static_cast<double>(text.predicted.size()) * static_cast<double>(text.references.size());
    for (const std::string& reference : text.references) symbols += static_cast<double>(reference.size());
    if (symbols > kMaxSymbols)
      return Status(Code::kResourceExhausted,
                    fmt::format("{} bytes of text with {} references", text.predicted.size(), text.references.size()), place_of(records[r]),
                    fmt::format("{} reads 16 MiB a record, the prediction once a reference: split the texts", metric));
  }
  return outcomes;
}

Status check_pairs(size_t a, size_t b) {
  if (static_cast<double>(a) * static_cast<double>(b) <= kMaxPairs) return {};
  return Status(Code::kResourceExhausted, fmt::format("texts of {} and {} symbols are too long to align", a, b), {}, "split them");
}

}  // namespace tenon::eval
