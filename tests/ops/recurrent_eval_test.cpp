#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/op_runner.h"

namespace tenon::ir {
namespace {

using test::floats;
using test::run_op_n;
using test::try_op_n;
using test::values;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::Pointwise;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST(Rnn, FollowsItsRecurrenceForwardsAndBackwards) {
  Tensor x = floats({3, 1, 1}, {1, 2, 3}), w = floats({1, 1, 1}, {0.5F}), r = floats({1, 1, 1}, {0.25F});
  double a = std::tanh(0.5), b = std::tanh(1 + 0.25 * a), c = std::tanh(1.5 + 0.25 * b);
  std::vector<Tensor> y = run_op_n("RNN", {x, w, r}, 2, {{"hidden_size", int64_t{1}}});
  EXPECT_THAT(values(y[0]), Pointwise(DoubleNear(1e-6), std::vector<double>{a, b, c}));
  EXPECT_NEAR(y[1].at_double(0), c, 1e-6);
  double p = std::tanh(1.5), q = std::tanh(1 + 0.25 * p), s = std::tanh(0.5 + 0.25 * q);
  y = run_op_n("RNN", {x, w, r}, 2, {{"hidden_size", int64_t{1}}, {"direction", std::string("reverse")}});
  EXPECT_THAT(values(y[0]), Pointwise(DoubleNear(1e-6), std::vector<double>{s, q, p}));
}

TEST(Rnn, SequencesEndAtTheirLengths) {
  Tensor x = floats({2, 2, 1}, {1, 1, 1, 1}), w = floats({1, 1, 1}, {1}), r = floats({1, 1, 1}, {0});
  Tensor lengths = Tensor::from<int32_t>({2}, {1, 2});
  std::vector<Tensor> y = run_op_n("RNN", {x, w, r, Tensor(), lengths}, 2);
  double t = std::tanh(1);
  EXPECT_THAT(values(y[0]), Pointwise(DoubleNear(1e-6), std::vector<double>{t, t, 0, t}));
  EXPECT_THAT(values(y[1]), Pointwise(DoubleNear(1e-6), std::vector<double>{t, t}));
  EXPECT_FALSE(try_op_n("RNN", {x, w, r, Tensor(), Tensor::from<int32_t>({2}, {1, 3})}, 1).ok());
}

TEST(Lstm, OneStepWithPeepholesMatchesTheFormula) {
  Tensor x = floats({1, 1, 1}, {1}), w = floats({1, 4, 1}, {0.1F, 0.2F, 0.3F, 0.4F}), r = floats({1, 4, 1}, {0.5F, 0.6F, 0.7F, 0.8F});
  Tensor b = floats({1, 8}, {0.01F, 0.02F, 0.03F, 0.04F, 0.05F, 0.06F, 0.07F, 0.08F});
  Tensor h0 = floats({1, 1, 1}, {0.9F}), c0 = floats({1, 1, 1}, {-0.4F}), p = floats({1, 3}, {0.2F, 0.3F, 0.4F});
  double i = sigmoid(0.1 + 0.45 + 0.06 + 0.2 * -0.4), f = sigmoid(0.3 + 0.63 + 0.1 + 0.4 * -0.4), g = std::tanh(0.4 + 0.72 + 0.12);
  double c = f * -0.4 + i * g, o = sigmoid(0.2 + 0.54 + 0.08 + 0.3 * c), h = o * std::tanh(c);
  std::vector<Tensor> y = run_op_n("LSTM", {x, w, r, b, Tensor(), h0, c0, p}, 3);
  EXPECT_NEAR(y[0].at_double(0), h, 1e-6);
  EXPECT_NEAR(y[1].at_double(0), h, 1e-6);
  EXPECT_NEAR(y[2].at_double(0), c, 1e-6);
}

TEST(Gru, ResetsBeforeOrAfterTheRecurrentProduct) {
  Tensor x = floats({1, 1, 1}, {1}), w = floats({1, 3, 1}, {0.1F, 0.2F, 0.3F}), r = floats({1, 3, 1}, {0.4F, 0.5F, 0.6F});
  Tensor b = floats({1, 6}, {0, 0, 0.1F, 0, 0, 0.7F}), h0 = floats({1, 1, 1}, {0.5F});
  double z = sigmoid(0.1 + 0.2), reset = sigmoid(0.2 + 0.25);
  double before = std::tanh(0.3 + 0.1 + reset * 0.5 * 0.6 + 0.7), after = std::tanh(0.3 + 0.1 + reset * (0.5 * 0.6 + 0.7));
  EXPECT_NEAR(run_op_n("GRU", {x, w, r, b, Tensor(), h0}, 1)[0].at_double(0), (1 - z) * before + z * 0.5, 1e-6);
  EXPECT_NEAR(run_op_n("GRU", {x, w, r, b, Tensor(), h0}, 1, {{"linear_before_reset", int64_t{1}}})[0].at_double(0), (1 - z) * after + z * 0.5, 1e-6);
}

TEST(Recurrent, BatchFirstLayoutIsATranspose) {
  Tensor w = floats({1, 4, 1}, {0.1F, 0.2F, 0.3F, 0.4F}), r = floats({1, 4, 1}, {0.5F, 0.6F, 0.7F, 0.8F});
  std::vector<Tensor> a = run_op_n("LSTM", {floats({2, 3, 1}, {1, 2, 3, 4, 5, 6}), w, r}, 1);
  std::vector<Tensor> b = run_op_n("LSTM", {floats({3, 2, 1}, {1, 4, 2, 5, 3, 6}), w, r}, 1, {{"layout", int64_t{1}}});
  ASSERT_EQ(b[0].shape(), (Shape{3, 2, 1, 1}));
  for (int64_t t = 0; t < 2; ++t)
    for (int64_t n = 0; n < 3; ++n) EXPECT_EQ(a[0].at_double(t * 3 + n), b[0].at_double(n * 2 + t));
}

TEST(Recurrent, RefusesShapesAndNamesThatDoNotFit) {
  Tensor x = floats({1, 1, 1}, {1}), w = floats({1, 1, 1}, {1}), r = floats({1, 1, 1}, {1});
  EXPECT_FALSE(try_op_n("RNN", {x, floats({1, 2, 1}, {1, 1}), r}, 1).ok());
  EXPECT_FALSE(try_op_n("RNN", {x, w, r}, 1, {{"direction", std::string("sideways")}}).ok());
  EXPECT_FALSE(try_op_n("RNN", {x, w, r}, 1, {{"activations", std::vector<std::string>{"Cosine"}}}).ok());
  EXPECT_FALSE(try_op_n("LSTM", {x, w, r}, 1).ok());
}

}  // namespace
}  // namespace tenon::ir
