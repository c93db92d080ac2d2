#pragma once

#include <string>

#include "support/tensor.h"

namespace tenon::eval {

/// When an output agrees with the expected one. With S the largest finite magnitude in the expected tensor, element a agrees
/// with e when |a - e| <= atol + scaled_atol * S + rtol * |e|. Infinities agree with the same infinity, NaN with NaN. For float
/// types below 32 bits, rtol is at least twice and scaled_atol at least once the type's epsilon, since one rounding of an
/// intermediate value moves results by that much. Integers agree when |a - e| <= atol; booleans and strings when equal.
struct Tolerance {
  double rtol = 1e-3;
  double atol = 0;
  double scaled_atol = 1e-4;
};

struct Difference {
  bool ok = true;
  std::string message;  // the first element that differs, or how type, shape or length differ
  int64_t differing = 0;  // elements, where dtype and shape are the same
  double max_abs = 0;   // over finite elements
  double max_rel = 0;   // |a - e| / |e| over elements where |e| > 1e-6 S
  double share = 0;     // the largest |a - e| of what the tolerance allows there: above 1 exactly when not ok; may be infinite
};

Difference compare(const HostValue& expected, const HostValue& actual, const Tolerance& tolerance);

}  // namespace tenon::eval
