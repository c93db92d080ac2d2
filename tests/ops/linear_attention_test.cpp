#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tests/ops/op_runner.h"

namespace tenon::ir {
namespace {

using test::Attributes;
using test::floats;
using test::run_op_n;
using test::try_op_n;
using test::values;
using testing::DoubleNear;
using testing::Pointwise;

Tensor random_floats(Shape shape, unsigned seed, float lo = -1, float hi = 1) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> uniform(lo, hi);
  std::vector<float> v(static_cast<size_t>(*element_count(shape)));
  for (float& x : v) x = uniform(engine);
  return floats(std::move(shape), std::move(v));
}

Tensor zeros(Shape shape) { return floats(shape, std::vector<float>(static_cast<size_t>(*element_count(shape)))); }

// ---- LinearAttention

constexpr int64_t kBatch = 2, kSteps = 3, kQueryHeads = 4, kHeads = 2, kKeySize = 3, kValueSize = 2;

struct Case {
  const char* rule;
  bool gated, delta;
  int64_t decay_per_head;  // 1 or kKeySize
  int64_t betas;           // 1 or kHeads
};

/// Reads of [batch, step, component].
double at(const Tensor& t, int64_t b, int64_t step, int64_t i) { return values(t)[static_cast<size_t>((b * t.dim(1) + step) * t.dim(2) + i)]; }

/// The equations of ONNX LinearAttention, one component at a time; `state` is updated in place.
std::vector<double> recurrence(const Case& c, const std::vector<Tensor>& in, std::vector<double>& state) {
  std::vector<double> y(static_cast<size_t>(kBatch * kSteps * kQueryHeads * kValueSize));
  for (int64_t b = 0; b < kBatch; ++b)
    for (int64_t t = 0; t < kSteps; ++t)
      for (int64_t q = 0; q < kQueryHeads; ++q) {
        const int64_t group = kQueryHeads / kHeads, h = q / group;
        double* s = state.data() + (b * kHeads + h) * kKeySize * kValueSize;
        for (int64_t j = 0; q % group == 0 && j < kValueSize; ++j) {
          double retrieved = 0;
          for (int64_t i = 0; i < kKeySize; ++i) {
            if (c.gated) s[i * kValueSize + j] *= std::exp(at(in[4], b, t, h * c.decay_per_head + i % c.decay_per_head));
            retrieved += at(in[1], b, t, h * kKeySize + i) * s[i * kValueSize + j];
          }
          double written = at(in[2], b, t, h * kValueSize + j);
          if (c.delta) written = at(in[5], b, t, h % c.betas) * (written - retrieved);
          for (int64_t i = 0; i < kKeySize; ++i) s[i * kValueSize + j] += at(in[1], b, t, h * kKeySize + i) * written;
        }
        for (int64_t j = 0; j < kValueSize; ++j) {
          double sum = 0;
          for (int64_t i = 0; i < kKeySize; ++i) sum += at(in[0], b, t, q * kKeySize + i) * s[i * kValueSize + j];
          y[static_cast<size_t>(((b * kSteps + t) * kQueryHeads + q) * kValueSize + j)] = sum / std::sqrt(static_cast<double>(kKeySize));
        }
      }
  return y;
}

std::vector<Tensor> linear_attention_inputs(const Case& c) {
  std::vector<Tensor> in = {random_floats({kBatch, kSteps, kQueryHeads * kKeySize}, 1), random_floats({kBatch, kSteps, kHeads * kKeySize}, 2),
                            random_floats({kBatch, kSteps, kHeads * kValueSize}, 3), random_floats({kBatch, kHeads, kKeySize, kValueSize}, 4)};
  in.push_back(c.gated ? random_floats({kBatch, kSteps, kHeads * c.decay_per_head}, 5, -2, 0) : Tensor());
  in.push_back(c.delta ? random_floats({kBatch, kSteps, c.betas}, 6, 0, 1) : Tensor());
  return in;
}

Attributes heads(const char* rule) {
  return {{"q_num_heads", kQueryHeads}, {"kv_num_heads", kHeads}, {"update_rule", std::string(rule)}};
}

TEST(LinearAttention, FollowsItsRecurrenceForEveryRule) {
  for (const Case& c : {Case{"linear", false, false, 1, 1}, Case{"gated", true, false, 1, 1}, Case{"gated", true, false, kKeySize, 1},
                        Case{"delta", false, true, 1, kHeads}, Case{"gated_delta", true, true, kKeySize, 1},
                        Case{"gated_delta", true, true, 1, kHeads}}) {
    SCOPED_TRACE(c.rule);
    const std::vector<Tensor> in = linear_attention_inputs(c);
    std::vector<double> state = values(in[3]);
    const std::vector<double> want = recurrence(c, in, state);
    const std::vector<Tensor> out = run_op_n("LinearAttention", in, 2, heads(c.rule));
    EXPECT_EQ(out[0].shape(), (Shape{kBatch, kSteps, kQueryHeads * kValueSize}));
    EXPECT_EQ(out[1].shape(), (Shape{kBatch, kHeads, kKeySize, kValueSize}));
    EXPECT_THAT(values(out[0]), Pointwise(DoubleNear(1e-5), want));
    EXPECT_THAT(values(out[1]), Pointwise(DoubleNear(1e-5), state));
  }
}

TEST(LinearAttention, ScalesAsTold) {
  Attributes attrs = {{"q_num_heads", int64_t{1}}, {"kv_num_heads", int64_t{1}}, {"update_rule", std::string("linear")}, {"scale", 10.0}};
  std::vector<Tensor> out = run_op_n("LinearAttention", {floats({1, 2, 1}, {1, 2}), floats({1, 2, 1}, {3, 4}), floats({1, 2, 1}, {5, 6})}, 2, attrs);
  EXPECT_THAT(values(out[0]), testing::ElementsAre(150, 780));
  EXPECT_THAT(values(out[1]), testing::ElementsAre(39));
}

TEST(LinearAttention, RefusesWhatDoesNotFit) {
  const Case plain{"linear", false, false, 1, 1};
  std::vector<Tensor> in = linear_attention_inputs(plain);
  EXPECT_FALSE(try_op_n("LinearAttention", in, 2, heads("gated")).ok());
  EXPECT_FALSE(try_op_n("LinearAttention", in, 2, heads("delta")).ok());
  EXPECT_FALSE(try_op_n("LinearAttention", in, 2, heads("other")).ok());
  EXPECT_FALSE(try_op_n("LinearAttention", in, 2, {{"q_num_heads", int64_t{0}}, {"kv_num_heads", int64_t{0}}, {"update_rule", std::string("linear")}}).ok());
  EXPECT_FALSE(try_op_n("LinearAttention", in, 2, {{"q_num_heads", int64_t{4}}, {"kv_num_heads", int64_t{3}}, {"update_rule", std::string("linear")}}).ok());
  in[1] = zeros({kBatch, kSteps + 1, kHeads * kKeySize});
  EXPECT_FALSE(try_op_n("LinearAttention", in, 2, heads("linear")).ok());
}

// ---- CausalConvWithState

TEST(CausalConvWithState, StreamsAsIfTheInputCameWhole) {
  const Tensor x = random_floats({1, 2, 5}, 1), w = random_floats({2, 1, 3}, 2), bias = floats({2}, {0.5f, -0.25f});
  const std::vector<double> xs = values(x), ws = values(w);
  std::vector<double> want;
  for (int64_t c = 0; c < 2; ++c)
    for (int64_t t = 0; t < 5; ++t) {
      double sum = c == 0 ? 0.5 : -0.25;
      for (int64_t j = 0; j < 3; ++j)
        if (t + j >= 2) sum += xs[static_cast<size_t>(c * 5 + t + j - 2)] * ws[static_cast<size_t>(c * 3 + j)];
      want.push_back(sum);
    }
  EXPECT_THAT(values(run_op_n("CausalConvWithState", {x, w, bias}, 2)[0]), Pointwise(DoubleNear(1e-6), want));
  Tensor state;
  for (int64_t t = 0; t < 5; ++t) {
    Tensor now = floats({1, 2, 1}, {static_cast<float>(xs[static_cast<size_t>(t)]), static_cast<float>(xs[static_cast<size_t>(5 + t)])});
    std::vector<Tensor> out = run_op_n("CausalConvWithState", {now, w, bias, state}, 2);
    EXPECT_NEAR(values(out[0])[0], want[static_cast<size_t>(t)], 1e-6);
    EXPECT_NEAR(values(out[0])[1], want[static_cast<size_t>(5 + t)], 1e-6);
    EXPECT_EQ(out[1].shape(), (Shape{1, 2, 2}));
    state = out[1];
  }
  EXPECT_THAT(values(state), Pointwise(DoubleNear(0), {xs[3], xs[4], xs[8], xs[9]}));
}

TEST(CausalConvWithState, AppliesItsActivation) {
  std::vector<Tensor> out = run_op_n("CausalConvWithState", {floats({1, 1, 2}, {1, -2}), floats({1, 1, 1}, {2})}, 2, {{"activation", std::string("silu")}});
  EXPECT_THAT(values(out[0]), Pointwise(DoubleNear(1e-6), {2 / (1 + std::exp(-2.0)), -4 / (1 + std::exp(4.0))}));
  EXPECT_EQ(out[1].shape(), (Shape{1, 1, 0}));
}

TEST(CausalConvWithState, RefusesWhatDoesNotFit) {
  const Tensor x = zeros({1, 2, 4});
  EXPECT_FALSE(try_op_n("CausalConvWithState", {x, zeros({3, 1, 2})}, 2).ok());
  EXPECT_FALSE(try_op_n("CausalConvWithState", {x, zeros({2, 1, 0})}, 2).ok());
  EXPECT_FALSE(try_op_n("CausalConvWithState", {x, zeros({2, 2, 2})}, 2).ok());
  EXPECT_FALSE(try_op_n("CausalConvWithState", {x, zeros({2, 1, 2}), Tensor(), zeros({1, 2, 2})}, 2).ok());
  EXPECT_FALSE(try_op_n("CausalConvWithState", {x, zeros({2, 1, 2})}, 2, {{"activation", std::string("relu")}}).ok());
}

}  // namespace
}  // namespace tenon::ir
