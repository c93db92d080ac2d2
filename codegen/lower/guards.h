#pragma once

#include <optional>
#include <vector>

#include "codegen/lower/index_algebra.h"

namespace tenon::codegen {

/// The comparisons that a guard is a conjunction of, by expression id; nullopt when there are too many to look at.
std::optional<std::vector<int>> conjuncts(ir::ExprPool& pool, int guard);

/// A comparison of integers as `affine >= 0`.
std::optional<Affine> at_least_zero(IndexAlgebra& algebra, ir::ExprPool& pool, int comparison);

/// Whether the guard of a guarded load says nothing but that the indices are inside an operand of this shape.
bool guards_bounds(IndexAlgebra& algebra, ir::ExprPool& pool, const ir::ExprNode& load, const std::vector<ir::Dim>& shape);

}  // namespace tenon::codegen
