#pragma once

#include <optional>

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

/// Bounds, both inclusive, of a small integer.
struct IntRange {
  int64_t lo, hi;
};

/// Bounds of an integer expression of at most 32 bits, from the contents of constant tensors, the types of bytes, and
/// what conjunctions, sums and differences make of them. nullopt: not known to be small.
std::optional<IntRange> range_of(const Lowering& lowering, ir::Expr e);

}  // namespace tenon::codegen
