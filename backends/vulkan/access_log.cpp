#include "backends/vulkan/access_log.h"

#include <algorithm>

namespace tenon::backends::vulkan {

Result<std::unique_ptr<AccessLog>> AccessLog::create(const Device& device, std::span<const runtime::DeviceCall> calls,
                                                     std::span<const runtime::DeviceValue> values,
                                                     std::span<const std::shared_ptr<const KernelSites>> kernels) {
  std::unique_ptr<AccessLog> made(new AccessLog());
  for (const runtime::DeviceCall& call : calls) {
    Dispatch& dispatch = made->dispatches_.emplace_back();
    dispatch.node = call.node;
    dispatch.sites = kernels[static_cast<size_t>(call.kernel)];
    dispatch.dims.assign(call.dims.begin(), call.dims.end());
    dispatch.sizes = dispatch.dims.size();
    for (size_t b = 0; b < call.values.size(); ++b) {
      const size_t bytes = values[static_cast<size_t>(call.values[b])].bytes.size();
      dispatch.dims.push_back(
          static_cast<int64_t>(bytes / static_cast<size_t>(bits(dispatch.sites->buffers[b].dtype) / 8)));
    }
    dispatch.first = made->count_;
    made->count_ += dispatch.sites->sites.size();
  }
  TENON_ASSIGN_OR_RETURN(made->memory_,
                         device.allocate(std::max<size_t>(made->count_, 1) * sizeof(int64_t), MemoryKind::kHost));
  made->clear();
  return made;
}

Binding AccessLog::binding(size_t dispatch) const {
  const Dispatch& d = dispatches_[dispatch];
  return {memory_->address() + d.first * sizeof(int64_t), d.sites->sites.size() * sizeof(int64_t),
          runtime::Access::kWrite};
}

void AccessLog::clear() { std::fill_n(reinterpret_cast<int64_t*>(memory_->host()), count_, kir::kNoViolation); }

Status AccessLog::take() {
  const std::span<const int64_t> log(reinterpret_cast<const int64_t*>(memory_->host()), count_);
  const auto found = std::ranges::find_if(log, [](int64_t index) { return index != kir::kNoViolation; });
  if (found == log.end()) return {};
  const auto at = static_cast<size_t>(found - log.begin());
  const auto dispatch = std::prev(std::ranges::upper_bound(dispatches_, at, {}, &Dispatch::first));
  Status out = violation(*dispatch, at - dispatch->first, *found);
  clear();
  return out;
}

Status AccessLog::violation(const Dispatch& dispatch, size_t site, int64_t index) const {
  const kir::AccessSite& access = dispatch.sites->sites[site];
  const auto b = static_cast<size_t>(access.buffer);
  const kir::BufferInfo& buffer = dispatch.sites->buffers[b];
  const int64_t size = buffer.space == kir::BufferSpace::kBinding ? dispatch.dims[dispatch.sizes + b] : buffer.count;
  return Status(Code::kInternal,
                fmt::format("kernel {} {} element {} of buffer {} ({}), which has {}", dispatch.sites->name,
                            access.store ? "writes" : "reads", index, b, buffer.name, size),
                dispatch.node,
                "this is a defect of Tenon: please report it with the model, and use --backend cpu meanwhile");
}

}  // namespace tenon::backends::vulkan
