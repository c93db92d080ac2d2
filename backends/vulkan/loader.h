#pragma once

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include <memory>
#include <optional>

#include "support/status.h"

/// Functions by the level at which they are looked up.
#define TENON_VK_GLOBAL(X)                                                             \
  X(vkCreateInstance) X(vkEnumerateInstanceVersion) X(vkEnumerateInstanceLayerProperties) \
  X(vkEnumerateInstanceExtensionProperties)
#define TENON_VK_INSTANCE(X)                                                                                      \
  X(vkDestroyInstance) X(vkEnumeratePhysicalDevices) X(vkGetPhysicalDeviceProperties2)                            \
  X(vkGetPhysicalDeviceFeatures2) X(vkGetPhysicalDeviceMemoryProperties) X(vkGetPhysicalDeviceQueueFamilyProperties) \
  X(vkGetPhysicalDeviceMemoryProperties2) X(vkEnumerateDeviceExtensionProperties) X(vkCreateDevice)               \
  X(vkGetDeviceProcAddr)
#define TENON_VK_DEVICE(X)                                                                                        \
  X(vkDestroyDevice) X(vkDeviceWaitIdle) X(vkGetDeviceQueue) X(vkCreateBuffer) X(vkDestroyBuffer)                 \
  X(vkGetBufferMemoryRequirements) X(vkAllocateMemory) X(vkFreeMemory) X(vkBindBufferMemory) X(vkMapMemory)       \
  X(vkGetBufferDeviceAddress) X(vkCreateShaderModule) X(vkDestroyShaderModule) X(vkCreatePipelineLayout)          \
  X(vkDestroyPipelineLayout) X(vkCreateComputePipelines) X(vkDestroyPipeline) X(vkCreatePipelineCache)            \
  X(vkDestroyPipelineCache) X(vkGetPipelineCacheData) X(vkCreateCommandPool) X(vkDestroyCommandPool)              \
  X(vkResetCommandPool) X(vkAllocateCommandBuffers) X(vkBeginCommandBuffer) X(vkEndCommandBuffer)                 \
  X(vkCmdBindPipeline) X(vkCmdPushConstants) X(vkCmdDispatch) X(vkCmdPipelineBarrier) X(vkCmdCopyBuffer)          \
  X(vkCmdResetQueryPool) X(vkCmdWriteTimestamp) X(vkCreateQueryPool) X(vkDestroyQueryPool)                        \
  X(vkGetQueryPoolResults) X(vkQueueSubmit) X(vkCreateSemaphore) X(vkDestroySemaphore) X(vkWaitSemaphores)

namespace tenon::backends::vulkan {

/// libvulkan, opened at run time: a product without it still starts.
class Loader {
 public:
  /// kNotFound, with what to install, when there is no loader on this machine.
  static Result<std::shared_ptr<Loader>> open();
  ~Loader();
  Status load_instance(VkInstance instance);
  Status load_device(VkDevice device);
  /// Of an extension; null where it is not there.
  PFN_vkVoidFunction find(VkInstance instance, const char* name) const { return get_(instance, name); }

#define TENON_VK_DECLARE(name) PFN_##name name = nullptr;
  TENON_VK_GLOBAL(TENON_VK_DECLARE)
  TENON_VK_INSTANCE(TENON_VK_DECLARE)
  TENON_VK_DEVICE(TENON_VK_DECLARE)
#undef TENON_VK_DECLARE

 private:
  Loader() = default;
  void* library_ = nullptr;
  PFN_vkGetInstanceProcAddr get_ = nullptr;
};

/// "VK_ERROR_DEVICE_LOST" … for messages.
std::string_view result_name(VkResult result);
/// From such a name, or from the number.
std::optional<VkResult> result_from_name(std::string_view name);

/// An error with the failing call's name, unless `result` is VK_SUCCESS. A lost device is kIo.
Status check(VkResult result, std::string_view call);

}  // namespace tenon::backends::vulkan
