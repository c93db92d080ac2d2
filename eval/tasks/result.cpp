#include "eval/tasks/result.h"

#include <algorithm>
#include <cmath>

#include "eval/statistics.h"

namespace tenon::eval {
using nlohmann::json;

namespace {

/// NaN and infinities have no JSON: null.
json finite(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

void summarize_times(const CandidateResult& result, int64_t batch, ScoredCandidate& out) {
  std::vector<double> full, rest;
  double total_ms = 0, first_total_ms = 0;
  int64_t examples = 0, first_examples = 0;
  for (const BatchFigures& b : result.state.batches) {
    out.arena_bytes = std::max(out.arena_bytes, b.arena_bytes);
    for (const BatchFigures::Run& run : b.runs) {
      if (run.first) {
        if (out.first_run_ms == 0) out.first_run_ms = run.ms;
        first_total_ms += run.ms;
        first_examples += run.examples;
        continue;
      }
      (run.examples == batch ? full : rest).push_back(run.ms);
      total_ms += run.ms;
      examples += run.examples;
    }
  }
  std::vector<double> times = full.empty() ? rest : full;
  out.runs = static_cast<int64_t>(times.size());
  out.full_batches = !full.empty() || (rest.empty() && first_examples == batch);
  if (times.empty() && out.first_run_ms > 0) {  // one run is all there is
    times.push_back(out.first_run_ms);
    total_ms = first_total_ms;
    examples = first_examples;
  }
  const Summary s = summarize(times);
  out.p10 = s.p10;
  out.p50 = s.p50;
  out.p90 = s.p90;
  out.mean = s.mean;
  out.throughput = total_ms > 0 ? static_cast<double>(examples) / total_ms * 1000 : 0;
  out.single_ms = quantile(result.single_ms, 0.5);
}

std::vector<int64_t> indices(const std::vector<Record>& records) {
  std::vector<int64_t> out;
  for (const Record& r : records) out.push_back(r.index);
  return out;
}

void compare_with_first(const CandidateResult& first, const CandidateResult& own, ScoredCandidate& out) {
  out.compared = true;
  for (const BatchFigures& b : own.state.batches) {
    out.max_abs = std::max(out.max_abs, b.max_abs);
    out.comparable = out.comparable && b.comparable;
  }
  const std::vector<Record>&a = first.state.records, &b = own.state.records;
  for (size_t i = 0; i < a.size(); ++i)
    if (const std::optional<bool> same = same_prediction(a[i].outcome, b[i].outcome))
      out.other_predictions = std::max<int64_t>(out.other_predictions, 0) + (*same ? 0 : 1);
}

std::string_view kind_of(const Status& status, bool available) { return status.ok() ? "ok" : available ? "failed" : "unavailable"; }

json metric_json(const ScoredMetric& m) {
  json out = {{"name", m.title}, {"value", m.status.ok() ? finite(m.score.value) : json(nullptr)}};
  out["ci95"] = m.status.ok() && m.score.resamples > 0 ? json::array({finite(m.score.low), finite(m.score.high)}) : json(nullptr);
  out["resamples"] = m.score.resamples;
  out["details"] = m.score.details;
  if (!m.status.ok()) out["message"] = m.status.to_string();
  return out;
}

}  // namespace

std::optional<bool> same_prediction(const Outcome& a, const Outcome& b) {
  if (a.index() != b.index()) return false;
  if (const auto* x = std::get_if<ClassOutcome>(&a)) return x->predicted == std::get<ClassOutcome>(b).predicted;
  if (const auto* x = std::get_if<TokenOutcome>(&a)) {
    const auto& y = std::get<TokenOutcome>(b);
    if (x->predicted.size() != y.predicted.size()) return false;
    for (size_t i = 0; i < x->predicted.size(); ++i)
      if (x->predicted[i] != y.predicted[i] && (i >= x->labels.size() || x->labels[i] != -100)) return false;
    return true;
  }
  if (const auto* x = std::get_if<TextOutcome>(&a)) return x->predicted == std::get<TextOutcome>(b).predicted;
  return std::nullopt;
}

Result<std::vector<ScoredCandidate>> score_all(const Evaluation& evaluation, int resamples, const std::function<void(const std::string&)>& say,
                                               const Interrupt& interrupt) {
  std::vector<ScoredCandidate> out(evaluation.results.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const CandidateResult& result = evaluation.results[i];
    summarize_times(result, evaluation.recipe.batch, out[i]);
    if (!result.status.ok()) continue;
    const CandidateResult& first = evaluation.results.front();
    const bool paired = i > 0 && first.status.ok() && indices(first.state.records) == indices(result.state.records);
    if (paired) compare_with_first(first, result, out[i]);
    for (const MetricChoice& choice : evaluation.recipe.metrics) {
      const MetricInfo* info = find_metric(choice.name);
      if (info == nullptr) return error(Code::kInvalidArgument, "there is no metric '{}'", choice.name);
      TENON_RETURN_IF_ERROR(interrupt.check());
      if (say) say(fmt::format("{} of {}", choice.title, result.name));
      ScoreOptions options;
      options.metric = choice.options;
      if (options.metric.names.empty()) options.metric.names = evaluation.recipe.labels.names;
      options.resamples = resamples;
      ScoredMetric scored{choice.title, {}, {}};
      Result<Score> value = score(*info, result.state.records, options);
      if (value.ok()) scored.score = std::move(*value);
      else scored.status = std::move(value).status();
      out[i].metrics.push_back(std::move(scored));
      if (!paired) continue;
      const Result<PairedDifference> difference = paired_bootstrap(*info, first.state.records, result.state.records, options);
      if (difference.ok()) out[i].comparisons.push_back({choice.title, *difference});
    }
    if (paired && evaluation.task->outcome == "class") {
      const Result<McNemar> test = mcnemar(first.state.records, result.state.records);
      if (test.ok()) out[i].mcnemar = *test;
    }
  }
  return out;
}

json to_json(const Evaluation& evaluation, const std::vector<ScoredCandidate>& scores, json context) {
  context["recipe"] = to_json(evaluation.recipe);
  json out = {{"kind", "eval"}, {"context", std::move(context)}, {"task", evaluation.task->name}, {"dataset", evaluation.recipe.dataset},
              {"examples", evaluation.done}, {"batch", evaluation.recipe.batch}};
  out["problems"] = json::array();
  for (const Problem& p : evaluation.problems) out["problems"].push_back({{"index", p.index}, {"source", p.source}, {"message", p.message}});
  out["results"] = json::array();
  out["comparisons"] = json::array();
  for (size_t i = 0; i < scores.size(); ++i) {
    const CandidateResult& r = evaluation.results[i];
    const ScoredCandidate& s = scores[i];
    json entry = {{"backend", r.name}, {"threads", r.threads}, {"status", kind_of(r.status, r.available)}, {"message", r.status.to_string()}};
    entry["scored"] = r.state.records.size();
    entry["metrics"] = json::array();
    for (const ScoredMetric& m : s.metrics) entry["metrics"].push_back(metric_json(m));
    entry["latency_ms"] = {{"p10", s.p10}, {"p50", s.p50}, {"p90", s.p90}, {"mean", s.mean}};
    entry["single_ms"] = s.single_ms > 0 ? json(s.single_ms) : json(nullptr);
    entry["full_batches"] = s.full_batches;
    entry["throughput"] = s.throughput;
    entry["ratio"] = scores[0].p50 > 0 && s.p50 > 0 && r.status.ok() && evaluation.results[0].status.ok() ? json(scores[0].p50 / s.p50) : json(nullptr);
    entry["compile_ms"] = r.state.compile_ms;
    entry["first_run_ms"] = s.first_run_ms;
    entry["arena_bytes"] = s.arena_bytes;
    if (r.peak_rss_bytes > 0) entry["peak_rss_bytes"] = r.peak_rss_bytes;
    if (!r.runtime.empty()) entry["runtime"] = r.runtime;
    entry["max_abs"] = s.compared && s.comparable ? json(s.max_abs) : json(nullptr);
    entry["comparable"] = s.compared ? json(s.comparable) : json(nullptr);
    entry["other_predictions"] = s.compared && s.other_predictions >= 0 ? json(s.other_predictions) : json(nullptr);
    out["results"].push_back(std::move(entry));
    const std::string& first = evaluation.results.front().name;
    for (const PairComparison& c : s.comparisons)
      out["comparisons"].push_back({{"first", first}, {"second", r.name}, {"metric", c.metric}, {"difference", finite(c.difference.difference)},
                                    {"ci95", c.difference.resamples > 0 ? json::array({finite(c.difference.low), finite(c.difference.high)}) : json(nullptr)}, {"p", c.difference.resamples > 0 ? finite(c.difference.p) : json(nullptr)}});
    if (s.mcnemar)
      out["comparisons"].push_back({{"first", first}, {"second", r.name}, {"test", "mcnemar"}, {"only_first", s.mcnemar->only_first},
                                    {"only_second", s.mcnemar->only_second}, {"statistic", finite(s.mcnemar->statistic)}, {"p", finite(s.mcnemar->p)}});
  }
  return out;
}

}  // namespace tenon::eval
