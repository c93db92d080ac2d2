#pragma once

#include <cstdint>
#include <string_view>

namespace tenon::backends::vulkan {

/// What drivers say of the parts of a device that execute workgroups side by side; 0: nothing.
struct ComputeUnits {
  uint32_t multiprocessors = 0;                    // VK_NV_shader_sm_builtins: shaderSMCount
  uint32_t engines = 0, arrays = 0, in_array = 0;  // VK_AMD_shader_core_properties: engines, arrays of each, compute units of each of those
  uint32_t active = 0;                             // VK_AMD_shader_core_properties2: activeComputeUnitCount, of those that exist
  uint32_t cores = 0;                              // VK_ARM_shader_core_builtins: shaderCoreCount

  /// 0: unknown, or more than a device can have.
  uint32_t count() const;
};

/// Workgroups from which on no part of a device is idle (codegen::Target::busy_workgroups): two for each unit, so that one computes while
/// the other waits for memory. Where the driver does not say how many units there are, `type` decides (DeviceInfo::type).
int64_t busy_workgroups(std::string_view type, const ComputeUnits& units);

}  // namespace tenon::backends::vulkan
