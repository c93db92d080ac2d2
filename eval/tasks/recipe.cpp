#include "eval/tasks/recipe.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>

#include "eval/datasets/json_text.h"
#include "eval/tasks/object_reader.h"

namespace tenon::eval {
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr uintmax_t kMostBytes = uintmax_t{1} << 20;
constexpr int64_t kMostExamples = int64_t{1} << 40, kLargestBatch = int64_t{1} << 20;

std::vector<std::string> known_metrics() {
  std::vector<std::string> names;
  for (const MetricInfo& metric : metrics()) names.emplace_back(metric.name);
  return names;
}

constexpr std::string_view kAverages[] = {"micro", "macro", "weighted", "binary"};

/// The name, or an object of it with the options that are not those by default.
json to_json(const MetricChoice& metric) {
  const MetricOptions plain;
  json entry = {{"name", metric.name}};
  if (metric.options.average != plain.average) entry["average"] = metric.options.average;
  if (metric.options.classes != plain.classes) entry["classes"] = metric.options.classes;
  if (metric.options.k != plain.k) entry["k"] = metric.options.k;
  if (metric.options.bins != plain.bins) entry["bins"] = metric.options.bins;
  if (metric.options.stemmer) entry["stemmer"] = true;
  if (!metric.options.names.empty()) entry["names"] = metric.options.names;
  return entry.size() == 1 ? json(metric.name) : entry;
}

Result<MetricChoice> read_metric(const json& given, const std::string& where) {
  json object = given.is_string() ? json{{"name", given}} : given;
  MetricChoice out;
  ObjectReader reader(object, where);
  reader.text("name", out.name);
  reader.text("average", out.options.average);
  reader.integer("classes", out.options.classes, 0, 1 << 20);
  reader.integer("k", out.options.k, 1, 1 << 20);
  reader.integer("bins", out.options.bins, 1, 10000);
  reader.boolean("stemmer", out.options.stemmer);
  reader.strings("names", out.options.names);
  TENON_RETURN_IF_ERROR(reader.finish());
  if (find_metric(out.name) == nullptr)
    return Status(Code::kInvalidArgument, fmt::format("there is no metric '{}'", out.name), where, suggest(out.name, known_metrics()));
  if (std::find(std::begin(kAverages), std::end(kAverages), out.options.average) == std::end(kAverages))
    return Status(Code::kInvalidArgument, fmt::format("'{}' is no average", out.options.average), where, fmt::format("choose from {}", fmt::join(kAverages, ", ")));
  // Only what is not so by default, however it was said.
  std::vector<std::string> parts;
  const json entry = to_json(out);
  if (entry.is_object())
    for (const auto& [key, value] : entry.items())
      if (key != "name" && key != "names") parts.push_back(value.is_string() ? value.get<std::string>() : fmt::format("{} {}", key, value.dump()));
  out.title = parts.empty() ? out.name : fmt::format("{} ({})", out.name, fmt::join(parts, ", "));
  return out;
}

Status read_dataset(const json& given, const std::string& where, Recipe& out) {
  if (given.is_string()) {
    out.dataset = given.get<std::string>();
    return {};
  }
  ObjectReader reader(given, where);
  reader.text("path", out.dataset);
  reader.text("format", out.dataset_options.format);
  reader.text("labels", out.dataset_options.labels);
  reader.text("classes", out.dataset_options.classes);
  reader.text("pattern", out.dataset_options.pattern);
  if (reader.any("header") != nullptr) {
    bool header = false;
    reader.boolean("header", header);
    out.dataset_options.header = header;
  }
  return reader.finish();
}

Status read_inputs(const json& given, const std::string& where, Recipe& out) {
  if (!given.is_object()) return Status(Code::kInvalidArgument, fmt::format("{} is not an object", brief(given)), where);
  for (const auto& [name, value] : given.items()) {
    InputChoice choice;
    if (value.is_string()) {
      choice.field = value.get<std::string>();
    } else if (value.is_number()) {
      choice.value = value.get<double>();
    } else {
      return Status(Code::kInvalidArgument, fmt::format("{} is neither a field's name nor a number", brief(value)), where + "." + name.substr(0, 100));
    }
    out.inputs[name] = choice;
  }
  return {};
}

Status read_outputs(const json& given, const std::string& where, Recipe& out) {
  if (!given.is_object()) return Status(Code::kInvalidArgument, fmt::format("{} is not an object", brief(given)), where);
  for (const auto& [role, name] : given.items()) {
    if (!name.is_string()) return Status(Code::kInvalidArgument, fmt::format("{} is not the name of an output", brief(name)), where + "." + role.substr(0, 100));
    out.outputs[role] = name.get<std::string>();
  }
  return {};
}

Status read_labels(const json& given, const std::string& where, Recipe& out) {
  ObjectReader reader(given, where);
  reader.text("field", out.labels.field);
  reader.integer("offset", out.labels.offset, -(1 << 30), 1 << 30);
  reader.strings("names", out.labels.names);
  if (const json* map = reader.any("map")) {
    if (!map->is_object()) return Status(Code::kInvalidArgument, fmt::format("{} is not an object", brief(*map)), reader.at("map"));
    for (const auto& [label, number] : map->items()) {
      if (!number.is_number_integer() || number.get<int64_t>() < 0)
        return Status(Code::kInvalidArgument, fmt::format("{} is not the number of a class", brief(number)), reader.at("map") + "." + label.substr(0, 100));
      out.labels.map[label] = number.get<int64_t>();
    }
  }
  return reader.finish();
}

bool absolute_or_empty(const fs::path& path) { return path.empty() || path.is_absolute(); }

/// Paths of a data set, relative to the recipe.
std::string resolved(const std::string& spec, const fs::path& folder) {
  std::string out;
  for (size_t start = 0; start <= spec.size();) {
    const size_t end = std::min(spec.find(',', start), spec.size());
    const fs::path part = spec.substr(start, end - start);
    if (start > 0) out += ',';
    out += absolute_or_empty(part) || folder.empty() ? part.string() : (folder / part).lexically_normal().string();
    start = end + 1;
  }
  return out;
}

/// On one line, with what names an object first.
std::string inline_text(const json& value) {
  std::vector<std::string> parts;
  if (value.is_array()) {
    for (const json& item : value) parts.push_back(inline_text(item));
    return fmt::format("[{}]", fmt::join(parts, ", "));
  }
  if (!value.is_object()) return value.dump(-1, ' ', false, json::error_handler_t::replace);
  const auto add = [&](const std::string& key, const json& item) {
    parts.push_back(fmt::format("{}: {}", json(key).dump(-1, ' ', false, json::error_handler_t::replace), inline_text(item)));
  };
  constexpr const char* kFirst[] = {"step", "name", "path"};
  for (const char* key : kFirst)
    if (value.contains(key)) add(key, value[key]);
  for (const auto& [key, item] : value.items())
    if (std::none_of(std::begin(kFirst), std::end(kFirst), [&](const char* first) { return key == first; })) add(key, item);
  return fmt::format("{{{}}}", fmt::join(parts, ", "));
}

}  // namespace

