#include "eval/report/reader.h"

#include <cmath>

#include <fmt/format.h>

namespace tenon::eval::report {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 4;
constexpr size_t kMaxText = 4000;

void append(std::string& out, const json& value, int depth) {
  if (out.size() > kMaxText) return;
  if (value.is_string()) {
    out += value.get_ref<const std::string&>();
  } else if (value.is_boolean()) {
    out += value.get<bool>() ? "yes" : "no";
  } else if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::isfinite(number)) out += fmt::format("{:.6g}", number);
  } else if (value.is_number_unsigned()) {
    out += std::to_string(value.get<uint64_t>());
  } else if (value.is_number_integer()) {
    out += std::to_string(value.get<int64_t>());
  } else if (value.is_structured()) {
    if (depth == kMaxDepth) {
      out += "…";
      return;
    }
    bool first = true;
    for (auto it = value.begin(); it != value.end() && out.size() <= kMaxText; ++it) {
      if (it->is_null()) continue;
      if (!first) out += ", ";
      first = false;
      if (value.is_object()) out += it.key() + " ";
      append(out, *it, depth + 1);
    }
  }
}

}  // namespace

const json& member(const json& object, const char* key) {
  static const json null;
  if (!object.is_object()) return null;
  const auto found = object.find(key);
  return found == object.end() ? null : *found;
}

const json& list(const json& object, const char* key) {
  static const json empty = json::array();
  const json& found = member(object, key);
  return found.is_array() ? found : empty;
}

std::optional<double> number(const json& value) {
  if (!value.is_number()) return std::nullopt;
  const double number = value.get<double>();
  return std::isfinite(number) ? std::optional(number) : std::nullopt;
}

std::optional<double> number(const json& object, const char* key) { return number(member(object, key)); }

std::optional<double> positive(const json& object, const char* key) {
  const auto value = number(object, key);
  return value && *value > 0 ? value : std::nullopt;
}

std::string text(const json& value) {
  std::string out;
  append(out, value, 0);
  return out;
}

std::string text(const json& object, const char* key) { return text(member(object, key)); }

std::optional<Interval> interval(const json& object, const char* key) {
  const json& pair = list(object, key);
  if (pair.size() != 2) return std::nullopt;
  const auto low = number(pair[0]), high = number(pair[1]);
  return low && high && *low <= *high ? std::optional(Interval{*low, *high}) : std::nullopt;
}

}  // namespace tenon::eval::report
