#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "backends/backend.h"
#include "eval/profile/calibrate.h"
#include "ir/graph.h"

/// What a compiled model is going to do and why, said without running it.
namespace tenon::eval {

struct ForecastOptions {
  int threads = 1;                  // 0: all cores
  bool calibrate = true;            // measure the machine, for predicted times
  std::string target;               // of the CPU code, as in CompileOptions: what to calibrate for
};

/// One kernel, or a kind of call on the host, with all its calls of a run; those of bodies count once.
struct KernelForecast {
  std::string name;                 // "contraction.3", as in a profile
  std::string implementation;       // "contraction 6x64 packed, blocks 96x768": tile of M and N, blocks of M and K
  std::string refused;              // why better-ranked implementations are not used; empty for the best
  std::vector<std::string> nodes;
  int64_t calls = 0;
  int64_t grid = 0;                 // of the largest call; 0: of a size that only run time knows, or nothing to do
  int threads = 1;                  // of the call with most
  std::optional<double> flops;      // of all calls; nullopt: not described by bodies, or of a size that only run time knows
  double bytes = 0;                 // read and written
  /// The least time by the roofline, and what makes it: "compute" or "memory"; "" where flops or the machine are unknown.
  std::optional<double> ms;
  std::string bound;
};

struct Forecast {
  int threads = 1;
  std::optional<Calibration> peak;
  std::vector<KernelForecast> kernels;  // longest first
  double ms = 0;                    // of those that have a time
  size_t weight_bytes = 0;          // constants of the plan and its bodies, each once
  size_t arena_bytes = 0, arena_bound = 0;  // of the model's plan: as placed; what is alive at one step at most
};

/// Symbolic dims are kDefaultDim. kUnsupported for backends that run no plan.
Result<Forecast> forecast(const backends::Executable& executable, const ForecastOptions& options);

nlohmann::json to_json(const Forecast& forecast);

}  // namespace tenon::eval
