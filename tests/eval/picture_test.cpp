#include "eval/picture.h"

#include <gtest/gtest.h>

namespace tenon::eval {
namespace {

TEST(Picture, ShadesFromDarkestToLightest) {
  EXPECT_EQ(picture(Tensor::from<uint8_t>({1, 2, 4}, {0, 60, 130, 255, 0, 60, 130, 255}), 0, 9), (std::vector<std::string>{" ░▒█"}));
  EXPECT_EQ(picture(Tensor::from<uint8_t>({2, 2, 2}, {0, 0, 0, 0, 0, 9, 0, 9}), 1, 2), (std::vector<std::string>{" █"}));
  EXPECT_EQ(picture(Tensor::from<uint8_t>({1, 1, 8}, {5, 5, 5, 5, 5, 5, 5, 5}), 0, 2).size(), 1u) << "flat and low";
  EXPECT_TRUE(picture(Tensor::from<uint8_t>({1, 1, 1}, {1}), 1, 8).empty()) << "no such image";
}

}  // namespace
}  // namespace tenon::eval
