#pragma once

#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "codegen/kernel_ir.h"

/// Accuracy of the sequences that kir::expand_math makes of math functions: the largest distance from the exact result
/// in units in the last place, over all arguments (tests/kernels/math_test.cpp samples them densely). f16 and bf16
/// compute in f32 and round. NaN, infinities, signed zeros and subnormals come out as C's math library has them.
///
/// f64, and the rarer f32 functions, which compute in f64 and round once, use classical reductions:
/// - exp, expm1: x = k ln2 + r (Cody and Waite, "Software Manual for the Elementary Functions", 1980), Taylor series of
/// e^r;
/// - log: x = 2^e m, log m = 2 atanh(f / (2 + f)) with f = m - 1 (Tang 1990; as in fdlibm's e_log.c); log1p as Kahan's
///   log(u) x / (u - 1), u = 1 + x; pow keeps log x as a pair of doubles (constant
///   exponents 1, 2, 3, -1 and 1/2 become multiplications, a division or a square root);
/// - sin, cos, tan: x - k pi/2 in three steps of fused multiply-add up to 2^30, beyond it the bits of 2/pi that matter
///   (Payne and Hanek, "Radian reduction for trigonometric functions", 1983), under a branch;
/// - atan, asin, acos, erf: minimax polynomials, on reduced arguments.
namespace tenon::kir {

struct MathAccuracy {
  ScalarOp op;
  double f32_ulp, f64_ulp;
};
std::span<const MathAccuracy> math_accuracy();

/// Whether the kernel has anything that expand_math replaces.
bool has_math(const Kernel& kernel);
/// What expand_math makes of the kernel, which stays as it is.
Kernel math_expanded(const Kernel& kernel);

/// The same for the instructions of a kernel that is being copied, one after the other.
class MathExpander {
 public:
  MathExpander(const Kernel& from, KernelBuilder& to) : from_(from), b_(to) {}
  /// The value in the place of the instruction's, whose operands are these now; nullopt: it is copied as it is.
  std::optional<ValueId> rewrite(const Inst& inst, std::span<const ValueId> operands);

 private:
  std::optional<double> constant(ValueId v) const;

  const Kernel& from_;
  KernelBuilder& b_;
  std::vector<std::pair<ValueId, double>> constants_;  // of floats so far
  std::vector<ValueId> not_above_0_;                   // minima with such a constant so far
};

}  // namespace tenon::kir
