#include "eval/report/format.h"

#include <cmath>

#include <fmt/format.h>

namespace tenon::eval::report {
namespace {

struct Unit {
  double size;
  const char* name;
};

/// Three significant digits of what is below 1000, no exponent.
std::string three(double value) {
  const double magnitude = std::abs(value);
  return fmt::format("{:.{}f}", value, magnitude < 9.995 ? 2 : magnitude < 99.95 ? 1 : 0);
}

/// In the largest unit of which it has at least one, or the smallest.
template <size_t N>
std::string in_units(double value, const Unit (&units)[N]) {
  const Unit* unit = &units[0];
  for (const Unit& next : units)
    if (std::abs(value) >= next.size * 0.9995) unit = &next;
  const double scaled = value / unit->size;
  return fmt::format("{} {}", std::abs(scaled) < 1e6 ? three(scaled) : fmt::format("{:.2e}", scaled), unit->name);
}

}  // namespace

std::string duration(double ms) {
  static constexpr Unit kUnits[] = {{1e-6, "ns"}, {1e-3, "µs"}, {1, "ms"}, {1e3, "s"}, {6e4, "min"}, {3.6e6, "h"}};
  return ms == 0 ? "0 ms" : in_units(ms, kUnits);
}

std::string bytes(double count) {
  static constexpr Unit kUnits[] = {{1024, "KiB"}, {1048576, "MiB"}, {1073741824, "GiB"}, {1099511627776, "TiB"}};
  return std::abs(count) < 1024 ? fmt::format("{:.0f} B", count) : in_units(count, kUnits);
}

std::string count(double value) {
  static constexpr Unit kUnits[] = {{1e3, "k"}, {1e6, "M"}, {1e9, "G"}, {1e12, "T"}};
  return std::abs(value) < 1000 ? fmt::format("{:.{}f}", value, value == std::floor(value) ? 0 : 1) : in_units(value, kUnits);
}

std::string figure(double value, int digits) {
  const double magnitude = std::abs(value);
  if (value == 0) return "0";
  if (magnitude < 1e-4 || magnitude >= 1e6) return fmt::format("{:.{}e}", value, digits - 1);
  const int decimals = digits - 1 - static_cast<int>(std::floor(std::log10(magnitude)));
  return fmt::format("{:.{}f}", value, std::max(decimals, 0));
}

std::string score(double value) {
  const double magnitude = std::abs(value);
  if (magnitude >= 1e6 || (magnitude > 0 && magnitude < 1e-3)) return figure(value);
  return fmt::format("{:.{}f}", value, magnitude < 10 ? 4 : magnitude < 100 ? 2 : 1);
}

std::string ratio(double value) { return figure(value) + "×"; }

std::string percent(double share) {
  const double value = share * 100;
  return std::abs(value) < 1e6 ? fmt::format("{:.1f} %", value) : figure(value) + " %";
}

std::string trimmed(std::string label) {
  const size_t point = label.find('.');
  if (point == label.npos) return label;
  size_t end = point + 1;
  while (end < label.size() && label[end] >= '0' && label[end] <= '9') ++end;
  size_t kept = end;
  while (label[kept - 1] == '0') --kept;
  if (label[kept - 1] == '.') --kept;
  return label.erase(kept, end - kept);
}

std::string optional(const std::optional<double>& value, Formatter format) { return value ? format(*value) : std::string(); }

std::string bracket(const std::optional<Interval>& interval, Formatter format) {
  if (!interval) return {};
  std::string low = format(interval->low);
  std::string high = format(interval->high);
  for (std::string* text : {&low, &high})
    if (text->ends_with("×")) text->resize(text->size() - std::string_view("×").size());
  const size_t space_low = low.rfind(' '), space_high = high.rfind(' ');
  if (space_low != low.npos && space_high != high.npos && low.substr(space_low) == high.substr(space_high)) low.resize(space_low);
  return fmt::format("[{}, {}]", low, high);
}

std::string with_interval(const std::optional<double>& value, const std::optional<Interval>& interval, Formatter format) {
  if (!value || !interval) return optional(value, format);
  return fmt::format("{} <small>{}</small>", format(*value), bracket(interval, format));
}

}  // namespace tenon::eval::report
