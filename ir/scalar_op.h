#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "support/dtype.h"

namespace tenon::ir {

/// Scalar operations, shared by op semantics (ir/compute.h) and Kernel IR (codegen/kernel_ir.h). All are total:
/// - integer arithmetic wraps; integer x/0 and x%0 give 0; minimum / -1 gives minimum, minimum % -1 gives 0;
/// - shifts by the width or more give 0 (or -1 for kShr of a negative number);
/// - kMin/kMax return NaN if either operand is NaN; comparisons with NaN are false but kNe;
/// - kRound rounds half to even; kMod has the divisor's sign (Python %), kRem the dividend's (C % and fmod);
/// - kFloorDiv rounds to minus infinity; kDiv truncates for integers.
/// Results of comparisons and of kIsNan, kIsInf, kLogical* are bool. Float results are rounded to the dtype after each step.
enum class ScalarOp : uint8_t {
  // unary
  kNeg, kAbs, kSign, kNot,        // kNot: logical for bool, bitwise for ints
  kSqrt, kRsqrt, kRecip, kExp, kExpm1, kLog, kLog1p,
  kSin, kCos, kTan, kAsin, kAcos, kAtan, kSinh, kCosh, kTanh, kAsinh, kAcosh, kAtanh, kErf, kSigmoid,
  kFloor, kCeil, kRound, kTrunc, kIsNan, kIsInf, kPopcount,
  // binary
  kAdd, kSub, kMul, kDiv, kRem, kMod, kFloorDiv, kPow, kMin, kMax,
  kAnd, kOr, kXor, kShl, kShr,    // kAnd/kOr/kXor: logical for bool, bitwise for ints
  kEq, kNe, kLt, kLe, kGt, kGe,
  // ternary
  kFma,                           // a*b + c, one rounding
  kDot4,                          // on i32: sum over the four bytes of a (unsigned) times those of b (signed), + c
  kSelect,                        // bool ? b : c
  kDot4Signed,                    // kDot4 with the bytes of both signed
  kCount,
};

struct ScalarOpInfo {
  ScalarOp op;
  std::string_view name;  // "add", "exp" …: the text form in .tir and .kir
  int arity;
  bool result_is_bool;
  bool commutative;
};
const ScalarOpInfo& info(ScalarOp op);
std::optional<ScalarOp> scalar_op_from_name(std::string_view name);
/// Whether an operation is defined on operands of a dtype (kSelect: on branches of it): no arithmetic on bools, no bits of
/// floats, no functions of the reals on integers.
bool takes(ScalarOp op, DType dtype);

/// One scalar of any dtype up to 64 bits: floats as double (exact for every float dtype), ints and bool as int64 bits.
struct Scalar {
  double f = 0;
  int64_t i = 0;
};

/// Evaluates an operation on operands of dtype `dtype` (kSelect: dtype of the branches, its condition is args[0].i != 0).
/// Floats: computed in double and rounded to `dtype`. This is the definition that backends are tested against.
Scalar eval_scalar(ScalarOp op, DType dtype, const Scalar* args);

/// Converts as ONNX Cast (opset 25): float→int truncates (out of range: saturates for f8 kinds when `saturate`, else
/// the x86 conversion result, which for in-range values is exact), int→int wraps, →bool is != 0, float→float rounds to nearest even.
Scalar cast_scalar(Scalar value, DType from, DType to, bool saturate = true);

/// Element access by dtype, packed types included. `data` is the tensor's first byte, `index` counts elements.
Scalar load_scalar(const void* data, DType dtype, int64_t index);
void store_scalar(void* data, DType dtype, int64_t index, Scalar value);

}  // namespace tenon::ir
