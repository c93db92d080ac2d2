#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/op_runner.h"

/// com.microsoft ops on quantised tensors and weights of few bits, and those around the generation of text.
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

Tensor u8s(Shape shape, std::vector<uint8_t> v) { return Tensor::from<uint8_t>(std::move(shape), std::span<const uint8_t>(v)); }
Tensor scale(float v) { return Tensor::scalar(v); }
Tensor zero(uint8_t v) { return Tensor::scalar(v); }

// ---- QLinear

TEST(QLinearAdd, RoundsAfterTheZeroPoint) {
  // 1 + 0.5 (b - 1) and the odd zero point: 0.5 + 3 = 3.5 is nearest 4, where rounding before would give 0 + 3.
  const std::vector<Tensor> in = {u8s({3}, {10, 11, 12}), scale(0.5F), zero(10), u8s({1}, {0}), scale(1), zero(0), scale(1), zero(3)};
  EXPECT_THAT(values(run_op("com.microsoft.QLinearAdd", in)), ElementsAre(3, 4, 4));
  const std::vector<Tensor> saturating = {u8s({2}, {255, 0}), scale(1), {}, u8s({2}, {255, 0}), scale(1), zero(10), scale(1), {}};
  EXPECT_THAT(values(run_op("com.microsoft.QLinearAdd", saturating)), ElementsAre(255, 0));
}

TEST(QLinearMul, RoundsAfterTheZeroPoint) {
  const std::vector<Tensor> in = {u8s({3}, {1, 3, 5}), scale(0.5F), zero(0), u8s({}, {1}), scale(1), zero(0), scale(1), zero(1)};
  EXPECT_THAT(values(run_op("com.microsoft.QLinearMul", in)), ElementsAre(2, 2, 4));  // 1.5, 2.5, 3.5
}

TEST(QLinearAveragePool, RoundsAfterTheZeroPoint) {
  // Means 0.5, 1.5 and 2.5 with the zero point 3.
  const std::vector<Tensor> in = {u8s({1, 1, 1, 4}, {0, 1, 2, 3}), scale(1), zero(0), scale(1), zero(3)};
  const Attributes attrs = {{"kernel_shape", std::vector<int64_t>{1, 2}}};
  EXPECT_THAT(values(run_op("com.microsoft.QLinearAveragePool", in, attrs)), ElementsAre(4, 4, 6));
  Attributes last = attrs;
  last.emplace_back("channels_last", int64_t{1});
  const std::vector<Tensor> moved = {u8s({1, 1, 4, 1}, {0, 1, 2, 3}), scale(1), zero(0), scale(1), zero(3)};
  const Tensor y = run_op("com.microsoft.QLinearAveragePool", moved, last);
  EXPECT_EQ(y.shape(), (Shape{1, 1, 3, 1}));
  EXPECT_THAT(values(y), ElementsAre(4, 4, 6));
}

TEST(QLinearAveragePool, CountsAllPlacesOfALastWindow) {
  // ONNX Runtime 1.30: the second window has one element and one place behind the end.
  const std::vector<Tensor> in = {u8s({1, 1, 1, 3}, {2, 4, 8}), scale(1), zero(0), scale(1), zero(0)};
  Attributes attrs = {{"kernel_shape", std::vector<int64_t>{1, 2}}, {"strides", std::vector<int64_t>{1, 2}}, {"ceil_mode", int64_t{1}}};
  EXPECT_THAT(values(run_op("com.microsoft.QLinearAveragePool", in, attrs)), ElementsAre(3, 8));
  attrs.emplace_back("count_include_pad", int64_t{1});
  EXPECT_THAT(values(run_op("com.microsoft.QLinearAveragePool", in, attrs)), ElementsAre(3, 4));
}

// ---- DynamicQuantizeLSTM

