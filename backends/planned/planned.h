#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "backends/backend.h"
#include "passes/pass.h"
#include "runtime/session.h"

namespace tenon::backends {

/// What compilations tell the passes, but for the target's vectors.
passes::PipelineOptions pipeline_options(const CompileOptions& options);

/// An executable that is a plan: what the cpu and vulkan backends share. They add what the plan's kernels need to live.
///
/// A plan takes different symbols that meet in a broadcast as equal, or the later one as 1. Inputs in which the first one is 1
/// need other shapes: the plan's checks refuse them, and the session turns to a variant of the executable, compiled then, in
/// which every symbolic dim of the inputs that is 1 in this run is the number 1. Where none is, but an expression of them, all
/// are the numbers that they are.
class PlannedExecutable : public Executable, public std::enable_shared_from_this<PlannedExecutable> {
 public:
  Result<std::unique_ptr<Session>> create_session(const SessionOptions& options) const override;
  const std::vector<Placement>& placement() const override { return rows; }
  const CompileStats& stats() const override { return figures; }
  const runtime::PreparedPlan* executed_plan() const override { return plan.get(); }

  /// Keeps what variants are compiled from, where the graph has symbols that could need one. Before any pass.
  void keep_source(const Backend& backend, const ir::Graph& source, const CompileOptions& options);

  std::unique_ptr<ir::Graph> graph;  // host calls evaluate its nodes
  std::shared_ptr<const runtime::PreparedPlan> plan;
  std::vector<Placement> rows;
  CompileStats figures;

 private:
  class PlannedSession;
  using Symbols = std::vector<std::pair<int, int64_t>>;  // with their values, sorted

  /// Where a session's dispatches run; null is the CPU.
  virtual Result<std::shared_ptr<runtime::Device>> create_device() const { return std::shared_ptr<runtime::Device>(); }

  Result<std::unique_ptr<runtime::Session>> create_inner(const SessionOptions& options) const;
  /// Symbols of the inputs that are 1 in these values, or, when none is, all of them; none when there is no source.
  Symbols units(std::span<const HostValue> inputs) const;
  /// The executable in which these symbols are numbers, kept for a while.
  Result<std::shared_ptr<const Executable>> variant(const Symbols& symbols, const Interrupt& interrupt) const;

  /// source_ with its weights.
  Result<std::unique_ptr<ir::Graph>> whole_source() const;

  std::unique_ptr<const ir::Graph> source_;  // without weights where options_ can reload them
  const Backend* backend_ = nullptr;
  CompileOptions options_;
  mutable std::mutex mutex_;
  mutable std::map<Symbols, std::shared_ptr<const Executable>> variants_;
};

}  // namespace tenon::backends
