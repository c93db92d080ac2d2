#include "eval/datasets/json_text.h"

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
  if (nesting(text) > kMaxJsonDepth) return error(Code::kResourceExhausted, "JSON is nested more than {} deep", kMaxJsonDepth);
  try {
    return nlohmann::json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::parse_error& e) {
    return error(Code::kInvalidArgument, "malformed JSON at byte {}", e.byte);
  } catch (const nlohmann::json::exception&) {
    return error(Code::kInvalidArgument, "malformed JSON: a number is out of range");
  }
}

}  // namespace tenon::eval
