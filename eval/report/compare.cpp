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

struct Row {
  const json* value = nullptr;
  size_t position = 0;
  double error = 0;
  bool ok = true;
};

bool agrees(const json& value) {
  const json& ok = member(value, "ok");
  return !ok.is_boolean() || ok.get<bool>();
}

/// What the chart shows and the table is ordered by.
struct Measure {
  const char* key;
  const char* title;
};

/// The own error over what is allowed where comparisons say it, else relative, else absolute.
Measure measure_of(const json& values) {
  constexpr Measure kMeasures[] = {{"own_share", "own error, as a part of what is allowed"}, {"own_rel", "own error, relative"}, {"own_abs", "own error"}};
  for (const Measure& measure : kMeasures)
    if (std::any_of(values.begin(), values.end(), [&](const json& value) { return number(value, measure.key).has_value(); })) return measure;
  return kMeasures[1];
}

std::vector<Row> rows_of(const json& values, const Measure& measure) {
  std::vector<Row> out;
  for (const json& value : values) out.push_back({&value, out.size(), number(value, measure.key).value_or(0), agrees(value)});
  return out;
}

/// Where `wanted`, an element of the document, stands among the values.
std::optional<size_t> position_of(const json& wanted, const json& values) {
  const std::string key = wanted.is_object() ? text(wanted, "name") : text(wanted);
  if (wanted.is_number()) {
    const double index = number(wanted).value_or(-1);
    return index >= 0 && index < static_cast<double>(values.size()) ? std::optional(static_cast<size_t>(index)) : std::nullopt;
  }
  if (key.empty()) return std::nullopt;
  const std::string variant = text(wanted, "variant");
  for (size_t i = 0; i < values.size(); ++i)
    if (text(values[i], "name") == key && (variant.empty() || text(values[i], "variant") == variant)) return i;
  return std::nullopt;
}

std::string short_figure(double value) { return figure(value, 2); }
std::string axis_figure(double value) { return value >= 1e-3 && value < 1e4 ? figure(value, 1) : fmt::format("{:.0e}", value); }

std::string error_chart(const std::vector<Row>& rows, const Measure& measure, std::optional<size_t> first, std::optional<size_t> worst) {
  std::vector<double> ys;
  for (const Row& row : rows)
    if (row.error > 0) ys.push_back(row.error);
  if (ys.empty() || rows.size() < 2) return {};
  const std::vector<double> xs = {1, static_cast<double>(rows.size()) + 1};
  const bool shares = std::string_view(measure.key) == "own_share";
  if (shares) ys.push_back(1);
  const Scale y = Scale::logarithmic(ys);
  XyChart chart({Scale::linear(xs), count, "values, in topological order"}, {y, axis_figure, measure.title}, 240);
  const size_t stride = (rows.size() + kMostColumns - 1) / kMostColumns;
  for (size_t start = 0; start < rows.size(); start += stride) {
    const auto begin = rows.begin() + static_cast<ptrdiff_t>(start), end = rows.begin() + static_cast<ptrdiff_t>(std::min(start + stride, rows.size()));
    const Row& most = *std::max_element(begin, end, [](const Row& a, const Row& b) { return a.error < b.error; });
    if (most.error <= 0) continue;
    const bool ok = std::all_of(begin, end, [](const Row& row) { return row.ok; });
    const double from = static_cast<double>(start) + 1, to = static_cast<double>(start + static_cast<size_t>(end - begin)) + 1;
    chart.column(from, to - 0.15 * (to - from), y.low(), most.error, ok ? 0 : 1, ok ? "area" : "bar",
                 fmt::format("{}. {} ({}): {}", most.position + 1, shortened(text(*most.value, "name"), 60), text(*most.value, "op"), short_figure(most.error)));
  }
  if (shares) chart.line({{1, 1}, {xs[1], 1}}, 0, "roof", "5 4");
  if (first) chart.vertical(static_cast<double>(*first) + 1.5, "mark", first == worst ? "first and worst" : "first that differs");
  if (worst && worst != first) chart.vertical(static_cast<double>(*worst) + 1.5, "mark", "worst", 1);
  std::string foot = legend({"within what is allowed", "differs"}, {0, 1});
  if (stride > 1) foot += note(fmt::format("{} values in {} columns, each as high as its largest.", rows.size(), (rows.size() + stride - 1) / stride));
  const Row& most = *std::max_element(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.error < b.error; });
  return chart.str("Error that each value adds to those it is computed from",
                   fmt::format("{} values; the largest own error is {} at value {}.", rows.size(), short_figure(most.error), most.position + 1), foot);
}

