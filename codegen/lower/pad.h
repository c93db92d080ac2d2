#pragma once

#include <optional>

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

/// A factor of a stage's value that reads an operand with zeros beyond its bounds, or with strides, as convolutions do: adds a
/// map stage that stores the operand with its zeros, what a stride visits side by side, converted to the factor's dtype, and
/// returns the stage's value with the factor read from there, unguarded. nullopt when the factor is no such load or its guard
/// is not exactly the bounds of the operand.
/// `slack` elements are allocated behind the tensor for reads that run over.
struct Padded {
  int stage;        // the new one
  ir::Expr value;
};
std::optional<Padded> materialise_padding(Lowering& lowering, int stage, ir::Expr factor, int64_t slack);

}  // namespace tenon::codegen
