#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "backends/vulkan/device.h"
#include "support/tensor.h"

namespace tenon::backends::vulkan {

/// Memory of a session that the host and kernels share by the host's address: arenas and outputs. What nobody holds any more serves the
/// next that is as large. Holders may be on any thread, and outlive this.
class Regions : public std::enable_shared_from_this<Regions> {
 public:
  explicit Regions(std::shared_ptr<const Device> device) : device_(std::move(device)) {}

  struct Region {
    mutable std::unique_ptr<Memory> memory;  // null once detached
    std::shared_ptr<std::byte> shadow;  // the host's bytes where the memory is not mapped: pages that nobody touches take nothing
    std::byte* host = nullptr;
    size_t size = 0;
  };
  struct Place {
    std::shared_ptr<const Region> region;  // null: the address lies in none
    size_t offset = 0;
    uint64_t address() const { return region->memory->address() + offset; }
  };

  Result<std::shared_ptr<Buffer>> allocate(size_t bytes);
  Place find(const std::byte* data);
  /// Takes back the memory behind a shadow, which its holder keeps.
  void detach(const std::byte* data);

 private:
  void give_back(std::shared_ptr<const Region> region);
  Result<std::shared_ptr<const Region>> make(size_t bytes);

  const std::shared_ptr<const Device> device_;
  std::mutex mutex_;
  std::map<const std::byte*, std::shared_ptr<const Region>> held_;  // by first byte
  std::vector<std::shared_ptr<const Region>> free_;
  std::vector<std::unique_ptr<Memory>> detached_;
};

}  // namespace tenon::backends::vulkan
