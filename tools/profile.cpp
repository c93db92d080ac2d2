#include "tools/profile.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <thread>

#include "backends/stateful/stateful.h"
#include "eval/bench/machine.h"
#include "eval/inputs.h"
#include "eval/report/report.h"
#include "eval/tuning_file.h"
#include "eval/unbound_dims.h"

namespace tenon::tools {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNotes =
    "Every step of the compiled plan is timed, and the model is run as often without, which shows what watching costs. A kernel's\n"
    "roof is the time that its operations and bytes take at best on this machine, which is measured beside it; its percentage is\n"
    "that time's share of the real one. With --state each run begins with the states as --dim and --shape make their inputs.\n\n"
    "Examples:\n"
    "  tenon profile model.onnx --threads 2 --dim batch=8\n"
    "  tenon profile model.onnx --trace model.trace.json      for chrome://tracing or ui.perfetto.dev\n"
    "  tenon profile model.onnx --json new.json --baseline old.json";

Result<std::vector<HostValue>> inputs_of(const ProfileRequest& request, const ir::Graph& graph) {
  if (!request.test_data) return eval::random_inputs(graph, request.seed);
  return eval::read_inputs(graph, fs::path(request.model.path).parent_path() / "test_data_set_0");
}

std::string ms(double value) { return fmt::format("{:.{}f}", value, value < 1 ? 4 : value < 100 ? 3 : 1); }
std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }
std::string rate(double value) { return value <= 0 ? "-" : fmt::format("{:.{}f}", value, value < 10 ? 2 : 1); }

/// A share as a bar of at most ten characters.
std::string bar(double share) { return std::string(static_cast<size_t>(std::clamp(std::lround(share * 10), 0L, 10L)), '#'); }

std::string shortened(const std::string& text, size_t width) {
  if (text.size() <= width) return text;
  size_t at = width - 3;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
  return text.substr(0, at) + "...";
}

std::string node_list(const std::vector<std::string>& nodes) {
  if (nodes.empty()) return {};
  return shortened(nodes[0], 48) + (nodes.size() > 1 ? fmt::format(" +{}", nodes.size() - 1) : "");
}

void print_machine(const eval::Profile& p) {
  if (!p.peak) return;
  const eval::Peak &one = p.peak->one, &all = p.peak->all;
  const auto of = [&](double eval::Peak::* figure) {
    return all.threads == 1 ? rate(one.*figure) : fmt::format("{} ({} with one thread)", rate(all.*figure), rate(one.*figure));
  };
  std::string narrow;
  if (all.bf16_gflops > 0) narrow += fmt::format(", {} of bf16", of(&eval::Peak::bf16_gflops));
  if (all.byte_gops > 0) narrow += fmt::format(", {} GOP/s of bytes", of(&eval::Peak::byte_gops));
  fmt::print("machine: {}, {} GFLOP/s beside the runs, {} at best{}; reads {} GB/s from memory, {} from the second level cache\n", p.peak->vectors,
             of(&eval::Peak::gflops), rate(p.peak->best_gflops), narrow, of(&eval::Peak::gbps_ram), of(&eval::Peak::gbps_l2));
}

void print_kernels(const eval::Profile& p, size_t top) {
  Table table({"kernel", "implementation", "calls", "ms", "of the run", "", "GFLOP/s", "GB/s", "of roof", "bound", "nodes"});
  double rest = 0;
  for (size_t i = 0; i < p.kernels.size(); ++i) {
    const eval::KernelProfile& k = p.kernels[i];
    if (i >= top) {
      rest += k.ms;
      continue;
    }
    table.add({k.name, k.implementation, std::to_string(k.calls), ms(k.ms), percent(k.share), bar(k.share), rate(k.gflops), rate(k.gbps),
               k.fraction ? percent(*k.fraction) : "-", k.bound.empty() ? "-" : k.bound, node_list(k.nodes)});
  }
  const double between = p.total_ms - p.steps_ms, total = p.total_ms > 0 ? p.total_ms : 1;
  if (p.kernels.size() > top)
    table.add({fmt::format("({} more)", p.kernels.size() - top), "", "", ms(rest), percent(rest / total), bar(rest / total), "", "", "", "", ""});
  table.add({eval::kBetweenSteps, "", "", ms(between), percent(between / total), bar(between / total), "", "", "", "", ""});
  table.print();
}

void print_ops(const eval::Profile& p, size_t top) {
  Table table({"op", "nodes", "ms", "of the run", ""});
  for (size_t i = 0; i < std::min(top, p.ops.size()); ++i) {
    const eval::OpProfile& o = p.ops[i];
    table.add({o.op, std::to_string(o.nodes), ms(o.ms), percent(o.share), bar(o.share)});
  }
  fmt::print("\n");
  table.print();
}

