#include <cmath>

#include "eval/debug/bisect.h"
#include "tools/inputs.h"
#include "tools/tolerance.h"

namespace tenon::tools {
namespace {

constexpr const char* kText =
    "--bisect-passes runs the model with the first N rewrites of the passes only, halving until it finds the one rewrite after which\n"
    "outputs leave what the reference interpreter computes of the unoptimised graph. With --backend reference the interpreter also\n"
    "evaluates what the passes make, so no generated code is involved; with cpu that runs. Outputs agree as in tenon verify, round-off\n"
    "included. Exit status: 1 when they do not.\n\n"
    "Examples:\n"
    "  tenon debug model.onnx --bisect-passes\n"
    "  tenon debug model.onnx --bisect-passes --backend cpu --test-data";

struct Options {
  DType precision = DType::kF32;
  ModelOptions model;
  InputOptions inputs;
  std::string backend = "reference", json, fault;
  TargetOptions target;
  std::vector<std::string> disable;
  ToleranceOptions tolerance;
  int threads = 0, level = 3, context = 2, max_lines = 60;
  bool bisect = false;
};

nlohmann::json to_json(const Options& o, const eval::Bisection& b, const std::string& difference) {
  nlohmann::json out = {{"kind", "bisect-passes"}, {"model", o.model.path}, {"backend", o.backend}, {"rewrites", b.rewrites}, {"runs", b.runs},
                        {"differs", b.differs}, {"before_any", b.before_any}, {"culprit", nullptr}};
  if (b.differs)
    out.update({{"output", b.output}, {"max_abs", b.difference.max_abs}, {"max_rel", b.difference.max_rel}, {"message", b.difference.message}});
  if (b.culprit.number > 0)
    out["culprit"] = {{"number", b.culprit.number}, {"pass", b.culprit.pass}, {"nodes", b.culprit.nodes}, {"values", b.culprit.values}, {"difference", difference}};
  return out;
}

void print(const Options& o, const eval::Bisection& b, const std::string& difference) {
  fmt::print("{} rewrites at -O{}, {} runs\n", b.rewrites, o.level, b.runs);
  if (const std::string rounding = eval::describe(b.rounding, o.precision); !rounding.empty()) fmt::print("outputs are allowed for {}\n", rounding);
  if (!b.note.empty()) fmt::print("{}\n", b.note);
  if (!b.differs) {
    fmt::print("no output differs from the unoptimised graph\n");
    return;
  }
  const std::string what = b.output.empty() ? "the model does not run: " + b.difference.message : fmt::format("output '{}': {}", b.output, b.difference.message);
  if (b.before_any) {
    fmt::print("{} before the first rewrite\n", what);
    fmt::print("the fault is in what is not counted (infer, decompose){}: tenon compare names the node\n", o.backend == "reference" ? "" : " or in generated code");
    return;
  }
  if (b.culprit.number == 0) return;
  fmt::print("rewrite {} is the first after which outputs are wrong\n", b.culprit.number);
  fmt::print("  pass    {}\n  nodes   {}\n  values  {}\n", b.culprit.pass, fmt::join(b.culprit.nodes, ", "), fmt::join(b.culprit.values, ", "));
  fmt::print("  {}\n\n{}{}", what, difference, difference.empty() ? "" : "\n");
  std::string options = o.level == 3 ? "" : fmt::format(" -O{}", o.level);
  for (const std::string& pass : o.disable) options += " --disable " + pass;
  fmt::print("the graphs: tenon optimize {0}{1} --max-rewrites {2} -o before.tir\n            tenon optimize {0}{1} --max-rewrites {3} -o after.tir\n",
             o.model.path, options, b.culprit.number - 1, b.culprit.number);
  fmt::print("without:    tenon optimize {}{} --disable {}\n", o.model.path, options, b.culprit.pass);
}

Result<int> debug(Options& o) {
  if (!o.bisect) return Status(Code::kInvalidArgument, "there is nothing to do", "tenon debug", "give --bisect-passes");
  TENON_ASSIGN_OR_RETURN(const auto chosen, backends_of(o.backend));
  if (chosen.size() != 1) return Status(Code::kInvalidArgument, "one backend, please", "--backend", "tenon compare compares several");
  if (chosen[0]->external())
    return Status(Code::kUnsupported, fmt::format("{} runs its own passes, which cannot be stopped at a rewrite", chosen[0]->name()), "--backend",
                  "name a backend of Tenon: reference, cpu or vulkan");
  eval::Variant variant{std::string(chosen[0]->name()), chosen[0], {}};
  variant.compile.opt_level = o.level;
  o.target.apply(variant.compile);
  variant.compile.precision = o.precision;
  variant.compile.cache = user_cache();
  for (const std::string& pass : o.disable)
    if (passes::find_pass(pass) == nullptr)
      return Status(Code::kInvalidArgument, fmt::format("there is no pass '{}'", pass), "--disable", "tenon optimize --list-passes prints them");
  variant.compile.disabled_passes = o.disable;
  if (!o.fault.empty()) {
    Result<passes::Fault> fault = passes::parse_fault(o.fault);
    if (!fault.ok()) return std::move(fault).status().at("--plant-fault");
    variant.compile.fault = std::move(*fault);
  }
  TENON_ASSIGN_OR_RETURN(const auto graph, load(o.model));
  TENON_ASSIGN_OR_RETURN(const std::vector<HostValue> inputs, inputs_of(o.inputs, *graph, o.model));
  Progress progress;
  eval::BisectOptions options;
  options.tolerance = o.tolerance.tolerance();
  options.widen = !o.tolerance.given();
  options.round_off_samples = o.tolerance.round_off_samples();
  options.session.num_threads = o.threads;
  options.session.max_bytes = o.model.max_bytes;
  options.interrupt = o.model.interrupt;
  options.progress = [&](std::string_view doing) { progress.show(std::string(doing)); };
  TENON_ASSIGN_OR_RETURN(const eval::Bisection found, eval::bisect_rewrites(*graph, variant, inputs, options));
  progress.clear();
  const std::string difference = eval::line_difference(found.before, found.after, static_cast<size_t>(o.context), static_cast<size_t>(o.max_lines));
  if (o.json != "-") print(o, found, difference);
  if (!o.json.empty()) TENON_RETURN_IF_ERROR(write_json(to_json(o, found, difference), o.json));
  return found.differs ? kDoesNotHold : kSuccess;
}

}  // namespace

void add_debug(CLI::App& app, int& status) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("debug", "Find the single rewrite of the passes that makes outputs wrong");
  add_model_options(*sub, o->model);
  sub->add_flag("--bisect-passes", o->bisect, "Find the rewrite after which outputs differ from those of the unoptimised graph");
  add_input_options(*sub, o->inputs);
  sub->add_option("--backend", o->backend, "What runs the optimised graph: " + backend_names())->type_name("NAME");
  sub->add_option("-O", o->level, "Optimisation level")->check(CLI::Range(0, 3).description(""))->type_name("0..3");
  add_compiling(*sub, o->target);
  add_precision(*sub, o->precision);
  add_list(*sub, "--disable", o->disable, "PASS", "Leave out this pass. Repeatable");
  sub->add_option("--threads", o->threads, "Threads; 0: all cores")->type_name("N")->check(thread_count());
  add_tolerance(*sub, o->tolerance, "the largest expected magnitude", "outputs that are beyond the tolerance");
  sub->add_option("--context", o->context, "Lines around what the rewrite changed")->check(CLI::Range(0, 1000).description(""))->type_name("N");
  sub->add_option("--lines", o->max_lines, "Lines of the difference at most")->check(CLI::Range(1, 1000000).description(""))->type_name("N");
  sub->add_option("--json", o->json, "Write what is found to a file, or - for stdout")->type_name("PATH");
  sub->add_option("--plant-fault", o->fault, "For testing this command: rewrite:N or kernel:NODE makes that wrong")->type_name("FAULT");
  sub->footer(kText);
  sub->callback([o, &status] {
    const Result<int> result = debug(*o);
    status = result.ok() ? *result : report(result.status());
  });
}

}  // namespace tenon::tools
