// Comma- and tab-separated text (RFC 4180; IANA text/tab-separated-values).

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "eval/datasets/files.h"
#include "eval/datasets/rows.h"

namespace tenon::eval {
namespace {

enum class Column : uint8_t { kInteger, kNumber, kText };

constexpr double kMaxExact = 9007199254740992.0;  // 2^53: from it on, a whole number may have been rounded

bool is_whole(std::string_view text) {
  if (text.starts_with('+') || text.starts_with('-')) text.remove_prefix(1);
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

struct Place {
  size_t begin = 0, end = 0;  // without the line end
  int64_t line = 0;
};

class Delimited final : public Rows {
 public:
  Delimited(frontend::Bytes bytes, std::string name, char delimiter) : bytes_(std::move(bytes)), name_(std::move(name)), delimiter_(delimiter) {}

  Status index(std::optional<bool> header) {
    TENON_RETURN_IF_ERROR(find_rows());
    if (rows_.empty()) return {};
    Result<std::vector<std::string>> first = split(rows_.front());
    if (!first.ok()) return std::move(first).status();
    if (header.value_or(looks_like_header(*first))) {
      columns_ = std::move(first).value();
      rows_.erase(rows_.begin());
      std::set<std::string_view> seen;
      for (const std::string& name : columns_)
        if (!seen.insert(name).second)
          return Status(Code::kInvalidArgument, fmt::format("two columns are named '{}'", name), name_, "give each column a name of its own");
    } else {
      for (size_t c = 0; c < first->size(); ++c) columns_.push_back(fmt::format("c{}", c));
    }
    infer_types();
    return {};
  }

  int64_t size() const override { return static_cast<int64_t>(rows_.size()); }
  const std::vector<std::string>& columns() const override { return columns_; }
  std::string source(int64_t row) const override {
    return row < 0 || row >= size() ? name_ : fmt::format("{}:{}", name_, rows_[static_cast<size_t>(row)].line);
  }

  Result<Fields> read(int64_t row) const override {
    if (row < 0 || row >= size()) return error(Code::kOutOfRange, "there is no row {}", row);
    TENON_ASSIGN_OR_RETURN(std::vector<std::string> fields, split(rows_[static_cast<size_t>(row)]));
    if (fields.size() != columns_.size()) {
      const std::string what = fields.size() < columns_.size()
                                   ? fmt::format("the row has {} of {} fields; '{}' is missing", fields.size(), columns_.size(), columns_[fields.size()])
                                   : fmt::format("the row has {} fields, the table {} columns", fields.size(), columns_.size());
      return Status(Code::kInvalidArgument, what, source(row), "correct the row; quote fields that contain the separator");
    }
    Fields out;
    for (size_t c = 0; c < fields.size(); ++c) {
      if (types_[c] == Column::kInteger) out[columns_[c]] = Tensor::scalar<int64_t>(to_integer(fields[c]).value_or(0));
      else if (types_[c] == Column::kNumber && is_beyond_double(fields[c]))
        return Status(Code::kOutOfRange, fmt::format("'{}' is {}, which no double holds", columns_[c], fields[c]), source(row), "correct the number");
      else if (types_[c] == Column::kNumber) out[columns_[c]] = Tensor::scalar<double>(to_number(fields[c]).value_or(std::nan("")));
      else out[columns_[c]] = text_tensor(fields[c]);
    }
    return out;
  }

 private:
  bool quotes_span_lines() const { return delimiter_ == ','; }
  std::string_view text() const { return text_of(bytes_.span); }

  Status find_rows() {
    const std::string_view all = text();
    size_t at = all.starts_with("\xef\xbb\xbf") ? 3 : 0;
    int64_t line = 1;
    while (at < all.size()) {
      const Place row{at, row_end(at), line};
      line += std::count(all.begin() + static_cast<std::ptrdiff_t>(at), all.begin() + static_cast<std::ptrdiff_t>(std::min(row.end + 1, all.size())), '\n');
      at = std::min(row.end + 1, all.size());
      Place trimmed = row;
      if (trimmed.end > trimmed.begin && all[trimmed.end - 1] == '\r') --trimmed.end;
      if (trimmed.end == trimmed.begin) continue;
      if (rows_.size() >= kMaxRows) return Status(Code::kResourceExhausted, fmt::format("more than {} rows", kMaxRows), name_);
      rows_.push_back(trimmed);
    }
    return {};
  }

  /// The line feed that ends the row beginning at `begin`, or the end of the text. A row with a quote that is never closed is its first
  /// line alone, so that it takes no other rows with it.
  size_t row_end(size_t begin) {
    const std::string_view all = text();
    const size_t line_end = std::min(all.find('\n', begin), all.size());
    if (!quotes_span_lines()) return line_end;
    // Whether a quote here opens: at a field's start, and right after one that closed (a doubled quote).
    bool quoted = false, opens = true;
    for (size_t at = begin; at < all.size(); ++at) {
      const char c = all[at];
      if (c == '\n' && (!quoted || unclosed_)) return at;
      if (quoted) {
        opens = c == '"';
        quoted = !opens;
      } else {
        quoted = opens && c == '"';
        opens = !quoted && c == delimiter_;
      }
    }
    unclosed_ = unclosed_ || quoted;
    return quoted ? line_end : all.size();
  }

  Result<std::vector<std::string>> split(const Place& row) const {
    const auto wrong = [&](std::string what) {
      return Status(Code::kInvalidArgument, std::move(what), fmt::format("{}:{}", name_, row.line), "quote fields as RFC 4180 has it");
    };
    if (row.end - row.begin > kMaxRowBytes)
      return Status(Code::kResourceExhausted, fmt::format("the row is longer than {} bytes", kMaxRowBytes), fmt::format("{}:{}", name_, row.line));
    const std::string_view line = text().substr(row.begin, row.end - row.begin);
    std::vector<std::string> out;
    size_t at = 0;
    for (;;) {
      if (out.size() >= kMaxColumns) return wrong(fmt::format("the row has more than {} fields", kMaxColumns));
      if (at < line.size() && line[at] == '"') {
        std::string field;
        const size_t end = quoted_field(line, at, field);
        if (end != line.npos) {
          out.push_back(std::move(field));
          if (end == line.size()) return out;
          at = end + 1;
          continue;
        }
        if (quotes_span_lines()) return wrong(fmt::format("field {} has a quote that is not closed, or text after it", out.size() + 1));
      }
      const size_t end = std::min(line.find(delimiter_, at), line.size());
      out.emplace_back(line.substr(at, end - at));
      if (end == line.size()) return out;
      at = end + 1;
    }
  }

  /// Where the field whose quote opens at `at` ends (a separator or the row's end); npos when it is not quoted as a whole.
  size_t quoted_field(std::string_view line, size_t at, std::string& field) const {
    for (++at; at < line.size(); ++at) {
      if (line[at] != '"') {
        field += line[at];
      } else if (at + 1 < line.size() && line[at + 1] == '"') {
        field += '"';
        ++at;
      } else {
        return at + 1 == line.size() || line[at + 1] == delimiter_ ? at + 1 : line.npos;
      }
      if (!quotes_span_lines() && line[at] == delimiter_) return line.npos;
    }
    return line.npos;
  }

  static bool is_numeral(const std::string& field) { return to_number(field) || is_beyond_double(field); }

  bool looks_like_header(const std::vector<std::string>& first) const {
    std::set<std::string_view> seen;
    const auto word = [](const std::string& s) {
      return s.size() <= 40 && !(s[0] >= '0' && s[0] <= '9') && std::all_of(s.begin(), s.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
      });
    };
    for (const std::string& field : first)
      if (field.empty() || is_numeral(field) || !seen.insert(field).second) return false;
    if (first.size() >= 2 && std::all_of(first.begin(), first.end(), word)) return true;
    constexpr size_t kLooked = 100;
    std::vector<bool> numbers(first.size(), rows_.size() > 1);
    for (size_t r = 1; r < std::min(rows_.size(), kLooked); ++r) {
      const auto fields = split(rows_[r]);
      for (size_t c = 0; c < numbers.size(); ++c)
        if (!fields.ok() || c >= fields->size() || !is_numeral((*fields)[c])) numbers[c] = false;
    }
    return std::find(numbers.begin(), numbers.end(), true) != numbers.end();
  }

  void infer_types() {
    types_.assign(columns_.size(), Column::kInteger);
    std::vector<bool> any(columns_.size(), false), inexact(columns_.size(), false);
    size_t left = columns_.size();
    for (const Place& row : rows_) {
      if (left == 0) break;
      const auto fields = split(row);
      if (!fields.ok() || fields->size() != columns_.size()) continue;
      for (size_t c = 0; c < columns_.size(); ++c) {
        const std::string& field = (*fields)[c];
        if (types_[c] == Column::kText) continue;
        if (field.empty()) types_[c] = Column::kNumber;
        else if (!is_numeral(field) || (field.size() > 1 && field[0] == '0' && field[1] >= '0' && field[1] <= '9')) types_[c] = Column::kText, --left;
        else if (!to_integer(field)) types_[c] = Column::kNumber;
        any[c] = any[c] || !field.empty();
        inexact[c] = inexact[c] || (is_whole(field) && std::abs(to_number(field).value_or(0)) >= kMaxExact);
      }
    }
    for (size_t c = 0; c < columns_.size(); ++c)
      if (!any[c] || (types_[c] == Column::kNumber && inexact[c])) types_[c] = Column::kText;
  }

  frontend::Bytes bytes_;
  std::string name_;
  char delimiter_;
  bool unclosed_ = false;  // a quote was found that is open at the end; one that is open at a later line's end is then, too
  std::vector<Place> rows_;
  std::vector<std::string> columns_;
  std::vector<Column> types_;
};

}  // namespace

Result<std::unique_ptr<Rows>> open_delimited(const std::filesystem::path& file, char delimiter, std::optional<bool> header) {
  TENON_ASSIGN_OR_RETURN(frontend::Bytes bytes, frontend::map_file(file));
  if (bytes.span.size() > kMaxTextBytes)
    return Status(Code::kResourceExhausted, fmt::format("the table is larger than {} bytes", kMaxTextBytes), file.string(), "split it");
  auto rows = std::make_unique<Delimited>(std::move(bytes), file.filename().string(), delimiter);
  TENON_RETURN_IF_ERROR(rows->index(header));
  return std::unique_ptr<Rows>(std::move(rows));
}

}  // namespace tenon::eval
