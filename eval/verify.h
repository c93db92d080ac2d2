#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "eval/compare.h"
#include "eval/match_rows.h"
#include "eval/states.h"
#include "frontend/onnx/import.h"

namespace tenon::eval {

/// A folder with model.onnx and at least one test_data_set_N.
struct Case {
  std::string name;  // its path below the folder that was searched
  std::filesystem::path folder;
};

/// Every case at or below `root`, sorted by name. kNotFound when there is no such folder.
Result<std::vector<Case>> find_cases(const std::filesystem::path& root);

enum class CaseStatus : uint8_t { kPassed, kFailed, kSkipped };
std::string_view status_name(CaseStatus status);

struct CaseResult {
  std::string name, backend;
  CaseStatus status = CaseStatus::kFailed;
  std::string message;
  std::string rounding;      // what the tolerance is widened for: describe() of eval/rounded_products.h
  double max_abs = 0, max_rel = 0;
  double compile_ms = 0, run_ms = 0;
  int data_sets = 0;
  bool has_key = false;      // the model has the output that VerifyOptions::rows names
  int nodes = 0;             // of the compiled model; fused ones count each
  std::map<std::string, int> host_nodes;  // of these, the ones that no kernel covers, by "op: why"
};

/// Passes, then ONNX and back, before a backend gets the model.
struct RoundTrip {
  int level = 1;      // -O
  int64_t opset = 0;  // as frontend::ExportOptions has it
};

struct VerifyOptions {
  frontend::ImportOptions import;
  std::optional<RoundTrip> round_trip;
  Tolerance tolerance;
  bool widen = true;          // the tolerance, for what CompileOptions::precision rounds (eval/rounded_products.h)
  std::optional<RowRule> rows;
  StateRequest states;        // sessions keep them; each data set sets them and compares what they are after the run. A case without any is run plainly, and says so
  int round_off_samples = 8;  // of a case that differs: see eval/round_off.h; 0: none
  backends::CompileOptions compile;
  backends::SessionOptions session;
  int jobs = 1;              // cases at a time
  bool isolate = true;       // cases in child processes, of which each serves several, one after the other
  double timeout_s = 600;    // per case
};

/// Imports and compiles the model once, runs every data set, compares.
CaseResult verify_case(const Case& one, const backends::Backend& backend, const VerifyOptions& options);

/// All cases. `done` is called once for each one, when it is known what became of it; results are in the order of `cases`. A case
/// that crashes or takes too long fails; the others go on. So does one whose process crashes later, in a case that does not by itself.
std::vector<CaseResult> verify_cases(std::span<const Case> cases, const backends::Backend& backend, const VerifyOptions& options,
                                     const std::function<void(const CaseResult&)>& done);

/// "*" and "?" match any characters, everything else itself.
bool glob_match(std::string_view pattern, std::string_view text);

}  // namespace tenon::eval
