#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "support/tensor.h"

namespace tenon::runtime {

/// Memory for the outputs of a session. What is large comes back when the caller is through with it and serves a later run:
/// fresh pages cost more to touch than many kernels cost to run. A block has some room beyond the bytes that it was made for, so
/// that outputs which grow from run to run (the keys and values of a decoder) find it again; pages that nobody touches take no
/// memory. Callers on other threads may let go of theirs at any time, also after the session.
class OutputPool : public std::enable_shared_from_this<OutputPool> {
 public:
  /// Keeps at most `blocks` that nobody uses: as many as a run has outputs.
  explicit OutputPool(size_t blocks) : blocks_(blocks) {}
  /// As Buffer::allocate.
  Result<std::shared_ptr<Buffer>> allocate(size_t bytes);

 private:
  void give_back(std::shared_ptr<Buffer> block);
  Result<std::shared_ptr<Buffer>> fresh(size_t bytes);

  const size_t blocks_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Buffer>> free_;
  std::shared_ptr<Buffer> slab_;  // that new blocks are cut from, and how much of it is
  size_t slab_used_ = 0;
};

}  // namespace tenon::runtime
