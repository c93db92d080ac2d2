#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "backends/vulkan/instance.h"
#include "backends/vulkan/memory.h"
#include "support/disk_cache.h"

namespace tenon::backends::vulkan {

/// Makes SPIR-V of a kernel with indices of 64 bits, when it is asked for; null: there is none.
using WideWords = std::function<Result<std::vector<uint32_t>>()>;

/// One kernel as a pipeline; keeps its device alive.
class Pipeline {
 public:
  ~Pipeline();
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;
  VkPipeline handle() const { return pipeline_; }
  /// Invocations that execute one grid index together (kir::Kernel::lanes); 1: each executes one of its own.
  int lanes = 1;
  bool cached = false;              // the driver had it from a cache, as far as it says
  WideWords wide_words;             // of the same kernel; null: this one has indices of 64 bits

  /// For sizes beyond what EmitOptions::narrow_indices allows; emitted and compiled when it is first asked for.
  Result<const Pipeline*> wide() const;

 private:
  friend class Device;
  Pipeline() = default;
  std::shared_ptr<const Device> device_;
  mutable std::mutex wide_mutex_;
  mutable std::unique_ptr<Pipeline> wide_;
  VkPipeline pipeline_ = VK_NULL_HANDLE;
};

/// A Vulkan 1.2 device with buffer device addresses and 64-bit integers, and one compute queue. Thread-safe.
///
/// The loss of a device is final: it is kept, every later call fails with it, and a new Device must be opened.
class Device : public std::enable_shared_from_this<Device> {
 public:
  static Result<std::shared_ptr<Device>> open(const DeviceOptions& options = DeviceOptions::from_environment());
  ~Device();

  const DeviceInfo& info() const { return info_; }
  /// Of device, driver and build of Tenon: where it is equal, the same kernels are made.
  std::string identity() const;
  Result<std::unique_ptr<Memory>> allocate(size_t bytes, MemoryKind kind = MemoryKind::kDevice) const { return allocator_->allocate(bytes, kind); }
  Allocator& allocator() const { return *allocator_; }
  Result<std::unique_ptr<Pipeline>> create_pipeline(std::span<const uint32_t> spirv, int lanes = 1) const;

  /// What pipelines are made from faster. Once a device at most, before the first pipeline; the folder keeps them from run to run.
  void use_cache(std::shared_ptr<const DiskCache> cache) const;
  /// Writes what is new to the folder.
  void save_cache() const;

  /// OK, or how the device was lost.
  Status status() const;
  bool lost() const { return lost_; }
  /// vulkan::check, and remembers a loss.
  Status check(VkResult result, std::string_view call) const;
  /// Gives the device up, because it does not answer: nothing of it is destroyed any more, as it may still be at work.
  Status abandon(std::string_view why) const;
  bool abandoned() const { return abandoned_; }
  /// After a loss: waits until nothing is in flight, so that what it used can be destroyed. Drivers promise that to end.
  void settle() const;

  const Loader& vk() const { return instance_->vk(); }
  VkDevice handle() const { return device_; }
  VkPhysicalDevice physical() const { return instance_->physical(info_.index); }
  VkPipelineLayout layout() const { return layout_; }
  uint32_t family() const { return family_; }
  uint64_t max_bytes() const { return max_bytes_; }
  Status submit(const VkSubmitInfo& submit) const;

  static constexpr VkBufferUsageFlags kBufferUsage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT |
                                                     VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT;

 private:
  Device() = default;
  Status create();

  std::shared_ptr<const Instance> instance_;
  DeviceInfo info_;
  VkDevice device_ = VK_NULL_HANDLE;
  VkQueue queue_ = VK_NULL_HANDLE;
  uint32_t family_ = 0;
  uint64_t max_bytes_ = 0;
  bool has_feedback_ = false;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  std::unique_ptr<Allocator> allocator_;
  mutable std::mutex queue_mutex_, loss_mutex_, cache_mutex_;
  mutable std::atomic<bool> lost_ = false, abandoned_ = false;
  mutable Status loss_;
  mutable std::shared_ptr<const DiskCache> disk_;
  mutable std::atomic<VkPipelineCache> cache_ = VK_NULL_HANDLE;
  mutable size_t saved_bytes_ = 0;
};

}  // namespace tenon::backends::vulkan
