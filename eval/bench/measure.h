#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "eval/states.h"
#include "eval/statistics.h"
#include "frontend/onnx/import.h"

namespace tenon::eval {

/// One program to measure: a model on a backend with a number of threads.
struct Subject {
  std::filesystem::path model;  // .onnx or .tir
  frontend::ImportOptions import;
  const backends::Backend* backend = nullptr;
  int threads = 1;
  std::optional<int64_t> batch;  // size of the symbols that lead the inputs
  bool skip_absent = false;      // leave out dims and shapes that the model does not have, instead of failing
};

struct MeasureOptions {
  int launches = 5;           // processes that share the rounds of a subject, one after the other
  int rounds = 20;            // of all launches together; at least one each
  double round_ms = 100;      // each round runs for about this long, at least once
  const std::atomic<bool>* stop = nullptr;  // ends early, after a round; what was measured so far counts
  double duration_s = 0;      // of all rounds of all subjects together, at least one a launch; 0: as many as `rounds`
  int warmup = 2;             // runs before the first round, at least
  double warmup_ms = 1000;    // how long to wait, at most, until runs do not get faster any more
  int streams = 0;            // sessions that run at the same time for the throughput; 0: it is not measured
  uint64_t seed = 0;          // of random inputs
  bool use_test_data = false; // inputs of test_data_set_0 instead
  StateRequest states;        // that sessions keep; each run begins with them as the inputs say
  backends::CompileOptions compile;
  std::shared_ptr<const DiskCache> executables;  // where compiled models are kept and taken from; null: each launch compiles
  double timeout_s = 3600;    // of one subject: preparing, and each round
  size_t max_bytes = 0;       // of a session; 0: the default
};

struct Measurement {
  Status status;                            // where it fails, no figure below means anything
  double load_ms = 0;                       // import, or reading the executable from the cache; 0 where the backend reads the model itself
  double compile_ms = 0;                    // compile and session, reading included where the backend does that
  int from_cache = 0;                       // launches that found the executable in the cache; these three are of the others, if there are any
  double first_run_ms = 0;
  double peak_rss_mb = 0;                   // of a process that did nothing else
  double arena_mb = 0;                      // intermediate results of a session; 0: unknown
  double throughput = 0;                    // runs a second of `streams` sessions; 0: not measured
  int warmup_runs = 0;
  int64_t runs = 0;                         // in all rounds
  bool settled = true;                      // runs had stopped getting faster when the rounds began
  Launches samples;                         // ms; of a round with many, quantiles that stand for them
  std::string taken_over_by;                // the backend that ran it in the end, after the subject's own had failed: figures are its, or of both
  std::string runtime;                      // name and version, of another process's runtime
  std::vector<std::pair<std::string, int64_t>> dims;  // what the symbols of the inputs are
  std::vector<std::pair<std::string, std::vector<int64_t>>> shapes;  // of the inputs
  std::vector<std::string> absent;          // dims and shapes that the model does not have
  // Outputs against those of the first subject; nullopt: not comparable.
  std::optional<double> max_abs;
  bool outputs_agree = true;                // within the default Tolerance, widened for factors that one of them rounds
};

/// Who else used the machine while the rounds of a group of subjects ran.
struct Conditions {
  double seconds = 0;
  double other_cores = 0;                   // busy for processes that are not ours, on average
  double stolen_cores = 0;                  // by the hypervisor
  double idle_cores = 0;                    // busy for subjects whose turn it was not
  double mhz_before = 0, mhz_after = 0;     // 0: unknown
  int64_t throttles = 0;                    // thermal
};

struct GroupMeasurement {
  std::vector<Measurement> subjects;
  Conditions conditions;
};

/// Measures the subjects in processes of their own, which take turns: round 1 of every subject, then round 2 of every subject in the
/// other order, and so on. Several launches show what differs from process to process (where memory lies). `progress` is called before each round.
GroupMeasurement measure(std::span<const Subject> subjects, const MeasureOptions& options,
                         const std::function<void(const std::string& what)>& progress);

}  // namespace tenon::eval
