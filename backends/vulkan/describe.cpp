#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/vulkan/compute_units.h"
#include "backends/vulkan/instance.h"
#include "backends/vulkan/matrix_units.h"

// What a physical device is and can do.
namespace tenon::backends::vulkan {
namespace {

std::string type_name(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return "discrete";
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return "integrated";
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return "virtual";
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return "software";
    default: return "other";
  }
}

std::string hex(const uint8_t* bytes) {
  std::string out;
  for (size_t i = 0; i < VK_UUID_SIZE; ++i) out += fmt::format("{:02x}", bytes[i]);
  return out;
}

// NVIDIA packs its own way; others mostly as Vulkan does.
std::string version_text(uint32_t vendor, uint32_t v) {
  constexpr uint32_t kNvidia = 0x10de;
  if (vendor == kNvidia) return fmt::format("{}.{}.{}", v >> 22, (v >> 14) & 0xff, (v >> 6) & 0xff);
  return fmt::format("{}.{}.{}", VK_API_VERSION_MAJOR(v), VK_API_VERSION_MINOR(v), VK_API_VERSION_PATCH(v));
}

// Kernels' memory is the host's own where the host reads it through its caches.
bool is_shared(const VkPhysicalDeviceMemoryProperties& memory, VkPhysicalDeviceType type) {
  if (type == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU || type == VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU) return false;
  constexpr VkMemoryPropertyFlags kWanted = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT |
                                            VK_MEMORY_PROPERTY_HOST_CACHED_BIT | VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
  return std::any_of(memory.memoryTypes, memory.memoryTypes + memory.memoryTypeCount,
                     [](const VkMemoryType& t) { return (t.propertyFlags & kWanted) == kWanted; });
}

/// How many workgroups it executes side by side, as far as the driver says.
ComputeUnits find_units(const Loader& vk, VkPhysicalDevice device) {
  VkPhysicalDeviceShaderSMBuiltinsPropertiesNV nvidia{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV};
  VkPhysicalDeviceShaderCorePropertiesAMD amd{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_AMD};
  VkPhysicalDeviceShaderCoreProperties2AMD amd2{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_2_AMD};
  VkPhysicalDeviceShaderCoreBuiltinsPropertiesARM arm{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_BUILTINS_PROPERTIES_ARM};
  VkPhysicalDeviceProperties2 all{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
  const auto ask = [&](const char* extension, auto& properties) {
    if (has_extension(vk, device, extension)) properties.pNext = std::exchange(all.pNext, &properties);
  };
  ask(VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME, nvidia);
  ask(VK_AMD_SHADER_CORE_PROPERTIES_EXTENSION_NAME, amd);
  ask(VK_AMD_SHADER_CORE_PROPERTIES_2_EXTENSION_NAME, amd2);
  ask(VK_ARM_SHADER_CORE_BUILTINS_EXTENSION_NAME, arm);
  if (all.pNext != nullptr) vk.vkGetPhysicalDeviceProperties2(device, &all);
  return {nvidia.shaderSMCount, amd.shaderEngineCount, amd.shaderArraysPerEngineCount, amd.computeUnitsPerShaderArray, amd2.activeComputeUnitCount, arm.shaderCoreCount};
}

/// What the device lacks; empty: nothing.
std::string lacks(const Loader& vk, VkPhysicalDevice device, uint32_t version, const VkPhysicalDeviceFeatures& core,
                  const VkPhysicalDeviceVulkan12Features& v12) {
  if (version < VK_API_VERSION_1_2)
    return fmt::format("it has Vulkan {}.{}, and 1.2 is needed", VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version));
  if (!v12.bufferDeviceAddress) return "it has no buffer device addresses";
  if (!v12.timelineSemaphore) return "it has no timeline semaphores";
  if (!core.shaderInt64) return "it has no 64-bit integers";
  if (!compute_family(vk, device)) return "it has no queue for compute";
  return {};
}

}  // namespace

bool has_extension(const Loader& vk, VkPhysicalDevice device, std::string_view name) {
  uint32_t count = 0;
  if (vk.vkEnumerateDeviceExtensionProperties(device, nullptr, &count, nullptr) != VK_SUCCESS) return false;
  std::vector<VkExtensionProperties> all(count);
  if (vk.vkEnumerateDeviceExtensionProperties(device, nullptr, &count, all.data()) != VK_SUCCESS) return false;
  return std::ranges::any_of(all, [&](const VkExtensionProperties& e) { return name == e.extensionName; });
}

std::optional<uint32_t> compute_family(const Loader& vk, VkPhysicalDevice device) {
  uint32_t count = 0;
  vk.vkGetPhysicalDeviceQueueFamilyProperties(device, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  vk.vkGetPhysicalDeviceQueueFamilyProperties(device, &count, families.data());
  std::optional<uint32_t> out;
  for (uint32_t i = 0; i < count; ++i) {
    if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT)) continue;
    if (!(families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT)) return i;
    if (!out) out = i;
  }
  return out;
}