std::string values_table(std::vector<Row> rows, bool several, std::optional<size_t> first, std::optional<size_t> worst) {
  const size_t all = rows.size();
  const auto rank = [&](const Row& row) { return row.position == first ? 3 : row.position == worst ? 2 : row.ok ? 0 : 1; };
  std::stable_sort(rows.begin(), rows.end(), [&](const Row& a, const Row& b) { return rank(a) != rank(b) ? rank(a) > rank(b) : a.error > b.error; });
  HtmlTable table("Values with the largest own errors", {"Value", "#", "Op", "Node", "Variant", "Of allowed", "Own error", "Own, relative", "Whole error", "Whole, relative"});
  for (const Row& row : rows) {
    if (table.rows() >= kMostListed) break;
    const json& v = *row.value;
    const std::string_view mark = row.position == first && row.position == worst ? "first and worst" : row.position == first ? "first that differs"
                                  : row.position == worst ? "worst" : row.ok ? "" : "differs";
    std::string label = name(text(v, "name"), 48);
    if (!mark.empty()) label += fmt::format(" <small{}>{}</small>", row.ok ? "" : " class=\"bad\"", mark);
    std::vector<Cell> cells = {Cell::text(std::move(label)), Cell::figure(std::to_string(row.position + 1), static_cast<double>(row.position + 1)),
                               Cell::text(name(text(v, "op"), 32)), Cell::text(name(text(v, "node"), 40)), Cell::text(several ? name(text(v, "variant"), 24) : "")};
    for (const char* key : {"own_share", "own_abs", "own_rel", "max_abs", "max_rel"}) cells.push_back(Cell::figure(optional(number(v, key), short_figure), number(v, key)));
    table.add(std::move(cells), row.position == first ? "failed" : "");
  }
  return table.str() + left_out(all, table.rows(), "values");
}

std::string comparison(const json& document) {
  const json& values = list(document, "values");
  const Measure measure = measure_of(values);
  const std::vector<Row> rows = rows_of(values, measure);
  const auto first = position_of(member(document, "first"), values), worst = position_of(member(document, "worst"), values);
  std::vector<std::string> variants;
  for (const json& variant : list(document, "variants"))
    if (variants.size() < 8) variants.push_back(name(variant.is_object() ? text(variant, "name") : text(variant), 40));
  std::string html = variants.empty() ? "" : fmt::format("<p class=\"lead\">{}</p>\n", fmt::join(variants, " against "));
  const auto differing = static_cast<size_t>(std::count_if(rows.begin(), rows.end(), [](const Row& row) { return !row.ok; }));
  if (rows.empty()) {
    html += note("No values were compared.");
  } else if (differing == 0) {
    html += fmt::format("<p>All {} values agree within what is allowed.</p>\n", rows.size());
  } else {
    html += fmt::format("<p><strong class=\"bad\">{} of {} values differ.</strong>", differing, rows.size());
    if (first) html += fmt::format(" The first is {}, made by {} (value {}).", name(text(values[*first], "name")), name(text(values[*first], "op")), *first + 1);
    html += "</p>\n";
  }
  html += error_chart(rows, measure, first, worst) + values_table(rows, list(document, "variants").size() > 2, first, worst);
  if (const auto uncompared = positive(document, "uncompared"))
    html += note(fmt::format("{} values could not be compared: they exist in one variant alone.", count(*uncompared)));
  return html;
}

}  // namespace

std::vector<Section> compare_sections(const json& document, const Names& names) {
  std::vector<Section> out;
  const json& all = list(document, "compare");
  for (const json& one : all) {
    if (out.size() >= kMostDocuments) break;
    const std::string model = text(one, "model");
    std::string html = comparison(one);
    if (out.size() + 1 == kMostDocuments) html += left_out(all.size(), kMostDocuments, "comparisons");
    out.push_back({fmt::format("compare-{}", out.size() + 1), model.empty() ? "Comparison" : "Comparison: " + names.model(model), std::move(html)});
  }
  return out;
}

}  // namespace tenon::eval::report
