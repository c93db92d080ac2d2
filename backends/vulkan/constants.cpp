#include "backends/vulkan/constants.h"

#include <algorithm>
#include <cstring>

#include "backends/vulkan/stream.h"

namespace tenon::backends::vulkan {
namespace {

constexpr size_t kBlockBytes = size_t{256} << 20;  // tensors beyond it have one of their own

size_t aligned(size_t bytes) { return (std::max<size_t>(bytes, 1) + Allocator::kAlignment - 1) / Allocator::kAlignment * Allocator::kAlignment; }

}  // namespace

Result<std::shared_ptr<const Constants>> Constants::upload(const std::shared_ptr<const Device>& device, std::vector<std::span<const std::byte>> tensors) {
  std::shared_ptr<Constants> made(new Constants());
  std::ranges::sort(tensors, [](const auto& a, const auto& b) { return a.data() != b.data() ? a.data() < b.data() : a.size() > b.size(); });
  const auto same = std::ranges::unique(tensors, [](const auto& a, const auto& b) { return a.data() == b.data(); });
  tensors.erase(same.begin(), same.end());
  for (const auto& tensor : tensors) made->bytes_ += aligned(tensor.size());
  TENON_RETURN_IF_ERROR(device->allocator().check(made->bytes_, MemoryKind::kDevice).at("constants"));
  std::unique_ptr<Stream> stream;
  if (device->info().staged) {
    TENON_ASSIGN_OR_RETURN(stream, Stream::create(device));
  }
  for (size_t first = 0; first < tensors.size();) {
    size_t last = first, bytes = 0;
    do bytes += aligned(tensors[last++].size());
    while (last < tensors.size() && bytes + aligned(tensors[last].size()) <= kBlockBytes);
    TENON_ASSIGN_OR_RETURN(auto block, device->allocate(bytes));
    size_t offset = 0;
    for (; first < last; ++first) {
      const auto& tensor = tensors[first];
      if (stream != nullptr) TENON_RETURN_IF_ERROR(stream->upload(tensor, *block, offset));
      else if (!tensor.empty()) std::memcpy(block->host() + offset, tensor.data(), tensor.size());
      made->places_[tensor.data()] = {tensor.size(), block->address() + offset};
      offset += aligned(tensor.size());
    }
    made->blocks_.push_back(std::move(block));
  }
  if (stream != nullptr) TENON_RETURN_IF_ERROR(stream->wait());
  return std::shared_ptr<const Constants>(std::move(made));
}

uint64_t Constants::find(std::span<const std::byte> tensor) const {
  const auto found = places_.find(tensor.data());
  return found != places_.end() && found->second.size >= tensor.size() ? found->second.address : 0;
}

}  // namespace tenon::backends::vulkan
