#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ir/op.h"
#include "support/status.h"

namespace tenon::ir {

/// Ops beside the built-in table: those of libraries that the user loads. Filled once, then immutable and shared:
/// importer and parser look ops up in it, and graphs keep it, so an op and what its `closure` owns live as long as its
/// nodes.
class OpRegistry {
 public:
  /// `origin` names the library in errors. kInvalidArgument: a name of other characters than letters, digits and `_`
  /// (and
  /// `.` in the domain); a domain that belongs to ONNX ("", ai.onnx…) or Tenon; a built-in op; the same op and version
  /// again.
  Status add(OpDef op, std::string_view origin);

  /// The op's form in force at opset `version` of its domain: the newest that is not newer. Null when there is none.
  const OpDef* find(std::string_view domain, std::string_view name, int64_t version) const;
  /// By OpDef::qualified: "acme.Foo" is the newest form, "acme.Foo/1" the older one that came with version 1.
  const OpDef* find(std::string_view qualified) const;
  bool has(std::string_view domain, std::string_view name) const;
  /// Every form of every op, by name and version.
  std::vector<const OpDef*> ops() const;

 private:
  struct Form {
    OpDef op;
    std::string origin;
    std::shared_ptr<const std::string> qualified;  // copies of a registry share it, as OpDefs point into it
  };
  std::map<std::string, std::map<int64_t, Form>, std::less<>> ops_;  // by domain.name, then since_version
};

/// What to do about an op that neither the table nor a registry has.
inline constexpr std::string_view kMissingOpHint =
    "register it with --custom-ops LIBRARY, see docs/custom-operators.md";

}  // namespace tenon::ir
