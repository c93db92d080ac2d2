#include "eval/bench/baseline.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>

#include <fmt/format.h>

#include "eval/statistics.h"

namespace tenon::eval {
namespace {

using nlohmann::json;

/// Not the path alone: it may be written in several ways, and trees move. The file's name, and its folder's when that is what tells
/// models apart.
std::string model_key(const std::string& model) {
  const std::filesystem::path path = std::filesystem::path(model).lexically_normal();
  return (path.parent_path().filename() / path.filename()).string();
}

bool same_case(const json& a, const json& b) {
  return model_key(a.at("model")) == model_key(b.at("model")) && a.at("backend") == b.at("backend") && a.at("threads") == b.at("threads") &&
         a.value("dims", json::object()) == b.value("dims", json::object());
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
  out.slower = out.low > 1 && out.ratio > 1 + tolerance;
  out.faster = out.high < 1 && out.ratio < 1 - tolerance;
  if (old_row.contains("profile") && new_row.contains("profile")) {
    out.old_profile = old_row["profile"];
    out.new_profile = new_row["profile"];
  }
  return out;
}

void warn_of_context(const json& old_context, const json& new_context, std::vector<std::string>& out) {
  for (const auto& [key, what] : {std::pair("cpu", "processor"), std::pair("usable_cores", "number of cores"), std::pair("version", "version of tenon")})
    if (old_context.contains(key) && new_context.contains(key) && old_context[key] != new_context[key])
      out.push_back(fmt::format("the baseline has another {}: {}, now {}", what, old_context[key].dump(), new_context[key].dump()));
}

}  // namespace

Result<json> read_bench_document(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return Status(Code::kIo, "cannot read the file", file.string(), "check the path");
  constexpr uintmax_t kMaxBytes = uintmax_t{256} << 20;
  std::error_code ec;
  if (std::filesystem::file_size(file, ec) > kMaxBytes && !ec) return Status(Code::kResourceExhausted, "larger than 256 MiB", file.string());
  // Deeper than any document of ours, so that the parser cannot be made to recurse for long.
  constexpr int kMaxDepth = 64;
  const json document = json::parse(std::string((std::istreambuf_iterator<char>(in)), {}),
                                    [](int depth, json::parse_event_t, json&) { return depth < kMaxDepth; }, false);
  if (document.is_discarded() || !document.is_object() || !document.contains("results") || !document["results"].is_array())
    return Status(Code::kInvalidArgument, "is not what bench --json writes", file.string(), "make a baseline with tenon bench MODEL --json FILE");
  return document;
}

Result<BaselineComparison> compare_with_baseline(const json& old_document, const json& new_document, double tolerance) {
  BaselineComparison out;
  try {
    warn_of_context(old_document.value("context", json::object()), new_document.value("context", json::object()), out.warnings);
    for (const json& row : new_document.at("results")) {
      if (row.contains("error")) continue;
      const json& old_rows = old_document.at("results");
      const auto found = std::find_if(old_rows.begin(), old_rows.end(), [&](const json& old_row) { return !old_row.contains("error") && same_case(old_row, row); });
      if (found == old_rows.end()) {
        out.unmatched.push_back(fmt::format("{} on {}, {} threads", row.at("model").get<std::string>(), row.at("backend").get<std::string>(), row.at("threads").get<int>()));
        continue;
      }
      out.changes.push_back(change_of(*found, row, tolerance));
    }
  } catch (const json::exception& e) {
    return error(Code::kInvalidArgument, "the baseline lacks what bench --json writes: {}", e.what()).with_hint("make it again with this version of tenon");
  }
  return out;
}

}  // namespace tenon::eval
