#include <algorithm>
#include <cmath>
#include <fstream>
#include <thread>

#include "eval/measure.h"
#include "eval/model.h"
#include "tools/common.h"

namespace tenon::tools {
namespace {

constexpr const char* kNotes =
    "Every backend runs in a process of its own; rounds alternate between them, so that a busy machine slows all alike.\n"
    "The ratio is the first backend's median over this one's (above 1: faster), with a bootstrap 95 % interval over rounds.\n"
    "Inputs are random with a fixed seed, symbolic dims 1 unless bound. With several models --dim and --shape apply to those that\n"
    "have the dim or input. A model that fails has no figures: its reason goes to stderr, and the status is 2.\n\n"
    "Examples:\n"
    "  tenon bench model.onnx --backend reference,cpu --threads 1,2\n"
    "  tenon bench a.onnx b.onnx --dim batch=8 --dim sequence=128 --json -\n"
    "  tenon bench model.onnx --rounds 5 --round-ms 20 --test-data";

struct Options {
  std::vector<std::string> models, dims, shapes, custom_ops;
  std::string backend = "cpu", threads = "1", json, target;
  int rounds = 20, warmup = 2, opt_level = 3;
  double round_ms = 100;
  uint64_t seed = 0;
  bool test_data = false;
  LimitOptions limits;
};

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name")) return line.substr(std::min(line.find(':') + 2, line.size()));
  return "unknown";
}

nlohmann::json to_json(const eval::Subject& subject, const eval::Measurement& m, const eval::Subject& base,
                       const eval::Measurement& base_m) {
  nlohmann::json row = {{"model", subject.model.string()},
                        {"backend", subject.backend->name()},
                        {"threads", subject.threads}};
  if (!m.status.ok()) {
    row["error"] = m.status.to_string();
    return row;
  }
  const eval::Summary s = eval::summarize(m.all());
  row.update({{"latency_ms", {{"p10", s.p10}, {"p50", s.p50}, {"p90", s.p90}, {"mean", s.mean}, {"min", s.min}}},
                        {"load_ms", m.load_ms},
                        {"compile_ms", m.compile_ms},
                        {"first_run_ms", m.first_run_ms},
                        {"peak_rss_mb", m.peak_rss_mb}});
  if (&subject != &base && base_m.status.ok()) {
    const eval::Ratio r = eval::ratio_of_medians(base_m.rounds, m.rounds);
    row["ratio"] = {{"vs", base.backend->name()}, {"median", r.median}, {"ci95", {r.low, r.high}}};
  }
  return row;
}

std::string ms(double value) { return value < 1 ? fmt::format("{:.4f}", value) : value < 100 ? fmt::format("{:.3f}", value) : fmt::format("{:.1f}", value); }

void print(const nlohmann::json& results) {
  Table table({"model", "backend", "threads", "p10 ms", "p50 ms", "p90 ms", "load ms", "compile ms", "first ms", "peak MB", "ratio [95 %]"});
  for (const auto& r : results) {
    if (r.contains("error")) {
      table.add({r.at("model"), r.at("backend"), std::to_string(r.at("threads").get<int>()), "-", "failed", "-", "-", "-", "-", "-", "-"});
      continue;
    }
    const auto& l = r.at("latency_ms");
    std::string ratio = "-";
    if (r.contains("ratio"))
      ratio = fmt::format("{:.2f} [{:.2f}, {:.2f}]", r["ratio"]["median"].get<double>(), r["ratio"]["ci95"][0].get<double>(),
                          r["ratio"]["ci95"][1].get<double>());
    table.add({r.at("model"), r.at("backend"), std::to_string(r.at("threads").get<int>()), ms(l.at("p10")), ms(l.at("p50")), ms(l.at("p90")),
               ms(r.at("load_ms")), ms(r.at("compile_ms")), ms(r.at("first_run_ms")), fmt::format("{:.1f}", r.at("peak_rss_mb").get<double>()),
               ratio});
  }
  table.print();
}

/// What was asked for and no model has. Models that failed may have had it.
Status check_absent(const Options& o, const std::vector<std::vector<std::string>>& absent) {
  std::vector<std::pair<const char*, std::string>> asked;
  for (const std::string& text : o.dims) asked.emplace_back("--dim", text.substr(0, text.rfind('=')));
  for (const std::string& text : o.shapes) asked.emplace_back("--shape", text.substr(0, text.rfind('=')));
  for (const auto& [option, name] : asked)
    if (std::all_of(absent.begin(), absent.end(), [&](const auto& names) { return std::find(names.begin(), names.end(), name) != names.end(); }))
      return Status(Code::kInvalidArgument, fmt::format("no model has a {} '{}'", option[2] == 'd' ? "symbolic dim" : "input", name), option,
                    "tenon inspect MODEL shows what there is");
  return {};
}

Result<eval::MeasureOptions> measure_options(const Options& o) {
  if (!std::isfinite(o.round_ms) || o.round_ms <= 0)
    return Status(Code::kInvalidArgument, fmt::format("{} is no length", o.round_ms), "--round-ms", "give milliseconds above 0");
  eval::MeasureOptions options;
  options.rounds = o.rounds;
  options.round_ms = o.round_ms;
  options.warmup = o.warmup;
  options.seed = o.seed;
  options.use_test_data = o.test_data;
  options.compile.opt_level = o.opt_level;
  options.compile.target = o.target;
  options.timeout_s = o.limits.timeout_s;
  TENON_ASSIGN_OR_RETURN(options.max_bytes, apply_memory_limit(o.limits));
  return options;
}

/// Names the model where the error does not.
void report_failure(const eval::Subject& subject, const Status& status) {
  const bool named = status.to_string().find(subject.model.string()) != std::string::npos;
  report(named ? status : Status(status).at(fmt::format("{} on {}", subject.model.string(), subject.backend->name())));
}

Result<int> bench(const Options& o) {
  TENON_ASSIGN_OR_RETURN(const std::vector<const backends::Backend*> chosen, backends_of(o.backend));
  TENON_ASSIGN_OR_RETURN(const std::vector<int> threads, parse_ints(o.threads, "--threads", 0, kMaxThreads));
  TENON_ASSIGN_OR_RETURN(const eval::MeasureOptions options, measure_options(o));
  TENON_ASSIGN_OR_RETURN(const frontend::ImportOptions import, import_options({.path = {}, .dims = o.dims, .shapes = o.shapes, .custom_ops = o.custom_ops}));

  nlohmann::json results = nlohmann::json::array();
  std::vector<std::vector<std::string>> absent;
  bool failed = false;
  for (const std::string& model : o.models)
    for (int n : threads) {
      const Result<std::filesystem::path> file = eval::find_model(model);
      std::vector<eval::Subject> subjects;
      for (const backends::Backend* backend : chosen)
        subjects.push_back({file.ok() ? *file : std::filesystem::path(model), import, backend, n, o.models.size() > 1});
      Progress progress;
      std::vector<eval::Measurement> measured(subjects.size());
      if (file.ok())
        measured = eval::measure(subjects, options, [&](int round) {
          progress.show(fmt::format("{} threads={} round {}/{}", model, n, round, o.rounds));
        });
      progress.clear();
      for (size_t i = 0; i < subjects.size(); ++i) {
        if (!file.ok()) measured[i].status = file.status();
        results.push_back(to_json(subjects[i], measured[i], subjects[0], measured[0]));
        absent.push_back(measured[i].status.ok() ? measured[i].absent : std::vector<std::string>());
        if (measured[i].status.ok()) continue;
        failed = true;
        if (file.ok() || i == 0) report_failure(subjects[i], measured[i].status);
      }
    }
  if (o.models.size() > 1) TENON_RETURN_IF_ERROR(check_absent(o, absent));
  if (o.json != "-") print(results);
  if (!o.json.empty()) {
    const nlohmann::json context = {{"cpu", cpu_name()}, {"cores", std::thread::hardware_concurrency()}, {"rounds", o.rounds},
                                    {"round_ms", o.round_ms}, {"seed", o.seed}, {"version", TENON_VERSION}};
    TENON_RETURN_IF_ERROR(write_json({{"context", context}, {"results", results}}, o.json));
  }
  return failed ? kFailure : kSuccess;
}

}  // namespace

