#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "support/status.h"
#include "support/tensor.h"

namespace tenon::runtime {

/// A buffer argument of a dispatch as the host sees it.
struct DeviceOperand {
  const std::byte* data;
  size_t bytes;
  bool constant;                    // never changes while the plan lives: may be uploaded once
};

/// Where a session's dispatches run when that is not the CPU. One object a session; not thread-safe.
class Device {
 public:
  virtual ~Device() = default;
  /// Memory that both the host and the device read and write at the same offsets; arenas and outputs live in it.
  virtual Result<std::shared_ptr<Buffer>> allocate(size_t bytes) = 0;
  /// Queues a kernel of the plan over [0, grid); it sees the writes of those queued before. Operands outside memory of
  /// allocate() are read-only: their bytes are taken now.
  virtual Status dispatch(int32_t kernel, std::span<const DeviceOperand> operands, std::span<const int64_t> dims,
                          int64_t grid) = 0;
  /// Waits for all that is queued; the host may read the results then. The last non-zero check code, or 0.
  virtual Result<int32_t> finish() = 0;
};

}  // namespace tenon::runtime
