#include "support/float_types.h"

#include <cmath>
#include <limits>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace tenon {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// A format as its defining document states it, and its converters under one signature.
struct Format {
  const char* name;
  int exponent_bits, mantissa_bits, bias;
  unsigned max_code;  // code of the largest finite value
  unsigned (*from_double)(double);
  unsigned (*from_float)(float);
  double (*to_double)(unsigned);
};

void PrintTo(const Format& format, std::ostream* out) { *out << format.name; }

#define FORMAT(name, suffix, ...)                                                                                  \
  Format {                                                                                                         \
    #name, __VA_ARGS__, [](double v) -> unsigned { return double_to_##name(v suffix); },                           \
        [](float v) -> unsigned { return float_to_##name(v suffix); },                                             \
        [](unsigned bits) -> double { return name##_to_float(static_cast<decltype(float_to_##name(0.f))>(bits)); } \
  }
#define NO_SATURATE , false
#define PLAIN

const Format kFormats[] = {
    FORMAT(half, PLAIN, 5, 10, 15, 0x7bff),       FORMAT(bf16, PLAIN, 8, 7, 127, 0x7f7f),
    FORMAT(f8e4m3fn, NO_SATURATE, 4, 3, 7, 0x7e), FORMAT(f8e4m3fnuz, NO_SATURATE, 4, 3, 8, 0x7f),
    FORMAT(f8e5m2, NO_SATURATE, 5, 2, 15, 0x7b),  FORMAT(f8e5m2fnuz, NO_SATURATE, 5, 2, 16, 0x7f),
    FORMAT(f4e2m1, PLAIN, 2, 1, 1, 0x7),
};

unsigned sign_bit(const Format& f) { return 1u << (f.exponent_bits + f.mantissa_bits); }
bool is_fnuz(const Format& f) { return std::string(f.name).ends_with("fnuz"); }

// The value of a finite non-negative code by the definition (-1)^s 2^(e-bias) 1.m, or 2^(1-bias) 0.m.
double defined_value(const Format& f, unsigned code) {
  const unsigned exponent = code >> f.mantissa_bits, mantissa = code % (1u << f.mantissa_bits);
  const double fraction = mantissa / std::pow(2.0, f.mantissa_bits);
  return exponent == 0 ? std::pow(2.0, 1 - f.bias) * fraction
                       : std::pow(2.0, static_cast<int>(exponent) - f.bias) * (1 + fraction);
}

class SmallFloats : public testing::TestWithParam<Format> {};
INSTANTIATE_TEST_SUITE_P(All, SmallFloats, testing::ValuesIn(kFormats),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(SmallFloats, EveryFiniteCodeHasItsDefinedValueAndRoundTrips) {
  const Format& f = GetParam();
  for (unsigned code = 0; code <= f.max_code; ++code) {
    const double value = defined_value(f, code);
    ASSERT_EQ(f.to_double(code), value) << code;
    ASSERT_EQ(f.from_double(value), code);
    ASSERT_EQ(f.from_float(static_cast<float>(value)), code);
    if (code == 0 && is_fnuz(f)) continue;
    ASSERT_EQ(f.to_double(code | sign_bit(f)), -value) << code;
    ASSERT_TRUE(std::signbit(f.to_double(code | sign_bit(f))));
    ASSERT_EQ(f.from_double(-value), code | sign_bit(f));
    ASSERT_EQ(f.from_float(static_cast<float>(-value)), code | sign_bit(f));
  }
}

TEST_P(SmallFloats, RoundsToNearestTiesToEven) {
  const Format& f = GetParam();
  for (unsigned code = 0; code < f.max_code; ++code) {
    const double low = defined_value(f, code), high = defined_value(f, code + 1);
    const double middle = low + (high - low) / 2;  // exact: one bit more than the format
    const unsigned even = code % 2 == 0 ? code : code + 1;
    ASSERT_EQ(f.from_double(middle), even) << middle;
    ASSERT_EQ(f.from_double(std::nextafter(middle, 0.0)), code);
    ASSERT_EQ(f.from_double(std::nextafter(middle, kInf)), code + 1);
    const float single = static_cast<float>(middle);
    ASSERT_EQ(f.from_float(single), even) << middle;
    ASSERT_EQ(f.from_float(std::nextafterf(single, 0.f)), code);
    ASSERT_EQ(f.from_float(std::nextafterf(single, HUGE_VALF)), code + 1);
    if (even != 0 || !is_fnuz(f)) {
      ASSERT_EQ(f.from_float(-single), even | sign_bit(f));
      ASSERT_EQ(f.from_double(-middle), even | sign_bit(f));
    }
  }
}

TEST_P(SmallFloats, OverflowStartsHalfAStepBeyondTheLargest) {
  const Format& f = GetParam();
  const double largest = defined_value(f, f.max_code);
  // A tie with the code after the largest, were there one, goes to the even of the two.
  const double limit = largest + (largest - defined_value(f, f.max_code - 1)) / 2;
  EXPECT_EQ(f.from_double(std::nextafter(limit, 0.0)), f.max_code);
  if (std::string(f.name) == "f4e2m1") {
    EXPECT_EQ(f.from_double(limit), f.max_code);
    EXPECT_EQ(f.from_double(1e300), f.max_code);
    EXPECT_EQ(f.from_double(-kInf), f.max_code | sign_bit(f));
    return;
  }
  for (double beyond : {std::nextafter(limit, kInf), 2 * largest, 1e300, kInf}) {
    const double result = f.to_double(f.from_double(beyond));
    EXPECT_FALSE(std::isfinite(result)) << beyond;
  }
  EXPECT_FALSE(std::isfinite(f.to_double(f.from_float(std::nextafterf(static_cast<float>(limit), HUGE_VALF)))));
  EXPECT_EQ(f.to_double(f.from_double(limit)) == largest, f.max_code % 2 == 0);
}

TEST_P(SmallFloats, FloatAndDoubleAgreeOnRandomFloats) {
  const Format& f = GetParam();
  std::mt19937 rng(1);
  for (int i = 0; i < 2'000'000; ++i) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(rng()));
    if (std::isnan(value)) continue;
    ASSERT_EQ(f.from_float(value), f.from_double(value)) << value;
  }
}

TEST(Half, AllCodesRoundTrip) {
  for (unsigned code = 0; code < 65536; ++code) {
    const float value = half_to_float(static_cast<uint16_t>(code));
    const bool nan = (code & 0x7fff) > 0x7c00;
    ASSERT_EQ(std::isnan(value), nan);
    ASSERT_EQ(float_to_half(value), nan ? code | 0x200 : code);
    if (!nan) {
      ASSERT_EQ(double_to_half(value), code);
    }
  }
}

TEST(BFloat16, AllCodesRoundTrip) {
  for (unsigned code = 0; code < 65536; ++code) {
    const float value = bf16_to_float(static_cast<uint16_t>(code));
    const bool nan = (code & 0x7fff) > 0x7f80;
    ASSERT_EQ(std::isnan(value), nan);
    ASSERT_EQ(float_to_bf16(value), nan ? code | 0x40 : code);
    if (!nan) {
      ASSERT_EQ(double_to_bf16(value), code);
    }
  }
}

TEST(Half, DoubleRoundsOnce) {
  // Just above a tie, by less than a float can hold: through float it would become the tie and go down.
  const double above_tie = 1.0 + std::ldexp(1.0, -11) + std::ldexp(1.0, -40);
  EXPECT_EQ(double_to_half(above_tie), 0x3c01);
  EXPECT_EQ(float_to_half(static_cast<float>(above_tie)), 0x3c00);
  EXPECT_EQ(double_to_bf16(1.0 + std::ldexp(1.0, -8) + std::ldexp(1.0, -40)), 0x3f81);
  EXPECT_EQ(double_to_half(std::ldexp(1.0, -25) * (1 + 1e-12)), 1);
  EXPECT_EQ(double_to_half(std::ldexp(1.0, -25)), 0);
  EXPECT_EQ(double_to_half(65520.0), 0x7c00);
  EXPECT_EQ(double_to_half(std::nextafter(65520.0, 0.0)), 0x7bff);
}

TEST(Float8, NaNKeepsItsSignWhereThereIsOne) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (bool saturate : {false, true}) {
    EXPECT_EQ(float_to_f8e4m3fn(nan, saturate), 0x7f);
    EXPECT_EQ(float_to_f8e4m3fn(-nan, saturate), 0xff);
    EXPECT_EQ(float_to_f8e5m2(nan, saturate), 0x7e);
    EXPECT_EQ(float_to_f8e5m2(-nan, saturate), 0xfe);
    EXPECT_EQ(float_to_f8e4m3fnuz(nan, saturate), 0x80);
    EXPECT_EQ(float_to_f8e4m3fnuz(-nan, saturate), 0x80);
    EXPECT_EQ(float_to_f8e5m2fnuz(-nan, saturate), 0x80);
    EXPECT_EQ(float_to_f8e8m0(nan, saturate), 0xff);
  }
  EXPECT_EQ(float_to_half(nan), 0x7e00);
  EXPECT_EQ(double_to_half(kNaN), 0x7e00);
  EXPECT_EQ(double_to_bf16(-kNaN), 0xffc0);
}

