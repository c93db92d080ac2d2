#pragma once

#include <optional>

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

/// A product of quantised tensors as dot products of words of four bytes, sum of (x - zx)(w - zw) over K, where x are bytes that a
/// kernel reads, w constant bytes, zx does not depend on K and zw on nothing but N:
///
///     sum x' w' - zw' sum x' - zx' sum w' + K zx' zw'
///
/// with x' unsigned (x, or x + 128) and w' signed (w - zw where that fits, else w or w - 128), zx' and zw' shifted alike; all modulo
/// 2^32, so it is exact. Where the target multiplies bytes of one sign alone, x' is signed as well (x, or x - 128); on GPUs always, since
/// w is the first factor there where its axis lies before those of x. This is how gemmlowp treats zero points ("Low-precision matrix
/// multiplication", its documentation).
///
/// A CPU without products of bytes has those of words of two numbers of 16 bits (`in_pairs`). These hold x - zx and w - zw themselves, so
/// nothing is left to correct; sums are modulo 2^32 as well, in the instructions as in the definition. w - zw stays a byte in memory where it
/// fits one. zx is the same for all x then.
struct DotProduct {
  bool pairs = false;      // words have two differences; those of weights are an i16 of two bytes, widened, where these hold them
  ir::Expr row_factor;     // zw' over the stage's axes; the sums of x' are multiplied by it. Invalid: 0
  int words = -1;          // the stage that holds x'
  int column_sums = -1;    // the stage that holds sum w'; -1: not needed
  int weights = -1;        // the stage that holds w' as words, where store_weights() made one
  int row_sums = -1;       // the stage that holds sum x', where sum_rows() made one
};

/// Whether the target multiplies bytes as differences of 16 bits.
bool in_pairs(const Target& target);
/// Rewrites `stage` to kDot4 (or kDot4Signed; in_pairs: kMul, which stands for two) of words along its last reduce axis that allows it, with
/// the corrections in `post` (but for the sums of x'), and appends the stages that it reads. nullopt, and nothing changed, when it is no
/// such product.
std::optional<DotProduct> rewrite_as_dot_product(Lowering& lowering, int stage);
/// Makes the words of w' a stage of their own, for schedules that read them many times.
void store_weights(Lowering& lowering, int stage, DotProduct& dot);
/// Makes the sums of x' a stage of their own, which `post` reads, for schedules that do not sum rows on the way.
void sum_rows(Lowering& lowering, int stage, DotProduct& dot);
/// Appends the kernels of the stages that it reads.
Status schedule_operands(Lowering& lowering, const DotProduct& dot);

}  // namespace tenon::codegen
