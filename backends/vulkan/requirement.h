#pragma once

#include <span>
#include <string_view>

#include "codegen/plan/placement.h"
#include "support/status.h"

namespace tenon::backends::vulkan {

/// In the message of an error that is about where nodes run.
inline constexpr const char* kOnHost = "run on the host";

/// kMismatch where fewer of the model's nodes run on the device than `wanted` ("vulkan=100%", CompileOptions::require_placement) says; it
/// lists the others and why. kInvalidArgument where it is of another form. OK where it is empty.
Status check_placement(std::span<const codegen::Placement> rows, std::string_view wanted);

/// The form of `wanted` alone.
Status check_requirement(std::string_view wanted);

}  // namespace tenon::backends::vulkan
