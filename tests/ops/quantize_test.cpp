#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/op_runner.h"

namespace tenon::ir {
namespace {

using test::floats;
using test::run_op;
using test::run_op_n;
using test::try_op;
using test::values;
using testing::ElementsAre;

TEST(QuantizeLinear, RoundsHalfToEvenThenShiftsAndSaturates) {
  Tensor x = floats({6}, {-300, -0.5F, 0.5F, 1.5F, 2.5F, 1000});
  Tensor y = run_op("QuantizeLinear", {x, floats({}, {1}), Tensor::scalar<int8_t>(1)});
  EXPECT_EQ(y.dtype(), DType::kI8);
  EXPECT_THAT(values(y), ElementsAre(-128, 1, 1, 3, 3, 127));
}

TEST(QuantizeLinear, TakesAScaleForEachAxisPositionOrBlock) {
  Tensor x = floats({2, 4}, {2, 4, 6, 8, 2, 4, 6, 8});
  Tensor by_axis = run_op("QuantizeLinear", {x, floats({2}, {1, 2})}, {{"axis", int64_t{0}}});
  EXPECT_THAT(values(by_axis), ElementsAre(2, 4, 6, 8, 1, 2, 3, 4));
  Tensor by_block =
      run_op("QuantizeLinear", {x, floats({2, 2}, {1, 2, 2, 4})}, {{"axis", int64_t{1}}, {"block_size", int64_t{2}}});
  EXPECT_THAT(values(by_block), ElementsAre(2, 4, 3, 4, 1, 2, 2, 2));
}

TEST(DequantizeLinear, InvertsTheGrid) {
  Tensor y = run_op("DequantizeLinear",
                    {Tensor::from<uint8_t>({3}, {0, 128, 255}), floats({}, {0.5F}), Tensor::scalar<uint8_t>(128)});
  EXPECT_THAT(values(y), ElementsAre(-64, 0, 63.5));
}

// Beyond 61440, half-way between the largest number and the next power of two (ONNX Cast, float8 table).
TEST(QuantizeLinear, OverflowsToInfinityOrNanWhereItDoesNotSaturate) {
  const Tensor x = floats({6}, {-INFINITY, 61440, 61439, -100000, 1, NAN});
  const auto quantized = [&](DType to, int64_t saturate) {
    return values(run_op("QuantizeLinear", {x, floats({}, {1})},
                         {{"output_dtype", int64_t{info(to).onnx}}, {"saturate", saturate}}));
  };
  EXPECT_THAT(quantized(DType::kF8E5M2, 0), ElementsAre(-INFINITY, INFINITY, 57344, -INFINITY, 1, testing::IsNan()));
  EXPECT_THAT(quantized(DType::kF8E5M2, 1), ElementsAre(-57344, 57344, 57344, -57344, 1, testing::IsNan()));
  EXPECT_THAT(quantized(DType::kF8E5M2FNUZ, 0),
              ElementsAre(testing::IsNan(), testing::IsNan(), 57344, testing::IsNan(), 1, testing::IsNan()));
  EXPECT_THAT(quantized(DType::kF8E4M3FN, 0),
              ElementsAre(testing::IsNan(), testing::IsNan(), testing::IsNan(), testing::IsNan(), 1, testing::IsNan()));
  const Tensor by_block = run_op(
      "QuantizeLinear", {floats({1, 3}, {131072, 131072, 131072}), floats({1, 2}, {4, 1})},
      {{"output_dtype", int64_t{info(DType::kF8E5M2).onnx}}, {"saturate", int64_t{0}}, {"block_size", int64_t{2}}});
  EXPECT_THAT(values(by_block), ElementsAre(32768, 32768, INFINITY));
}

// 57 / 1.0087890625 is 56.5034, which is 56.5 in f16: it rounds to 57 from f32 and to 56 from f16.
TEST(QuantizeLinear, DividesInThePrecisionOfTheScaleOrAsToldTo) {
  Tensor half = *Tensor::zeros(DType::kF16, {});
  half.set_double(0, 1.0087890625);
  const Tensor x = floats({1}, {57}), single = floats({}, {1.0087890625F});
  const auto in = [&](const Tensor& scale, DType precision) {
    return values(run_op("QuantizeLinear", {x, scale}, {{"precision", int64_t{info(precision).onnx}}}))[0];
  };
  EXPECT_EQ(values(run_op("QuantizeLinear", {x, single}))[0], 57);
  EXPECT_EQ(values(run_op("QuantizeLinear", {x, half}))[0], 56);
  EXPECT_EQ(in(half, DType::kF32), 57);
  EXPECT_EQ(in(single, DType::kF16), 56);
  EXPECT_FALSE(try_op("QuantizeLinear", {x, single}, {{"precision", int64_t{info(DType::kI8).onnx}}}).ok());
  EXPECT_FALSE(try_op("QuantizeLinear", {x, single}, {{"precision", int64_t{-5}}}).ok());
}

TEST(QuantizeLinear, RefusesScalesThatDoNotFit) {
  Tensor x = floats({2, 4}, {2, 4, 6, 8, 2, 4, 6, 8});
  EXPECT_FALSE(try_op("QuantizeLinear", {x, floats({3}, {1, 2, 3})}, {{"axis", int64_t{0}}}).ok());
  EXPECT_FALSE(try_op("QuantizeLinear", {x, floats({2}, {1, 2})}, {{"axis", int64_t{7}}}).ok());
  EXPECT_FALSE(try_op("QuantizeLinear", {x, floats({2, 2}, {1, 2, 2, 4})}, {{"block_size", int64_t{-2}}}).ok());
  EXPECT_FALSE(try_op("QuantizeLinear", {x, floats({}, {1})}, {{"output_dtype", int64_t{1}}}).ok());
}

TEST(DynamicQuantizeLinear, WidensTheRangeToHoldZero) {
  // Scale (4 - -1) / 255, zero point 51; examples of the specification's three kinds of range.
  std::vector<Tensor> mixed = run_op_n("DynamicQuantizeLinear", {floats({4}, {-1, 0, 1, 4})}, 3);
  EXPECT_THAT(values(mixed[0]), ElementsAre(0, 51, 102, 255));
  EXPECT_FLOAT_EQ(static_cast<float>(values(mixed[1])[0]), 5.0F / 255);
  EXPECT_THAT(values(mixed[2]), ElementsAre(51));
  std::vector<Tensor> positive = run_op_n("DynamicQuantizeLinear", {floats({2}, {51, 255})}, 3);
  EXPECT_THAT(values(positive[0]), ElementsAre(51, 255));
  EXPECT_THAT(values(positive[2]), ElementsAre(0));
  std::vector<Tensor> negative = run_op_n("DynamicQuantizeLinear", {floats({2}, {-51, -255})}, 3);
  EXPECT_THAT(values(negative[0]), ElementsAre(204, 0));
  EXPECT_THAT(values(negative[2]), ElementsAre(255));
  EXPECT_THAT(values(run_op_n("DynamicQuantizeLinear", {floats({1}, {0})}, 3)[0]), ElementsAre(0));
}

TEST(QLinearAdd, AddsRealValues) {
  Tensor a = Tensor::from<uint8_t>({2}, {10, 20}), b = Tensor::from<uint8_t>({1}, {5});
  Tensor zero = Tensor::scalar<uint8_t>(0);
  Tensor y =
      run_op("com.microsoft.QLinearAdd", {a, floats({}, {0.5F}), zero, b, floats({}, {2}), Tensor::scalar<uint8_t>(1),
                                          floats({}, {1}), Tensor::scalar<uint8_t>(3)});
  EXPECT_THAT(values(y), ElementsAre(5 + 8 + 3, 10 + 8 + 3));
}

TEST(QLinearMul, RoundsTheExactProductOnce) {
  Tensor y = run_op("com.microsoft.QLinearMul",
                    {Tensor::from<int8_t>({1}, {60}), floats({}, {0.5F}), Tensor::scalar<int8_t>(10),
                     Tensor::from<int8_t>({2}, {1, -3}), floats({}, {0.25F}), Tensor::scalar<int8_t>(2),
                     floats({}, {25}), Tensor::scalar<int8_t>(9)});
  EXPECT_THAT(values(y), ElementsAre(9, 8));  // -0.25 and -1.25
}

}  // namespace
}  // namespace tenon::ir
