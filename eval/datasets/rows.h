#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/datasets/dataset.h"

/// Tables of text: what a row is, whatever separates its fields.
namespace tenon::eval {

inline constexpr size_t kMaxRowBytes = size_t{64} << 20;
inline constexpr size_t kMaxColumns = 65536;
inline constexpr size_t kMaxRows = size_t{1} << 30;

/// Immutable; read() may be called from several threads.
class Rows {
 public:
  virtual ~Rows() = default;
  virtual int64_t size() const = 0;
  /// By the names of its columns. kInvalidArgument, naming line and column, for a row that breaks the format.
  virtual Result<Fields> read(int64_t row) const = 0;
  /// "dev.tsv:17": the line that the row begins on, from 1.
  virtual std::string source(int64_t row) const = 0;
  /// In the file's order; those of the first row where every row names its own.
  virtual const std::vector<std::string>& columns() const = 0;
};

/// Comma- or tab-separated text, UTF-8, lines ending in LF or CRLF, blank lines left out. Commas: quotes as RFC 4180 has them. Tabs: a
/// field that is quoted as a whole within its line loses its quotes, other quotes are text. Without a header the columns are c0, c1, …
/// A column's type is that of all its fields: i64, f64 (empty fields are NaN), else strings; strings also where an f64 would lose digits of
/// a whole number. Numbers beyond f64, and quotes that are never closed, are their rows' errors. The header, when not told: the first row,
/// when it has no numbers and either stands above a column of numbers or consists of two or more different single words.
Result<std::unique_ptr<Rows>> open_delimited(const std::filesystem::path& file, char delimiter, std::optional<bool> header);

/// A JSON object a line. Members of objects within it become "a.b"; lists of equal numbers, booleans or strings, also one list within
/// another when their lengths agree, become tensors; null is left out; anything deeper is given as its JSON text.
Result<std::unique_ptr<Rows>> open_json_lines(const std::filesystem::path& file);

/// One of both by the ending: .csv, .tsv (also .tab, .txt), .jsonl (also .ndjson). kInvalidArgument for others.
Result<std::unique_ptr<Rows>> open_rows(const std::filesystem::path& file, std::optional<bool> header);
/// Whether the ending is one of a table (.txt is not).
bool is_table(const std::filesystem::path& file);

}  // namespace tenon::eval
