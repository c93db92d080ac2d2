#pragma once

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>

#include "support/dtype.h"
#include "support/status.h"

namespace tenon::kir {

/// The words of a kernel's text, one after the other. Spaces and commas part them; what is no word is a token of one character.
class KernelTokens {
 protected:
  explicit KernelTokens(std::string_view text) : text_(text) {}

  template <class... Args>
  Status fail(fmt::format_string<Args...> format, Args&&... args) const {
    const auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<ptrdiff_t>(pos_), '\n');
    return Status(Code::kInvalidArgument, fmt::format(format, std::forward<Args>(args)...),
                  fmt::format("kernel text, line {}", line));
  }

  void skip() {
    while (pos_ < text_.size() && (std::isspace(static_cast<unsigned char>(text_[pos_])) || text_[pos_] == ',')) ++pos_;
  }
  static bool word_char(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-' || c == '+' || c == '%';
  }
  std::string_view peek() {
    skip();
    if (pos_ >= text_.size()) return {};
    size_t end = pos_;
    while (end < text_.size() && word_char(text_[end])) ++end;
    return text_.substr(pos_, std::max<size_t>(end - pos_, 1));
  }
  std::string_view next() {
    const std::string_view token = peek();
    pos_ += token.size();
    return token;
  }
  bool accept(std::string_view token) {
    if (peek() != token) return false;
    pos_ += token.size();
    return true;
  }
  Status expect(std::string_view token) {
    if (!accept(token)) return fail("expected '{}', not '{}'", token, peek());
    return {};
  }

  Result<int64_t> integer() {
    const std::string token(next());
    char* end = nullptr;
    errno = 0;
    const long long value = std::strtoll(token.c_str(), &end, 10);
    if (token.empty() || *end || errno) return fail("'{}' is not an integer", token);
    return static_cast<int64_t>(value);
  }
  Result<int> small_integer() {
    TENON_ASSIGN_OR_RETURN(const int64_t v, integer());
    if (v < 0 || v > 1 << 20) return fail("{} is out of range", v);
    return static_cast<int>(v);
  }
  Result<DType> dtype() {
    const std::string_view token = next();
    const auto d = dtype_from_name(token);
    if (!d) return fail("'{}' is not a dtype", token);
    return *d;
  }
  Result<std::string> string() {
    skip();
    TENON_RETURN_IF_ERROR(expect("\""));
    std::string out;
    for (; pos_ < text_.size() && text_[pos_] != '"'; ++pos_) {
      if (text_[pos_] == '\\' && pos_ + 1 < text_.size()) ++pos_;
      out += text_[pos_];
    }
    if (pos_ >= text_.size()) return fail("unterminated name");
    ++pos_;
    return out;
  }

  bool at_end() {
    skip();
    return pos_ == text_.size();
  }
  /// Whether the line goes on after the last token.
  bool same_line() {
    size_t p = pos_;
    while (p < text_.size() && text_[p] == ' ') ++p;
    return p < text_.size() && text_[p] != '\n';
  }

 private:
  std::string_view text_;
  size_t pos_ = 0;
};

}  // namespace tenon::kir
