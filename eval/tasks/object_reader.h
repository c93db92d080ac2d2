#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "support/status.h"

namespace tenon::eval {

/// The name that is nearest to `wanted` by edits of a character (Levenshtein 1966), if it is near enough to be meant; else empty.
std::string nearest(std::string_view wanted, std::span<const std::string> names);
/// "did you mean 'X'?", or all names when none is near.
std::string suggest(std::string_view wanted, std::span<const std::string> names);

/// Reads the keys of a JSON object one by one, and remembers the first error and the keys that were asked for. `where` names the
/// object in errors: "recipe.yaml: inputs".
class ObjectReader {
 public:
  ObjectReader(const nlohmann::json& object, std::string where);

  /// Each leaves `out` as it is when the key is absent or null.
  void text(const char* key, std::string& out);
  void integer(const char* key, int64_t& out, int64_t low, int64_t high);
  void number(const char* key, double& out);
  void boolean(const char* key, bool& out);
  void strings(const char* key, std::vector<std::string>& out);
  /// The value of a key, null when it is absent.
  const nlohmann::json* any(const char* key);
  std::string at(const char* key) const { return where_ + (where_.empty() ? "" : ".") + key; }

  /// The first error, or the first key that nobody asked for with the known key that is nearest.
  Status finish();

 private:
  const nlohmann::json* find(const char* key);
  void fail(const char* key, std::string_view wanted, const nlohmann::json& value);

  const nlohmann::json& object_;
  std::string where_;
  std::vector<std::string> known_;
  Status status_;
};

/// A JSON value in short, for messages.
std::string brief(const nlohmann::json& value);

}  // namespace tenon::eval