TEST(DynamicQuantizeLSTM, RunsWithWeightsOfBytes) {
  // One unit: the range of x = 1, and of every state, has it as its end, so that quantising them is exact.
  const auto i8s = [](Shape shape, std::vector<int8_t> v) { return Tensor::from<int8_t>(std::move(shape), std::span<const int8_t>(v)); };
  const double w[] = {0.1, 0.2, -0.3, 0.4}, r[] = {-0.5, 0.25, 0.75, 1};  // input, output, forget and cell gates
  std::vector<Tensor> in(12);
  in[0] = floats({2, 1, 1}, {1, 1});
  in[1] = i8s({1, 1, 4}, {10, 20, -30, 40});
  in[2] = i8s({1, 1, 4}, {-1, 2, 4, 5});  // levels of 0.25 from 1
  in[8] = floats({1}, {0.01F}), in[9] = i8s({1}, {0}), in[10] = floats({1, 4}, {0.25F, 0.25F, 0.25F, 0.25F}), in[11] = i8s({1, 4}, {1, 1, 1, 1});
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  double h = 0, c = 0;
  std::vector<double> expected;
  for (int step = 0; step < 2; ++step) {
    double gate[4];
    for (int k = 0; k < 4; ++k) gate[k] = w[k] + r[k] * h;
    c = sigmoid(gate[2]) * c + sigmoid(gate[0]) * std::tanh(gate[3]);
    h = sigmoid(gate[1]) * std::tanh(c);
    expected.push_back(h);
  }
  const std::vector<Tensor> y = run_op_n("com.microsoft.DynamicQuantizeLSTM", in, 3, {{"hidden_size", int64_t{1}}});
  EXPECT_EQ(y[0].shape(), (Shape{2, 1, 1, 1}));
  EXPECT_THAT(values(y[0]), Pointwise(DoubleNear(1e-6), expected));
  EXPECT_NEAR(y[1].at_double(0), h, 1e-6);
  EXPECT_NEAR(y[2].at_double(0), c, 1e-6);
  in[4] = Tensor::from<int32_t>({1}, {1});  // one step of the two
  const std::vector<Tensor> cut = run_op_n("com.microsoft.DynamicQuantizeLSTM", in, 3, {{"hidden_size", int64_t{1}}});
  EXPECT_NEAR(cut[0].at_double(0), expected[0], 1e-6);
  EXPECT_EQ(cut[0].at_double(1), 0);
  EXPECT_NEAR(cut[1].at_double(0), expected[0], 1e-6);
}

// ---- Pools of all

TEST(QLinearGlobalAveragePool, RoundsTheExactSumOnce) {
  // Sums 2 and 6 of four levels at half the scale: 0.25 x 2 x 1 = 0.5 and 1.5 round to even before the zero point.
  const std::vector<Tensor> in = {u8s({1, 2, 2, 2}, {10, 11, 10, 11, 11, 12, 11, 12}), scale(1), zero(10), scale(1), zero(5)};
  EXPECT_THAT(values(run_op("com.microsoft.QLinearGlobalAveragePool", in)), ElementsAre(5, 7));
  const std::vector<Tensor> moved = {u8s({1, 2, 2, 2}, {10, 11, 11, 12, 10, 11, 11, 12}), scale(1), zero(10), scale(1), zero(5)};
  const Tensor y = run_op("com.microsoft.QLinearGlobalAveragePool", moved, {{"channels_last", int64_t{1}}});
  EXPECT_EQ(y.shape(), (Shape{1, 1, 1, 2}));
  EXPECT_THAT(values(y), ElementsAre(5, 7));
}

TEST(QLinearSoftmax, SharesOfTwoHundredAndFiftySix) {
  // e^(ln 3) : 1 : 0 of 256 parts.
  const std::vector<Tensor> in = {u8s({1, 2}, {1, 0}), scale(std::log(3.0F)), zero(0), scale(1.0F / 256), zero(0)};
  EXPECT_THAT(values(run_op("com.microsoft.QLinearSoftmax", in)), ElementsAre(192, 64));
  const std::vector<Tensor> sure = {u8s({1, 2}, {255, 0}), scale(1), zero(0), scale(1.0F / 256), zero(0)};
  EXPECT_THAT(values(run_op("com.microsoft.QLinearSoftmax", sure)), ElementsAre(255, 0));
  // Before opset 13 all axes from `axis` on share one sum.
  const std::vector<Tensor> four = {u8s({1, 2, 2}, {7, 7, 7, 7}), scale(1), zero(0), scale(1.0F / 256), zero(0)};
  EXPECT_THAT(values(run_op("com.microsoft.QLinearSoftmax", four, {{"axis", int64_t{1}}, {"opset", int64_t{11}}})), ElementsAre(64, 64, 64, 64));
}

