#include <chrono>
#include <filesystem>
#include <fstream>

#include "eval/inputs.h"
#include "frontend/onnx/npy.h"
#include "tools/common.h"

namespace tenon::tools {
namespace fs = std::filesystem;
namespace {

constexpr const char* kExamples =
    "Inputs that are not given are random with a fixed seed, symbolic dims 1 unless bound.\n\n"
    "Examples:\n"
    "  tenon run model.onnx --dim batch=2\n"
    "  tenon run model.onnx --input image=photo.npy --output-dir out\n"
    "  tenon run model.onnx --test-data --backend reference";

struct Options {
  ModelOptions model;
  std::vector<std::string> inputs;
  std::string backend = "cpu", output_dir, format = "npy", target;
  int threads = 0, opt_level = 3;
  uint64_t seed = 0;
  bool test_data = false;
};

Status read_given(const Options& o, const ir::Graph& graph, std::vector<HostValue>& values) {
  for (const std::string& text : o.inputs) {
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
    TENON_ASSIGN_OR_RETURN(values[index], frontend::read_value(text.substr(eq + 1), graph.inputs()[index]->type()));
  }
  return {};
}

Result<std::vector<HostValue>> inputs_of(const Options& o, const ir::Graph& graph) {
  if (o.test_data) {
    TENON_ASSIGN_OR_RETURN(auto values, eval::read_inputs(graph, fs::path(o.model.path).parent_path() / "test_data_set_0"));
    TENON_RETURN_IF_ERROR(read_given(o, graph, values));
    return values;
  }
  // Random values only for what is not given: a given input may be of a type that has no random values.
  std::vector<HostValue> values(graph.inputs().size());
  if (o.inputs.size() < graph.inputs().size()) {
    TENON_ASSIGN_OR_RETURN(values, eval::random_inputs(graph, o.seed));
  }
  TENON_RETURN_IF_ERROR(read_given(o, graph, values));
  return values;
}

std::string preview(const HostValue& value) {
  const auto* t = std::get_if<Tensor>(&value);
  if (t == nullptr) return eval::describe(value);
  std::string text;
  constexpr int64_t kShown = 6;
  for (int64_t i = 0; i < std::min(t->size(), kShown); ++i) {
    if (i > 0) text += ", ";
    if (t->dtype() == DType::kString) text += t->string_values()[static_cast<size_t>(i)];
    else if (is_float(t->dtype())) text += fmt::format("{:.6g}", t->at_double(i));
    else text += fmt::format("{}", t->at_int(i));
  }
  return fmt::format("{}  {}{}", eval::describe(value), text, t->size() > kShown ? ", …" : "");
}

/// A name as a file name: anything but letters, digits, dots, dashes and underscores becomes an underscore.
std::string file_name(std::string name) {
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '.' && c != '-' && c != '_') c = '_';
  return name.empty() || name.front() == '.' ? "_" + name : name;
}

Status write_outputs(const Options& o, const ir::Graph& graph, const std::vector<HostValue>& outputs) {
  std::error_code ec;
  fs::create_directories(o.output_dir, ec);
  if (ec) return Status(Code::kIo, "cannot make the folder: " + ec.message(), o.output_dir);
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string& name = graph.output_name(static_cast<int>(i));
    const auto* tensor = std::get_if<Tensor>(&outputs[i]);
    if (tensor == nullptr) return Status(Code::kUnsupported, "only tensors can be written", fmt::format("output {}", name));
    const fs::path file = fs::path(o.output_dir) / fmt::format("{}_{}.{}", i, file_name(name), o.format);
    if (o.format == "pb") {
      TENON_RETURN_IF_ERROR(frontend::write_tensor(*tensor, name, file));
      continue;
    }
    Result<std::string> bytes = frontend::format_npy(*tensor);
    if (!bytes.ok()) return std::move(bytes).status().at(fmt::format("output {}", name)).with_hint("write it with --format pb");
    std::ofstream out(file, std::ios::binary | std::ios::trunc);
    if (!out.write(bytes->data(), static_cast<std::streamsize>(bytes->size())).flush()) return Status(Code::kIo, "cannot write", file.string());
  }
  return {};
}

Status run(const Options& o) {
  TENON_ASSIGN_OR_RETURN(const auto chosen, backends_of(o.backend));
  if (chosen.size() != 1) return Status(Code::kInvalidArgument, "one backend, please", "--backend", "tenon bench compares several");
  TENON_ASSIGN_OR_RETURN(const auto graph, load(o.model));
  TENON_ASSIGN_OR_RETURN(const std::vector<HostValue> inputs, inputs_of(o, *graph));
  backends::CompileOptions compile;
  compile.opt_level = o.opt_level;
  compile.target = o.target;
  TENON_ASSIGN_OR_RETURN(const auto executable, chosen[0]->compile(*graph, compile));
  TENON_ASSIGN_OR_RETURN(const auto session, executable->create_session({.num_threads = o.threads}));
  const auto start = std::chrono::steady_clock::now();
  TENON_ASSIGN_OR_RETURN(const std::vector<HostValue> outputs, session->run(inputs));
  const double took = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  for (size_t i = 0; i < inputs.size(); ++i) fmt::print("in   {}  {}\n", graph->inputs()[i]->name(), preview(inputs[i]));
  for (size_t i = 0; i < outputs.size(); ++i) fmt::print("out  {}  {}\n", graph->output_name(static_cast<int>(i)), preview(outputs[i]));
  fmt::print("{} in {:.3f} ms\n", chosen[0]->name(), took);
  return o.output_dir.empty() ? Status() : write_outputs(o, *graph, outputs);
}

}  // namespace

void add_run(CLI::App& app, int& status) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("run", "Run a model once and show, or write, its outputs");
  add_model_options(*sub, o->model);
  sub->add_option("--input", o->inputs, "NAME=FILE, a .npy or .pb file. Repeatable")->type_name("NAME=FILE")->allow_extra_args(false);
  sub->add_flag("--test-data", o->test_data, "Read inputs from test_data_set_0 beside the model");
  sub->add_option("--output-dir", o->output_dir, "Write outputs to this folder")->type_name("DIR");
  sub->add_option("--format", o->format, "Format of written outputs")->check(CLI::IsMember({"npy", "pb"}));
  sub->add_option("--backend", o->backend, "Backend");
  sub->add_option("--threads", o->threads, "Threads; 0: all cores");
  sub->add_option("--seed", o->seed, "Seed of random inputs");
  sub->add_option("-O", o->opt_level, "Optimisation level")->check(CLI::Range(0, 3));
  sub->add_option("--target", o->target, "CPU target: host, x86-64-v2, x86-64-v3, x86-64-v4");
  sub->footer(kExamples);
  sub->callback([o, &status] {
    const Status result = run(*o);
    status = result.ok() ? kSuccess : report(result);
  });
}

}  // namespace tenon::tools
