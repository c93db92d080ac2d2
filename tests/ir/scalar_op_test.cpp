#include "ir/scalar_op.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace tenon::ir {
namespace {

int64_t eval_i(ScalarOp op, DType dtype, int64_t a, int64_t b) {
  const Scalar args[] = {{0, a}, {0, b}};
  return eval_scalar(op, dtype, args).i;
}
double eval_f(ScalarOp op, DType dtype, double a, double b = 0) {
  const Scalar args[] = {{a, 0}, {b, 0}};
  return eval_scalar(op, dtype, args).f;
}

TEST(ScalarOp, NamesRoundTrip) {
  for (int i = 0; i < static_cast<int>(ScalarOp::kCount); ++i) {
    const ScalarOp op = static_cast<ScalarOp>(i);
    EXPECT_EQ(info(op).op, op);
    EXPECT_EQ(scalar_op_from_name(info(op).name), op);
  }
  EXPECT_FALSE(scalar_op_from_name("nonsense"));
}

TEST(ScalarOp, IntegerArithmeticIsTotalAndWraps) {
  EXPECT_EQ(eval_i(ScalarOp::kAdd, DType::kI8, 127, 1), -128);
  EXPECT_EQ(eval_i(ScalarOp::kMul, DType::kU8, 200, 2), 144);
  EXPECT_EQ(eval_i(ScalarOp::kDiv, DType::kI32, 7, 0), 0);
  EXPECT_EQ(eval_i(ScalarOp::kRem, DType::kI32, 7, 0), 0);
  EXPECT_EQ(eval_i(ScalarOp::kDiv, DType::kI32, INT32_MIN, -1), INT32_MIN);
  EXPECT_EQ(eval_i(ScalarOp::kDiv, DType::kI64, INT64_MIN, -1), INT64_MIN);
  EXPECT_EQ(eval_i(ScalarOp::kRem, DType::kI64, INT64_MIN, -1), 0);
  EXPECT_EQ(eval_i(ScalarOp::kDiv, DType::kI32, -7, 2), -3);
  EXPECT_EQ(eval_i(ScalarOp::kFloorDiv, DType::kI32, -7, 2), -4);
  EXPECT_EQ(eval_i(ScalarOp::kMod, DType::kI32, -7, 2), 1);
  EXPECT_EQ(eval_i(ScalarOp::kMod, DType::kI32, 7, -2), -1);
  EXPECT_EQ(eval_i(ScalarOp::kRem, DType::kI32, -7, 2), -1);
  EXPECT_EQ(eval_i(ScalarOp::kMax, DType::kU64, -1, 1), -1);  // 2^64-1 is the larger
  EXPECT_EQ(eval_i(ScalarOp::kShl, DType::kU8, 1, 8), 0);
  EXPECT_EQ(eval_i(ScalarOp::kShr, DType::kI8, -1, 9), -1);
  EXPECT_EQ(eval_i(ScalarOp::kPow, DType::kI32, -2, 3), -8);
  EXPECT_EQ(eval_i(ScalarOp::kPow, DType::kI32, 2, -1), 0);
}

TEST(ScalarOp, FloatsRoundToTheirType) {
  EXPECT_EQ(eval_f(ScalarOp::kAdd, DType::kF32, 16777216, 1), 16777216);
  EXPECT_EQ(eval_f(ScalarOp::kAdd, DType::kF64, 16777216, 1), 16777217);
  EXPECT_EQ(eval_f(ScalarOp::kAdd, DType::kF16, 2048, 1), 2048);
  EXPECT_EQ(eval_f(ScalarOp::kMul, DType::kF16, 60000, 2), std::numeric_limits<double>::infinity());
  EXPECT_EQ(eval_f(ScalarOp::kRound, DType::kF32, 2.5), 2);
  EXPECT_EQ(eval_f(ScalarOp::kRound, DType::kF32, -1.5), -2);
  EXPECT_EQ(eval_f(ScalarOp::kMod, DType::kF32, -7, 3), 2);
  EXPECT_EQ(eval_f(ScalarOp::kRem, DType::kF32, -7, 3), -1);
  EXPECT_DOUBLE_EQ(eval_f(ScalarOp::kSigmoid, DType::kF64, -800), 0);
}

TEST(ScalarOp, NanRules) {
  const double nan = std::nan("");
  EXPECT_TRUE(std::isnan(eval_f(ScalarOp::kMax, DType::kF32, nan, 1)));
  EXPECT_TRUE(std::isnan(eval_f(ScalarOp::kMin, DType::kF32, 1, nan)));
  const Scalar args[] = {{nan, 0}, {nan, 0}};
  EXPECT_EQ(eval_scalar(ScalarOp::kEq, DType::kF32, args).i, 0);
  EXPECT_EQ(eval_scalar(ScalarOp::kNe, DType::kF32, args).i, 1);
}

TEST(ScalarOp, CastsAsOnnxSays) {
  EXPECT_EQ(cast_scalar({-1.9, 0}, DType::kF32, DType::kI32).i, -1);
  EXPECT_EQ(cast_scalar({300, 0}, DType::kF32, DType::kU8).i, 44);
  EXPECT_EQ(cast_scalar({0, 300}, DType::kI32, DType::kI8).i, 44);
  EXPECT_EQ(cast_scalar({0.25, 0}, DType::kF32, DType::kBool).i, 1);
  EXPECT_EQ(cast_scalar({1e10, 0}, DType::kF32, DType::kI32).i, INT32_MIN);
  EXPECT_EQ(cast_scalar({1e6, 0}, DType::kF32, DType::kF8E4M3FN).f, 448);
  EXPECT_TRUE(std::isnan(cast_scalar({1e6, 0}, DType::kF32, DType::kF8E4M3FN, false).f));
  EXPECT_TRUE(std::isinf(cast_scalar({1e6, 0}, DType::kF32, DType::kF8E5M2, false).f));
  EXPECT_EQ(cast_scalar({0, -1}, DType::kU64, DType::kF32).f, 18446744073709551616.0);
}

TEST(ScalarOp, LoadAndStorePackedElements) {
  uint8_t bytes[2] = {};
  for (int i = 0; i < 4; ++i) store_scalar(bytes, DType::kI4, i, {0, i - 2});
  EXPECT_EQ(bytes[0], 0xfe);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(load_scalar(bytes, DType::kI4, i).i, i - 2);
  for (int i = 0; i < 8; ++i) store_scalar(bytes, DType::kU2, i, {0, i & 3});
  EXPECT_EQ(bytes[0], 0b11100100);
}

}  // namespace
}  // namespace tenon::ir
