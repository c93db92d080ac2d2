#pragma once

#include <span>
#include <vector>

#include "codegen/kernel_ir.h"

namespace tenon::kir {

/// Constants of `kernel` that a dispatch may as well pass as dims, in the order of the text: those of i64 in index arithmetic and as bounds of
/// serial loops. Bounds of loops in lanes and unrolled ones stay, and divisors of what differs between lanes. Emitters know less of
/// addresses then, so this is for kernels that need not be fast.
std::vector<const Inst*> liftable_constants(const Kernel& kernel);

/// A copy with constants[i] as dim dims[i], where that is not negative, and without constants that nothing uses.
Kernel lift_constants(const Kernel& kernel, std::span<const Inst* const> constants, std::span<const int> dims);

}  // namespace tenon::kir
