#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codegen/plan/placement.h"
#include "ir/graph.h"
#include "passes/pass.h"
#include "runtime/observer.h"
#include "runtime/plan_format.h"
#include "support/disk_cache.h"
#include "support/executor.h"
#include "support/interrupt.h"
#include "support/status.h"
#include "support/tensor.h"

namespace tenon::runtime {
struct PreparedPlan;
}

namespace tenon::backends {

using codegen::Placement;

struct CompileStats {
  double optimize_ms = 0, lower_ms = 0;
  double emit_ms = 0;               // machine code; vulkan: SPIR-V, on one thread
  double pipeline_ms = 0;           // vulkan: what the driver makes of that
  double setup_ms = 0;              // packing weights; vulkan: uploading them
  int kernels = 0;                  // distinct, compiled
  int cached = 0;                   // of these, taken from the cache
  int dispatches = 0;
  bool restored = false;            // the whole executable was compiled at an earlier time (Backend::restore)
};

/// An executable as bytes, for this build of Tenon on this machine. The weights are those of the executable, which must outlive them.
struct SavedExecutable {
  std::vector<std::byte> bytes;
  runtime::WeightBlock weights;
};

/// An input and an output that are one thing at two times: what a run gives as the output, the next one takes as the input.
struct StatePair {
  std::string input, output;
};

/// A state of a session, and how runs change it.
struct StateInfo {
  StatePair pair;
  int axis = -1;                    // along which it grows in memory that the session has for it; -1: along none
  bool in_place = false;            // runs write what is new and copy nothing
  std::string reason;               // why they do not
};

/// What a session keeps from one run to the next. States begin empty: without elements along the axis that grows, else zeros.
class States {
 public:
  virtual ~States() = default;
  virtual std::span<const StateInfo> list() const = 0;
  /// All as at the beginning.
  virtual void reset() = 0;
  /// A copy of a state, by its place in list(). kNotFound before there is one.
  virtual Result<Tensor> get(size_t state) const = 0;
  /// Puts a copy in its place. kInvalidArgument when dtype or shape do not fit.
  virtual Status set(size_t state, const Tensor& value) = 0;
  /// States that runs make longer lose what they hold beyond `length`, in place or not; others are as after the last set() or reset().
  virtual Status rewind(int64_t length) = 0;
};

struct CompileOptions {
  int opt_level = 3;                // 0…3
  int compile_threads = 0;          // 0: all cores
  std::string target;               // "", "host", "x86-64-v2" (SSE4.2), "x86-64-v3" (AVX2), "x86-64-v4" (AVX-512), "aarch64" …: codegen/target.h; "host-winograd" etc.: without Winograd's convolutions
  std::string device;               // vulkan: an index, a part of a name or the beginning of a UUID; "": TENON_VULKAN_DEVICE, or the best one
  /// What products of f32 round their factors to: kF32, kF16 or kBF16 (PipelineOptions::factors). The reference and other runtimes ignore it.
  DType precision = DType::kF32;
  std::string require_placement;    // vulkan: "vulkan=N%", of the model's nodes must run on the device; "": any number
  bool checked = false;             // vulkan: kernels compare every index with its buffer's size (docs/vulkan.md); so does TENON_VULKAN_CHECKED=1
  std::vector<std::string> disabled_passes;
  int64_t max_rewrites = -1;        // of the passes; negative: all
  passes::Fault fault;              // made on purpose, to test what finds it; the reference has no passes and ignores both
  std::shared_ptr<const codegen::Tuning> tuning;  // cpu: choices found by measuring (eval/tune.h); null: none
  std::string matmul;               // cpu: "" generated code first, "openblas" the library first where it has the form
  /// Inputs, by name, whose bytes a run may change, as callers have given them up; outputs that are their memory share it. See
  /// Backend::updates_inputs.
  std::vector<std::string> updated_inputs;
  std::vector<std::string> overwritten_inputs;  // of these, the ones of which a run may change what it reads: it cannot begin again
  Interrupt interrupt;              // asked between passes, nodes and kernels
  std::shared_ptr<const DiskCache> cache;  // cpu: of machine code, vulkan: of pipelines; null: none
  bool keep_code = false;           // for Backend::save
  /// The ONNX file that the graph was imported from, and the dims that were bound then: backends that read ONNX themselves
  /// (external runners) take it as it is. Empty: such a backend gets the graph, exported.
  std::filesystem::path model;
  std::vector<std::pair<std::string, int64_t>> model_dims;
  /// Makes the graph again. An executable that may be compiled once more, for dims that its plan did not foresee, keeps this instead of
  /// the weights. Empty: it keeps them.
  std::function<Result<std::unique_ptr<ir::Graph>>()> reload;
};

struct SessionOptions {
  int num_threads = 0;              // 0: all cores
  Executor* executor = nullptr;     // null: the default pool
  size_t max_bytes = 0;             // of everything that a run holds but inputs and constants; 0: default_memory_limit()
  runtime::Observer* observer = nullptr;  // sees the steps of a plan; backends without plans ignore it. Outlives the session
  Interrupt interrupt;              // asked while the session is made, which is when a runner loads the model; not kept
};

/// Runs to time: until there are `runs` of them and `ms` milliseconds have passed.
struct Repeat {
  int runs = 1;
  double ms = 0;
};

/// What a session that lives in another process knows of it.
struct ProcessFigures {
  std::string runtime;              // "ONNX Runtime 1.30.0"
  double load_ms = 0;               // making the session there
  double last_run_ms = 0;           // of the last Session::run by that process's clock, without transfers; 0: none, or it does not say
  size_t peak_rss_bytes = 0;        // of that process so far
};

/// One user of an executable: owns buffers and bound dims. Not thread-safe; make one a thread.
class Session {
 public:
  virtual ~Session() = default;
  /// Inputs and outputs in the graph's order. Shapes and dtypes are checked against the graph's inputs; errors name the input.
  /// With equal shapes, runs after the first allocate nothing but the returned outputs.
  /// Stops with kCancelled or kDeadlineExceeded when `interrupt` says so; without a deadline, after kDefaultTimeLimit. A
  /// session may run again after any error.
  virtual Result<std::vector<HostValue>> run(std::span<const HostValue> inputs, const Interrupt& interrupt = {}) = 0;
  /// Milliseconds of each of several runs with the same inputs, outputs dropped. The time is that of the run alone: a session in
  /// another process gets the inputs once and reads the clock there.
  virtual Result<std::vector<double>> time(std::span<const HostValue> inputs, const Repeat& repeat, const Interrupt& interrupt = {});
  /// How the nodes of the last run ran, with what Step::placement of its plan counts; null: as the executable says. It may have
  /// been a variant of the executable, for dims that are 1. Holds until the next run.
  virtual const std::vector<Placement>* last_placement() const { return nullptr; }
  /// What it keeps between runs (backends/stateful); null: nothing.
  virtual States* states() { return nullptr; }
  /// Whether the last run may have written to memory that it was given (CompileOptions::updated_inputs); one that failed before it began has not.
  virtual bool began() const { return true; }
  /// Bytes of SessionOptions::max_bytes that the caller holds himself beside what runs take. Backends that count no bytes ignore it.
  virtual void set_aside(size_t bytes) { (void)bytes; }
  /// Bytes of the arena after the last run.
  virtual size_t arena_bytes() const { return 0; }
  /// The backend that took over after the executable's own failed, and runs since then; "": its own runs.
  virtual std::string_view taken_over_by() const { return {}; }
  /// Nullopt: it runs in this process.
  virtual Result<std::optional<ProcessFigures>> process() { return std::optional<ProcessFigures>(); }
};

/// A compiled model: immutable, shared by sessions of any threads.
class Executable {
 public:
  virtual ~Executable() = default;
  virtual Result<std::unique_ptr<Session>> create_session(const SessionOptions& options = {}) const = 0;
  virtual const std::vector<Placement>& placement() const = 0;
  virtual const CompileStats& stats() const = 0;
  /// Of its sessions.
  virtual std::span<const StateInfo> states() const { return {}; }
  /// What sessions run; null for backends without plans.
  virtual const runtime::PreparedPlan* executed_plan() const { return nullptr; }
  /// The backend whose code it is; "": the one that compiled it. Another one's where that failed and had it compiled there.
  virtual std::string_view code_of() const { return {}; }
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;
  /// Whether it is another runtime, in a process of its own (backends/external).
  virtual bool external() const { return false; }
  /// OK, or why this backend cannot run here (no device, no driver).
  virtual Status available() const = 0;
  /// What its compilations tell the passes of the target: PipelineOptions::target.
  virtual passes::TargetFacts target_facts(const CompileOptions&) const { return {}; }
  /// Whether CompileOptions::updated_inputs has an effect: only then is it worth while to give a state memory with room to grow.
  virtual bool updates_inputs() const { return false; }
  /// Whether it rounds factors as CompileOptions::precision says; others compute with them as they are.
  virtual bool rounds_factors() const { return false; }
  /// Whether it takes CompileOptions::tuning.
  virtual bool takes_tuning() const { return false; }
  /// kInvalidArgument or kUnsupported for options that no model could be compiled with here; as available(), it leaves nothing open.
  virtual Status check_options(const CompileOptions&) const { return {}; }
  /// Compiles an imported, unoptimised graph (the backend runs the passes that it wants). Takes a copy of what it keeps.
  virtual Result<std::shared_ptr<const Executable>> compile(const ir::Graph& graph, const CompileOptions& options) const = 0;
  /// The same of a graph that nobody else needs: weights that the executable keeps in another form go as soon as they have it.
  virtual Result<std::shared_ptr<const Executable>> compile_owned(std::unique_ptr<ir::Graph> graph, const CompileOptions& options) const {
    return compile(*graph, options);
  }

