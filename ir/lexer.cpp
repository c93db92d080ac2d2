#include "ir/lexer.h"

#include <algorithm>
#include <charconv>

#include "ir/text.h"

namespace tenon::ir {

void Lexer::skip() {
  while (at_ < text_.size()) {
    if (std::isspace(static_cast<unsigned char>(text_[at_]))) {
      ++at_;
    } else if (text_.substr(at_, 2) == "//") {
      at_ = std::min(text_.find('\n', at_), text_.size());
    } else {
      return;
    }
  }
}

std::string Lexer::position() const {
  std::string_view before = text_.substr(0, at_);
  size_t start = before.rfind('\n');
  size_t column = start == std::string_view::npos ? at_ + 1 : at_ - start;
  return fmt::format("line {}, column {}", std::ranges::count(before, '\n') + 1, column);
}

bool Lexer::take(std::string_view token) {
  skip();
  if (text_.substr(at_, token.size()) != token) return false;
  size_t end = at_ + token.size();
  if (std::isalpha(static_cast<unsigned char>(token.back())) && end < text_.size() && is_name_char(text_[end]))
    return false;
  at_ = end;
  return true;
}

Status Lexer::expect(std::string_view token) {
  return take(token) ? Status() : fail("'{}' expected", token);
}

std::string_view Lexer::word() {
  skip();
  size_t start = at_;
  while (at_ < text_.size() && is_name_char(text_[at_])) ++at_;
  return text_.substr(start, at_ - start);
}

Result<std::string> Lexer::quoted() {
  TENON_RETURN_IF_ERROR(expect("\""));
  std::string out;
  for (; at_ < text_.size() && text_[at_] != '"'; ++at_) {
    if (text_[at_] != '\\') {
      out += text_[at_];
      continue;
    }
    if (++at_ >= text_.size()) break;
    char c = text_[at_];
    if (c == 'n') {
      out += '\n';
    } else if (c == 'x') {
      unsigned byte = 0;
      const char* first = text_.data() + at_ + 1;
      if (text_.size() - at_ < 3 || std::from_chars(first, first + 2, byte, 16).ptr != first + 2)
        return fail("two hexadecimal digits expected after \\x");
      out += static_cast<char>(byte);
      at_ += 2;
    } else {
      out += c;
    }
  }
  if (at_ >= text_.size()) return fail("the text in quotes does not end");
  ++at_;
  return out;
}

Result<std::string> Lexer::name() {
  if (peek() == '"') return quoted();
  std::string_view text = word();
  if (text.empty()) return fail("a name expected");
  return std::string(text);
}

Result<int64_t> Lexer::integer() {
  skip();
  int64_t value = 0;
  auto [end, ec] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
  if (ec == std::errc::result_out_of_range) return fail("the number does not fit 64 bits");
  if (ec != std::errc()) return fail("an integer expected");
  at_ = static_cast<size_t>(end - text_.data());
  return value;
}

Result<double> Lexer::number() {
  skip();
  double value = 0;
  auto [end, ec] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
  if (ec == std::errc::result_out_of_range) return fail("the number does not fit a double");
  if (ec != std::errc()) return fail("a number expected");
  at_ = static_cast<size_t>(end - text_.data());
  return value;
}

Result<std::string_view> Lexer::until(std::string_view ends) {
  skip();
  size_t start = at_;
  int depth = 0;
  for (bool in_quotes = false; at_ < text_.size(); ++at_) {
    char c = text_[at_];
    if (in_quotes) {
      if (c == '\\') ++at_;
      in_quotes = c != '"';
    } else if (c == '"') {
      in_quotes = true;
    } else if (depth == 0 && ends.find(c) != std::string_view::npos) {
      return text_.substr(start, at_ - start);
    } else if (c == '(') {
      ++depth;
    } else if (c == ')') {
      --depth;
    }
  }
  at_ = text_.size();
  return fail("one of '{}' expected", ends);
}

}  // namespace tenon::ir
