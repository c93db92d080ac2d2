#include "backends/vulkan/devices.h"

#include <map>
#include <mutex>

#include "backends/vulkan/device.h"

namespace tenon::backends::vulkan {
namespace {

struct Shared {
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<Device>, std::less<>> devices;  // by their options
};

DeviceOptions options_of(std::string_view wanted) {
  DeviceOptions options = DeviceOptions::from_environment();
  if (!wanted.empty()) options.device = wanted;
  return options;
}

// Never destroyed: outputs that outlive main() hold memory of devices.
Shared& shared() {
  static Shared* made = new Shared();
  return *made;
}

}  // namespace

Result<std::vector<DeviceInfo>> list_devices() {
  TENON_ASSIGN_OR_RETURN(const auto instance, Instance::open(DeviceOptions::from_environment()));
  return std::vector<DeviceInfo>(instance->devices().begin(), instance->devices().end());
}

Result<std::shared_ptr<Device>> shared_device(std::string_view wanted) {
  const DeviceOptions options = options_of(wanted);
  const std::string key = fmt::format("{} {} {}", options.staging ? *options.staging ? 1 : 0 : -1, options.max_bytes, options.device);
  Shared& s = shared();
  const std::lock_guard lock(s.mutex);
  std::shared_ptr<Device>& device = s.devices[key];
  if (device == nullptr || device->lost()) {
    device = nullptr;
    TENON_ASSIGN_OR_RETURN(device, Device::open(options));
  }
  return device;
}

Result<DeviceInfo> open_info(std::string_view wanted) {
  TENON_ASSIGN_OR_RETURN(const std::shared_ptr<Device> device, shared_device(wanted));
  return device->info();
}

Status can_open(std::string_view wanted) { return Device::open(options_of(wanted)).status(); }

}  // namespace tenon::backends::vulkan
