#pragma once

#include <optional>

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

/// A product of factors that are bf16 widened to f32, with K in pairs: a word of 32 bits has the elements 2k (in its
/// low half) and 2k + 1 of a factor, and a step of K is two fused multiply-adds, of the high halves and then of the low
/// ones. Products of bf16 are exact in f32, so a sum of K of them rounds K times, as one that is added element by
/// element does, in another order within a pair: either is off by at most K 2^-24 / (1 - K 2^-24) of the sum of the
/// products' magnitudes (N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1).
/// AVX512-BF16 has both multiply-adds in one instruction, which takes subnormal factors and sums for zero: where |a| <
/// 2^-126 a product is off by up to 2^-126 |b| more, and a sum below 2^-126 is 0.
struct BF16Pairs {
  int axis = -1;       // the reduce axis, among all axes, that counts pairs
  int64_t extent = 0;  // of K along it, before
  ir::Dim words;       // how many
  int stage = -1;      // holds A's words; an odd K is filled up with zeros
  ir::Expr a, b;       // the words of A as they are read, and those of B, over the stage's axes with `axis` in pairs
};

/// Whether a product is faster so: where the target multiplies pairs, unless columns are so few that storing A's words takes longer than
/// is gained; and of few rows wherever it adds products without rounding them, since these wait for B alone, which has half the bytes.
bool pairs_pay(const Target& target, ir::Dim rows, ir::Dim columns);

/// A product of these factors of the stage in pairs, of which the second reads constants. Adds the stages that it
/// reads, but none for B's words. nullopt, and nothing added, when they are not widened bf16 or K does not run along A.
std::optional<BF16Pairs> as_bf16_pairs(Lowering& lowering, int stage, ir::Expr a, ir::Expr b);

/// The words of constants that are widened bf16, whose `axis` of `extent` counts pairs then; nullopt when they are not.
std::optional<ir::Expr> constant_bf16_pairs(Lowering& lowering, ir::Expr b, int axis, int64_t extent);

}  // namespace tenon::codegen
