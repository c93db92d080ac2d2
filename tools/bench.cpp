#include "eval/measure.h"

#include <unistd.h>

#include <fstream>
#include <thread>

#include "tools/common.h"

namespace tenon::tools {
namespace {

constexpr const char* kNotes =
    "Every backend runs in a process of its own; rounds alternate between them, so that a busy machine slows all alike.\n"
    "The ratio is the first backend's median over this one's (above 1: faster), with a bootstrap 95 % interval over rounds.\n"
    "Inputs are random with a fixed seed, symbolic dims 1 unless bound.\n\n"
    "Examples:\n"
    "  tenon bench model.onnx --backend reference,cpu --threads 1,2\n"
    "  tenon bench model.onnx --dim batch=8 --dim sequence=128 --json -";

struct Options {
  std::vector<std::string> models, dims, shapes;
  std::string backend = "cpu", threads = "1", json, target;
  int rounds = 20, warmup = 2, opt_level = 3;
  double round_ms = 100;
  uint64_t seed = 0;
  bool test_data = false;
};

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name")) return line.substr(std::min(line.find(':') + 2, line.size()));
  return "unknown";
}

nlohmann::json to_json(const eval::Subject& subject, const eval::Measurement& m, const eval::Subject& base,
                       const eval::Measurement& base_m) {
  const eval::Summary s = eval::summarize(m.all());
  nlohmann::json row = {{"model", subject.model.string()},
                        {"backend", subject.backend->name()},
                        {"threads", subject.threads},
                        {"latency_ms", {{"p10", s.p10}, {"p50", s.p50}, {"p90", s.p90}, {"mean", s.mean}, {"min", s.min}}},
                        {"load_ms", m.load_ms},
                        {"compile_ms", m.compile_ms},
                        {"first_run_ms", m.first_run_ms},
                        {"peak_rss_mb", m.peak_rss_mb}};
  if (!m.status.ok()) row["error"] = m.status.to_string();
  if (&subject != &base && m.status.ok() && base_m.status.ok()) {
    const eval::Ratio r = eval::ratio_of_medians(base_m.rounds, m.rounds);
    row["ratio"] = {{"vs", base.backend->name()}, {"median", r.median}, {"ci95", {r.low, r.high}}};
  }
  return row;
}

std::string ms(double value) { return value < 1 ? fmt::format("{:.4f}", value) : value < 100 ? fmt::format("{:.3f}", value) : fmt::format("{:.1f}", value); }

void print(const nlohmann::json& results) {
  Table table({"model", "backend", "threads", "p10 ms", "p50 ms", "p90 ms", "load ms", "compile ms", "first ms", "peak MB", "ratio [95 %]"});
  for (const auto& r : results) {
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

int bench(const Options& o) {
  Result<std::vector<const backends::Backend*>> chosen = backends_of(o.backend);
  if (!chosen.ok()) return report(chosen.status());
  Result<std::vector<int>> threads = parse_ints(o.threads, "--threads");
  if (!threads.ok()) return report(threads.status());
  eval::MeasureOptions options;
  options.rounds = o.rounds;
  options.round_ms = o.round_ms;
  options.warmup = o.warmup;
  options.seed = o.seed;
  options.use_test_data = o.test_data;
  options.compile.opt_level = o.opt_level;
  options.compile.target = o.target;
  Result<frontend::ImportOptions> import = import_options({.path = {}, .dims = o.dims, .shapes = o.shapes});
  if (!import.ok()) return report(import.status());

  nlohmann::json results = nlohmann::json::array();
  Status worst;
  for (const std::string& model : o.models)
    for (int n : *threads) {
      std::vector<eval::Subject> subjects;
      for (const backends::Backend* backend : *chosen) subjects.push_back({model, *import, backend, n});
      Progress progress;
      const std::vector<eval::Measurement> measured = eval::measure(subjects, options, [&](int round) {
        progress.show(fmt::format("{} threads={} round {}/{}", model, n, round, o.rounds));
      });
      progress.clear();
      for (size_t i = 0; i < subjects.size(); ++i) {
        results.push_back(to_json(subjects[i], measured[i], subjects[0], measured[0]));
        if (!measured[i].status.ok()) {
          worst = measured[i].status;
          report(Status(worst).at(fmt::format("{} on {}", model, subjects[i].backend->name())));
        }
      }
    }
  if (o.json != "-") print(results);
  if (!o.json.empty()) {
    const nlohmann::json context = {{"cpu", cpu_name()}, {"cores", std::thread::hardware_concurrency()}, {"rounds", o.rounds},
                                    {"round_ms", o.round_ms}, {"seed", o.seed}, {"version", TENON_VERSION}};
    if (Status status = write_json({{"context", context}, {"results", results}}, o.json); !status.ok()) return report(status);
  }
  return worst.ok() ? kSuccess : kFailure;
}

}  // namespace

void add_bench(CLI::App& app, int& status) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("bench", "Measure latency, load and compile time and memory, backends in turn");
  sub->add_option("models", o->models, "Model files")->required();
  sub->add_option("--backend", o->backend, "Backends, separated by commas; ratios are to the first");
  sub->add_option("--threads", o->threads, "Numbers of threads, separated by commas");
  sub->add_option("--dim", o->dims, "Bind a symbolic dim: NAME=N. Repeatable")->allow_extra_args(false);
  sub->add_option("--shape", o->shapes, "Bind an input's shape: INPUT=1x3x224x224. Repeatable")->allow_extra_args(false);
  sub->add_option("--rounds", o->rounds, "Rounds")->check(CLI::Range(1, 100000));
  sub->add_option("--round-ms", o->round_ms, "Length of a round in milliseconds; at least one run");
  sub->add_option("--warmup", o->warmup, "Runs before the first round")->check(CLI::Range(0, 100000));
  sub->add_option("--seed", o->seed, "Seed of random inputs");
  sub->add_flag("--test-data", o->test_data, "Use the inputs of test_data_set_0 beside the model");
  sub->add_option("-O", o->opt_level, "Optimisation level")->check(CLI::Range(0, 3));
  sub->add_option("--target", o->target, "CPU target: host, x86-64-v2, x86-64-v3, x86-64-v4");
  sub->add_option("--json", o->json, "Write results to a file, or - for stdout")->type_name("PATH");
  sub->footer(kNotes);
  sub->callback([o, &status] { status = bench(*o); });
}

}  // namespace tenon::tools
