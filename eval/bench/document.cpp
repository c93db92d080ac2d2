#include "eval/bench/document.h"

#include <cmath>
#include <map>
#include <numeric>

namespace tenon::eval {

using nlohmann::json;

namespace {

json interval_of(const Ratio& r) { return r.has_interval() ? json::array({r.low, r.high}) : json(); }

}  // namespace

json bench_row(const Subject& subject, const Measurement& m, const Subject& base, const Measurement& base_measured, const MeasureOptions& options) {
  json row = {{"model", subject.model.string()}, {"backend", subject.backend->name()}, {"threads", subject.threads}};
  if (!m.status.ok()) {
    row["error"] = m.status.to_string();
    return row;
  }
  json dims = json::object();
  for (const auto& [name, size] : m.dims) dims[name] = size;
  const std::vector<double> samples = all_samples(m.samples);
  const Summary s = summarize(samples);
  const Ratio interval = median_interval(m.samples);
  const std::vector<std::vector<double>> launches = round_medians(m.samples);
  std::vector<double> rounds;
  for (const auto& launch : launches) rounds.insert(rounds.end(), launch.begin(), launch.end());
  row.update({{"dims", dims},
              {"latency_ms", {{"p10", s.p10}, {"p50", s.p50}, {"p90", s.p90}, {"p99", s.p99}, {"mean", s.mean}, {"min", s.min}}},
              {"p50_ci95", interval_of(interval)},
              {"runs", m.runs},
              {"quantiles_ms", s.quantiles},
              {"round_p50_ms", rounds},
              {"launches_ms", launches},
              {"load_ms", m.load_ms},
              {"compile_ms", m.compile_ms},
              {"from_cache", m.from_cache},
              {"launches", m.samples.size()},
              {"first_run_ms", m.first_run_ms},
              {"ready_ms", m.load_ms + m.compile_ms + m.first_run_ms},
              {"peak_rss_mb", m.peak_rss_mb},
              {"warmup_runs", m.warmup_runs}});
  if (m.arena_mb > 0) row["arena_mb"] = m.arena_mb;
  if (m.throughput > 0) row.update({{"throughput", m.throughput}, {"streams", options.streams}});
  if (!m.runtime.empty()) row["runtime"] = m.runtime;
  if (!m.taken_over_by.empty()) row["taken_over_by"] = m.taken_over_by;
  if (m.max_abs) row.update({{"max_abs", *m.max_abs}, {"outputs_agree", m.outputs_agree}});
  if (&subject != &base && base_measured.status.ok()) {
    const Ratio r = ratio_of_medians(base_measured.samples, m.samples);
    row["ratio"] = {{"vs", base.backend->name()}, {"median", r.median}, {"ci95", interval_of(r)}};
  }
  return row;
}

json geometric_means(const json& results) {
  struct Sum {
    std::map<std::string, std::vector<double>> logs;  // by model
    std::string vs;
  };
  std::map<std::pair<std::string, int>, Sum> sums;
  for (const json& row : results) {
    if (!row.contains("ratio")) continue;
    const double ratio = row["ratio"]["median"];
    if (!(ratio > 0) || !row.value("outputs_agree", true)) continue;
    Sum& sum = sums[{row["backend"], row["threads"]}];
    sum.logs[row["model"]].push_back(std::log(ratio));
    sum.vs = row["ratio"]["vs"];
  }
  json out = json::array();
  for (const auto& [key, sum] : sums) {
    if (sum.logs.size() < 2) continue;
    double total = 0;
    for (const auto& [model, logs] : sum.logs) total += std::accumulate(logs.begin(), logs.end(), 0.0) / static_cast<double>(logs.size());
    out.push_back({{"backend", key.first}, {"threads", key.second}, {"vs", sum.vs}, {"models", sum.logs.size()}, {"ratio", std::exp(total / static_cast<double>(sum.logs.size()))}});
  }
  return out;
}

}  // namespace tenon::eval