// The tables of ONNX Cast, opset 24.
TEST(Float8, SaturationFollowsTheOnnxTables) {
  for (double beyond : {kInf, 1e6, 1e300}) {
    EXPECT_EQ(double_to_f8e4m3fn(beyond, true), 0x7e);
    EXPECT_EQ(double_to_f8e4m3fn(-beyond, true), 0xfe);
    EXPECT_EQ(double_to_f8e4m3fnuz(beyond, true), 0x7f);
    EXPECT_EQ(double_to_f8e4m3fnuz(-beyond, true), 0xff);
    EXPECT_EQ(double_to_f8e5m2(beyond, true), 0x7b);
    EXPECT_EQ(double_to_f8e5m2(-beyond, true), 0xfb);
    EXPECT_EQ(double_to_f8e5m2fnuz(beyond, true), 0x7f);
    EXPECT_EQ(double_to_f8e5m2fnuz(-beyond, true), 0xff);

    EXPECT_EQ(double_to_f8e4m3fn(beyond, false), 0x7f);
    EXPECT_EQ(double_to_f8e4m3fn(-beyond, false), 0xff);
    EXPECT_EQ(double_to_f8e4m3fnuz(-beyond, false), 0x80);
    EXPECT_EQ(double_to_f8e5m2(beyond, false), 0x7c);
    EXPECT_EQ(double_to_f8e5m2(-beyond, false), 0xfc);
    EXPECT_EQ(double_to_f8e5m2fnuz(beyond, false), 0x80);
  }
  EXPECT_EQ(f8e4m3fn_to_float(0x7e), 448.f);
  EXPECT_EQ(f8e4m3fnuz_to_float(0x7f), 240.f);
  EXPECT_EQ(f8e5m2_to_float(0x7b), 57344.f);
  EXPECT_EQ(f8e5m2fnuz_to_float(0x7f), 57344.f);
  EXPECT_EQ(float_to_f8e4m3fn(464.f, false), 0x7e);  // [x] is 448, not beyond it
}

