#pragma once

#include <optional>

#include "ir/graph.h"

/// What round-factors looks for, and what it has left in a compiled graph.
namespace tenon::passes {

/// Whether the node is a sum of products of f32 whose factors are elements of its inputs as they are: what round-factors rounds, unless
/// a constant is beyond the range.
bool has_plain_factors(const ir::Node& node);

/// Whether the node of a fused one's region is a Cast that round-factors put before a factor of a product. Nodes of models have names,
/// what it makes has none.
bool rounds_a_factor(const ir::Node& node);

/// f16 or bf16, where factors of a fused node's products pass through it; else nullopt.
std::optional<DType> rounded_factors(const ir::Node& node);

}  // namespace tenon::passes
