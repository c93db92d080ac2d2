#include <chrono>
#include <filesystem>
#include <utility>

#include "eval/inputs.h"
#include "eval/unbound_dims.h"
#include "frontend/onnx/npy.h"
#include "tools/inputs.h"
#include "tools/states.h"

namespace tenon::tools {
namespace fs = std::filesystem;
namespace {

constexpr const char* kExamples =
    "Inputs that are not given are random with a fixed seed, symbolic dims 1 unless bound: floats in [-1, 1), integers and booleans 0 or 1.\n"
    "--test-data reads input_0.pb, input_1.pb, … of test_data_set_0. The time is that of one first run; tenon bench measures. States of\n"
    "--state begin with what --input gives and empty else, or random where no input is given at all.\n\n"
    "Examples:\n"
    "  tenon run model.onnx --dim batch=2\n"
    "  tenon run model.onnx --input image=photo.npy --output-dir out\n"
    "  tenon run model.onnx --test-data --backend reference";

struct Options {
  DType precision = DType::kF32;
  ModelOptions model;
  InputOptions inputs;
  std::string backend = "cpu", output_dir, format = "npy", json;
  TargetOptions target;
  int threads = 0, opt_level = 3;
};

std::string preview(const HostValue& value) {
  const auto* t = std::get_if<Tensor>(&value);
  if (t == nullptr) return {};
  std::string text;
  constexpr int64_t kShown = 6;
  for (int64_t i = 0; i < std::min(t->size(), kShown); ++i) {
    if (i > 0) text += ", ";
    if (t->dtype() == DType::kString) text += t->string_values()[static_cast<size_t>(i)];
    else if (is_float(t->dtype())) text += fmt::format("{:.6g}", t->at_double(i));
    else text += fmt::format("{}", t->at_int(i));
  }
  return t->size() > kShown ? text + ", …" : text;
}

/// A name as a file name: anything but letters, digits, dots, dashes and underscores becomes an underscore.
std::string file_name(std::string name) {
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '.' && c != '-' && c != '_') c = '_';
  return name.empty() || name.front() == '.' ? "_" + name : name;
}

Status make_folder(const std::string& folder) {
  std::error_code ec;
  fs::create_directories(folder, ec);
  if (ec || !fs::is_directory(folder)) return Status(Code::kIo, "cannot make the folder: " + ec.message(), folder, "name another with --output-dir");
  return {};
}

nlohmann::json type_of(const HostValue& value) {
  nlohmann::json row = {{"type", eval::describe(value)}};
  if (const auto* t = std::get_if<Tensor>(&value)) row.update({{"dtype", std::string(tenon::name(t->dtype()))}, {"shape", t->shape()}});
  return row;
}

nlohmann::json to_json(const std::string& name, const HostValue& value) {
  nlohmann::json row = type_of(value);
  row["name"] = name;
  return row;
}

Status write_outputs(const Options& o, const ir::Graph& graph, const std::vector<HostValue>& outputs) {
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
    TENON_RETURN_IF_ERROR(write_file(file, *bytes));
  }
  return {};
}

/// What was given of all inputs: states that were not given begin empty, but where everything is random.
void leave_out_states(const Options& o, const eval::CompiledModel& model, std::vector<HostValue>& inputs) {
  const auto given = [&](const std::string& name) {
    return o.inputs.test_data || o.inputs.files.empty() || std::ranges::any_of(o.inputs.files, [&](const std::string& text) { return text.starts_with(name + "="); });
  };
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::string& name = model.graph().inputs()[i]->name();
    const bool state = std::ranges::any_of(model.states(), [&](const backends::StatePair& pair) { return pair.input == name; });
    if (state && !given(name)) inputs[i] = std::monostate();
  }
}

void show(const eval::CompiledModel& model, backends::Session& session, const std::vector<HostValue>& inputs, const std::vector<HostValue>& outputs) {
  const ir::Graph& graph = model.interface();
  Table table({"", "name", "type", "values"});
  for (size_t i = 0; i < inputs.size(); ++i) table.add({"in", graph.inputs()[i]->name(), eval::describe(inputs[i]), preview(inputs[i])});
  const backends::States* states = session.states();
  for (size_t s = 0; states != nullptr && s < states->list().size(); ++s)
    if (const Result<Tensor> value = states->get(s); value.ok()) table.add({"state", states->list()[s].pair.input, eval::describe(*value), preview(*value)});
  for (size_t i = 0; i < outputs.size(); ++i)
    table.add({"out", graph.output_name(static_cast<int>(i)), eval::describe(outputs[i]), preview(outputs[i])});
  table.print();
}

/// What the session keeps after the run.
nlohmann::json kept(backends::Session& session) {
  const backends::States* states = session.states();
  if (states == nullptr) return nlohmann::json::array();
  nlohmann::json rows = states_json(states->list());
  for (size_t s = 0; s < rows.size(); ++s)
    if (const Result<Tensor> value = states->get(s); value.ok()) rows[s].update(type_of(*value));
  return rows;
}