TEST(Float8, FnuzHasOneZero) {
  EXPECT_EQ(float_to_f8e4m3fnuz(-0.f), 0);
  EXPECT_EQ(float_to_f8e4m3fnuz(-1e-7f), 0);
  EXPECT_EQ(float_to_f8e5m2fnuz(-0.f), 0);
  EXPECT_EQ(float_to_f8e4m3fn(-0.f), 0x80);
  EXPECT_EQ(float_to_f8e5m2(-1e-7f), 0x80);
}

TEST(Float8, EveryNonFiniteCodeDecodesAsDefined) {
  EXPECT_TRUE(std::isnan(f8e4m3fn_to_float(0x7f)) && std::isnan(f8e4m3fn_to_float(0xff)));
  EXPECT_TRUE(std::isnan(f8e4m3fnuz_to_float(0x80)) && std::isnan(f8e5m2fnuz_to_float(0x80)));
  EXPECT_EQ(f8e5m2_to_float(0x7c), HUGE_VALF);
  EXPECT_EQ(f8e5m2_to_float(0xfc), -HUGE_VALF);
  for (int code : {0x7d, 0x7e, 0x7f, 0xfd, 0xfe, 0xff})
    EXPECT_TRUE(std::isnan(f8e5m2_to_float(static_cast<uint8_t>(code))));
}

TEST(Float8E8M0, EveryCodeRoundTripsInEveryMode) {
  using enum E8M0Rounding;
  for (int code = 0; code < 255; ++code) {
    const float value = f8e8m0_to_float(static_cast<uint8_t>(code));
    EXPECT_EQ(value, std::ldexp(1.0, code - 127));
    for (E8M0Rounding mode : {kUp, kDown, kNearest})
      for (bool saturate : {false, true}) EXPECT_EQ(float_to_f8e8m0(value, saturate, mode), code);
  }
  EXPECT_TRUE(std::isnan(f8e8m0_to_float(0xff)));
}

