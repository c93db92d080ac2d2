#include "backends/vulkan/devices.h"

#include <map>
#include <mutex>

#include "backends/vulkan/device.h"

namespace tenon::backends::vulkan {
namespace {

struct Shared {
  std::mutex mutex;
  std::map<std::string, Result<std::shared_ptr<Device>>, std::less<>> devices;  // by what was wanted; errors are kept as well
};

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
  DeviceOptions options = DeviceOptions::from_environment();
  if (!wanted.empty()) options.device = wanted;
  Shared& s = shared();
  const std::lock_guard lock(s.mutex);
  auto found = s.devices.find(options.device);
  if (found != s.devices.end() && !(found->second.ok() && (*found->second)->lost())) return found->second;
  auto opened = Device::open(options);
  if (found != s.devices.end()) found->second = opened;
  else s.devices.emplace(options.device, opened);
  return opened;
}

Status can_open() { return Device::open().status(); }

}  // namespace tenon::backends::vulkan
