// Tables whose rows are examples, and tables that give files their labels.

#include <algorithm>
#include <map>
#include <set>

#include "eval/datasets/files.h"
#include "eval/datasets/forms.h"
#include "eval/datasets/rows.h"

namespace tenon::eval {
namespace {

class Table final : public DatasetBase {
 public:
  Table(std::unique_ptr<Rows> rows, const paths::path& file, std::vector<std::string> classes) : rows_(std::move(rows)) {
    classes_ = std::move(classes);
    Hasher hasher;
    add_content(hasher, file);
    fingerprint_ = hasher.digest64();
  }
  int64_t size() const override { return rows_->size(); }
  std::string source(int64_t index) const override { return rows_->source(index); }
  Result<Example> read(int64_t index) const override {
    TENON_RETURN_IF_ERROR(check_index(index));
    TENON_ASSIGN_OR_RETURN(Fields fields, rows_->read(index));
    return Example{index, rows_->source(index), std::move(fields)};
  }

 private:
  std::unique_ptr<Rows> rows_;
};

const std::string* text_in(const Fields& fields, std::string_view name) {
  const auto found = fields.find(name);
  const auto* t = found == fields.end() ? nullptr : std::get_if<Tensor>(&found->second);
  return t != nullptr && t->dtype() == DType::kString && t->size() == 1 ? &t->string_values()[0] : nullptr;
}
std::optional<int64_t> integer_in(const Fields& fields, std::string_view name) {
  const auto found = fields.find(name);
  const auto* t = found == fields.end() ? nullptr : std::get_if<Tensor>(&found->second);
  if (t == nullptr || t->size() != 1 || !is_int(t->dtype())) return std::nullopt;
  return t->at_int(0);
}

/// Which columns say what; names empty where the table has no such column.
struct Roles {
  std::string file, label, name;
};

Result<Roles> find_roles(const Rows& rows, const Fields& first, const paths::path& table) {
  Roles roles;
  const auto& columns = rows.columns();
  for (const std::string& column : columns) {
    const std::string* value = text_in(first, column);
    if (roles.file.empty() && value != nullptr && media_of(*value) != Media::kNone) roles.file = column;
  }
  if (roles.file.empty())
    return Status(Code::kInvalidArgument, "no column of the table names images or sounds", table.string(),
                  "give a table with a column of file names, their endings included");
  for (const char* name : {"label", "class", "class_index", "class_id", "target", "category"})
    if (roles.label.empty() && std::find(columns.begin(), columns.end(), name) != columns.end()) roles.label = name;
  for (const char* name : {"label_name", "class_name", "name"})
    if (roles.name.empty() && std::find(columns.begin(), columns.end(), name) != columns.end()) roles.name = name;
  if (columns.front() == "c0") {
    if (columns.size() > 1) roles.label = "c1";
    if (columns.size() > 2) roles.name = "c2";
  }
  return roles;
}

class LabelledByTable final : public DatasetBase {
 public:
  LabelledByTable(std::unique_ptr<Rows> rows, Roles roles, paths::path folder, const paths::path& table, std::vector<std::string> classes)
      : rows_(std::move(rows)), roles_(std::move(roles)), folder_(std::move(folder)) {
    fixed_classes_ = !classes.empty();
    classes_ = std::move(classes);
    Hasher hasher;
    add_content(hasher, table);
    const int64_t n = rows_->size();
    std::set<std::string> names;
    for (int64_t i = 0; i < n; ++i) {
      const auto fields = rows_->read(i);
      if (!fields.ok()) continue;
      if (const std::string* file = text_in(*fields, roles_.file)) {
        const Result<paths::path> path = resolve_beneath(folder_, *file);
        add_file(hasher, *file, path.ok() ? *path : paths::path());
      }
      learn_class(*fields, names);
    }
    fingerprint_ = hasher.digest64();
    if (!fixed_classes_ && classes_.empty()) classes_.assign(names.begin(), names.end());
    if (!names.empty())
      for (size_t i = 0; i < classes_.size(); ++i) numbers_.emplace(classes_[i], static_cast<int64_t>(i));
  }

  int64_t size() const override { return rows_->size(); }
  std::string source(int64_t index) const override { return rows_->source(index); }
  Result<Example> read(int64_t index) const override {
    TENON_RETURN_IF_ERROR(check_index(index));
    const std::string place = rows_->source(index);
    TENON_ASSIGN_OR_RETURN(Fields fields, rows_->read(index));
    const std::string* named = text_in(fields, roles_.file);
    if (named == nullptr) return Status(Code::kInvalidArgument, fmt::format("the row has no '{}'", roles_.file), place, "add the file's name");
    const std::string file = *named;
    Result<paths::path> path = resolve_beneath(folder_, file);
    if (!path.ok()) return std::move(path).status().at(place);
    Example out{index, fmt::format("{} ({})", place, file), std::move(fields)};
    if (!roles_.label.empty()) TENON_RETURN_IF_ERROR(add_label(place, out.fields));
    TENON_RETURN_IF_ERROR(read_media(*path, out.source, out.fields));
    return out;
  }

