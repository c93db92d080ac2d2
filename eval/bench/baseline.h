#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "support/status.h"

namespace tenon::eval {

/// One row of a bench document against the row of an older one with the same model, backend, threads and dims.
struct LatencyChange {
  std::string model, backend;
  int threads = 1;
  nlohmann::json dims;
  double old_ms = 0, new_ms = 0;            // medians
  double ratio = 1, low = 1, high = 1;      // new over old, with a 95 % interval (NaN: there is none); above 1: slower
  bool slower = false, faster = false;      // beyond the noise
  nlohmann::json old_profile, new_profile;  // where both rows have one
};

struct BaselineComparison {
  std::vector<LatencyChange> changes;
  std::vector<std::string> unmatched;       // rows that the old document does not have
  std::vector<std::string> warnings;        // another processor, another version …
};

/// Reads what `bench --json` wrote, and checks its rows. kInvalidArgument, with the file, for anything else.
Result<nlohmann::json> read_bench_document(const std::filesystem::path& file);

/// Slower and faster mean: the interval of the ratio excludes 1, and the change is more than `tolerance` (0.03: 3 %). The two intervals
/// of the medians are independent, so their logarithms add in squares; without an interval nothing is called slower. Models are the same
/// when their paths are, or, where no path is, when the longest common end of their paths is that of one model only.
Result<BaselineComparison> compare_with_baseline(const nlohmann::json& old_document, const nlohmann::json& new_document, double tolerance);

/// {"file", "tolerance", "changes": [{"model", "backend", "threads", "dims", "old_ms", "new_ms", "ratio", "ci95", "verdict": "slower|faster|same",
/// "attribution"}], "unmatched", "warnings"}; attribution as eval/profile/attribute.h has it, where both have a profile.
nlohmann::json to_json(const BaselineComparison& comparison);

}  // namespace tenon::eval
