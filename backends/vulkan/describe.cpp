#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/vulkan/instance.h"

// What a physical device is and can do.
namespace tenon::backends::vulkan {
namespace {

// VK_KHR_cooperative_matrix is younger than the headers that Debian 12 has: its numbers and structures, from the Vulkan registry.
constexpr auto kMatrixFeatures = static_cast<VkStructureType>(1000506000);
constexpr auto kMatrixProperties = static_cast<VkStructureType>(1000506001);
struct MatrixFeatures {
  VkStructureType type = kMatrixFeatures;
  void* next = nullptr;
  VkBool32 matrices = VK_FALSE, robust = VK_FALSE;
};
struct MatrixProperties {
  VkStructureType type = kMatrixProperties;
  void* next = nullptr;
  uint32_t m, n, k;
  int32_t a, b, c, result;
  VkBool32 saturating;
  int32_t scope;
};
using FindMatrices = VkResult(VKAPI_PTR*)(VkPhysicalDevice, uint32_t*, MatrixProperties*);
constexpr int32_t kSubgroupScope = 3;

std::string component_name(int32_t type) {
  constexpr const char* kNames[] = {"f16", "f32", "f64", "s8", "s16", "s32", "s64", "u8", "u16", "u32", "u64"};
  return type >= 0 && type < static_cast<int32_t>(std::size(kNames)) ? kNames[type] : std::to_string(type);
}

DType component_dtype(const std::string& name) {
  constexpr std::pair<std::string_view, DType> kTypes[] = {{"f16", DType::kF16}, {"f32", DType::kF32}, {"f64", DType::kF64},
                                                           {"s8", DType::kI8},   {"s16", DType::kI16}, {"s32", DType::kI32},
                                                           {"u8", DType::kU8},   {"u16", DType::kU16}, {"u32", DType::kU32}};
  const auto found = std::ranges::find(kTypes, name, &std::pair<std::string_view, DType>::first);
  return found == std::end(kTypes) ? DType::kInvalid : found->second;
}

/// The shapes that tiles can be of: sums of one dtype that do not stop at its ends.
std::vector<codegen::MatrixShape> tile_shapes(const std::vector<MatrixShape>& matrices) {
  std::vector<codegen::MatrixShape> out;
  for (const MatrixShape& s : matrices) {
    const DType a = component_dtype(s.a), b = component_dtype(s.b), sum = component_dtype(s.c);
    if (s.saturating || s.c != s.result || a == DType::kInvalid || b == DType::kInvalid || sum == DType::kInvalid) continue;
    if (s.m < 1 || s.n < 1 || s.k < 1 || std::max({s.m, s.n, s.k}) > 256) continue;
    out.push_back({static_cast<int>(s.m), static_cast<int>(s.n), static_cast<int>(s.k), a, b, sum});
  }
  return out;
}

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

void describe_matrices(const Loader& vk, VkInstance instance, VkPhysicalDevice device, DeviceInfo& info) {
  const auto find = reinterpret_cast<FindMatrices>(vk.find(instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR"));
  uint32_t count = 0;
  if (find == nullptr || find(device, &count, nullptr) != VK_SUCCESS) return;
  std::vector<MatrixProperties> found(count);
  if (find(device, &count, found.data()) != VK_SUCCESS) return;
  for (const MatrixProperties& p : found)
    if (p.scope == kSubgroupScope)
      info.matrices.push_back({p.m, p.n, p.k, component_name(p.a), component_name(p.b), component_name(p.c), component_name(p.result), p.saturating != VK_FALSE});
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
  const bool matrix = has_extension(vk, device, "VK_KHR_cooperative_matrix");

  VkPhysicalDeviceSubgroupSizeControlProperties subgroup{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES};
  VkPhysicalDeviceVulkan12Properties v12p{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES, chooses_subgroup ? &subgroup : nullptr};
  VkPhysicalDeviceVulkan11Properties v11p{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES, &v12p};
  VkPhysicalDeviceProperties2 properties{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, modern ? &v11p : nullptr};
  vk.vkGetPhysicalDeviceProperties2(device, &properties);
  MatrixFeatures matrices;
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
  if (info.cooperative_matrix) describe_matrices(vk, instance, device, info);
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
  if (info.emit.subgroup_size > 1 && info.float16) info.emit.matrices = tile_shapes(info.matrices);
  info.emit.dot_product = info.dot_product;
  info.emit.denorm_preserve_f32 = v12p.shaderDenormPreserveFloat32;
  info.emit.nan_preserve_f32 = v12p.shaderSignedZeroInfNanPreserveFloat32;
  info.target.kind = codegen::Target::Kind::kGpu;
  info.target.has_fma = true;
  info.target.matrices = info.emit.matrices;
  info.target.has_dot4_signed = info.dot_product;
  info.target.subgroup_size = static_cast<int>(info.subgroup_size);
  info.target.max_workgroup = static_cast<int>(p.limits.maxComputeWorkGroupInvocations);
  info.target.shared_bytes = p.limits.maxComputeSharedMemorySize;
  info.target.lane_sums = info.is_cpu ? 16 : 64;  // a software device compiles unrolled code slowly
  return info;
}

std::string DeviceInfo::code_identity() const {
  std::string out = fmt::format("workgroups {} shared {} subgroups {} dot {} denormals {} nans {}; workgroups {} shared {} subgroups {} sums {} busy {}",
                                emit.workgroup_size, emit.shared_bytes, emit.subgroup_size, emit.dot_product, emit.denorm_preserve_f32,
                                emit.nan_preserve_f32, target.max_workgroup, target.shared_bytes, target.subgroup_size, target.lane_sums,
                                target.busy_workgroups);
  for (const vulkan::MatrixShape& m : matrices) out += fmt::format("; {}x{}x{} {} {} {} {}", m.m, m.n, m.k, m.a, m.b, m.c, m.result);
  for (bool has : {float16, float64, int8, int16, storage8, storage16, subgroup_types, memory_model, cooperative_matrix}) out += has ? " 1" : " 0";
  return out;
}

}  // namespace tenon::backends::vulkan
