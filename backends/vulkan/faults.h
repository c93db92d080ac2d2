#pragma once

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include <optional>
#include <string_view>

#include "support/status.h"

namespace tenon::backends::vulkan {

/// Makes calls of Vulkan fail on purpose, for tests of what follows. Process-wide and thread-safe.
///
/// Functions are wrapped when a driver is opened, and only if faults were wanted before that: set() was called, or
/// TENON_VULKAN_FAULTS is in the environment.
class Faults {
 public:
  /// "vkQueueSubmit:3=VK_ERROR_DEVICE_LOST", or several separated by commas: the third call from now on fails so, without
  /// reaching the driver. "3+" means the third and all after it; `dlopen` is that of the loader. Replaces what was set before; "" sets nothing.
  static Status set(std::string_view faults);
  static bool wanted();
  /// Calls of a wrapped function since the last set(), which a test may want to be none.
  static int64_t calls(std::string_view function);
  /// Counts a call; what it must return when it is to fail.
  static std::optional<VkResult> take(std::string_view function);
};

}  // namespace tenon::backends::vulkan
