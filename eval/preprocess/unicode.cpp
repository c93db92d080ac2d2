#include "eval/preprocess/unicode.h"

#include <utf8proc.h>

#include <algorithm>

namespace tenon::eval {
namespace {

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }
bool within(char32_t c, utf8proc_category_t first, utf8proc_category_t last) {
  const auto found = category(c);
  return found >= first && found <= last;
}

}  // namespace

CodePoint first_code_point(std::string_view text) {
  utf8proc_int32_t value = 0;
  const size_t given = std::min<size_t>(text.size(), 4);
  const auto read = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(given), &value);
  if (read <= 0 || value < 0) return {0xfffd, 1};
  return {static_cast<char32_t>(value), static_cast<size_t>(read)};
}

std::vector<char32_t> to_code_points(std::string_view text) {
  std::vector<char32_t> out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    out.push_back(c.value);
    text.remove_prefix(c.bytes);
  }
  return out;
}

void append_utf8(char32_t c, std::string& out) {
  utf8proc_uint8_t bytes[4];
  const auto n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(std::max<utf8proc_ssize_t>(n, 0)));
}

bool is_letter(char32_t c) { return within(c, UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LO); }
bool is_number(char32_t c) { return within(c, UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO); }
bool is_mark(char32_t c) { return category(c) == UTF8PROC_CATEGORY_MN; }
bool is_punctuation(char32_t c) { return within(c, UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO); }
bool is_other(char32_t c) { return category(c) == UTF8PROC_CATEGORY_CN || within(c, UTF8PROC_CATEGORY_CC, UTF8PROC_CATEGORY_CO); }
bool is_space_separator(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ZS; }
bool is_white_space(char32_t c) {
  return (c >= 9 && c <= 13) || c == 0x85 || c == 0x2028 || c == 0x2029 || is_space_separator(c);
}
char32_t to_lower(char32_t c) { return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))); }

std::vector<char32_t> decompose(const std::vector<char32_t>& text) {
  constexpr utf8proc_ssize_t kLongest = 18;  // code points that one decomposes to (UAX #15)
  std::vector<char32_t> out;
  out.reserve(text.size());
  for (char32_t c : text) {
    utf8proc_int32_t parts[kLongest];
    int last_class = 0;
    const auto n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts, kLongest, UTF8PROC_DECOMPOSE, &last_class);
    if (n < 1 || n > kLongest) out.push_back(c);
    else out.insert(out.end(), parts, parts + n);
  }
  const auto combining = [](char32_t c) { return utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class; };
  for (size_t begin = 0; begin < out.size(); ++begin) {
    if (combining(out[begin]) == 0) continue;
    size_t end = begin;
    while (end < out.size() && combining(out[end]) != 0) ++end;
    std::stable_sort(out.begin() + static_cast<std::ptrdiff_t>(begin), out.begin() + static_cast<std::ptrdiff_t>(end),
                     [&](char32_t a, char32_t b) { return combining(a) < combining(b); });
    begin = end;
  }
  return out;
}

}  // namespace tenon::eval
