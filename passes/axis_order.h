#pragma once

#include <optional>
#include <span>
#include <vector>

#include "ir/dim.h"

/// Orders of axes in memory, and how they go from one tensor to another.
namespace tenon::passes {

/// A permutation of a tensor's axes, the outermost in memory first.
using Order = std::vector<int>;

/// By axis of one tensor: the axes of another along which its index runs, in ascending order. Where axes are split and merged on the
/// way, several are.
using AxisMap = std::vector<std::vector<int>>;

/// The order of the mapped tensor that walks memory as `order` does of the tensor mapped; nullopt when none does.
std::optional<Order> carried(const AxisMap& map, const Order& order, std::span<const ir::Dim> from, std::span<const ir::Dim> to);
/// The order of the tensor mapped that is carried to `order`.
std::optional<Order> pulled(const AxisMap& map, const Order& order, std::span<const ir::Dim> from, std::span<const ir::Dim> to);

/// Whether the same bytes are meant: axes of size 1 may be anywhere.
bool same_order(const Order& a, const Order& b, std::span<const ir::Dim> dims);
/// The order of the axes themselves.
Order row_major(size_t rank);

}  // namespace tenon::passes
