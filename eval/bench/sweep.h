#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "support/status.h"

namespace tenon::eval {

/// Numbers from a list of numbers and ranges: "1,2,4", "1-4" (1, 2, 3, 4), "2-8+2" (2, 4, 6, 8), "1-8*2" (1, 2, 4, 8). Without
/// repetitions, in the order given. kInvalidArgument, naming the option, for anything else, numbers outside [low, high], and more than 1,000.
Result<std::vector<int64_t>> parse_sweep(std::string_view text, const char* option, int64_t low, int64_t high);

/// One way to bind dims.
using DimBinding = std::vector<std::pair<std::string, int64_t>>;

/// All combinations of "NAME=SWEEP" items; the last name varies fastest. One empty binding when there are none.
Result<std::vector<DimBinding>> parse_dim_sweeps(const std::vector<std::string>& items);

}  // namespace tenon::eval
