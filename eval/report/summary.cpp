#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include <fmt/format.h>

#include "eval/report/format.h"
#include "eval/report/html.h"
#include "eval/report/reader.h"
#include "eval/report/sections.h"

namespace tenon::eval::report {
namespace {

using nlohmann::json;

std::string plural(size_t count, std::string_view one) { return fmt::format("{} {}{}", count, one, count == 1 ? "" : "s"); }

/// "12 models · 2 backends · 2 numbers of threads" and what else there is.
std::string extent(const json& document) {
  std::set<std::string> models, backends, threads;
  size_t results = 0;
  for (const char* kind : {"bench", "eval"})
    for (const json& one : list(document, kind))
      for (const json& result : list(one, "results")) {
        const std::string model = text(result, "model").empty() ? Names::model_of(one) : text(result, "model");
        if (!model.empty()) models.insert(model);
        if (const std::string backend = text(result, "backend"); !backend.empty()) backends.insert(backend);
        if (const std::string count = text(result, "threads"); !count.empty()) threads.insert(count);
        ++results;
      }
  std::vector<std::string> parts;
  if (!models.empty()) parts.push_back(plural(models.size(), "model"));
  if (!backends.empty()) parts.push_back(plural(backends.size(), "backend"));
  if (threads.size() > 1) parts.push_back(plural(threads.size(), "number") + " of threads");
  if (results > 0) parts.push_back(plural(results, "result"));
  if (const size_t n = list(document, "profile").size()) parts.push_back(plural(n, "profile"));
  if (const size_t n = list(document, "compare").size()) parts.push_back(plural(n, "comparison"));
  return fmt::format("{}", fmt::join(parts, " · "));
}

struct RatioSummary {
  struct Model {
    double log_sum = 0;
    size_t rows = 0;  // one for each size, say
    double mean() const { return log_sum / static_cast<double>(rows); }
  };
  std::string run, vs;
  std::map<std::string, Model> models;
  bool told = false;  // a row shows a difference, or has no interval to tell

  double log_mean() const {
    double sum = 0;
    for (const auto& [name, model] : models) sum += model.mean();
    return sum / static_cast<double>(models.size());
  }
  std::pair<double, double> range() const {
    const auto [least, most] = std::minmax_element(models.begin(), models.end(), [](const auto& a, const auto& b) { return a.second.mean() < b.second.mean(); });
    return {std::exp(least->second.mean()), std::exp(most->second.mean())};
  }
};

std::vector<RatioSummary> ratios_of(const json& document, const Names& names) {
  std::vector<RatioSummary> out;
  std::map<std::pair<std::string, std::string>, size_t> index;
  for (const json& one : list(document, "bench"))
    for (const json& result : list(one, "results")) {
      const json& ratio = member(result, "ratio");
      const auto median = positive(ratio, "median");
      if (!median) continue;
      const std::string run = names.run(result), vs = text(ratio, "vs");
      const auto [at, fresh] = index.try_emplace({run, vs}, out.size());
      if (fresh) out.push_back({run, vs, {}, false});
      RatioSummary& row = out[at->second];
      const std::string model = text(result, "model");
      RatioSummary::Model& sum = row.models[model.empty() ? Names::model_of(one) : model];
      sum.log_sum += std::log(*median);
      ++sum.rows;
      const auto ci = interval(ratio, "ci95");
      row.told = row.told || !ci || ci->low > 1 || ci->high < 1;
    }
  return out;
}

/// A comparison that says so of itself or of one of its outputs.
bool disagrees(const json& comparison) {
  if (member(comparison, "ok") == json(false)) return true;
  const json& outputs = list(comparison, "outputs");
  return std::any_of(outputs.begin(), outputs.end(), [](const json& output) { return member(output, "ok") == json(false); });
}

struct Failure {
  std::string model, run, why;
};

std::vector<Failure> failures_of(const json& document, const Names& names) {
  std::vector<Failure> out;
  for (const char* kind : {"bench", "eval"})
    for (const json& one : list(document, kind))
      for (const json& result : list(one, "results"))
        if (failed(result)) {
          const std::string model = text(result, "model");
          out.push_back({model.empty() ? Names::model_of(one) : model, names.run(result), failure(result)});
        }
  return out;
}

std::vector<std::string> warnings_of(const json& document) {
  std::vector<std::string> out;
  for (const char* kind : {"bench", "eval", "profile", "compare"})
    for (const json& one : list(document, kind))
      for (const json& warning : list(one, "warnings"))
        if (std::string words = text(warning); !words.empty() && (out.empty() || out.back() != words)) out.push_back(std::move(words));
  return out;
}

/// Score of the first metric of an evaluation's result.
struct Score {
  std::string metric;
  std::optional<double> value;
  std::optional<Interval> ci;
};

Score score_of(const json& result) {
  for (const json& metric : list(result, "metrics"))
    if (const auto value = number(metric, "value")) return {text(metric, "name"), value, interval(metric, "ci95")};
  return {};
}

struct EvalResult {
  const json* result;
  bool used = false;
  std::string model, task, batch;
};

std::vector<EvalResult> eval_results(const json& document) {
  std::vector<EvalResult> out;
  for (const json& one : list(document, "eval"))
    for (const json& result : list(one, "results")) {
      const std::string model = text(result, "model");
      out.push_back({&result, false, model.empty() ? Names::model_of(one) : model, text(one, "task"), text(one, "batch")});
    }
  return out;
}

Cell memory_cell(const json& result) {
  if (const auto arena = number(result, "arena_mb")) return Cell::figure(bytes(*arena * 1048576), *arena * 1048576);
  if (const auto arena = positive(result, "arena_bytes")) return Cell::figure(bytes(*arena), *arena);
  return Cell::figure({}, {});
}

Cell resident_cell(const json& result) {
  auto resident = positive(result, "peak_rss_mb");
  resident = resident ? std::optional(*resident * 1048576) : positive(result, "peak_rss_bytes");
  return Cell::figure(optional(resident, bytes), resident);
}

/// The table that a reader looks at first: one row for a model, a backend and a number of threads.
struct SummaryTable {
  HtmlTable table{"Medians; a ratio above 1 is faster than the backend that it is relative to; brackets are 95 % intervals",
                  {"Model", "Backend", "Threads", "Median", "Ratio", "to", "Accuracy", "by", "Arena", "Peak memory"}};
  size_t all = 0;

