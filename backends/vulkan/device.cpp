#include "backends/vulkan/device.h"

#include <algorithm>

#include "backends/vulkan/matrix_units.h"
#include "support/build_id.h"
#include "support/log.h"

namespace tenon::backends::vulkan {
namespace {

constexpr const char* kPipelines = "Vulkan pipelines by ";  // the key in the cache begins so

}  // namespace

Result<std::shared_ptr<Device>> Device::open(const DeviceOptions& options) {
  std::shared_ptr<Device> made(new Device());
  TENON_ASSIGN_OR_RETURN(made->instance_, Instance::open(options));
  TENON_ASSIGN_OR_RETURN(const int index, made->instance_->choose(options.device));
  made->info_ = made->instance_->devices()[static_cast<size_t>(index)];
  made->max_bytes_ = options.max_bytes;
  TENON_RETURN_IF_ERROR(made->create());
  made->allocator_ = std::make_unique<Allocator>(*made);
  TENON_RETURN_IF_ERROR(made->allocator_->prepare());
  return made;
}

Device::~Device() {
  if (device_ == VK_NULL_HANDLE || vk().vkDestroyDevice == nullptr) return;
  allocator_.reset();
  if (abandoned_) {
    static_cast<void>(new std::shared_ptr<const Instance>(instance_));  // the driver's threads may be in there
    return;
  }
  if (cache_ != VK_NULL_HANDLE) vk().vkDestroyPipelineCache(device_, cache_, nullptr);
  if (layout_ != VK_NULL_HANDLE) vk().vkDestroyPipelineLayout(device_, layout_, nullptr);
  vk().vkDestroyDevice(device_, nullptr);
}

Status Device::create() {
  family_ = *compute_family(vk(), physical());
  std::vector<const char*> extensions;
  const auto extension = [&](const char* name) {
    const bool there = has_extension(vk(), physical(), name);
    if (there) extensions.push_back(name);
    return there;
  };
  const bool newest = info_.api_version >= VK_API_VERSION_1_3;
  extension(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  has_feedback_ = newest || extension(VK_EXT_PIPELINE_CREATION_FEEDBACK_EXTENSION_NAME);

  void* chain = nullptr;
  MatrixFeatures matrices{.matrices = VK_TRUE};
  if (info_.cooperative_matrix && extension(kMatrixExtension)) chain = &matrices;
  MatrixFeatures2 matrices2{.next = chain, .workgroup_scope = VK_TRUE, .flexible_dimensions = VK_TRUE, .element_functions = VK_TRUE};
  if (!info_.workgroup_matrices.empty() && extension(kMatrixExtension2)) chain = &matrices2;
  VkPhysicalDeviceShaderIntegerDotProductFeatures dot{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES, chain, VK_TRUE};
  if (info_.dot_product && (newest || extension(VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME))) chain = &dot;
  VkPhysicalDeviceSubgroupSizeControlFeatures subgroup{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES};
  if ((info_.chooses_subgroup_size || info_.full_subgroups) && (newest || extension(VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME))) {
    subgroup.subgroupSizeControl = info_.chooses_subgroup_size;
    subgroup.computeFullSubgroups = info_.full_subgroups;
    subgroup.pNext = chain;
    chain = &subgroup;
  }
  VkPhysicalDeviceVulkan12Features v12{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES, chain};
  VkPhysicalDeviceVulkan11Features v11{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, &v12};
  VkPhysicalDeviceFeatures2 core{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, &v11};
  v12.bufferDeviceAddress = v12.timelineSemaphore = VK_TRUE;
  v12.shaderFloat16 = info_.float16;
  v12.shaderInt8 = info_.int8;
  v12.storageBuffer8BitAccess = info_.storage8;
  v12.shaderSubgroupExtendedTypes = info_.subgroup_types;
  v12.vulkanMemoryModel = v12.vulkanMemoryModelDeviceScope = info_.memory_model;
  v11.storageBuffer16BitAccess = info_.storage16;
  core.features.shaderInt64 = VK_TRUE;
  core.features.shaderFloat64 = info_.float64;
  core.features.shaderInt16 = info_.int16;
  const float priority = 1;
  const VkDeviceQueueCreateInfo queue{VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, nullptr, 0, family_, 1, &priority};
  VkDeviceCreateInfo create{VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, &core};
  create.queueCreateInfoCount = 1;
  create.pQueueCreateInfos = &queue;
  create.enabledExtensionCount = static_cast<uint32_t>(extensions.size());
  create.ppEnabledExtensionNames = extensions.data();
  TENON_RETURN_IF_ERROR(check(vk().vkCreateDevice(physical(), &create, nullptr, &device_), "vkCreateDevice"));
  TENON_RETURN_IF_ERROR(instance_->loader()->load_device(device_));
  vk().vkGetDeviceQueue(device_, family_, 0, &queue_);
  const VkPushConstantRange range{VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(codegen::spirv::PushConstants)};
  VkPipelineLayoutCreateInfo layout{VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO};
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &range;
  return check(vk().vkCreatePipelineLayout(device_, &layout, nullptr, &layout_), "vkCreatePipelineLayout");
}

// ---- loss ----------------------------------------------------------------------------------------------------------

Status Device::status() const {
  if (!lost_) return {};
  const std::lock_guard lock(loss_mutex_);
  return loss_;
}

Status Device::check(VkResult result, std::string_view call) const {
  if (result == VK_SUCCESS) return {};
  Status failed = vulkan::check(result, call).at(info_.name);
  if (result != VK_ERROR_DEVICE_LOST) return failed;
  const std::lock_guard lock(loss_mutex_);
  if (!lost_) loss_ = failed;
  lost_ = true;
  return failed;
}

void Device::settle() const {
  if (abandoned_) return;
  const std::lock_guard lock(queue_mutex_);
  static_cast<void>(vk().vkDeviceWaitIdle(device_));
}

Status Device::abandon(std::string_view why) const {
  const std::lock_guard lock(loss_mutex_);
  abandoned_ = true;
  if (!lost_)
    loss_ = Status(Code::kIo, std::string(why), info_.name, "see the system's log for what the driver says, or use --backend cpu");
  lost_ = true;
  return loss_;
}

Status Device::submit(const VkSubmitInfo& submit) const {
  TENON_RETURN_IF_ERROR(status());
  const std::lock_guard lock(queue_mutex_);
  return check(vk().vkQueueSubmit(queue_, 1, &submit, VK_NULL_HANDLE), "vkQueueSubmit");
}

// ---- pipelines -----------------------------------------------------------------------------------------------------

Result<std::unique_ptr<Pipeline>> Device::create_pipeline(std::span<const uint32_t> spirv, int lanes) const {
  TENON_RETURN_IF_ERROR(status());
  VkShaderModuleCreateInfo shader{VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO};
  shader.codeSize = spirv.size_bytes();
  shader.pCode = spirv.data();
  VkShaderModule module = VK_NULL_HANDLE;
  TENON_RETURN_IF_ERROR(check(vk().vkCreateShaderModule(device_, &shader, nullptr, &module), "vkCreateShaderModule"));
  std::unique_ptr<Pipeline> made(new Pipeline());
  made->device_ = shared_from_this();
  made->lanes = lanes;
  VkPipelineCreationFeedback whole{}, stage{};
  const VkPipelineCreationFeedbackCreateInfo feedback{VK_STRUCTURE_TYPE_PIPELINE_CREATION_FEEDBACK_CREATE_INFO, nullptr, &whole, 1, &stage};
  VkComputePipelineCreateInfo create{VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO, has_feedback_ ? &feedback : nullptr};
  create.stage = {VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO, nullptr, 0, VK_SHADER_STAGE_COMPUTE_BIT, module, "main", nullptr};
  create.layout = layout_;
  // Invocations that work together count on the size of subgroups that their schedule was made for.
  const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size{VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO, nullptr, info_.subgroup_size};
  if (lanes > 1 && info_.chooses_subgroup_size) create.stage.pNext = &size;
  if (lanes > 1 && info_.full_subgroups && lanes % static_cast<int>(info_.subgroup_size) == 0)
    create.stage.flags |= VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
  const VkResult result = vk().vkCreateComputePipelines(device_, cache_, 1, &create, nullptr, &made->pipeline_);
  vk().vkDestroyShaderModule(device_, module, nullptr);
  TENON_RETURN_IF_ERROR(check(result, "vkCreateComputePipelines"));
  constexpr VkPipelineCreationFeedbackFlags kHit = VK_PIPELINE_CREATION_FEEDBACK_VALID_BIT | VK_PIPELINE_CREATION_FEEDBACK_APPLICATION_PIPELINE_CACHE_HIT_BIT;
  made->cached = (whole.flags & kHit) == kHit;
  return made;
}

Result<const Pipeline*> Pipeline::wide() const {
  if (wide_words == nullptr) return this;
  const std::lock_guard lock(wide_mutex_);
  if (wide_ == nullptr) {
    TENON_ASSIGN_OR_RETURN(const std::vector<uint32_t> words, wide_words());
    TENON_ASSIGN_OR_RETURN(wide_, device_->create_pipeline(words, lanes));
  }
  return wide_.get();
}

Pipeline::~Pipeline() {
  if (pipeline_ != VK_NULL_HANDLE && !device_->abandoned()) device_->vk().vkDestroyPipeline(device_->handle(), pipeline_, nullptr);
}

std::string Device::identity() const {
  return fmt::format("{} for {} driver {} {:x} cache {}", build_id(), info_.uuid, info_.driver, info_.driver_version, info_.pipeline_cache_uuid);
}

void Device::use_cache(std::shared_ptr<const DiskCache> cache) const {
  const std::lock_guard lock(cache_mutex_);
  if (cache_ != VK_NULL_HANDLE || cache == nullptr || lost_) return;
  disk_ = std::move(cache);
  const auto found = disk_->find(kPipelines + identity());
  VkPipelineCacheCreateInfo create{VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
  if (found) {
    create.initialDataSize = saved_bytes_ = found->size();
    create.pInitialData = found->data();
  }
  // Without one, pipelines are compiled anew: no reason to stop.
  VkPipelineCache cache_made = VK_NULL_HANDLE;
  const Status made = check(vk().vkCreatePipelineCache(device_, &create, nullptr, &cache_made), "vkCreatePipelineCache");
  if (made.ok()) cache_ = cache_made;
  else log(LogLevel::kWarn, "compiled pipelines are not kept: {}", made.to_string());
}

void Device::save_cache() const {
  const std::lock_guard lock(cache_mutex_);
  if (cache_ == VK_NULL_HANDLE || disk_ == nullptr || lost_) return;
  size_t bytes = 0;
  if (vk().vkGetPipelineCacheData(device_, cache_, &bytes, nullptr) != VK_SUCCESS || bytes == saved_bytes_) return;
  std::vector<std::byte> data(bytes);
  if (vk().vkGetPipelineCacheData(device_, cache_, &bytes, data.data()) != VK_SUCCESS) return;
  data.resize(bytes);
  const Status kept = disk_->store(kPipelines + identity(), data);
  if (kept.ok()) saved_bytes_ = bytes;
  else log(LogLevel::kInfo, "compiled pipelines are not kept: {}", kept.to_string());
}

}  // namespace tenon::backends::vulkan