Result<json> parse_json_text(const std::string& text, const std::string& where) {
  Result<json> out = parse_json(text);
  if (!out.ok()) return std::move(out).status().at(where);
  return out;
}

Result<MetricChoice> parse_metric(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find_first_of(":,", start), text.size());
    parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  json object = {{"name", parts[0]}};
  for (size_t i = 1; i < parts.size(); ++i) {
    const size_t eq = parts[i].find('=');
    if (eq == std::string::npos) return Status(Code::kInvalidArgument, fmt::format("'{}' is not KEY=VALUE", parts[i]), "--metric", "write NAME:KEY=VALUE");
    const std::string value = parts[i].substr(eq + 1);
    int64_t number = 0;
    const auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), number);
    const bool whole = ec == std::errc() && end == value.data() + value.size();
    object[parts[i].substr(0, eq)] = whole ? json(number) : value == "true" || value == "false" ? json(value == "true") : json(value);
  }
  return read_metric(object, "--metric");
}

Result<Recipe> parse_recipe(const json& given, const fs::path& folder, const std::string& where) {
  Recipe out;
  out.folder = folder;
  ObjectReader reader(given, where);
  reader.text("task", out.task);
  reader.integer("limit", out.limit, 0, kMostExamples);
  reader.integer("batch", out.batch, 0, kLargestBatch);
  if (const json* v = reader.any("dataset")) TENON_RETURN_IF_ERROR(read_dataset(*v, reader.at("dataset"), out));
  if (const json* v = reader.any("preprocess")) {
    if (!v->is_array()) return Status(Code::kInvalidArgument, fmt::format("{} is not a list of steps", brief(*v)), reader.at("preprocess"));
    out.preprocess = *v;
  }
  if (const json* v = reader.any("inputs")) TENON_RETURN_IF_ERROR(read_inputs(*v, reader.at("inputs"), out));
  if (const json* v = reader.any("outputs")) TENON_RETURN_IF_ERROR(read_outputs(*v, reader.at("outputs"), out));
  if (const json* v = reader.any("labels")) TENON_RETURN_IF_ERROR(read_labels(*v, reader.at("labels"), out));
  if (const json* v = reader.any("metrics")) {
    if (!v->is_array()) return Status(Code::kInvalidArgument, fmt::format("{} is not a list of metrics", brief(*v)), reader.at("metrics"));
    for (const json& metric : *v) {
      TENON_ASSIGN_OR_RETURN(MetricChoice choice, read_metric(metric, reader.at("metrics")));
      out.metrics.push_back(std::move(choice));
    }
  }
  if (const json* v = reader.any("options")) out.options = *v;
  TENON_RETURN_IF_ERROR(reader.finish());
  if (!out.task.empty()) {
    Result<const TaskInfo*> task = find_task(out.task);
    if (!task.ok()) return std::move(task).status().at(where);
    TENON_ASSIGN_OR_RETURN(out.options, task_options(**task, out.options, reader.at("options")));
  }
  out.dataset = resolved(out.dataset, folder);
  for (std::string* file : {&out.dataset_options.labels, &out.dataset_options.classes})
    if (!absolute_or_empty(*file) && !folder.empty()) *file = (folder / *file).lexically_normal().string();
  return out;
}

