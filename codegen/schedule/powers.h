#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace tenon::codegen {

/// The largest power of two that is at most x, the least that is at least x; 1 for x below 1.
inline int64_t power_below(int64_t x) { return static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(std::max<int64_t>(1, x)))); }
inline int64_t power_above(int64_t x) { return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(1, x)))); }

}  // namespace tenon::codegen
