#pragma once

#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "backends/vulkan/device.h"
#include "runtime/device.h"

namespace tenon::backends::vulkan {

/// The pipelines of a plan's kernels, in the plan's order.
using Pipelines = std::vector<std::unique_ptr<Pipeline>>;

/// Runs one session's dispatches on a Vulkan device. Arenas and outputs live in mapped device memory; inputs and the
/// results of host calls are copied there for each run, constants once.
class SessionDevice final : public runtime::Device {
 public:
  static Result<std::shared_ptr<SessionDevice>> create(std::shared_ptr<const vulkan::Device> device,
                                                       std::shared_ptr<const Pipelines> pipelines);

  Result<std::shared_ptr<Buffer>> allocate(size_t bytes) override;
  Status dispatch(int32_t kernel, std::span<const runtime::DeviceOperand> operands, std::span<const int64_t> dims,
                  int64_t grid) override;
  Result<int32_t> finish() override;

 private:
  struct Region {
    std::weak_ptr<DeviceBuffer> buffer;
    size_t size;
    uint64_t address;
  };
  SessionDevice() = default;
  Result<uint64_t> address_of(const runtime::DeviceOperand& operand);
  Result<uint64_t> upload(const runtime::DeviceOperand& operand);

  std::shared_ptr<const vulkan::Device> device_;
  std::shared_ptr<const Pipelines> pipelines_;
  std::unique_ptr<Stream> stream_;
  std::map<const std::byte*, Region> regions_;  // by first byte: what allocate() gave out
  std::unordered_map<const std::byte*, std::unique_ptr<DeviceBuffer>> constants_;
  std::vector<std::unique_ptr<DeviceBuffer>> staging_;  // of this recording, reused after finish()
  size_t staged_ = 0;
  std::vector<uint64_t> addresses_;
};

}  // namespace tenon::backends::vulkan
