#pragma once

#include <cstddef>

namespace tenon {

/// What one run may hold at once unless its options say otherwise: 80 % of the machine's memory.
size_t default_memory_limit();

}  // namespace tenon
