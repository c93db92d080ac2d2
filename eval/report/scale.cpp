#include "eval/report/scale.h"

#include <algorithm>
#include <cmath>

namespace tenon::eval::report {
namespace {

// Beyond these a difference or a quotient of two values could overflow.
constexpr double kLargest = 1e100, kSmallest = 1e-100;

std::optional<Interval> range_of(std::span<const double> values, double least) {
  std::optional<Interval> range;
  for (double value : values) {
    if (!std::isfinite(value) || value < least) continue;
    value = std::clamp(value, -kLargest, kLargest);
    if (!range) range = Interval{value, value};
    range->low = std::min(range->low, value);
    range->high = std::max(range->high, value);
  }
  return range;
}

/// 1, 2 or 5 times a power of ten, at least `value`.
double round_up(double value) {
  const double power = std::pow(10, std::floor(std::log10(value)));
  for (double factor : {1.0, 2.0, 5.0})
    if (factor * power >= value * (1 - 1e-9)) return factor * power;
  return 10 * power;
}

}  // namespace

Scale Scale::linear(std::span<const double> values, bool from_zero) {
  std::optional<Interval> range = range_of(values, -kLargest);
  if (!range) return {0, 1, false};
  if (from_zero) range = Interval{std::min(range->low, 0.0), std::max(range->high, 0.0)};
  double width = range->high - range->low;
  // Equal values, or such as differ by rounding alone, get an axis on which they stand in the middle.
  const double least = std::max({std::abs(range->high), std::abs(range->low), 1e-12}) * 1e-3;
  if (width < least) {
    range = Interval{range->low - least, range->high + least};
    width = range->high - range->low;
  }
  const bool at_zero = from_zero && range->low == 0;
  return {at_zero ? 0 : range->low - 0.06 * width, range->high + 0.06 * width, false};
}

Scale Scale::logarithmic(std::span<const double> values) {
  std::optional<Interval> range = range_of(values, kSmallest);
  if (!range) return {1, 10, true};
  if (range->high < 2 * range->low) {
    const double middle = std::sqrt(range->low) * std::sqrt(range->high);
    range = Interval{middle / std::sqrt(2.0), middle * std::sqrt(2.0)};
  }
  const double room = std::pow(range->high / range->low, 0.06);
  return {range->low / room, range->high * room, true};
}

double Scale::at(double value) const {
  if (std::isnan(value)) return 0;
  const double fraction = log_ ? std::log(std::max(value, kSmallest) / low_) / std::log(high_ / low_) : (value - low_) / (high_ - low_);
  return std::clamp(fraction, 0.0, 1.0);
}

std::vector<double> Scale::ticks(size_t most) const {
  std::vector<double> out;
  if (!log_) {
    const double step = round_up((high_ - low_) / static_cast<double>(most));
    for (double k = std::ceil(low_ / step); k * step <= high_ && out.size() < most + 1; ++k) out.push_back(k * step);
    return out;
  }
  const int first = static_cast<int>(std::floor(std::log10(low_))), last = static_cast<int>(std::ceil(std::log10(high_)));
  const std::initializer_list<double> none = {1}, some = {1, 3}, many = {1, 2, 5};
  // The densest of the usual subdivisions that fits.
  for (const auto& factors : {many, some, none}) {
    for (int stride = 1; stride <= (factors.size() == 1 ? last - first + 1 : 1); ++stride) {
      out.clear();
      for (int power = first; power <= last; power += stride)
        for (double factor : factors)
          if (const double value = factor * std::pow(10, power); value >= low_ * (1 - 1e-9) && value <= high_ * (1 + 1e-9)) out.push_back(value);
      if (out.size() <= most && !out.empty()) return out;
    }
  }
  if (out.empty()) out.push_back(std::sqrt(low_) * std::sqrt(high_));
  return out;
}

}  // namespace tenon::eval::report
