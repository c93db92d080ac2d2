#pragma once

#include <memory>
#include <span>
#include <vector>

#include "runtime/device.h"
#include "runtime/observer.h"
#include "runtime/prepare.h"
#include "support/executor.h"
#include "support/interrupt.h"

namespace tenon::runtime {

struct SessionOptions {
  int num_threads = 0;                     // 0: all of the executor's
  Executor* executor = nullptr;            // null: the default pool
  std::shared_ptr<Device> device;          // runs the dispatches; null: the CPU
  size_t max_bytes = 0;                    // of arenas, outputs and what host functions make; 0: default_memory_limit()
  Observer* observer = nullptr;            // sees what runs; outlives the session
  int64_t max_loop_trips = int64_t{1} << 21;    // of one Loop
};

/// Runs a prepared plan, which any number of sessions share. Not thread-safe itself: one a thread.
/// A run with the same shapes as the one before it allocates nothing but the returned outputs (and what host functions
/// allocate); results do not depend on the number of threads.
class Session {
 public:
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<const PreparedPlan> plan, const SessionOptions& options = {});
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// One value for each input of the plan. kInvalidArgument names the input that does not fit; kResourceExhausted before
  /// anything is allocated that does not fit the limit. Without a deadline, a run has kDefaultTimeLimit. Of an input that the plan
  /// updates (PreparedPlan::updated) the bytes change, and outputs that are its memory share them.
  Result<std::vector<HostValue>> run(std::span<const HostValue> inputs, const Interrupt& interrupt = {});

  /// Whether the last run failed because dims did not fit of which one is 1: a broadcast that the plan did not foresee.
  bool failed_at_unit_dim() const;

  /// Whether the last run began its first step: one that failed before left what it was given as it was.
  bool began() const;

  /// Bytes of the arenas, bodies' included.
  size_t arena_bytes() const;

  /// Bytes of `max_bytes` that the caller holds himself beside what runs take; they have the rest.
  void set_aside(size_t bytes);

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tenon::runtime
