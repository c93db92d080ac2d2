#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "support/interrupt.h"
#include "support/status.h"

namespace tenon::ir {

/// A regular expression in RE2's common syntax: literals, `.`, classes, \d \w \s and their complements, groups,
/// alternation, * + ? {m,n} (lazy forms too), ^, $, \b and \B. Matching takes time proportional to pattern × text (Thompson 1968);
/// nothing recurses on the text.
class Regex {
 public:
  /// kUnsupported for other syntax (back references, look-around), kInvalidModel for a malformed pattern.
  static Result<Regex> compile(std::string_view pattern);
  Result<bool> full_match(std::string_view text, const Interrupt& interrupt = {}) const;

 private:
  friend class RegexParser;
  struct Set {
    std::vector<bool> bytes = std::vector<bool>(256);
  };
  struct Step {
    enum Kind : uint8_t { kSet, kSplit, kBegin, kEnd, kWord, kNotWord, kMatch } kind = kMatch;
    int set = 0;
    int next = -1, other = -1;
  };
  std::vector<Step> steps_;
  std::vector<Set> sets_;
  int start_ = 0;
};

}  // namespace tenon::ir