void print_nodes(const eval::Profile& p, size_t top) {
  Table table({"node", "op", "ms", "of the run", "", "in"});
  for (size_t i = 0; i < std::min(top, p.nodes.size()); ++i) {
    const eval::NodeProfile& n = p.nodes[i];
    table.add({shortened(n.node, 64), n.op, ms(n.ms), percent(n.share), bar(n.share), shortened(n.parent, 32)});
  }
  fmt::print("\n");
  table.print();
  const auto views = std::count_if(p.silent.begin(), p.silent.end(), [](const auto& n) { return n.why == "view"; });
  if (!p.silent.empty())
    fmt::print("without time of their own: {} folded into others, {} views\n", static_cast<std::ptrdiff_t>(p.silent.size()) - views, views);
}

void print_memory(const eval::Profile& p) {
  const eval::MemoryProfile& m = p.memory;
  fmt::print("\nmemory: weights {}, arena {}", human_bytes(static_cast<double>(m.weight_bytes)), human_bytes(static_cast<double>(m.arena_bytes)));
  if (m.peak_bytes == 0) {
    fmt::print("\n");
    return;
  }
  const auto step = static_cast<size_t>(m.peak_step);
  fmt::print(", of which {} are alive at most, at step {} of {} ({})\n", human_bytes(static_cast<double>(m.peak_bytes)), m.peak_step, m.timeline.size(),
             shortened(m.timeline[step].node, 48));
  std::vector<const eval::TensorPlace*> alive;
  for (const eval::TensorPlace& t : m.tensors)
    if (t.first <= m.peak_step && m.peak_step <= t.last) alive.push_back(&t);
  std::stable_sort(alive.begin(), alive.end(), [](const auto* a, const auto* b) { return a->bytes > b->bytes; });
  constexpr size_t kShown = 5;
  Table table({"alive then", "bytes", "steps"});
  for (size_t i = 0; i < std::min(kShown, alive.size()); ++i)
    table.add({shortened(alive[i]->name, 64), human_bytes(static_cast<double>(alive[i]->bytes)), fmt::format("{} to {}", alive[i]->first, alive[i]->last)});
  table.print();
  if (alive.size() > kShown) fmt::print("and {} more\n", alive.size() - kShown);
}

Result<eval::Profile> read_baseline(const std::string& path) {
  Result<nlohmann::json> document = eval::read_report_document(path);
  if (!document.ok()) return Status(document.status().code(), document.status().what(), path, "give --baseline a file that tenon profile --json wrote");
  Result<eval::Profile> parsed = eval::parse_profile(*document);
  return parsed.ok() ? std::move(parsed) : std::move(parsed).status().at(path);
}

nlohmann::json context(const ProfileRequest& request) {
  nlohmann::json out = eval::machine_context();
  out.update({{"seed", request.seed}, {"version", TENON_VERSION}});
  return out;
}

Status write(const ProfileRequest& request, const eval::Profile& profile, const std::optional<eval::Attribution>& change) {
  if (!request.trace.empty()) TENON_RETURN_IF_ERROR(write_json(eval::to_trace(profile), request.trace));
  if (request.json.empty()) return {};
  nlohmann::json json = eval::to_json(profile);
  json["context"] = context(request);
  if (change) json["baseline"] = eval::to_json(*change);
  return write_json(json, request.json);
}

}  // namespace

void print_profile(const eval::Profile& p, int top) {
  fmt::print("{} on {}, {} thread{}: {} ms a run; {} observed runs, {} ms unobserved (the median observed run takes {:.1f} % {})\n", p.model, p.backend,
             p.threads, p.threads == 1 ? "" : "s", ms(p.total_ms), p.runs, ms(p.unobserved_ms), 100 * std::abs(p.observed_overhead),
             p.observed_overhead < 0 ? "less" : "more");
  print_machine(p);
  fmt::print("\n");
  const auto shown = static_cast<size_t>(std::max(top, 0));
  print_kernels(p, shown);
  print_ops(p, shown);
  print_nodes(p, shown);
  print_memory(p);
}

void print_attribution(const eval::Attribution& a, int top) {
  fmt::print("\n{} ms before, {} ms now: {:+.1f} % of before\n", ms(a.old_ms), ms(a.new_ms), a.old_ms > 0 ? 100 * a.delta_ms / a.old_ms : 0.0);
  for (const auto& [title, rows] : {std::pair("op", &a.ops), std::pair("node", &a.nodes)}) {
    Table table({title, "before ms", "now ms", "change ms", "of the change"});
    for (size_t i = 0; i < std::min(static_cast<size_t>(std::max(top, 0)), rows->size()); ++i) {
      const eval::Change& c = (*rows)[i];
      table.add({shortened(c.name, 64), ms(c.old_ms), ms(c.new_ms), fmt::format("{:.4f}", c.delta_ms), percent(c.share)});
    }
    fmt::print("\n");
    table.print();
  }
}

