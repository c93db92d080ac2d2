#include "support/checked.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace tenon {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

TEST(Checked, AddSubMulAtTheLimits) {
  EXPECT_EQ(checked_add(kMax - 1, 1), kMax);
  EXPECT_FALSE(checked_add(kMax, 1));
  EXPECT_FALSE(checked_add(kMin, -1));
  EXPECT_EQ(checked_sub(kMin + 1, 1), kMin);
  EXPECT_FALSE(checked_sub(kMin, 1));
  EXPECT_FALSE(checked_sub(size_t{0}, 1));
  EXPECT_EQ(checked_mul(int64_t{1} << 31, int64_t{1} << 31), int64_t{1} << 62);
  EXPECT_FALSE(checked_mul(int64_t{1} << 32, int64_t{1} << 31));
  EXPECT_FALSE(checked_mul(kMin, -1));
  EXPECT_EQ(checked_mul(kMin, 1), kMin);
}

TEST(Checked, Div) {
  EXPECT_FALSE(checked_div(int64_t{1}, 0));
  EXPECT_FALSE(checked_div(kMin, -1));
  EXPECT_EQ(checked_div(kMax, -1), -kMax);
  EXPECT_EQ(checked_div(int64_t{-7}, 2), -3);
  EXPECT_EQ(checked_div(size_t{7}, 2), 3u);
}

TEST(Checked, Cast) {
  EXPECT_FALSE(checked_cast<uint32_t>(int64_t{-1}));
  EXPECT_FALSE(checked_cast<int32_t>(int64_t{1} << 31));
  EXPECT_EQ(checked_cast<int32_t>(int64_t{-1} << 31), std::numeric_limits<int32_t>::min());
  EXPECT_FALSE(checked_cast<int64_t>(std::numeric_limits<uint64_t>::max()));
  EXPECT_EQ(checked_cast<uint8_t>(255), 255);
}

TEST(Checked, Product) {
  EXPECT_EQ(checked_product(std::vector<int64_t>{}), 1);
  EXPECT_EQ(checked_product(std::vector<int64_t>{2, 3, 4}), 24);
  EXPECT_FALSE(checked_product(std::vector<int64_t>{kMax, 2}));
  EXPECT_FALSE(checked_product(std::vector<int64_t>{int64_t{1} << 32, int64_t{1} << 32, 1}));
  EXPECT_EQ(checked_product(std::vector<int64_t>{kMax, kMax, 0}), 0);
  static_assert(*checked_product(std::span<const int64_t>()) == 1);
}

}  // namespace
}  // namespace tenon
