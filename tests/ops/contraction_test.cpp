#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

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
using testing::ElementsAreArray;
using testing::Pointwise;

Tensor random_floats(Shape shape, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> v(static_cast<size_t>(*element_count(shape)));
  for (float& x : v) x = uniform(engine);
  return floats(std::move(shape), std::move(v));
}

TEST(MatMul, MultipliesAndBroadcastsBatches) {
  Tensor y = run_op("MatMul", {floats({2, 1, 1, 2}, {1, 2, 3, 4}), floats({3, 2, 1}, {1, 0, 0, 1, 1, 1})});
  EXPECT_EQ(y.shape(), (Shape{2, 3, 1, 1}));
  EXPECT_THAT(values(y), ElementsAre(1, 2, 3, 3, 4, 7));
}

TEST(MatMul, TakesVectorsAsNumPyDoes) {
  EXPECT_EQ(run_op("MatMul", {floats({2}, {1, 2}), floats({2}, {3, 4})}).shape(), Shape{});
  Tensor row = run_op("MatMul", {floats({2}, {1, 2}), floats({2, 3}, {1, 2, 3, 4, 5, 6})});
  EXPECT_EQ(row.shape(), Shape{3});
  EXPECT_THAT(values(row), ElementsAre(9, 12, 15));
  Tensor column = run_op("MatMul", {floats({2, 2}, {1, 2, 3, 4}), floats({2}, {1, -1})});
  EXPECT_THAT(values(column), ElementsAre(-1, -1));
}

TEST(MatMul, RefusesWhatDoesNotFit) {
  EXPECT_FALSE(try_op("MatMul", {floats({2, 3}, {1, 2, 3, 4, 5, 6}), floats({2, 2}, {1, 2, 3, 4})}).ok());
  EXPECT_FALSE(try_op("MatMul", {floats({}, {1}), floats({1, 1}, {1})}).ok());
}

TEST(Gemm, ScalesTransposesAndAddsTheBias) {
  Attributes attrs = {{"alpha", 2.0}, {"beta", 0.5}, {"transA", int64_t{1}}, {"transB", int64_t{1}}};
  Tensor y = run_op("Gemm", {floats({2, 1}, {1, 2}), floats({2, 2}, {1, 2, 3, 4}), floats({2}, {10, 20})}, attrs);
  EXPECT_THAT(values(y), ElementsAre(2 * 5 + 5, 2 * 11 + 10));
}

TEST(MatMulInteger, SubtractsZeroPointsByRowAndColumn) {
  Tensor a = Tensor::from<uint8_t>({2, 2}, {10, 12, 20, 22}), b = Tensor::from<int8_t>({2, 2}, {1, 2, 3, 4});
  Tensor y = run_op("MatMulInteger", {a, b, Tensor::from<uint8_t>({2}, {10, 20}), Tensor::from<int8_t>({2}, {1, 2})});
  EXPECT_THAT(values(y), ElementsAre(4, 4, 4, 4));
}

TEST(Einsum, AgreesWithClosedForms) {
  Tensor a = floats({2, 2}, {1, 2, 3, 4}), b = floats({2, 2}, {5, 6, 7, 8});
  auto run = [&](const char* equation, std::vector<Tensor> in) { return run_op("Einsum", in, {{"equation", std::string(equation)}}); };
  EXPECT_THAT(values(run("ij,jk->ik", {a, b})), ElementsAre(19, 22, 43, 50));
  EXPECT_THAT(values(run("ij->ji", {a})), ElementsAre(1, 3, 2, 4));
  EXPECT_THAT(values(run("ii->i", {a})), ElementsAre(1, 4));
  EXPECT_THAT(values(run("ii", {a})), ElementsAre(5));
  EXPECT_THAT(values(run("...j->...", {a})), ElementsAre(3, 7));
  EXPECT_THAT(values(run("i,j", {floats({2}, {1, 2}), floats({2}, {3, 4})})), ElementsAre(3, 4, 6, 8));
  EXPECT_FALSE(try_op("Einsum", {a}, {{"equation", std::string("ij->iq")}}).ok());
  EXPECT_FALSE(try_op("Einsum", {a}, {{"equation", std::string("i.j->i")}}).ok());
}

