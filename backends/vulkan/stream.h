#pragma once

#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "backends/vulkan/device.h"
#include "support/interrupt.h"

namespace tenon::backends::vulkan {

/// Work for a device in order, submitted in few pieces; a timeline semaphore tells how far it is. Copies between the host and memory
/// that it cannot map go through a ring of staging memory. Not thread-safe; one a session.
class Stream {
 public:
  static Result<std::unique_ptr<Stream>> create(std::shared_ptr<const Device> device);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  const Device& device() const { return *device_; }

  /// Appends a recorded command buffer, which must not be recorded again before wait(). `ns`: what it takes, about.
  Status enqueue(VkCommandBuffer commands, double ns);
  /// Appends copies. The host's bytes are taken now, and are there after wait().
  Status upload(std::span<const std::byte> from, const Memory& to, size_t offset);
  Status download(const Memory& from, size_t offset, std::span<std::byte> to);
  /// Lets the device begin.
  Status flush();
  /// Until all is done. A device that does not answer for long is lost.
  Status wait();
  /// Whether so many nanoseconds of work are queued that the caller should look after its interrupt; then wait_for_room().
  bool crowded() const { return in_flight_.size() >= kMostInFlight; }
  Status wait_for_room();
  /// Submissions so far.
  uint64_t submissions() const { return submitted_; }

  /// A submission of more than this is split: drivers give up on what takes seconds.
  static constexpr double kMostNs = 100e6;

 private:
  static constexpr size_t kParts = 4, kMostInFlight = 2;
  struct Pending {  // a download: from the ring to the host once the copy is done
    const std::byte* from;
    std::span<std::byte> to;
  };
  struct Part {     // of the ring
    size_t used = 0;
    uint64_t value = 0;  // of the timeline: what uses it
    std::vector<Pending> pending;
  };
  struct Commands {
    VkCommandBuffer buffer = VK_NULL_HANDLE;
    uint64_t value = 0;
  };
  Stream() = default;
  Status wait_for(uint64_t value);
  /// Room in the ring for at most `bytes`.
  Result<std::span<std::byte>> room(size_t bytes);
  Status turn();
  Status begin_copies();
  Status end_copies();
  Status copy(VkBuffer from, uint64_t from_offset, VkBuffer to, uint64_t to_offset, uint64_t bytes);
  static void drain(Part& part);

  std::shared_ptr<const Device> device_;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  VkSemaphore timeline_ = VK_NULL_HANDLE;
  uint64_t submitted_ = 0, done_ = 0;
  std::vector<VkCommandBuffer> queued_;
  double queued_ns_ = 0;
  std::deque<uint64_t> in_flight_;
  std::unique_ptr<Memory> ring_;
  Part parts_[kParts];
  size_t part_ = 0;
  std::deque<Commands> copies_;           // command buffers for copies, the oldest first
  VkCommandBuffer open_ = VK_NULL_HANDLE;  // the one that copies are being added to
};

}  // namespace tenon::backends::vulkan
