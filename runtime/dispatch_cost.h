#pragma once

#include <cstddef>
#include <cstdint>

namespace tenon::runtime {

/// What one dispatch does, as far as the plan knows.
struct DispatchCost {
  int64_t grid = 0;
  int64_t work = -1;                // scalar operations, about; -1: unknown
  size_t read = 0, written = 0;     // bytes of the tensors that it binds, each once
};

/// Nanoseconds that one thread takes, about and rather too few: the larger one of what the operations and what the bytes
/// take, where no more is read than the operations can touch. Negative: unknown.
int64_t predicted_ns(const DispatchCost& cost);

/// Threads that pay for waking and joining them. Unknown costs get all.
int threads_for(const DispatchCost& cost, int max_threads);

/// The same for one of the equal rounds that a dispatch consists of: the threads are awake, from the round before.
int threads_for_round(const DispatchCost& dispatch, int64_t rounds, int max_threads);

/// Whether a run whose dispatches take so long is worth more than one thread: a shorter one is over before a sleeping
/// thread has woken up.
bool worth_threads(int64_t run_ns);

}  // namespace tenon::runtime
