#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/ops/op_runner.h"

namespace tenon::ir {
namespace {

using test::Attributes;
using test::floats;
using test::run_op;
using test::run_op_n;
using test::try_op;
using test::values;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::Pointwise;

using Ints = std::vector<int64_t>;

TEST(MaxPool, PadsWithMinusInfinityAndGivesPositions) {
  Tensor x = floats({1, 2, 2, 2}, {-1, -2, -3, -4, 5, 6, 7, 8});
  Attributes attrs = {{"kernel_shape", Ints{2, 2}}, {"pads", Ints{1, 0, 0, 0}}};
  std::vector<Tensor> y = run_op_n("MaxPool", {x}, 2, attrs);
  EXPECT_THAT(values(y[0]), ElementsAre(-1, -1, 6, 8));
  EXPECT_THAT(values(y[1]), ElementsAre(0, 0, 5, 7));
}

TEST(MaxPool, CeilModeAddsAWindowOnlyWhenItStartsInside) {
  Tensor x = floats({1, 1, 5}, {1, 2, 3, 4, 5});
  EXPECT_THAT(values(run_op("MaxPool", {x}, {{"kernel_shape", Ints{2}}, {"strides", Ints{2}}})), ElementsAre(2, 4));
  EXPECT_THAT(values(run_op("MaxPool", {x}, {{"kernel_shape", Ints{2}}, {"strides", Ints{2}}, {"ceil_mode", int64_t{1}}})), ElementsAre(2, 4, 5));
  Tensor even = floats({1, 1, 2}, {1, 2});
  const Tensor pair = floats({1, 1, 2}, {-3, -1.5});
  for (const auto& [op, expected] : {std::pair("MaxPool", -1.5), {"AveragePool", -2.25}, {"LpPool", std::sqrt(11.25)}})
    for (int64_t counted : {0, 1}) {  // as ONNX Runtime has it
      Attributes wide = {{"kernel_shape", Ints{3}}, {"strides", Ints{2}}, {"ceil_mode", int64_t{1}}, {"count_include_pad", counted}};
      EXPECT_THAT(values(run_op(op, {pair}, wide)), ElementsAre(testing::DoubleNear(expected, 1e-6))) << op;
    }
  EXPECT_FALSE(try_op("MaxPool", {pair}, {{"kernel_shape", Ints{4}}, {"strides", Ints{2}}, {"ceil_mode", int64_t{1}}}).ok());
  Attributes dropped = {{"kernel_shape", Ints{1}}, {"strides", Ints{2}}, {"pads", Ints{0, 1}}, {"ceil_mode", int64_t{1}}};
  EXPECT_THAT(values(run_op("MaxPool", {even}, dropped)), ElementsAre(1));
}

TEST(AveragePool, CountsPaddingOnlyWhenAsked) {
  Tensor x = floats({1, 1, 3}, {3, 6, 9});
  Attributes attrs = {{"kernel_shape", Ints{3}}, {"pads", Ints{1, 1}}};
  EXPECT_THAT(values(run_op("AveragePool", {x}, attrs)), ElementsAre(4.5, 6, 7.5));
  attrs.push_back({"count_include_pad", int64_t{1}});
  EXPECT_THAT(values(run_op("AveragePool", {x}, attrs)), ElementsAre(3, 6, 5));
}

TEST(AveragePool, DilatedWindowsCountTheirOwnTaps) {
  Tensor x = floats({1, 1, 4}, {1, 2, 3, 4});
  Attributes attrs = {{"kernel_shape", Ints{2}}, {"dilations", Ints{2}}, {"pads", Ints{1, 1}}};
  EXPECT_THAT(values(run_op("AveragePool", {x}, attrs)), ElementsAre(2, 2, 3, 3));
}

TEST(GlobalPools, ReduceEverySpatialAxis) {
  Tensor x = floats({1, 2, 2, 1}, {3, 4, -6, 8});
  EXPECT_THAT(values(run_op("GlobalAveragePool", {x})), ElementsAre(3.5, 1));
  EXPECT_THAT(values(run_op("GlobalMaxPool", {x})), ElementsAre(4, 8));
  EXPECT_THAT(values(run_op("GlobalLpPool", {x})), Pointwise(DoubleNear(1e-6), std::vector<double>{5, 10}));
}

TEST(MaxUnpool, PutsValuesBackAndChecksPositions) {
  Tensor x = floats({1, 1, 2}, {5, 6}), places = Tensor::from<int64_t>({1, 1, 2}, {1, 2});
  Attributes attrs = {{"kernel_shape", Ints{2}}, {"strides", Ints{2}}};
  EXPECT_THAT(values(run_op("MaxUnpool", {x, places}, attrs)), ElementsAre(0, 5, 6, 0));
  EXPECT_FALSE(try_op("MaxUnpool", {x, Tensor::from<int64_t>({1, 1, 2}, {1, 4})}, attrs).ok());
}

TEST(Pooling, RefusesHostileAttributes) {
  Tensor x = floats({1, 1, 3}, {3, 6, 9});
  EXPECT_FALSE(try_op("MaxPool", {x}, {{"kernel_shape", Ints{0}}}).ok());
  EXPECT_FALSE(try_op("MaxPool", {x}, {{"kernel_shape", Ints{2}}, {"strides", Ints{0}}}).ok());
  EXPECT_FALSE(try_op("AveragePool", {x}, {{"kernel_shape", Ints{INT64_MAX}}}).ok());
  EXPECT_FALSE(try_op("AveragePool", {x}, {{"kernel_shape", Ints{5}}}).ok());
  EXPECT_FALSE(try_op("LpPool", {x}, {{"kernel_shape", Ints{2}}, {"p", int64_t{0}}}).ok());
}

}  // namespace
}  // namespace tenon::ir
