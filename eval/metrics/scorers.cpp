#include "eval/metrics/scorers.h"

namespace tenon::eval {

std::string place_of(const Record& record) {
  return record.source.empty() ? fmt::format("record {}", record.index) : fmt::format("record {} ({})", record.index, record.source);
}

Status wrong_outcome(std::string_view metric, const Record& record) {
  const std::string_view name = outcome_name(record.outcome);
  return Status(Code::kInvalidArgument, fmt::format("{} does not read an outcome of kind {}", metric, name), place_of(record),
                "metrics that do: " + metric_names(name));
}

void Sums::add_record(size_t record, std::vector<double>& sums) const {
  for (size_t i = record == 0 ? 0 : ends_[record - 1]; i < ends_[record]; ++i) sums[entries_[i].slot] += entries_[i].value;
}

std::vector<double> Sums::over(std::span<const size_t> sample) const {
  std::vector<double> sums(slots_);
  for (size_t record : sample) add_record(record, sums);
  return sums;
}

std::vector<double> Sums::over_all() const {
  std::vector<double> sums(slots_);
  for (size_t record = 0; record < ends_.size(); ++record) add_record(record, sums);
  return sums;
}

std::unique_ptr<Scorer> quotient_scorer(const std::vector<Quotient>& parts, double factor) {
  Sums sums(2);
  for (const Quotient& part : parts) {
    sums.add(0, part.numerator);
    sums.add(1, part.denominator);
    sums.end_record();
  }
  return std::make_unique<SumScorer>(std::move(sums), [factor](std::span<const double> s) { return factor * divided(s[0], s[1]); });
}

std::unique_ptr<Scorer> mean_scorer(const std::vector<double>& values, double factor) {
  std::vector<Quotient> parts;
  parts.reserve(values.size());
  for (double value : values) parts.push_back({value, 1});
  return quotient_scorer(parts, factor);
}

std::vector<uint32_t> multiplicities(std::span<const size_t> sample, size_t records) {
  std::vector<uint32_t> counts(records);
  for (size_t record : sample) ++counts[record];
  return counts;
}

}  // namespace tenon::eval
