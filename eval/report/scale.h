#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/report/format.h"

namespace tenon::eval::report {

/// Values to fractions of an axis. Made from what is to be shown, with some room around it; without values it is [0, 1], or
/// [1, 10] when logarithmic.
class Scale {
 public:
  static Scale linear(std::span<const double> values, bool from_zero = false);
  /// Of values above zero; others are ignored. At least a factor of 2.
  static Scale logarithmic(std::span<const double> values);

  /// In [0, 1]: what is outside lies at the edge.
  double at(double value) const;
  double low() const { return low_; }
  double high() const { return high_; }
  bool is_log() const { return log_; }

  /// Between two and `most` round values inside, ascending.
  std::vector<double> ticks(size_t most = 6) const;

 private:
  Scale(double low, double high, bool log) : low_(low), high_(high), log_(log) {}
  double low_, high_;
  bool log_;
};

}  // namespace tenon::eval::report
