#pragma once

#include <optional>
#include <vector>

#include "codegen/lower/index_algebra.h"

namespace tenon::codegen {

/// The comparisons that a guard is a conjunction of, by expression id; nullopt when there are too many to look at.
std::optional<std::vector<int>> conjuncts(ir::ExprPool& pool, int guard);

/// A comparison of integers as `affine >= 0`.
std::optional<Affine> at_least_zero(IndexAlgebra& algebra, ir::ExprPool& pool, int comparison);

}  // namespace tenon::codegen
