#pragma once

#include <optional>
#include <string>

#include "eval/report/reader.h"

/// Figures for people: a unit, and as many digits as tell values apart.
namespace tenon::eval::report {

/// Milliseconds as "12.3 µs", "1.23 ms", "10.0 s", "2.1 min".
std::string duration(double ms);
/// "512 B", "1.20 MiB".
std::string bytes(double count);
/// "38.1 k", "9.23 M": plain below 1000.
std::string count(double value);
/// Three significant digits, an exponent only far from 1.
std::string figure(double value, int digits = 3);
/// A score: four decimals below 10, else four significant digits at least.
std::string score(double value);
/// "3.21×".
std::string ratio(double value);
/// "12.3 %" of a share in [0, 1].
std::string percent(double share);

/// The label of a round value: "1.00 ms" is "1 ms".
std::string trimmed(std::string label);

using Formatter = std::string (*)(double);
/// Empty when there is none.
std::string optional(const std::optional<double>& value, Formatter format);
/// "[low, high]" by `format`; a unit that both share is written once, the sign of ratios not at all.
std::string bracket(const std::optional<Interval>& interval, Formatter format);
/// A figure and, smaller, its interval: HTML.
std::string with_interval(const std::optional<double>& value, const std::optional<Interval>& interval, Formatter format);

}  // namespace tenon::eval::report
