#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <numeric>
#include <random>

#include "tests/ops/op_runner.h"

namespace tenon::ir {
namespace {

using test::floats;
using test::ints;
using test::run_op;
using test::values;
using V = std::vector<double>;

const Attr kNo = int64_t{0}, kYes = int64_t{1};

TEST(Reduce, FormulasOverOneAxis) {
  const Tensor x = floats({2, 2}, {1, -2, 3, 4});
  const auto reduce = [&](const char* op) { return values(run_op(op, {x, ints({1})}, {{"keepdims", kNo}})); };
  EXPECT_EQ(reduce("ReduceSum"), (V{-1, 7}));
  EXPECT_EQ(reduce("ReduceMean"), (V{-0.5, 3.5}));
  EXPECT_EQ(reduce("ReduceMax"), (V{1, 4}));
  EXPECT_EQ(reduce("ReduceMin"), (V{-2, 3}));
  EXPECT_EQ(reduce("ReduceProd"), (V{-2, 12}));
  EXPECT_EQ(reduce("ReduceL1"), (V{3, 7}));
  EXPECT_EQ(reduce("ReduceSumSquare"), (V{5, 25}));
  EXPECT_NEAR(reduce("ReduceL2")[1], 5, 1e-6);
  EXPECT_NEAR(reduce("ReduceLogSum")[1], std::log(7.0), 1e-6);
  EXPECT_NEAR(reduce("ReduceLogSumExp")[0], std::log(std::exp(1.0) + std::exp(-2.0)), 1e-6);
}

TEST(Reduce, AxesAndKeepdims) {
  const Tensor x = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(run_op("ReduceSum", {x}).shape(), (Shape{1, 1}));
  EXPECT_EQ(run_op("ReduceSum", {x}, {{"keepdims", kNo}}).shape(), Shape{});
  EXPECT_EQ(values(run_op("ReduceSum", {x, ints({-2})})), (V{5, 7, 9}));
  EXPECT_EQ(values(run_op("ReduceSum", {x, ints({})}, {{"noop_with_empty_axes", kYes}})), values(x));
}

TEST(Reduce, EmptySetsGiveTheNeutralElement) {
  const Tensor x = floats({2, 0}, {});
  EXPECT_EQ(values(run_op("ReduceSum", {x, ints({1})})), (V{0, 0}));
  EXPECT_EQ(values(run_op("ReduceProd", {x, ints({1})})), (V{1, 1}));
  EXPECT_EQ(values(run_op("ReduceMax", {x, ints({1})})), (V{-INFINITY, -INFINITY}));
  EXPECT_EQ(values(run_op("ReduceLogSumExp", {x, ints({1})})), (V{-INFINITY, -INFINITY}));
}

TEST(Reduce, LogSumExpDoesNotOverflow) {
  EXPECT_NEAR(run_op("ReduceLogSumExp", {floats({2}, {1000, 1000})}).at_double(0), 1000 + std::log(2.0), 1e-3);
}

TEST(Reduce, ArgMaxTies) {
  const Tensor x = floats({4}, {1, 5, 5, 2});
  EXPECT_EQ(values(run_op("ArgMax", {x})), (V{1}));
  EXPECT_EQ(values(run_op("ArgMax", {x}, {{"select_last_index", kYes}})), (V{2}));
  EXPECT_EQ(values(run_op("ArgMin", {x}, {{"keepdims", kNo}})), (V{0}));
}

TEST(Indexing, Scatter) {
  const Tensor x = floats({3}, {1, 2, 3}), updates = floats({2}, {10, 20});
  EXPECT_EQ(values(run_op("ScatterElements", {x, ints({-1, 0}), updates})), (V{20, 2, 10}));
  const Attr add = std::string("add");
  EXPECT_EQ(values(run_op("ScatterElements", {x, ints({1, 1}), updates}, {{"reduction", add}})), (V{1, 32, 3}));
  EXPECT_EQ(values(run_op("ScatterND", {x, Tensor::from<int64_t>({2, 1}, {2, 1}), updates})), (V{1, 20, 10}));
  EXPECT_EQ(test::try_op("ScatterElements", {x, ints({3, 0}), updates}).status().code(), Code::kOutOfRange);
}

Tensor complex(std::vector<std::complex<float>> v) {
  Tensor t = *Tensor::zeros(DType::kC64, {static_cast<int64_t>(v.size())});
  std::copy(v.begin(), v.end(), t.mutable_span<std::complex<float>>().begin());
  return t;
}

TEST(Indexing, BothPartsOfComplexNumbersCount) {
  using C = std::complex<float>;
  const Tensor x = complex({C(1, 2), C(0, 0), C(0, 3), C(1, 2), C(1, 1)});
  EXPECT_EQ(values(run_op("NonZero", {x})), (V{0, 2, 3, 4}));
  const Tensor unique = run_op("Unique", {x});
  const std::vector<C> expected = {C(0, 0), C(0, 3), C(1, 1), C(1, 2)};
  ASSERT_EQ(unique.size(), 4);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(unique.span<C>()[i], expected[i]) << i;
}

TEST(Indexing, CompressNonZeroUnique) {
  const Tensor x = floats({5}, {2, 0, 3, 2, 0});
  EXPECT_EQ(values(run_op("Compress", {x, Tensor::from<bool>({3}, {false, true, true})})), (V{0, 3}));
  EXPECT_EQ(values(run_op("NonZero", {x})), (V{0, 2, 3}));
  const std::vector<Tensor> unique = test::run_op_n("Unique", {x}, 4, {{"sorted", kNo}});
  EXPECT_EQ(values(unique[0]), (V{2, 0, 3}));
  EXPECT_EQ(values(unique[1]), (V{0, 1, 2}));
  EXPECT_EQ(values(unique[2]), (V{0, 1, 2, 0, 1}));
  EXPECT_EQ(values(unique[3]), (V{2, 2, 1}));
  EXPECT_EQ(values(run_op("Unique", {x})), (V{0, 2, 3}));
}

TEST(Indexing, TopKPrefersLowIndices) {
  const std::vector<Tensor> top = test::run_op_n("TopK", {floats({5}, {1, 4, 4, NAN, 2}), ints({3})}, 2);
  EXPECT_EQ(values(top[1]), (V{3, 1, 2}));
  const std::vector<Tensor> low = test::run_op_n("TopK", {floats({4}, {3, 1, 1, 2}), ints({2})}, 2, {{"largest", kNo}});
  EXPECT_EQ(values(low[1]), (V{1, 2}));
  EXPECT_FALSE(test::try_op_n("TopK", {floats({2}, {1, 2}), ints({3})}, 2).ok());
}

/// Values with many ties, both zeros, infinities and NaN.
Tensor crowded(DType dtype, Shape shape, uint32_t seed) {
  Tensor t = *Tensor::zeros(dtype, shape);
  std::mt19937 random(seed);
  for (int64_t i = 0; i < t.size(); ++i) {
    const auto r = static_cast<int>(random() % 400);
    if (!is_float(dtype)) t.set_int(i, r - (is_signed_int(dtype) ? 200 : 0));
    else if (r < 3) t.set_double(i, NAN);
    else if (r < 6) t.set_double(i, r % 2 == 0 ? INFINITY : -INFINITY);
    else if (r < 40) t.set_double(i, r % 2 == 0 ? 0.0 : -0.0);
    else t.set_double(i, (r - 200) / 8.0);
  }
  return t;
}

TEST(Indexing, TopKOfLongRowsIsTheBeginningOfAStableSort) {
  for (DType dtype : {DType::kF32, DType::kF64, DType::kF16, DType::kI32, DType::kI64, DType::kU8, DType::kU64})
    for (int64_t axis : {0, 1})
      for (bool largest : {true, false}) {
        SCOPED_TRACE(fmt::format("{} axis {} largest {}", name(dtype), axis, largest));
        const Tensor x = crowded(dtype, axis == 1 ? Shape{3, 900} : Shape{900, 3}, 11);
        const std::vector<Tensor> top = test::run_op_n("TopK", {x, ints({70})}, 2, {{"axis", axis}, {"largest", int64_t{largest}}});
        for (int64_t row = 0; row < 3; ++row) {
          const auto at = [&](int64_t i, int64_t extent) { return axis == 1 ? row * extent + i : i * 3 + row; };
          const auto value = [&](int64_t i) { return x.at_double(at(i, 900)); };
          std::vector<int64_t> order(900);
          std::iota(order.begin(), order.end(), 0);
          std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
            if (!largest) std::swap(a, b);
            const double u = value(a), v = value(b);
            if (std::isnan(u) || std::isnan(v)) return std::isnan(u) && !std::isnan(v);
            return u > v;
          });
          for (int64_t i = 0; i < 70; ++i) EXPECT_EQ(top[1].at_int(at(i, 70)), order[static_cast<size_t>(i)]) << row << " " << i;
        }
      }
}

