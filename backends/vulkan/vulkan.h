#pragma once

#include "backends/backend.h"

namespace tenon::backends {

/// Compiles to SPIR-V for the best Vulkan device of this machine; nodes without a kernel run on the host.
const Backend& vulkan_backend();

}  // namespace tenon::backends
