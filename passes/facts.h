#pragma once

#include <optional>
#include <vector>

#include "ir/graph.h"

/// What passes ask of values and nodes.
namespace tenon::passes {

inline bool ranked(const ir::Value* value) { return value && value->type().is_ranked_tensor(); }
inline const std::vector<ir::Dim>& dims_of(const ir::Value* value) { return *value->tensor().dims; }  // ranked

/// The node of this op that computes the value, else null.
inline const ir::Node* def_of(const ir::Value* value, std::string_view op) {
  return value && value->def() && value->def()->is(op) ? value->def() : nullptr;
}

/// The number that all elements of a constant are, when they are.
std::optional<double> number_of(const ir::Value* value);
/// The permutation of a Transpose with its default, nullopt when it is none of the operand's axes.
std::optional<std::vector<int64_t>> permutation(const ir::Node& node);
/// Axes that a Reduce… node reduces, ascending; nullopt when they are not known.
std::optional<std::vector<int64_t>> reduced_axes(const ir::Node& node);

}  // namespace tenon::passes