TEST(QLinearWhere, RequantisesTheChosen) {
  const std::vector<Tensor> in = {Tensor::from<bool>({2}, {true, false}), u8s({2}, {10, 10}), scale(1), zero(0), u8s({1}, {50}), scale(0.5F), zero(10),
                                  scale(2), zero(1)};
  EXPECT_THAT(values(run_op("com.microsoft.QLinearWhere", in)), ElementsAre(6, 11));
}

TEST(QLinearReduceMean, OfSomeAxes) {
  const std::vector<Tensor> in = {u8s({2, 2}, {0, 2, 4, 8}), scale(1), zero(0), scale(0.5F), zero(1)};
  const Tensor y = run_op("com.microsoft.QLinearReduceMean", in, {{"axes", std::vector<int64_t>{-1}}, {"keepdims", int64_t{0}}});
  EXPECT_EQ(y.shape(), Shape{2});
  EXPECT_THAT(values(y), ElementsAre(3, 13));
  EXPECT_FALSE(try_op("com.microsoft.QLinearReduceMean", in, {{"axes", std::vector<int64_t>{2}}}).ok());
}

// ---- Weights of few bits

TEST(MatMulNBits, BlocksByGroupIndex) {
  // One column of 32 codes 9 (value 1): scale 2 or 3 as g_idx says.
  const std::vector<uint8_t> packed(16, 0x99);
  std::vector<int32_t> group(32, 1);
  group[0] = 0;
  std::vector<float> ones(32, 1);
  const std::vector<Tensor> in = {floats({1, 32}, ones), u8s({1, 2, 8}, packed), floats({2}, {2, 3}), {}, Tensor::from<int32_t>({32}, std::span<const int32_t>(group)),
                                  floats({1}, {100})};
  const Attributes attrs = {{"N", int64_t{1}}, {"K", int64_t{32}}, {"bits", int64_t{4}}, {"block_size", int64_t{16}}};
  EXPECT_THAT(values(run_op("com.microsoft.MatMulNBits", in, attrs)), ElementsAre(2 + 31 * 3 + 100));
  std::vector<Tensor> outside = in;
  group[5] = 2;
  outside[4] = Tensor::from<int32_t>({32}, std::span<const int32_t>(group));
  EXPECT_FALSE(try_op("com.microsoft.MatMulNBits", outside, attrs).ok());
}

TEST(MatMulBnb4, ReadsTheHighHalfFirst) {
  // NF4: codes 15 and 0 are 1 and -1; FP4: codes 3 and 11 are 1 and -1.
  std::vector<float> a(16, 0);
  a[0] = 1, a[1] = 10;
  std::vector<uint8_t> nf4(8, 0x77), fp4(8, 0);
  nf4[0] = 0xF0, fp4[0] = 0x3B;
  auto product = [&](const std::vector<uint8_t>& b, int64_t type) {
    return values(run_op("com.microsoft.MatMulBnb4", {floats({1, 16}, a), u8s({8}, b), floats({1}, {2})},
                         {{"N", int64_t{1}}, {"K", int64_t{16}}, {"block_size", int64_t{16}}, {"quant_type", type}}));
  };
  EXPECT_THAT(product(nf4, 1), ElementsAre(-18));
  EXPECT_THAT(product(fp4, 0), ElementsAre(-18));
}

TEST(GatherBlockQuantized, UnpacksRows) {
  std::vector<uint8_t> data(16, 0x88);  // two rows of 16 codes of 4 bits, 8 is 0
  data[8] = 0xA9;                       // row 1: 1, 2, 0 …
  const std::vector<Tensor> in = {u8s({2, 8}, data), Tensor::from<int64_t>({2}, {1, -2}), floats({2, 1}, {5, 10})};
  const Attributes attrs = {{"block_size", int64_t{16}}};
  const Tensor y = run_op("com.microsoft.GatherBlockQuantized", in, attrs);
  EXPECT_EQ(y.shape(), (Shape{2, 16}));
  std::vector<double> want(32, 0);
  want[0] = 10, want[1] = 20;
  EXPECT_THAT(values(y), ElementsAreArray(want));
  std::vector<Tensor> outside = in;
  outside[1] = Tensor::from<int64_t>({1}, {2});
  EXPECT_FALSE(try_op("com.microsoft.GatherBlockQuantized", outside, attrs).ok());
  for (int64_t bits : {0, 3, 16}) EXPECT_FALSE(try_op("com.microsoft.GatherBlockQuantized", in, {{"block_size", int64_t{16}}, {"bits", bits}}).ok());
  for (int64_t block : {0, 8, 24}) EXPECT_FALSE(try_op("com.microsoft.GatherBlockQuantized", in, {{"block_size", block}}).ok());
}