  /// All that an executable depends on beside its graph; equal texts give the same. Nullopt: this backend saves none with these options.
  virtual std::optional<std::string> save_key(const CompileOptions&) const { return std::nullopt; }
  /// An executable that was compiled with `keep_code`. kUnsupported for one that cannot be without its graph.
  virtual Result<SavedExecutable> save(const Executable&) const { return Status(Code::kUnsupported, "executables of this backend cannot be saved"); }
  /// The executable of what save() made, with these options and the same save_key. `interface`: a graph with the inputs of the one that
  /// was compiled. kInvalidArgument when the bytes are damaged.
  virtual Result<std::shared_ptr<const Executable>> restore(std::span<const std::byte>, const std::shared_ptr<Buffer>& weights,
                                                            const ir::Graph& interface, const CompileOptions&) const {
    (void)weights, (void)interface;
    return Status(Code::kUnsupported, "executables of this backend cannot be saved");
  }
};

/// The name of another backend that runs the session of what `backend` compiled, as after the loss of a device; "": there is none.
std::string_view taken_over_by(const Backend& backend, const Executable& executable, const Session& session);

/// By name: one of all_backends(), or `exec:COMMAND`, a runner that the user has written. Null when there is no such name.
const Backend* find_backend(std::string_view name);
/// reference, cpu, vulkan, then the external runners that come with Tenon, in this order.
std::span<const Backend* const> all_backends();

}  // namespace tenon::backends
