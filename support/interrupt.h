#pragma once

#include <atomic>
#include <chrono>
#include <optional>

#include "support/status.h"

namespace tenon {

/// When work stops before it is done: at a point in time, or because another thread says so. Long work asks check() every few
/// milliseconds of its own.
struct Interrupt {
  const std::atomic<bool>* cancel = nullptr;  // stops soon after this becomes true
  std::optional<std::chrono::steady_clock::time_point> deadline;

  static Interrupt after(std::chrono::steady_clock::duration time) { return {nullptr, std::chrono::steady_clock::now() + time}; }

  /// kCancelled or kDeadlineExceeded when the work must stop.
  Status check() const {
    if (!cancel && !deadline) return {};
    return look();
  }
  /// The same with a deadline in any case: `time` from now where there was none.
  Interrupt or_after(std::chrono::steady_clock::duration time) const { return {cancel, deadline ? deadline : after(time).deadline}; }

 private:
  Status look() const;
};

/// What a run may take unless its options say otherwise.
inline constexpr std::chrono::hours kDefaultTimeLimit{1};

}  // namespace tenon