// ---- Around generation

TEST(DynamicTimeWarping, FollowsTheValley) {
  const Tensor costs = floats({3, 4}, {0, 9, 9, 9, 9, 0, 0, 9, 9, 9, 9, 0});
  const Tensor y = run_op("com.microsoft.DynamicTimeWarping", {costs});
  EXPECT_EQ(y.shape(), (Shape{2, 4}));
  EXPECT_THAT(values(y), ElementsAre(0, 1, 1, 2, 0, 1, 2, 3));
  EXPECT_EQ(run_op("com.microsoft.DynamicTimeWarping", {floats({0, 0}, {})}).shape(), (Shape{2, 0}));
}

TEST(NGramRepeatBlock, BansWhatWouldRepeat) {
  const Tensor ids = Tensor::from<int64_t>({1, 5}, {1, 2, 3, 1, 2}), scores = floats({1, 4}, {0, 0, 0, 0});
  EXPECT_THAT(values(run_op("com.microsoft.NGramRepeatBlock", {ids, scores}, {{"ngram_size", int64_t{3}}})), ElementsAre(0, 0, 0, -HUGE_VAL));
  EXPECT_THAT(values(run_op("com.microsoft.NGramRepeatBlock", {ids, scores}, {{"ngram_size", int64_t{7}}})), ElementsAre(0, 0, 0, 0));
  EXPECT_FALSE(try_op("com.microsoft.NGramRepeatBlock", {Tensor::from<int64_t>({1, 1}, {9}), scores}, {{"ngram_size", int64_t{1}}}).ok());
}

TEST(MurmurHash3, KnownHashes) {
  // The empty string hashes to the seed's final mix; the others are values from ONNX Runtime 1.30.
  const Tensor words = Tensor::strings({2}, {"", "hello"}).value();
  EXPECT_THAT(values(run_op("com.microsoft.MurmurHash3", {words})), ElementsAre(0, 613153351));
  EXPECT_THAT(values(run_op("com.microsoft.MurmurHash3", {Tensor::from<int32_t>({1}, {3})}, {{"positive", int64_t{0}}})), ElementsAre(847579505));
}

TEST(CropAndResize, SamplesBoxes) {
  const Tensor image = floats({1, 1, 2, 3}, {0, 1, 2, 10, 11, 12});
  auto cropped = [&](std::vector<float> box, std::vector<int32_t> size, const char* mode) {
    return values(run_op("com.microsoft.CropAndResize",
                         {image, floats({1, 4}, std::move(box)), Tensor::from<int32_t>({1}, {0}), Tensor::from<int32_t>({2}, std::span<const int32_t>(size))},
                         {{"mode", std::string(mode)}, {"extrapolation_value", -1.0}}));
  };
  EXPECT_THAT(cropped({0, 0, 1, 1}, {2, 2}, "bilinear"), ElementsAre(0, 2, 10, 12));
  EXPECT_THAT(cropped({0, 0, 1, 1}, {1, 1}, "bilinear"), ElementsAre(6));
  EXPECT_THAT(cropped({0, 0, 0, 2}, {1, 3}, "nearest"), ElementsAre(0, 2, -1));
  EXPECT_FALSE(try_op("com.microsoft.CropAndResize", {image, floats({1, 4}, {0, 0, 1, 1}), Tensor::from<int32_t>({1}, {1}), Tensor::from<int32_t>({2}, {1, 1})}).ok());
  EXPECT_FALSE(try_op("com.microsoft.CropAndResize", {image, floats({1, 4}, {0, 0, 1, 1}), Tensor::from<int32_t>({1}, {0}), Tensor::from<int32_t>({2}, {0, 1})}).ok());
}

}  // namespace
}  // namespace tenon::ir