void add_bench(CLI::App& app, int& status) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("bench", "Measure latency, load and compile time and memory, backends in turn");
  sub->add_option("MODEL", o->models, "Models: .onnx, .tir, or folders with model.onnx")->required()->type_name("")->default_str("");
  sub->add_option("--backend", o->backend, "Backends, separated by commas; ratios are to the first")->type_name("NAME,...");
  sub->add_option("--threads", o->threads, "Numbers of threads, separated by commas; 0: all cores")->type_name("N,...");
  add_dim_options(*sub, o->dims, o->shapes);
  add_custom_ops(*sub, o->custom_ops);
  sub->add_option("--rounds", o->rounds, "Rounds")->check(CLI::Range(1, 100000).description(""))->type_name("N");
  sub->add_option("--round-ms", o->round_ms, "Length of a round in milliseconds; at least one run");
  sub->add_option("--warmup", o->warmup, "Runs before the first round")->check(CLI::Range(0, 100000).description(""))->type_name("N");
  sub->add_option("--seed", o->seed, "Seed of random inputs")->type_name("N");
  sub->add_flag("--test-data", o->test_data, "Use the inputs of test_data_set_0 beside the model");
  sub->add_option("-O", o->opt_level, "Optimisation level")->check(CLI::Range(0, 3).description(""))->type_name("0..3");
  add_target(*sub, o->target);
  add_limit_options(*sub, o->limits, "preparing a model, and then each round,");
  sub->add_option("--json", o->json, "Write results to a file, or - for stdout")->type_name("PATH");
  sub->footer(kNotes);
  sub->callback([o, &status] {
    const Result<int> result = bench(*o);
    status = result.ok() ? *result : report(result.status());
  });
}

}  // namespace tenon::tools
