#pragma once

#include <string>
#include <string_view>

#include "support/status.h"

namespace tenon::ir {

/// Characters of a .tir text, one token at a time. Every read skips space and comments first.
class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  bool at_end() { return skip(), at_ >= text_.size(); }
  char peek() { return skip(), at_ < text_.size() ? text_[at_] : '\0'; }
  /// Takes the text if it comes next; a word only as a whole.
  bool take(std::string_view token);
  Status expect(std::string_view token);
  /// A run of name characters, empty when none comes next.
  std::string_view word();
  Result<std::string> quoted();
  /// A word or a quoted text.
  Result<std::string> name();
  Result<int64_t> integer();
  Result<double> number();
  /// The text up to one of `ends` outside parentheses and quotes, not taken itself.
  Result<std::string_view> until(std::string_view ends);
  size_t remaining() const { return text_.size() - at_; }

  template <class... Args>
  Status fail(fmt::format_string<Args...> format, Args&&... args) const {
    return Status(Code::kInvalidModel, fmt::format(format, std::forward<Args>(args)...), position());
  }
  std::string position() const;

 private:
  void skip();
  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace tenon::ir
