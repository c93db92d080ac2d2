#pragma once

#include <span>

#include "codegen/plan/placement.h"
#include "support/status.h"

namespace tenon::backends::vulkan {

/// In the message of an error that is about where nodes run.
inline constexpr const char* kOnHost = "run on the host";

/// kMismatch where fewer of the model's nodes run on the device than TENON_REQUIRE_PLACEMENT ("vulkan=100%") wants; it lists the others
/// and why. kInvalidArgument where the variable is of another form. OK without it.
Status check_placement(std::span<const codegen::Placement> rows);

}  // namespace tenon::backends::vulkan
