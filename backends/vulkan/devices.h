#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "backends/vulkan/info.h"
#include "support/status.h"

/// The Vulkan devices of this machine, for who needs nothing of Vulkan itself.
namespace tenon::backends::vulkan {

class Device;

/// Every device, those that cannot be used with the reason. An error, which says what to install, without a loader or a driver.
Result<std::vector<DeviceInfo>> list_devices();

/// The device that all of this process share, opened at first use and again after a loss. `wanted` as DeviceOptions::device; empty: what
/// the environment says, else the best one. Drivers do not survive fork(): not before a process forks workers that use the device.
Result<std::shared_ptr<Device>> shared_device(std::string_view wanted);

/// What the shared device is, with that it is opened.
Result<DeviceInfo> open_info(std::string_view wanted);

/// Whether the device `wanted`, as of shared_device(), can be opened here, by opening it and closing it again.
Status can_open(std::string_view wanted = {});

}  // namespace tenon::backends::vulkan
