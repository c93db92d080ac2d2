#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include <fmt/format.h>

#include "eval/metrics/metric.h"

/// What metrics are made of.
namespace tenon::eval {

inline constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

/// "record 7 (cat/3.jpg)"
std::string place_of(const Record& record);
/// kInvalidArgument: `metric` cannot read this record.
Status wrong_outcome(std::string_view metric, const Record& record);

/// The outcomes of records, which are all of one kind.
template <class T>
Result<std::vector<const T*>> outcomes_of(std::string_view metric, std::span<const Record> records) {
  std::vector<const T*> out;
  out.reserve(records.size());
  for (const Record& record : records) {
    const T* outcome = std::get_if<T>(&record.outcome);
    if (outcome == nullptr) return wrong_outcome(metric, record);
    out.push_back(outcome);
  }
  return out;
}

/// What each record adds to each of a row of sums. Most records add to few of them.
class Sums {
 public:
  explicit Sums(size_t slots) : slots_(slots) {}
  size_t slots() const { return slots_; }
  size_t entries() const { return entries_.size(); }
  /// Of the record that is being added.
  void add(size_t slot, double value) {
    if (value != 0) entries_.push_back({static_cast<uint32_t>(slot), value});  // NaN is not 0
  }
  void end_record() { ends_.push_back(entries_.size()); }
  std::vector<double> over(std::span<const size_t> sample) const;
  std::vector<double> over_all() const;

 private:
  struct Entry {
    uint32_t slot;
    double value;
  };
  void add_record(size_t record, std::vector<double>& sums) const;

  size_t slots_;
  std::vector<Entry> entries_;
  std::vector<size_t> ends_;
};

/// A function of sums over records: most metrics are one.
class SumScorer final : public Scorer {
 public:
  using Finish = std::function<double(std::span<const double> sums)>;
  using Details = std::function<nlohmann::json(std::span<const double> sums)>;
  SumScorer(Sums sums, Finish finish, Details details = {})
      : sums_(std::move(sums)), finish_(std::move(finish)), details_(std::move(details)) {}

  double value(std::span<const size_t> sample) const override { return finish_(sums_.over(sample)); }
  nlohmann::json details() const override { return details_ ? details_(sums_.over_all()) : nlohmann::json(nullptr); }
  double cost() const override { return static_cast<double>(sums_.entries() + sums_.slots()); }

 private:
  Sums sums_;
  Finish finish_;
  Details details_;
};

/// The quotient of two sums, of which each record adds `parts(outcome)`; NaN when the second is 0.
struct Quotient {
  double numerator = 0, denominator = 0;
};
std::unique_ptr<Scorer> quotient_scorer(const std::vector<Quotient>& parts, double factor = 1);
/// The mean over records.
std::unique_ptr<Scorer> mean_scorer(const std::vector<double>& values, double factor = 1);

/// How often each of `records` records occurs in a sample.
std::vector<uint32_t> multiplicities(std::span<const size_t> sample, size_t records);

/// a / b, NaN when b is 0.
inline double divided(double a, double b) { return b == 0 ? kUndefined : a / b; }
/// a / b, 0 when b is 0: scikit-learn's zero_division.
inline double divided_or_zero(double a, double b) { return b == 0 ? 0 : a / b; }

}  // namespace tenon::eval
