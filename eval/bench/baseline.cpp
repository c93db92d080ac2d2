#include "eval/bench/baseline.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "eval/profile/attribute.h"
#include "eval/report/report.h"
#include "eval/statistics.h"

namespace tenon::eval {
namespace {

using nlohmann::json;

/// Parts of two paths that are the same, from the end; more than any path has where they are equal.
size_t common_end(const std::string& a, const std::string& b) {
  const auto parts = [](const std::string& text) {
    std::vector<std::string> out;
    for (const auto& part : std::filesystem::path(text).lexically_normal()) out.push_back(part.string());
    return out;
  };
  const std::vector<std::string> x = parts(a), y = parts(b);
  if (x == y) return std::numeric_limits<size_t>::max();
  size_t n = 0;
  while (n < x.size() && n < y.size() && x[x.size() - 1 - n] == y[y.size() - 1 - n]) ++n;
  return n;
}

bool same_case(const json& a, const json& b) {
  return a.at("backend") == b.at("backend") && a.at("threads") == b.at("threads") && a.value("dims", json::object()) == b.value("dims", json::object());
}

/// The old row of the same case whose path is nearest; null when there is none, or several are equally near.
const json* old_row_of(const json& row, const json& old_rows) {
  const json* best = nullptr;
  size_t near = 0;
  bool several = false;
  for (const json& old_row : old_rows) {
    if (old_row.contains("error") || !same_case(old_row, row)) continue;
    const size_t n = common_end(old_row.at("model"), row.at("model"));
    several = n == near && n > 0 ? true : n > near ? false : several;
    if (n > near) best = &old_row;
    near = std::max(near, n);
  }
  return several && near != std::numeric_limits<size_t>::max() ? nullptr : best;
}

std::string describe(const json& row) {
  std::string dims;
  const json bound = row.value("dims", json::object());
  for (const auto& [name, size] : bound.items()) dims += fmt::format(" {}={}", name, size.dump());
  const int threads = row.at("threads");
  return fmt::format("{}{} on {}, {} thread{}", row.at("model").get<std::string>(), dims, row.at("backend").get<std::string>(), threads, threads == 1 ? "" : "s");
}

/// Medians of rounds as launches of rounds of one sample.
Launches launches_of(const json& row) {
  Launches out;
  for (const json& launch : row.at("launches_ms")) {
    out.emplace_back();
    for (const json& round : launch) out.back().push_back({round.get<double>()});
  }
  return out;
}

LatencyChange change_of(const json& old_row, const json& new_row, double tolerance) {
  LatencyChange out{.model = new_row.at("model"), .backend = new_row.at("backend"), .threads = new_row.at("threads"), .dims = new_row.value("dims", json::object())};
  out.old_ms = old_row.at("latency_ms").at("p50");
  out.new_ms = new_row.at("latency_ms").at("p50");
  const Ratio a = median_interval(launches_of(old_row)), b = median_interval(launches_of(new_row));
  const auto log_ratio = [](double x, double y) { return x > 0 && y > 0 ? std::log(x / y) : 0; };
  const double below = std::hypot(log_ratio(b.median, b.low), log_ratio(a.high, a.median));
  const double above = std::hypot(log_ratio(b.high, b.median), log_ratio(a.median, a.low));
  out.ratio = out.old_ms > 0 ? out.new_ms / out.old_ms : 1;
  out.low = out.ratio * std::exp(-below);
  out.high = out.ratio * std::exp(above);
  if (!a.has_interval() || !b.has_interval()) out.low = out.high = std::numeric_limits<double>::quiet_NaN();
  out.slower = out.low > 1 && out.ratio > 1 + tolerance;
  out.faster = out.high < 1 && out.ratio < 1 - tolerance;
  if (old_row.contains("profile") && new_row.contains("profile")) {
    out.old_profile = old_row["profile"];
    out.new_profile = new_row["profile"];
  }
  return out;
}

void warn_of_context(const json& old_context, const json& new_context, std::vector<std::string>& out) {
  for (const auto& [key, what] : {std::pair("cpu", "processor"), std::pair("usable_cores", "number of cores"), std::pair("version", "version of tenon"),
                                  std::pair("opt_level", "optimisation level"), std::pair("target", "target"), std::pair("precision", "precision"), std::pair("seed", "seed of inputs"),
                                  std::pair("test_data", "kind of inputs (--test-data)"), std::pair("round_ms", "length of rounds")})
    if (old_context.contains(key) && new_context.contains(key) && old_context[key] != new_context[key])
      out.push_back(fmt::format("the baseline has another {}: {}, now {}", what, old_context[key].dump(), new_context[key].dump()));
}

}  // namespace

Result<json> read_bench_document(const std::filesystem::path& file) {
  TENON_ASSIGN_OR_RETURN(json document, read_report_document(file));
  const auto fits = [](const json& row) {
    if (!row.is_object() || !row.contains("model") || !row["model"].is_string() || !row.contains("backend") || !row["backend"].is_string()) return false;
    if (!row.contains("threads") || !row["threads"].is_number_integer()) return false;
    if (row.contains("error")) return true;
    const auto numbers = [](const json& list) { return list.is_array() && std::all_of(list.begin(), list.end(), [](const json& v) { return v.is_number(); }); };
    return row.contains("latency_ms") && row["latency_ms"].is_object() && row["latency_ms"].contains("p50") && row["latency_ms"]["p50"].is_number() &&
           row.contains("launches_ms") && row["launches_ms"].is_array() && std::all_of(row["launches_ms"].begin(), row["launches_ms"].end(), numbers) &&
           (!row.contains("dims") || row["dims"].is_object());
  };
  if (!document.is_object() || !document.contains("results") || !document["results"].is_array() ||
      !std::all_of(document["results"].begin(), document["results"].end(), fits) || (document.contains("context") && !document["context"].is_object()))
    return Status(Code::kInvalidArgument, "is not what bench --json writes", file.string(), "make a baseline with tenon bench MODEL --json FILE");
  return document;
}

Result<BaselineComparison> compare_with_baseline(const json& old_document, const json& new_document, double tolerance) {
  BaselineComparison out;
  try {
    warn_of_context(old_document.value("context", json::object()), new_document.value("context", json::object()), out.warnings);
    for (const json& row : new_document.at("results")) {
      if (row.contains("error")) continue;
      if (const json* old_row = old_row_of(row, old_document.at("results"))) out.changes.push_back(change_of(*old_row, row, tolerance));
      else out.unmatched.push_back(describe(row));
    }
  } catch (const json::exception& e) {
    return error(Code::kInvalidArgument, "the baseline lacks what bench --json writes: {}", e.what()).with_hint("make it again with this version of tenon");
  }
  return out;
}

json to_json(const BaselineComparison& comparison) {
  json changes = json::array();
  for (const LatencyChange& c : comparison.changes) {
    json row = {{"model", c.model}, {"backend", c.backend}, {"threads", c.threads}, {"dims", c.dims}, {"old_ms", c.old_ms}, {"new_ms", c.new_ms}, {"ratio", c.ratio},
                {"ci95", c.low == c.low ? json::array({c.low, c.high}) : json()}, {"verdict", c.slower ? "slower" : c.faster ? "faster" : "same"}};
    const Result<Profile> before = parse_profile(c.old_profile), now = parse_profile(c.new_profile);
    if (before.ok() && now.ok()) row["attribution"] = to_json(attribute(*before, *now));
    changes.push_back(std::move(row));
  }
  return {{"changes", changes}, {"unmatched", comparison.unmatched}, {"warnings", comparison.warnings}};
}

}  // namespace tenon::eval
