#include "backends/vulkan/recording.h"

#include <algorithm>
#include <cstring>

namespace tenon::backends::vulkan {
namespace {

constexpr int kMostDispatches = 1024;     // of a part
constexpr size_t kMostRanges = 64;        // to compare a dispatch with; more are cut off by a barrier
constexpr int64_t kMostGroups = 65535;    // of an axis: the smallest maxComputeWorkGroupCount that Vulkan allows

}  // namespace

Result<std::unique_ptr<Recording>> Recording::create(std::shared_ptr<const Device> device) {
  TENON_RETURN_IF_ERROR(device->status());
  std::unique_ptr<Recording> made(new Recording());
  made->device_ = std::move(device);
  const Device& d = *made->device_;
  const VkCommandPoolCreateInfo pool{VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, nullptr, 0, d.family()};
  TENON_RETURN_IF_ERROR(d.check(d.vk().vkCreateCommandPool(d.handle(), &pool, nullptr, &made->pool_), "vkCreateCommandPool"));
  return made;
}

Recording::~Recording() {
  const Device& d = *device_;
  if (d.abandoned()) return;
  if (queries_ != VK_NULL_HANDLE) d.vk().vkDestroyQueryPool(d.handle(), queries_, nullptr);
  if (pool_ != VK_NULL_HANDLE) d.vk().vkDestroyCommandPool(d.handle(), pool_, nullptr);
}

Status Recording::record(std::span<const Dispatch> dispatches, uint64_t check_code, bool timed) {
  const Device& d = *device_;
  parts_.clear();
  times_.clear();
  used_ = 0;
  barriers_ = 0;
  query_ = 0;
  dispatches_ = dispatches.size();
  timed_ = timed && d.info().timestamp_ns > 0;
  TENON_RETURN_IF_ERROR(d.status());
  TENON_RETURN_IF_ERROR(d.check(d.vk().vkResetCommandPool(d.handle(), pool_, 0), "vkResetCommandPool"));
  TENON_RETURN_IF_ERROR(place_parameters(dispatches, check_code));
  if (dispatches.empty()) return {};
  if (timed_ && query_capacity_ < 2 * dispatches.size()) {
    if (queries_ != VK_NULL_HANDLE) d.vk().vkDestroyQueryPool(d.handle(), std::exchange(queries_, VK_NULL_HANDLE), nullptr);
    query_capacity_ = static_cast<uint32_t>(2 * dispatches.size());
    const VkQueryPoolCreateInfo create{VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO, nullptr, 0, VK_QUERY_TYPE_TIMESTAMP, query_capacity_, 0};
    TENON_RETURN_IF_ERROR(d.check(d.vk().vkCreateQueryPool(d.handle(), &create, nullptr, &queries_), "vkCreateQueryPool"));
  }
  TENON_RETURN_IF_ERROR(begin_part());
  if (timed_) d.vk().vkCmdResetQueryPool(parts_.back().commands, queries_, 0, query_capacity_);
  for (size_t i = 0; i < dispatches.size(); ++i) TENON_RETURN_IF_ERROR(add(dispatches[i], parameters_->address() + offsets_[i]));
  return end_part();
}

Status Recording::place_parameters(std::span<const Dispatch> dispatches, uint64_t check_code) {
  size_t bytes = 0;
  offsets_.clear();
  bindings_ = 0;
  for (const Dispatch& dispatch : dispatches) {
    offsets_.push_back(bytes);
    bytes += (dispatch.bindings.size() + dispatch.dims.size() + 1) * sizeof(uint64_t);
    bindings_ += dispatch.bindings.size();
  }
  if (parameters_ == nullptr || parameters_->size() < bytes) {
    parameters_.reset();
    TENON_ASSIGN_OR_RETURN(parameters_, device_->allocate(std::max<size_t>(bytes, 4096), MemoryKind::kParameters));
  }
  for (size_t i = 0; i < dispatches.size(); ++i) {
    const Dispatch& dispatch = dispatches[i];
    std::byte* at = parameters_->host() + offsets_[i];
    for (const Binding& binding : dispatch.bindings) {
      offsets_.push_back(static_cast<size_t>(at - parameters_->host()));
      std::memcpy(at, &binding.address, sizeof binding.address);
      at += sizeof binding.address;
    }
    at = std::ranges::copy(std::as_bytes(dispatch.dims), at).out;
    std::memcpy(at, &check_code, sizeof check_code);
  }
  return {};
}

void Recording::move(size_t binding, uint64_t address) {
  std::memcpy(parameters_->host() + offsets_[dispatches_ + binding], &address, sizeof address);
}

// Submissions follow each other without any other order, so each part begins with a barrier against all before it.
Status Recording::begin_part() {
  const Device& d = *device_;
  if (used_ == buffers_.size()) {
    const VkCommandBufferAllocateInfo info{VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, nullptr, pool_, VK_COMMAND_BUFFER_LEVEL_PRIMARY, 1};
    VkCommandBuffer made = VK_NULL_HANDLE;
    TENON_RETURN_IF_ERROR(d.check(d.vk().vkAllocateCommandBuffers(d.handle(), &info, &made), "vkAllocateCommandBuffers"));
    buffers_.push_back(made);
  }
  parts_.push_back({buffers_[used_++], 0, 0});
  const VkCommandBufferBeginInfo begin{VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
  TENON_RETURN_IF_ERROR(d.check(d.vk().vkBeginCommandBuffer(parts_.back().commands, &begin), "vkBeginCommandBuffer"));
  constexpr VkPipelineStageFlags kStages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
  const VkMemoryBarrier barrier{VK_STRUCTURE_TYPE_MEMORY_BARRIER, nullptr, VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
                                VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT};
  d.vk().vkCmdPipelineBarrier(parts_.back().commands, kStages, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &barrier, 0, nullptr, 0, nullptr);
  read_.clear();
  written_.clear();
  return {};
}

Status Recording::end_part() {
  const VkMemoryBarrier barrier{VK_STRUCTURE_TYPE_MEMORY_BARRIER, nullptr, VK_ACCESS_SHADER_WRITE_BIT, VK_ACCESS_HOST_READ_BIT};
  const VkCommandBuffer commands = parts_.back().commands;
  device_->vk().vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &barrier, 0, nullptr, 0, nullptr);
  return device_->check(device_->vk().vkEndCommandBuffer(commands), "vkEndCommandBuffer");
}

void Recording::barrier() {
  const VkMemoryBarrier barrier{VK_STRUCTURE_TYPE_MEMORY_BARRIER, nullptr, VK_ACCESS_SHADER_WRITE_BIT, VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT};
  device_->vk().vkCmdPipelineBarrier(parts_.back().commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &barrier, 0,
                                     nullptr, 0, nullptr);
  read_.clear();
  written_.clear();
  ++barriers_;
}

void Recording::barrier_before(const Dispatch& dispatch) {
  const auto meets = [](const std::vector<Range>& ranges, const Binding& b) {
    return std::ranges::any_of(ranges, [&](const Range& r) { return r.begin < b.address + b.bytes && b.address < r.end; });
  };
  const bool needed = read_.size() + written_.size() > kMostRanges || std::ranges::any_of(dispatch.bindings, [&](const Binding& b) {
                        return meets(written_, b) || (writes(b.access) && meets(read_, b));
                      });
  if (needed) barrier();
  for (const Binding& b : dispatch.bindings) {
    const Range range{b.address, b.address + b.bytes};
    if (reads(b.access)) read_.push_back(range);
    if (writes(b.access)) written_.push_back(range);
  }
}

void Recording::timestamp() {
  if (timed_) device_->vk().vkCmdWriteTimestamp(parts_.back().commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, queries_, query_++);
}

// A dispatch that takes too long, or more workgroups than a device must allow, is several over parts of the grid.
Status Recording::add(const Dispatch& dispatch, uint64_t parameters) {
  const Device& d = *device_;
  const int64_t size = dispatch.pipeline->lanes > 1 ? 1 : d.info().emit.workgroup_size;
  int64_t piece = dispatch.grid;
  if (dispatch.ns > Stream::kMostNs) piece = std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(dispatch.grid) / (dispatch.ns / Stream::kMostNs)));
  piece = std::min(piece, kMostGroups * kMostGroups * size);
  if (piece < dispatch.grid) piece = std::max<int64_t>(piece / size * size, size);
  const double ns = dispatch.ns * static_cast<double>(piece) / static_cast<double>(dispatch.grid);
  if (timed_) barrier();  // it is measured alone
  else barrier_before(dispatch);
  for (int64_t begin = 0; begin < dispatch.grid; begin += piece) {
    Part* part = &parts_.back();
    if (part->dispatches > 0 && (part->ns + ns > Stream::kMostNs || part->dispatches >= kMostDispatches)) {
      TENON_RETURN_IF_ERROR(end_part());
      TENON_RETURN_IF_ERROR(begin_part());
      part = &parts_.back();
      for (const Binding& b : dispatch.bindings) {
        if (reads(b.access)) read_.push_back({b.address, b.address + b.bytes});
        if (writes(b.access)) written_.push_back({b.address, b.address + b.bytes});
      }
    }
    if (begin == 0) timestamp();
    const int64_t end = std::min(dispatch.grid, begin + piece);
    const codegen::spirv::PushConstants push{parameters, begin, end};
    d.vk().vkCmdBindPipeline(part->commands, VK_PIPELINE_BIND_POINT_COMPUTE, dispatch.pipeline->handle());
    d.vk().vkCmdPushConstants(part->commands, d.layout(), VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof push, &push);
    const int64_t groups = (end - begin + size - 1) / size, columns = std::min(groups, kMostGroups), rows = (groups + columns - 1) / columns;
    d.vk().vkCmdDispatch(part->commands, static_cast<uint32_t>(columns), static_cast<uint32_t>(rows), 1);
    part->ns += ns;
    ++part->dispatches;
  }
  timestamp();
  return {};
}