std::vector<MemoryHeap> memory_heaps(const Loader& vk, VkPhysicalDevice device) {
  const bool budget = has_extension(vk, device, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budgets{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
  VkPhysicalDeviceMemoryProperties2 memory{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, budget ? &budgets : nullptr};
  vk.vkGetPhysicalDeviceMemoryProperties2(device, &memory);
  std::vector<MemoryHeap> out;
  for (uint32_t h = 0; h < memory.memoryProperties.memoryHeapCount; ++h) {
    MemoryHeap& heap = out.emplace_back();
    heap.bytes = memory.memoryProperties.memoryHeaps[h].size;
    heap.device_local = (memory.memoryProperties.memoryHeaps[h].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) != 0;
    if (!budget) continue;
    heap.budget = budgets.heapBudget[h];
    heap.used = budgets.heapUsage[h];
  }
  return out;
}

DeviceInfo describe(const Loader& vk, VkInstance instance, VkPhysicalDevice device, int index, const DeviceOptions& options) {
  DeviceInfo info;
  info.index = index;
  VkPhysicalDeviceProperties2 plain{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
  vk.vkGetPhysicalDeviceProperties2(device, &plain);
  const bool modern = plain.properties.apiVersion >= VK_API_VERSION_1_2, newest = plain.properties.apiVersion >= VK_API_VERSION_1_3;
  const bool chooses_subgroup = newest || has_extension(vk, device, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
  const bool matrix = has_extension(vk, device, kMatrixExtension);
  // SPV_NV_cooperative_matrix2 is written against SPIR-V 1.6, which comes with Vulkan 1.3.
  uint32_t loader = 0;
  const bool matrix2 = matrix && newest && has_extension(vk, device, kMatrixExtension2) && vk.vkEnumerateInstanceVersion(&loader) == VK_SUCCESS &&
                       loader >= VK_API_VERSION_1_3;

  VkPhysicalDeviceSubgroupSizeControlProperties subgroup{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES};
  MatrixProperties2 matrix_limits;
  if (matrix2) subgroup.pNext = &matrix_limits;  // what is newest has these as well
  VkPhysicalDeviceVulkan12Properties v12p{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES, chooses_subgroup ? &subgroup : nullptr};
  VkPhysicalDeviceVulkan11Properties v11p{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES, &v12p};
  VkPhysicalDeviceProperties2 properties{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, modern ? &v11p : nullptr};
  vk.vkGetPhysicalDeviceProperties2(device, &properties);
  MatrixFeatures2 matrices2;
  MatrixFeatures matrices;
  if (matrix2) matrices.next = &matrices2;
  VkPhysicalDeviceSubgroupSizeControlFeatures sizes{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES, matrix ? &matrices : nullptr};
  void* chain = chooses_subgroup ? static_cast<void*>(&sizes) : sizes.pNext;
  VkPhysicalDeviceShaderIntegerDotProductFeatures dot{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES, chain};
  const bool has_dot = newest || has_extension(vk, device, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
  VkPhysicalDeviceVulkan12Features v12{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES, has_dot ? static_cast<void*>(&dot) : chain};
  VkPhysicalDeviceVulkan11Features v11{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, &v12};
  VkPhysicalDeviceFeatures2 features{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, modern ? &v11 : nullptr};
  vk.vkGetPhysicalDeviceFeatures2(device, &features);
  VkPhysicalDeviceMemoryProperties memory;
  vk.vkGetPhysicalDeviceMemoryProperties(device, &memory);

  const ComputeUnits units = find_units(vk, device);
  const VkPhysicalDeviceProperties& p = properties.properties;
  info.name = p.deviceName;
  info.type = type_name(p.deviceType);
  info.is_cpu = p.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
  info.api_version = p.apiVersion;
  info.vendor = p.vendorID;
  info.device = p.deviceID;
  info.driver_version = p.driverVersion;
  info.driver_version_text = version_text(p.vendorID, p.driverVersion);
  info.driver = modern ? fmt::format("{} {}", v12p.driverName, v12p.driverInfo) : info.driver_version_text;
  info.driver_id = modern ? static_cast<uint32_t>(v12p.driverID) : 0;
  info.uuid = hex(v11p.deviceUUID);
  info.pipeline_cache_uuid = hex(p.pipelineCacheUUID);
  info.heaps = memory_heaps(vk, device);
  info.staged = options.staging.value_or(!is_shared(memory, p.deviceType));
  info.refused = lacks(vk, device, p.apiVersion, features.features, v12);
  info.max_allocation = modern ? v11p.maxMemoryAllocationSize : 0;
  info.max_allocations = p.limits.maxMemoryAllocationCount;

  info.float16 = v12.shaderFloat16;
  info.int8 = v12.shaderInt8;
  info.storage8 = v12.storageBuffer8BitAccess;
  info.storage16 = v11.storageBuffer16BitAccess;
  info.float64 = features.features.shaderFloat64;
  info.int16 = features.features.shaderInt16;
  info.dot_product = dot.shaderIntegerDotProduct;
  info.memory_model = v12.vulkanMemoryModel && v12.vulkanMemoryModelDeviceScope;
  info.cooperative_matrix = matrices.matrices && info.memory_model;
  if (info.cooperative_matrix) find_matrices(vk, instance, device, info);
  if (info.cooperative_matrix && matrices2.suffices()) find_workgroup_matrices(vk, instance, device, matrix_limits, info);
  info.subgroup_size = std::max<uint32_t>(1, v11p.subgroupSize);
  info.min_subgroup_size = subgroup.minSubgroupSize;
  info.max_subgroup_size = subgroup.maxSubgroupSize;
  info.chooses_subgroup_size = sizes.subgroupSizeControl && (subgroup.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT);
  info.full_subgroups = sizes.computeFullSubgroups;
  info.subgroup_types = v12.shaderSubgroupExtendedTypes;
  if (const auto family = compute_family(vk, device)) {
    uint32_t count = 0;
    vk.vkGetPhysicalDeviceQueueFamilyProperties(device, &count, nullptr);
    std::vector<VkQueueFamilyProperties> families(count);
    vk.vkGetPhysicalDeviceQueueFamilyProperties(device, &count, families.data());
    if (families[*family].timestampValidBits > 0) info.timestamp_ns = static_cast<double>(p.limits.timestampPeriod);
  }
  info.emit.workgroup_size = static_cast<int>(std::min<uint32_t>(64, p.limits.maxComputeWorkGroupInvocations));
  info.emit.shared_bytes = p.limits.maxComputeSharedMemorySize;
  info.emit.narrow_indices = true;  // else Pipeline::wide() serves
  const bool shuffles = (v11p.subgroupSupportedOperations & VK_SUBGROUP_FEATURE_SHUFFLE_BIT) && (v11p.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT);
  const bool one_size = info.min_subgroup_size != 0 && info.min_subgroup_size == info.max_subgroup_size;
  if (shuffles && info.full_subgroups && (one_size || info.chooses_subgroup_size)) info.emit.subgroup_size = static_cast<int>(info.subgroup_size);
  // Subgroups must be of one size and full, for their number is counted on.
  if (info.emit.subgroup_size > 1 && info.float16) {
    info.emit.matrices = tile_shapes(info.matrices);
    info.emit.workgroup_matrices = workgroup_tile_shapes(info);
    info.emit.max_matrix_side = info.max_matrix_side;
    info.emit.matrix_shared_bytes = info.matrix_shared_bytes;
  }
  info.emit.dot_product = info.dot_product;
  info.emit.denorm_preserve_f32 = v12p.shaderDenormPreserveFloat32;
  info.emit.nan_preserve_f32 = v12p.shaderSignedZeroInfNanPreserveFloat32;
  info.target.kind = codegen::Target::Kind::kGpu;
  info.target.has_fma = true;
  info.target.matrices = info.emit.matrices;
  info.target.has_dot4_signed = info.dot_product;
  info.target.subgroup_size = static_cast<int>(info.subgroup_size);
  info.target.max_workgroup = static_cast<int>(p.limits.maxComputeWorkGroupInvocations);
  // A pipeline that asks for a size of subgroups may have so many of them, which can be fewer invocations.
  if (info.chooses_subgroup_size && subgroup.maxComputeWorkgroupSubgroups > 0)
    info.target.max_workgroup = static_cast<int>(std::min<uint64_t>(p.limits.maxComputeWorkGroupInvocations, uint64_t{info.subgroup_size} * subgroup.maxComputeWorkgroupSubgroups));
  info.target.shared_bytes = info.emit.shared_bytes;
  info.target.matrix_reserved_bytes = info.emit.workgroup_matrices.empty() ? 0 : info.emit.matrix_shared_bytes;
  info.compute_units = units.count();
  info.target.busy_workgroups = busy_workgroups(info.type, units);
  info.target.lane_sums = info.is_cpu ? 16 : 64;  // a software device compiles unrolled code slowly
  return info;
}

std::string DeviceInfo::code_identity() const {
  std::string out = fmt::format("workgroups {} shared {} subgroups {} dot {} denormals {} nans {}; workgroups {} shared {} subgroups {} sums {} busy {}",
                                emit.workgroup_size, emit.shared_bytes, emit.subgroup_size, emit.dot_product, emit.denorm_preserve_f32,
                                emit.nan_preserve_f32, target.max_workgroup, target.shared_bytes, target.subgroup_size, target.lane_sums,
                                target.busy_workgroups);
  const auto shape = [](const vulkan::MatrixShape& m) { return fmt::format("; {}x{}x{} {} {} {} {}", m.m, m.n, m.k, m.a, m.b, m.c, m.result); };
  for (const vulkan::MatrixShape& m : matrices) out += shape(m);
  for (const WorkgroupMatrixShape& m : workgroup_matrices) out += shape(m.multiples) + fmt::format(" by {}", m.invocations);
  out += fmt::format("; sides {} shared {}", max_matrix_side, matrix_shared_bytes);
  for (bool has : {float16, float64, int8, int16, storage8, storage16, subgroup_types, memory_model, cooperative_matrix}) out += has ? " 1" : " 0";
  return out;
}

}  // namespace tenon::backends::vulkan
