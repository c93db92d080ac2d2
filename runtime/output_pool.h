#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "support/tensor.h"

namespace tenon::runtime {

/// Memory for the outputs of a session. What is large comes back when the caller is through with it and serves the next run:
/// fresh pages cost more to touch than many kernels cost to run. Callers on other threads may let go of theirs at any time,
/// also after the session.
class OutputPool : public std::enable_shared_from_this<OutputPool> {
 public:
  /// As Buffer::allocate.
  Result<std::shared_ptr<Buffer>> allocate(size_t bytes);

 private:
  void give_back(std::shared_ptr<Buffer> block);

  std::mutex mutex_;
  std::vector<std::shared_ptr<Buffer>> free_;
};

}  // namespace tenon::runtime
