#include "support/float_types.h"

#include <cmath>
#include <limits>

namespace tenon {
namespace {

// What a value beyond the largest finite one becomes when it does not saturate, and how NaN and -0 are encoded.
struct Format {
  int exponent_bits;
  int mantissa_bits;
  int bias;
  uint32_t max_finite;  // code of the largest finite magnitude
  uint32_t overflow;    // code of infinity, or of NaN in types without infinity
  uint32_t nan;
  bool nan_has_sign;  // false: one NaN, and no negative zero (fnuz)
};

constexpr Format kHalf = {5, 10, 15, 0x7bff, 0x7c00, 0x7e00, true};
constexpr Format kBF16 = {8, 7, 127, 0x7f7f, 0x7f80, 0x7fc0, true};
constexpr Format kE4M3FN = {4, 3, 7, 0x7e, 0x7f, 0x7f, true};
constexpr Format kE4M3FNUZ = {4, 3, 8, 0x7f, 0x80, 0x80, false};
constexpr Format kE5M2 = {5, 2, 15, 0x7b, 0x7c, 0x7e, true};
constexpr Format kE5M2FNUZ = {5, 2, 16, 0x7f, 0x80, 0x80, false};
constexpr Format kE2M1 = {2, 1, 1, 0x7, 0x7, 0x8, true};

constexpr uint64_t shift_right_to_nearest_even(uint64_t value, int shift) {
  const uint64_t quotient = value >> shift;
  const uint64_t rest = value & ((uint64_t{1} << shift) - 1);
  const uint64_t tie = uint64_t{1} << (shift - 1);
  return quotient + (rest > tie || (rest == tie && (quotient & 1)));
}

// The code of a finite non-negative double in a format whose exponent has no upper bound: exponent above mantissa, so
// codes are ordered as values, and a carry out of the mantissa is a correct step of the exponent.
constexpr uint64_t round_magnitude(uint64_t magnitude, const Format& format) {
  constexpr int kMantissa = 52, kBias = 1023;
  const int field = static_cast<int>(magnitude >> kMantissa);
  if (field == 0) return 0;  // below 2^-1022: zero in every small format
  const uint64_t mantissa = magnitude & ((uint64_t{1} << kMantissa) - 1);
  const int shift = kMantissa - format.mantissa_bits;
  const int exponent = field - kBias + format.bias;
  if (exponent >= 1) return shift_right_to_nearest_even(uint64_t(exponent) << kMantissa | mantissa, shift);
  const int subnormal_shift = shift + 1 - exponent;
  if (subnormal_shift > kMantissa + 1) return 0;  // less than half the smallest subnormal
  return shift_right_to_nearest_even(uint64_t{1} << kMantissa | mantissa, subnormal_shift);
}

constexpr uint32_t encode(double value, const Format& format, bool saturate) {
  const uint64_t bits = std::bit_cast<uint64_t>(value);
  const uint64_t magnitude = bits & ~(uint64_t{1} << 63);
  constexpr uint64_t kInfinity = uint64_t{0x7ff} << 52;
  const uint32_t sign = static_cast<uint32_t>(bits >> 63) << (format.exponent_bits + format.mantissa_bits);

  if (magnitude > kInfinity) return format.nan_has_sign ? format.nan | sign : format.nan;
  const uint64_t code = magnitude == kInfinity ? ~uint64_t{0} : round_magnitude(magnitude, format);
  if (code > format.max_finite) {
    if (saturate) return format.max_finite | sign;
    return format.nan_has_sign ? format.overflow | sign : format.overflow;
  }
  if (code == 0 && !format.nan_has_sign) return 0;
  return static_cast<uint32_t>(code) | sign;
}

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Codes at or below max_finite only; the callers know their infinities and NaNs.
float decode_finite(uint32_t bits, const Format& format) {
  const uint32_t sign_bit = 1u << (format.exponent_bits + format.mantissa_bits);
  const uint32_t magnitude = bits & (sign_bit - 1);
  const int exponent = static_cast<int>(magnitude >> format.mantissa_bits);
  const uint32_t mantissa = magnitude & ((1u << format.mantissa_bits) - 1);
  const float value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), 1 - format.bias - format.mantissa_bits)
                                    : std::ldexp(static_cast<float>(mantissa | 1u << format.mantissa_bits),
                                                 exponent - format.bias - format.mantissa_bits);
  return bits & sign_bit ? -value : value;
}

// A NaN keeps the upper bits of its payload and becomes quiet, as F16C and AVX512-BF16 do.
constexpr uint32_t kFloatInfinity = 0x7f800000u;

}  // namespace

