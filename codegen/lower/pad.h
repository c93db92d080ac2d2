#pragma once

#include <optional>

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

/// A factor of a stage's value that reads an operand with zeros beyond its bounds, or (`split_strides`) with strides, as
/// convolutions do: adds a map stage that stores the operand with its zeros, what a stride visits side by side, converted to
/// the factor's dtype, to be read unguarded at `index`. nullopt when the factor is no such load or its guard is not exactly
/// the bounds of the operand. `slack` elements are allocated behind the tensor for reads that run over. `halo`: by axis of the operand, how
/// many elements beyond its ends are read at most, where the indices reach further but what they read there is not asked for.
struct Padded {
  int stage;                     // the new one
  std::vector<ir::Expr> index;
};
std::optional<Padded> materialise_padding(Lowering& lowering, int stage, ir::Expr factor, int64_t slack, bool split_strides,
                                          std::span<const std::optional<int64_t>> halo = {});

inline constexpr int64_t kWordBytes = 4;
/// The operand of a load of bytes, u8 or i8, as words of four: adds a map stage that stores bytes (moved by 128 where `is_signed` asks
/// for the other sign), the axis that `reduce_axis` walks innermost and filled up with zeros to whole words, beyond the bounds of the
/// operand what the load has there; and a stage that is the same memory as i32. The index is of the latter, over the axes of `stage`
/// with `reduce_axis` counting words. nullopt when `reduce_axis` does not walk one axis of the operand by ones.
std::optional<Padded> materialise_words(Lowering& lowering, int stage, ir::Expr load, int reduce_axis, bool is_signed);
/// The same of the differences of bytes and `zero`, an i32 that no axis has (invalid: 0), as words of two numbers of 16 bits; 0 beyond the
/// bounds, which takes what the load has there for `zero`.
std::optional<Padded> materialise_differences(Lowering& lowering, int stage, ir::Expr load, ir::Expr zero, int reduce_axis);
/// The same of a load of floats, rounded to bf16: words of two.
std::optional<Padded> materialise_pairs(Lowering& lowering, int stage, ir::Expr load, int reduce_axis);

}  // namespace tenon::codegen
