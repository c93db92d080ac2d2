#include "support/philox.h"

#include <cmath>

#include <gtest/gtest.h>

namespace tenon {
namespace {

// The known answers of Random123's kat_vectors for philox4x32 with 10 rounds.
TEST(Philox, GivesTheKnownAnswers) {
  using Block = std::array<uint32_t, 4>;
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, NumbersDependOnSeedAndPositionAlone) {
  const RandomStream a(7), b(7), other(8);
  EXPECT_EQ(a.uniform(1'000'000'007), b.uniform(1'000'000'007));
  EXPECT_EQ(a.normal(3), b.normal(3));
  EXPECT_NE(a.uniform(0), a.uniform(1));
  EXPECT_NE(a.uniform(0), other.uniform(0));
  EXPECT_NE(a.uniform(5), a.uniform(5 + (uint64_t{1} << 32)));
}

TEST(Philox, UniformNumbersStayBelowOne) {
  const RandomStream stream(1);
  for (uint64_t i = 0; i < 100'000; ++i) {
    ASSERT_GE(stream.uniform(i), 0);
    ASSERT_LT(stream.uniform(i), 1);
    ASSERT_TRUE(std::isfinite(stream.normal(i)));
  }
}

}  // namespace
}  // namespace tenon
