#include "codegen/math_f64.h"

namespace tenon::kir::math {
namespace {

/// The upper half of a 64 x 64 bit product (u64).
V multiply_high(V a, V c) {
  const V mask = a.lit_int(0xffffffff);
  const V a0 = a & mask, a1 = shr(a, 32), c0 = c & mask, c1 = shr(c, 32);
  const V middle = a1 * c0 + shr(a0 * c0, 32);
  const V other = a0 * c1 + (middle & mask);
  return a1 * c1 + shr(middle, 32) + shr(other, 32);
}

// The bits of 2/pi after a word of zeros.
constexpr uint64_t kTwoOverPi[] = {
    0,
    0xa2f9836e4e441529,
    0xfc2757d1f534ddc0,
    0xdb6295993c439041,
    0xfe5163abdebbc561,
    0xb7246e3a424dd2e0,
    0x06492eea09d1921c,
    0xfe1deb1cb129a73e,
    0xe88235f52ebb4484,
    0xe99c7026b45f7e41,
    0x3991d639835339f4,
    0x9c845f8bbdf9283b,
    0x1ff897ffde05980f,
    0xef2f118b5a0a6d1f,
    0x6d367ecf27cb09b7,
    0x4f463f669e5fea2d,
    0x7527bac7ebe5f17b,
    0x3d0739f78a5292ea,
    0x6bfb5fb11f8d5d08,
    0x56033046fc7b6bab,
};

// x = m 2^e with a 53-bit integer m. Bits of 2/pi that contribute multiples of 4 to x 2/pi are skipped; 192 bits from
// there give the product modulo 4 to 128 bits.
std::vector<ValueId> payne_hanek(V x) {
  KernelBuilder& b = *x.b;
  const int table = b.add_local("two_over_pi", DType::kU64, std::size(kTwoOverPi));
  for (size_t i = 0; i < std::size(kTwoOverPi); ++i)
    b.store(table, b.i64(static_cast<int64_t>(i)), b.constant_int(DType::kU64, static_cast<int64_t>(kTwoOverPi[i])));
  const V bits = abs(x).bits_as(DType::kI64);
  const V e = shr(bits, 52);
  const V m = ((bits & bits.lit_int((int64_t{1} << 52) - 1)) | bits.lit_int(int64_t{1} << 52)).to(DType::kU64);
  const V skip = e + e.lit_int(64 - 2 - 1075);
  const V word = shr(skip, 6), shift = (skip & skip.lit_int(63)).to(DType::kU64);
  const V back = shift.lit_int(64) - shift;
  const auto load = [&](int i) { return V{&b, b.load(table, (word + word.lit_int(i)).id)}; };
  const auto join = [&](V high, V low) { return high.op(ScalarOp::kShl, shift) | low.op(ScalarOp::kShr, back); };
  const V t0 = load(0), t1 = load(1), t2 = load(2), t3 = load(3);
  const V f0 = join(t0, t1), f1 = join(t1, t2), f2 = join(t2, t3);
  const V low_part = m * f1, low = low_part + multiply_high(m, f2);
  const V carry = select(low < low_part, low.lit_int(1), low.lit_int(0));
  const V high = m * f0 + multiply_high(m, f1) + carry;
  const V quadrant = shr(high + high.lit_int(int64_t{1} << 61), 62).to(DType::kI64);
  // The fraction of a quadrant, signed, as a sum of doubles.
  const V hi = (shl(high, 2) | shr(low, 62)).to(DType::kI64), lo = shl(low, 2);
  const V top = hi & hi.lit_int(~int64_t{0xfff});
  const V a = top.to(DType::kF64) * 0x1p-64;
  const V c = (hi - top).to(DType::kF64) * 0x1p-64 + shr(lo, 1).to(DType::kI64).to(DType::kF64) * 0x1p-127;
  const V q = a + c, q_lo = c - (q - a);
  const V r = q * kHalfPi1;
  const V r_lo = fma(q, kHalfPi1, -r) + fma(q, kHalfPi2, q_lo * kHalfPi1);
  const V negative = x < 0;
  return {select(negative, quadrant.lit_int(0) - quadrant, quadrant).id, select(negative, -r, r).id,
          select(negative, -r_lo, r_lo).id};
}

}  // namespace

Reduced reduce_by_half_pi(V x) {
  KernelBuilder& b = *x.b;
  const V ax = abs(x);
  const V big = ax >= 0x1p30;
  const V small_x = select(big, 0.0, x);
  const Rounded k = round_to_int(small_x * 0.63661977236758134308);
  const V minus_k = -k.value;
  // The first difference is exact; the second step's error goes into lo.
  const V y0 = fma(minus_k, kHalfPi1, small_x);
  const V hi = fma(minus_k, kHalfPi2, y0);
  const V lo = fma(minus_k, kHalfPi3, fma(minus_k, kHalfPi2, y0 - hi));
  const auto chosen = b.if_else(
      big.id, [&] { return payne_hanek(x); }, [&] { return std::vector<ValueId>{k.integer.id, hi.id, lo.id}; });
  const V r{&b, chosen[1]};
  return {{&b, chosen[0]}, select(ax < kInf, r, kNan), {&b, chosen[2]}};
}

namespace {

// Taylor series on [-pi/4, pi/4], with the derivative's correction for lo.
V sin_kernel(V r, V lo) {
  const V z = r * r;
  V p = z.lit(factorial_reciprocal(17));
  for (int n = 15; n >= 3; n -= 2) p = fma(p, z, (n % 4 == 3 ? -1 : 1) * factorial_reciprocal(n));
  return r + fma(r * z, p, fma(z * -0.5, lo, lo));
}

V cos_kernel(V r, V lo) {
  const V z = r * r;
  V p = z.lit(factorial_reciprocal(16));
  for (int n = 14; n >= 4; n -= 2) p = fma(p, z, (n % 4 == 2 ? -1 : 1) * factorial_reciprocal(n));
  const V half = z * 0.5, w = 1 - half;
  return w + (((1 - w) - half) + fma(z * z, p, -(r * lo)));
}

}  // namespace

V trigonometric64(ScalarOp op, V x) {
  const Reduced r = reduce_by_half_pi(x);
  const V s = sin_kernel(r.hi, r.lo), c = cos_kernel(r.hi, r.lo);
  const V q = op == ScalarOp::kCos ? r.quadrant + r.quadrant.lit_int(1) : r.quadrant;
  const V odd = (q & q.lit_int(1)) != q.lit_int(0);
  if (op == ScalarOp::kTan) return select(x == 0.0, x, select(odd, -c, s) / select(odd, s, c));
  const V value = select(odd, c, s);
  const V flip = shl(q & q.lit_int(2), 62);
  const V result = (value.bits_as(DType::kI64) ^ flip).bits_as(DType::kF64);
  return op == ScalarOp::kSin ? select(x == 0.0, x, result) : result;
}

}  // namespace tenon::kir::math