Status Recording::enqueue(Stream& stream, const Interrupt& interrupt) const {
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (i > 0) TENON_RETURN_IF_ERROR(interrupt.check());
    TENON_RETURN_IF_ERROR(stream.enqueue(parts_[i].commands, parts_[i].ns));
    if (i + 1 == parts_.size()) break;
    TENON_RETURN_IF_ERROR(stream.flush());
    TENON_RETURN_IF_ERROR(stream.wait_for_room());
  }
  return {};
}

Result<std::span<const double>> Recording::times_ns() {
  times_.clear();
  if (!timed_ || dispatches_ == 0) return std::span<const double>(times_);
  const Device& d = *device_;
  std::vector<uint64_t> ticks(query_);
  TENON_RETURN_IF_ERROR(d.check(d.vk().vkGetQueryPoolResults(d.handle(), queries_, 0, query_, ticks.size() * sizeof(uint64_t), ticks.data(), sizeof(uint64_t),
                                                             VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT),
                                "vkGetQueryPoolResults"));
  for (size_t i = 0; i + 1 < ticks.size(); i += 2)
    times_.push_back(static_cast<double>(ticks[i + 1] - std::min(ticks[i], ticks[i + 1])) * d.info().timestamp_ns);
  return std::span<const double>(times_);
}

}  // namespace tenon::backends::vulkan
