#pragma once

#include <string_view>

#include <nlohmann/json.hpp>

#include "support/status.h"

namespace tenon::eval {

inline constexpr int kMaxJsonDepth = 64;

/// JSON that somebody else wrote. kInvalidArgument with the byte offset where it is malformed, and for an object that has a name
/// twice; kResourceExhausted for nesting beyond kMaxJsonDepth.
Result<nlohmann::json> parse_json(std::string_view text);

}  // namespace tenon::eval
