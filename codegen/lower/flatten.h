#pragma once

#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

#include "codegen/lower/group.h"

namespace tenon::codegen {

/// Replaces the index list of every load for which `shape` returns one by a single flat offset, simplified. `extents` by axis.
ir::Expr flatten_loads(ir::Expr e, const std::vector<ir::Dim>& extents,
                       const std::function<const std::vector<ir::Dim>*(int operand)>& shape);

/// Merges adjacent axes wherever every load walks both as one (flattened offsets required): axis i and i+1 become one of
/// extent extents[i] * extents[i+1]. `barrier`: no merging across this axis number (outer | reduce). The roots are
/// rewritten; returns the first axis number after the barrier.
int merge_axes(ir::ExprPool& pool, std::span<ir::Expr*> roots, std::vector<ir::Dim>& extents, int barrier);

/// `e` with subexpressions replaced, by id.
ir::Expr substitute(ir::Expr e, const std::unordered_map<int, ir::Expr>& replacement);

/// Whether an expression depends on an axis.
bool uses_axis(ir::Expr e, int axis);
/// On one of the axes [first, last).
bool uses_any_axis(ir::Expr e, size_t first, size_t last);

/// The constant 0 of any dtype.
bool is_zero(const ir::ExprNode& node);

/// Cost of one evaluation in simple operations, about; loads and transcendental functions count more.
int64_t evaluation_cost(ir::Expr e);

}  // namespace tenon::codegen
