#include "backends/vulkan/device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace tenon::backends::vulkan {
namespace {

// Device choice: a lower rank is preferred.
int rank(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return 0;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return 1;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return 2;
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return 3;
    default: return 4;
  }
}

struct Features {
  VkPhysicalDeviceVulkan12Features v12{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
  VkPhysicalDeviceVulkan11Features v11{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, &v12};
  VkPhysicalDeviceFeatures2 core{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, &v11};
};

std::optional<uint32_t> compute_family(const Loader& vk, VkPhysicalDevice device) {
  uint32_t count = 0;
  vk.vkGetPhysicalDeviceQueueFamilyProperties(device, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  vk.vkGetPhysicalDeviceQueueFamilyProperties(device, &count, families.data());
  for (uint32_t i = 0; i < count; ++i)
    if (families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) return i;
  return std::nullopt;
}

// Host-visible, coherent memory; on the device when such a type exists.
std::optional<uint32_t> mapped_memory_type(const Loader& vk, VkPhysicalDevice device) {
  VkPhysicalDeviceMemoryProperties memory;
  vk.vkGetPhysicalDeviceMemoryProperties(device, &memory);
  constexpr VkMemoryPropertyFlags kMapped = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  for (VkMemoryPropertyFlags wanted : {kMapped | VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, kMapped})
    for (uint32_t i = 0; i < memory.memoryTypeCount; ++i)
      if ((memory.memoryTypes[i].propertyFlags & wanted) == wanted) return i;
  return std::nullopt;
}

bool validation_wanted() {
  const char* value = std::getenv("TENON_VULKAN_VALIDATION");
  return value != nullptr && std::string_view(value) == "1";
}

}  // namespace

// ---- Device --------------------------------------------------------------------------------------------------------

Result<std::shared_ptr<Device>> Device::open() {
  std::shared_ptr<Device> device(new Device());
  TENON_ASSIGN_OR_RETURN(device->vk_, Loader::open());
  TENON_RETURN_IF_ERROR(device->create_instance());
  TENON_RETURN_IF_ERROR(device->choose());
  TENON_RETURN_IF_ERROR(device->create_device());
  return device;
}

Device::~Device() {
  if (layout_ != VK_NULL_HANDLE) vk_->vkDestroyPipelineLayout(device_, layout_, nullptr);
  if (device_ != VK_NULL_HANDLE) vk_->vkDestroyDevice(device_, nullptr);
  if (instance_ != VK_NULL_HANDLE && vk_->vkDestroyInstance != nullptr) vk_->vkDestroyInstance(instance_, nullptr);
}

Status Device::create_instance() {
  uint32_t version = 0;
  if (vk_->vkEnumerateInstanceVersion(&version) != VK_SUCCESS || version < VK_API_VERSION_1_2)
    return Status(Code::kUnsupported, "the Vulkan loader is older than 1.2", "libvulkan.so.1", "update libvulkan1");
  const VkApplicationInfo application{VK_STRUCTURE_TYPE_APPLICATION_INFO, nullptr, "tenon", 1, "tenon", 1,
                                      VK_API_VERSION_1_2};
  VkInstanceCreateInfo create{VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO};
  create.pApplicationInfo = &application;
  const char* layer = "VK_LAYER_KHRONOS_validation";
  if (validation_wanted()) {
    uint32_t count = 0;
    vk_->vkEnumerateInstanceLayerProperties(&count, nullptr);
    std::vector<VkLayerProperties> layers(count);
    vk_->vkEnumerateInstanceLayerProperties(&count, layers.data());
    const bool there = std::any_of(layers.begin(), layers.end(), [&](const VkLayerProperties& l) {
      return std::string_view(l.layerName) == layer;
    });
    if (!there)
      return Status(Code::kNotFound, "the Vulkan validation layer is not installed", "TENON_VULKAN_VALIDATION",
                    "install vulkan-validationlayers or unset the variable");
    create.enabledLayerCount = 1;
    create.ppEnabledLayerNames = &layer;
  }
  TENON_RETURN_IF_ERROR(check(vk_->vkCreateInstance(&create, nullptr, &instance_), "vkCreateInstance")
                            .with_hint("check that a Vulkan driver is installed"));
  return vk_->load_instance(instance_);
}

Status Device::choose() {
  uint32_t count = 0;
  TENON_RETURN_IF_ERROR(check(vk_->vkEnumeratePhysicalDevices(instance_, &count, nullptr), "vkEnumeratePhysicalDevices"));
  std::vector<VkPhysicalDevice> devices(count);
  TENON_RETURN_IF_ERROR(
      check(vk_->vkEnumeratePhysicalDevices(instance_, &count, devices.data()), "vkEnumeratePhysicalDevices"));
  int best = INT32_MAX;
  std::string refused;
  for (VkPhysicalDevice device : devices) {
    VkPhysicalDeviceDriverProperties driver{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
    VkPhysicalDeviceFloatControlsProperties floats{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FLOAT_CONTROLS_PROPERTIES, &driver};
    VkPhysicalDeviceProperties2 properties{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, &floats};
    vk_->vkGetPhysicalDeviceProperties2(device, &properties);
    const VkPhysicalDeviceProperties& p = properties.properties;
    auto refuse = [&](std::string_view why) { refused += fmt::format("{}{}: {}", refused.empty() ? "" : "; ", p.deviceName, why); };
    if (p.apiVersion < VK_API_VERSION_1_2) { refuse("older than Vulkan 1.2"); continue; }
    Features features;
    vk_->vkGetPhysicalDeviceFeatures2(device, &features.core);
    const auto family = compute_family(*vk_, device);
    const auto memory = mapped_memory_type(*vk_, device);
    if (!features.v12.bufferDeviceAddress) { refuse("no buffer device addresses"); continue; }
    if (!features.core.features.shaderInt64) { refuse("no 64-bit integers"); continue; }
    if (!family || !memory) { refuse("no compute queue or no host-visible memory"); continue; }
    if (rank(p.deviceType) >= best) continue;
    best = rank(p.deviceType);
    physical_ = device;
    family_ = *family;
    memory_type_ = *memory;
    info_.name = p.deviceName;
    info_.driver = fmt::format("{} {}", driver.driverName, driver.driverInfo);
    info_.api_version = p.apiVersion;
    info_.is_cpu = p.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
    info_.float16 = features.v12.shaderFloat16;
    info_.int8 = features.v12.shaderInt8;
    info_.storage8 = features.v12.storageBuffer8BitAccess;
    info_.storage16 = features.v11.storageBuffer16BitAccess;
    info_.float64 = features.core.features.shaderFloat64;
    info_.int16 = features.core.features.shaderInt16;
    info_.emit.workgroup_size = static_cast<int>(std::min<uint32_t>(64, p.limits.maxComputeWorkGroupInvocations));
    info_.target.kind = codegen::Target::Kind::kGpu;
    info_.target.has_fma = true;
    info_.target.max_workgroup = static_cast<int>(p.limits.maxComputeWorkGroupInvocations);
    info_.target.shared_bytes = info_.emit.shared_bytes = p.limits.maxComputeSharedMemorySize;
    info_.target.lane_sums = info_.is_cpu ? 16 : 64;
    info_.emit.denorm_preserve_f32 = floats.shaderDenormPreserveFloat32;
    info_.emit.nan_preserve_f32 = floats.shaderSignedZeroInfNanPreserveFloat32;
  }
  if (physical_ == VK_NULL_HANDLE)
    return Status(Code::kNotFound, "no Vulkan device can run kernels", refused.empty() ? "no device" : refused,
                  "install a driver for your GPU, or mesa-vulkan-drivers for the software device");
  return Status();
}

Status Device::create_device() {
  Features features;
  features.v12.bufferDeviceAddress = VK_TRUE;
  features.v12.shaderFloat16 = info_.float16;
  features.v12.shaderInt8 = info_.int8;
  features.v12.storageBuffer8BitAccess = info_.storage8;
  features.v11.storageBuffer16BitAccess = info_.storage16;
  features.core.features.shaderInt64 = VK_TRUE;
  features.core.features.shaderFloat64 = info_.float64;
  features.core.features.shaderInt16 = info_.int16;
  const float priority = 1;
  const VkDeviceQueueCreateInfo queue{VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, nullptr, 0, family_, 1, &priority};
  VkDeviceCreateInfo create{VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, &features.core};
  create.queueCreateInfoCount = 1;
  create.pQueueCreateInfos = &queue;
  TENON_RETURN_IF_ERROR(check(vk_->vkCreateDevice(physical_, &create, nullptr, &device_), "vkCreateDevice"));
  TENON_RETURN_IF_ERROR(vk_->load_device(device_));
  vk_->vkGetDeviceQueue(device_, family_, 0, &queue_);
  const VkPushConstantRange range{VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(codegen::spirv::PushConstants)};
  VkPipelineLayoutCreateInfo layout{VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO};
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &range;
  return check(vk_->vkCreatePipelineLayout(device_, &layout, nullptr, &layout_), "vkCreatePipelineLayout");
}

Result<std::unique_ptr<DeviceBuffer>> Device::allocate(size_t bytes) const {
  std::unique_ptr<DeviceBuffer> made(new DeviceBuffer());
  made->device_ = shared_from_this();
  made->size_ = bytes;
  VkBufferCreateInfo create{VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO};
  create.size = std::max<size_t>(bytes, 64);
  create.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
  TENON_RETURN_IF_ERROR(check(vk_->vkCreateBuffer(device_, &create, nullptr, &made->buffer_), "vkCreateBuffer"));
  VkMemoryRequirements needs;
  vk_->vkGetBufferMemoryRequirements(device_, made->buffer_, &needs);
  if ((needs.memoryTypeBits & (1u << memory_type_)) == 0)
    return error(Code::kUnsupported, "{} cannot put a storage buffer into host-visible memory", info_.name);
  const VkMemoryAllocateFlagsInfo flags{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO, nullptr,
                                        VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT, 0};
  const VkMemoryAllocateInfo memory{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, &flags, needs.size, memory_type_};
  TENON_RETURN_IF_ERROR(check(vk_->vkAllocateMemory(device_, &memory, nullptr, &made->memory_), "vkAllocateMemory"));
  TENON_RETURN_IF_ERROR(check(vk_->vkBindBufferMemory(device_, made->buffer_, made->memory_, 0), "vkBindBufferMemory"));
  void* host = nullptr;
  TENON_RETURN_IF_ERROR(check(vk_->vkMapMemory(device_, made->memory_, 0, VK_WHOLE_SIZE, 0, &host), "vkMapMemory"));
  made->host_ = static_cast<std::byte*>(host);
  const VkBufferDeviceAddressInfo address{VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, nullptr, made->buffer_};
  made->address_ = vk_->vkGetBufferDeviceAddress(device_, &address);
  return made;
}

DeviceBuffer::~DeviceBuffer() {
  if (buffer_ != VK_NULL_HANDLE) device_->vk_->vkDestroyBuffer(device_->device_, buffer_, nullptr);
  if (memory_ != VK_NULL_HANDLE) device_->vk_->vkFreeMemory(device_->device_, memory_, nullptr);
}

Result<std::unique_ptr<Pipeline>> Device::create_pipeline(std::span<const uint32_t> spirv, int lanes) const {
  VkShaderModuleCreateInfo shader{VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO};
  shader.codeSize = spirv.size_bytes();
  shader.pCode = spirv.data();
  VkShaderModule module = VK_NULL_HANDLE;
  TENON_RETURN_IF_ERROR(check(vk_->vkCreateShaderModule(device_, &shader, nullptr, &module), "vkCreateShaderModule"));
  std::unique_ptr<Pipeline> made(new Pipeline());
  made->device_ = shared_from_this();
  made->lanes = lanes;
  VkComputePipelineCreateInfo create{VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO};
  create.stage = {VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO, nullptr, 0, VK_SHADER_STAGE_COMPUTE_BIT, module,
                  "main", nullptr};
  create.layout = layout_;
  const VkResult result =
      vk_->vkCreateComputePipelines(device_, VK_NULL_HANDLE, 1, &create, nullptr, &made->pipeline_);
  vk_->vkDestroyShaderModule(device_, module, nullptr);
  TENON_RETURN_IF_ERROR(check(result, "vkCreateComputePipelines"));
  return made;
}

Pipeline::~Pipeline() {
  if (pipeline_ != VK_NULL_HANDLE) device_->vk_->vkDestroyPipeline(device_->device_, pipeline_, nullptr);
}

// ---- Stream --------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<Stream>> Stream::create(std::shared_ptr<const Device> device) {
  std::unique_ptr<Stream> stream(new Stream());
  stream->device_ = std::move(device);
  const Device& d = *stream->device_;
  const VkCommandPoolCreateInfo pool{VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, nullptr,
                                     VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT, d.family_};
  TENON_RETURN_IF_ERROR(check(d.vk_->vkCreateCommandPool(d.device_, &pool, nullptr, &stream->pool_), "vkCreateCommandPool"));
  const VkCommandBufferAllocateInfo commands{VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, nullptr, stream->pool_,
                                             VK_COMMAND_BUFFER_LEVEL_PRIMARY, 1};
  TENON_RETURN_IF_ERROR(
      check(d.vk_->vkAllocateCommandBuffers(d.device_, &commands, &stream->commands_), "vkAllocateCommandBuffers"));
  const VkFenceCreateInfo fence{VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
  TENON_RETURN_IF_ERROR(check(d.vk_->vkCreateFence(d.device_, &fence, nullptr, &stream->fence_), "vkCreateFence"));
  TENON_ASSIGN_OR_RETURN(stream->check_code_, d.allocate(sizeof(int32_t)));
  std::memset(stream->check_code_->host(), 0, sizeof(int32_t));
  return stream;
}

Stream::~Stream() {
  const Device& d = *device_;
  if (fence_ != VK_NULL_HANDLE) d.vk_->vkDestroyFence(d.device_, fence_, nullptr);
  if (pool_ != VK_NULL_HANDLE) d.vk_->vkDestroyCommandPool(d.device_, pool_, nullptr);
}

Status Stream::begin() {
  const VkCommandBufferBeginInfo begin{VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO, nullptr,
                                       VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
  block_ = used_ = 0;
  return check(device_->vk_->vkBeginCommandBuffer(commands_, &begin), "vkBeginCommandBuffer");
}

Result<uint64_t> Stream::parameters(std::span<const uint64_t> addresses, std::span<const int64_t> dims) {
  constexpr size_t kBlockBytes = 64 << 10;
  const size_t bytes = (addresses.size() + dims.size() + 1) * sizeof(uint64_t);
  if (used_ + bytes > kBlockBytes) ++block_, used_ = 0;
  if (block_ == blocks_.size()) {
    TENON_ASSIGN_OR_RETURN(auto block, device_->allocate(std::max(kBlockBytes, bytes)));
    blocks_.push_back(std::move(block));
  }
  const DeviceBuffer& block = *blocks_[block_];
  if (used_ + bytes > block.size()) return error(Code::kResourceExhausted, "a kernel has {} parameters", dims.size());
  std::byte* at = block.host() + used_;
  at = std::ranges::copy(std::as_bytes(addresses), at).out;
  at = std::ranges::copy(std::as_bytes(dims), at).out;
  const uint64_t check_code = check_code_->address();
  std::memcpy(at, &check_code, sizeof check_code);
  const uint64_t address = block.address() + used_;
  used_ += bytes;
  return address;
}

Status Stream::dispatch(const Pipeline& pipeline, std::span<const uint64_t> addresses, std::span<const int64_t> dims,
                        int64_t grid) {
  if (grid <= 0) return Status();
  const Device& d = *device_;
  if (recorded_ == 0) TENON_RETURN_IF_ERROR(begin());
  TENON_ASSIGN_OR_RETURN(const uint64_t block, parameters(addresses, dims));
  const codegen::spirv::PushConstants push{block, 0, grid};
  if (recorded_ > 0) {
    const VkMemoryBarrier barrier{VK_STRUCTURE_TYPE_MEMORY_BARRIER, nullptr, VK_ACCESS_SHADER_WRITE_BIT,
                                  VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT};
    d.vk_->vkCmdPipelineBarrier(commands_, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0,
                                1, &barrier, 0, nullptr, 0, nullptr);
  }
  d.vk_->vkCmdBindPipeline(commands_, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline.pipeline_);
  d.vk_->vkCmdPushConstants(commands_, d.layout_, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof push, &push);
  const int64_t size = pipeline.lanes > 1 ? 1 : d.info_.emit.workgroup_size, groups = (grid + size - 1) / size;
  constexpr int64_t kMaxGroups = 65535;  // the smallest maxComputeWorkGroupCount that Vulkan allows
  const int64_t columns = std::min(groups, kMaxGroups), rows = (groups + columns - 1) / columns;
  if (rows > kMaxGroups) return error(Code::kResourceExhausted, "a grid of {} is too large for one dispatch", grid);
  d.vk_->vkCmdDispatch(commands_, static_cast<uint32_t>(columns), static_cast<uint32_t>(rows), 1);
  ++recorded_;
  return Status();
}

Result<int32_t> Stream::flush() {
  if (recorded_ == 0) return 0;
  const Device& d = *device_;
  const VkMemoryBarrier barrier{VK_STRUCTURE_TYPE_MEMORY_BARRIER, nullptr, VK_ACCESS_SHADER_WRITE_BIT,
                                VK_ACCESS_HOST_READ_BIT};
  d.vk_->vkCmdPipelineBarrier(commands_, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &barrier,
                              0, nullptr, 0, nullptr);
  recorded_ = 0;
  TENON_RETURN_IF_ERROR(check(d.vk_->vkEndCommandBuffer(commands_), "vkEndCommandBuffer"));
  VkSubmitInfo submit{VK_STRUCTURE_TYPE_SUBMIT_INFO};
  submit.commandBufferCount = 1;
  submit.pCommandBuffers = &commands_;
  {
    std::lock_guard lock(d.queue_mutex_);
    TENON_RETURN_IF_ERROR(check(d.vk_->vkQueueSubmit(d.queue_, 1, &submit, fence_), "vkQueueSubmit"));
  }
  constexpr uint64_t kTimeoutNs = 120'000'000'000;
  TENON_RETURN_IF_ERROR(check(d.vk_->vkWaitForFences(d.device_, 1, &fence_, VK_TRUE, kTimeoutNs), "vkWaitForFences"));
  TENON_RETURN_IF_ERROR(check(d.vk_->vkResetFences(d.device_, 1, &fence_), "vkResetFences"));
  TENON_RETURN_IF_ERROR(check(d.vk_->vkResetCommandBuffer(commands_, 0), "vkResetCommandBuffer"));
  int32_t code = 0;
  std::memcpy(&code, check_code_->host(), sizeof code);
  std::memset(check_code_->host(), 0, sizeof code);
  return code;
}

}  // namespace tenon::backends::vulkan
