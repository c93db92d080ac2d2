#pragma once

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

/// How far ahead kernels ask for memory that streams through once; 0: not at all. Where vectors have 256 bits, the processor's own
/// prefetchers keep up with them, and asking disturbs those.
inline int64_t stream_ahead_bytes(int64_t vector_bits) { return vector_bits == 256 ? 0 : kStreamAheadBytes; }

}  // namespace tenon::codegen
