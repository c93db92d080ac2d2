#include <algorithm>
#include <filesystem>
#include <limits>

#include "codegen/target.h"
#include "codegen/target_facts.h"
#include "frontend/onnx/export.h"
#include "ir/printer.h"
#include "passes/pass.h"
#include "tools/common.h"

namespace tenon::tools {
namespace {

constexpr const char* kExamples =
    "Examples:\n"
    "  tenon optimize model.onnx -o optimized.onnx\n"
    "  tenon optimize model.onnx -O1 --opset 17 -o simplified.onnx\n"
    "  tenon optimize model.onnx -o model.tir\n"
    "  tenon optimize model.onnx -O1 --print-after fold-constants\n"
    "  tenon optimize model.onnx --disable fuse --max-rewrites 10\n"
    "  tenon optimize --list-passes";

struct Options {
  DType precision = DType::kF32;
  ModelOptions model;
  std::string output, target;
  std::vector<std::string> print_after, disable;
  int level = 3;
  int64_t max_rewrites = -1;
  bool list = false, verify_each = false, times = false;
  frontend::ExportOptions onnx;
};

void list_passes() {
  Table table({"pass", "from", "what it does"});
  for (const passes::PassInfo& pass : passes::pipeline()) table.add({std::string(pass.name), fmt::format("-O{}", pass.level), std::string(pass.help)});
  table.print();
}

Status check_names(const std::vector<std::string>& names, const char* option) {
  std::vector<std::string> known;
  for (const passes::PassInfo& pass : passes::pipeline())
    if (std::find(known.begin(), known.end(), pass.name) == known.end()) known.emplace_back(pass.name);
  for (const std::string& name : names)
    if (name != "all" && passes::find_pass(name) == nullptr)
      return Status(Code::kInvalidArgument, fmt::format("there is no pass '{}'", name), option, fmt::format("choose from {}", fmt::join(known, ", ")));
  return {};
}

std::string opset_text(const frontend::OpsetChoice& choice) {
  std::string text = fmt::format("opset {}", choice.written);
  if (choice.of_model != 0 && choice.of_model != choice.written) text += fmt::format(", the model has {}", choice.of_model);
  if (!choice.raised_for.empty()) text += fmt::format("; {} needs {}", choice.raised_for, choice.written);
  return text;
}

Status optimize(Options& o) {
  if (o.list) {
    list_passes();
    return {};
  }
  if (o.model.path.empty()) return Status(Code::kInvalidArgument, "no model is given", "tenon optimize", "name a .onnx file, or use --list-passes");
  TENON_RETURN_IF_ERROR(check_names(o.print_after, "--print-after"));
  TENON_RETURN_IF_ERROR(check_names(o.disable, "--disable"));
  const std::string extension = std::filesystem::path(o.output).extension().string();
  const bool to_onnx = extension == ".onnx";
  if (!o.output.empty() && o.output != "-" && extension != ".tir" && !to_onnx)
    return Status(Code::kUnsupported, extension.empty() ? std::string("the output has no ending") : fmt::format("cannot write '{}' files", extension), o.output, "name an output that ends in .onnx or .tir, or - for stdout");
  TENON_ASSIGN_OR_RETURN(const auto graph, load(o.model));
  passes::PipelineOptions options;
  options.level = o.level;
  options.for_export = to_onnx;
  if (!o.target.empty()) {
    TENON_ASSIGN_OR_RETURN(const codegen::Target target, codegen::cpu_target(o.target, false));
    options.target = codegen::facts(target);
  }
  options.factors = o.precision;
  options.disabled = o.disable;
  options.print_after = o.print_after;
  options.print = [](std::string_view text) { fmt::print("{}\n", text); };
  options.verify_each = o.verify_each;
  options.max_rewrites = o.max_rewrites;
  options.interrupt = o.model.interrupt;
  std::vector<passes::PassTime> times;
  const size_t before = count_nodes(*graph);
  TENON_RETURN_IF_ERROR(passes::run_pipeline(*graph, options, &times));
  if (o.times) {
    Table table({"pass", "ms", "changed"});
    for (const passes::PassTime& t : times) table.add({std::string(t.name), fmt::format("{:.3f}", t.ms), t.changed ? "yes" : "no"});
    table.print(stderr);
  }
  if (o.output.empty()) {
    fmt::print("{} nodes before, {} after -O{} (constants not counted; name a file with -o to keep the graph)\n", before, count_nodes(*graph), o.level);
    return {};
  }
  if (to_onnx) {
    frontend::OpsetChoice choice;
    TENON_RETURN_IF_ERROR(frontend::export_onnx(*graph, o.output, o.onnx, &choice));
    fmt::print("{}: {}\n", o.output, opset_text(choice));
    return {};
  }
  const std::string text = ir::to_text(*graph, {.full = o.output != "-"});
  if (o.output == "-") {
    std::fwrite(text.data(), 1, text.size(), stdout);
    return {};
  }
  return write_file(o.output, text);
}

}  // namespace

void add_optimize(CLI::App& app, int& status) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("optimize", "Run the passes and write the graph that results");
  add_model_options(*sub, o->model);
  sub->get_option("MODEL")->required(false);
  sub->add_option("-o,--output", o->output, "Graph to write: OUT.onnx, OUT.tir, or - for stdout (.tir, large constants abridged)")->type_name("OUT");
  sub->add_option("-O", o->level, "Optimisation level")->check(CLI::Range(0, 3).description(""))->type_name("0..3");
  sub->add_option("--opset", o->onnx.opset, "Opset of OUT.onnx; without it the model's own, or the lowest that has every op")->type_name("13..28")->default_str("")->check(CLI::Range(frontend::kOldestExportOpset, frontend::kNewestExportOpset).description(""));
  sub->add_flag("--external-data", o->onnx.external_data, "Weights of OUT.onnx into OUT.onnx.data; so by itself from 2 GB on");
  add_list(*sub, "--print-after", o->print_after, "PASS", "Print the graph after this pass, or all. Repeatable");
  add_list(*sub, "--disable", o->disable, "PASS", "Leave out this pass. Repeatable");
  add_precision(*sub, o->precision);
  sub->add_option("--target", o->target, "CPU whose memory layouts choose-layouts is to choose: host, x86-64-v2, x86-64-v3, x86-64-v4. Without it values stay row-major")->type_name("CPU");
  sub->add_option("--max-rewrites", o->max_rewrites, "Stop rewriting after this many")->type_name("N")->default_str("")->check(CLI::Range(int64_t{-1}, std::numeric_limits<int64_t>::max()).description(""));
  sub->add_flag("--list-passes", o->list, "List the passes in order and end");
  sub->add_flag("--verify-each", o->verify_each, "Verify the graph after every pass");
  sub->add_flag("--times", o->times, "Print the time of every pass");
  sub->footer(kExamples);
  sub->callback([o, &status] {
    const Status result = optimize(*o);
    status = result.ok() ? kSuccess : report(result);
  });
}

}  // namespace tenon::tools
