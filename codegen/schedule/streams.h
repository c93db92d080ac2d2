#pragma once

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

/// How far ahead, in bytes, kernels ask for memory that streams through once; 0: not at all. With vectors of 512 bits asking is faster
/// (measured on Zen 5), with 256 bits the processor's own prefetchers keep up and asking disturbs them (measured on Zen 3: one row times a
/// matrix in memory 16.2 GB/s without and 12.5 with).
inline int64_t stream_ahead_bytes(int64_t vector_bits) { return vector_bits == 256 ? 0 : kStreamAheadBytes; }

}  // namespace tenon::codegen
