#include "support/tensor.h"

#include <gtest/gtest.h>

namespace tenon {
namespace {

TEST(Tensor, MakesAndReadsEveryNumericType) {
  for (int d = 1; d < static_cast<int>(DType::kCount); ++d) {
    const DType dtype = static_cast<DType>(d);
    if (dtype == DType::kString) continue;
    Result<Tensor> t = Tensor::zeros(dtype, {3});
    ASSERT_TRUE(t.ok()) << name(dtype);
    t->set_double(1, 1);
    EXPECT_EQ(t->at_double(1), 1) << name(dtype);
    EXPECT_EQ(t->at_int(1), 1) << name(dtype);
    // e8m0 has no zero: code 0 is 2^-127.
    if (dtype != DType::kF8E8M0) {
      EXPECT_EQ(t->at_double(2), 0) << name(dtype);
    }
  }
}

TEST(Tensor, RefusesImpossibleShapes) {
  EXPECT_EQ(Tensor::zeros(DType::kF32, {-1}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(Tensor::zeros(DType::kF32, {INT64_MAX, 2}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(Tensor::zeros(DType::kF32, {int64_t{1} << 40}).status().code(), Code::kResourceExhausted);
  EXPECT_TRUE(Tensor::zeros(DType::kF32, {INT64_MAX, 0}).ok());
}

TEST(Tensor, ViewsCheckTheirBounds) {
  auto buffer = Buffer::allocate(16);
  ASSERT_TRUE(buffer.ok());
  EXPECT_TRUE(Tensor::view(DType::kF32, {4}, *buffer).ok());
  EXPECT_FALSE(Tensor::view(DType::kF32, {4}, *buffer, 4).ok());
  EXPECT_FALSE(Tensor::view(DType::kF32, {4}, *buffer, SIZE_MAX).ok());
}

TEST(Tensor, ClonesShareNothingAndReshapesShareBytes) {
  Tensor t = Tensor::from<float>({2, 2}, {1, 2, 3, 4});
  Tensor copy = *t.clone();
  copy.set_double(0, 9);
  EXPECT_EQ(t.at_double(0), 1);
  const Tensor flat = *t.reshaped({4});
  EXPECT_EQ(flat.data(), t.data());
  EXPECT_FALSE(t.reshaped({3}).ok());
  const Tensor bits = *t.reinterpreted(DType::kI32, {4});
  EXPECT_EQ(bits.data(), t.data());
  EXPECT_EQ(bits.at_int(0), 0x3f800000);
  EXPECT_FALSE(t.reinterpreted(DType::kI64, {2}).ok());
  EXPECT_FALSE(t.reinterpreted(DType::kString, {4}).ok());
}

TEST(Tensor, HoldsStrings) {
  Result<Tensor> t = Tensor::strings({2}, {"a", "b"});
  ASSERT_TRUE(t.ok());
  EXPECT_EQ(t->string_values()[1], "b");
  EXPECT_FALSE(Tensor::strings({3}, {"a"}).ok());
}

TEST(Tensor, PacksSmallIntegers) {
  Tensor t = *Tensor::zeros(DType::kI4, {3});
  EXPECT_EQ(t.bytes(), 2u);
  for (int i = 0; i < 3; ++i) t.set_int(i, -i);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(t.at_int(i), -i);
}

}  // namespace
}  // namespace tenon
