#include "backends/vulkan/session_device.h"

#include <algorithm>
#include <cstring>

namespace tenon::backends::vulkan {

Result<std::shared_ptr<SessionDevice>> SessionDevice::create(std::shared_ptr<const vulkan::Device> device,
                                                             std::shared_ptr<const Pipelines> pipelines) {
  std::shared_ptr<SessionDevice> made(new SessionDevice());
  TENON_ASSIGN_OR_RETURN(made->stream_, Stream::create(device));
  made->device_ = std::move(device);
  made->pipelines_ = std::move(pipelines);
  return made;
}

Result<std::shared_ptr<Buffer>> SessionDevice::allocate(size_t bytes) {
  std::erase_if(regions_, [](const auto& entry) { return entry.second.buffer.expired(); });
  TENON_ASSIGN_OR_RETURN(auto made, device_->allocate(bytes));
  std::shared_ptr<DeviceBuffer> buffer = std::move(made);
  regions_[buffer->host()] = {buffer, std::max<size_t>(bytes, 1), buffer->address()};
  return Buffer::borrow(buffer->host(), bytes, buffer);
}

Result<uint64_t> SessionDevice::address_of(const runtime::DeviceOperand& operand) {
  auto after = regions_.upper_bound(operand.data);
  if (after != regions_.begin()) {
    const auto& [begin, region] = *std::prev(after);
    const auto offset = static_cast<size_t>(operand.data - begin);
    if (offset < region.size && !region.buffer.expired()) return region.address + offset;
  }
  return upload(operand);
}

Result<uint64_t> SessionDevice::upload(const runtime::DeviceOperand& operand) {
  DeviceBuffer* target = nullptr;
  if (operand.constant) {
    auto& kept = constants_[operand.data];
    if (kept != nullptr && kept->size() >= operand.bytes) return kept->address();
    TENON_ASSIGN_OR_RETURN(kept, device_->allocate(operand.bytes));
    target = kept.get();
  } else {
    if (staged_ == staging_.size()) staging_.emplace_back();
    auto& slot = staging_[staged_++];
    if (slot == nullptr || slot->size() < operand.bytes) {
      TENON_ASSIGN_OR_RETURN(slot, device_->allocate(operand.bytes));
    }
    target = slot.get();
  }
  if (operand.bytes != 0) std::memcpy(target->host(), operand.data, operand.bytes);
  return target->address();
}

Status SessionDevice::dispatch(int32_t kernel, std::span<const runtime::DeviceOperand> operands,
                               std::span<const int64_t> dims, int64_t grid) {
  const Pipeline& pipeline = *(*pipelines_)[static_cast<size_t>(kernel)];
  addresses_.clear();
  for (const runtime::DeviceOperand& operand : operands) {
    TENON_ASSIGN_OR_RETURN(const uint64_t address, address_of(operand));
    addresses_.push_back(address);
  }
  return stream_->dispatch(pipeline, addresses_, dims, grid);
}

Result<int32_t> SessionDevice::finish() {
  staged_ = 0;
  return stream_->flush();
}

}  // namespace tenon::backends::vulkan
