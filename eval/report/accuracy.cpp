#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "eval/metrics/metric.h"
#include "eval/report/chart.h"
#include "eval/report/format.h"
#include "eval/report/html.h"
#include "eval/report/reader.h"
#include "eval/report/sections.h"

namespace tenon::eval::report {
namespace {

using nlohmann::json;

constexpr size_t kMaxMatrix = 64;       // classes of a matrix that is drawn
constexpr size_t kMaxNumbered = 20;     // and with numbers in it

/// Names of metrics that any result has, in order.
std::vector<std::string> metric_names_of(const json& results) {
  std::vector<std::string> out;
  for (const json& result : results)
    for (const json& metric : list(result, "metrics"))
      if (std::string title = text(metric, "name"); !title.empty() && out.size() < 12 && std::find(out.begin(), out.end(), title) == out.end())
        out.push_back(std::move(title));
  return out;
}

const json& metric_of(const json& result, const std::string& title) {
  static const json null;
  for (const json& metric : list(result, "metrics"))
    if (text(metric, "name") == title) return metric;
  return null;
}

/// A title may have parameters after the name: "f1 (micro)".
bool higher_is_better(const json& metric, const std::string& title) {
  if (const json& said = member(metric, "higher_is_better"); said.is_boolean()) return said.get<bool>();
  const MetricInfo* info = find_metric(title.substr(0, title.find(' ')));
  return info == nullptr || info->higher_is_better;
}

std::string scores_table(const json& document, const std::vector<std::string>& metrics) {
  std::vector<std::string> columns = {"Backend", "Threads"};
  for (const std::string& title : metrics) columns.push_back(name(title, 32));
  HtmlTable table("Scores with 95 % intervals", columns);
  const json& results = list(document, "results");
  for (const json& result : results) {
    if (table.rows() >= kMostRows) break;
    std::vector<Cell> cells = {Cell::text(name(text(result, "backend"), 32)), threads_cell(result)};
    for (const std::string& title : metrics) {
      const json& metric = metric_of(result, title);
      const auto value = number(metric, "value");
      cells.push_back(Cell::figure(with_interval(value, interval(metric, "ci95"), score), value));
    }
    table.add(std::move(cells), failed(result) ? "failed" : "");
  }
  return table.str() + left_out(results.size(), table.rows(), "results");
}

std::string costs_table(const json& document) {
  HtmlTable table("Times, memory, and how outputs differ from the first backend's", {"Backend", "Threads", "Median", "Examples/s", "Compile", "First run", "Arena", "Model", "Largest difference", "Other predictions"});
  const json& results = list(document, "results");
  for (const json& result : results) {
    if (table.rows() >= kMostRows) break;
    std::vector<Cell> cells = {Cell::text(name(text(result, "backend"), 32)), threads_cell(result)};
    const auto figure_of = [&](const json& value, Formatter format) { cells.push_back(Cell::figure(optional(number(value), format), number(value))); };
    figure_of(member(member(result, "latency_ms"), "p50"), duration);
    figure_of(member(result, "throughput"), count);
    figure_of(member(result, "compile_ms"), duration);
    figure_of(member(result, "first_run_ms"), duration);
    figure_of(member(result, "arena_bytes"), bytes);
    figure_of(member(result, "model_bytes"), bytes);
    const auto difference = number(result, "max_abs");
    cells.push_back(Cell::figure(difference ? figure(*difference, 2) : "", difference));
    cells.push_back(Cell::figure(escape(text(result, "other_predictions")), number(result, "other_predictions")));
    table.add(std::move(cells), failed(result) ? "failed" : "");
  }
  return table.str() + left_out(results.size(), table.rows(), "results");
}

std::string score_charts(const json& document, const Names& names, const std::vector<std::string>& metrics) {
  std::string out;
  for (const std::string& title : metrics) {
    std::vector<double> values;
    bool matrix = false;
    for (const json& result : list(document, "results")) {
      const json& metric = metric_of(result, title);
      const auto value = number(metric, "value");
      if (!value) continue;
      matrix = matrix || !list(member(metric, "details"), "matrix").empty();
      values.push_back(*value);
      if (const auto ci = interval(metric, "ci95")) values.insert(values.end(), {ci->low, ci->high});
    }
    if (values.empty() || matrix) continue;  // a matrix has a picture of its own
    RowChart chart(Scale::linear(values), score, "score");
    size_t all = 0;
    bool higher = true;
    for (const json& result : list(document, "results")) {
      const json& metric = metric_of(result, title);
      const auto value = number(metric, "value");
      if (!value || (++all, chart.rows() >= kMostChartRows)) continue;
      higher = higher_is_better(metric, title);
      const auto ci = interval(metric, "ci95");
      const size_t series = names.series(text(result, "backend"));
      std::string svg;
      if (ci) svg += draw_whisker(chart.scale().at(ci->low), chart.scale().at(ci->high), RowChart::kMiddle, series);
      svg += draw_dot(chart.scale().at(*value), RowChart::kMiddle, series, fmt::format("{}: {} {}", names.run(result), score(*value), bracket(ci, score)));
      chart.row(names.run_html(result), svg, with_interval(value, ci, score));
    }
    out += chart.str(fmt::format("{}, with a 95 % interval ({} is better)", name(title), higher ? "higher" : "lower"), left_out(all, chart.rows(), "scores"));
  }
  return out;
}

struct Candidate {
  const json* result;
  double cost, score;
};

/// Scores against a cost, and the line of those that no other beats in both.
std::string trade_off(const json& document, const Names& names, const std::string& title, Formatter format, std::string_view cost_title,
                      std::optional<double> (*cost)(const json&)) {
  std::vector<Candidate> all;
  bool higher = true;
  for (const json& result : list(document, "results")) {
    const json& metric = metric_of(result, title);
    const auto value = number(metric, "value"), at = cost(result);
    if (!value || !at || all.size() >= kMostRows) continue;
    higher = higher_is_better(metric, title);
    all.push_back({&result, *at, *value});
  }
  if (all.size() < 2) return {};
  std::vector<double> costs, scores;
  for (const Candidate& c : all) {
    costs.push_back(c.cost);
    scores.push_back(c.score);
  }
  if (std::adjacent_find(costs.begin(), costs.end(), std::not_equal_to<>()) == costs.end()) return {};
  const Scale x = Scale::logarithmic(costs);
  XyChart chart({x, format, std::string(cost_title)}, {Scale::linear(scores), score, name(title) + (higher ? " ↑" : " ↓")});
  std::stable_sort(all.begin(), all.end(), [&](const Candidate& a, const Candidate& b) {
    return a.cost != b.cost ? a.cost < b.cost : higher ? a.score > b.score : a.score < b.score;
  });
  std::vector<XyChart::Point> front;
  std::vector<std::string> best;
  for (const Candidate& c : all) {
    if (!front.empty() && (higher ? c.score <= front.back().y : c.score >= front.back().y)) continue;
    if (!front.empty()) front.push_back({c.cost, front.back().y});
    front.push_back({c.cost, c.score});
    best.push_back(names.run(*c.result));
  }
  front.push_back({x.high(), front.back().y});
  chart.line(front, 0, "front");
  for (const Candidate& c : all)
    chart.dot({c.cost, c.score}, names.series(text(*c.result, "backend")), fmt::format("{}: {}, {}", names.run(*c.result), format(c.cost), score(c.score)));
  for (const Candidate& c : all) chart.label({c.cost, c.score}, names.run(*c.result), 10);
  const std::string described = fmt::format("{} against {}. Not beaten in both: {}.", title, cost_title, fmt::join(best, ", "));
  return chart.str(fmt::format("{} against {}: the line joins what nothing beats in both", name(title), cost_title), shortened(described, 600));
}

std::string numbered_matrix(const json& matrix, const std::vector<std::string>& labels, double most) {
  std::string out = "<div class=\"scroll\" tabindex=\"0\"><table class=\"matrix\"><caption>Rows are labels, columns predictions</caption><thead><tr><td></td>";
  for (size_t c = 0; c < labels.size(); ++c) out += fmt::format("<th scope=\"col\">{}</th>", name(labels[c], 14));
  out += "</tr></thead><tbody>\n";
  for (size_t r = 0; r < labels.size(); ++r) {
    out += fmt::format("<tr><th scope=\"row\">{}</th>", name(labels[r], 20));
    for (size_t c = 0; c < labels.size(); ++c) {
      const double value = number(matrix[r][c]).value_or(0);
      const int shade = value <= 0 ? 0 : 1 + static_cast<int>(std::min(8.0, std::floor(8 * std::sqrt(value / most))));
      out += fmt::format("<td class=\"{}{}\">{}</td>", r == c ? "right h" : "h", shade, value == 0 ? "·" : count(value));
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string drawn_matrix(const json& matrix, const std::vector<std::string>& labels, double most) {
  const size_t n = labels.size();
  const double cell = std::min(14.0, 480.0 / static_cast<double>(n)), size = cell * static_cast<double>(n);
  std::string out = fmt::format("<svg class=\"cells\" viewBox=\"0 0 {0:.0f} {0:.0f}\" width=\"{0:.0f}\" role=\"img\" aria-label=\"Confusion matrix of {1} classes\">",
                                size, n);
  for (size_t r = 0; r < n; ++r)
    for (size_t c = 0; c < n; ++c) {
      const double value = number(matrix[r][c]).value_or(0);
      if (value <= 0) continue;
      const int shade = 1 + static_cast<int>(std::min(8.0, std::floor(8 * std::sqrt(value / most))));
      out += fmt::format("<rect class=\"{}{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"><title>{} taken for {}: {}</title></rect>",
                         r == c ? "right h" : "h", shade, static_cast<double>(c) * cell, static_cast<double>(r) * cell, cell - 0.5, cell - 0.5,
                         escape(shortened(labels[r], 40)), escape(shortened(labels[c], 40)), count(value));
    }
  return out + "</svg>\n";
}

struct Confusion {
  std::string label, predicted;
  double count = 0;
};

std::string confusion_table(std::vector<Confusion> pairs) {
  std::stable_sort(pairs.begin(), pairs.end(), [](const Confusion& a, const Confusion& b) { return a.count > b.count; });
  HtmlTable table("Most confused", {"Label", "Taken for", "Times"});
  for (const Confusion& pair : pairs) {
    if (table.rows() >= 15) break;
    table.add({Cell::text(name(pair.label)), Cell::text(name(pair.predicted)), Cell::figure(count(pair.count), pair.count)});
  }
  return table.str();
}

/// Of details {"classes": […], "matrix": [[…]]}, or {"most_confused": [{"label", "predicted", "count"}]}.
std::string confusion(const json& details) {
  std::vector<Confusion> pairs;
  for (const json& one : list(details, "most_confused"))
    if (const auto times = positive(one, "count"); times && pairs.size() < 1000) pairs.push_back({text(one, "label"), text(one, "predicted"), *times});
  if (!pairs.empty()) return confusion_table(std::move(pairs));

  const json& matrix = list(details, "matrix");
  const size_t n = matrix.size();
  if (n < 2 || !std::all_of(matrix.begin(), matrix.end(), [&](const json& row) { return row.is_array() && row.size() == n; })) return {};
  if (n > kMaxMatrix) return note(fmt::format("A confusion matrix of {} classes is not drawn: at most {} are.", n, kMaxMatrix));
  std::vector<std::string> labels;
  const json& classes = list(details, "classes");
  for (size_t i = 0; i < n; ++i) labels.push_back(i < classes.size() ? text(classes[i]) : std::to_string(i));
  double most = 0;
  for (size_t r = 0; r < n; ++r)
    for (size_t c = 0; c < n; ++c) {
      const double value = number(matrix[r][c]).value_or(0);
      most = std::max(most, value);
      if (r != c && value > 0) pairs.push_back({labels[r], labels[c], value});
    }
  if (most <= 0) return {};
  return (n <= kMaxNumbered ? numbered_matrix(matrix, labels, most) : drawn_matrix(matrix, labels, most)) + confusion_table(std::move(pairs));
}

std::string confusions(const json& document, const Names& names) {
  std::string out;
  size_t all = 0, shown = 0;
  for (const json& result : list(document, "results"))
    for (const json& metric : list(result, "metrics")) {
      if (all > 0 && shown >= 4) {
        ++all;
        continue;
      }
      const std::string html = confusion(member(metric, "details"));
      if (html.empty()) continue;
      ++all;
      ++shown;
      out += fmt::format("<details{}><summary>Confusion matrix: {}</summary>{}</details>\n", shown == 1 ? " open" : "", names.run_html(result), html);
      break;
    }
  return out;
}

std::string comparisons(const json& document) {
  HtmlTable table("Pairs on the same examples", {"First", "Second", "Metric or test", "Difference", "95 %", "p", "Right by first alone", "Right by second alone"});
  const json& all = list(document, "comparisons");
  for (const json& one : all) {
    if (table.rows() >= kMostRows) break;
    const std::string what = text(one, "metric").empty() ? text(one, "test") : text(one, "metric");
    const auto difference = number(one, "difference"), p = number(one, "p");
    table.add({Cell::text(name(text(one, "first"), 32)), Cell::text(name(text(one, "second"), 32)), Cell::text(name(what, 32)),
               Cell::figure(difference ? figure(*difference) : "", difference),
               Cell::figure(bracket(interval(one, "ci95"), [](double v) { return figure(v); }), {}), Cell::figure(p ? figure(*p, 2) : "", p),
               Cell::figure(escape(text(one, "only_first")), number(one, "only_first")), Cell::figure(escape(text(one, "only_second")), number(one, "only_second"))});
  }
  return table.str() + left_out(all.size(), table.rows(), "pairs");
}

std::string problems(const json& document) {
  HtmlTable table("Examples that could not be used", {"Where", "What is wrong"});
  const json& all = list(document, "problems");
  for (const json& one : all) {
    if (table.rows() >= kMostMessages) break;
    table.add({Cell::text(name(text(one, "source"), 80)), Cell::text(name(text(one, "message"), 240))});
  }
  if (table.empty()) return {};
  return fmt::format("<h3>Problems</h3>{}{}", table.str(), left_out(all.size(), table.rows(), "problems"));
}

std::string evaluation(const json& document, const Names& names) {
  std::vector<std::string> facts;
  if (const std::string model = Names::model_of(document); !model.empty()) facts.push_back(names.model_html(model));
  if (const std::string data = text(document, "dataset"); !data.empty()) facts.push_back("data set " + name(data, 80));
  if (const auto n = number(document, "examples")) facts.push_back(fmt::format("{:.0f} examples", *n));
  if (const auto batch = number(document, "batch")) facts.push_back(fmt::format("batches of {:.0f}", *batch));
  if (const size_t n = list(document, "problems").size()) facts.push_back(fmt::format("{} with problems", n));
  std::string html = facts.empty() ? "" : fmt::format("<p class=\"lead\">{}</p>\n", fmt::join(facts, " · "));
  const std::vector<std::string> metrics = metric_names_of(list(document, "results"));
  html += scores_table(document, metrics) + costs_table(document) + score_charts(document, names, metrics);
  if (!metrics.empty()) {
    html += trade_off(document, names, metrics[0], duration, "median time", [](const json& r) { return positive(member(r, "latency_ms"), "p50"); });
    html += trade_off(document, names, metrics[0], bytes, "size of the model", [](const json& r) { return positive(r, "model_bytes"); });
    html += trade_off(document, names, metrics[0], bytes, "size of the arena", [](const json& r) { return positive(r, "arena_bytes"); });
  }
  return html + confusions(document, names) + comparisons(document) + problems(document);
}

}  // namespace

std::vector<Section> accuracy_sections(const json& document, const Names& names) {
  std::vector<Section> out;
  const json& all = list(document, "eval");
  for (const json& one : all) {
    if (out.size() >= kMostDocuments) break;
    const std::string task = text(one, "task");
    std::string html = evaluation(one, names);
    if (out.size() + 1 == kMostDocuments) html += left_out(all.size(), kMostDocuments, "evaluations");
    out.push_back({fmt::format("accuracy-{}", out.size() + 1), task.empty() ? "Accuracy" : "Accuracy: " + task, std::move(html)});
  }
  return out;
}

}  // namespace tenon::eval::report
