#pragma once

#include "codegen/llvm/kernel_emitter.h"

namespace tenon::codegen {

/// The loads of an unrolled loop's region (not of regions inside it) whose offset grows by one a trip, from buffers that the
/// loop does not write.
UnrolledRuns find_runs(const kir::Region& r, int64_t trips);

}  // namespace tenon::codegen
