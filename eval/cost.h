#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "ir/graph.h"
#include "support/status.h"

namespace tenon::eval {

/// Estimates for one binding of the symbolic dims (kDefaultDim of inputs.h for those that are free).
struct Cost {
  double flops = 0;             // scalar operations of all bodies: 2 for each product of a contraction
  double parameters = 0;        // elements of constants
  double parameter_bytes = 0;
  double activation_bytes = 0;  // largest sum of values that live at one time, executed in order
  int uncounted = 0;            // nodes whose work depends on run-time sizes or is not described by bodies
};
Cost estimate(const ir::Graph& graph);

/// Scalar operations on tensors' elements that a node's bodies describe, those of a fused node's region together: 2 for each product
/// of a contraction, border elements that padding makes included; 1 for each other function, be it an addition or an exponential;
/// none for moving elements. What depends on a part of the axes counts once for each place of those, as a zero point that is taken from a
/// factor of a product. Nullopt where a node has no bodies or a dim no value. `symbols` by number, as in ir::evaluate.
/// Bodies make dims: one thread a graph.
std::optional<double> node_flops(const ir::Node& node, std::span<const std::optional<int64_t>> symbols);
/// Operations of which processors do more at a time than of f32, as they multiply factors in pairs or fours: products and their sums.
struct NarrowFlops {
  double bytes = 0;             // of bytes less their zero points, summed in 32 bits
  double bf16 = 0;              // of bf16, or what is rounded to it, summed in f32
  NarrowFlops operator*(double share) const { return {bytes * share, bf16 * share}; }
};
/// How many of node_flops are such.
NarrowFlops node_narrow_flops(const ir::Node& node, std::span<const std::optional<int64_t>> symbols);
/// Bytes of all the loads that a node's bodies make of its inputs, however often of the same element. Nullopt as for node_flops.
std::optional<double> node_loads(const ir::Node& node, std::span<const std::optional<int64_t>> symbols);
/// Elements that a node's outputs have together; nullopt where a dim has no value.
std::optional<double> node_elements(const ir::Node& node, std::span<const std::optional<int64_t>> symbols);

}  // namespace tenon::eval
