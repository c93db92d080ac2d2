#pragma once

#include <limits>

#include "ir/graph.h"

namespace tenon::ir {

/// Bounds of the elements of a tensor, NaNs aside. Infinite bounds are reached: [-inf, 3] may hold -inf.
struct Range {
  double lo = -std::numeric_limits<double>::infinity(), hi = std::numeric_limits<double>::infinity();
};

/// What the nodes that compute a numeric tensor say of its elements: constants, conversions, arithmetic, selection and
/// movement. Everything where nothing is known, or would take long to find.
Range range_of(const Value* value);

}  // namespace tenon::ir
