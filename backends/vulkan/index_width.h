#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "codegen/spirv/emit.h"
#include "runtime/plan.h"

namespace tenon::backends::vulkan {

/// Whether a grid, a dim and the bytes of a buffer are within what indices of 32 bits count (EmitOptions::narrow_indices).
inline bool is_narrow(int64_t dim) { return dim > -codegen::spirv::kNarrowLimit && dim < codegen::spirv::kNarrowLimit; }
inline bool has_narrow_indices(size_t bytes) { return bytes < 4 * size_t{codegen::spirv::kNarrowLimit}; }

/// By kernel of the plan and its bodies: whether a run may need indices of 64 bits, as some size is known only then, or is beyond that.
std::vector<char> may_need_wide(const runtime::Plan& plan);

}  // namespace tenon::backends::vulkan
