#include "eval/datasets/json_text.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace tenon::eval {
namespace {

/// How deep brackets stand within each other, strings left out.
int nesting(std::string_view text) {
  int depth = 0, deepest = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      else if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

}  // namespace

Result<nlohmann::json> parse_json(std::string_view text) {
  using nlohmann::json;
  if (nesting(text) > kMaxJsonDepth) return error(Code::kResourceExhausted, "JSON is nested more than {} deep", kMaxJsonDepth);
  // The names of the objects that are open, and one that occurred twice in its object.
  std::vector<std::set<std::string, std::less<>>> open;
  std::optional<std::string> twice;
  const auto watch = [&](int, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start) open.emplace_back();
    if (event == json::parse_event_t::object_end) open.pop_back();
    if (event == json::parse_event_t::key && !open.back().insert(value.get<std::string>()).second && !twice) twice = value.get<std::string>();
    return true;
  };
  try {
    json out = json::parse(text.begin(), text.end(), watch);
    if (twice) return error(Code::kInvalidArgument, "'{}' occurs twice in a JSON object", *twice);
    return out;
  } catch (const json::parse_error& e) {
    return error(Code::kInvalidArgument, "malformed JSON at byte {}", e.byte);
  } catch (const json::exception&) {
    return error(Code::kInvalidArgument, "malformed JSON: a number is out of range");
  }
}

}  // namespace tenon::eval
