#include "support/interrupt.h"

namespace tenon {

Status Interrupt::look() const {
  if (cancel && cancel->load(std::memory_order_relaxed)) return Status(Code::kCancelled, "the work was cancelled");
  if (deadline && std::chrono::steady_clock::now() >= *deadline)
    return Status(Code::kDeadlineExceeded, "the time limit has passed", {}, "allow more time, or give less to do");
  return {};
}

}  // namespace tenon
