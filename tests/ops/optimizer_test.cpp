// The updates of ai.onnx.preview.training against their formulas, in double.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/op_runner.h"

namespace tenon::ir {
namespace {

using test::Attributes;
using test::floats;
using test::run_op_n;
using test::try_op_n;
using test::values;

constexpr const char* kAdagrad = "ai.onnx.preview.training.Adagrad";
constexpr const char* kAdam = "ai.onnx.preview.training.Adam";
constexpr const char* kMomentum = "ai.onnx.preview.training.Momentum";

Tensor doubles(Shape shape, std::vector<double> v) {
  return Tensor::from<double>(std::move(shape), std::span<const double>(v));
}
Tensor rate(double r) { return Tensor::scalar<float>(static_cast<float>(r)); }
Tensor count(int64_t t) { return Tensor::scalar<int64_t>(t); }
const double kRate = static_cast<double>(0.125F);

const std::vector<double> kX = {1.5, -2, 0.25, 0}, kG = {-0.5, 3, 0, 0.75}, kV = {0.5, 0.25, -1, 0},
                          kH = {2, 0.5, 1, 0.25};

TEST(Adagrad, FollowsItsFormula) {
  for (int64_t t : {0, 1, 7}) {
    const auto out = run_op_n(kAdagrad, {rate(kRate), count(t), doubles({4}, kX), doubles({4}, kG), doubles({4}, kH)},
                              2, {{"norm_coefficient", 0.5}, {"decay_factor", 0.25}, {"epsilon", 0.001}});
    for (size_t i = 0; i < 4; ++i) {
      const double g = 0.5 * kX[i] + kG[i], h = kH[i] + g * g;
      EXPECT_DOUBLE_EQ(out[1].at_double(static_cast<int64_t>(i)), h);
      EXPECT_DOUBLE_EQ(out[0].at_double(static_cast<int64_t>(i)),
                       kX[i] - kRate / (1 + static_cast<double>(t) * 0.25) * g / (std::sqrt(h) + 0.001));
    }
  }
}

TEST(Adam, FollowsItsFormula) {
  for (int64_t t : {0, 1, 1000}) {
    const double alpha = 0.75, beta = 0.96875, post = 0.125;
    const auto out = run_op_n(
        kAdam,
        {rate(kRate), count(t), doubles({2, 2}, kX), doubles({2, 2}, kG), doubles({2, 2}, kV), doubles({2, 2}, kH)}, 3,
        {{"alpha", alpha},
         {"beta", beta},
         {"norm_coefficient", 0.5},
         {"norm_coefficient_post", post},
         {"epsilon", 0.001}});
    const auto steps = static_cast<double>(t);
    const double r = t > 0 ? kRate * std::sqrt(1 - std::pow(beta, steps)) / (1 - std::pow(alpha, steps)) : kRate;
    for (size_t i = 0; i < 4; ++i) {
      const double g = 0.5 * kX[i] + kG[i], v = alpha * kV[i] + (1 - alpha) * g, h = beta * kH[i] + (1 - beta) * g * g;
      EXPECT_DOUBLE_EQ(out[1].at_double(static_cast<int64_t>(i)), v);
      EXPECT_DOUBLE_EQ(out[2].at_double(static_cast<int64_t>(i)), h);
      EXPECT_NEAR(out[0].at_double(static_cast<int64_t>(i)), (1 - post) * (kX[i] - r * v / (std::sqrt(h) + 0.001)),
                  1e-15);
    }
  }
}

// 1 - 0.999^T has 3 digits in f32 at T = 1; the rate is computed in f64 and rounded once.
TEST(Adam, CorrectsTheBiasExactlyInSingle) {
  const auto out =
      run_op_n(kAdam, {rate(1), count(1), floats({1}, {0}), floats({1}, {1}), floats({1}, {0}), floats({1}, {0})}, 3,
               {{"epsilon", 0.0}});
  EXPECT_NEAR(out[0].at_double(0), -1, 1e-6);
}

TEST(Momentum, FollowsItsFormulas) {
  for (const char* mode : {"standard", "nesterov"})
    for (int64_t t : {0, 5}) {
      const auto out =
          run_op_n(kMomentum, {rate(kRate), count(t), doubles({4}, kX), doubles({4}, kG), doubles({4}, kV)}, 2,
                   {{"alpha", 0.75}, {"beta", 0.5}, {"norm_coefficient", 0.25}, {"mode", std::string(mode)}});
      for (size_t i = 0; i < 4; ++i) {
        const double g = 0.25 * kX[i] + kG[i], v = 0.75 * kV[i] + (t > 0 ? 0.5 : 1) * g;
        EXPECT_DOUBLE_EQ(out[1].at_double(static_cast<int64_t>(i)), v);
        EXPECT_DOUBLE_EQ(out[0].at_double(static_cast<int64_t>(i)),
                         kX[i] - kRate * (mode[0] == 'n' ? g + 0.75 * v : v));
      }
    }
}

// Tensors of different shapes and dtypes in one node; the rate may be a tensor of one element.
TEST(Optimizers, UpdateTensorsOneByOne) {
  const Attributes attrs = {
      {"alpha", 0.5}, {"beta", 1.0}, {"norm_coefficient", 0.0}, {"mode", std::string("standard")}};
  const auto out = run_op_n(kMomentum,
                            {floats({1}, {0.5}), count(1), floats({2}, {1, 2}), doubles({1, 1}, {3}),
                             floats({2}, {1, 1}), doubles({1, 1}, {2}), floats({2}, {2, 4}), doubles({1, 1}, {6})},
                            4, attrs);
  EXPECT_EQ(values(out[0]), (std::vector<double>{0, 0.5}));
  EXPECT_EQ(values(out[1]), (std::vector<double>{0.5}));
  EXPECT_EQ(values(out[2]), (std::vector<double>{2, 3}));
  EXPECT_EQ(values(out[3]), (std::vector<double>{5}));
  EXPECT_EQ(out[1].shape(), (Shape{1, 1}));
  EXPECT_EQ(out[1].dtype(), DType::kF64);
  const Tensor none = floats({0, 3}, {});
  EXPECT_EQ(run_op_n(kMomentum, {rate(1), count(1), none, none, none}, 2, attrs)[0].shape(), (Shape{0, 3}));
}

TEST(Optimizers, RefuseWhatDoesNotFit) {
  const Tensor x = floats({2}, {1, 2}), r = rate(1), t = count(0);
  const auto refused = [&](const char* op, std::vector<Tensor> inputs, int outputs, Attributes attrs = {}) {
    const auto got = try_op_n(op, inputs, outputs, attrs);
    return !got.ok() && got.status().code() == Code::kInvalidModel;
  };
  EXPECT_TRUE(refused(kAdagrad, {r, t, x, x}, 2)) << "no state";
  EXPECT_TRUE(refused(kAdagrad, {r, t}, 1)) << "no tensors";
  EXPECT_TRUE(refused(kAdagrad, {r, t, x, x, x}, 3)) << "too many outputs";
  EXPECT_TRUE(refused(kAdagrad, {r, t, x, floats({3}, {1, 2, 3}), x}, 2)) << "another size";
  EXPECT_TRUE(refused(kAdagrad, {r, t, x, floats({1, 2}, {1, 2}), x}, 2)) << "another rank";
  EXPECT_TRUE(refused(kAdagrad, {r, t, x, doubles({2}, {1, 2}), x}, 2)) << "another dtype";
  EXPECT_TRUE(refused(kAdagrad, {x, t, x, x, x}, 2)) << "two rates";
  EXPECT_TRUE(refused(kAdagrad, {r, rate(1), x, x, x}, 2)) << "a count that is no integer";
  EXPECT_TRUE(refused(kMomentum, {r, t, x, x, x}, 2)) << "attributes missing";
  EXPECT_TRUE(refused(kMomentum, {r, t, x, x, x}, 2,
                      {{"alpha", 1.0}, {"beta", 1.0}, {"norm_coefficient", 0.0}, {"mode", std::string("fast")}}));
  EXPECT_TRUE(refused(kAdam, {r, t, x, Tensor(), x, x}, 3)) << "an absent gradient";
}

}  // namespace
}  // namespace tenon::ir
