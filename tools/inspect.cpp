#include <algorithm>
#include <map>

#include "backends/stateful/stateful.h"
#include "eval/cost.h"
#include "eval/profile/crossing.h"
#include "eval/profile/forecast.h"
#include "eval/tuning_file.h"
#include "eval/unbound_dims.h"
#include "frontend/onnx/model_fields.h"
#include "tools/common.h"
#include "tools/states.h"

namespace tenon::tools {
namespace {

constexpr const char* kExamples =
    "Operations (an addition or a multiplication is one) and memory are estimates with symbolic dims at 1 unless bound. Placement counts\n"
    "the nodes of the model that each kernel covers; nodes that were folded away count nowhere. --explain shows for each kernel of the\n"
    "compiled model what was chosen, why nothing better was, and the least time that its operations and bytes take on this machine,\n"
    "which is measured for it. --state says which states a session would keep, and which of them runs write in place.\n\n"
    "Examples:\n"
    "  tenon inspect model.onnx --dim batch=8\n"
    "  tenon inspect model.onnx --placement --backend cpu\n"
    "  tenon inspect model.onnx --explain --threads 2 --dim batch=8\n"
    "  tenon inspect model.onnx --json -";

struct Options {
  DType precision = DType::kF32;
  ModelOptions model;
  bool placement = false, explain = false, calibrate = true;
  int threads = 1;
  std::string backend = "cpu", json;
  TargetOptions target;
  int opt_level = 3;
};

std::string_view kind_name(backends::Placement::Kind kind) {
  constexpr std::string_view kNames[] = {"generated", "library", "host", "view", "interpreted", "folded"};
  return kNames[static_cast<size_t>(kind)];
}

std::map<std::string, int> count_ops(ir::Graph& graph) {
  std::map<std::string, int> out;
  ir::walk(graph, [&](ir::Node& node) {
    if (!node.is("Constant")) ++out[std::string(node.op_name())];
  });
  return out;
}

/// "opset 17, ai.onnx.ml 3; IR version 8"; empty for a .tir file that does not say.
std::string versions(const ir::Graph& graph) {
  namespace fields = frontend::fields;
  const auto text = [&](std::string_view key) {
    const auto found = graph.metadata.find(std::string(key));
    return found == graph.metadata.end() ? std::string() : found->second;
  };
  std::vector<std::string> opsets;
  for (const std::string& entry : split(text(fields::kOpsets), ' ')) {
    const size_t colon = entry.rfind(':');
    if (colon != std::string::npos) opsets.push_back(fmt::format("{} {}", entry.substr(0, colon), entry.substr(colon + 1)));
    else if (!entry.empty()) opsets.push_back("opset " + entry);
  }
  const std::string ir = text(fields::kIrVersion);
  return fmt::format("{}{}{}", fmt::join(opsets, ", "), opsets.empty() || ir.empty() ? "" : "; ", ir.empty() ? "" : "IR version " + ir);
}

void print_summary(const ModelOptions& model, const ir::Graph& graph, const std::map<std::string, int>& ops, const eval::Cost& cost) {
  if (const std::string text = versions(graph); !text.empty()) fmt::print("{}\n\n", text);
  Table io({"", "name", "type"});
  for (const ir::Value* v : graph.inputs()) io.add({"input", v->name(), ir::to_string(v->type())});
  for (size_t i = 0; i < graph.outputs().size(); ++i)
    io.add({"output", graph.output_name(static_cast<int>(i)), ir::to_string(graph.outputs()[i]->type())});
  io.print();
  std::vector<std::pair<int, std::string>> sorted;
  int total = 0;
  for (const auto& [op, n] : ops) {
    sorted.emplace_back(-n, op);
    total += n;
  }
  std::sort(sorted.begin(), sorted.end());
  fmt::print("\n");
  Table table({"op", "nodes"});
  for (const auto& [n, op] : sorted) table.add({op, std::to_string(-n)});
  table.add({"all", std::to_string(total)});
  table.print();
  const std::string unbound = printable(eval::unbound_dims(graph, model.path));
  if (!unbound.empty()) fmt::print("\nwith {}:", unbound);
  fmt::print("\nparameters   {} ({})\n", human_count(cost.parameters), human_bytes(cost.parameter_bytes));
  fmt::print("operations   {}{}\n", human_count(cost.flops),
             cost.uncounted > 0 ? fmt::format(", {} nodes not counted", cost.uncounted) : std::string());
  fmt::print("activations  {} at most at one time\n", human_bytes(cost.activation_bytes));
}

nlohmann::json summary_json(const ir::Graph& graph, const std::map<std::string, int>& ops, const eval::Cost& cost) {
  nlohmann::json inputs = nlohmann::json::array(), outputs = nlohmann::json::array();
  for (const ir::Value* v : graph.inputs()) inputs.push_back({{"name", v->name()}, {"type", ir::to_string(v->type())}});
  for (size_t i = 0; i < graph.outputs().size(); ++i)
    outputs.push_back({{"name", graph.output_name(static_cast<int>(i))}, {"type", ir::to_string(graph.outputs()[i]->type())}});
  return {{"versions", versions(graph)}, {"inputs", inputs}, {"outputs", outputs}, {"ops", ops}, {"parameters", cost.parameters}, {"parameter_bytes", cost.parameter_bytes},
          {"operations", cost.flops}, {"activation_bytes", cost.activation_bytes}};
}

/// Nodes of the model, not of the compiled graph, are what the percentages count.
void print_placement(const std::vector<backends::Placement>& placement) {
  std::map<std::string_view, size_t> totals;
  size_t all = 0;
  Table table({"node", "op", "kind", "implementation", "nodes", "not better because"});
  for (const backends::Placement& p : placement) {
    const size_t n = std::max<size_t>(1, p.covers.size());
    totals[kind_name(p.kind)] += n;
    all += n;
    table.add({p.node, p.op, std::string(kind_name(p.kind)), p.implementation, std::to_string(n), p.reason});
  }
  table.print();
  fmt::print("\n");
  for (const auto& [kind, n] : totals)
    fmt::print("{:<12} {:5} nodes, {:5.1f} % of all\n", kind, n, 100.0 * static_cast<double>(n) / static_cast<double>(std::max<size_t>(all, 1)));
}

void print_crossing(const eval::Crossing& c) {
  fmt::print("\nbetween host and device, a run: inputs {}, outputs {}; around {} step{} on the host {} to it and {} from it; {} run{} of kernels{}\n", human_bytes(c.inputs),
             human_bytes(c.outputs), c.host_steps, c.host_steps == 1 ? "" : "s", human_bytes(c.to_host), human_bytes(c.to_device), c.segments, c.segments == 1 ? "" : "s",
             c.unknown > 0 ? fmt::format("; {} sizes are known at run time alone", c.unknown) : "");
}

nlohmann::json placement_json(const std::vector<backends::Placement>& placement) {
  nlohmann::json rows = nlohmann::json::array();
  std::map<std::string, size_t> totals;
  for (const backends::Placement& p : placement) {
    totals[std::string(kind_name(p.kind))] += std::max<size_t>(1, p.covers.size());
    rows.push_back({{"node", p.node}, {"op", p.op}, {"kind", kind_name(p.kind)}, {"implementation", p.implementation},
                    {"reason", p.reason}, {"covers", p.covers}});
  }
  return {{"nodes", rows}, {"totals", totals}};
}

std::string shortened(std::string text, size_t width) {
  if (text.size() <= width) return text;
  size_t at = width - 3;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
  return text.substr(0, at) + "...";
}

/// `unbound`: dims that were 1 for it. What has no work then, may have some.
void print_forecast(const eval::Forecast& f, const std::string& unbound) {
  const auto number = [](double value) { return fmt::format("{:.{}f}", value, value < 1 ? 4 : value < 100 ? 3 : 1); };
  if (f.peak)
    fmt::print("machine: {}, {:.0f} GFLOP/s and {:.0f} GB/s from memory with {} thread{}\n\n", f.peak->vectors, f.peak->all.gflops, f.peak->all.gbps_ram,
               f.threads, f.threads == 1 ? "" : "s");
  Table table({"kernel", "implementation", "calls", "grid", "threads", "operations", "bytes", "least ms", "bound", "nodes", "not better because"});
  if (!unbound.empty()) fmt::print("with {}; - where sizes are missing:\n\n", unbound);
  for (const eval::KernelForecast& k : f.kernels) {
    const bool idle = !unbound.empty() && k.grid == 0 && k.flops.value_or(0) == 0;
    const std::string nodes = k.nodes.empty() ? "" : shortened(k.nodes[0], 40) + (k.nodes.size() > 1 ? fmt::format(" +{}", k.nodes.size() - 1) : "");
    table.add({k.name, k.implementation, std::to_string(k.calls), k.grid > 0 ? std::to_string(k.grid) : "-", std::to_string(k.threads),
               k.flops && !idle ? human_count(*k.flops) : "-", idle ? "-" : human_bytes(k.bytes), k.ms ? number(*k.ms) : "-", k.bound.empty() ? "-" : k.bound, nodes,
               shortened(k.refused, 120)});
  }
  table.print();
  fmt::print("\n");
  if (f.peak) fmt::print("at least     {} ms\n", number(f.ms));
  fmt::print("weights      {}\narena        {}, of which {} are alive at most\n", human_bytes(static_cast<double>(f.weight_bytes)),
             human_bytes(static_cast<double>(f.arena_bytes)), human_bytes(static_cast<double>(f.arena_bound)));
}

void print_states(std::span<const backends::StateInfo> states) {
  Table table({"state", "output", "grows along", "in place", "not because"});
  for (const backends::StateInfo& s : states)
    table.add({s.pair.input, s.pair.output, s.axis < 0 ? "" : fmt::format("axis {}", s.axis), s.in_place ? "yes" : "no", s.in_place ? "" : s.reason});
  table.print();
}

Status inspect_compiled(Options& o, const ir::Graph& model, nlohmann::json& json) {
  TENON_ASSIGN_OR_RETURN(const auto chosen, backends_of(o.backend));
  const bool text = o.json != "-";
  TENON_ASSIGN_OR_RETURN(const eval::StateRequest request, eval::parse_states(o.model.states));
  TENON_ASSIGN_OR_RETURN(const eval::FoundStates states, eval::find_states(o.model.path, model, o.model.import, request));
  const ir::Graph& graph = states.growing != nullptr ? *states.growing : model;
  for (const backends::Backend* backend : chosen) {
    backends::CompileOptions compile;
    compile.opt_level = o.opt_level;
    o.target.apply(compile);
    compile.precision = o.precision;
    compile.cache = user_cache();
    compile.interrupt = o.model.interrupt;
    eval::use_tuning(o.model.path, *backend, compile);
    TENON_ASSIGN_OR_RETURN(const auto executable, backends::compile_stateful(*backend, graph.clone(), compile, states.pairs));
    const std::string name(backend->name());
    if (text && chosen.size() > 1) fmt::print("{}:\n", name);
    if (text && !states.pairs.empty()) print_states(executable->states());
    if (!states.pairs.empty()) json["states"][name] = states_json(executable->states());
    const bool crosses = o.placement && name == "vulkan";
    if (o.placement && text) print_placement(executable->placement());
    if (o.placement) json["placement"][name] = placement_json(executable->placement());
    if (crosses && text) print_crossing(eval::crossing(*executable));
    if (crosses) json["placement"][name]["crossing"] = eval::to_json(eval::crossing(*executable));
    if (!o.explain) continue;
    TENON_ASSIGN_OR_RETURN(const eval::Forecast forecast, eval::forecast(*executable, {o.threads, o.calibrate, o.target.target}));
    const std::string unbound = printable(eval::unbound_dims(graph, o.model.path));
    if (text) print_forecast(forecast, unbound);
    json["explain"][name] = eval::to_json(forecast);
    if (!unbound.empty()) json["explain"][name]["unbound"] = unbound;
  }
  return {};
}

Status inspect(Options& o) {
  TENON_ASSIGN_OR_RETURN(const auto graph, load(o.model));
  const bool text = o.json != "-";
  nlohmann::json json;
  if (o.placement || o.explain || !o.model.states.empty()) {
    TENON_RETURN_IF_ERROR(inspect_compiled(o, *graph, json));
  } else {
    const std::map<std::string, int> ops = count_ops(*graph);
    const eval::Cost cost = eval::estimate(*graph);
    if (text) print_summary(o.model, *graph, ops, cost);
    json = summary_json(*graph, ops, cost);
  }
  return o.json.empty() ? Status() : write_json(json, o.json);
}

}  // namespace

void add_inspect(CLI::App& app, int& status) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("inspect", "Show inputs, outputs, ops, parameters, operations, memory; or where nodes run");
  add_model_options(*sub, o->model);
  add_states(*sub, o->model.states);
  sub->add_flag("--placement", o->placement, "How each node runs on a backend, and the shares in percent");
  sub->add_flag("--explain", o->explain, "Per kernel what was chosen and why, its operations, bytes and the least time that they take");
  sub->add_option("--threads", o->threads, "Threads for --explain; 0: all cores")->check(thread_count())->type_name("N");
  sub->add_flag("!--no-roofline", o->calibrate, "Leave out the times: measure nothing");
  sub->add_option("--backend", o->backend, "Backends for --placement, --explain and --state, separated by commas")->type_name("NAME,...");
  sub->add_option("-O", o->opt_level, "Optimisation level")->check(CLI::Range(0, 3).description(""))->type_name("0..3");
  add_compiling(*sub, o->target);
  add_precision(*sub, o->precision);
  sub->add_option("--json", o->json, "Write results to a file, or - for stdout")->type_name("PATH");
  sub->footer(kExamples);
  sub->callback([o, &status] {
    const Status result = inspect(*o);
    status = result.ok() ? kSuccess : report(result);
  });
}

}  // namespace tenon::tools
