#pragma once

#include <vector>

#include "codegen/kernel_ir.h"

namespace tenon::codegen::spirv {

/// By value: whether an i64 may be computed in 32 bits, which GPUs do several times faster, provided that sizes are
/// within kNarrowLimit (emit.h). These are grid indices, dims, small constants, the counters of loops, and sums,
/// products with a dim or constant, quotients and choices of those that serve as offsets, bounds and in comparisons alone. What becomes
/// data stays as wide as it is, since nothing bounds it; stores to the buffer `log` (EmitOptions::log) do not count.
std::vector<char> narrow_values(const kir::Kernel& kernel, int log = -1);

}  // namespace tenon::codegen::spirv
