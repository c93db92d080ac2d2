#include "eval/bench/document.h"

#include <cmath>
#include <map>

namespace tenon::eval {

using nlohmann::json;

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
              {"p50_ci95", {interval.low, interval.high}},
              {"runs", samples.size()},
              {"quantiles_ms", s.quantiles},
              {"round_p50_ms", rounds},
              {"launches_ms", launches},
              {"load_ms", m.load_ms},
              {"compile_ms", m.compile_ms},
              {"first_run_ms", m.first_run_ms},
              {"ready_ms", m.load_ms + m.compile_ms + m.first_run_ms},
              {"peak_rss_mb", m.peak_rss_mb},
              {"warmup_runs", m.warmup_runs}});
  if (m.arena_mb > 0) row["arena_mb"] = m.arena_mb;
  if (m.throughput > 0) row.update({{"throughput", m.throughput}, {"streams", options.streams}});
  if (!m.runtime.empty()) row["runtime"] = m.runtime;
  if (m.max_abs) row["max_abs"] = *m.max_abs;
  if (&subject != &base && base_measured.status.ok()) {
    const Ratio r = ratio_of_medians(base_measured.samples, m.samples);
    row["ratio"] = {{"vs", base.backend->name()}, {"median", r.median}, {"ci95", {r.low, r.high}}};
  }
  return row;
}

json geometric_means(const json& results) {
  struct Sum {
    double logs = 0;
    int count = 0;
  };
  std::map<std::pair<std::string, int>, Sum> sums;
  for (const json& row : results) {
    if (!row.contains("ratio")) continue;
    const double ratio = row["ratio"]["median"];
    if (!(ratio > 0)) continue;
    Sum& sum = sums[{row["backend"], row["threads"]}];
    sum.logs += std::log(ratio);
    ++sum.count;
  }
  json out = json::array();
  for (const auto& [key, sum] : sums)
    if (sum.count > 1) out.push_back({{"backend", key.first}, {"threads", key.second}, {"models", sum.count}, {"ratio", std::exp(sum.logs / sum.count)}});
  return out;
}

}  // namespace tenon::eval
