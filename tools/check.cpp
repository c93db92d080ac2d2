#include <algorithm>
#include <map>

#include "codegen/lower/lower.h"
#include "codegen/target_facts.h"
#include "ir/op.h"
#include "passes/pass.h"
#include "passes/patch.h"
#include "tools/common.h"

namespace tenon::tools {
namespace {

constexpr const char* kExamples =
    "Lowers every node without compiling it. What cannot be generated runs as a call on the host; what no backend has makes the\n"
    "check fail with all of it listed.\n\n"
    "Examples:\n"
    "  tenon check model.onnx\n"
    "  tenon check model.onnx --verbose --json report.json";

struct Options {
  ModelOptions model;
  std::string json;
  TargetOptions target;
  int level = 3;
  bool verbose = false;
};

struct Row {
  std::string node, op, runs, why;
};

bool structural(const ir::Node& node) { return node.op().compute.structural && node.num_regions() == 0; }

/// Why a node that has a decomposition was not decomposed; empty when that is for another reason. Leaves the graph as it is.
std::string refusal(ir::Node& node) {
  passes::Patch patch(node);
  const Result<std::vector<ir::Value*>> values = node.op().compute.decompose(node, patch.builder());
  return !patch.builder().status().ok() ? patch.builder().status().what() : values.ok() ? std::string() : values.status().what();
}

Row place(ir::Node& node, const codegen::Target& target) {
  Row row{node.name(), std::string(node.op_name()), "generated", {}};
  if (node.num_regions() > 0 && node.op().compute.structural && !node.is("tenon.fused")) {
    row.runs = "control flow";
    return row;
  }
  const Result<codegen::LoweredOp> lowered = codegen::lower(node, target);
  if (lowered.ok()) {
    row.why = lowered->implementation;
  } else if (node.op().compute.view) {
    row.why = "view";
  } else {
    row.runs = "host";
    row.why = lowered.status().what();
    const ir::Compute& compute = node.op().compute;
    const auto ranked = [](const ir::Value* v) { return v == nullptr || v->type().is_ranked_tensor(); };
    if (compute.body == nullptr && compute.decompose != nullptr && std::ranges::all_of(node.inputs(), ranked))
      if (std::string why = refusal(node); !why.empty()) row.why = std::move(why);
  }
  return row;
}

Status check(Options& o) {
  TENON_ASSIGN_OR_RETURN(const codegen::Target target, target_of(o.target.target));
  TENON_ASSIGN_OR_RETURN(const auto graph, load(o.model));
  const size_t nodes = count_nodes(*graph);
  TENON_RETURN_IF_ERROR(passes::run_pipeline(*graph, {.level = o.level, .target = codegen::facts(target), .interrupt = o.model.interrupt}));
  std::vector<ir::Node*> placed;
  ir::walk(*graph, [&](ir::Node& node) {
    const ir::Node* owner = node.graph()->parent();
    if (structural(node) || (owner != nullptr && owner->is("tenon.fused"))) return;
    placed.push_back(&node);
  });
  std::vector<Row> rows;
  for (ir::Node* node : placed) rows.push_back(place(*node, target));
  std::map<std::string, int> totals;
  Table table({"node", "op", "runs", "how, or why not generated"});
  nlohmann::json json_rows = nlohmann::json::array();
  for (const Row& row : rows) {
    ++totals[row.runs];
    if (o.verbose || row.runs == "host") table.add({row.node, row.op, row.runs, row.why});
    json_rows.push_back({{"node", row.node}, {"op", row.op}, {"runs", row.runs}, {"why", row.why}});
  }
  if (o.json != "-") {
    if (o.verbose || totals.count("host") != 0) table.print();
    fmt::print("{} nodes, {} kernels and calls after -O{}\n", nodes, rows.size(), o.level);
    for (const auto& [kind, n] : totals)
      fmt::print("{:<13} {:5}  {:5.1f} % of kernels and calls\n", kind, n, 100.0 * n / static_cast<double>(rows.size()));
    fmt::print("reference     runs all of it\n");
  }
  return o.json.empty() ? Status() : write_json({{"nodes", json_rows}, {"totals", totals}}, o.json);
}

}  // namespace

void add_check(CLI::App& app, int& status) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("check", "Show what is generated, what runs on the host and why, before anything is compiled");
  add_model_options(*sub, o->model);
  sub->add_option("-O", o->level, "Optimisation level")->check(CLI::Range(0, 3).description(""))->type_name("0..3");
  add_target(*sub, o->target);
  sub->add_flag("-v,--verbose", o->verbose, "List every node, not only those on the host");
  sub->add_option("--json", o->json, "Write results to a file, or - for stdout")->type_name("PATH");
  sub->footer(kExamples);
  sub->callback([o, &status] {
    const Status result = check(*o);
    status = result.ok() ? kSuccess : report(result);
  });
}

}  // namespace tenon::tools
