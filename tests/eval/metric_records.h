#pragma once

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "eval/metrics/metric.h"

namespace tenon::eval {

inline std::vector<Record> records_of(std::vector<Outcome> outcomes) {
  std::vector<Record> out;
  for (Outcome& outcome : outcomes) out.push_back({static_cast<int64_t>(out.size()), "", std::move(outcome)});
  return out;
}

inline std::vector<Record> class_records(const std::vector<int64_t>& labels, const std::vector<int64_t>& predicted) {
  std::vector<Outcome> out;
  for (size_t i = 0; i < labels.size(); ++i) out.push_back(ClassOutcome{labels[i], predicted[i], labels[i] == predicted[i] ? 0 : 1});
  return records_of(std::move(out));
}

struct TextPair {
  std::string predicted;
  std::vector<std::string> references;
};
inline std::vector<Record> text_records(const std::vector<TextPair>& pairs) {
  std::vector<Outcome> out;
  for (const TextPair& pair : pairs) out.push_back(TextOutcome{pair.predicted, pair.references});
  return records_of(std::move(out));
}

inline std::vector<Record> value_records(const std::vector<double>& target, const std::vector<double>& predicted) {
  std::vector<Outcome> out;
  for (size_t i = 0; i < target.size(); ++i) out.push_back(ValueOutcome{{predicted[i]}, {target[i]}});
  return records_of(std::move(out));
}

/// The score without an interval; fails the test when there is none.
inline Score scored(std::string_view metric, std::span<const Record> records, const MetricOptions& options = {}) {
  const MetricInfo* info = find_metric(metric);
  if (info == nullptr) {
    ADD_FAILURE() << "no metric " << metric;
    return {};
  }
  Result<Score> out = score(*info, records, {options, 0});
  EXPECT_TRUE(out.ok()) << metric << ": " << out.status().to_string();
  return out.ok() ? std::move(out).value() : Score{};
}
inline double value(std::string_view metric, std::span<const Record> records, const MetricOptions& options = {}) {
  return scored(metric, records, options).value;
}

}  // namespace tenon::eval
