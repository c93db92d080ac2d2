#include "tools/inputs.h"

#include <filesystem>
#include <set>

#include "eval/inputs.h"
#include "frontend/onnx/npy.h"

namespace tenon::tools {
namespace fs = std::filesystem;
namespace {

Result<HostValue> read_file(const fs::path& file, const ir::Value& input) {
  std::error_code ec;
  if (fs::is_regular_file(file, ec) && fs::file_size(file, ec) == 0)
    return Status(Code::kInvalidArgument, "the file is empty", file.string(), "give a .npy, .npz or .pb file");
  if (fs::status(file, ec).type() == fs::file_type::not_found)
    return Status(Code::kNotFound, fmt::format("no such file '{}'", file.string()), fmt::format("--input {}", input.name()),
                  fmt::format("check the path; it wants a .npy, .npz or .pb file of {}", ir::to_string(input.type())));
  Result<HostValue> value = frontend::read_value(file, input.type(), input.name());
  if (value.ok()) return value;
  Status status = std::move(value).status();
  // The hint of a damaged file speaks of models.
  return Status(status.code(), status.what(), status.where(),
                fmt::format("input {} wants {}: give a .npy, .npz or .pb file of it, little-endian", input.name(), ir::to_string(input.type())));
}

Status read_given(const InputOptions& o, const ir::Graph& graph, std::vector<HostValue>& values) {
  std::set<size_t> seen;
  for (const std::string& text : o.files) {
    const size_t eq = text.find('=');
    if (eq == std::string::npos) return Status(Code::kInvalidArgument, fmt::format("'{}' is not of the form NAME=FILE", text), "--input");
    const std::string name = text.substr(0, eq);
    size_t index = 0;
    std::vector<std::string> names;
    for (const ir::Value* input : graph.inputs()) names.push_back(input->name());
    while (index < names.size() && names[index] != name) ++index;
    if (index == names.size())
      return Status(Code::kInvalidArgument, fmt::format("the model has no input '{}'", name), "--input",
                    fmt::format("choose from {}", fmt::join(names, ", ")));
    if (!seen.insert(index).second) return Status(Code::kInvalidArgument, fmt::format("input '{}' is given twice", name), "--input");
    TENON_ASSIGN_OR_RETURN(values[index], read_file(text.substr(eq + 1), *graph.inputs()[index]));
  }
  return {};
}

}  // namespace

std::vector<std::string> given_inputs(const InputOptions& options) {
  std::vector<std::string> names;
  for (const std::string& text : options.files) names.push_back(text.substr(0, text.find('=')));
  return names;
}

Result<std::vector<HostValue>> inputs_of(const InputOptions& o, const ir::Graph& graph, const ModelOptions& model) {
  if (o.test_data) {
    TENON_ASSIGN_OR_RETURN(auto values, eval::read_inputs(graph, fs::path(model.path).parent_path() / "test_data_set_0"));
    TENON_RETURN_IF_ERROR(read_given(o, graph, values));
    return values;
  }
  // Random values only for what is not given: a given input may be of a type that has no random values.
  std::vector<HostValue> values(graph.inputs().size());
  TENON_RETURN_IF_ERROR(read_given(o, graph, values));
  if (o.files.size() < values.size()) return eval::random_inputs(graph, o.seed, std::move(values));
  return values;
}

void add_input_options(CLI::App& app, InputOptions& options) {
  add_list(app, "--input", options.files, "NAME=FILE", "Read an input from a .npy, .npz (the array of its name, or the only one) or .pb file. Repeatable");
  app.add_flag("--test-data", options.test_data, "Read inputs from test_data_set_0 beside the model");
  add_seed(app, options.seed);
}

}  // namespace tenon::tools
