#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "eval/metrics/record.h"
#include "support/status.h"

/// What an evaluation has found so far, in a folder: `manifest.json` says what is evaluated, `problems.jsonl` and one file of JSON lines
/// a subject hold what came out. A line with "batch" ends what belongs to a batch; lines behind the last such line are of a batch that
/// was not finished and do not count, nor does a last line without its end.
namespace tenon::eval {

struct Problem {
  int64_t index = 0;                         // of the example
  std::string source, message;
};

/// What a subject did in one batch.
struct BatchFigures {
  int64_t batch = 0;
  struct Run {
    double ms = 0;
    int64_t examples = 0;
    bool first = false;                      // of its session
  };
  std::vector<Run> runs;
  double max_abs = 0;                        // of outputs, against the first subject
  bool comparable = true;                    // outputs have the shapes, dtypes and non-finite elements of the first subject's
  size_t arena_bytes = 0;
};

/// All that a subject has done, by ascending batch.
struct SubjectState {
  std::vector<Record> records;
  std::vector<BatchFigures> batches;
  double compile_ms = 0;
  Status failure;                            // from here on it does not take part
  bool available = true;                     // false: it failed because it cannot run on this machine
};

struct StateContents {
  std::vector<SubjectState> subjects;
  std::vector<Problem> problems;
  std::vector<int64_t> batches;              // finished by all subjects that did not fail, ascending
};

class StateFolder {
 public:
  /// Makes the folder, or takes up what is in it. kInvalidArgument names the first thing in which its manifest differs from this one.
  static Result<std::unique_ptr<StateFolder>> open(const std::filesystem::path& folder, const nlohmann::json& manifest,
                                                   const std::vector<std::string>& subjects, StateContents& contents);
  ~StateFolder();

  /// What belongs to one batch; on return it is on its way to the disk, and survives the end of this process.
  Status append_problems(int64_t batch, const std::vector<Problem>& problems);
  Status append(size_t subject, const std::vector<Record>& records, const BatchFigures& figures);
  Status append_failure(size_t subject, const Status& failure, bool available);
  Status append_compiled(size_t subject, double compile_ms);

 private:
  StateFolder() = default;
  Status write(size_t file, const std::string& text);
  std::filesystem::path folder_;
  std::vector<std::FILE*> files_;            // the subjects', then the problems'
  int lock_ = -1;
};

/// The name of a subject's file.
std::string state_file_name(const std::string& subject);

/// "recipe.metrics" where two manifests differ first; empty when they do not.
std::string manifest_difference(const nlohmann::json& a, const nlohmann::json& b);
Result<nlohmann::json> read_manifest(const std::filesystem::path& folder);
/// Reads without changing anything.
Result<StateContents> read_state(const std::filesystem::path& folder, const std::vector<std::string>& subjects);

/// Contents of several shards as one, in the order of their batches. kInvalidArgument when a batch is in two of them.
Result<StateContents> merge_states(std::vector<StateContents> shards);

}  // namespace tenon::eval
