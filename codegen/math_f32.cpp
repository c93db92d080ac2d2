#include <limits>

#include "codegen/math_builder.h"

// The hot functions, in f32 throughout (sin and cos but for their reduction). Polynomials are minimax.
namespace tenon::kir::math {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kMagic = 0x1.8p23;  // adding it leaves the rounded integer in the low bits
constexpr int kExponentBias = 127;
// 15 bits in the high part: its product with any exponent is exact, so devices whose fma rounds twice (Vulkan allows
// it) reduce as well as others (Cody and Waite 1980).
constexpr double kLn2Hi = 0x1.62e4p-1, kLn2Lo = 0x1.7f7d1cf79abcap-20;

struct ExpParts {
  V p, scale;  // e^x = scale (1 + p) 2^-shift
};
/// `magic`: kMagic + kExponentBias + shift, so that the low bits of its sum with x / ln 2 are the biased exponent of `scale`, which must
/// be that of a normal number.
ExpParts exp_parts(V x, V magic) {
  const V shifted = fma(x, 1.44269504088896341, magic);
  const V minus_k = magic - shifted;
  const V r = fma(minus_k, kLn2Lo, fma(minus_k, kLn2Hi, x));
  const V tail = poly(r, {0x1.0000005339282p-1, 0x1.55548d67db911p-3, 0x1.55545b1b08008p-5, 0x1.123c78d24ca84p-7,
                          0x1.6db6678850302p-10});
  return {fma(r * r, tail, r), shl(shifted.bits_as(DType::kI32), 23).bits_as(DType::kF32)};
}
ExpParts exp_parts(V x, int shift) { return exp_parts(x, x.lit(kMagic + kExponentBias + shift)); }
V joined(const ExpParts& e) { return fma(e.p, e.scale, e.scale); }

// Where results are subnormal or overflow they do so in a multiplication by 2^-shift. Where e^x is below half of the least subnormal, as
// where masks hide scores, 0 is chosen rather than computed: a product that underflows traps into microcode on many processors.
constexpr int kShift = 24;
constexpr double kVanishes = -103.98;

V exp32(V x) {
  const V vanishes = x < kVanishes;
  const V y = min(select(vanishes, 0.0, x), 89);
  const V below = y < 0;
  const V down = x.lit(0x1p-24), up = x.lit(0x1p24);
  const ExpParts e = exp_parts(y, select(below, x.lit(kMagic + kExponentBias + kShift), x.lit(kMagic + kExponentBias - kShift)));
  return select(vanishes, 0.0, joined(e) * select(below, down, up));
}

/// e^x for x <= 0, the same numbers.
V exp32_not_above_0(V x) {
  const V vanishes = x < kVanishes;
  return select(vanishes, 0.0, joined(exp_parts(select(vanishes, 0.0, x), kShift)) * 0x1p-24);
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
  const ExpParts e = exp_parts(a + a, 0);
  const V t = fma(e.p, e.scale, e.scale - 1);
  return with_sign(t / (t + 2), x);
}

V sigmoid32(V x) {
  const V e = exp32_not_above_0(-abs(x)), d = 1 / (e + 1);
  return select(x >= 0, d, e * d);
}

// 1 - e^-q, q = x P(x) = -ln(1 - erf x), as -(e^-q - 1), which keeps the digits of small ones; from 4 on it rounds to 1. The leading term
// joins last, so that x and its square carry the rounding of what is smaller.
V erf32(V x) {
  const V a = min(abs(x), 4);
  const V tail = poly(a, {-0x1.45f2fb6600f17p-1, -0x1.a4f9db9571686p-4, 0x1.39c65f402c7dap-6, 0x1.56f5727858289p-13,
                          -0x1.b5ca76284d360p-10, 0x1.4c9e4ac05ac78p-11, -0x1.ef362ce9bccc0p-14, 0x1.38210bdb82ed4p-17});
  const ExpParts e = exp_parts(fma(a, -0x1.20dd7517ea5c9p+0, a * a * tail), 0);
  return with_sign(fma(-e.p, e.scale, 1 - e.scale), x);
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

V expand32(ScalarOp op, V x, V y, bool not_above_0) {
  switch (op) {
    case ScalarOp::kExp:
      return not_above_0 ? exp32_not_above_0(x) : exp32(x);
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