/// Direct convolution by its definition, over zero-padded input.
std::vector<double> direct_conv(const Tensor& x, const Tensor& w, int64_t groups, int64_t stride, int64_t dilation, int64_t pad) {
  int64_t n = x.dim(0), c = x.dim(1), h = x.dim(2), width = x.dim(3), oc = w.dim(0), icg = w.dim(1), k = w.dim(2);
  int64_t out = (h + 2 * pad - (k - 1) * dilation - 1) / stride + 1, out_w = (width + 2 * pad - (k - 1) * dilation - 1) / stride + 1;
  std::vector<double> y;
  for (int64_t b = 0; b < n; ++b)
    for (int64_t o = 0; o < oc; ++o)
      for (int64_t i = 0; i < out; ++i)
        for (int64_t j = 0; j < out_w; ++j) {
          double sum = 0;
          for (int64_t ic = 0; ic < icg; ++ic)
            for (int64_t p = 0; p < k; ++p)
              for (int64_t q = 0; q < k; ++q) {
                int64_t r = i * stride + p * dilation - pad, s = j * stride + q * dilation - pad;
                if (r < 0 || s < 0 || r >= h || s >= width) continue;
                int64_t channel = o / (oc / groups) * icg + ic;
                sum += x.at_double(((b * c + channel) * h + r) * width + s) * w.at_double(((o * icg + ic) * k + p) * k + q);
              }
          y.push_back(sum);
        }
  return y;
}

TEST(Conv, AgreesWithItsDefinition) {
  struct Case {
    int64_t groups, stride, dilation, pad, channels, out;
  };
  for (Case t : {Case{1, 1, 1, 0, 3, 4}, Case{1, 2, 1, 1, 3, 4}, Case{2, 1, 2, 2, 4, 6}, Case{4, 2, 1, 1, 4, 4}, Case{4, 1, 1, 1, 4, 8}}) {
    Tensor x = random_floats({2, t.channels, 7, 6}, 1), w = random_floats({t.out, t.channels / t.groups, 3, 3}, 2);
    Attributes attrs = {{"group", t.groups}, {"strides", std::vector<int64_t>{t.stride, t.stride}},
                        {"dilations", std::vector<int64_t>{t.dilation, t.dilation}}, {"pads", std::vector<int64_t>(4, t.pad)}};
    EXPECT_THAT(values(run_op("Conv", {x, w}, attrs)), Pointwise(DoubleNear(1e-5), direct_conv(x, w, t.groups, t.stride, t.dilation, t.pad)));
  }
}

TEST(Conv, SamePaddingKeepsTheSizeAndPutsTheOddElementAsAsked) {
  Tensor x = floats({1, 1, 4}, {1, 2, 3, 4}), w = floats({1, 1, 2}, {1, 10});
  EXPECT_THAT(values(run_op("Conv", {x, w}, {{"auto_pad", std::string("SAME_UPPER")}})), ElementsAre(21, 32, 43, 4));
  EXPECT_THAT(values(run_op("Conv", {x, w}, {{"auto_pad", std::string("SAME_LOWER")}})), ElementsAre(10, 21, 32, 43));
}

TEST(Conv, RefusesHostileAttributes) {
  Tensor x = floats({1, 1, 4}, {1, 2, 3, 4}), w = floats({1, 1, 2}, {1, 10});
  std::vector<int64_t> huge = {INT64_MAX, INT64_MAX};
  EXPECT_FALSE(try_op("Conv", {x, w}, {{"strides", std::vector<int64_t>{0}}}).ok());
  EXPECT_FALSE(try_op("Conv", {x, w}, {{"dilations", std::vector<int64_t>{-1}}}).ok());
  EXPECT_FALSE(try_op("Conv", {x, w}, {{"pads", huge}}).ok());
  EXPECT_FALSE(try_op("Conv", {x, w}, {{"pads", std::vector<int64_t>{0}}}).ok());
  EXPECT_FALSE(try_op("Conv", {x, w}, {{"group", int64_t{0}}}).ok());
  EXPECT_FALSE(try_op("Conv", {x, w}, {{"dilations", std::vector<int64_t>{100}}}).ok());
  EXPECT_FALSE(try_op("Conv", {x, w}, {{"auto_pad", std::string("BEST")}}).ok());
}