  void add(std::string model, const json& result, const json* evaluated) {
    ++all;
    if (table.rows() >= kMostRows) return;
    const json& ratio = member(result, "ratio");
    const Score score = evaluated != nullptr ? score_of(*evaluated) : Score();
    const auto median = number(member(result, "latency_ms"), "p50");
    auto factor = positive(ratio, "median");
    if (!factor) factor = positive(result, "ratio");
    Cell memory = memory_cell(result);
    if (memory.html.empty() && evaluated != nullptr) memory = memory_cell(*evaluated);
    const bool bad = failed(result);
    table.add({Cell::text(std::move(model)), Cell::text(name(text(result, "backend"), 32)), threads_cell(result),
               Cell::figure(bad ? "<span class=\"bad\">failed</span>" : optional(median, duration), median),
               Cell::figure(with_interval(factor, interval(ratio, "ci95"), report::ratio), factor), Cell::text(name(text(ratio, "vs"), 24)),
               Cell::figure(with_interval(score.value, score.ci, report::score), score.value), Cell::text(name(score.metric, 24)), std::move(memory), resident_cell(result)},
              bad ? "failed" : "");
  }
};

std::string summary_table(const json& document, const Names& names) {
  SummaryTable out;
  std::vector<EvalResult> evaluated = eval_results(document);
  std::map<std::string, std::vector<size_t>> by_run;
  const auto key = [](const std::string& model, const json& result) { return model + '\n' + text(result, "backend") + '\n' + text(result, "threads"); };
  for (size_t i = 0; i < evaluated.size(); ++i)
    if (!evaluated[i].model.empty()) by_run[key(evaluated[i].model, *evaluated[i].result)].push_back(i);
  const bool several = list(document, "bench").size() > 1;
  for (const Group& group : groups_of(list(document, "bench")))
    for (const json* result : group.results) {
      EvalResult* match = nullptr;
      if (const auto found = by_run.find(key(group.model, *result)); found != by_run.end() && !failed(*result)) match = &evaluated[found->second.front()];
      if (match != nullptr) match->used = true;
      out.add(group_label(group, names, several), *result, match == nullptr ? nullptr : match->result);
    }
  for (const EvalResult& one : evaluated) {
    if (one.used) continue;
    std::string model = one.model.empty() ? name(one.task.empty() ? "evaluation" : one.task) : names.model_html(one.model);
    if (!one.batch.empty()) model += fmt::format(" <small>batches of {}</small>", name(one.batch, 20));
    out.add(std::move(model), *one.result, one.result);
  }
  return out.table.str() + left_out(out.all, out.table.rows(), "results");
}

std::string messages(const std::vector<std::string>& lines, std::string_view what) {
  constexpr size_t kOpen = 6;  // the rest is behind a click, lest it hide the summary
  const size_t shown = std::min(lines.size(), kMostMessages);
  std::string out = "<ul>";
  for (size_t i = 0; i < std::min(shown, kOpen); ++i) out += fmt::format("<li>{}</li>", lines[i]);
  out += "</ul>";
  if (shown > kOpen) {
    out += fmt::format("<details><summary>{} more {}</summary><ul>", shown - kOpen, what);
    for (size_t i = kOpen; i < shown; ++i) out += fmt::format("<li>{}</li>", lines[i]);
    out += "</ul></details>";
  }
  return out + left_out(lines.size(), shown, what);
}

}  // namespace

std::vector<std::string> headlines(const json& document, const Names& names) {
  std::vector<std::string> out;
  for (const RatioSummary& r : ratios_of(document, names)) {
    if (out.size() >= 8) break;
    const double mean = std::exp(r.log_mean());
    const std::string speed = mean >= 1 ? fmt::format("{} times as fast as", figure(mean)) : fmt::format("{} times as slow as", figure(1 / mean));
    if (!r.told) {
      out.push_back(fmt::format("{} and {}: no difference shown, every interval includes 1.", r.run, r.vs));
      continue;
    }
    const auto [least, most] = r.range();
    const size_t rows = std::accumulate(r.models.begin(), r.models.end(), size_t{0}, [](size_t n, const auto& model) { return n + model.second.rows; });
    const std::string mean_of = r.models.size() > 1 ? fmt::format(" in the geometric mean of {} models, from {} to {}", r.models.size(), report::ratio(least), report::ratio(most))
                                : rows > 1          ? fmt::format(" in the geometric mean of {} results of one model", rows)
                                                    : std::string();
    out.push_back(fmt::format("{} is {} {}{}.", r.run, speed, r.vs, mean_of));
  }
  size_t rows = 0, parted = 0, outputs_only = 0;
  for (const json& one : list(document, "compare")) {
    rows += list(one, "values").size();
    if (member(one, "first").is_object()) ++parted;
    else if (disagrees(one)) ++outputs_only;
  }
  if (parted > 0)
    out.push_back(parted == 1 ? std::string("A comparison found a value that differs.") : fmt::format("{} comparisons found values that differ.", parted));
  if (outputs_only > 0)
    out.push_back(fmt::format("{} found outputs that differ, though no node is wrong by itself.",
                              outputs_only == 1 ? std::string("A comparison") : fmt::format("{} comparisons", outputs_only)));
  if (rows > 0 && parted + outputs_only == 0) out.push_back(fmt::format("All {} compared values agree.", rows));
  if (const size_t n = failures_of(document, names).size()) out.push_back(fmt::format("{} failed.", plural(n, "result")));
  return out;
}

std::vector<Section> warning_sections(const json& document, const Names& names) {
  std::string html;
  std::vector<std::string> failed_lines, warned;
  for (const Failure& f : failures_of(document, names))
    failed_lines.push_back(fmt::format("<strong>{}</strong>{}: {}", name(f.run), f.model.empty() ? "" : " on " + names.model_html(f.model), name(f.why, 240)));
  for (const std::string& words : warnings_of(document)) warned.push_back(name(words, 400));
  if (!failed_lines.empty()) html += "<h3>Failed</h3>" + messages(failed_lines, "failures");
  if (!warned.empty()) html += "<h3>Warnings</h3>" + messages(warned, "warnings");
  if (html.empty()) return {};
  return {{"warnings", "Before you read on", fmt::format("<div class=\"warnings\" role=\"note\">{}</div>", html)}};
}

std::vector<Section> summary_sections(const json& document, const Names& names) {
  std::string html;
  if (const std::string size = extent(document); !size.empty()) html += fmt::format("<p class=\"lead\">{}</p>\n", size);
  if (const auto lines = headlines(document, names); !lines.empty()) {
    html += "<ul class=\"headlines\">";
    for (const std::string& line : lines) html += fmt::format("<li>{}</li>", name(line, 300));
    html += "</ul>\n";
  }
  html += summary_table(document, names);
  if (html.empty()) return {};
  return {{"summary", "Summary", html}};
}

}  // namespace tenon::eval::report
