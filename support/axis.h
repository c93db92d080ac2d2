#pragma once

#include <cstdint>
#include <string_view>

#include "support/status.h"

namespace tenon {

/// -rank..rank-1 to 0..rank-1, or an error that names what the axis is of.
Result<int64_t> normalize_axis(int64_t axis, int64_t rank, std::string_view what = "axis");

}  // namespace tenon