uint16_t float_to_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t sign = bits >> 16 & 0x8000u;
  if (magnitude > kFloatInfinity) return static_cast<uint16_t>(sign | 0x7e00u | (magnitude >> 13 & 0x1ffu));
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // 65520 and beyond
  if (magnitude >= 0x38800000u) {                                              // 2^-14 and beyond: normal
    const uint32_t odd = magnitude >> 13 & 1u;
    return static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
  }
  // Adding 0.5, whose ulp is 2^-24, the half's smallest subnormal, leaves the rounded subnormal in the low bits.
  const float aligned = std::bit_cast<float>(magnitude) + 0.5f;
  return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(aligned) - 0x3f000000u));
}

uint16_t double_to_half(double value) { return static_cast<uint16_t>(encode(value, kHalf, false)); }

float half_to_float(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return std::bit_cast<float>(sign | kFloatInfinity | magnitude << 13);
  if (magnitude >= 0x0400u) return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
  const float subnormal = static_cast<float>(magnitude) * 0x1p-24f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(subnormal));
}

uint16_t float_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > kFloatInfinity) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

uint16_t double_to_bf16(double value) { return static_cast<uint16_t>(encode(value, kBF16, false)); }

float bf16_to_float(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

uint8_t float_to_f8e4m3fn(float value, bool saturate) { return double_to_f8e4m3fn(value, saturate); }
uint8_t double_to_f8e4m3fn(double value, bool saturate) {
  return static_cast<uint8_t>(encode(value, kE4M3FN, saturate));
}
float f8e4m3fn_to_float(uint8_t bits) {
  return (bits & 0x7f) == 0x7f ? std::copysign(kNaN, bits & 0x80 ? -1.f : 1.f) : decode_finite(bits, kE4M3FN);
}

uint8_t float_to_f8e4m3fnuz(float value, bool saturate) { return double_to_f8e4m3fnuz(value, saturate); }
uint8_t double_to_f8e4m3fnuz(double value, bool saturate) {
  return static_cast<uint8_t>(encode(value, kE4M3FNUZ, saturate));
}
float f8e4m3fnuz_to_float(uint8_t bits) { return bits == 0x80 ? kNaN : decode_finite(bits, kE4M3FNUZ); }

uint8_t float_to_f8e5m2(float value, bool saturate) { return double_to_f8e5m2(value, saturate); }
uint8_t double_to_f8e5m2(double value, bool saturate) { return static_cast<uint8_t>(encode(value, kE5M2, saturate)); }
// e5m2 is the upper half of binary16, as bfloat16 is of binary32.
float f8e5m2_to_float(uint8_t bits) { return half_to_float(static_cast<uint16_t>(bits << 8)); }

uint8_t float_to_f8e5m2fnuz(float value, bool saturate) { return double_to_f8e5m2fnuz(value, saturate); }
uint8_t double_to_f8e5m2fnuz(double value, bool saturate) {
  return static_cast<uint8_t>(encode(value, kE5M2FNUZ, saturate));
}
float f8e5m2fnuz_to_float(uint8_t bits) { return bits == 0x80 ? kNaN : decode_finite(bits, kE5M2FNUZ); }

uint8_t float_to_f8e8m0(float value, bool saturate, E8M0Rounding rounding) {
  return double_to_f8e8m0(value, saturate, rounding);
}

uint8_t double_to_f8e8m0(double value, bool saturate, E8M0Rounding rounding) {
  constexpr int kBias = 127, kMax = 0xfe, kNaNCode = 0xff;
  if (std::isnan(value)) return kNaNCode;
  const double magnitude = std::fabs(value);
  if (std::isinf(magnitude)) return saturate ? kMax : kNaNCode;
  if (magnitude == 0) return saturate ? 0 : kNaNCode;
  int exponent;
  const double fraction = std::frexp(magnitude, &exponent);  // in [0.5, 1)
  int code = exponent - 1 + kBias;
  if (rounding == E8M0Rounding::kUp) code += fraction > 0.5;
  if (rounding == E8M0Rounding::kNearest) code += fraction >= 0.75;
  if (code >= 0 && code <= kMax) return static_cast<uint8_t>(code);
  if (!saturate) return kNaNCode;
  return code < 0 ? 0 : kMax;
}

float f8e8m0_to_float(uint8_t bits) {
  if (bits == 0xff) return kNaN;
  return bits == 0 ? 0x1p-127f : std::bit_cast<float>(uint32_t{bits} << 23);
}

uint8_t float_to_f4e2m1(float value) { return double_to_f4e2m1(value); }
uint8_t double_to_f4e2m1(double value) {
  return std::isnan(value) ? kE2M1.nan : static_cast<uint8_t>(encode(value, kE2M1, true));
}
float f4e2m1_to_float(uint8_t bits) { return decode_finite(bits & 0xf, kE2M1); }

}  // namespace tenon
