#pragma once

#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "backends/vulkan/device.h"

namespace tenon::backends::vulkan {

/// The constants of an executable on a device, uploaded once for all of its sessions. Immutable.
class Constants {
 public:
  /// Bytes by where the host has them; equal places count once. kResourceExhausted, before anything is allocated, when they do not fit.
  static Result<std::shared_ptr<const Constants>> upload(const std::shared_ptr<const Device>& device, std::vector<std::span<const std::byte>> tensors);
  /// The device's address of what the host has here; 0: it is not among them.
  uint64_t find(std::span<const std::byte> tensor) const;
  size_t bytes() const { return bytes_; }

 private:
  struct Place {
    size_t size = 0;
    uint64_t address = 0;
  };
  Constants() = default;
  std::vector<std::unique_ptr<Memory>> blocks_;
  std::unordered_map<const std::byte*, Place> places_;
  size_t bytes_ = 0;
};

}  // namespace tenon::backends::vulkan
