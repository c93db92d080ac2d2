#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tenon::eval::report {

/// Untrusted text as HTML text or attribute: markup escaped, control characters shown as pictures, what would reorder the text
/// around it and what is no UTF-8 replaced by U+FFFD.
std::string escape(std::string_view text);

/// At most `limit` characters, an ellipsis in the middle standing for the rest. Not escaped.
std::string shortened(std::string_view text, size_t limit);

/// A name in running text: shortened, isolated from the direction of the text around it, the whole (to a bound) as its title.
std::string name(std::string_view text, size_t limit = 48);

/// A cell of a table. `sort` orders the column: a number, or the text.
struct Cell {
  std::string html;
  std::optional<double> sort;
  bool numeric = false;

  static Cell text(std::string html) { return {std::move(html), std::nullopt, false}; }
  static Cell figure(std::string html, std::optional<double> value) { return {std::move(html), value, true}; }
};

/// A table in a box of its own that scrolls. The first column holds row headers; the columns sort with a script.
class HtmlTable {
 public:
  /// `caption` and `columns` are HTML.
  HtmlTable(std::string caption, std::vector<std::string> columns);
  /// `mark` is a class of the row: "best", "failed" or empty.
  void add(std::vector<Cell> cells, std::string_view mark = {});
  bool empty() const { return rows_ == 0; }
  size_t rows() const { return rows_; }
  /// Columns in which no row has anything are left out.
  std::string str() const;

 private:
  std::string caption_;
  std::vector<std::string> columns_;
  struct Row {
    std::vector<Cell> cells;
    std::string mark;
  };
  std::vector<Row> body_;
  size_t rows_ = 0;
};

/// "<p class=note>…</p>" of HTML text; empty of an empty one.
std::string note(std::string_view html);
/// What was left out, for instance left_out(9000, 60, "kernels"); empty when nothing was.
std::string left_out(size_t all, size_t shown, std::string_view what);

}  // namespace tenon::eval::report
