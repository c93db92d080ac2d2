#include "tools/bench_output.h"

#include <algorithm>
#include <array>
#include <functional>
#include <set>

#include "eval/bench/document.h"
#include "tools/common.h"

namespace tenon::tools {
namespace {

using nlohmann::json;

std::string number(double value) { return fmt::format("{:.6g}", value); }

json at(const json& row, const char* first, const char* second = nullptr) {
  if (!row.contains(first)) return nullptr;
  const json& value = row[first];
  if (second == nullptr) return value;
  return value.is_object() && value.contains(second) ? value[second] : json();
}

std::string ms_of(const json& row, const char* first, const char* second = nullptr) {
  const json value = at(row, first, second);
  return value.is_number() ? format_ms(value) : "-";
}

std::string megabytes(const json& value) { return value.is_number() ? fmt::format("{:.1f}", value.get<double>()) : "-"; }

/// Three digits or so, also of small ratios.
std::string short_ratio(double value) { return value >= 0.1 || value == 0 ? fmt::format("{:.2f}", value) : fmt::format("{:.2g}", value); }

std::string ratio_of(const json& row) {
  if (!row.contains("ratio")) return "-";
  const json& r = row["ratio"];
  const std::string middle = short_ratio(r["median"]);
  return r["ci95"].is_array() ? fmt::format("{} [{}, {}]", middle, short_ratio(r["ci95"][0]), short_ratio(r["ci95"][1])) : middle;
}

std::string dims_of(const json& row, char between = ' ') {
  std::vector<std::string> parts;
  const json dims = row.value("dims", json::object());
  for (const auto& [name, size] : dims.items()) parts.push_back(fmt::format("{}={}", name, size.get<int64_t>()));
  return parts.empty() ? "-" : fmt::format("{}", fmt::join(parts, std::string(1, between)));
}

struct Column {
  const char* title;
  std::function<std::string(const json&)> cell;
};

/// Columns that say nothing in any row are left out.
std::vector<Column> columns(const json& results) {
  const auto any = [&](const char* key) { return std::any_of(results.begin(), results.end(), [&](const json& row) { return row.contains(key); }); };
  std::set<std::string> dims;
  for (const json& row : results)
    if (!row.contains("error")) dims.insert(row.at("model").get<std::string>() + dims_of(row));
  std::set<std::string> models;
  for (const json& row : results) models.insert(row.at("model").get<std::string>());
  std::vector<Column> out = {{"model", [](const json& r) { return r.at("model").get<std::string>(); }}};
  if (dims.size() > models.size()) out.push_back({"dims", [](const json& r) { return dims_of(r); }});
  out.insert(out.end(), {{"backend", [](const json& r) { return r.at("backend").get<std::string>() + (r.contains("taken_over_by") ? ", run by " + r["taken_over_by"].get<std::string>() : ""); }},
                         {"threads", [](const json& r) { return std::to_string(r.at("threads").get<int>()); }},
                         {"p10 ms", [](const json& r) { return ms_of(r, "latency_ms", "p10"); }},
                         {"p50 ms", [](const json& r) { return r.contains("error") ? "failed" : ms_of(r, "latency_ms", "p50"); }},
                         {"p90 ms", [](const json& r) { return ms_of(r, "latency_ms", "p90"); }},
                         {"p99 ms", [](const json& r) { return ms_of(r, "latency_ms", "p99"); }},
                         {"load ms", [](const json& r) { return ms_of(r, "load_ms"); }},
                         {"compile ms", [](const json& r) { return ms_of(r, "compile_ms"); }},
                         {"first ms", [](const json& r) { return ms_of(r, "first_run_ms"); }},
                         {"peak MB", [](const json& r) { return megabytes(at(r, "peak_rss_mb")); }}});
  if (any("arena_mb")) out.push_back({"arena MB", [](const json& r) { return megabytes(at(r, "arena_mb")); }});
  if (any("throughput"))
    out.push_back({"runs/s", [](const json& r) { return r.contains("throughput") ? fmt::format("{:.1f}", r["throughput"].get<double>()) : "-"; }});
  if (any("ratio")) out.push_back({"ratio [95 %]", ratio_of});
  return out;
}

/// "geometric mean of 3 models, 1 thread: onnxruntime 0.278, so cpu is 3.60 times as fast".
void print_means(const json& results, const char* line_end) {
  const json means = eval::geometric_means(results);
  for (const json& mean : means) {
    const double ratio = mean["ratio"];
    const std::string backend = mean["backend"], base = mean["vs"];
    fmt::print("geometric mean of {} models, {} thread{}: {} {:.3f}, so {} is {:.2f} times as fast{}\n", mean["models"].get<int>(), mean["threads"].get<int>(),
               mean["threads"] == 1 ? "" : "s", backend, ratio, ratio < 1 ? base : backend, ratio < 1 ? 1 / ratio : ratio, line_end);
  }
}

/// Whose times before the first run are those of executables that were kept; where some launches compiled, figures are theirs.
void print_from_cache(const json& results) {
  std::vector<size_t> rows;
  size_t measured = 0;
  for (size_t i = 0; i < results.size(); ++i) {
    if (results[i].contains("error")) continue;
    ++measured;
    const int from_cache = results[i].value("from_cache", 0);
    if (from_cache > 0 && from_cache == results[i].value("launches", 0)) rows.push_back(i + 1);
  }
  if (rows.empty()) return;
  const std::string of_rows = rows.size() == measured ? "" : fmt::format(" of row{} {}", rows.size() == 1 ? "" : "s", fmt::join(rows, ", "));
  fmt::print("load, compile and first run{} are of executables from the cache; --no-cache compiles\n", of_rows);
}

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string out = "\"";
  for (char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

std::string escaped(std::string text) {
  for (size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) text.insert(at, 1, '\\');
  return text;
}

}  // namespace

std::string format_ms(double value) { return value < 1 ? fmt::format("{:.4f}", value) : value < 100 ? fmt::format("{:.3f}", value) : fmt::format("{:.1f}", value); }

void print_bench_table(const json& document) {
  const json& results = document.at("results");
  const std::vector<Column> shown = columns(results);
  std::vector<std::string> header;
  for (const Column& column : shown) header.emplace_back(column.title);
  Table table(header);
  for (const json& row : results) {
    std::vector<std::string> cells;
    for (const Column& column : shown) cells.push_back(column.cell(row));
    table.add(std::move(cells));
  }
  table.print();
  print_means(results, "");
  print_from_cache(results);
}

void print_bench_profiles(const json& document) {
  constexpr size_t kShown = 5;
  const auto share = [](const json& value) { return value.is_number() ? fmt::format("{:.1f} %", 100 * value.get<double>()) : "-"; };
  const auto rate = [](const json& value) { return value.is_number() && value > 0 ? fmt::format("{:.1f}", value.get<double>()) : "-"; };
  for (const json& row : document.at("results")) {
    if (!row.contains("profile")) continue;
    const json& profile = row["profile"];
    fmt::print("\n{} on {}, {} thread{}: where {} ms go\n", row["model"].get<std::string>(), row["backend"].get<std::string>(), row["threads"].get<int>(),
               row["threads"] == 1 ? "" : "s", ms_of(profile, "total_ms"));
    Table kernels({"kernel", "implementation", "calls", "ms", "of the run", "GFLOP/s", "GB/s", "of roof", "bound", "first node"});
    for (size_t i = 0; i < std::min(kShown, profile["kernels"].size()); ++i) {
      const json& k = profile["kernels"][i];
      kernels.add({k["name"], k["implementation"], std::to_string(k["calls"].get<int64_t>()), ms_of(k, "ms"), share(k["share"]), rate(k["gflops"]), rate(k["gbps"]),
                   share(at(k, "fraction")), k["bound"].is_string() && k["bound"] != "" ? k["bound"].get<std::string>() : "-", k["nodes"].empty() ? "" : k["nodes"][0].get<std::string>()});
    }
    kernels.print();
    Table ops({"op", "ms", "of the run"});
    for (size_t i = 0; i < std::min(kShown, profile["ops"].size()); ++i) ops.add({profile["ops"][i]["op"], ms_of(profile["ops"][i], "ms"), share(profile["ops"][i]["share"])});
    ops.print();
  }
}

void print_bench_changes(const json& baseline) {
  constexpr size_t kShown = 5;
  fmt::print("\nagainst {}\n", baseline["file"].get<std::string>());
  Table table({"model", "dims", "backend", "threads", "before ms", "now ms", "now/before [95 %]", ""});
  for (const json& c : baseline["changes"])
    table.add({c["model"], dims_of(c), c["backend"], std::to_string(c["threads"].get<int>()), ms_of(c, "old_ms"), ms_of(c, "new_ms"),
               c["ci95"].is_array() ? fmt::format("{:.3f} [{:.3f}, {:.3f}]", c["ratio"].get<double>(), c["ci95"][0].get<double>(), c["ci95"][1].get<double>())
                                    : fmt::format("{:.3f} (no interval: too few rounds)", c["ratio"].get<double>()),
               c["verdict"] == "same" ? "the same" : c["verdict"].get<std::string>()});
  if (!baseline["changes"].empty()) table.print();
  for (const json& row : baseline["unmatched"]) fmt::print("not in the baseline: {}\n", row.get<std::string>());
  for (const json& warning : baseline["warnings"]) fmt::print("warning: {}\n", warning.get<std::string>());
  for (const json& c : baseline["changes"]) {
    if (!c.contains("attribution") || c["verdict"] == "same") continue;
    fmt::print("\nwhere the change of {} on {} comes from\n", c["model"].get<std::string>(), c["backend"].get<std::string>());
    for (const char* kind : {"ops", "nodes"}) {
      Table rows({kind[0] == 'o' ? "op" : "node", "before ms", "now ms", "change ms", "of the change"});
      const json& list = c["attribution"][kind];
      for (size_t i = 0; i < std::min(kShown, list.size()); ++i)
        rows.add({list[i]["name"], ms_of(list[i], "old_ms"), ms_of(list[i], "new_ms"), fmt::format("{:.4f}", list[i]["delta_ms"].get<double>()),
                  list[i]["share"].is_number() ? fmt::format("{:.1f} %", 100 * list[i]["share"].get<double>()) : "-"});
      rows.print();
    }
  }
}

void print_bench_markdown(const json& document) {
  const json& results = document.at("results");
  const std::vector<Column> shown = columns(results);
  std::string header = "|", rule = "|";
  for (const Column& column : shown) {
    header += fmt::format(" {} |", column.title);
    const std::string_view title = column.title;
    rule += title == "model" || title == "dims" || title == "backend" ? " --- |" : " ---: |";
  }
  fmt::print("{}\n{}\n", header, rule);
  for (const json& row : results) {
    std::string line = "|";
    for (const Column& column : shown) line += fmt::format(" {} |", escaped(column.cell(row)));
    fmt::print("{}\n", line);
  }
  fmt::print("\n");
  print_means(results, "  ");
  const json& context = document.at("context");
  fmt::print("{}, {} cores, tenon {}, {}\n", context.value("cpu", "unknown"), context.value("usable_cores", 0), context.value("version", ""), context.value("date", ""));
  for (const json& warning : document.at("warnings")) fmt::print("\n> {}\n", warning.get<std::string>());
}

void print_bench_csv(const json& document) {
  static constexpr std::array kTimes = {"p10", "p50", "p90", "p99", "mean", "min"};
  static constexpr std::array kFigures = {"load_ms", "compile_ms", "first_run_ms", "ready_ms", "peak_rss_mb", "arena_mb", "throughput"};
  fmt::print("model,dims,backend,threads,{}_ms,{},ratio,ratio_low,ratio_high,error\n", fmt::join(kTimes, "_ms,"), fmt::join(kFigures, ","));
  const auto cell = [](const json& value) { return value.is_number() ? number(value) : std::string(); };
  for (const json& row : document.at("results")) {
    std::string line = fmt::format("{},{},{},{}", quoted(row.at("model")), row.contains("dims") && !row["dims"].empty() ? quoted(dims_of(row, ';')) : "",
                                   quoted(row.at("backend")), row.at("threads").get<int>());
    for (const char* key : kTimes) line += "," + cell(at(row, "latency_ms", key));
    for (const char* key : kFigures) line += "," + cell(at(row, key));
    const json ratio = row.value("ratio", json::object()), interval = ratio.contains("ci95") && ratio["ci95"].is_array() ? ratio["ci95"] : json::array({nullptr, nullptr});
    line += fmt::format(",{},{},{},{}", cell(at(ratio, "median")), cell(interval[0]), cell(interval[1]), quoted(row.value("error", "")));
    fmt::print("{}\n", line);
  }
}

}  // namespace tenon::tools
