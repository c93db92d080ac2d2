#pragma once

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

}  // namespace tenon::eval
