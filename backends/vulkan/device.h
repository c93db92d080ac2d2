#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "backends/vulkan/loader.h"
#include "codegen/spirv/emit.h"
#include "codegen/target.h"

namespace tenon::backends::vulkan {

class Device;

/// A buffer in host-visible, coherent memory, mapped for its whole life: the host writes at `host()`, kernels read at
/// `address()`.
class DeviceBuffer {
 public:
  ~DeviceBuffer();
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  std::byte* host() const { return host_; }
  uint64_t address() const { return address_; }
  size_t size() const { return size_; }

 private:
  friend class Device;
  DeviceBuffer() = default;
  std::shared_ptr<const Device> device_;
  VkBuffer buffer_ = VK_NULL_HANDLE;
  VkDeviceMemory memory_ = VK_NULL_HANDLE;
  std::byte* host_ = nullptr;
  uint64_t address_ = 0;
  size_t size_ = 0;
};

struct DeviceInfo {
  std::string name, driver;
  uint32_t api_version = 0;
  bool is_cpu = false;              // a software device
  bool float16 = false, float64 = false, int8 = false, int16 = false, storage8 = false, storage16 = false;
  codegen::spirv::EmitOptions emit; // what kernels for this device may use
  codegen::Target target;           // what their schedules go by
};

/// One kernel as a pipeline. Owned by the device's user; the device must live as long.
class Pipeline {
 public:
  ~Pipeline();
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;
  /// Invocations that execute one grid index together (kir::Kernel::lanes); 1: each executes one of its own.
  int lanes = 1;

 private:
  friend class Device;
  friend class Stream;
  Pipeline() = default;
  std::shared_ptr<const Device> device_;
  VkPipeline pipeline_ = VK_NULL_HANDLE;
};

/// A Vulkan 1.2 device with buffer device addresses and 64-bit integers, and one compute queue. Thread-safe.
class Device : public std::enable_shared_from_this<Device> {
 public:
  /// The best device here: discrete before integrated before software. An error says what is missing. With
  /// TENON_VULKAN_VALIDATION=1 in the environment the Khronos validation layer is enabled where it is installed.
  static Result<std::shared_ptr<Device>> open();
  ~Device();

  const DeviceInfo& info() const { return info_; }
  Result<std::unique_ptr<DeviceBuffer>> allocate(size_t bytes) const;
  Result<std::unique_ptr<Pipeline>> create_pipeline(std::span<const uint32_t> spirv, int lanes = 1) const;

 private:
  friend class DeviceBuffer;
  friend class Pipeline;
  friend class Stream;
  Device() = default;
  Status create_instance();
  Status choose();
  Status create_device();

  std::shared_ptr<Loader> vk_;
  VkInstance instance_ = VK_NULL_HANDLE;
  VkPhysicalDevice physical_ = VK_NULL_HANDLE;
  VkDevice device_ = VK_NULL_HANDLE;
  VkQueue queue_ = VK_NULL_HANDLE;
  uint32_t family_ = 0;
  uint32_t memory_type_ = 0;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  DeviceInfo info_;
  mutable std::mutex queue_mutex_;
};

/// Records dispatches in order and runs them: each sees the writes of those before. Not thread-safe; one a session.
class Stream {
 public:
  static Result<std::unique_ptr<Stream>> create(std::shared_ptr<const Device> device);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// Appends a dispatch over grid indices [0, grid). `addresses` are device addresses of the bindings.
  Status dispatch(const Pipeline& pipeline, std::span<const uint64_t> addresses, std::span<const int64_t> dims, int64_t grid);
  /// Submits what was recorded and waits. The result is the last non-zero check code (kir::CheckCode), 0 for none.
  Result<int32_t> flush();
  bool empty() const { return recorded_ == 0; }

 private:
  Stream() = default;
  Status begin();
  Result<uint64_t> parameters(std::span<const uint64_t> addresses, std::span<const int64_t> dims);

  std::shared_ptr<const Device> device_;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  VkCommandBuffer commands_ = VK_NULL_HANDLE;
  VkFence fence_ = VK_NULL_HANDLE;
  std::vector<std::unique_ptr<DeviceBuffer>> blocks_;  // parameter blocks of the recording, reused after a flush
  size_t block_ = 0, used_ = 0;
  std::unique_ptr<DeviceBuffer> check_code_;
  int recorded_ = 0;
};

}  // namespace tenon::backends::vulkan
