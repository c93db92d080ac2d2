#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "eval/compiled_model.h"
#include "eval/datasets/dataset.h"
#include "eval/tasks/recipe.h"
#include "eval/tasks/state.h"
#include "eval/tasks/task.h"
#include "ir/graph.h"

/// Runs a model over a data set on several backends, which take turns on the same inputs.
namespace tenon::eval {

/// A backend with options. Names differ within an evaluation.
struct Candidate {
  std::string name;                          // "cpu", "cpu -O1"
  const backends::Backend* backend = nullptr;
  backends::CompileOptions compile;
  /// Where the model comes from, if it may come from the cache; the graph may have inputs and outputs alone then. Else the graph is compiled.
  std::optional<ModelRequest> request;
};

struct EvaluateOptions {
  Recipe recipe;                             // task and data set are set
  std::vector<Candidate> candidates;
  backends::SessionOptions session;
  int64_t shard = 0, shards = 1;             // this one does the batches whose number leaves `shard` when divided by `shards`
  std::filesystem::path state;               // folder that keeps what is done; empty: none
  nlohmann::json identity;                   // of model and options: a state is taken up only where it is the same
  int64_t singles = 0;                       // examples run once more, one at a time, for their time
  Interrupt interrupt;                       // of compiling and running
  const std::atomic<bool>* stop = nullptr;   // ends the evaluation after the batch at hand
  std::function<void(const std::string&)> say;                   // what is being done
  std::function<void(int64_t done, int64_t total)> progress;     // examples
};

struct CandidateResult {
  std::string name;
  int threads = 0;
  Status status;                             // where it is an error, the candidate did not take part to the end
  bool available = true;
  SubjectState state;
  std::vector<double> single_ms;
  size_t peak_rss_bytes = 0;                 // of a process of its own
  std::string runtime;                       // "ONNX Runtime 1.30.0" of such a process
};

struct Evaluation {
  const TaskInfo* task = nullptr;
  Recipe recipe;                             // complete
  int64_t examples = 0;                      // of the data set, up to the limit; those of other shards too
  int64_t done = 0;                          // of them, in this state
  int64_t batches = 0;                       // of this shard
  int64_t batches_done = 0, batches_before = 0;   // all, and those that the state held already
  std::vector<Problem> problems;
  std::vector<CandidateResult> results;      // in the order of the candidates; records by index
  Status stopped;                            // why it ended before the end: kCancelled, kDeadlineExceeded
  nlohmann::json manifest;
  std::string model;                         // path of merged shards' model; empty where they do not say it
};

/// The recipe with everything that it leaves open filled in by the model and the data set's names of classes.
Result<Recipe> complete_recipe(const ir::Graph& graph, const std::vector<std::string>& classes, Recipe recipe);

/// kInvalidArgument when no candidate could evaluate anything. Results do not depend on shards and interruptions, but for times.
Result<Evaluation> evaluate(const ir::Graph& graph, const Dataset& dataset, const EvaluateOptions& options);

/// The evaluation of which the folders hold the shards. kInvalidArgument when they are of different ones, or when some are missing.
Result<Evaluation> merge_evaluations(const std::vector<std::filesystem::path>& folders);

}  // namespace tenon::eval
