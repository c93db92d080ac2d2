#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>

#include "runtime/plan.h"

namespace tenon::runtime {

/// One step that a session has executed. The steps of its bodies come before it.
struct StepEvent {
  const Plan& plan;                 // the one the step belongs to: the model's, or a body of If, Loop or Scan
  int32_t step = 0;                 // in plan.steps
  int depth = 0;                    // of the plan: 0 is the model's
  std::chrono::steady_clock::time_point start, end;
  int threads = 1;                  // of a dispatch that it used; of a call on the host that it was allowed
  int64_t work = -1;                // scalar operations, by the plan's estimate; -1: unknown
  size_t read_bytes = 0;            // of the tensors that it reads, each once
  size_t written_bytes = 0;
  std::span<const std::optional<int64_t>> symbols;  // what the dims of the plan are known to be after it
};

/// One tensor's place in the arena of the model's plan, from one step to another.
struct ArenaRange {
  ValueIdx value = -1;
  size_t offset = 0, bytes = 0;
  int32_t first_step = 0, last_step = 0;  // both included
};

/// Sees what a session executes. Called from the thread that runs the session, between steps; a session without one pays a
/// branch a step. With one, a session on a device waits for it after every step; where the device measures its dispatches itself, after every
/// run of them, and the events of a run come one after the other, at its beginning.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void on_step(const StepEvent& event) = 0;
  /// After the model's plan has been placed for the shapes of a run: all that is placed so far, those that no step uses aside.
  /// Again for values whose size a step decides, once it has. Runs with the same shapes keep the place.
  virtual void on_arena(const Plan&, std::span<const ArenaRange>) {}
  /// Whether on_value is wanted for this value of the model's plan. Asked of aliases as well, not of inputs, constants and their aliases, and
  /// before or after the step that wrote it last.
  virtual bool wants(const Plan&, ValueIdx) const { return false; }
  /// Its bytes are those of the arena: they change after the call. An error ends the run.
  virtual Status on_value(const Plan&, ValueIdx, const HostValue&) { return {}; }
};

}  // namespace tenon::runtime
