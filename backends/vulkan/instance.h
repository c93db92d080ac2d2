#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "backends/vulkan/info.h"
#include "backends/vulkan/loader.h"

namespace tenon::backends::vulkan {

/// The Vulkan of this process: the loader and the devices that it finds. Thread-safe.
class Instance {
 public:
  /// kNotFound or kUnsupported, with what to install, without a loader, a driver, or one of Vulkan 1.2.
  static Result<std::shared_ptr<const Instance>> open(const DeviceOptions& options);
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  const Loader& vk() const { return *vk_; }
  const std::shared_ptr<Loader>& loader() const { return vk_; }
  /// Every device, the unusable ones with the reason.
  std::span<const DeviceInfo> devices() const { return devices_; }
  VkPhysicalDevice physical(int index) const { return physical_[static_cast<size_t>(index)]; }
  /// The usable device that `wanted` names (DeviceOptions::device). kNotFound lists the devices, or says why none can be used.
  Result<int> choose(std::string_view wanted) const;
  /// Errors and warnings that the validation layer has reported in this process.
  static int validation_messages();

 private:
  Instance() = default;
  Status create(const DeviceOptions& options);
  Status find_devices(const DeviceOptions& options);

  std::shared_ptr<Loader> vk_;
  VkInstance instance_ = VK_NULL_HANDLE;
  VkDebugUtilsMessengerEXT messenger_ = VK_NULL_HANDLE;
  std::vector<VkPhysicalDevice> physical_;
  std::vector<DeviceInfo> devices_;
};

/// Whether the device has the extension.
bool has_extension(const Loader& vk, VkPhysicalDevice device, std::string_view name);
/// The family of the queue that kernels run on: one for compute alone where there is one.
std::optional<uint32_t> compute_family(const Loader& vk, VkPhysicalDevice device);
/// What the device is and can do; `refused` says what it lacks.
DeviceInfo describe(const Loader& vk, VkInstance instance, VkPhysicalDevice device, int index, const DeviceOptions& options);
/// Sizes, and where the driver says, what is free now.
std::vector<MemoryHeap> memory_heaps(const Loader& vk, VkPhysicalDevice device);

}  // namespace tenon::backends::vulkan
