#include "backends/vulkan/instance.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>

#include "support/log.h"

namespace tenon::backends::vulkan {
namespace {

constexpr const char* kLayer = "VK_LAYER_KHRONOS_validation";

std::atomic<int>& message_count() {
  static std::atomic<int> count = 0;
  return count;
}

VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT, VkDebugUtilsMessageTypeFlagsEXT,
                               const VkDebugUtilsMessengerCallbackDataEXT* data, void*) {
  ++message_count();
  log(LogLevel::kError, "Vulkan validation: {}", data->pMessage);
  return VK_FALSE;
}

VkDebugUtilsMessengerCreateInfoEXT messenger_info() {
  VkDebugUtilsMessengerCreateInfoEXT info{VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT};
  info.messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
  info.messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT;
  info.pfnUserCallback = on_message;
  return info;
}

bool flag(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && std::string_view(value) == "1";
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

// A lower rank is preferred.
int rank(const DeviceInfo& info) {
  constexpr std::string_view kOrder[] = {"discrete", "integrated", "virtual", "software"};
  return static_cast<int>(std::ranges::find(kOrder, info.type) - std::begin(kOrder));
}

bool matches(const DeviceInfo& info, std::string_view wanted) {
  int index = 0;
  const auto [end, ec] = std::from_chars(wanted.data(), wanted.data() + wanted.size(), index);
  if (ec == std::errc() && end == wanted.data() + wanted.size() && wanted.size() < 4) return info.index == index;
  std::string digits = lower(wanted);
  std::erase(digits, '-');
  constexpr size_t kShortestUuid = 4;
  if (digits.size() >= kShortestUuid && info.uuid.starts_with(digits)) return true;
  return lower(info.name).find(lower(wanted)) != std::string::npos;
}

}  // namespace

DeviceOptions DeviceOptions::from_environment() {
  DeviceOptions out;
  if (const char* value = std::getenv("TENON_VULKAN_DEVICE")) out.device = value;
  if (const char* value = std::getenv("TENON_VULKAN_STAGING"); value != nullptr && *value != '\0') out.staging = std::string_view(value) != "0";
  if (const char* value = std::getenv("TENON_VULKAN_MAX_BYTES")) out.max_bytes = std::strtoull(value, nullptr, 10);
  out.validation = flag("TENON_VULKAN_VALIDATION");
  out.checked = flag("TENON_VULKAN_CHECKED");
  return out;
}

Result<std::shared_ptr<const Instance>> Instance::open(const DeviceOptions& options) {
  std::shared_ptr<Instance> made(new Instance());
  TENON_ASSIGN_OR_RETURN(made->vk_, Loader::open());
  TENON_RETURN_IF_ERROR(made->create(options));
  TENON_RETURN_IF_ERROR(made->find_devices(options));
  return std::shared_ptr<const Instance>(std::move(made));
}

Instance::~Instance() {
  if (messenger_ != VK_NULL_HANDLE) {
    const auto destroy = reinterpret_cast<PFN_vkDestroyDebugUtilsMessengerEXT>(vk_->find(instance_, "vkDestroyDebugUtilsMessengerEXT"));
    if (destroy != nullptr) destroy(instance_, messenger_, nullptr);
  }
  if (instance_ != VK_NULL_HANDLE && vk_->vkDestroyInstance != nullptr) vk_->vkDestroyInstance(instance_, nullptr);
}

int Instance::validation_messages() { return message_count(); }

Status Instance::create(const DeviceOptions& options) {
  uint32_t version = 0;
  if (vk_->vkEnumerateInstanceVersion(&version) != VK_SUCCESS || version < VK_API_VERSION_1_2)
    return Status(Code::kUnsupported, "the Vulkan loader is older than 1.2", "libvulkan.so.1", "update libvulkan1");
  // Newer devices show what they have beyond 1.2 only to who asks for their version.
  const VkApplicationInfo application{VK_STRUCTURE_TYPE_APPLICATION_INFO, nullptr, "tenon", 1, "tenon", 1,
                                      std::min<uint32_t>(version, VK_API_VERSION_1_3)};
  VkInstanceCreateInfo create{VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO};
  create.pApplicationInfo = &application;
  VkDebugUtilsMessengerCreateInfoEXT messenger = messenger_info();
  constexpr VkValidationFeatureEnableEXT kEnabled[] = {VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
  const VkValidationFeaturesEXT validation{VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT, &messenger, 1, kEnabled, 0, nullptr};
  constexpr const char* kExtensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME, VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME};
  if (options.validation) {
    uint32_t count = 0;
    vk_->vkEnumerateInstanceLayerProperties(&count, nullptr);
    std::vector<VkLayerProperties> layers(count);
    vk_->vkEnumerateInstanceLayerProperties(&count, layers.data());
    if (std::ranges::none_of(layers, [](const VkLayerProperties& l) { return std::string_view(l.layerName) == kLayer; }))
      return Status(Code::kNotFound, "the Vulkan validation layer is not installed", "TENON_VULKAN_VALIDATION",
                    "install vulkan-validationlayers or unset the variable");
    create.pNext = &validation;
    create.enabledLayerCount = 1;
    create.ppEnabledLayerNames = &kLayer;
    create.enabledExtensionCount = 2;
    create.ppEnabledExtensionNames = kExtensions;
  }
  const VkResult result = vk_->vkCreateInstance(&create, nullptr, &instance_);
  if (result == VK_ERROR_INCOMPATIBLE_DRIVER)
    return Status(Code::kNotFound, "the Vulkan loader finds no driver", "vkCreateInstance",
                  "install your GPU's driver, or mesa-vulkan-drivers for the software device; unset VK_DRIVER_FILES and VK_ICD_FILENAMES where they are wrong");
  TENON_RETURN_IF_ERROR(check(result, "vkCreateInstance").with_hint("check that a Vulkan driver is installed"));
  TENON_RETURN_IF_ERROR(vk_->load_instance(instance_));
  if (options.validation) {
    const auto make = reinterpret_cast<PFN_vkCreateDebugUtilsMessengerEXT>(vk_->find(instance_, "vkCreateDebugUtilsMessengerEXT"));
    if (make != nullptr) TENON_RETURN_IF_ERROR(check(make(instance_, &messenger, nullptr, &messenger_), "vkCreateDebugUtilsMessengerEXT"));
  }
  return {};
}

Status Instance::find_devices(const DeviceOptions& options) {
  uint32_t count = 0;
  TENON_RETURN_IF_ERROR(check(vk_->vkEnumeratePhysicalDevices(instance_, &count, nullptr), "vkEnumeratePhysicalDevices"));
  physical_.resize(count);
  TENON_RETURN_IF_ERROR(check(vk_->vkEnumeratePhysicalDevices(instance_, &count, physical_.data()), "vkEnumeratePhysicalDevices"));
  physical_.resize(count);
  for (VkPhysicalDevice device : physical_)
    devices_.push_back(describe(*vk_, instance_, device, static_cast<int>(devices_.size()), options));
  return {};
}

Result<int> Instance::choose(std::string_view wanted) const {
  std::string all, refused;
  int best = -1;
  for (const DeviceInfo& info : devices_) {
    all += fmt::format("{}{} {}", all.empty() ? "" : ", ", info.index, info.name);
    if (!wanted.empty() && !matches(info, wanted)) continue;
    if (!info.refused.empty()) refused += fmt::format("{}{}: {}", refused.empty() ? "" : "; ", info.name, info.refused);
    else if (best == -1 || rank(info) < rank(devices_[static_cast<size_t>(best)])) best = info.index;
  }
  if (best != -1) return best;
  if (devices_.empty() || (wanted.empty() && refused.empty()))
    return Status(Code::kNotFound, "there is no Vulkan device on this machine", "Vulkan",
                  "install your GPU's driver, or mesa-vulkan-drivers for the software device");
  if (!refused.empty())
    return Status(Code::kUnsupported, "no Vulkan device can run kernels", refused,
                  "install a newer driver, or mesa-vulkan-drivers for the software device");
  return Status(Code::kNotFound, fmt::format("there is no Vulkan device '{}'", wanted), "--device", "choose from " + all);
}

}  // namespace tenon::backends::vulkan
