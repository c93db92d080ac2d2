#pragma once

#include "ir/dim.h"
#include "ir/ops/nn_helpers.h"

/// What an evaluation may take: time and memory beside its outputs.
namespace tenon::ir {

/// Counts the steps of nested loops and asks the interrupt once every few million of them.
class StepCounter {
 public:
  explicit StepCounter(const Interrupt& interrupt) : interrupt_(interrupt) {}

  /// kCancelled or kDeadlineExceeded when the work must stop; called before (or after) that many simple steps.
  Status add(int64_t steps) {
    left_ -= steps < kEvery ? steps : kEvery;
    if (left_ > 0) return {};
    left_ = kEvery;
    return interrupt_.check();
  }

 private:
  static constexpr int64_t kEvery = int64_t{1} << 21;
  const Interrupt& interrupt_;
  int64_t left_ = kEvery;
};

/// kResourceExhausted when scratch of this size, or a size that overflows, is beyond the limit.
inline Status check_scratch(const EvalContext& c, Dim bytes) {
  if (bytes.is_valid() && bytes.value() <= c.max_bytes) return {};
  return eval_error(c, Code::kResourceExhausted, "the work needs {} bytes of memory beside its results, more than the limit of {}", to_string(bytes), c.max_bytes);
}

}  // namespace tenon::ir
