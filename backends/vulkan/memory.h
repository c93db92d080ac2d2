#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "backends/vulkan/info.h"
#include "backends/vulkan/loader.h"

namespace tenon::backends::vulkan {

class Device;

/// What memory is for. All of it can be bound by address and copied from and to.
enum class MemoryKind : uint8_t {
  kDevice,    // tensors: the device's own; mapped unless the device is staged
  kParameters,  // mapped, near to the device where such memory is there: the host writes it, kernels read it
  kHost,      // mapped, in the host's caches where such memory is there: what is copied from and to the device
};

/// Bytes of one kind, until it is destroyed. It keeps the device alive.
class Memory {
 public:
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  size_t size() const { return size_; }
  uint64_t address() const { return address_; }
  std::byte* host() const { return host_; }  // null where it is not mapped
  VkBuffer buffer() const { return buffer_; }
  uint64_t offset() const { return offset_; }  // in the buffer

 private:
  friend class Allocator;
  Memory() = default;
  std::shared_ptr<const Device> device_;
  VkBuffer buffer_ = VK_NULL_HANDLE;
  uint64_t offset_ = 0, address_ = 0;
  std::byte* host_ = nullptr;
  size_t size_ = 0, taken_ = 0;
  MemoryKind kind_ = MemoryKind::kDevice;
  uint32_t block_ = 0;
};

/// What a device has given out so far.
struct MemoryFigures {
  uint64_t allocations = 0;        // vkAllocateMemory, ever
  uint64_t held = 0;               // bytes of blocks
  uint64_t used = 0;               // of these, in use
};

/// Shares out few large blocks of a device's memory. Thread-safe.
class Allocator {
 public:
  explicit Allocator(const Device& device) : device_(device) {}
  ~Allocator();
  Status prepare();
  /// kResourceExhausted says how many bytes are needed and how many are free.
  Result<std::unique_ptr<Memory>> allocate(size_t bytes, MemoryKind kind);
  /// Whether so much could be allocated now; an error as above.
  Status check(uint64_t bytes, MemoryKind kind);
  MemoryFigures figures();
  void give_back(const Memory& memory);

  static constexpr size_t kAlignment = 256;

 private:
  struct Block {
    VkBuffer buffer = VK_NULL_HANDLE;
    VkDeviceMemory memory = VK_NULL_HANDLE;
    uint64_t address = 0, size = 0;
    std::byte* host = nullptr;
    MemoryKind kind = MemoryKind::kDevice;
    std::map<uint64_t, uint64_t> free;  // offset → bytes
    bool whole() const { return free.size() == 1 && free.begin()->second == size; }
  };
  uint64_t available(uint32_t type) const;
  Status refuse(uint64_t bytes, uint64_t available, MemoryKind kind) const;
  Result<uint32_t> add_block(uint64_t bytes, MemoryKind kind);
  Status fill_block(Block& block) const;
  void destroy(Block& block);

  const Device& device_;
  std::mutex mutex_;
  uint32_t types_[3] = {};
  std::map<uint32_t, Block> blocks_;
  uint32_t next_ = 0;
  MemoryFigures figures_;
};

}  // namespace tenon::backends::vulkan
