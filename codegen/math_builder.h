#pragma once

#include <initializer_list>
#include <utility>

#include "codegen/kernel_ir.h"

namespace tenon::kir::math {

/// A value under construction, with operators; a C++ number takes the dtype of the other side.
struct V {
  KernelBuilder* b;
  ValueId id;

  DType dtype() const { return b->kernel().dtype(id); }
  V lit(double value) const { return {b, b->constant(dtype(), value)}; }
  V lit_int(int64_t value) const { return {b, b->constant_int(dtype(), value)}; }
  V op(ScalarOp o) const { return {b, b->op(o, {id})}; }
  V op(ScalarOp o, V other) const { return {b, b->op(o, {id, other.id})}; }
  V to(DType t) const { return {b, b->cast(id, t)}; }
  V bits_as(DType t) const { return {b, b->bitcast(id, t)}; }
};

inline V operator+(V a, V c) { return a.op(ScalarOp::kAdd, c); }
inline V operator-(V a, V c) { return a.op(ScalarOp::kSub, c); }
inline V operator*(V a, V c) { return a.op(ScalarOp::kMul, c); }
inline V operator/(V a, V c) { return a.op(ScalarOp::kDiv, c); }
inline V operator&(V a, V c) { return a.op(ScalarOp::kAnd, c); }
inline V operator|(V a, V c) { return a.op(ScalarOp::kOr, c); }
inline V operator^(V a, V c) { return a.op(ScalarOp::kXor, c); }
inline V operator-(V a) { return a.op(ScalarOp::kNeg); }
inline V operator!(V a) { return a.op(ScalarOp::kNot); }
inline V operator+(V a, double c) { return a + a.lit(c); }
inline V operator-(V a, double c) { return a - a.lit(c); }
inline V operator*(V a, double c) { return a * a.lit(c); }
inline V operator/(V a, double c) { return a / a.lit(c); }
inline V operator+(double a, V c) { return c.lit(a) + c; }
inline V operator-(double a, V c) { return c.lit(a) - c; }
inline V operator*(double a, V c) { return c.lit(a) * c; }
inline V operator/(double a, V c) { return c.lit(a) / c; }
inline V operator<(V a, V c) { return a.op(ScalarOp::kLt, c); }
inline V operator>(V a, V c) { return a.op(ScalarOp::kGt, c); }
inline V operator<(V a, double c) { return a < a.lit(c); }
inline V operator>(V a, double c) { return a > a.lit(c); }
inline V operator<=(V a, double c) { return a.op(ScalarOp::kLe, a.lit(c)); }
inline V operator>=(V a, double c) { return a.op(ScalarOp::kGe, a.lit(c)); }
inline V operator==(V a, V c) { return a.op(ScalarOp::kEq, c); }
inline V operator!=(V a, V c) { return a.op(ScalarOp::kNe, c); }
inline V operator==(V a, double c) { return a == a.lit(c); }
inline V operator!=(V a, double c) { return a != a.lit(c); }
inline V shl(V a, int64_t by) { return a.op(ScalarOp::kShl, a.lit_int(by)); }
inline V shr(V a, int64_t by) { return a.op(ScalarOp::kShr, a.lit_int(by)); }
inline V fma(V a, V c, V d) { return {a.b, a.b->op(ScalarOp::kFma, {a.id, c.id, d.id})}; }
inline V fma(V a, double c, V d) { return fma(a, a.lit(c), d); }
inline V fma(V a, V c, double d) { return fma(a, c, a.lit(d)); }
inline V select(V condition, V a, V c) { return {a.b, a.b->op(ScalarOp::kSelect, {condition.id, a.id, c.id})}; }
inline V select(V condition, double a, V c) { return select(condition, c.lit(a), c); }
inline V select(V condition, V a, double c) { return select(condition, a, a.lit(c)); }
inline V min(V a, double c) { return a.lit(c).op(ScalarOp::kMin, a); }
inline V max(V a, double c) { return a.lit(c).op(ScalarOp::kMax, a); }
inline V abs(V a) { return a.op(ScalarOp::kAbs); }
inline V sqrt(V a) { return a.op(ScalarOp::kSqrt); }
inline V is_nan(V a) { return a != a; }

inline DType int_of(DType f) { return f == DType::kF64 ? DType::kI64 : DType::kI32; }
inline int64_t sign_bit(DType f) { return f == DType::kF64 ? INT64_MIN : int64_t{INT32_MIN}; }

/// |magnitude| with the sign of `sign`; `magnitude` must not be negative.
inline V with_sign(V magnitude, V sign) {
  const DType f = sign.dtype(), i = int_of(f);
  const V bits = sign.bits_as(i);
  return (magnitude.bits_as(i) | (bits & bits.lit_int(sign_bit(f)))).bits_as(f);
}

/// Horner's rule with fused multiply-adds, lowest degree first.
inline V poly(V x, std::initializer_list<double> c) {
  auto it = std::rbegin(c);
  V r = x.lit(*it);
  while (++it != std::rend(c)) r = fma(r, x, *it);
  return r;
}

/// f64 functions; exp(x, lo) is e^(x + lo) for a small lo.
V exp64(V x);
V exp64(V x, V lo);
V expm1_64(V x);
V log64(V x);
V log1p_64(V x);
V pow64(V x, V y);
V rem64(V x, V y);
V expand64(ScalarOp op, V x, V y);
/// x - k pi/2 as an unevaluated sum of two doubles, |hi| <= pi/4 (a little more near the ends), and the low bits of k.
struct Reduced {
  V quadrant, hi, lo;
};
Reduced reduce_by_half_pi(V x);

/// f32 functions; sin and cos reduce in f64. `not_above_0`: x is known to be at most 0, or NaN.
V expand32(ScalarOp op, V x, V y, bool not_above_0);

}  // namespace tenon::kir::math
