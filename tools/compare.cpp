#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "eval/debug/compare_values.h"
#include "eval/debug/reproduce.h"
#include "eval/unbound_dims.h"
#include "tools/inputs.h"
#include "tools/tolerance.h"

namespace tenon::tools {
namespace {

constexpr const char* kText =
    "Every value of the model that a variant still has after its passes is compared, fused nodes at what leaves them. 'total' is the\n"
    "difference from the first variant. 'own' is that from what the reference interpreter makes of the variant's own values of the\n"
    "compared values before: what comes in wrong is taken as it is, so it names the node that is wrong even when all after it are.\n"
    "Both must be within |a - e| <= atol + scaled-atol * S + rtol * |e| as in tenon verify, where --precision widens the tolerances for\n"
    "the products in question whose factors it rounds. Behind n quantisers values may also be sqrt(n) steps of theirs apart ('steps'),\n"
    "since numbers that agree may lie on both sides of where a quantiser rounds up or down. What is beyond is within round-off when the\n"
    "nodes in question move as far by themselves in --round-off runs whose operations round by chance 1 ulp up or down. --rtol, --atol\n"
    "and --scaled-atol turn that off unless --round-off is given as well.\n"
    "Exit status: 1 when an own error or an output is beyond that.\n\n"
    "The variants are all combinations of --backend, -O and --target; the reference knows only one.\n\n"
    "Examples:\n"
    "  tenon compare model.onnx\n"
    "  tenon compare model.onnx --test-data --top 20 --json report.json\n"
    "  tenon compare model.onnx -O 0,3\n"
    "  tenon compare model.onnx --backend cpu --target x86-64-v2,host\n"
    "  tenon compare model.onnx --reproduce out && tenon verify out";

struct Options {
  DType precision = DType::kF32;
  ModelOptions model;
  InputOptions inputs;
  std::string backend, level = "3", targets, json, reproduce, fault, spill_limit = "16G";
  TargetOptions device;
  ToleranceOptions tolerance;
  int threads = 0, top = 10;
  bool tap_outputs = false;
  CLI::Option* backend_given = nullptr;
};

/// All combinations, in the order of the backends, then levels, then targets; the reference once.
Result<std::vector<eval::Variant>> variants_of(const Options& o) {
  TENON_ASSIGN_OR_RETURN(const std::vector<int> levels, parse_ints(o.level, "-O", 0, 3));
  std::vector<std::string> targets = split(o.targets, ',');
  if (targets.empty()) targets.emplace_back();
  const bool several = levels.size() > 1 || targets.size() > 1;
  TENON_ASSIGN_OR_RETURN(const auto backends, backends_of(!o.backend.empty() ? o.backend : several ? "cpu" : "reference,cpu"));
  backends::CompileOptions compile;
  compile.cache = user_cache();
  compile.precision = o.precision;
  if (!o.fault.empty()) {
    Result<passes::Fault> fault = passes::parse_fault(o.fault);
    if (!fault.ok()) return std::move(fault).status().at("--plant-fault");
    compile.fault = std::move(*fault);
  }
  if (o.model.dims.empty() && o.model.shapes.empty() && std::filesystem::path(o.model.path).extension() == ".onnx") compile.model = o.model.path;
  std::vector<eval::Variant> out;
  for (const backends::Backend* backend : backends)
    for (const int level : levels)
      for (const std::string& target : targets) {
        eval::Variant one{std::string(backend->name()), backend, compile};
        one.compile.opt_level = level;
        o.device.apply(one.compile);
        one.compile.target = target;
        if (!one.is_reference()) {
          one.name += fmt::format(" -O{}", level);
          if (!target.empty()) one.name += " " + target;
        }
        if (std::ranges::none_of(out, [&](const eval::Variant& other) { return other.name == one.name; })) out.push_back(std::move(one));
      }
  if (out.size() < 2)
    return Status(Code::kInvalidArgument, fmt::format("{} is one way to run the model, two are needed", out.empty() ? "nothing" : out[0].name), "tenon compare",
                  "give --backend reference,cpu, or several levels (-O 0,3) or targets");
  if (compile.fault.planted() && std::ranges::all_of(out, [](const eval::Variant& v) { return v.is_reference(); }))
    return Status(Code::kInvalidArgument, "the reference has no fault to plant", "--plant-fault", "compare another backend");
  return out;
}

nlohmann::json number(double value) { return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr); }

nlohmann::json to_json(const eval::ValueDifference& row, std::span<const eval::Variant> variants) {
  nlohmann::json out = {{"name", row.value}, {"op", row.op}, {"node", row.node}, {"variant", variants[row.variant].name},
                        {"max_abs", nullptr}, {"max_rel", nullptr}, {"own_abs", number(row.own.max_abs)}, {"own_rel", number(row.own.max_rel)},
                        {"own_share", number(row.own.share)}, {"ok", row.ok}, {"by_steps", row.by_steps}};
  if (row.has_total) out.update({{"max_abs", number(row.total.max_abs)}, {"max_rel", number(row.total.max_rel)}});
  if (!row.note.empty()) out["message"] = row.note;
  if (!row.covers.empty()) out["covers"] = row.covers;
  return out;
}

nlohmann::json to_json(const Options& o, const eval::Comparison& c, std::span<const eval::Variant> variants) {
  nlohmann::json names = nlohmann::json::array(), values = nlohmann::json::array(), outputs = nlohmann::json::array();
  for (const eval::Variant& v : variants) names.push_back(v.name);
  for (const auto& row : c.values) values.push_back(to_json(row, variants));
  for (const auto& row : c.outputs)
    outputs.push_back({{"name", row.name}, {"variant", variants[row.variant].name}, {"max_abs", number(row.total.max_abs)},
                       {"max_rel", number(row.total.max_rel)}, {"ok", row.ok}, {"message", row.note}});
  nlohmann::json rounding = nlohmann::json::array();
  for (const eval::Rounding& r : c.roundings) rounding.push_back(eval::describe(r, o.precision));
  const auto one = [&](const std::optional<size_t>& index) { return index ? to_json(c.values[*index], variants) : nlohmann::json(nullptr); };
  return {{"kind", "compare"}, {"model", o.model.path}, {"variants", names}, {"values", values}, {"outputs", outputs},
          {"rounding", rounding}, {"steps", eval::describe(c.steps)}, {"first", one(c.first)}, {"worst", one(c.worst)}, {"uncompared", std::accumulate(c.uncompared.begin(), c.uncompared.end(), size_t{0})},
          {"ok", c.ok}};
}

std::string figure(double value) { return fmt::format("{:.2g}", value); }

void print_table(const Options& o, const eval::Comparison& c, std::span<const eval::Variant> variants) {
  std::vector<const eval::ValueDifference*> rows;
  for (const auto& row : c.values)
    if (row.own.share > 0 || row.total.share > 0) rows.push_back(&row);
  std::ranges::stable_sort(rows, std::greater<>(), [](const auto* row) { return std::pair(!row->ok, row->own.share); });
  rows.resize(std::min(rows.size(), static_cast<size_t>(o.top)));
  if (rows.empty()) return;
  const bool several = std::ranges::count_if(variants, [](const auto& v) { return !v.is_reference(); }) > 1;
  std::vector<std::string> header = {"value", "op", "own abs", "own rel", "of allowed", "total abs", "total rel", ""};
  if (several) header.insert(header.begin(), "variant");
  Table table(std::move(header));
  for (const auto* row : rows) {
    std::vector<std::string> cells = {row->value, row->op, figure(row->own.max_abs), figure(row->own.max_rel), figure(row->own.share),
                                      row->has_total ? figure(row->total.max_abs) : "-", row->has_total ? figure(row->total.max_rel) : "-",
                                      !row->ok ? "DIFFERS" : row->by_steps ? "steps" : row->own.ok ? "" : "round-off"};
    if (several) cells.insert(cells.begin(), variants[row->variant].name);
    table.add(std::move(cells));
  }
  table.print();
  fmt::print("\n");
}

void print_place(const char* what, const eval::ValueDifference& row, std::span<const eval::Variant> variants) {
  constexpr size_t kShown = 12;
  fmt::print("{}: {} '{}', value '{}', {}\n", what, row.op, row.node, row.value, variants[row.variant].name);
  if (!row.ok) fmt::print("  {}\n", row.note);
  if (row.covers.size() < 2) return;
  const size_t shown = std::min(kShown, row.covers.size());
  fmt::print("  {} nodes since the values before: {}{}\n", row.covers.size(), fmt::join(row.covers.begin(), row.covers.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
             shown < row.covers.size() ? ", …" : "");
}

void print(const Options& o, const eval::Comparison& c, std::span<const eval::Variant> variants) {
  for (size_t v = 0; v < variants.size(); ++v) {
    const auto compared = std::ranges::count(c.values, v, &eval::ValueDifference::variant);
    if (!variants[v].is_reference())
      fmt::print("{}: {} values compared, {} not there (inside fused nodes, folded or not needed)\n", variants[v].name, compared, c.uncompared[v]);
    if (const std::string rounding = eval::describe(c.roundings[v], o.precision); !rounding.empty()) fmt::print("  outputs are allowed for {}\n", rounding);
  }
  if (c.steps.quantisers > 0) fmt::print("outputs are allowed for {}\n", eval::describe(c.steps));
  if (c.random) fmt::print("the model draws random numbers: totals are left out\n");
  fmt::print("\n");
  print_table(o, c, variants);
  if (c.first) print_place("first beyond the tolerance", c.values[*c.first], variants);
  if (c.worst && c.first != c.worst) print_place(c.first ? "worst" : "largest own error, within the tolerance", c.values[*c.worst], variants);
  std::string_view said;  // one sentence may stand for all outputs
  for (const auto& row : c.outputs) {
    if (row.note.empty() || row.note == said) continue;
    fmt::print("output '{}' of {}: {}\n", row.name, variants[row.variant].name, row.note);
    said = row.note;
  }
  if (!c.first && !c.ok) fmt::print("no node is wrong by itself: small differences grow on the way, see the totals\n");
  fmt::print("{}\n", c.ok ? "they agree" : "they differ");
}

Status reproduce(const Options& o, const ir::Graph& graph, const eval::Comparison& c, std::span<const eval::Variant> variants,
                 const std::vector<HostValue>& inputs, const eval::TappedVariants& tapped, const eval::CompareOptions& compare, Progress& progress) {
  std::FILE* const out = o.json == "-" ? stderr : stdout;
  if (!c.first) {
    fmt::print(out, "nothing to reproduce: no own error is beyond the tolerance\n");
    return {};
  }
  const eval::ValueDifference& row = c.values[*c.first];
  eval::ReproduceOptions options;
  options.tolerance = compare.tolerance;
  options.widen = compare.widen;
  options.round_off_samples = compare.round_off_samples;
  options.session = compare.taps.session;
  options.interrupt = compare.taps.interrupt;
  options.progress = compare.progress;
  TENON_ASSIGN_OR_RETURN(const eval::Reproducer found, eval::reproduce(graph, variants[row.variant], inputs, tapped[row.variant].values, row.value, options));
  TENON_ASSIGN_OR_RETURN(const bool still, eval::write_reproducer(found, variants[row.variant], o.reproduce, options));
  progress.clear();
  std::vector<std::string> names;
  for (const auto& node : found.piece.graph->nodes())
    if (!node->is("Constant")) names.push_back(eval::describe(*node));
  fmt::print(out, "{}: {} that differ{} ({}), found in {} runs; as ONNX {}\n", o.reproduce, names.size() == 1 ? "1 node" : fmt::format("{} nodes", names.size()),
             names.size() == 1 ? "s" : "", fmt::join(names, ", "), found.runs, still ? "the difference shows" : "the difference does NOT show, but model.tir has it");
  return {};
}

Result<int> compare(Options& o) {
  TENON_ASSIGN_OR_RETURN(const std::vector<eval::Variant> early, variants_of(o));  // before the model is loaded
  if (!o.reproduce.empty() && std::filesystem::exists(std::filesystem::path(o.reproduce) / "model.onnx"))
    return Status(Code::kInvalidArgument, "the folder has a model.onnx", o.reproduce, "name another folder with --reproduce");
  TENON_ASSIGN_OR_RETURN(const auto graph, load(o.model));
  TENON_ASSIGN_OR_RETURN(const std::vector<eval::Variant> variants, variants_of(o));
  TENON_ASSIGN_OR_RETURN(const std::vector<HostValue> inputs, inputs_of(o.inputs, *graph, o.model));
  Progress progress;
  eval::CompareOptions options;
  options.tolerance = o.tolerance.tolerance();
  options.widen = !o.tolerance.given();
  options.round_off_samples = o.tolerance.round_off_samples();
  options.taps.session.num_threads = o.threads;
  options.taps.session.max_bytes = o.model.max_bytes;
  TENON_ASSIGN_OR_RETURN(options.taps.max_spill_bytes, parse_size(o.spill_limit, "--spill-limit"));
  options.taps.tap_outputs = o.tap_outputs;
  options.taps.interrupt = o.model.interrupt;
  options.progress = [&](std::string_view doing) { progress.show(std::string(doing)); };
  eval::TappedVariants tapped;
  Result<eval::Comparison> compared = eval::compare_values(*graph, variants, inputs, options, &tapped);
  if (!compared.ok()) {
    const bool random = !o.inputs.test_data && o.inputs.files.size() < inputs.size();
    return random ? eval::advise_sizes(std::move(compared).status(), *graph, o.model.path, given_inputs(o.inputs)) : std::move(compared).status();
  }
  const eval::Comparison result = std::move(*compared);
  progress.clear();
  if (o.json != "-") print(o, result, variants);
  if (!o.json.empty()) TENON_RETURN_IF_ERROR(write_json(to_json(o, result, variants), o.json));
  if (!o.reproduce.empty()) TENON_RETURN_IF_ERROR(reproduce(o, *graph, result, variants, inputs, tapped, options, progress));
  return result.ok ? kSuccess : kDoesNotHold;
}

}  // namespace

void add_compare(CLI::App& app, int& status) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("compare", "Compare every value of a model between backends, levels or targets; name the first wrong node");
  add_model_options(*sub, o->model);
  add_input_options(*sub, o->inputs);
  sub->add_option("--backend", o->backend, "Backends, separated by commas: " + backend_names())->type_name("NAME,...")->default_str("reference,cpu; cpu with several -O or --target");
  sub->add_option("-O", o->level, "Optimisation levels, separated by commas")->type_name("0..3,...");
  add_precision(*sub, o->precision);
  sub->add_option("--target", o->targets, "CPUs to compile for, separated by commas: host, x86-64-v2, x86-64-v3, x86-64-v4")->type_name("CPU,...");
  add_no_cache(*sub);
  add_device(*sub, o->device);
  sub->add_option("--threads", o->threads, "Threads; 0: all cores")->type_name("N")->check(thread_count());
  add_tolerance(*sub, o->tolerance, "the largest magnitude of the value", "what is beyond the tolerance");
  sub->add_option("--top", o->top, "Rows of the table: the largest own errors, as shares of what is allowed")->check(CLI::Range(0, 1000000).description(""))->type_name("N");
  sub->add_flag("--tap-outputs", o->tap_outputs,
                "Look into backends that show nothing but outputs by making values outputs, some at a time; they may fuse less then than without");
  sub->add_option("--spill-limit", o->spill_limit, "Disk space for values, in equal shares for the variants, in temporary files that end with the command")->type_name("SIZE");
  sub->add_option("--reproduce", o->reproduce, "Cut out the first wrong node, reduce it and write model.onnx, model.tir and test_data_set_0 to this folder")->type_name("DIR");
  sub->add_option("--json", o->json, "Write all values to a file, or - for stdout")->type_name("PATH");
  sub->add_option("--plant-fault", o->fault, "For testing this command: kernel:NODE or rewrite:N makes that wrong in every variant but the reference")->type_name("FAULT");
  sub->footer(kText);
  sub->callback([o, &status] {
    const Result<int> result = compare(*o);
    status = result.ok() ? *result : report(result.status());
  });
}

}  // namespace tenon::tools
