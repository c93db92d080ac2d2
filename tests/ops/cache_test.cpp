// TensorScatter (a KV cache) and BitCast.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/ops/op_runner.h"

namespace tenon::ir {
namespace {

using test::floats;
using test::ints;
using test::run_op;
using test::try_op;
using test::values;
using testing::ElementsAre;

// A cache of one batch entry, three places and one number each.
const Tensor kCache = floats({1, 3, 1}, {1, 2, 3}), kUpdate = floats({1, 2, 1}, {7, 8});

TEST(TensorScatter, WritesFromTheIndex) {
  EXPECT_THAT(values(run_op("TensorScatter", {kCache, kUpdate})), ElementsAre(7, 8, 3));
  EXPECT_THAT(values(run_op("TensorScatter", {kCache, kUpdate, ints({1})})), ElementsAre(1, 7, 8));
  for (int64_t start :
       {int64_t{2}, int64_t{-1}, std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min()})
    EXPECT_FALSE(try_op("TensorScatter", {kCache, kUpdate, ints({start})}).ok()) << start;
}

// "When the mode attribute is set to circular, the write index is modulo max_sequence_length."
TEST(TensorScatter, WrapsAroundFromAnyIndexWhereItIsCircular) {
  const auto from = [](int64_t start) {
    return values(run_op("TensorScatter", {kCache, kUpdate, ints({start})}, {{"mode", std::string("circular")}}));
  };
  EXPECT_THAT(from(2), ElementsAre(8, 2, 7));
  EXPECT_THAT(from(5), ElementsAre(8, 2, 7));
  EXPECT_THAT(from(-1), ElementsAre(8, 2, 7));
  EXPECT_THAT(from(std::numeric_limits<int64_t>::max()), ElementsAre(1, 7, 8));  // 2^63 - 1 = 1 modulo 3
  EXPECT_THAT(from(std::numeric_limits<int64_t>::min()), ElementsAre(1, 7, 8));  // -2^63 = 1 modulo 3
}

TEST(TensorScatter, RefusesWhatDoesNotFit) {
  for (const char* mode : {"linear", "circular"}) {
    EXPECT_FALSE(try_op("TensorScatter", {kUpdate, kCache}, {{"mode", std::string(mode)}}).ok())
        << "an update longer than the cache";
    EXPECT_FALSE(try_op("TensorScatter", {kCache, kUpdate, ints({0, 0})}, {{"mode", std::string(mode)}}).ok())
        << "two indices";
  }
  EXPECT_FALSE(try_op("TensorScatter", {kCache, kUpdate}, {{"axis", int64_t{0}}}).ok());
  EXPECT_FALSE(try_op("TensorScatter", {kCache, kUpdate}, {{"mode", std::string("spiral")}}).ok());
  EXPECT_EQ(run_op("TensorScatter", {floats({2, 0, 1}, {}), floats({2, 0, 1}, {}), ints({4, 5})},
                   {{"mode", std::string("circular")}})
                .shape(),
            (Shape{2, 0, 1}));
}

TEST(BitCast, KeepsBits) {
  const auto cast = [](const Tensor& x, DType to) { return run_op("BitCast", {x}, {{"to", int64_t{info(to).onnx}}}); };
  EXPECT_THAT(values(cast(floats({2}, {1, -0.0F}), DType::kU32)), ElementsAre(0x3f800000, 0x80000000));
  EXPECT_THAT(values(cast(Tensor::from<int8_t>({1}, {-1}), DType::kU8)), ElementsAre(255));
  EXPECT_THAT(values(cast(Tensor::from<uint8_t>({3}, {0, 1, 2}), DType::kBool)), ElementsAre(0, 1, 1));
  EXPECT_EQ(cast(floats({0, 2}, {}), DType::kI32).shape(), (Shape{0, 2}));
  EXPECT_FALSE(try_op("BitCast", {floats({1}, {1})}, {{"to", int64_t{info(DType::kF16).onnx}}}).ok());
  EXPECT_FALSE(try_op("BitCast", {floats({1}, {1})}, {{"to", int64_t{info(DType::kString).onnx}}}).ok());
}

}  // namespace
}  // namespace tenon::ir
