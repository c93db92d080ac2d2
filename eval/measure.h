#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "eval/statistics.h"
#include "frontend/onnx/import.h"

namespace tenon::eval {

/// One program to measure: a model on a backend with a number of threads.
struct Subject {
  std::filesystem::path model;  // .onnx or .tir
  frontend::ImportOptions import;
  const backends::Backend* backend = nullptr;
  int threads = 1;
  bool skip_absent = false; //  leave out dims and shapes that the model does not have, instead of failing
};

struct MeasureOptions {
  int rounds = 20;
  double round_ms = 100;      // each round runs for about this long, at least once
  int warmup = 2;             // runs before the first round
  uint64_t seed = 0;          // of random inputs
  bool use_test_data = false; // inputs of test_data_set_0 instead
  backends::CompileOptions compile;
  double timeout_s = 3600;    // of one subject: preparing, and each round
  size_t max_bytes = 0;       // of a session; 0: the default
};

struct Measurement {
  Status status;                            // where it fails, no figure below means anything
  std::vector<std::string> absent;          // names of dims and inputs that were left out
  std::vector<std::vector<double>> rounds;  // ms of each run
  double load_ms = 0, compile_ms = 0, first_run_ms = 0, peak_rss_mb = 0;
  std::vector<double> all() const;
};

/// Measures subjects in turn: each lives in a child process of its own (so that peak memory is its own), and in every round each
/// runs once, in an order that alternates. The others wait meanwhile without using the processor.
std::vector<Measurement> measure(std::span<const Subject> subjects, const MeasureOptions& options,
                                 const std::function<void(int round)>& progress);

}  // namespace tenon::eval
