#pragma once

#include <optional>

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

/// A factor of a stage's value that reads an operand with zeros beyond its bounds, or (`split_strides`) with strides, as
/// convolutions do: adds a map stage that stores the operand with its zeros, what a stride visits side by side, converted to
/// the factor's dtype, to be read unguarded at `index`. nullopt when the factor is no such load or its guard is not exactly
/// the bounds of the operand. `slack` elements are allocated behind the tensor for reads that run over.
struct Padded {
  int stage;                     // the new one
  std::vector<ir::Expr> index;
};
std::optional<Padded> materialise_padding(Lowering& lowering, int stage, ir::Expr factor, int64_t slack, bool split_strides);

}  // namespace tenon::codegen
