#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "eval/report/chart.h"
#include "eval/report/format.h"
#include "eval/report/html.h"
#include "eval/report/reader.h"
#include "eval/report/sections.h"

namespace tenon::eval::report {
namespace {

using nlohmann::json;

constexpr double kMiddle = RowChart::kMiddle;

/// A group's rows, without its head when the report has one group alone.
void add_head(RowChart& chart, const Group& group, const Names& names, bool several_documents, bool& headed) {
  if (headed) return;
  headed = true;
  chart.head(group_label(group, names, several_documents));
}

std::string ratio_chart(const std::vector<Group>& groups, const Names& names, bool several) {
  std::vector<double> values = {1};
  size_t all = 0;
  for (const Group& group : groups)
    for (const json* result : group.results)
      if (const auto median = positive(member(*result, "ratio"), "median")) {
        ++all;
        values.push_back(*median);
        if (const auto ci = interval(member(*result, "ratio"), "ci95")) values.insert(values.end(), {ci->low, ci->high});
      }
  if (all == 0) return {};
  RowChart chart(Scale::logarithmic(values), ratio, "slower ← 1 → faster");
  chart.guide(1);
  for (const Group& group : groups) {
    bool headed = false;
    for (const json* result : group.results) {
      const json& r = member(*result, "ratio");
      const auto median = positive(r, "median");
      if (!median || chart.rows() >= kMostChartRows) continue;
      add_head(chart, group, names, several, headed);
      const auto ci = interval(r, "ci95");
      const size_t series = names.series(text(*result, "backend"));
      std::string svg;
      if (ci && ci->low > 0) svg += draw_whisker(chart.scale().at(ci->low), chart.scale().at(ci->high), kMiddle, series);
      svg += draw_dot(chart.scale().at(*median), kMiddle, series, fmt::format("{}: {} {}", names.run(*result), ratio(*median), bracket(ci, ratio)));
      chart.row(names.run_html(*result), svg, with_interval(median, ci, ratio));
    }
  }
  return chart.str("Speed relative to the first backend, with a 95 % interval", left_out(all, chart.rows(), "ratios"));
}

/// 101 quantiles that ascend, or none.
std::vector<double> quantiles_of(const json& result) {
  const json& list = report::list(result, "quantiles_ms");
  if (list.size() < 5 || list.size() > 1001) return {};
  std::vector<double> out;
  for (const json& value : list)
    if (const auto q = number(value); q && *q > 0 && (out.empty() || *q >= out.back())) out.push_back(*q);
  return out.size() == list.size() ? out : std::vector<double>();
}

struct Distribution {
  double low, p10, p25, p50, p75, p90, high;
};

std::optional<Distribution> distribution_of(const json& result) {
  if (const std::vector<double> q = quantiles_of(result); !q.empty()) {
    const auto at = [&](double p) { return q[static_cast<size_t>(std::lround(p * static_cast<double>(q.size() - 1)))]; };
    return Distribution{at(0.01), at(0.1), at(0.25), at(0.5), at(0.75), at(0.9), at(0.99)};
  }
  const json& l = member(result, "latency_ms");
  const auto p10 = positive(l, "p10"), p50 = positive(l, "p50"), p90 = positive(l, "p90");
  if (!p10 || !p50 || !p90 || *p10 > *p50 || *p50 > *p90) return std::nullopt;
  const double low = positive(l, "min").value_or(*p10), high = positive(l, "p99").value_or(*p90);
  return Distribution{std::min(low, *p10), *p10, *p10, *p50, *p90, *p90, std::max(high, *p90)};
}

std::string latency_chart(const std::vector<Group>& groups, const Names& names, bool several) {
  std::vector<double> values;
  size_t all = 0;
  for (const Group& group : groups)
    for (const json* result : group.results)
      if (const auto d = distribution_of(*result)) {
        ++all;
        values.insert(values.end(), {d->low, d->p50, d->high});
      }
  if (all == 0) return {};
  RowChart chart(Scale::logarithmic(values), duration, "time of a run");
  const Scale& x = chart.scale();
  for (const Group& group : groups) {
    bool headed = false;
    for (const json* result : group.results) {
      const auto d = distribution_of(*result);
      if (!d || chart.rows() >= kMostChartRows) continue;
      add_head(chart, group, names, several, headed);
      const size_t series = names.series(text(*result, "backend"));
      const std::string title = fmt::format("{}: 1 % {}, 10 % {}, median {}, 90 % {}, 99 % {}", names.run(*result), duration(d->low), duration(d->p10),
                                            duration(d->p50), duration(d->p90), duration(d->high));
      std::string svg = draw_whisker(x.at(d->low), x.at(d->high), kMiddle, series);
      svg += draw_box(x.at(d->p10), x.at(d->p90), kMiddle - 6, 12, series, "faint", title);
      svg += draw_box(x.at(d->p25), x.at(d->p75), kMiddle - 6, 12, series, "bar", title);
      svg += draw_dot(x.at(d->p50), kMiddle, series, title, 4);
      chart.row(names.run_html(*result), svg, fmt::format("{} <small>[{}, {}]</small>", duration(d->p50), duration(d->p10), duration(d->p90)));
    }
  }
  return chart.str("Distribution of latency: whiskers 1 to 99 %, pale 10 to 90 %, full 25 to 75 %, dot at the median",
                   note("Figures: median and [10 %, 90 %] of all runs.") + left_out(all, chart.rows(), "distributions"));
}

/// Medians of neighbouring rounds where there are more than can be told apart.
std::vector<XyChart::Point> rounds_of(const json& result, double median) {
  std::vector<double> rounds;
  for (const json& value : list(result, "round_p50_ms"))
    if (const auto ms = number(value); ms && *ms > 0) rounds.push_back(*ms / median);
  if (rounds.size() < 2) return {};
  const size_t stride = (rounds.size() + 119) / 120;
  std::vector<XyChart::Point> out;
  for (size_t start = 0; start < rounds.size(); start += stride) {
    const auto first = rounds.begin() + static_cast<ptrdiff_t>(start), last = rounds.begin() + static_cast<ptrdiff_t>(std::min(start + stride, rounds.size()));
    const auto middle = first + (last - first) / 2;
    std::nth_element(first, middle, last);
    out.push_back({static_cast<double>(start + 1), *middle});
  }
  return out;
}

std::string rounds_charts(const std::vector<Group>& groups, const Names& names, bool several) {
  std::string plots;
  size_t all = 0, drawn = 0;
  std::vector<std::string> shown;
  for (const Group& group : groups) {
    std::vector<std::pair<const json*, std::vector<XyChart::Point>>> lines;
    std::vector<double> xs, ys = {1};
    for (const json* result : group.results) {
      const auto median = positive(member(*result, "latency_ms"), "p50");
      if (!median || lines.size() >= 16) continue;
      auto points = rounds_of(*result, *median);
      if (points.empty()) continue;
      for (const auto& p : points) {
        xs.push_back(p.x);
        ys.push_back(p.y);
      }
      lines.emplace_back(result, std::move(points));
    }
    if (lines.empty() || (++all, drawn >= kMostPlots)) continue;
    ++drawn;
    XyChart chart({Scale::linear(xs), count, "round"}, {Scale::linear(ys), ratio, "of the median"}, 130);
    std::string described;
    for (const auto& [result, points] : lines) {
      const auto [least, most] = std::minmax_element(points.begin(), points.end(), [](const auto& a, const auto& b) { return a.y < b.y; });
      described += fmt::format("{}: {} to {} of its median. ", names.run(*result), ratio(least->y), ratio(most->y));
      chart.line(points, names.series(text(*result, "backend")), "line", names.dashes(*result));
      if (std::find(shown.begin(), shown.end(), text(*result, "backend")) == shown.end()) shown.push_back(text(*result, "backend"));
    }
    plots += fmt::format("<figure><figcaption>{}</figcaption>{}</figure>\n", group_label(group, names, several), chart.plot(shortened(described, 600)));
  }
  if (plots.empty()) return {};
  std::vector<std::string> labels;
  std::vector<size_t> series;
  for (const std::string& backend : shown) {
    labels.push_back(name(backend, 32));
    series.push_back(names.series(backend));
  }
  return "<h3>Rounds over time</h3>" +
         note(fmt::format("The median of each round over that of all runs: level lines are a quiet machine, slopes and steps are drift. {}", escape(names.dashes_in_words()))) +
         legend(labels, series) + fmt::format("<div class=\"plots\">{}</div>", plots) + left_out(all, drawn, "models");
}

std::string timings(const std::vector<Group>& groups, const Names& names, bool several) {
  HtmlTable table("All timings", {"Model", "Backend", "Threads", "10 %", "Median", "90 %", "99 %", "Mean", "Least", "Runs/s", "Load", "Compile", "First run"});
  size_t all = 0;
  for (const Group& group : groups)
    for (const json* result : group.results) {
      if (failed(*result)) continue;
      ++all;
      if (table.rows() >= kMostRows) continue;
      std::vector<Cell> cells = {Cell::text(group_label(group, names, several)), Cell::text(name(text(*result, "backend"), 32)),
                                 threads_cell(*result)};
      const json& l = member(*result, "latency_ms");
      for (const char* key : {"p10", "p50", "p90", "p99", "mean", "min"}) cells.push_back(Cell::figure(optional(number(l, key), duration), number(l, key)));
      const auto rate = number(*result, "throughput");
      cells.push_back(Cell::figure(optional(rate, count), rate));
      for (const char* key : {"load_ms", "compile_ms", "first_run_ms"}) cells.push_back(Cell::figure(optional(number(*result, key), duration), number(*result, key)));
      table.add(std::move(cells));
    }
  if (table.empty()) return {};
  return fmt::format("<details open><summary>Table of all timings</summary>{}{}</details>", table.str(), left_out(all, table.rows(), "results"));
}

}  // namespace

std::vector<Section> speed_sections(const json& document, const Names& names) {
  const std::vector<Group> groups = groups_of(list(document, "bench"));
  const bool several = list(document, "bench").size() > 1;
  const std::string html = ratio_chart(groups, names, several) + latency_chart(groups, names, several) + rounds_charts(groups, names, several) +
                           timings(groups, names, several);
  if (html.empty()) return {};
  return {{"speed", "Speed", html}};
}

}  // namespace tenon::eval::report
