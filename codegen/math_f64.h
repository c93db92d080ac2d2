#pragma once

#include <limits>

#include "codegen/math_builder.h"

/// What the functions of doubles share.
namespace tenon::kir::math {

inline constexpr double kInf = std::numeric_limits<double>::infinity();
inline constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
// Sums of doubles: ln 2 (the first part of 33 bits, so that its product with an exponent is exact), pi/2, and so on.
inline constexpr double kLn2Short = 0x1.62e42fee00000p-1, kLn2Rest = 0x1.a39ef35793c76p-33;
inline constexpr double kLn2Hi = 0x1.62e42fefa39efp-1, kLn2Lo = 0x1.abc9e3b39803fp-56;
inline constexpr double kHalfPi1 = 0x1.921fb54442d18p+0, kHalfPi2 = 0x1.1a62633145c07p-54, kHalfPi3 = -0x1.f1976b7ed8fbcp-110;
inline constexpr double kMagic = 0x1.8p52;  // adding it leaves the rounded integer in the low bits

struct Rounded {
  V integer, value;
};
inline Rounded round_to_int(V x) {
  const V shifted = x + kMagic;
  const V bits = shifted.bits_as(DType::kI64);
  return {bits - shifted.lit(kMagic).bits_as(DType::kI64), shifted - kMagic};
}

inline double factorial_reciprocal(int n) {
  double f = 1;
  for (int i = 2; i <= n; ++i) f *= i;
  return 1 / f;
}

/// sin, cos or tan.
V trigonometric64(ScalarOp op, V x);

}  // namespace tenon::kir::math
