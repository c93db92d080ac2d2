#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "runtime/session.h"

namespace tenon::backends {

/// An executable that is a plan: what the cpu and vulkan backends share. They add what the plan's kernels need to live.
class PlannedExecutable : public Executable, public std::enable_shared_from_this<PlannedExecutable> {
 public:
  Result<std::unique_ptr<Session>> create_session(const SessionOptions& options) const override {
    runtime::SessionOptions inner;
    inner.num_threads = options.num_threads;
    inner.executor = options.executor;
    inner.max_arena_bytes = options.max_arena_bytes;
    TENON_ASSIGN_OR_RETURN(inner.device, create_device());
    TENON_ASSIGN_OR_RETURN(auto session, runtime::Session::create(plan, inner));
    return std::unique_ptr<Session>(std::make_unique<PlannedSession>(shared_from_this(), std::move(session)));
  }
  const std::vector<Placement>& placement() const override { return rows; }
  const CompileStats& stats() const override { return figures; }

  std::unique_ptr<ir::Graph> graph;  // host calls evaluate its nodes
  std::shared_ptr<const runtime::PreparedPlan> plan;
  std::vector<Placement> rows;
  CompileStats figures;

 private:
  class PlannedSession final : public Session {
   public:
    PlannedSession(std::shared_ptr<const Executable> owner, std::unique_ptr<runtime::Session> session)
        : owner_(std::move(owner)), session_(std::move(session)) {}
    Result<std::vector<HostValue>> run(std::span<const HostValue> inputs) override { return session_->run(inputs); }
    size_t arena_bytes() const override { return session_->arena_bytes(); }

   private:
    std::shared_ptr<const Executable> owner_;  // keeps code and graph alive
    std::unique_ptr<runtime::Session> session_;
  };

  /// Where a session's dispatches run; null is the CPU.
  virtual Result<std::shared_ptr<runtime::Device>> create_device() const { return std::shared_ptr<runtime::Device>(); }
};

}  // namespace tenon::backends