TEST(ConvTranspose, IsTheAdjointOfConv) {
  // <Conv(x), y> = <x, ConvTranspose(y)> for every x and y.
  for (int64_t groups : {1, 2}) {
    Tensor w = random_floats({4, 4 / groups, 3, 3}, 5), x = random_floats({1, 4, 6, 7}, 6);
    Attributes attrs = {{"group", groups}, {"strides", std::vector<int64_t>{2, 2}}, {"pads", std::vector<int64_t>{1, 1, 1, 1}}};
    Tensor forward = run_op("Conv", {x, w}, attrs);
    Tensor y = random_floats(forward.shape(), 7);
    attrs.push_back({"output_padding", std::vector<int64_t>{1, 0}});
    Tensor back = run_op("ConvTranspose", {y, w}, attrs);
    ASSERT_EQ(back.shape(), x.shape());
    double left = 0, right = 0;
    for (int64_t i = 0; i < y.size(); ++i) left += forward.at_double(i) * y.at_double(i);
    for (int64_t i = 0; i < x.size(); ++i) right += x.at_double(i) * back.at_double(i);
    EXPECT_NEAR(left, right, 1e-4);
  }
}

TEST(QLinearMatMul, RequantisesWithRoundingAndSaturation) {
  Tensor one = floats({}, {1}), zero = Tensor::scalar<uint8_t>(0);
  Tensor a = Tensor::from<uint8_t>({1, 1}, {3}), b = Tensor::from<uint8_t>({1, 3}, {1, 2, 200});
  Tensor y = run_op("QLinearMatMul", {a, one, zero, b, one, zero, floats({}, {2}), Tensor::scalar<uint8_t>(1)});
  EXPECT_THAT(values(y), ElementsAre(2 + 1, 3 + 1, 255));  // 1.5 and 3 round to even and stay, 300 saturates
}

TEST(MatMulIntegerToFloat, ScalesByColumnAndAddsTheBias) {
  const Tensor a = Tensor::from<uint8_t>({1, 2}, {12, 7}), b = Tensor::from<int8_t>({2, 2}, {3, -4, 5, 6});
  Tensor y = run_op("com.microsoft.MatMulIntegerToFloat", {a, b, floats({}, {0.5F}), floats({2}, {2, 4}), Tensor::scalar<uint8_t>(10),
                                                           Tensor::from<int8_t>({2}, {1, 0}), floats({2}, {100, 200})});
  EXPECT_THAT(values(y), ElementsAre((2 * 2 - 3 * 4) * 1 + 100, (2 * -4 - 3 * 6) * 2 + 200));
  EXPECT_FALSE(try_op("com.microsoft.MatMulIntegerToFloat", {a, b, floats({}, {1}), floats({3}, {1, 2, 3})}).ok());
  EXPECT_FALSE(try_op("com.microsoft.MatMulIntegerToFloat", {a, b, floats({2}, {1, 2}), floats({}, {1})}).ok());
}

TEST(DynamicQuantizeMatMul, QuantisesItsInputByItsRange) {
  Tensor y = run_op("com.microsoft.DynamicQuantizeMatMul", {floats({1, 2}, {0, 255}), Tensor::from<int8_t>({2, 1}, {3, 2}), floats({}, {0.5F})});
  EXPECT_THAT(values(y), ElementsAre(255));
}

