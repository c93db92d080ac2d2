#include "backends/vulkan/stream.h"

#include <algorithm>
#include <cstring>

namespace tenon::backends::vulkan {
namespace {

constexpr size_t kPartBytes = size_t{4} << 20;
constexpr uint64_t kPatienceNs = 120'000'000'000;  // with a submission of about 100 ms, on the slowest of devices
constexpr uint64_t kPatienceWithSoftwareNs = 10 * kPatienceNs;  // which may compile all its kernels when they first run, on busy processors

}  // namespace

Result<std::unique_ptr<Stream>> Stream::create(std::shared_ptr<const Device> device) {
  TENON_RETURN_IF_ERROR(device->status());
  std::unique_ptr<Stream> stream(new Stream());
  stream->device_ = std::move(device);
  const Device& d = *stream->device_;
  const VkCommandPoolCreateInfo pool{VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, nullptr, VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT, d.family()};
  TENON_RETURN_IF_ERROR(d.check(d.vk().vkCreateCommandPool(d.handle(), &pool, nullptr, &stream->pool_), "vkCreateCommandPool"));
  const VkSemaphoreTypeCreateInfo type{VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO, nullptr, VK_SEMAPHORE_TYPE_TIMELINE, 0};
  const VkSemaphoreCreateInfo semaphore{VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, &type, 0};
  TENON_RETURN_IF_ERROR(d.check(d.vk().vkCreateSemaphore(d.handle(), &semaphore, nullptr, &stream->timeline_), "vkCreateSemaphore"));
  return stream;
}

Stream::~Stream() {
  const Device& d = *device_;
  if (done_ < submitted_) static_cast<void>(wait_for(submitted_));
  if (d.abandoned()) return;
  if (timeline_ != VK_NULL_HANDLE) d.vk().vkDestroySemaphore(d.handle(), timeline_, nullptr);
  if (pool_ != VK_NULL_HANDLE) d.vk().vkDestroyCommandPool(d.handle(), pool_, nullptr);
}

Status Stream::enqueue(VkCommandBuffer commands, double ns) {
  TENON_RETURN_IF_ERROR(end_copies());
  if (!queued_.empty() && queued_ns_ + ns > kMostNs) TENON_RETURN_IF_ERROR(flush());
  queued_.push_back(commands);
  queued_ns_ += ns;
  return {};
}

Status Stream::flush() {
  TENON_RETURN_IF_ERROR(end_copies());
  if (queued_.empty()) return {};
  const uint64_t value = submitted_ + 1;
  VkTimelineSemaphoreSubmitInfo timeline{VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO};
  timeline.signalSemaphoreValueCount = 1;
  timeline.pSignalSemaphoreValues = &value;
  VkSubmitInfo submit{VK_STRUCTURE_TYPE_SUBMIT_INFO, &timeline};
  submit.commandBufferCount = static_cast<uint32_t>(queued_.size());
  submit.pCommandBuffers = queued_.data();
  submit.signalSemaphoreCount = 1;
  submit.pSignalSemaphores = &timeline_;
  const Status status = device_->submit(submit);
  queued_.clear();
  queued_ns_ = 0;
  if (!status.ok()) {
    device_->settle();
    return status;
  }
  submitted_ = value;
  in_flight_.push_back(value);
  return {};
}

Status Stream::wait_for(uint64_t value) {
  if (value <= done_) return {};
  const VkSemaphoreWaitInfo info{VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO, nullptr, 0, 1, &timeline_, &value};
  Status status = device_->status();
  if (status.ok()) {
    const VkResult result = device_->vk().vkWaitSemaphores(device_->handle(), &info, device_->info().is_cpu ? kPatienceWithSoftwareNs : kPatienceNs);
    if (result == VK_TIMEOUT) return device_->abandon("the device does not answer (vkWaitSemaphores timed out)");
    status = device_->check(result, "vkWaitSemaphores");
  }
  if (!status.ok()) {  // also when another session has met the loss
    if (device_->lost()) device_->settle();
    return status;
  }
  done_ = value;
  while (!in_flight_.empty() && in_flight_.front() <= value) in_flight_.pop_front();
  return {};
}

Status Stream::wait_for_room() {
  while (crowded()) TENON_RETURN_IF_ERROR(wait_for(in_flight_.front()));
  return {};
}

Status Stream::wait() {
  TENON_RETURN_IF_ERROR(flush());
  TENON_RETURN_IF_ERROR(wait_for(submitted_));
  for (Part& part : parts_) drain(part);
  return {};
}

void Stream::drain(Part& part) {
  for (const Pending& p : part.pending) std::memcpy(p.to.data(), p.from, p.to.size());
  part.pending.clear();
  part.used = 0;
}

// ---- copies --------------------------------------------------------------------------------------------------------

// The next part of the ring, once the device is through with what it was used for.
Status Stream::turn() {
  TENON_RETURN_IF_ERROR(flush());
  parts_[part_].value = submitted_;
  part_ = (part_ + 1) % kParts;
  TENON_RETURN_IF_ERROR(wait_for(parts_[part_].value));
  drain(parts_[part_]);
  return {};
}

Result<std::span<std::byte>> Stream::room(size_t bytes) {
  if (ring_ == nullptr) {
    TENON_ASSIGN_OR_RETURN(ring_, device_->allocate(kParts * kPartBytes, MemoryKind::kHost));
  }
  if (parts_[part_].used + std::min(bytes, kPartBytes / 4) > kPartBytes) TENON_RETURN_IF_ERROR(turn());
  Part& part = parts_[part_];
  const size_t take = std::min(bytes, kPartBytes - part.used);
  std::byte* at = ring_->host() + part_ * kPartBytes + part.used;
  part.used = std::min(kPartBytes, (part.used + take + Allocator::kAlignment - 1) / Allocator::kAlignment * Allocator::kAlignment);
  return std::span(at, take);
}

Status Stream::begin_copies() {
  if (open_ != VK_NULL_HANDLE) return {};
  TENON_RETURN_IF_ERROR(device_->status());
  const Loader& vk = device_->vk();
  // Values of command buffers not yet submitted are what the next submission will have.
  if (!copies_.empty() && copies_.front().value <= done_) {
    open_ = copies_.front().buffer;
    copies_.pop_front();
  } else {
    const VkCommandBufferAllocateInfo info{VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, nullptr, pool_, VK_COMMAND_BUFFER_LEVEL_PRIMARY, 1};
    TENON_RETURN_IF_ERROR(device_->check(vk.vkAllocateCommandBuffers(device_->handle(), &info, &open_), "vkAllocateCommandBuffers"));
  }
  const VkCommandBufferBeginInfo begin{VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO, nullptr, VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
  return device_->check(vk.vkBeginCommandBuffer(open_, &begin), "vkBeginCommandBuffer");
}

Status Stream::end_copies() {
  if (open_ == VK_NULL_HANDLE) return {};
  const VkCommandBuffer commands = std::exchange(open_, VK_NULL_HANDLE);
  const VkMemoryBarrier barrier{VK_STRUCTURE_TYPE_MEMORY_BARRIER, nullptr, VK_ACCESS_TRANSFER_WRITE_BIT, VK_ACCESS_HOST_READ_BIT};
  device_->vk().vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &barrier, 0, nullptr, 0, nullptr);
  TENON_RETURN_IF_ERROR(device_->check(device_->vk().vkEndCommandBuffer(commands), "vkEndCommandBuffer"));
  copies_.push_back({commands, submitted_ + 1});
  queued_.push_back(commands);
  return {};
}

// Copies are few: each waits for all before it, kernels' writes included.
Status Stream::copy(VkBuffer from, uint64_t from_offset, VkBuffer to, uint64_t to_offset, uint64_t bytes) {
  TENON_RETURN_IF_ERROR(begin_copies());
  constexpr VkPipelineStageFlags kStages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
  const VkMemoryBarrier barrier{VK_STRUCTURE_TYPE_MEMORY_BARRIER, nullptr, VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
                                VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT};
  device_->vk().vkCmdPipelineBarrier(open_, kStages, VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1, &barrier, 0, nullptr, 0, nullptr);
  const VkBufferCopy region{from_offset, to_offset, bytes};
  device_->vk().vkCmdCopyBuffer(open_, from, to, 1, &region);
  return {};
}

Status Stream::upload(std::span<const std::byte> from, const Memory& to, size_t offset) {
  while (!from.empty()) {
    TENON_ASSIGN_OR_RETURN(const auto piece, room(from.size()));
    std::memcpy(piece.data(), from.data(), piece.size());
    TENON_RETURN_IF_ERROR(copy(ring_->buffer(), ring_->offset() + static_cast<size_t>(piece.data() - ring_->host()), to.buffer(), to.offset() + offset, piece.size()));
    from = from.subspan(piece.size());
    offset += piece.size();
  }
  return {};
}

Status Stream::download(const Memory& from, size_t offset, std::span<std::byte> to) {
  while (!to.empty()) {
    TENON_ASSIGN_OR_RETURN(const auto piece, room(to.size()));
    TENON_RETURN_IF_ERROR(copy(from.buffer(), from.offset() + offset, ring_->buffer(), ring_->offset() + static_cast<size_t>(piece.data() - ring_->host()), piece.size()));
    parts_[part_].pending.push_back({piece.data(), to.first(piece.size())});
    to = to.subspan(piece.size());
    offset += piece.size();
  }
  return {};
}

}  // namespace tenon::backends::vulkan
