#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// What tokenizers ask of Unicode. The one home of utf8proc's header.
namespace tenon::eval {

/// The code point at the start of `text`, which is not empty, and its bytes. A byte that begins no valid sequence is U+FFFD of length 1.
struct CodePoint {
  char32_t value = 0;
  size_t bytes = 0;
};
CodePoint first_code_point(std::string_view text);
std::vector<char32_t> to_code_points(std::string_view text);
void append_utf8(char32_t c, std::string& out);

bool is_letter(char32_t c);                    // categories L*
bool is_number(char32_t c);                    // N*
bool is_mark(char32_t c);                      // Mn
bool is_punctuation(char32_t c);               // P*
bool is_other(char32_t c);                     // C*: control, format, surrogate, private use, unassigned
bool is_space_separator(char32_t c);           // Zs
bool is_white_space(char32_t c);               // the property White_Space
char32_t to_lower(char32_t c);                 // the simple mapping
/// Canonical decomposition (NFD), marks in canonical order.
std::vector<char32_t> decompose(const std::vector<char32_t>& text);

}  // namespace tenon::eval
