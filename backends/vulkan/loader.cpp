#include "backends/vulkan/loader.h"

#include <dlfcn.h>

namespace tenon::backends::vulkan {

Result<std::shared_ptr<Loader>> Loader::open() {
  std::shared_ptr<Loader> loader(new Loader());
  loader->library_ = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
  if (loader->library_ == nullptr)
    return Status(Code::kNotFound, "there is no Vulkan loader on this machine", "libvulkan.so.1",
                  "install libvulkan1 and your GPU's driver, or mesa-vulkan-drivers for the software device");
  loader->get_ = reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(loader->library_, "vkGetInstanceProcAddr"));
  if (loader->get_ == nullptr)
    return Status(Code::kNotFound, "libvulkan.so.1 has no vkGetInstanceProcAddr", "libvulkan.so.1", "reinstall libvulkan1");
#define TENON_VK_LOAD(name)                                                       \
  loader->name = reinterpret_cast<PFN_##name>(loader->get_(nullptr, #name));      \
  if (loader->name == nullptr) return error(Code::kUnsupported, "the Vulkan loader lacks {}", #name);
  TENON_VK_GLOBAL(TENON_VK_LOAD)
#undef TENON_VK_LOAD
  return loader;
}

Loader::~Loader() {
  if (library_ != nullptr) dlclose(library_);
}

Status Loader::load_instance(VkInstance instance) {
#define TENON_VK_LOAD(name)                                          \
  name = reinterpret_cast<PFN_##name>(get_(instance, #name));        \
  if (name == nullptr) return error(Code::kUnsupported, "the Vulkan driver lacks {}", #name);
  TENON_VK_INSTANCE(TENON_VK_LOAD)
#undef TENON_VK_LOAD
  return Status();
}

Status Loader::load_device(VkDevice device) {
#define TENON_VK_LOAD(name)                                                        \
  name = reinterpret_cast<PFN_##name>(vkGetDeviceProcAddr(device, #name));         \
  if (name == nullptr) return error(Code::kUnsupported, "the Vulkan device lacks {}", #name);
  TENON_VK_DEVICE(TENON_VK_LOAD)
#undef TENON_VK_LOAD
  return Status();
}

std::string_view result_name(VkResult result) {
  switch (result) {
    case VK_SUCCESS: return "VK_SUCCESS";
    case VK_TIMEOUT: return "VK_TIMEOUT";
    case VK_ERROR_OUT_OF_HOST_MEMORY: return "VK_ERROR_OUT_OF_HOST_MEMORY";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: return "VK_ERROR_OUT_OF_DEVICE_MEMORY";
    case VK_ERROR_INITIALIZATION_FAILED: return "VK_ERROR_INITIALIZATION_FAILED";
    case VK_ERROR_DEVICE_LOST: return "VK_ERROR_DEVICE_LOST";
    case VK_ERROR_MEMORY_MAP_FAILED: return "VK_ERROR_MEMORY_MAP_FAILED";
    case VK_ERROR_LAYER_NOT_PRESENT: return "VK_ERROR_LAYER_NOT_PRESENT";
    case VK_ERROR_EXTENSION_NOT_PRESENT: return "VK_ERROR_EXTENSION_NOT_PRESENT";
    case VK_ERROR_FEATURE_NOT_PRESENT: return "VK_ERROR_FEATURE_NOT_PRESENT";
    case VK_ERROR_INCOMPATIBLE_DRIVER: return "VK_ERROR_INCOMPATIBLE_DRIVER";
    case VK_ERROR_TOO_MANY_OBJECTS: return "VK_ERROR_TOO_MANY_OBJECTS";
    default: return "a Vulkan error";
  }
}

Status check(VkResult result, std::string_view call) {
  if (result == VK_SUCCESS) return Status();
  const bool memory = result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY;
  return Status(memory ? Code::kResourceExhausted : Code::kInternal,
                fmt::format("{} failed with {} ({})", call, result_name(result), static_cast<int>(result)), "Vulkan",
                memory ? "use a smaller batch or another backend" : "");
}

}  // namespace tenon::backends::vulkan