TEST(QGemm, AddsCInUnitsOfTheProduct) {
  const Tensor a = Tensor::from<uint8_t>({2, 1}, {3, 4}), b = Tensor::from<int8_t>({2, 2}, {1, 2, 3, 4});
  const std::vector<Tensor> in = {a, floats({}, {0.5F}), Tensor::scalar<uint8_t>(1), b, floats({}, {0.25F}), Tensor::scalar<int8_t>(0), Tensor::from<int32_t>({2}, {8, 16})};
  const Attributes turned = {{"transA", int64_t{1}}, {"alpha", 2.0}};
  EXPECT_THAT(values(run_op("com.microsoft.QGemm", in, turned)), ElementsAre((2 * 1 + 3 * 3 + 8) * 0.25, (2 * 2 + 3 * 4 + 16) * 0.25));
  std::vector<Tensor> requantised = in;
  requantised.push_back(floats({}, {0.5F}));
  requantised.push_back(Tensor::scalar<uint8_t>(250));
  EXPECT_THAT(values(run_op("com.microsoft.QGemm", requantised, turned)), ElementsAre(255, 255));  // 9.5 and 16 beyond 250 saturate
}

TEST(ConvInteger, PaddingCountsAsTheZeroPoint) {
  Tensor x = Tensor::from<uint8_t>({1, 1, 2}, {5, 6}), w = Tensor::from<uint8_t>({1, 1, 3}, {1, 1, 1});
  Tensor y = run_op("ConvInteger", {x, w, Tensor::scalar<uint8_t>(5)}, {{"pads", std::vector<int64_t>{1, 1}}});
  EXPECT_THAT(values(y), ElementsAre(1, 1));
}

TEST(ConvInteger, SumsSignedWeightsOverGroupsAndPadding) {
  const Tensor x = Tensor::from<uint8_t>({1, 2, 2, 2}, {0, 255, 100, 7, 3, 128, 200, 60});
  const Tensor w = Tensor::from<int8_t>({2, 1, 3, 3}, {-128, 127, 5, -7, 90, 1, 2, -3, 4, 9, -8, 7, -6, 5, -4, 3, -2, 1});
  const std::vector<double> xs = values(x), ws = values(w);
  constexpr int kZero = 128;
  std::vector<double> want;
  for (int c = 0; c < 2; ++c)
    for (int oy = 0; oy < 2; ++oy)
      for (int ox = 0; ox < 2; ++ox) {
        double sum = 0;
        for (int k = 0; k < 9; ++k) {
          const int iy = oy + k / 3 - 1, ix = ox + k % 3 - 1;
          if (iy >= 0 && iy < 2 && ix >= 0 && ix < 2) sum += (xs[static_cast<size_t>(c * 4 + iy * 2 + ix)] - kZero) * ws[static_cast<size_t>(c * 9 + k)];
        }
        want.push_back(sum);
      }
  Tensor y = run_op("ConvInteger", {x, w, Tensor::scalar<uint8_t>(kZero), Tensor::scalar<int8_t>(0)},
                    {{"pads", std::vector<int64_t>{1, 1, 1, 1}}, {"group", int64_t{2}}});
  EXPECT_EQ(y.dtype(), DType::kI32);
  EXPECT_THAT(values(y), ElementsAreArray(want));
}

TEST(MatMulNBits, UnpacksNibblesWithZeroPointEight) {
  std::vector<uint8_t> packed(8, 0x88);
  packed[0] = 0x9A;  // k = 0 is 10 - 8 = 2, k = 1 is 9 - 8 = 1
  Attributes attrs = {{"K", int64_t{16}}, {"N", int64_t{1}}, {"bits", int64_t{4}}, {"block_size", int64_t{16}}};
  std::vector<float> a(16, 1);
  a[0] = 10;
  Tensor y = run_op("com.microsoft.MatMulNBits", {floats({1, 16}, a), Tensor::from<uint8_t>({1, 1, 8}, std::span<const uint8_t>(packed)), floats({1}, {0.5F})}, attrs);
  EXPECT_THAT(values(y), ElementsAre(0.5 * (20 + 1)));
}

}  // namespace
}  // namespace tenon::ir