TEST(Float8E8M0, RoundingAndSaturation) {
  using enum E8M0Rounding;
  EXPECT_EQ(float_to_f8e8m0(1.1f, true, kUp), 0x80);
  EXPECT_EQ(float_to_f8e8m0(1.9f, true, kDown), 0x7f);
  EXPECT_EQ(float_to_f8e8m0(1.49f, true, kNearest), 0x7f);
  EXPECT_EQ(float_to_f8e8m0(1.5f, true, kNearest), 0x80);
  EXPECT_EQ(float_to_f8e8m0(-4.f, true, kUp), 0x81);
  EXPECT_EQ(float_to_f8e8m0(0.f, true), 0);
  EXPECT_EQ(float_to_f8e8m0(0.f, false), 0xff);
  EXPECT_EQ(double_to_f8e8m0(kInf, true), 0xfe);
  EXPECT_EQ(double_to_f8e8m0(kInf, false), 0xff);
  EXPECT_EQ(double_to_f8e8m0(0x1.8p127, true), 0xfe);
  EXPECT_EQ(double_to_f8e8m0(0x1.8p127, false), 0xff);
  EXPECT_EQ(double_to_f8e8m0(1e300, true, kDown), 0xfe);
  EXPECT_EQ(double_to_f8e8m0(1e-300, true, kDown), 0);
  EXPECT_EQ(double_to_f8e8m0(1e-300, false, kUp), 0xff);
}

TEST(Float4, NaNAndStorageBits) {
  EXPECT_EQ(double_to_f4e2m1(kNaN), 0x8);
  EXPECT_EQ(float_to_f4e2m1(0.25f), 0x0);
  EXPECT_EQ(float_to_f4e2m1(0.48f), 0x1);
  EXPECT_EQ(float_to_f4e2m1(-3.5f), 0xe);
  EXPECT_EQ(f4e2m1_to_float(0xf7), 6.f);  // the upper half belongs to a neighbour
}

TEST(SmallFloatTypes, ConvertExplicitly) {
  EXPECT_EQ(half(1.5f).bits, 0x3e00);
  EXPECT_EQ(half(2).bits, 0x4000);
  EXPECT_EQ(static_cast<int>(half(-3.7)), -3);
  EXPECT_EQ(static_cast<double>(bfloat16(0.5)), 0.5);
  EXPECT_EQ(static_cast<float>(float8_e4m3fn(1e9f)), 448.f);
  EXPECT_EQ(static_cast<float>(float8_e4m3fnuz(1e9)), 240.f);
  EXPECT_EQ(static_cast<float>(float8_e5m2(-1e9)), -57344.f);
  EXPECT_EQ(static_cast<float>(float8_e5m2fnuz(2.f)), 2.f);
  EXPECT_EQ(static_cast<float>(float8_e8m0(3.f)), 4.f);
  EXPECT_EQ(static_cast<float>(float4_e2m1(5.1f)), 6.f);
  EXPECT_EQ(half::from_bits(0x3c00).bits, 0x3c00);
  EXPECT_FALSE((std::is_convertible_v<float, half>));
  EXPECT_FALSE((std::is_convertible_v<half, float>));
}

TEST(Packed, ReadsBackEveryValueAndLeavesNeighboursAlone) {
  for (int bits : {1, 2, 4}) {
    for (bool is_signed : {false, true}) {
      const int low = is_signed ? -(1 << (bits - 1)) : 0;
      const size_t count = 17;
      std::vector<uint8_t> bytes(8 + count * static_cast<size_t>(bits) / 8, 0xa5);
      for (size_t i = 0; i < count; ++i)
        set_packed(bytes.data(), i, bits, low + static_cast<int>(i * 7 % (1u << bits)));
      for (size_t i = 0; i < count; ++i)
        EXPECT_EQ(get_packed(bytes.data(), i, bits, is_signed), low + static_cast<int>(i * 7 % (1u << bits)));
      EXPECT_EQ(bytes.back(), 0xa5);
    }
  }
}

TEST(Packed, LowBitsComeFirst) {
  const uint8_t bytes[] = {0xe1, 0x93};
  EXPECT_EQ(get_packed(bytes, 0, 4, false), 1);
  EXPECT_EQ(get_packed(bytes, 1, 4, false), 14);
  EXPECT_EQ(get_packed(bytes, 1, 4, true), -2);
  EXPECT_EQ(get_packed(bytes, 3, 4, true), -7);
  EXPECT_EQ(get_packed(bytes, 3, 2, false), 3);
  EXPECT_EQ(get_packed(bytes, 3, 2, true), -1);
  EXPECT_EQ(get_packed(bytes, 4, 2, true), -1);
}

}  // namespace
}  // namespace tenon
