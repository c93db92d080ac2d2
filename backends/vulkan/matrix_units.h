#pragma once

#include "backends/vulkan/info.h"
#include "backends/vulkan/loader.h"

/// Matrix units: VK_KHR_cooperative_matrix, whose products a subgroup computes, and VK_NV_cooperative_matrix2, whose products a workgroup
/// does. Both are younger than the headers that Debian 12 has: their numbers and structures, from the Vulkan registry, are here.
namespace tenon::backends::vulkan {

struct MatrixFeatures {  // VkPhysicalDeviceCooperativeMatrixFeaturesKHR
  VkStructureType type = static_cast<VkStructureType>(1000506000);
  void* next = nullptr;
  VkBool32 matrices = VK_FALSE, robust = VK_FALSE;
};

struct MatrixFeatures2 {  // VkPhysicalDeviceCooperativeMatrix2FeaturesNV
  VkStructureType type = static_cast<VkStructureType>(1000593000);
  void* next = nullptr;
  VkBool32 workgroup_scope = VK_FALSE, flexible_dimensions = VK_FALSE, reductions = VK_FALSE, conversions = VK_FALSE, element_functions = VK_FALSE,
           tensor_addressing = VK_FALSE, block_loads = VK_FALSE;
  /// What kernels use of it.
  bool suffices() const { return workgroup_scope && flexible_dimensions && element_functions; }
};

struct MatrixProperties2 {  // VkPhysicalDeviceCooperativeMatrix2PropertiesNV
  VkStructureType type = static_cast<VkStructureType>(1000593002);
  void* next = nullptr;
  uint32_t max_workgroup = 0, max_dimension = 0, reserved_shared_bytes = 0;
};

inline constexpr const char *kMatrixExtension = "VK_KHR_cooperative_matrix", *kMatrixExtension2 = "VK_NV_cooperative_matrix2";

/// Fills DeviceInfo::matrices.
void find_matrices(const Loader& vk, VkInstance instance, VkPhysicalDevice device, DeviceInfo& info);
/// Fills DeviceInfo::workgroup_matrices and what belongs to it.
void find_workgroup_matrices(const Loader& vk, VkInstance instance, VkPhysicalDevice device, const MatrixProperties2& limits, DeviceInfo& info);

/// What tiles can be of: products that are added in one dtype and do not stop at its ends, of plausible sizes.
std::vector<codegen::MatrixShape> tile_shapes(const std::vector<MatrixShape>& matrices);
/// The same of workgroups. None where drivers take most of the shared memory (info.emit.shared_bytes) for them.
std::vector<codegen::spirv::WorkgroupMatrix> workgroup_tile_shapes(const DeviceInfo& info);

}  // namespace tenon::backends::vulkan
