#include "codegen/math_f64.h"

namespace tenon::kir::math {
namespace {

V power_of_two(V n) { return shl(n + n.lit_int(1023), 52).bits_as(DType::kF64); }

// x 2^n in two steps, of which only the last may round, overflow or underflow.
V scale(V x, V n) {
  const V half = shr(n, 1);
  return x * power_of_two(half) * power_of_two(n - half);
}

// (e^r - 1 - r) / r^2 for |r| <= ln2 / 2: what follows r^13 is below 2^-57.
V exp_tail(V r) {
  V p = r.lit(factorial_reciprocal(13));
  for (int n = 12; n >= 2; --n) p = fma(p, r, factorial_reciprocal(n));
  return p;
}

}  // namespace

V exp64(V x) { return exp64(x, x.lit(0)); }

V exp64(V x, V lo) {
  const V clamped = min(max(x, -746), 710);
  const Rounded k = round_to_int(clamped * (1 / 0.693147180559945309417));
  const V minus_k = -k.value;
  V r = fma(minus_k, kLn2Hi, clamped);
  r = r + fma(minus_k, kLn2Lo, lo);
  return scale(fma(r * r, exp_tail(r), r) + 1, k.integer);
}

V expm1_64(V x) {
  const V clamped = min(max(x, -60), 710);
  const Rounded k = round_to_int(clamped * (1 / 0.693147180559945309417));
  const V minus_k = -k.value;
  const V r = fma(minus_k, kLn2Lo, fma(minus_k, kLn2Hi, clamped));
  const V p = fma(r * r, exp_tail(r), r);
  const V n = k.integer.op(ScalarOp::kMin, k.integer.lit_int(60));
  const V result = scale(p + (1 - power_of_two(-n)), k.integer);
  return select(abs(x) < 0x1p-54, x, result);
}

namespace {

struct Split {
  V exponent, f;  // x = 2^exponent (1 + f), 1 + f in [sqrt(1/2), sqrt 2)
};
Split split_float(V x) {
  const V tiny = x < 0x1p-1022;
  const V bits = select(tiny, x * 0x1p54, x).bits_as(DType::kI64);
  const V e = shr(bits - bits.lit_int(0x3fe6a09e667f3bcd), 52);
  const V f = (bits - shl(e, 52)).bits_as(DType::kF64) - 1;
  // To f64 by the magic number: vector units before AVX-512 do not convert 64-bit integers.
  const V exponent = e - select(tiny, e.lit_int(54), e.lit_int(0));
  const V magic = f.lit(kMagic);
  return {(exponent + magic.bits_as(DType::kI64)).bits_as(DType::kF64) - magic, f};
}

// 2 atanh(s) = 2s + s^3 series(s^2); s^2 < 0.0295.
V atanh_series(V z) {
  V p = z.lit(2.0 / 25);
  for (int n = 23; n >= 3; n -= 2) p = fma(p, z, 2.0 / n);
  return p;
}

V log_special(V x, V result) {
  result = select(x == kInf, x, result);
  result = select(x == 0.0, -kInf, result);
  return select(x >= 0, result, kNan);
}

}  // namespace

V log64(V x) {
  const Split m = split_float(x);
  const V f = m.f, half_square = f * f * 0.5, s = f / (f + 2), z = s * s;
  const V r = z * atanh_series(z);
  const V low = fma(s, half_square + r, m.exponent * kLn2Rest);
  return log_special(x, m.exponent * kLn2Short - ((half_square - low) - f));
}

V log1p_64(V x) {
  const V u = x + 1, d = u - 1;
  const V result = select(d == 0.0, x, log64(u) * (x / d));
  return select(x == kInf, x, result);
}

V pow64(V x, V y) {
  const V ax = abs(x);
  const Split m = split_float(ax);
  // s = f / (2 + f) as a pair, log m = 2 s + s^3 series(s^2).
  const V d = m.f + 2, s = m.f / d;
  const V residual = fma(-s, d, m.f) - s * (m.f - (d - 2));
  const V z = s * s, tail = fma(residual / d, 2.0, s * z * atanh_series(z));
  const V a = m.exponent * kLn2Short, c = s * 2.0;
  const V sum = a + c, t = sum - a;
  const V low = ((a - (sum - t)) + (c - t)) + fma(m.exponent, kLn2Rest, tail);
  const V log_hi = log_special(ax, sum + low);
  const V log_lo = low - ((sum + low) - sum);
  const V product = y * log_hi;
  const V rest = fma(y, log_hi, -product) + y * log_lo;
  V result = exp64(product, select(abs(product) < 1000, rest, 0.0));
  result = select((ax == 1.0) | (y == 0.0), 1.0, result);
  // A negative base: a sign for odd exponents, NaN for fractions.
  const V whole = y.op(ScalarOp::kTrunc) == y, half = y * 0.5;
  const V odd = whole & (half.op(ScalarOp::kTrunc) != half);
  const V negative = x.bits_as(DType::kI64) < x.bits_as(DType::kI64).lit_int(0);
  result = select(odd & negative, -result, result);
  result = select((x < 0) & (ax < kInf) & !whole, kNan, result);
  return select(((x != x) & (y != 0.0)) | ((y != y) & (x != 1.0)), kNan, result);
}

namespace {

V atan64(V x) {
  const V a = abs(x);
  const V big = a > 2.4142135623730950, middle = a > 0.41421356237309503;
  const V t = select(big, -1.0, select(middle, a - 1, a)) / select(big, a, select(middle, a + 1, 1.0));
  const V z = t * t;
  const V p = poly(z, {-0x1.5555555555554p-2, 0x1.9999999999664p-3, -0x1.249249247603cp-3, 0x1.c71c71b785f98p-4,
                       -0x1.745d14c0bfe53p-4, 0x1.3b136eb4d30bep-4, -0x1.110c7983b827dp-4, 0x1.e172722af9d9ap-5,
                       -0x1.ab8002c5de343p-5, 0x1.70f63ecb0258dp-5, -0x1.124a24c463694p-5, 0x1.f22abfc478e2bp-7});
  const V offset = select(big, kHalfPi1, select(middle, kHalfPi1 / 2, a.lit(0)));
  const V rest = select(big, kHalfPi2, select(middle, kHalfPi2 / 2, a.lit(0)));
  const V result = offset + (t + fma(t * z, p, rest));
  return with_sign(abs(result), x);
}

// asin t = t + t z R(z), z = t^2 <= 1/4; beyond 1/2 by asin x = pi/2 - 2 asin sqrt((1 - x) / 2).
V arc(ScalarOp op, V x) {
  const V a = abs(x), small = a <= 0.5;
  const V z = select(small, a * a, fma(a, a.lit(-0.5), 0.5));
  const V t = select(small, a, sqrt(z));
  const V tail = t * z *
                 poly(z, {0x1.5555555555553p-3, 0x1.3333333333a37p-4, 0x1.6db6db6d4897dp-5, 0x1.f1c71ca85c507p-6,
                          0x1.6e8b9aebb0ee6p-6, 0x1.1c4f86110fb00p-6, 0x1.c980cdf9db0bdp-7, 0x1.7ba4fe7e01a1cp-7,
                          0x1.36bd29ec20fbbp-7, 0x1.4827256d9a972p-7, 0x1.5d4639ce3cbc3p-11, 0x1.975725aba7ea1p-6,
                          -0x1.ad3352672c4c6p-6, 0x1.13d5850941239p-5});
  const V p = t + tail;
  if (op == ScalarOp::kAsin) {
    const V beyond = kHalfPi1 - (p * 2.0 - kHalfPi2);
    return with_sign(select(small, p, beyond), x);
  }
  const V signed_p = (p.bits_as(DType::kI64) ^ (x.bits_as(DType::kI64) & x.bits_as(DType::kI64).lit_int(INT64_MIN)))
                         .bits_as(DType::kF64);
  const V middle = kHalfPi1 - (signed_p - kHalfPi2);
  return select(small, middle, select(x > 0, p * 2.0, 2.0 * (kHalfPi1 - (p - kHalfPi2))));
}

V hyperbolic(ScalarOp op, V x) {
  const V a = abs(x);
  if (op == ScalarOp::kTanh) {
    const V t = expm1_64(min(a, 22) * 2.0);
    return with_sign(t / (t + 2), x);
  }
  const V half = exp64(a * 0.5), big = half * 0.5 * half;
  if (op == ScalarOp::kSinh) {
    const V t = expm1_64(min(a, 40));
    return with_sign(select(a > 22, big, 0.5 * (t + t / (t + 1))), x);
  }
  const V e = exp64(min(a, 40));
  return select(a > 22, big, 0.5 * e + 0.5 / e);
}

V inverse_hyperbolic(ScalarOp op, V x) {
  const V a = abs(x);
  if (op == ScalarOp::kAtanh) return with_sign(abs(0.5 * log1p_64(2.0 * a / (1 - a))), x);
  const V big = log64(a) + kLn2Hi;
  if (op == ScalarOp::kAsinh) {
    const V square = a * a;
    return with_sign(select(a > 0x1p28, big, log1p_64(a + square / (1 + sqrt(square + 1)))), x);
  }
  const V t = x - 1;
  const V result = select(a > 0x1p28, big, log1p_64(t + sqrt(fma(t, t, t * 2.0))));
  return select(x >= 1, result, kNan);
}

// Up to 1: x P(x^2). Beyond: 1 - e^(-x^2) Q(t) with t = (x - 5/2) / (x + 5/2); erfc(6) is below half an ulp of 1.
V erf64(V x) {
  const V a = min(abs(x), 6);
  const V small =
      x * poly(x * x, {0x1.20dd750429b6dp+0, -0x1.812746b0379e6p-2, 0x1.ce2f21a042b34p-4, -0x1.b82ce31284f38p-6,
                       0x1.565bcd0dbd920p-8, -0x1.c02db3db49905p-11, 0x1.f9a321e4be396p-14, -0x1.f4d1e4355e24fp-17,
                       0x1.b9df3066e20fep-20, -0x1.5f1f41608c1ffp-23, 0x1.f7b9a24bdfaf0p-27, -0x1.38ac32d8ed106p-30,
                       0x1.0627890b92f43p-34});
  const V t = (a - 2.5) / (a + 2.5);
  const V q = poly(t, {0x1.afbb3f3b7343bp-3, -0x1.7ca88dec217a6p-2, 0x1.01c11a735cd98p-2, -0x1.0011543716c82p-3,
                       0x1.470ba1f67ef1bp-5, -0x1.05bb2fe5bb8abp-8, -0x1.5a5716d076f91p-9, 0x1.cb3b616dc1017p-11,
                       0x1.def2c9bb68b4dp-13, -0x1.0e463e28cfbcap-13, -0x1.1eba4726b4cc7p-15, 0x1.3859775d364ebp-16,
                       0x1.f9e5d19f43ceap-18, -0x1.42d36f4d2882ep-19, -0x1.1a76a52d9bbdap-19, -0x1.7f50b60fcb433p-22,
                       0x1.7a76e90ed4ee5p-25});
  return select(a < 1, small, with_sign(abs(fma(-exp64(-(a * a)), q, 1.0)), x));
}

V sigmoid64(V x) {
  const V e = exp64(-abs(x)), d = 1 / (e + 1);
  return select(x >= 0, d, e * d);
}

V mod_from_rem(V rest, V y) {
  const V adjusted = select((rest < 0) != (y < 0), rest + y, rest);
  return select(rest == 0.0, with_sign(rest.lit(0), y), adjusted);
}

}  // namespace

// fmod, exactly: r - trunc(r / y 2^s) y 2^s for falling s, 50 bits of the quotient at a time. A quotient that was
// rounded up leaves a negative rest, which one addition mends; every rest is exact since it has no finer bits than x
// and y.
V rem64(V x, V y) {
  KernelBuilder& b = *x.b;
  const V ax = abs(x), ay = abs(y);
  const auto exponent = [](V v) {
    const V tiny = v < 0x1p-1022;
    const V bits = select(tiny, v * 0x1p54, v).bits_as(DType::kI64);
    return shr(bits, 52) - select(tiny, bits.lit_int(54), bits.lit_int(0));
  };
  const V valid = (ax < kInf) & (ay > 0);
  const V safe_x = select(valid & (ay < kInf), ax, 0.0), safe_y = select(valid & (ay < kInf), ay, 1.0);
  const V distance = exponent(safe_x) - exponent(safe_y);
  const V zero = distance.lit_int(0), chunk = distance.lit_int(50);
  const V trips = select(distance < zero, zero, distance.op(ScalarOp::kDiv, chunk) + distance.lit_int(1));
  const ValueId init = safe_x.id;
  const auto rests = b.loop(LoopKind::kSerial, zero.id, trips.id, 1, std::span(&init, 1),
                            [&](ValueId iv, std::span<const ValueId> carried) {
                              const V r{&b, carried[0]}, t{&b, iv};
                              const V s = (trips - t - t.lit_int(1)) * chunk;
                              const V third = s.op(ScalarOp::kDiv, s.lit_int(3));
                              const V power = power_of_two(third);
                              const V scaled = safe_y * power * power * power_of_two(s - third - third);
                              const V q = (r / scaled).op(ScalarOp::kTrunc);
                              V rest = fma(-q, scaled, r);
                              rest = select(rest < 0, rest + scaled, rest);
                              return std::vector<ValueId>{rest.id};
                            });
  const V rest = select(ay == kInf, ax, V{&b, rests[0]});
  const V result = with_sign(abs(rest), x);
  return select(valid & (y == y), result, kNan);
}

V expand64(ScalarOp op, V x, V y) {
  switch (op) {
    case ScalarOp::kExp:
      return exp64(x);
    case ScalarOp::kExpm1:
      return expm1_64(x);
    case ScalarOp::kLog:
      return log64(x);
    case ScalarOp::kLog1p:
      return log1p_64(x);
    case ScalarOp::kSin:
    case ScalarOp::kCos:
    case ScalarOp::kTan:
      return trigonometric64(op, x);
    case ScalarOp::kAsin:
    case ScalarOp::kAcos:
      return arc(op, x);
    case ScalarOp::kAtan:
      return atan64(x);
    case ScalarOp::kSinh:
    case ScalarOp::kCosh:
    case ScalarOp::kTanh:
      return hyperbolic(op, x);
    case ScalarOp::kAsinh:
    case ScalarOp::kAcosh:
    case ScalarOp::kAtanh:
      return inverse_hyperbolic(op, x);
    case ScalarOp::kErf:
      return erf64(x);
    case ScalarOp::kSigmoid:
      return sigmoid64(x);
    case ScalarOp::kPow:
      return pow64(x, y);
    case ScalarOp::kRem:
      return rem64(x, y);
    case ScalarOp::kMod:
      return mod_from_rem(rem64(x, y), y);
    default:
      return (x / y).op(ScalarOp::kFloor);  // kFloorDiv
  }
}

}  // namespace tenon::kir::math
