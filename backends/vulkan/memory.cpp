#include "backends/vulkan/memory.h"

#include <algorithm>

#include "backends/vulkan/device.h"

namespace tenon::backends::vulkan {
namespace {

constexpr uint64_t kSmallestBlock = uint64_t{1} << 20, kLargestBlock = uint64_t{64} << 20;

constexpr VkMemoryPropertyFlags kVisible = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
                                kLocal = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, kCached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;

uint64_t rounded(uint64_t bytes) { return (std::max<uint64_t>(bytes, 1) + Allocator::kAlignment - 1) / Allocator::kAlignment * Allocator::kAlignment; }

/// The first type that has all of the flags, by the order of preference; the driver lists the faster of equal ones first.
std::optional<uint32_t> find_type(const VkPhysicalDeviceMemoryProperties& memory, uint32_t allowed, std::initializer_list<VkMemoryPropertyFlags> wanted) {
  for (VkMemoryPropertyFlags flags : wanted)
    for (uint32_t i = 0; i < memory.memoryTypeCount; ++i)
      if ((allowed >> i & 1) != 0 && (memory.memoryTypes[i].propertyFlags & flags) == flags) return i;
  return std::nullopt;
}

std::string_view what(MemoryKind kind) { return kind == MemoryKind::kDevice ? "device" : kind == MemoryKind::kHost ? "staging" : "parameter"; }

}  // namespace

Memory::~Memory() {
  if (device_ != nullptr) device_->allocator().give_back(*this);
}

Allocator::~Allocator() {
  for (auto& [number, block] : blocks_) destroy(block);
}

Status Allocator::prepare() {
  VkPhysicalDeviceMemoryProperties memory;
  device_.vk().vkGetPhysicalDeviceMemoryProperties(device_.physical(), &memory);
  Block probe;
  probe.size = kAlignment;
  VkBufferCreateInfo create{VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO};
  create.size = kAlignment;
  create.usage = Device::kBufferUsage;
  TENON_RETURN_IF_ERROR(device_.check(device_.vk().vkCreateBuffer(device_.handle(), &create, nullptr, &probe.buffer), "vkCreateBuffer"));
  VkMemoryRequirements needs;
  device_.vk().vkGetBufferMemoryRequirements(device_.handle(), probe.buffer, &needs);
  device_.vk().vkDestroyBuffer(device_.handle(), probe.buffer, nullptr);
  const bool staged = device_.info().staged;
  const auto tensors = staged ? find_type(memory, needs.memoryTypeBits, {kLocal, 0})
                              : find_type(memory, needs.memoryTypeBits, {kVisible | kLocal | kCached, kVisible | kCached, kVisible});
  const auto parameters = find_type(memory, needs.memoryTypeBits, {kVisible | kLocal, kVisible});
  const auto host = find_type(memory, needs.memoryTypeBits, {kVisible | kCached, kVisible});
  if (!tensors || !parameters || !host) return error(Code::kUnsupported, "{} has no memory that the host can map", device_.info().name);
  types_[static_cast<size_t>(MemoryKind::kDevice)] = *tensors;
  types_[static_cast<size_t>(MemoryKind::kParameters)] = *parameters;
  types_[static_cast<size_t>(MemoryKind::kHost)] = *host;
  return {};
}

uint64_t Allocator::available(uint32_t type) const {
  VkPhysicalDeviceMemoryProperties memory;
  device_.vk().vkGetPhysicalDeviceMemoryProperties(device_.physical(), &memory);
  const MemoryHeap heap = memory_heaps(device_.vk(), device_.physical())[memory.memoryTypes[type].heapIndex];
  const uint64_t total = heap.budget.value_or(heap.bytes), used = heap.used.value_or(figures_.held);
  uint64_t free = total - std::min(total, used);
  if (const uint64_t limit = device_.max_bytes(); limit != 0) free = std::min(free, limit - std::min(limit, figures_.held));
  return free;
}

Status Allocator::refuse(uint64_t bytes, uint64_t available, MemoryKind kind) const {
  return Status(Code::kResourceExhausted,
                fmt::format("{} bytes of {} memory are needed on {}, {} are free", bytes, what(kind), device_.info().name, available), "Vulkan",
                "make the inputs smaller, close other programs that use the device, or use another backend");
}

Status Allocator::check(uint64_t bytes, MemoryKind kind) {
  TENON_RETURN_IF_ERROR(device_.status());
  const std::lock_guard lock(mutex_);
  uint64_t inside = 0;  // of blocks that are there
  for (const auto& [number, block] : blocks_)
    if (block.kind == kind)
      for (const auto& [offset, size] : block.free) inside += size;
  if (bytes <= inside) return {};
  const uint64_t free = available(types_[static_cast<size_t>(kind)]);
  return bytes - inside <= free ? Status() : refuse(bytes, free + inside, kind);
}

Result<std::unique_ptr<Memory>> Allocator::allocate(size_t bytes, MemoryKind kind) {
  TENON_RETURN_IF_ERROR(device_.status());
  if (bytes > SIZE_MAX / 2) return error(Code::kResourceExhausted, "{} bytes are more than any device has", bytes);
  const uint64_t size = rounded(bytes);
  const std::lock_guard lock(mutex_);
  std::optional<uint32_t> chosen;
  uint64_t at = 0, tightest = UINT64_MAX;
  for (const auto& [number, block] : blocks_) {
    if (block.kind != kind) continue;
    for (const auto& [offset, free] : block.free)
      if (free >= size && free < tightest) chosen = number, at = offset, tightest = free;
  }
  if (!chosen) {
    TENON_ASSIGN_OR_RETURN(chosen, add_block(size, kind));
    at = 0;
  }
  Block& block = blocks_.at(*chosen);
  const uint64_t rest = block.free.at(at) - size;
  block.free.erase(at);
  if (rest > 0) block.free.emplace(at + size, rest);
  std::unique_ptr<Memory> made(new Memory());
  made->device_ = device_.shared_from_this();
  made->buffer_ = block.buffer;
  made->offset_ = at;
  made->address_ = block.address + at;
  made->host_ = block.host == nullptr ? nullptr : block.host + at;
  made->size_ = bytes;
  made->taken_ = size;
  made->kind_ = kind;
  made->block_ = *chosen;
  figures_.used += size;
  return made;
}

// Blocks grow with what is there already, so that small models take little and large ones few.
Result<uint32_t> Allocator::add_block(uint64_t bytes, MemoryKind kind) {
  const uint32_t type = types_[static_cast<size_t>(kind)];
  const uint64_t free = available(type);
  if (bytes > free) return refuse(bytes, free, kind);
  if (blocks_.size() >= device_.info().max_allocations)
    return error(Code::kResourceExhausted, "{} allows no more than {} allocations", device_.info().name, device_.info().max_allocations);
  if (device_.info().max_allocation != 0 && bytes > device_.info().max_allocation)
    return error(Code::kResourceExhausted, "{} bytes at once are needed on {}, it gives {} at most", bytes, device_.info().name, device_.info().max_allocation);
  uint64_t held = 0;
  for (const auto& [number, block] : blocks_)
    if (block.kind == kind) held += block.size;
  uint64_t wanted = std::clamp(rounded(held), kSmallestBlock, kLargestBlock);
  if (device_.info().max_allocation != 0) wanted = std::min(wanted, device_.info().max_allocation / kAlignment * kAlignment);
  Block block;
  block.kind = kind;
  block.size = std::max(bytes, wanted <= free / 4 ? wanted : bytes);
  Status made = fill_block(block);
  if (made.code() == Code::kResourceExhausted && block.size > bytes) {
    destroy(block);
    block = {};
    block.kind = kind;
    block.size = bytes;
    made = fill_block(block);
  }
  if (!made.ok()) {
    destroy(block);
    return made;
  }
  ++figures_.allocations;
  figures_.held += block.size;
  block.free.emplace(0, block.size);
  blocks_.emplace(next_, std::move(block));
  return next_++;
}

Status Allocator::fill_block(Block& block) const {
  const Loader& vk = device_.vk();
  VkBufferCreateInfo create{VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO};
  create.size = block.size;
  create.usage = Device::kBufferUsage;
  TENON_RETURN_IF_ERROR(device_.check(vk.vkCreateBuffer(device_.handle(), &create, nullptr, &block.buffer), "vkCreateBuffer"));
  VkMemoryRequirements needs;
  vk.vkGetBufferMemoryRequirements(device_.handle(), block.buffer, &needs);
  const VkMemoryAllocateFlagsInfo flags{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO, nullptr, VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT, 0};
  const VkMemoryAllocateInfo memory{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, &flags, needs.size, types_[static_cast<size_t>(block.kind)]};
  TENON_RETURN_IF_ERROR(device_.check(vk.vkAllocateMemory(device_.handle(), &memory, nullptr, &block.memory),
                                      fmt::format("vkAllocateMemory of {} bytes of {} memory", needs.size, what(block.kind))));
  TENON_RETURN_IF_ERROR(device_.check(vk.vkBindBufferMemory(device_.handle(), block.buffer, block.memory, 0), "vkBindBufferMemory"));
  if (block.kind != MemoryKind::kDevice || !device_.info().staged) {
    void* host = nullptr;
    TENON_RETURN_IF_ERROR(device_.check(vk.vkMapMemory(device_.handle(), block.memory, 0, VK_WHOLE_SIZE, 0, &host), "vkMapMemory"));
    block.host = static_cast<std::byte*>(host);
  }
  const VkBufferDeviceAddressInfo address{VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, nullptr, block.buffer};
  block.address = vk.vkGetBufferDeviceAddress(device_.handle(), &address);
  return {};
}

void Allocator::destroy(Block& block) {
  if (device_.abandoned()) return;
  if (block.buffer != VK_NULL_HANDLE) device_.vk().vkDestroyBuffer(device_.handle(), block.buffer, nullptr);
  if (block.memory != VK_NULL_HANDLE) device_.vk().vkFreeMemory(device_.handle(), block.memory, nullptr);
}

// A free block is kept for the next user, the large ones aside.
void Allocator::give_back(const Memory& memory) {
  const std::lock_guard lock(mutex_);
  figures_.used -= memory.taken_;
  Block& block = blocks_.at(memory.block_);
  auto at = block.free.emplace(memory.offset_, memory.taken_).first;
  if (const auto next = std::next(at); next != block.free.end() && at->first + at->second == next->first) {
    at->second += next->second;
    block.free.erase(next);
  }
  if (at != block.free.begin())
    if (const auto before = std::prev(at); before->first + before->second == at->first) {
      before->second += at->second;
      block.free.erase(at);
    }
  if (!block.whole()) return;
  const bool another = std::ranges::any_of(blocks_, [&](const auto& entry) {
    return entry.first != memory.block_ && entry.second.kind == block.kind && entry.second.whole();
  });
  if (block.size <= kLargestBlock && !another) return;
  figures_.held -= block.size;
  destroy(block);
  blocks_.erase(memory.block_);
}

MemoryFigures Allocator::figures() {
  const std::lock_guard lock(mutex_);
  return figures_;
}

}  // namespace tenon::backends::vulkan
