#include <algorithm>

#include "eval/datasets/files.h"
#include "eval/datasets/json_text.h"
#include "eval/datasets/rows.h"

namespace tenon::eval {
namespace {

using nlohmann::json;

enum class Kind : uint8_t { kNone, kBool, kInteger, kNumber, kText, kOther };

Kind kind_of(const json& value) {
  if (value.is_boolean()) return Kind::kBool;
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) return Kind::kNumber;
  if (value.is_number_integer()) return Kind::kInteger;
  if (value.is_number()) return Kind::kNumber;
  return value.is_string() ? Kind::kText : Kind::kOther;
}

/// The kind that holds both.
Kind joined(Kind a, Kind b) {
  if (a == Kind::kNone || a == b) return b;
  const auto numeric = [](Kind k) { return k == Kind::kInteger || k == Kind::kNumber; };
  return numeric(a) && numeric(b) ? Kind::kNumber : Kind::kOther;
}

Result<Tensor> tensor_of(const std::vector<const json*>& values, Kind kind, Shape shape) {
  if (kind == Kind::kText) {
    std::vector<std::string> texts;
    for (const json* v : values) texts.push_back(v->get<std::string>());
    return Tensor::strings(std::move(shape), std::move(texts));
  }
  const DType dtype = kind == Kind::kBool ? DType::kBool : kind == Kind::kInteger ? DType::kI64 : DType::kF64;
  TENON_ASSIGN_OR_RETURN(Tensor out, Tensor::empty(dtype, std::move(shape)));
  for (size_t i = 0; i < values.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    if (kind == Kind::kBool) out.set_int(at, values[i]->get<bool>() ? 1 : 0);
    else if (kind == Kind::kInteger) out.set_int(at, values[i]->get<int64_t>());
    else out.set_double(at, values[i]->get<double>());
  }
  return out;
}

/// A scalar, a list of them, or a list of such lists of one length; nothing for other values.
Result<std::optional<Tensor>> regular(const json& value) {
  std::vector<const json*> leaves;
  Shape shape;
  if (!value.is_array()) {
    leaves.push_back(&value);
  } else {
    shape.push_back(static_cast<int64_t>(value.size()));
    const bool nested = !value.empty() && value.front().is_array();
    if (nested) shape.push_back(static_cast<int64_t>(value.front().size()));
    for (const json& item : value) {
      if (item.is_array() != nested || (nested && item.size() != value.front().size())) return std::optional<Tensor>();
      if (!nested) leaves.push_back(&item);
      else
        for (const json& leaf : item) leaves.push_back(&leaf);
    }
  }
  Kind kind = Kind::kNone;
  for (const json* leaf : leaves) kind = joined(kind, kind_of(*leaf));
  if (kind == Kind::kOther) return std::optional<Tensor>();
  TENON_ASSIGN_OR_RETURN(Tensor out, tensor_of(leaves, kind == Kind::kNone ? Kind::kNumber : kind, std::move(shape)));
  return std::optional<Tensor>(std::move(out));
}

Status add_value(const std::string& name, const json& value, Fields& out) {
  if (value.is_null()) return {};
  TENON_ASSIGN_OR_RETURN(std::optional<Tensor> tensor, regular(value));
  if (tensor) out[name] = std::move(*tensor);
  else out[name] = text_tensor(value.dump(-1, ' ', false, json::error_handler_t::replace));
  return {};
}

Result<Fields> fields_of(const json& object) {
  if (!object.is_object()) return error(Code::kInvalidArgument, "the line is no JSON object");
  Fields out;
  for (const auto& [name, value] : object.items()) {
    if (!value.is_object()) {
      TENON_RETURN_IF_ERROR(add_value(name, value, out));
      continue;
    }
    for (const auto& [inner, leaf] : value.items()) TENON_RETURN_IF_ERROR(add_value(name + "." + inner, leaf, out));
  }
  return out;
}

class JsonLines final : public Rows {
 public:
  JsonLines(frontend::Bytes bytes, std::string name) : bytes_(std::move(bytes)), name_(std::move(name)) {}

  Status index() {
    const std::string_view all = text_of(bytes_.span);
    size_t at = all.starts_with("\xef\xbb\xbf") ? 3 : 0;
    for (int64_t line = 1; at < all.size(); ++line) {
      const size_t end = std::min(all.find('\n', at), all.size());
      if (all.substr(at, end - at).find_first_not_of(" \t\r") != all.npos) {
        if (rows_.size() >= kMaxRows) return Status(Code::kResourceExhausted, fmt::format("more than {} rows", kMaxRows), name_);
        rows_.push_back({at, end, line});
      }
      at = end + 1;
    }
    if (size() > 0)
      if (const auto first = read(0); first.ok())
        for (const auto& [name, value] : *first) columns_.push_back(name);
    return {};
  }

  int64_t size() const override { return static_cast<int64_t>(rows_.size()); }
  const std::vector<std::string>& columns() const override { return columns_; }
  std::string source(int64_t row) const override {
    return row < 0 || row >= size() ? name_ : fmt::format("{}:{}", name_, rows_[static_cast<size_t>(row)].line);
  }
  Result<Fields> read(int64_t row) const override {
    if (row < 0 || row >= size()) return error(Code::kOutOfRange, "there is no row {}", row);
    const Row& place = rows_[static_cast<size_t>(row)];
    if (place.end - place.begin > kMaxRowBytes)
      return Status(Code::kResourceExhausted, fmt::format("the line is longer than {} bytes", kMaxRowBytes), source(row));
    const Result<json> object = parse_json(text_of(bytes_.span).substr(place.begin, place.end - place.begin));
    if (!object.ok()) return object.status().at(source(row));
    Result<Fields> fields = fields_of(*object);
    if (!fields.ok()) return std::move(fields).status().at(source(row));
    return fields;
  }

 private:
  struct Row {
    size_t begin, end;
    int64_t line;
  };
  frontend::Bytes bytes_;
  std::string name_;
  std::vector<Row> rows_;
  std::vector<std::string> columns_;
};

}  // namespace

Result<std::unique_ptr<Rows>> open_json_lines(const std::filesystem::path& file) {
  TENON_ASSIGN_OR_RETURN(frontend::Bytes bytes, frontend::map_file(file));
  if (bytes.span.size() > kMaxTextBytes)
    return Status(Code::kResourceExhausted, fmt::format("the table is larger than {} bytes", kMaxTextBytes), file.string(), "split it");
  auto rows = std::make_unique<JsonLines>(std::move(bytes), file.filename().string());
  TENON_RETURN_IF_ERROR(rows->index());
  return std::unique_ptr<Rows>(std::move(rows));
}

namespace {
std::string ending_of(const std::filesystem::path& file) {
  std::string ending = file.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return ending;
}
}  // namespace

bool is_table(const std::filesystem::path& file) {
  const std::string ending = ending_of(file);
  return ending == ".csv" || ending == ".tsv" || ending == ".tab" || ending == ".jsonl" || ending == ".ndjson";
}

Result<std::unique_ptr<Rows>> open_rows(const std::filesystem::path& file, std::optional<bool> header) {
  const std::string ending = ending_of(file);
  if (ending == ".jsonl" || ending == ".ndjson") return open_json_lines(file);
  if (ending == ".csv") return open_delimited(file, ',', header);
  if (ending == ".tsv" || ending == ".tab" || ending == ".txt") return open_delimited(file, '\t', header);
  return Status(Code::kInvalidArgument, "no table by its ending", file.string(), "give .csv, .tsv or .jsonl");
}

}  // namespace tenon::eval