nlohmann::json report_of(const Options& o, const backends::Backend& backend, const eval::CompiledModel& model, backends::Session& session,
                         const std::vector<HostValue>& inputs, const std::vector<HostValue>& outputs, double took) {
  nlohmann::json ins = nlohmann::json::array(), outs = nlohmann::json::array();
  for (size_t i = 0; i < inputs.size(); ++i) ins.push_back(to_json(model.interface().inputs()[i]->name(), inputs[i]));
  for (size_t i = 0; i < outputs.size(); ++i) outs.push_back(to_json(model.interface().output_name(static_cast<int>(i)), outputs[i]));
  return {{"model", o.model.path}, {"backend", backend.name()}, {"first_run_ms", took}, {"from_cache", model.from_cache()}, {"inputs", ins}, {"outputs", outs}, {"states", kept(session)}};
}

Status run(Options& o) {
  TENON_ASSIGN_OR_RETURN(const auto chosen, backends_of(o.backend));
  if (chosen.size() != 1) return Status(Code::kInvalidArgument, "one backend, please", "--backend", "tenon bench compares several");
  backends::CompileOptions compile;
  compile.opt_level = o.opt_level;
  o.target.apply(compile);
  compile.precision = o.precision;
  compile.cache = user_cache();
  TENON_ASSIGN_OR_RETURN(eval::CompiledModel model, open(o.model, *chosen[0], compile));
  if (!o.output_dir.empty()) TENON_RETURN_IF_ERROR(make_folder(o.output_dir));
  TENON_ASSIGN_OR_RETURN(std::vector<HostValue> inputs, inputs_of(o.inputs, model.graph(), o.model));
  leave_out_states(o, model, inputs);
  TENON_RETURN_IF_ERROR(model.compile());
  TENON_ASSIGN_OR_RETURN(const auto session, model.executable()->create_session({.num_threads = o.threads, .max_bytes = o.model.max_bytes, .interrupt = o.model.interrupt}));
  TENON_ASSIGN_OR_RETURN(inputs, eval::set_states(*session, model.graph(), inputs));
  const auto start = std::chrono::steady_clock::now();
  const bool random = !o.inputs.test_data && o.inputs.files.size() < inputs.size();
  Result<std::vector<HostValue>> ran = session->run(inputs, o.model.interrupt);
  const std::vector<std::string> given = given_inputs(o.inputs);
  if (!ran.ok()) return random ? eval::advise_sizes(std::move(ran).status(), model.graph(), o.model.path, given) : std::move(ran).status();
  const std::vector<HostValue> outputs = std::move(*ran);
  const double took = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  if (!o.output_dir.empty()) {
    TENON_ASSIGN_OR_RETURN(const std::vector<HostValue> all, eval::with_states(*session, model.graph(), outputs));
    TENON_RETURN_IF_ERROR(write_outputs(o, model.graph(), all));
  }
  if (o.json != "-") show(model, *session, inputs, outputs);
  const std::string unbound = random ? printable(eval::unbound_dims(model.graph(), o.model.path, given)) : std::string();
  if (o.json != "-") fmt::print("{} in {:.3f} ms, the first run{}\n", chosen[0]->name(), took, unbound.empty() ? "" : fmt::format("; random inputs, {}", unbound));
  const Status written = o.json.empty() ? Status() : write_json(report_of(o, *chosen[0], model, *session, inputs, outputs, took), o.json);
  std::fflush(stdout);
  model.keep();
  return written;
}

}  // namespace

void add_run(CLI::App& app, int& status) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("run", "Run a model once and show, or write, its outputs");
  add_model_options(*sub, o->model);
  add_input_options(*sub, o->inputs);
  add_states(*sub, o->model.states);
  sub->add_option("--output-dir", o->output_dir, "Write outputs to this folder, made if need be, as 0_NAME.npy, 1_NAME.npy, ...")->type_name("DIR");
  one_of(sub->add_option("--format", o->format, "Format of written outputs"), "FORM", {"npy", "pb"});
  sub->add_option("--backend", o->backend, "Backend: " + backend_names())->type_name("NAME");
  sub->add_option("--threads", o->threads, "Threads; 0: all cores")->type_name("N")->check(thread_count());
  sub->add_option("-O", o->opt_level, "Optimisation level")->check(CLI::Range(0, 3).description(""))->type_name("0..3");
  add_compiling(*sub, o->target);
  add_precision(*sub, o->precision);
  sub->add_option("--json", o->json, "Write names, types and the time to a file, or - for stdout")->type_name("PATH");
  sub->footer(kExamples);
  sub->callback([o, &status] {
    const Status result = run(*o);
    status = result.ok() ? kSuccess : report(result);
  });
}

}  // namespace tenon::tools
