#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "tests/ops/op_runner.h"

namespace tenon::ir {
namespace {

using test::floats;
using test::run_op;
using test::values;

double softplus(double x) { return std::log(1 + std::exp(x)); }

struct Formula {
  const char* op;
  double (*fn)(double);
};
constexpr Formula kFormulas[] = {
    {"Abs", [](double x) { return std::fabs(x); }},
    {"Neg", [](double x) { return -x; }},
    {"Sqrt", [](double x) { return std::sqrt(x); }},
    {"Exp", [](double x) { return std::exp(x); }},
    {"Log", [](double x) { return std::log(x); }},
    {"Reciprocal", [](double x) { return 1 / x; }},
    {"Erf", [](double x) { return std::erf(x); }},
    {"Acosh", [](double x) { return std::acosh(x); }},
    {"Relu", [](double x) { return x > 0 ? x : 0; }},
    {"LeakyRelu", [](double x) { return x < 0 ? 0.01 * x : x; }},
    {"Sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }},
    {"Elu", [](double x) { return x < 0 ? std::exp(x) - 1 : x; }},
    {"Selu", [](double x) { return 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * (std::exp(x) - 1)); }},
    {"Celu", [](double x) { return x < 0 ? std::exp(x) - 1 : x; }},
    {"Gelu", [](double x) { return x * 0.5 * std::erfc(-x / std::numbers::sqrt2); }},
    {"HardSigmoid", [](double x) { return std::fmin(1, std::fmax(0, 0.2 * x + 0.5)); }},
    {"HardSwish", [](double x) { return x * std::fmin(1, std::fmax(0, x / 6 + 0.5)); }},
    {"Softplus", softplus},
    {"Softsign", [](double x) { return x / (1 + std::fabs(x)); }},
    {"Mish", [](double x) { return x * std::tanh(softplus(x)); }},
    {"Swish", [](double x) { return x / (1 + std::exp(-x)); }},
    {"ThresholdedRelu", [](double x) { return x > 1 ? x : 0; }},
    {"Shrink", [](double x) { return std::fabs(x) > 0.5 ? x : 0; }},
};

class UnaryOp : public testing::TestWithParam<Formula> {};
INSTANTIATE_TEST_SUITE_P(All, UnaryOp, testing::ValuesIn(kFormulas),
                         [](const auto& info) { return std::string(info.param.op); });

TEST_P(UnaryOp, MatchesItsFormula) {
  const std::vector<float> x = {-2.5f, -1.f, -0.3f, 0.f, 0.4f, 1.f, 3.7f};
  const std::vector<double> y = values(run_op(GetParam().op, {floats({7}, x)}));
  ASSERT_EQ(y.size(), x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = GetParam().fn(x[i]);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(y[i])) << x[i];
    } else if (std::isinf(expected)) {
      EXPECT_EQ(y[i], expected) << x[i];
    } else {
      EXPECT_NEAR(y[i], expected, 1e-6 * std::max(1.0, std::fabs(expected))) << x[i];
    }
  }
}

TEST(Elementwise, BroadcastsBothWays) {
  const Tensor out = run_op("Add", {floats({2, 1}, {1, 2}), floats({3}, {10, 20, 30})});
  EXPECT_EQ(out.shape(), (Shape{2, 3}));
  EXPECT_EQ(values(out), (std::vector<double>{11, 21, 31, 12, 22, 32}));
}

TEST(Elementwise, RefusesShapesThatDoNotBroadcast) {
  EXPECT_EQ(test::try_op("Add", {floats({2}, {1, 2}), floats({3}, {1, 2, 3})}).status().code(), Code::kInvalidModel);
}

TEST(Elementwise, IntegerDivisionAndModulo) {
  const Tensor a = Tensor::from<int32_t>({4}, {7, -7, 7, -7}), b = Tensor::from<int32_t>({4}, {2, 2, -2, 0});
  EXPECT_EQ(values(run_op("Div", {a, b})), (std::vector<double>{3, -3, -3, 0}));
  EXPECT_EQ(values(run_op("Mod", {a, b})), (std::vector<double>{1, 1, -1, 0}));
  EXPECT_EQ(values(run_op("Mod", {a, b}, {{"fmod", Attr(int64_t{1})}})), (std::vector<double>{1, -1, 1, 0}));
}

TEST(Elementwise, PowMixesTypes) {
  EXPECT_EQ(values(run_op("Pow", {floats({2}, {2, 3}), test::ints({3, 2})})), (std::vector<double>{8, 9}));
  EXPECT_EQ(values(run_op("Pow", {Tensor::from<int32_t>({2}, {9, 3}), floats({2}, {0.5, 2})})), (std::vector<double>{3, 9}));
}

TEST(Elementwise, ClipWithOneBound) {
  EXPECT_EQ(values(run_op("Clip", {floats({3}, {-1, 0, 5}), floats({}, {0})})), (std::vector<double>{0, 0, 5}));
  EXPECT_EQ(values(run_op("Clip", {floats({3}, {-1, 0, 5}), Tensor(), floats({}, {2})})), (std::vector<double>{-1, 0, 2}));
}

TEST(Elementwise, MaxPropagatesNan) {
  const std::vector<double> y = values(run_op("Max", {floats({2}, {NAN, 1}), floats({2}, {1, NAN})}));
  EXPECT_TRUE(std::isnan(y[0]) && std::isnan(y[1]));
}

TEST(Elementwise, VariadicMeanOfThree) {
  EXPECT_EQ(values(run_op("Mean", {floats({1}, {1}), floats({1}, {2}), floats({1}, {6})})), (std::vector<double>{3}));
}

TEST(Elementwise, WhereMovesStrings) {
  const Tensor condition = Tensor::from<bool>({2}, {true, false});
  const Tensor out = run_op("Where", {condition, *Tensor::strings({2}, {"a", "b"}), *Tensor::strings({1}, {"c"})});
  EXPECT_EQ(out.string_values(), (std::vector<std::string>{"a", "c"}));
}

TEST(Elementwise, HalfComputesInSinglePrecision) {
  Tensor x = *Tensor::zeros(DType::kF16, {1});
  x.set_double(0, 5);
  EXPECT_NEAR(run_op("Mish", {x}).at_double(0), 5 * std::tanh(softplus(5)), 0.002);
}

TEST(Elementwise, CastsToAndFromStrings) {
  const Attr to_string = int64_t{8}, to_float = int64_t{1};
  const Tensor text = run_op("Cast", {floats({3}, {0.5f, 100, NAN})}, {{"to", to_string}});
  EXPECT_EQ(text.string_values(), (std::vector<std::string>{"0.5", "100.0", "nan"}));
  EXPECT_EQ(values(run_op("Cast", {*Tensor::strings({2}, {"1.5", "-INF"})}, {{"to", to_float}})),
            (std::vector<double>{1.5, -INFINITY}));
  EXPECT_FALSE(test::try_op("Cast", {*Tensor::strings({1}, {"x"})}, {{"to", to_float}}).ok());
}

TEST(SwiGLU, GatesItsInput) {
  Tensor y = run_op("SwiGLU", {floats({2}, {2, -1}), floats({2}, {3, 5})}, {{"alpha", 0.5}});
  EXPECT_NEAR(values(y)[0], 2 / (1 + std::exp(-1.0)) * 3, 1e-6);
  EXPECT_NEAR(values(y)[1], -1 / (1 + std::exp(0.5)) * 5, 1e-6);
  EXPECT_FALSE(test::try_op("SwiGLU", {floats({2}, {2, -1}), floats({1}, {3})}).ok());
}

}  // namespace
}  // namespace tenon::ir
