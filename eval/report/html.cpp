#include "eval/report/html.h"

#include <algorithm>
#include <cstdint>

#include <fmt/format.h>

namespace tenon::eval::report {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr size_t kMaxTitle = 400;

struct Character {
  uint32_t code = 0;
  size_t length = 1;
  bool valid = false;
};

/// The character at `at` by RFC 3629: no overlong forms, no surrogates.
Character decode(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  if (first < 0x80) return {first, 1, true};
  const size_t length = first >= 0xF0 && first < 0xF5 ? 4 : first >= 0xE0 && first < 0xF0 ? 3 : first >= 0xC2 && first < 0xE0 ? 2 : 0;
  if (length == 0 || at + length > text.size()) return {};
  uint32_t code = first & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return {};
    code = code << 6 | (byte(at + i) & 0x3F);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kLeast[length] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return {};
  return {code, length, true};
}

/// Marks, embeddings, overrides and isolates of the bidirectional algorithm (UAX 9), and line separators.
bool reorders(uint32_t code) {
  return code == 0x061C || code == 0x200E || code == 0x200F || (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

}  // namespace

std::string escape(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  for (size_t at = 0; at < text.size();) {
    const Character c = decode(text, at);
    if (!c.valid || reorders(c.code) || (c.code >= 0x7F && c.code < 0xA0) || (c.code & 0xFFFE) == 0xFFFE || (c.code >= 0xFDD0 && c.code <= 0xFDEF)) {
      out += kReplacement;
    } else if (c.code < 0x20) {
      out += {'\xE2', '\x90', static_cast<char>(0x80 + c.code)};
    } else {
      switch (text[at]) {
        case '&': out += "&amp;"; break;
        case '<': out += "&lt;"; break;
        case '>': out += "&gt;"; break;
        case '"': out += "&quot;"; break;
        case '\'': out += "&#39;"; break;
        default: out += text.substr(at, c.length);
      }
    }
    at += c.length;
  }
  return out;
}

std::string shortened(std::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  const auto starts_in = [](std::string_view part) {
    std::vector<size_t> starts;
    for (size_t at = 0; at < part.size(); at += decode(part, at).length) starts.push_back(at);
    return starts;
  };
  const size_t tail = (limit - 1) / 2, head = limit - 1 - tail;
  // A character has at most four bytes: of long texts only both ends are looked at.
  const size_t enough = 4 * limit + 4;
  if (text.size() > 2 * enough) {
    const std::string_view front = text.substr(0, enough), back = text.substr(text.size() - enough);
    const std::vector<size_t> starts = starts_in(back);
    return fmt::format("{}…{}", front.substr(0, starts_in(front)[head]), back.substr(starts[starts.size() - tail]));
  }
  const std::vector<size_t> starts = starts_in(text);
  if (starts.size() <= limit) return std::string(text);
  return fmt::format("{}…{}", text.substr(0, starts[head]), text.substr(starts[starts.size() - tail]));
}

std::string name(std::string_view text, size_t limit) {
  if (text.empty()) return {};
  const std::string shown = shortened(text, limit);
  if (shown.size() == text.size()) return fmt::format("<bdi>{}</bdi>", escape(text));
  return fmt::format("<bdi title=\"{}\">{}</bdi>", escape(shortened(text, kMaxTitle)), escape(shown));
}

HtmlTable::HtmlTable(std::string caption, std::vector<std::string> columns) : caption_(std::move(caption)), columns_(std::move(columns)) {}

void HtmlTable::add(std::vector<Cell> cells, std::string_view mark) {
  cells.resize(columns_.size());
  body_.push_back({std::move(cells), std::string(mark)});
  ++rows_;
}

std::string HtmlTable::str() const {
  if (body_.empty()) return {};
  std::vector<size_t> kept;
  std::vector<bool> numeric(columns_.size());
  for (size_t c = 0; c < columns_.size(); ++c) {
    numeric[c] = std::any_of(body_.begin(), body_.end(), [&](const Row& row) { return row.cells[c].numeric; });
    if (std::any_of(body_.begin(), body_.end(), [&](const Row& row) { return !row.cells[c].html.empty(); })) kept.push_back(c);
  }
  std::string out = fmt::format("<div class=\"scroll\" tabindex=\"0\"><table><caption>{}</caption><thead><tr>", caption_);
  for (size_t c : kept) out += fmt::format("<th scope=\"col\"{}>{}</th>", numeric[c] ? " class=\"num\"" : "", columns_[c]);
  out += "</tr></thead><tbody>\n";
  for (const Row& row : body_) {
    out += row.mark.empty() ? "<tr>" : fmt::format("<tr class=\"{}\">", row.mark);
    for (size_t c : kept) {
      const Cell& cell = row.cells[c];
      const std::string_view tag = c == kept.front() ? "th" : "td";
      out += fmt::format("<{}{}{}{}>{}</{}>", tag, c == kept.front() ? " scope=\"row\"" : "", numeric[c] ? " class=\"num\"" : "",
                         cell.sort ? fmt::format(" data-sort=\"{}\"", *cell.sort) : "", cell.html.empty() && numeric[c] ? "–" : cell.html, tag);
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string note(std::string_view html) { return html.empty() ? std::string() : fmt::format("<p class=\"note\">{}</p>\n", html); }

std::string left_out(size_t all, size_t shown, std::string_view what) {
  return all <= shown ? std::string() : note(fmt::format("{} of {} {} are shown.", shown, all, what));
}

}  // namespace tenon::eval::report