TEST(Indexing, NonZeroOfEveryDType) {
  for (DType dtype : {DType::kBool, DType::kF32, DType::kI32, DType::kI64, DType::kF64, DType::kU8}) {
    Tensor x = *Tensor::zeros(dtype, {2, 3, 4});
    for (int64_t i = 0; i < 24; ++i) x.set_double(i, i == 5 || i == 18 || i == 23 ? 1 : 0);
    const Tensor found = run_op("NonZero", {x});
    EXPECT_EQ(found.shape(), (Shape{3, 3})) << name(dtype);
    EXPECT_EQ(values(found), (V{0, 1, 1, 1, 1, 2, 1, 2, 3})) << name(dtype);
  }
}

TEST(Indexing, CumSum) {
  const Tensor x = floats({3}, {1, 2, 3});
  EXPECT_EQ(values(run_op("CumSum", {x, ints({0})})), (V{1, 3, 6}));
  EXPECT_EQ(values(run_op("CumSum", {x, ints({0})}, {{"exclusive", kYes}, {"reverse", kYes}})), (V{5, 3, 0}));
}

TEST(Indexing, Col2ImAddsOverlaps) {
  // Blocks of 2 at positions 0 and 1 of an image of 3.
  const Tensor out = run_op("Col2Im", {floats({1, 2, 2}, {1, 2, 3, 4}), ints({3}), ints({2})});
  EXPECT_EQ(values(out), (V{1, 5, 4}));
}

}  // namespace
}  // namespace tenon::ir