 private:
  void learn_class(const Fields& fields, std::set<std::string>& names) {
    if (roles_.label.empty()) return;
    if (const std::string* label = text_in(fields, roles_.label)) {
      if (static_cast<int64_t>(names.size()) < kMaxClasses) names.insert(*label);
      return;
    }
    const auto number = integer_in(fields, roles_.label);
    const std::string* name = roles_.name.empty() ? nullptr : text_in(fields, roles_.name);
    if (fixed_classes_ || !number || *number < 0 || *number >= kMaxClasses || name == nullptr) return;
    if (static_cast<size_t>(*number) >= classes_.size()) classes_.resize(static_cast<size_t>(*number) + 1);
    classes_[static_cast<size_t>(*number)] = *name;
  }

  Status add_label(const std::string& place, Fields& fields) const {
    int64_t label = 0;
    if (const std::string* name = text_in(fields, roles_.label)) {
      const auto found = numbers_.find(*name);
      if (found == numbers_.end())
        return Status(Code::kOutOfRange, fmt::format("the label '{}' is none of the {} classes", *name, classes_.size()), place, "correct the row");
      label = found->second;
    } else if (const auto number = integer_in(fields, roles_.label)) {
      label = *number;
    } else {
      return Status(Code::kInvalidArgument, fmt::format("the row has no '{}'", roles_.label), place, "add the number or the name of its class");
    }
    const int64_t end = fixed_classes_ ? static_cast<int64_t>(classes_.size()) : kMaxClasses;
    if (label < 0 || label >= end)
      return Status(Code::kOutOfRange, fmt::format("the label {} is outside [0, {})", label, end), place, "correct the row");
    fields["label"] = Tensor::scalar(label);
    if (label < static_cast<int64_t>(classes_.size())) fields["label_name"] = text_tensor(classes_[static_cast<size_t>(label)]);
    return {};
  }

  std::unique_ptr<Rows> rows_;
  Roles roles_;
  paths::path folder_;
  bool fixed_classes_ = false;
  std::map<std::string, int64_t, std::less<>> numbers_;  // of labels that are names
};

Result<std::unique_ptr<Rows>> open_as(const paths::path& file, const DatasetOptions& options, std::optional<bool> header) {
  if (options.format == "csv") return open_delimited(file, ',', header);
  if (options.format == "tsv") return open_delimited(file, '\t', header);
  if (options.format == "jsonl") return open_json_lines(file);
  return open_rows(file, header);
}

}  // namespace

DatasetResult open_table(const paths::path& file, const DatasetOptions& options) {
  TENON_ASSIGN_OR_RETURN(std::unique_ptr<Rows> rows, open_as(file, options, options.header));
  if (rows->size() == 0) return Status(Code::kInvalidArgument, "the table has no rows", file.string());
  TENON_ASSIGN_OR_RETURN(std::vector<std::string> classes, read_classes(options, {}));
  return DatasetResult(std::make_unique<Table>(std::move(rows), file, std::move(classes)));
}

paths::path find_label_table(const paths::path& folder) {
  std::error_code ec;
  for (const char* stem : {"labels", "metadata", "annotations"})
    for (const char* ending : {".tsv", ".csv", ".jsonl"})
      if (paths::path file = folder / (std::string(stem) + ending); paths::is_regular_file(file, ec)) return file;
  const auto listing = list_folder(folder);
  paths::path only;
  if (listing.ok())
    for (const std::string& name : listing->files) {
      if (!is_table(name)) continue;
      if (!only.empty()) return {};
      only = folder / name;
    }
  return only;
}

DatasetResult open_labelled_files(const paths::path& path, const DatasetOptions& options) {
  std::error_code ec;
  const bool is_folder = paths::is_directory(path, ec);
  paths::path table = !options.labels.empty() ? paths::path(options.labels) : is_folder ? find_label_table(path) : path;
  const paths::path folder = is_folder ? path : path.has_parent_path() ? path.parent_path() : paths::path(".");
  if (table.empty())
    return Status(Code::kInvalidArgument, "there is no table of labels", path.string(), "add labels.tsv: file name, tab, number of the class");
  std::optional<bool> header = options.header;
  TENON_ASSIGN_OR_RETURN(std::unique_ptr<Rows> rows, open_rows(table, header.value_or(false)));
  if (rows->size() == 0) return Status(Code::kInvalidArgument, "the table has no rows", table.string());
  if (!header && rows->columns().front() == "c0") {
    // A first row that names no file names the columns.
    bool names_file = false;
    if (const auto first = rows->read(0); first.ok())
      for (const auto& [name, value] : *first)
        if (const std::string* text = text_in(*first, name); text != nullptr && media_of(*text) != Media::kNone) names_file = true;
    if (!names_file) {
      TENON_ASSIGN_OR_RETURN(rows, open_rows(table, true));
      if (rows->size() == 0) return Status(Code::kInvalidArgument, "the table has no rows", table.string());
    }
  }
  // A broken row is its own error: the first good one tells what the columns hold.
  Result<Fields> first = rows->read(0);
  for (int64_t i = 1; !first.ok() && i < rows->size(); ++i)
    if (Result<Fields> next = rows->read(i); next.ok()) first = std::move(next);
  if (!first.ok()) return std::move(first).status();
  TENON_ASSIGN_OR_RETURN(Roles roles, find_roles(*rows, *first, table));
  TENON_ASSIGN_OR_RETURN(std::vector<std::string> classes, read_classes(options, folder));
  return DatasetResult(std::make_unique<LabelledByTable>(std::move(rows), std::move(roles), folder, table, std::move(classes)));
}

}  // namespace tenon::eval
