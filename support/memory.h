#pragma once

#include <cstddef>

namespace tenon {

/// Bytes of memory that this process can have at most: the machine's, or what its control group allows.
size_t physical_memory();

/// What one run may hold at once unless its options say otherwise: 80 % of that.
size_t default_memory_limit();

}  // namespace tenon
