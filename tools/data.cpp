#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>

#include "eval/datasets/dataset.h"
#include "eval/datasets/json_text.h"
#include "eval/inputs.h"
#include "eval/preprocess/describe.h"
#include "eval/preprocess/pipeline.h"
#include "frontend/onnx/file.h"
#include "tools/common.h"

namespace tenon::tools {
namespace {

constexpr const char* kHelp =
    "Prints the size of a data set, its classes, and the fields of its first examples: what a model's evaluation has to work with.\n"
    "--preprocess runs steps over them (docs/preprocessing.md); --check reads every example and lists those that cannot be read.\n\n"
    "Examples:\n"
    "  tenon data models/digits/data\n"
    "  tenon data photos --preprocess '[{\"step\": \"resize\", \"shortest\": 256}, {\"step\": \"layout\"}]'\n"
    "  tenon data photos --format named --pattern '{label}_*' --check\n"
    "  tenon data --formats\n"
    "  tenon data --step resize";

struct Options {
  std::string spec, preprocess, step, header, json;
  eval::DatasetOptions data;
  int64_t index = 0, limit = 1;
  bool check = false, formats = false, steps = false, markdown = false;
};

std::string preview(const Tensor& t) {
  constexpr int64_t kShown = 8;
  constexpr size_t kText = 60;
  if (t.size() == 0) return "";
  if (t.dtype() == DType::kString) {
    std::string out;
    for (const std::string& s : t.string_values()) {
      if (!out.empty()) out += ", ";
      out += nlohmann::json(s.substr(0, kText)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
      if (s.size() > kText || out.size() > 2 * kText) return out + " …";
    }
    return out;
  }
  if (t.size() <= kShown) {
    std::string out;
    for (int64_t i = 0; i < t.size(); ++i) {
      const bool whole = is_int(t.dtype()) || t.dtype() == DType::kBool;
      out += (i == 0 ? "" : ", ") + (whole ? fmt::format("{}", t.at_int(i)) : fmt::format("{:.6g}", t.at_double(i)));
    }
    return out;
  }
  double low = std::numeric_limits<double>::infinity(), high = -low, sum = 0;
  for (int64_t i = 0; i < t.size(); ++i) {
    const double v = t.at_double(i);
    low = std::min(low, v), high = std::max(high, v), sum += v;
  }
  return fmt::format("{:.6g} to {:.6g}, mean {:.6g}", low, high, sum / static_cast<double>(t.size()));
}

Result<eval::Pipeline> read_pipeline(const std::string& given) {
  if (given.empty()) return eval::Pipeline();
  std::string text = given;
  std::filesystem::path folder;
  if (!given.starts_with("[")) {
    TENON_ASSIGN_OR_RETURN(const frontend::Bytes bytes, frontend::map_file(given));
    text.assign(reinterpret_cast<const char*>(bytes.span.data()), bytes.span.size());
    folder = std::filesystem::path(given).parent_path();
  }
  Result<nlohmann::json> steps = eval::parse_json(text);
  if (!steps.ok()) return std::move(steps).status().at("--preprocess");
  // A recipe has its steps beside other things.
  const nlohmann::json& list = steps->is_object() && steps->contains("preprocess") ? (*steps)["preprocess"] : *steps;
  Result<eval::Pipeline> pipeline = eval::parse_pipeline(list, folder);
  if (!pipeline.ok()) return std::move(pipeline).status().at("--preprocess");
  return pipeline;
}

Result<eval::Example> prepared(const eval::Dataset& data, const eval::Pipeline& pipeline, int64_t index) {
  TENON_ASSIGN_OR_RETURN(eval::Example example, data.read(index));
  Result<eval::Fields> fields = pipeline.run(std::move(example.fields));
  if (!fields.ok()) return std::move(fields).status().at(example.source);
  example.fields = std::move(fields).value();
  return example;
}

nlohmann::json fields_json(const eval::Example& example) {
  nlohmann::json out = nlohmann::json::array();
  for (const auto& [name, value] : example.fields) {
    const auto* t = std::get_if<Tensor>(&value);
    out.push_back({{"name", name}, {"type", eval::describe(value)}, {"values", t != nullptr ? preview(*t) : ""}});
  }
  return {{"index", example.index}, {"source", example.source}, {"fields", std::move(out)}};
}

std::string class_list(const std::vector<std::string>& classes) {
  constexpr size_t kShown = 8;
  if (classes.empty()) return "no names of classes";
  std::vector<std::string_view> named;
  for (const std::string& name : classes)
    if (!name.empty()) named.push_back(name);
  const bool more = named.size() > kShown;
  named.resize(std::min(kShown, named.size()));
  return fmt::format("{} {}: {}{}", classes.size(), classes.size() == 1 ? "class" : "classes", fmt::join(named, ", "), more ? ", …" : "");
}

/// Every example is read; those that cannot be are listed.
int check(const eval::Dataset& data, const eval::Pipeline& pipeline, const std::string& json) {
  constexpr size_t kListed = 20;
  nlohmann::json broken = nlohmann::json::array();
  Progress progress(json != "-");
  for (int64_t i = 0; i < data.size(); ++i) {
    if (i % 64 == 0) progress.show(fmt::format("{} of {}", i, data.size()));
    const auto example = prepared(data, pipeline, i);
    if (!example.ok()) broken.push_back({{"index", i}, {"source", data.source(i)}, {"error", example.status().to_string()}});
  }
  progress.clear();
  if (json != "-") {
    fmt::print("{} of {} examples can be read\n", data.size() - static_cast<int64_t>(broken.size()), data.size());
    for (size_t i = 0; i < std::min(kListed, broken.size()); ++i)
      fmt::print("example {}: {}\n", broken[i]["index"].get<int64_t>(), broken[i]["error"].get<std::string>());
    if (broken.size() > kListed) fmt::print("… and {} more\n", broken.size() - kListed);
  }
  if (!json.empty())
    if (Status s = write_json({{"examples", data.size()}, {"broken", broken}}, json); !s.ok()) return report(s);
  return broken.empty() ? kSuccess : kDoesNotHold;
}

int show(const eval::Dataset& data, const eval::Pipeline& pipeline, const Options& o) {
  if (o.index >= data.size())
    return report(Status(Code::kOutOfRange, fmt::format("there is no example {}; the data set has {}", o.index, data.size()), "--index"));
  nlohmann::json out{{"examples", data.size()}, {"classes", data.classes()},
                     {"fingerprint", fmt::format("{:016x}", data.fingerprint())}, {"shown", nlohmann::json::array()}};
  if (o.json != "-") fmt::print("{} {}, {}\n", data.size(), data.size() == 1 ? "example" : "examples", class_list(data.classes()));
  int status = kSuccess;
  for (int64_t i = o.index; i < data.size() && i - o.index < o.limit; ++i) {
    const auto example = prepared(data, pipeline, i);
    if (!example.ok()) {
      status = report(example.status());
      continue;
    }
    nlohmann::json one = fields_json(*example);
    if (o.json != "-") {
      fmt::print("\nexample {}: {}\n", i, example->source);
      Table table({"field", "type", "values"});
      for (const auto& field : one["fields"]) table.add({field["name"], field["type"], field["values"]});
      table.print();
    }
    out["shown"].push_back(std::move(one));
  }
  if (!o.json.empty())
    if (Status s = write_json(out, o.json); !s.ok()) return report(s);
  return status;
}

int list_formats() {
  Table table({"format", "path", ""});
  for (const eval::FormatInfo& f : eval::dataset_formats()) table.add({std::string(f.name), std::string(f.spec), std::string(f.summary)});
  table.print();
  return kSuccess;
}

int list_steps(const Options& o) {
  if (o.markdown) {
    fmt::print("{}", eval::steps_markdown());
    return kSuccess;
  }
  if (!o.step.empty()) {
    const eval::StepInfo* step = eval::find_step(o.step);
    if (step == nullptr) return report(Status(Code::kNotFound, fmt::format("there is no step '{}'", o.step), "--step", "tenon data --steps lists them"));
    fmt::print("{}", eval::describe_step(*step));
    return kSuccess;
  }
  Table table({"step", "of", ""});
  for (const eval::StepInfo& s : eval::preprocess_steps()) table.add({std::string(s.name), std::string(s.group), std::string(s.summary)});
  table.print();
  return kSuccess;
}

int data(const Options& given) {
  Options o = given;
  if (o.formats) return list_formats();
  if (o.steps || o.markdown || !o.step.empty()) return list_steps(o);
  if (o.spec.empty()) return report(Status(Code::kInvalidArgument, "no data set is named", "command line", "see tenon data --help"));
  if (!o.header.empty()) o.data.header = o.header == "yes";
  const Result<eval::Pipeline> pipeline = read_pipeline(o.preprocess);
  if (!pipeline.ok()) return report(pipeline.status());
  const Result<std::unique_ptr<eval::Dataset>> opened = eval::open_dataset(o.spec, o.data);
  if (!opened.ok()) return report(opened.status());
  return o.check ? check(**opened, *pipeline, o.json) : show(**opened, *pipeline, o);
}

}  // namespace

void add_data(CLI::App& app, int& status) {
  auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("data", "Data sets: what is in them, what preprocessing makes of it");
  command->footer(kHelp);
  command->add_option("DATASET", o->spec, "A folder, a file, or two paths with a comma between them")->type_name("");
  command->add_option("--format", o->data.format, "The form of the data set, one of --formats; told from the path without it")->type_name("NAME");
  command->add_option("--labels", o->data.labels, "The table of labels of a folder of files")->type_name("FILE");
  command->add_option("--classes", o->data.classes, "Names of the classes, one a line")->type_name("FILE");
  command->add_option("--pattern", o->data.pattern, "Where the label stands in file names: {label}_*")->type_name("PATTERN");
  one_of(command->add_option("--header", o->header, "Whether a table's first row names its columns, which without it is told from its content"), "WHETHER",
         {"yes", "no"});
  command->add_option("--preprocess", o->preprocess, "Steps: a JSON file, or JSON that begins with [")->type_name("STEPS");
  command->add_option("--index", o->index, "The first example to show")->check(CLI::NonNegativeNumber.description(""))->type_name("N");
  command->add_option("--limit", o->limit, "How many examples to show")->check(CLI::NonNegativeNumber.description(""))->type_name("N");
  command->add_flag("--check", o->check, "Read every example; exit status 1 when some cannot be read");
  command->add_flag("--formats", o->formats, "List the forms of data sets");
  command->add_flag("--steps", o->steps, "List the preprocessing steps");
  command->add_option("--step", o->step, "Describe one step")->type_name("NAME");
  command->add_flag("--markdown", o->markdown, "All steps as docs/preprocessing.md has them");
  command->add_option("--json", o->json, "Write what is printed as JSON; - is stdout")->type_name("PATH");
  command->callback([o, &status] { status = data(*o); });
}

}  // namespace tenon::tools
