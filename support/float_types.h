#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace tenon {

// Conversions between the small floating-point types of ONNX and IEEE binary32/binary64. All narrowing rounds to
// nearest, ties to even, once: the double overloads never pass through float. Widening is exact. Subnormals are
// honoured. A NaN stays a NaN where the type has one, quieted, its sign kept where the type has a sign.

/// IEEE binary16. Overflow gives infinity.
uint16_t float_to_half(float value);
uint16_t double_to_half(double value);
float half_to_float(uint16_t bits);

/// bfloat16: the upper half of binary32. Overflow gives infinity.
uint16_t float_to_bf16(float value);
uint16_t double_to_bf16(double value);
float bf16_to_float(uint16_t bits);

/// Float 8 as the tables of ONNX Cast give it (https://onnx.ai/onnx/operators/onnx__Cast.html), where [x] is the value
/// rounded to the target's mantissa. [x] beyond the largest finite value, infinities included: the largest finite
/// value when `saturate`; otherwise infinity for e5m2 and NaN for the others. The fnuz types have no negative zero, no
/// infinity and one NaN (0x80). e4m3fn has no infinity and the NaNs 0x7f and 0xff.
uint8_t float_to_f8e4m3fn(float value, bool saturate = true);
uint8_t double_to_f8e4m3fn(double value, bool saturate = true);
float f8e4m3fn_to_float(uint8_t bits);
uint8_t float_to_f8e4m3fnuz(float value, bool saturate = true);
uint8_t double_to_f8e4m3fnuz(double value, bool saturate = true);
float f8e4m3fnuz_to_float(uint8_t bits);
uint8_t float_to_f8e5m2(float value, bool saturate = true);
uint8_t double_to_f8e5m2(double value, bool saturate = true);
float f8e5m2_to_float(uint8_t bits);
uint8_t float_to_f8e5m2fnuz(float value, bool saturate = true);
uint8_t double_to_f8e5m2fnuz(double value, bool saturate = true);
float f8e5m2fnuz_to_float(uint8_t bits);

/// ONNX Cast's round_mode: away from zero, towards zero, to nearest with ties up.
enum class E8M0Rounding : uint8_t { kUp, kDown, kNearest };

/// An 8-bit power of two, 2^(bits-127), 0xff being NaN (OCP Microscaling Formats 1.0, section 5.4.1). Zero and what
/// rounds below 2^-127 give 2^-127, what rounds above 2^127 gives 2^127; NaN for both when not `saturate`. The sign,
/// which ONNX leaves unspecified, is ignored.
uint8_t float_to_f8e8m0(float value, bool saturate = true, E8M0Rounding rounding = E8M0Rounding::kUp);
uint8_t double_to_f8e8m0(double value, bool saturate = true, E8M0Rounding rounding = E8M0Rounding::kUp);
float f8e8m0_to_float(uint8_t bits);

/// Float 4: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives in the low 4 bits. Always saturates; NaN gives -0, as ONNX's
/// test data has it.
uint8_t float_to_f4e2m1(float value);
uint8_t double_to_f4e2m1(double value);
float f4e2m1_to_float(uint8_t bits);

/// Storage types. `T{1.5f}` converts with the defaults above, `T::from_bits(b)` reinterprets, `static_cast<float>(t)`
/// and any other arithmetic type converts back.
template <class Bits, Bits (*from_float)(float), Bits (*from_double)(double), float (*to_float)(Bits)>
struct SmallFloat {
  Bits bits;

  SmallFloat() = default;
  template <class T>
    requires std::is_arithmetic_v<T>
  explicit SmallFloat(T value) {
    if constexpr (std::is_same_v<T, float>)
      bits = from_float(value);
    else
      bits = from_double(static_cast<double>(value));
  }
  static SmallFloat from_bits(Bits bits) {
    SmallFloat value;
    value.bits = bits;
    return value;
  }
  template <class T>
    requires std::is_arithmetic_v<T>
  explicit operator T() const {
    return static_cast<T>(to_float(bits));
  }
};

namespace detail {
template <uint8_t (*convert)(float, bool)>
uint8_t saturating(float value) {
  return convert(value, true);
}
template <uint8_t (*convert)(double, bool)>
uint8_t saturating(double value) {
  return convert(value, true);
}
inline uint8_t default_f8e8m0(float value) { return float_to_f8e8m0(value); }
inline uint8_t default_f8e8m0(double value) { return double_to_f8e8m0(value); }
}  // namespace detail

using half = SmallFloat<uint16_t, float_to_half, double_to_half, half_to_float>;
using bfloat16 = SmallFloat<uint16_t, float_to_bf16, double_to_bf16, bf16_to_float>;
using float8_e4m3fn = SmallFloat<uint8_t, detail::saturating<float_to_f8e4m3fn>, detail::saturating<double_to_f8e4m3fn>,
                                 f8e4m3fn_to_float>;
using float8_e4m3fnuz = SmallFloat<uint8_t, detail::saturating<float_to_f8e4m3fnuz>,
                                   detail::saturating<double_to_f8e4m3fnuz>, f8e4m3fnuz_to_float>;
using float8_e5m2 =
    SmallFloat<uint8_t, detail::saturating<float_to_f8e5m2>, detail::saturating<double_to_f8e5m2>, f8e5m2_to_float>;
using float8_e5m2fnuz = SmallFloat<uint8_t, detail::saturating<float_to_f8e5m2fnuz>,
                                   detail::saturating<double_to_f8e5m2fnuz>, f8e5m2fnuz_to_float>;
using float8_e8m0 = SmallFloat<uint8_t, detail::default_f8e8m0, detail::default_f8e8m0, f8e8m0_to_float>;
using float4_e2m1 = SmallFloat<uint8_t, float_to_f4e2m1, double_to_f4e2m1, f4e2m1_to_float>;

static_assert(sizeof(half) == 2 && sizeof(float8_e5m2) == 1 && std::is_trivially_copyable_v<half>);

/// Element `index` of an array of elements of `bits` bits (1, 2 or 4), packed low bits first as in ONNX raw_data;
/// sign-extended when `is_signed`. The byte index / (8 / bits) must exist.
inline int get_packed(const uint8_t* data, size_t index, int bits, bool is_signed) {
  const size_t per_byte = 8u / static_cast<unsigned>(bits);
  const int shift = static_cast<int>(index % per_byte) * bits;
  const int value = (data[index / per_byte] >> shift) & ((1 << bits) - 1);
  const int sign = 1 << (bits - 1);
  return is_signed ? (value ^ sign) - sign : value;
}

/// Stores the low `bits` bits of `value`, leaving the other elements of the byte as they are.
inline void set_packed(uint8_t* data, size_t index, int bits, int value) {
  const size_t per_byte = 8u / static_cast<unsigned>(bits);
  const int shift = static_cast<int>(index % per_byte) * bits;
  const int mask = ((1 << bits) - 1) << shift;
  uint8_t& byte = data[index / per_byte];
  byte = static_cast<uint8_t>((byte & ~mask) | ((value << shift) & mask));
}

}  // namespace tenon
