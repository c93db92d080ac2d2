#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

/// Reading JSON in which members may be missing, null or of another type. Nothing here fails or throws.
namespace tenon::eval::report {

/// Null when `object` is no object or has no such member.
const nlohmann::json& member(const nlohmann::json& object, const char* key);
/// Its elements; an empty array when it is none.
const nlohmann::json& list(const nlohmann::json& object, const char* key);

std::optional<double> number(const nlohmann::json& value);
/// Finite numbers only.
std::optional<double> number(const nlohmann::json& object, const char* key);
/// Above zero: what a logarithmic scale can show.
std::optional<double> positive(const nlohmann::json& object, const char* key);

/// Strings as they are, numbers and booleans as text, elements of lists and objects separated by commas (to a bounded depth and
/// length); empty for null.
std::string text(const nlohmann::json& value);
std::string text(const nlohmann::json& object, const char* key);

struct Interval {
  double low = 0, high = 0;
};
/// [low, high] with low <= high.
std::optional<Interval> interval(const nlohmann::json& object, const char* key);

}  // namespace tenon::eval::report