Result<eval::Profile> profile_model(ProfileRequest& request) {
  TENON_ASSIGN_OR_RETURN(const auto chosen, backends_of(request.backend));
  if (request.json == "-" && request.trace == "-")
    return Status(Code::kInvalidArgument, "--json and --trace would both be written to stdout", "--trace", "name a file for one of them");
  if (chosen.size() != 1) return Status(Code::kInvalidArgument, "one backend, please", "--backend", "profile them one after the other");
  std::optional<eval::Profile> before;
  if (!request.baseline.empty()) {
    TENON_ASSIGN_OR_RETURN(before, read_baseline(request.baseline));
  }
  TENON_ASSIGN_OR_RETURN(const auto graph, load(request.model));
  TENON_ASSIGN_OR_RETURN(const std::vector<HostValue> inputs, inputs_of(request, *graph));
  backends::CompileOptions compile;
  compile.opt_level = request.opt_level;
  request.target.apply(compile);
  compile.precision = request.precision;
  compile.cache = user_cache();
  compile.interrupt = request.model.interrupt;
  eval::use_tuning(request.model.path, *chosen[0], compile);
  TENON_ASSIGN_OR_RETURN(const eval::StateRequest wanted, eval::parse_states(request.model.states));
  TENON_ASSIGN_OR_RETURN(const eval::FoundStates states, eval::find_states(request.model.path, *graph, request.model.import, wanted));
  const ir::Graph& compiled = states.growing != nullptr ? *states.growing : *graph;
  TENON_ASSIGN_OR_RETURN(const auto executable, backends::compile_stateful(*chosen[0], compiled.clone(), compile, states.pairs));
  eval::ProfileOptions options;
  options.threads = request.threads;
  options.warmup = request.warmup;
  options.runs = request.runs;
  options.calibrate = chosen[0]->name() == "cpu";
  options.target = request.target.target;
  options.max_bytes = request.model.max_bytes;
  options.interrupt = request.model.interrupt;
  Progress progress;
  progress.show(fmt::format("profiling {}", request.model.path));
  Result<eval::Profile> profile = eval::profile(*graph, *executable, inputs, options);
  progress.clear();
  if (!profile.ok()) {
    const Status failed = request.test_data ? profile.status() : eval::advise_sizes(profile.status(), *graph, request.model.path);
    return Status(failed).at(fmt::format("{} on {}", request.model.path, chosen[0]->name()));
  }
  profile->model = request.model.path;
  profile->backend = chosen[0]->name();
  std::optional<eval::Attribution> change;
  if (before) change = eval::attribute(*before, *profile);
  if (!request.quiet && request.json != "-" && request.trace != "-") {
    if (profile->taken_over()) fmt::print("{} failed and {} took over: what follows is a profile of {}\n\n", profile->backend, profile->run_by, profile->run_by);
    print_profile(*profile, request.top);
    const std::string unbound = request.test_data ? std::string() : printable(eval::unbound_dims(*graph, request.model.path));
    if (!unbound.empty()) fmt::print("\nrandom inputs, {}\n", unbound);
    if (change) print_attribution(*change, request.top);
  }
  TENON_RETURN_IF_ERROR(write(request, *profile, change));
  return profile;
}

void add_profile(CLI::App& app, int& status) {
  auto o = std::make_shared<ProfileRequest>();
  CLI::App* sub = app.add_subcommand("profile", "Show where the time and the memory of a run go: kernels, nodes, ops, tensors");
  add_model_options(*sub, o->model);
  add_states(*sub, o->model.states);
  sub->add_option("--backend", o->backend, "Backend: cpu or vulkan")->type_name("NAME");
  sub->add_option("--threads", o->threads, "Threads; 0: all cores")->type_name("N")->check(thread_count());
  sub->add_flag("--test-data", o->test_data, "Use the inputs of test_data_set_0 beside the model");
  add_seed(*sub, o->seed);
  sub->add_option("--warmup", o->warmup, "Runs before the first that counts")->check(CLI::Range(1, 100000).description(""))->type_name("N");
  sub->add_option("--runs", o->runs, "Observed runs, and as many unobserved; fewer where they take more than 20 seconds, at least 3")
      ->check(CLI::Range(1, 100000).description(""))->type_name("N");
  sub->add_option("--top", o->top, "Rows to show of each table")->check(CLI::Range(1, 1000000).description(""))->type_name("N");
  sub->add_option("-O", o->opt_level, "Optimisation level")->check(CLI::Range(0, 3).description(""))->type_name("0..3");
  add_compiling(*sub, o->target);
  add_precision(*sub, o->precision);
  sub->add_option("--json", o->json, "Write the profile to a file, or - for stdout")->type_name("PATH");
  sub->add_option("--trace", o->trace, "Write the last run for chrome://tracing and Perfetto to a file, or - for stdout")->type_name("PATH");
  sub->add_option("--baseline", o->baseline, "A profile written with --json: say which ops and nodes changed since")->type_name("PATH");
  sub->footer(kNotes);
  sub->callback([o, &status] {
    const auto profile = profile_model(*o);
    status = profile.ok() ? kSuccess : report(profile.status());
  });
}

}  // namespace tenon::tools
