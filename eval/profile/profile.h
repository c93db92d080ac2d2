#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "backends/backend.h"
#include "eval/profile/calibrate.h"
#include "ir/graph.h"

/// Where the time and the memory of a compiled model go.
namespace tenon::eval {

struct ProfileOptions {
  int threads = 1;                  // 0: all cores
  int warmup = 2;                   // runs before the first that counts, at least 1
  int runs = 20;                    // observed ones, and as many unobserved, in turn
  double max_seconds = 20;          // fewer runs when those take longer, at least 3
  bool calibrate = true;            // measure the machine, for rooflines
  std::string target;               // of the CPU code, as in CompileOptions: what to calibrate for
  size_t max_bytes = 0;             // of a session; 0: the default
  Interrupt interrupt;
};

/// Times of steps are means over the middle half of the observed runs by their length, so that they add up to the total of the
/// same runs and a disturbed run counts for nothing.
///
/// One kernel, or a kind of call on the host, with all nodes that it runs. The time of If, Loop and Scan is what their bodies'
/// steps do not take.
struct KernelProfile {
  std::string name;                 // "contraction.3", the fourth of the plan's; "host NonMaxSuppression"
  std::string implementation;       // "contraction 6x64"
  std::vector<std::string> nodes;   // original names
  std::vector<std::string> ops;     // of these nodes, each once
  int64_t calls = 0;                // a run
  int threads = 1;                  // most that a call used
  double ms = 0, share = 0;         // of a run; of the total
  std::optional<double> flops;      // of a run; nullopt: not described by bodies
  double bytes = 0;                 // of the tensors read and written, each once a call
  double gflops = 0, gbps = 0, intensity = 0;  // a second; a second; flops a byte
  /// By the roofline: the least time for the flops and the bytes, the longer of the two; the flops in that time, the share of that
  /// time in the real one, and which it is.
  std::optional<double> attainable_gflops, fraction;
  std::string bound;                // "compute", "memory", "" without a calibration
};

/// One node of the model. What a kernel takes for several nodes is divided among them by their operations and results.
struct NodeProfile {
  std::string node, op;
  std::string parent;               // the If, Loop or Scan around it, whose time this is a part of; empty: none
  double ms = 0, share = 0;
  double calls = 0;                 // of steps that run it, a run
  bool shared = false;              // a part of a kernel's time
};

/// A node of the model that no step runs.
struct SilentNode {
  std::string node, op;
  std::string why;                  // "view": the bytes of its input; "folded": computed, merged or removed when compiled
  std::string into;                 // the first node after it that runs or is a view; empty: none
};

struct OpProfile {
  std::string op;
  double ms = 0, share = 0;         // bodies' nodes count here, not in their Loop
  int64_t nodes = 0;
};

struct StepProfile {
  int32_t step = 0;
  int depth = 0;                    // 0: the model's plan
  std::string node, parent;         // as the plan calls it; names of fused nodes joined
  std::string kernel;               // KernelProfile::name
  double calls = 0, ms = 0, median_ms = 0;  // ms with its bodies' steps
  double self_ms = 0;
  std::optional<double> flops;      // of a run
  double bytes = 0;
  int threads = 1;
};

struct TensorPlace {
  std::string name;
  size_t bytes = 0, offset = 0;
  int32_t first = 0, last = 0;      // steps of the model's plan, both included
};

struct MemoryProfile {
  size_t arena_bytes = 0;           // of the session, bodies' arenas included
  size_t weight_bytes = 0;          // constants of the plan and its bodies, each once
  size_t peak_bytes = 0;            // alive at the peak step
  int32_t peak_step = -1;
  struct Moment {
    int32_t step;
    std::string node;
    size_t bytes;                   // of the tensors in the arena that are alive at the step
  };
  std::vector<Moment> timeline;     // one a step of the model's plan
  std::vector<TensorPlace> tensors; // by first step
};

struct TraceEvent {
  size_t step;                      // in Profile::steps
  double start_us, duration_us;     // from the beginning of the run
};

struct Profile {
  std::string model, backend;
  std::string run_by;               // the backend whose code ran, which is another one where `backend` failed; "": unknown
  int threads = 1, runs = 0;
  double total_ms = 0;              // an observed run
  double steps_ms = 0;              // its steps; the rest is between them
  double unobserved_ms = 0;         // the median run that nobody observed
  double observed_overhead = 0;     // median observed over median unobserved, less 1
  std::optional<Calibration> peak;
  std::vector<KernelProfile> kernels;  // these and the lists below longest first
  std::vector<NodeProfile> nodes;
  std::vector<SilentNode> silent;      // in the model's order
  std::vector<OpProfile> ops;
  std::vector<StepProfile> steps;      // in the order of execution, bodies' before the step that runs them
  MemoryProfile memory;
  std::vector<TraceEvent> trace;       // of the last observed run
  bool trace_cut = false;              // there were more

  /// Another backend than `backend` ran.
  bool taken_over() const { return !run_by.empty() && run_by != backend; }
};

/// Runs an executable over and over. `model` is the graph that it was compiled from, before any pass; with states also those, with which each
/// run begins as `inputs` have them. kUnsupported for backends that run no plan.
Result<Profile> profile(const ir::Graph& model, const backends::Executable& executable, std::span<const HostValue> inputs,
                        const ProfileOptions& options);

/// The members of {"kind": "profile"} (docs/profiling.md).
nlohmann::json to_json(const Profile& profile);
/// What attribute() needs of such a file: totals, nodes, ops. kInvalidArgument where it is none.
Result<Profile> parse_profile(const nlohmann::json& json);

/// The last observed run for chrome://tracing and Perfetto: the Trace Event Format's JSON object with complete events ("X") of the
/// steps and a counter ("C") of the bytes alive in the arena.
nlohmann::json to_trace(const Profile& profile);

}  // namespace tenon::eval
