#include "eval/tasks/object_reader.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tenon::eval {
using nlohmann::json;

namespace {

size_t edits(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

}  // namespace

std::string nearest(std::string_view wanted, std::span<const std::string> names) {
  constexpr size_t kLongest = 200;  // beyond it, nothing that was meant
  if (wanted.size() > kLongest) return {};
  std::string best;
  size_t least = std::max<size_t>(2, wanted.size() / 3) + 1;
  for (const std::string& name : names)
    if (const size_t distance = edits(wanted, name); distance < least) {
      least = distance;
      best = name;
    }
  return best;
}

std::string suggest(std::string_view wanted, std::span<const std::string> names) {
  const std::string near = nearest(wanted, names);
  if (!near.empty()) return fmt::format("did you mean '{}'?", near);
  return names.empty() ? std::string() : fmt::format("choose from {}", fmt::join(names, ", "));
}

std::string brief(const json& value) {
  constexpr size_t kShown = 60;
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  return text.size() <= kShown ? text : text.substr(0, kShown) + "…";
}

ObjectReader::ObjectReader(const json& object, std::string where) : object_(object), where_(std::move(where)) {
  if (!object.is_object()) status_ = Status(Code::kInvalidArgument, fmt::format("{} is not an object", brief(object)), where_);
}

const json* ObjectReader::find(const char* key) {
  known_.emplace_back(key);
  if (!object_.is_object()) return nullptr;
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const json* ObjectReader::any(const char* key) { return find(key); }

void ObjectReader::fail(const char* key, std::string_view wanted, const json& value) {
  if (status_.ok()) status_ = Status(Code::kInvalidArgument, fmt::format("{} is not {}", brief(value), wanted), at(key));
}

void ObjectReader::text(const char* key, std::string& out) {
  const json* value = find(key);
  if (value == nullptr) return;
  if (value->is_string()) out = value->get<std::string>();
  else fail(key, "a text", *value);
}

void ObjectReader::integer(const char* key, int64_t& out, int64_t low, int64_t high) {
  const json* value = find(key);
  if (value == nullptr) return;
  const bool fits = value->is_number_integer() && !(value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX);
  if (fits && value->get<int64_t>() >= low && value->get<int64_t>() <= high) out = value->get<int64_t>();
  else fail(key, fmt::format("an integer from {} to {}", low, high), *value);
}

void ObjectReader::number(const char* key, double& out) {
  const json* value = find(key);
  if (value == nullptr) return;
  if (value->is_number() && std::isfinite(value->get<double>())) out = value->get<double>();
  else fail(key, "a finite number", *value);
}

void ObjectReader::boolean(const char* key, bool& out) {
  const json* value = find(key);
  if (value == nullptr) return;
  if (value->is_boolean()) out = value->get<bool>();
  else fail(key, "true or false", *value);
}

void ObjectReader::strings(const char* key, std::vector<std::string>& out) {
  const json* value = find(key);
  if (value == nullptr) return;
  const bool list = value->is_array() && std::all_of(value->begin(), value->end(), [](const json& v) { return v.is_string(); });
  if (list) out = value->get<std::vector<std::string>>();
  else fail(key, "a list of texts", *value);
}

Status ObjectReader::finish() {
  if (!status_.ok()) return status_;
  for (const auto& [key, value] : object_.items())
    if (std::find(known_.begin(), known_.end(), key) == known_.end())
      return Status(Code::kInvalidArgument, fmt::format("unknown key '{}'", key.substr(0, 100)), where_, suggest(key, known_));
  return {};
}

}  // namespace tenon::eval
