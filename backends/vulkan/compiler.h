#pragma once

#include <memory>

#include "backends/vulkan/executable.h"

namespace tenon::backends::vulkan {

/// Optimises a graph, lowers it, and makes pipelines of its kernels; those that the device cannot have run on the host.
/// Where the device is lost meanwhile, the error is that loss, and Device::lost() says so.
Result<std::shared_ptr<VulkanExecutable>> compile(const std::shared_ptr<Device>& device, const ir::Graph& graph,
                                                  const CompileOptions& options);

}  // namespace tenon::backends::vulkan
