#include "backends/vulkan/matrix_units.h"

#include <algorithm>

namespace tenon::backends::vulkan {
namespace {

struct Shape {  // VkCooperativeMatrixPropertiesKHR
  VkStructureType type = static_cast<VkStructureType>(1000506001);
  void* next = nullptr;
  uint32_t m = 0, n = 0, k = 0;
  int32_t a = 0, b = 0, c = 0, result = 0;
  VkBool32 saturating = VK_FALSE;
  int32_t scope = 0;
};
struct FlexibleShape {  // VkCooperativeMatrixFlexibleDimensionsPropertiesNV
  VkStructureType type = static_cast<VkStructureType>(1000593001);
  void* next = nullptr;
  uint32_t m = 0, n = 0, k = 0;
  int32_t a = 0, b = 0, c = 0, result = 0;
  VkBool32 saturating = VK_FALSE;
  int32_t scope = 0;
  uint32_t invocations = 0;
};
constexpr int32_t kWorkgroupScope = 2, kSubgroupScope = 3;  // VkScopeKHR
constexpr uint32_t kLargest = 256;                          // of a shape's dims

/// All that vkGetPhysicalDevice… gives; empty where there is no such function.
template <class Properties>
std::vector<Properties> enumerate(const Loader& vk, VkInstance instance, VkPhysicalDevice device, const char* name) {
  using Find = VkResult(VKAPI_PTR*)(VkPhysicalDevice, uint32_t*, Properties*);
  const auto find = reinterpret_cast<Find>(vk.find(instance, name));
  uint32_t count = 0;
  if (find == nullptr || find(device, &count, nullptr) != VK_SUCCESS) return {};
  std::vector<Properties> found(count);
  if (find(device, &count, found.data()) != VK_SUCCESS) return {};
  found.resize(std::min<size_t>(count, found.size()));
  return found;
}

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

MatrixShape shape_of(const auto& p) {
  return {p.m, p.n, p.k, component_name(p.a), component_name(p.b), component_name(p.c), component_name(p.result), p.saturating != VK_FALSE};
}

}  // namespace

void find_matrices(const Loader& vk, VkInstance instance, VkPhysicalDevice device, DeviceInfo& info) {
  for (const Shape& p : enumerate<Shape>(vk, instance, device, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR"))
    if (p.scope == kSubgroupScope) info.matrices.push_back(shape_of(p));
}

void find_workgroup_matrices(const Loader& vk, VkInstance instance, VkPhysicalDevice device, const MatrixProperties2& limits, DeviceInfo& info) {
  info.max_matrix_side = limits.max_dimension;
  info.max_matrix_workgroup = limits.max_workgroup;
  info.matrix_shared_bytes = limits.reserved_shared_bytes;
  for (const FlexibleShape& p : enumerate<FlexibleShape>(vk, instance, device, "vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV"))
    if (p.scope == kWorkgroupScope) info.workgroup_matrices.push_back({shape_of(p), p.invocations});
}

std::vector<codegen::MatrixShape> tile_shapes(const std::vector<MatrixShape>& matrices) {
  std::vector<codegen::MatrixShape> out;
  for (const MatrixShape& s : matrices) {
    const DType a = component_dtype(s.a), b = component_dtype(s.b), sum = component_dtype(s.c);
    if (s.saturating || s.c != s.result || a == DType::kInvalid || b == DType::kInvalid || sum == DType::kInvalid) continue;
    if (s.m < 1 || s.n < 1 || s.k < 1 || std::max({s.m, s.n, s.k}) > kLargest) continue;
    out.push_back({static_cast<int>(s.m), static_cast<int>(s.n), static_cast<int>(s.k), a, b, sum});
  }
  return out;
}

std::vector<codegen::spirv::WorkgroupMatrix> workgroup_tile_shapes(const DeviceInfo& info) {
  std::vector<codegen::spirv::WorkgroupMatrix> out;
  if (2 * int64_t{info.matrix_shared_bytes} > info.emit.shared_bytes) return out;  // tiles need the rest
  for (const WorkgroupMatrixShape& s : info.workgroup_matrices) {
    if (s.invocations < 2 || s.invocations > info.max_matrix_workgroup) continue;
    for (const codegen::MatrixShape& shape : tile_shapes({s.multiples})) out.push_back({shape, static_cast<int>(s.invocations)});
  }
  return out;
}

}  // namespace tenon::backends::vulkan
