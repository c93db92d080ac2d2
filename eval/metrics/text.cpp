#include "eval/metrics/text.h"

#include <algorithm>

namespace tenon::eval {
namespace {

constexpr char32_t kReplacement = 0xfffd;

bool is_digit(char32_t c) { return c >= U'0' && c <= U'9'; }
bool is_ascii_letter(char32_t c) { return (c >= U'a' && c <= U'z') || (c >= U'A' && c <= U'Z'); }
bool is_ascii_punctuation(char32_t c) { return c > 0x20 && c < 0x7f && !is_digit(c) && !is_ascii_letter(c); }

struct Range {
  char32_t first, last;
};
template <size_t N>
bool in_ranges(const Range (&ranges)[N], char32_t c) {
  return std::any_of(std::begin(ranges), std::end(ranges), [c](const Range& r) { return c >= r.first && c <= r.last; });
}

/// Blocks without letters and digits, or nearly so, beyond ASCII: spaces, punctuation, symbols, controls.
constexpr Range kNoWords[] = {
    {0x80, 0xa9},     {0xab, 0xb1},     {0xb4, 0xb4},     {0xb6, 0xb8},       {0xbb, 0xbb},       {0xbf, 0xbf},     {0xd7, 0xd7},
    {0xf7, 0xf7},     {0x300, 0x36f},   {0x37e, 0x37e},   {0x387, 0x387},     {0x55a, 0x55f},     {0x589, 0x58a},   {0x5be, 0x5be},
    {0x60c, 0x60d},   {0x61b, 0x61f},   {0x66a, 0x66d},   {0x6d4, 0x6d4},     {0x964, 0x965},     {0xe3f, 0xe3f},   {0x1680, 0x1680},
    {0x2000, 0x206f}, {0x20a0, 0x20ff}, {0x2190, 0x245f}, {0x2500, 0x2775},   {0x2794, 0x2bff},   {0x2e00, 0x2e7f}, {0x3000, 0x3004},
    {0x3008, 0x3020}, {0x3030, 0x3030}, {0x30fb, 0x30fb}, {0xd800, 0xf8ff},   {0xfe00, 0xfe6f},   {0xff01, 0xff0f}, {0xff1a, 0xff20},
    {0xff3b, 0xff40}, {0xff5b, 0xff65}, {0xffe0, 0xffff}, {0x1f000, 0x1faff}, {0xe0000, 0x10ffff}};

/// Characters that 13a takes off words wherever they stand.
bool is_separated(char32_t c) {
  return (c >= U' ' && c <= U'&') || (c >= U'(' && c <= U'+') || c == U'/' || (c >= U':' && c <= U'@') || (c >= U'[' && c <= U'`') ||
         (c >= U'{' && c <= U'~');
}
bool is_point(char32_t c) { return c == U'.' || c == U','; }

void replace_all(std::u32string& text, std::u32string_view from, std::u32string_view to) {
  std::u32string out;
  size_t at = 0;
  for (size_t found; (found = text.find(from, at)) != text.npos; at = found + from.size()) {
    out.append(text, at, found - at);
    out += to;
  }
  if (at == 0) return;
  out.append(text, at);
  text = std::move(out);
}

/// Replaces pairs that `wanted` by what `write` makes of them; a character is of one pair at most.
template <class Wanted, class Write>
std::u32string replace_pairs(std::u32string_view text, Wanted wanted, Write write) {
  std::u32string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i + 1 < text.size() && wanted(text[i], text[i + 1])) {
      write(out, text[i], text[i + 1]);
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

std::u32string decode_utf8(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<unsigned char>(text[i++]);
    if (first < 0x80) {
      out += first;
      continue;
    }
    const int more = first >= 0xc2 && first <= 0xdf ? 1 : first >= 0xe0 && first <= 0xef ? 2 : first >= 0xf0 && first <= 0xf4 ? 3 : 0;
    unsigned char low = 0x80, high = 0xbf;  // of the second byte: neither overlong, nor a surrogate, nor beyond U+10FFFF
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
    char32_t c = first & (0x3f >> more);
    int read = 0;
    for (; read < more && i < text.size(); ++read, ++i) {
      const auto next = static_cast<unsigned char>(text[i]);
      if (next < low || next > high) break;
      low = 0x80;
      high = 0xbf;
      c = c << 6 | (next & 0x3f);
    }
    out += more > 0 && read == more ? c : kReplacement;
  }
  return out;
}

bool is_space(char32_t c) {
  static constexpr Range kSpaces[] = {{0x09, 0x0d},     {0x1c, 0x20},     {0x85, 0x85},     {0xa0, 0xa0},     {0x1680, 0x1680},
                                      {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}};
  return in_ranges(kSpaces, c);
}

char32_t lower(char32_t c) {
  /// Letters of a range: `pairs` of capital and small in turn, capitals at even or odd code points; else at a distance.
  struct Rule {
    Range range;
    int distance;
    int parity;  // -1: all of them
  };
  static constexpr Rule kRules[] = {
      {{U'A', U'Z'}, 32, -1},        {{0xc0, 0xd6}, 32, -1},   {{0xd8, 0xde}, 32, -1},        {{0x100, 0x12f}, 1, 0},
      {{0x132, 0x137}, 1, 0},        {{0x139, 0x148}, 1, 1},   {{0x14a, 0x177}, 1, 0},        {{0x178, 0x178}, -121, -1},
      {{0x179, 0x17e}, 1, 1},        {{0x1cd, 0x1dc}, 1, 1},   {{0x1de, 0x1ef}, 1, 0},        {{0x1f8, 0x21f}, 1, 0},
      {{0x222, 0x233}, 1, 0},        {{0x386, 0x386}, 38, -1}, {{0x388, 0x38a}, 37, -1},      {{0x38c, 0x38c}, 64, -1},
      {{0x38e, 0x38f}, 63, -1},      {{0x391, 0x3a1}, 32, -1}, {{0x3a3, 0x3ab}, 32, -1},      {{0x400, 0x40f}, 80, -1},
      {{0x410, 0x42f}, 32, -1},      {{0x460, 0x481}, 1, 0},   {{0x48a, 0x4bf}, 1, 0},        {{0x4c0, 0x4c0}, 15, -1},
      {{0x4c1, 0x4ce}, 1, 1},        {{0x4d0, 0x52f}, 1, 0},   {{0x531, 0x556}, 48, -1},      {{0x1e00, 0x1e95}, 1, 0},
      {{0x1e9e, 0x1e9e}, -7615, -1}, {{0x1ea0, 0x1eff}, 1, 0}, {{0x212a, 0x212a}, -8383, -1}, {{0x212b, 0x212b}, -8262, -1},
      {{0xff21, 0xff3a}, 32, -1}};
  for (const Rule& rule : kRules)
    if (c >= rule.range.first && c <= rule.range.last)
      return rule.parity < 0 || static_cast<int>(c & 1) == rule.parity ? static_cast<char32_t>(static_cast<int64_t>(c) + rule.distance) : c;
  return c;
}

std::u32string lower(std::u32string text) {
  replace_all(text, U"\u0130", U"i\u0307");
  for (char32_t& c : text) c = lower(c);
  return text;
}

bool is_word(char32_t c) { return c < 0x80 ? c == U'_' || is_digit(c) || is_ascii_letter(c) : !in_ranges(kNoWords, c) && !is_space(c); }

std::vector<std::u32string> split_words(std::u32string_view text) {
  std::vector<std::u32string> out;
  for (size_t i = 0; i < text.size();) {
    const size_t first = i;
    while (i < text.size() && !is_space(text[i])) ++i;
    if (i > first) out.emplace_back(text.substr(first, i - first));
    while (i < text.size() && is_space(text[i])) ++i;
  }
  return out;
}

std::u32string_view strip(std::u32string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::vector<std::u32string> tokenize_13a(std::u32string_view text) {
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  std::u32string line(text);
  replace_all(line, U"<skipped>", U"");
  replace_all(line, U"-\n", U"");
  replace_all(line, U"\n", U" ");
  replace_all(line, U"&quot;", U"\"");
  replace_all(line, U"&amp;", U"&");
  replace_all(line, U"&lt;", U"<");
  replace_all(line, U"&gt;", U">");
  std::u32string spaced;
  for (char32_t c : U" " + line + U" ") {
    if (is_separated(c))
      spaced += {U' ', c, U' '};
    else
      spaced += c;
  }
  // Points and commas stay between digits, dashes unless a digit is before them.
  spaced = replace_pairs(
      spaced, [](char32_t a, char32_t b) { return !is_digit(a) && is_point(b); },
      [](std::u32string& out, char32_t a, char32_t b) {
        out += {a, U' ', b, U' '};
      });
  spaced = replace_pairs(
      spaced, [](char32_t a, char32_t b) { return is_point(a) && !is_digit(b); },
      [](std::u32string& out, char32_t a, char32_t b) {
        out += {U' ', a, U' ', b};
      });
  spaced = replace_pairs(
      spaced, [](char32_t a, char32_t b) { return is_digit(a) && b == U'-'; },
      [](std::u32string& out, char32_t a, char32_t b) {
        out += {a, U' ', b, U' '};
      });
  return split_words(spaced);
}

std::vector<std::u32string> tokenize_rouge(std::u32string_view text, bool stemmer) {
  std::u32string line = lower(std::u32string(text));
  for (char32_t& c : line)
    if (!is_digit(c) && !(c >= U'a' && c <= U'z')) c = U' ';
  std::vector<std::u32string> words = split_words(line);
  constexpr size_t kLongestUnstemmed = 3;
  if (stemmer)
    for (std::u32string& word : words)
      if (word.size() > kLongestUnstemmed) word = porter_stem(std::move(word));
  std::erase_if(words, [](const std::u32string& word) { return word.empty(); });
  return words;
}

std::vector<std::u32string> tokenize_wordpunct(std::u32string_view text) {
  std::vector<std::u32string> out;
  for (size_t i = 0; i < text.size();) {
    if (is_space(text[i])) {
      ++i;
      continue;
    }
    const size_t first = i;
    while (i < text.size() && !is_space(text[i]) && is_word(text[i]) == is_word(text[first])) ++i;
    out.emplace_back(text.substr(first, i - first));
  }
  return out;
}

std::vector<std::u32string> squad_words(std::u32string_view text) {
  std::u32string line = lower(std::u32string(text));
  std::erase_if(line, is_ascii_punctuation);
  std::u32string kept;
  for (size_t i = 0; i < line.size();) {
    const size_t first = i;
    while (i < line.size() && is_word(line[i]) == is_word(line[first])) ++i;
    const std::u32string_view run = std::u32string_view(line).substr(first, i - first);
    if (run == U"a" || run == U"an" || run == U"the")
      kept += U' ';
    else
      kept += run;
  }
  return split_words(kept);
}

}  // namespace tenon::eval