Result<Recipe> read_recipe(const fs::path& file) {
  std::error_code ec;
  const uintmax_t bytes = fs::file_size(file, ec);
  if (ec) return Status(Code::kNotFound, "cannot read the recipe", file.string(), "check the path");
  if (bytes > kMostBytes) return Status(Code::kResourceExhausted, "the recipe is larger than 1 MiB", file.string());
  std::ifstream in(file, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  const bool yaml = file.extension() == ".yaml" || file.extension() == ".yml";
  TENON_ASSIGN_OR_RETURN(const json parsed, yaml ? parse_yaml_text(text, file.string()) : parse_json_text(text, file.string()));
  return parse_recipe(parsed, file.parent_path(), file.string());
}

json to_json(const Recipe& recipe) {
  json out = json::object();
  out["task"] = recipe.task;
  json& dataset = out["dataset"];
  dataset["path"] = recipe.dataset;
  const DatasetOptions& d = recipe.dataset_options;
  for (const auto& [key, value] : {std::pair("format", &d.format), std::pair("labels", &d.labels), std::pair("classes", &d.classes), std::pair("pattern", &d.pattern)})
    if (!value->empty()) dataset[key] = *value;
  if (d.header) dataset["header"] = *d.header;
  out["limit"] = recipe.limit;
  out["batch"] = recipe.batch;
  out["preprocess"] = recipe.preprocess;
  out["inputs"] = json::object();
  for (const auto& [name, choice] : recipe.inputs) out["inputs"][name] = choice.value ? json(*choice.value) : json(choice.field);
  out["outputs"] = recipe.outputs;
  json& labels = out["labels"];
  labels["field"] = recipe.labels.field;
  if (recipe.labels.offset != 0) labels["offset"] = recipe.labels.offset;
  if (!recipe.labels.map.empty()) labels["map"] = recipe.labels.map;
  if (!recipe.labels.names.empty()) labels["names"] = recipe.labels.names;
  out["metrics"] = json::array();
  for (const MetricChoice& metric : recipe.metrics) out["metrics"].push_back(to_json(metric));
  out["options"] = recipe.options;
  return out;
}

std::string to_text(const Recipe& recipe) {
  const json all = to_json(recipe);
  std::vector<std::string> lines;
  for (const char* key : {"task", "dataset", "limit", "batch", "preprocess", "inputs", "outputs", "labels", "metrics", "options"}) {
    const json& value = all[key];
    const bool steps = value.is_array() && !value.empty() && value[0].is_object();
    std::vector<std::string> items;
    if (steps)
      for (const json& item : value) items.push_back("    " + inline_text(item));
    lines.push_back(fmt::format("  \"{}\": {}", key, steps ? fmt::format("[\n{}]", fmt::join(items, ",\n")) : inline_text(value)));
  }
  return fmt::format("{{\n{}\n}}\n", fmt::join(lines, ",\n"));
}

}  // namespace tenon::eval
