#include "backends/vulkan/loader.h"

#include <dlfcn.h>

#include <charconv>
#include <type_traits>

#include "backends/vulkan/faults.h"

namespace tenon::backends::vulkan {
namespace {

enum class Function {
#define TENON_VK_NUMBER(name) name,
  TENON_VK_GLOBAL(TENON_VK_NUMBER) TENON_VK_INSTANCE(TENON_VK_NUMBER) TENON_VK_DEVICE(TENON_VK_NUMBER)
#undef TENON_VK_NUMBER
};

/// A function that asks Faults before it calls the driver's. All devices of a process share it, so it serves one driver.
template <Function F, class Pointer>
struct Trap {
  static Pointer set(Pointer real, const char*) { return real; }
};
template <Function F, class... Args>
struct Trap<F, VkResult(VKAPI_PTR*)(Args...)> {
  using Pointer = VkResult(VKAPI_PTR*)(Args...);
  static inline Pointer real_ = nullptr;
  static inline const char* name_ = nullptr;
  static VkResult VKAPI_CALL call(Args... args) {
    if (const auto fault = Faults::take(name_)) return *fault;
    return real_(args...);
  }
  static Pointer set(Pointer real, const char* name) {
    if (real == nullptr || !Faults::wanted()) return real;
    real_ = real;
    name_ = name;
    return call;
  }
};

struct NamedResult {
  VkResult result;
  std::string_view name;
};
#define TENON_VK_RESULT(name) {name, #name}
constexpr NamedResult kResults[] = {
    TENON_VK_RESULT(VK_SUCCESS), TENON_VK_RESULT(VK_NOT_READY), TENON_VK_RESULT(VK_TIMEOUT), TENON_VK_RESULT(VK_INCOMPLETE),
    TENON_VK_RESULT(VK_ERROR_OUT_OF_HOST_MEMORY), TENON_VK_RESULT(VK_ERROR_OUT_OF_DEVICE_MEMORY),
    TENON_VK_RESULT(VK_ERROR_INITIALIZATION_FAILED), TENON_VK_RESULT(VK_ERROR_DEVICE_LOST),
    TENON_VK_RESULT(VK_ERROR_MEMORY_MAP_FAILED), TENON_VK_RESULT(VK_ERROR_LAYER_NOT_PRESENT),
    TENON_VK_RESULT(VK_ERROR_EXTENSION_NOT_PRESENT), TENON_VK_RESULT(VK_ERROR_FEATURE_NOT_PRESENT),
    TENON_VK_RESULT(VK_ERROR_INCOMPATIBLE_DRIVER), TENON_VK_RESULT(VK_ERROR_TOO_MANY_OBJECTS),
    TENON_VK_RESULT(VK_ERROR_FRAGMENTED_POOL), TENON_VK_RESULT(VK_ERROR_UNKNOWN)};
#undef TENON_VK_RESULT

}  // namespace

Result<std::shared_ptr<Loader>> Loader::open() {
  std::shared_ptr<Loader> loader(new Loader());
  if (!Faults::take("dlopen")) loader->library_ = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
  if (loader->library_ == nullptr)
    return Status(Code::kNotFound, "there is no Vulkan loader on this machine", "libvulkan.so.1",
                  "install libvulkan1 and your GPU's driver, or mesa-vulkan-drivers for the software device");
  loader->get_ = reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(loader->library_, "vkGetInstanceProcAddr"));
  if (loader->get_ == nullptr)
    return Status(Code::kNotFound, "libvulkan.so.1 has no vkGetInstanceProcAddr", "libvulkan.so.1", "reinstall libvulkan1");
#define TENON_VK_LOAD(name)                                                                                                 \
  loader->name = Trap<Function::name, PFN_##name>::set(reinterpret_cast<PFN_##name>(loader->get_(nullptr, #name)), #name); \
  if (loader->name == nullptr)                                                                                              \
    return Status(Code::kUnsupported, "the Vulkan loader lacks " #name, "libvulkan.so.1", "update libvulkan1");
  TENON_VK_GLOBAL(TENON_VK_LOAD)
#undef TENON_VK_LOAD
  return loader;
}

Loader::~Loader() {
  if (library_ != nullptr) dlclose(library_);
}

Status Loader::load_instance(VkInstance instance) {
#define TENON_VK_LOAD(name)                                                                                     \
  name = Trap<Function::name, PFN_##name>::set(reinterpret_cast<PFN_##name>(get_(instance, #name)), #name);     \
  if (name == nullptr) return error(Code::kUnsupported, "the Vulkan driver lacks {}", #name);
  TENON_VK_INSTANCE(TENON_VK_LOAD)
#undef TENON_VK_LOAD
  return Status();
}

Status Loader::load_device(VkDevice device) {
#define TENON_VK_LOAD(name)                                                                                                \
  name = Trap<Function::name, PFN_##name>::set(reinterpret_cast<PFN_##name>(vkGetDeviceProcAddr(device, #name)), #name);   \
  if (name == nullptr) return error(Code::kUnsupported, "the Vulkan device lacks {}", #name);
  TENON_VK_DEVICE(TENON_VK_LOAD)
#undef TENON_VK_LOAD
  return Status();
}

std::string_view result_name(VkResult result) {
  for (const NamedResult& named : kResults)
    if (named.result == result) return named.name;
  return "a Vulkan error";
}

std::optional<VkResult> result_from_name(std::string_view name) {
  for (const NamedResult& named : kResults)
    if (named.name == name) return named.result;
  int number = 0;
  const auto [end, ec] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (ec != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return static_cast<VkResult>(number);
}

Status check(VkResult result, std::string_view call) {
  if (result == VK_SUCCESS) return Status();
  const std::string what = fmt::format("{} failed with {} ({})", call, result_name(result), static_cast<int>(result));
  switch (result) {
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_TOO_MANY_OBJECTS: return Status(Code::kResourceExhausted, what, "Vulkan", "use a smaller batch or another backend");
    case VK_ERROR_DEVICE_LOST: return Status(Code::kIo, what, "Vulkan", "see the system's log for what the driver says, or use --backend cpu");
    default: return Status(Code::kInternal, what, "Vulkan");
  }
}

}  // namespace tenon::backends::vulkan
