#pragma once

#include <optional>
#include <span>
#include <vector>

#include "ir/graph.h"

/// What merge-products and fuse ask of products that they put side by side.
namespace tenon::passes {

/// A product whose columns, the innermost axis of its result, are columns of its constants and of nothing else.
struct Product {
  ir::Node* node;
  int64_t columns;
  std::vector<int> axis;  // by input: the axis of the constant that the columns run over; -1: none
};
std::optional<Product> product_of_columns(ir::Node& node);

/// Nodes of one op with equal attributes and as many operands.
bool same_form(const ir::Node& a, const ir::Node& b);
/// Products that differ in their constants' columns alone.
bool same_product(const Product& a, const Product& b);

/// Products of the same rows that one kernel sums side by side, at most: more sums than that leave no registers for a tile.
inline constexpr size_t kMostProductsBeside = 4;

/// Constants of equal shapes but for `axis`, one behind the other along it.
Result<Tensor> concatenated(std::span<const Tensor* const> parts, int axis);
/// A constant number, or row of `columns` numbers, as such a row.
std::optional<Tensor> as_row(const Tensor& t, int64_t columns);

}  // namespace tenon::passes
