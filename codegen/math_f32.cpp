#include <limits>

#include "codegen/math_builder.h"

// The hot functions, in f32 throughout (sin and cos but for their reduction). Polynomials by Remez exchange.
namespace tenon::kir::math {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kMagic = 0x1.8p23;  // adding it leaves the rounded integer in the low bits
// 15 bits in the high part: its product with any exponent is exact, so devices whose fma rounds twice (Vulkan allows
// it) reduce as well as others (Cody and Waite 1980).
constexpr double kLn2Hi = 0x1.62e4p-1, kLn2Lo = 0x1.7f7d1cf79abcap-20;

V power_of_two(V n) { return shl(n + n.lit_int(127), 23).bits_as(DType::kF32); }

struct ExpParts {
  V n, p;  // e^x = 2^n (1 + p)
};
ExpParts exp_parts(V x) {
  const V shifted = fma(x, 1.44269504088896341, x.lit(kMagic));
  const V n = shifted.bits_as(DType::kI32) - shifted.lit(kMagic).bits_as(DType::kI32);
  const V minus_k = kMagic - shifted;
  const V r = fma(minus_k, kLn2Lo, fma(minus_k, kLn2Hi, x));
  const V tail = poly(r, {0x1.0000005339282p-1, 0x1.55548d67db911p-3, 0x1.55545b1b08008p-5, 0x1.123c78d24ca84p-7,
                          0x1.6db6678850302p-10});
  return {n, fma(r * r, tail, r)};
}

// Where e^x is below half of the least subnormal, as where masks hide scores, 0 is chosen rather than computed: a product
// that underflows traps into microcode on many processors.
V exp32(V x) {
  const V vanishes = x < -103.98;
  const ExpParts e = exp_parts(min(select(vanishes, 0.0, x), 89));
  const V half = shr(e.n, 1);
  return select(vanishes, 0.0, (e.p + 1) * power_of_two(half) * power_of_two(e.n - half));
}

// e^x for x <= 0, where results below 2^-126 may become 0: one scaling is enough.
V exp32_negative(V x) {
  const ExpParts e = exp_parts(max(x, -87.3));
  const V scale = power_of_two(e.n);
  return fma(e.p, scale, scale);
}

V log32(V x) {
  const V tiny = x < 0x1p-126;
  const V bits = select(tiny, x * 0x1p24, x).bits_as(DType::kI32);
  const V e = shr(bits - bits.lit_int(0x3f3504f3), 23);
  const V f = (bits - shl(e, 23)).bits_as(DType::kF32) - 1;
  const V k = (e - select(tiny, e.lit_int(24), e.lit_int(0))).to(DType::kF32);
  const V z = f * f;
  const V tail = poly(f, {0x1.55555439e9d9ap-2, -0x1.0002270174b44p-2, 0x1.99a00a32f9915p-3, -0x1.547245223f545p-3,
                          0x1.22d9f8a775215p-3, -0x1.0d851830d94e0p-3, 0x1.055c401997812p-3, -0x1.38b85145f01d6p-4});
  const V low = fma(k, kLn2Lo, fma(f * z, tail, z * -0.5));
  V result = fma(k, kLn2Hi, f + low);
  result = select(x == kInf, x, result);
  result = select(x == 0.0, -kInf, result);
  return select(x >= 0, result, kNan);
}

// tanh x = t / (t + 2), t = e^2x - 1 = 2^n p + (2^n - 1); from 9.02 on it rounds to 1.
V tanh32(V x) {
  const V a = min(abs(x), 9.1);
  const ExpParts e = exp_parts(a + a);
  const V scale = power_of_two(e.n);
  const V t = fma(e.p, scale, scale - 1);
  return with_sign(t / (t + 2), x);
}

V sigmoid32(V x) {
  const V e = exp32(-abs(x)), d = 1 / (e + 1);
  return select(x >= 0, d, e * d);
}

// Up to 1: x P(x^2). Beyond: 1 - e^-Q(x); from 4 on it rounds to 1.
V erf32(V x) {
  const V a = min(abs(x), 4);
  const V small =
      x * poly(x * x, {0x1.20dd74ff16844p+0, -0x1.81273eca8cac5p-2, 0x1.ce2d1f9134b58p-4, -0x1.b7fbb3f00ed46p-6,
                       0x1.5419f15c2cf38p-8, -0x1.a485d0ccb0897p-11, 0x1.4ae4849db3156p-14});
  const V q = poly(a, {0x1.662d821afc983p-12, 0x1.2088e6933d51ep+0, 0x1.46baf96d514a6p-1, 0x1.a652e2eedc621p-4,
                       -0x1.65cabe7725a00p-6, 0x1.82598407fc74ap-9, -0x1.86db1c6ed1fadp-13});
  return select(a < 1, small, with_sign(1 - exp32_negative(-q), x));
}

V trigonometric(ScalarOp op, V x) {
  const Reduced reduced = reduce_by_half_pi(x.to(DType::kF64));
  const V r = reduced.hi.to(DType::kF32), z = r * r;
  const V s = fma(r * z, poly(z, {-1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880}), r);
  const V c = fma(z, poly(z, {-0.5, 1.0 / 24, -1.0 / 720, 1.0 / 40320}), 1.0);
  const V low = reduced.quadrant.to(DType::kI32);
  const V q = op == ScalarOp::kCos ? low + low.lit_int(1) : low;
  const V value = select((q & q.lit_int(1)) != q.lit_int(0), c, s);
  const V result = (value.bits_as(DType::kI32) ^ shl(q & q.lit_int(2), 30)).bits_as(DType::kF32);
  return op == ScalarOp::kSin ? select(x == 0.0, x, result) : result;
}

}  // namespace

V expand32(ScalarOp op, V x, V y) {
  switch (op) {
    case ScalarOp::kExp:
      return exp32(x);
    case ScalarOp::kLog:
      return log32(x);
    case ScalarOp::kTanh:
      return tanh32(x);
    case ScalarOp::kSigmoid:
      return sigmoid32(x);
    case ScalarOp::kErf:
      return erf32(x);
    case ScalarOp::kSin:
    case ScalarOp::kCos:
      return trigonometric(op, x);
    case ScalarOp::kPow:
    case ScalarOp::kRem:
    case ScalarOp::kMod:
    case ScalarOp::kFloorDiv:
      return expand64(op, x.to(DType::kF64), y.to(DType::kF64)).to(DType::kF32);
    default:
      return expand64(op, x.to(DType::kF64), x.to(DType::kF64)).to(DType::kF32);
  }
}

}  // namespace tenon::kir::math
