// Random ops: the same numbers for one seed, and distributions that are what they should be. With fixed seeds each
// check is deterministic; bounds are five standard errors, and Kolmogorov's distance at a significance of about 1e-5.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "tests/ops/op_runner.h"

namespace tenon::ir {
namespace {

using test::Attributes;
using test::floats;
using test::run_op;
using test::run_op_n;
using test::try_op;
using test::try_op_n;
using test::values;

constexpr int64_t kCount = 20'000;
constexpr DType kFloats[] = {DType::kF16, DType::kBF16, DType::kF32, DType::kF64};

int64_t code(DType d) { return info(d).onnx; }

Tensor filled(DType dtype, Shape shape, double value) {
  Tensor t = *Tensor::zeros(dtype, std::move(shape));
  for (int64_t i = 0; i < t.size(); ++i) t.set_double(i, value);
  return t;
}

double mean(const std::vector<double>& v) {
  double sum = 0;
  for (double x : v) sum += x;
  return sum / static_cast<double>(v.size());
}

double variance(const std::vector<double>& v) {
  const double m = mean(v);
  double sum = 0;
  for (double x : v) sum += (x - m) * (x - m);
  return sum / static_cast<double>(v.size() - 1);
}

/// sup |F_n - F|, with the empirical F_n of rounded numbers taken at either side of each.
double kolmogorov(std::vector<double> v, const std::function<double(double)>& cdf) {
  std::sort(v.begin(), v.end());
  double worst = 0;
  const auto n = static_cast<double>(v.size());
  for (size_t i = 0; i < v.size(); ++i) {
    const auto end = static_cast<double>(std::upper_bound(v.begin(), v.end(), v[i]) - v.begin());
    const auto begin = static_cast<double>(std::lower_bound(v.begin(), v.end(), v[i]) - v.begin());
    worst = std::max(worst, std::max(begin / n - cdf(v[i]), cdf(v[i]) - end / n));
  }
  return worst;
}

constexpr double kKolmogorovLimit = 2.5;  // of sqrt(n) D: P(exceeded) = 2 exp(-2 · 2.5²) ≈ 7e-6

double precision(DType d) { return d == DType::kBF16 ? 0x1p-8 : d == DType::kF16 ? 0x1p-11 : 0; }

TEST(Random, UniformNumbersAreUniform) {
  for (DType dtype : kFloats) {
    const Attributes attrs = {{"low", -3.0}, {"high", 5.0}, {"seed", 4.0}, {"dtype", code(dtype)}};
    Attributes shaped = attrs;
    shaped.emplace_back("shape", std::vector<int64_t>{100, kCount / 100});
    const Tensor t = run_op("RandomUniform", {}, shaped);
    EXPECT_EQ(t.dtype(), dtype);
    const std::vector<double> v = values(t);
    EXPECT_GE(*std::min_element(v.begin(), v.end()), -3);
    EXPECT_LE(*std::max_element(v.begin(), v.end()), 5);
    EXPECT_NEAR(mean(v), 1, 5 * std::sqrt(64.0 / 12 / kCount)) << name(dtype);
    EXPECT_NEAR(variance(v), 64.0 / 12, 5 * (64.0 / 12) * std::sqrt(0.8 / kCount)) << name(dtype);
    // Rounding moves a number by at most half a unit of the largest, 4 · precision in 8.
    EXPECT_LT(kolmogorov(v, [](double x) { return std::clamp((x + 3) / 8, 0.0, 1.0); }),
              kKolmogorovLimit / std::sqrt(static_cast<double>(kCount)) + precision(dtype) / 2);
    const Tensor like = run_op("RandomUniformLike", {filled(DType::kI32, {100, kCount / 100}, 0)}, attrs);
    EXPECT_EQ(values(like), v) << "the shape comes from elsewhere, the numbers do not";
  }
}

TEST(Random, NormalNumbersAreNormal) {
  for (DType dtype : kFloats) {
    const Attributes attrs = {{"mean", 2.0}, {"scale", 3.0}, {"seed", 11.0}, {"dtype", code(dtype)}};
    Attributes shaped = attrs;
    shaped.emplace_back("shape", std::vector<int64_t>{kCount});
    const std::vector<double> v = values(run_op("RandomNormal", {}, shaped));
    EXPECT_NEAR(mean(v), 2, 5 * 3 / std::sqrt(static_cast<double>(kCount))) << name(dtype);
    EXPECT_NEAR(variance(v), 9, 5 * 9 * std::sqrt(2.0 / kCount)) << name(dtype);
    // The density is at most 0.4 / 3; numbers below 16 are rounded by at most 8 · precision.
    EXPECT_LT(kolmogorov(v, [](double x) { return 0.5 * std::erfc((2 - x) / 3 / std::sqrt(2.0)); }),
              kKolmogorovLimit / std::sqrt(static_cast<double>(kCount)) + 0.4 / 3 * 8 * precision(dtype));
    EXPECT_EQ(values(run_op("RandomNormalLike", {filled(dtype, {kCount}, 0)}, attrs)), v);
  }
}

TEST(Random, NeighboursAreNotCorrelated) {
  const std::vector<double> v =
      values(run_op("RandomNormal", {}, {{"shape", std::vector<int64_t>{kCount}}, {"seed", 1.0}}));
  for (size_t lag : {1, 2, 3, 64}) {
    double sum = 0;
    for (size_t i = lag; i < v.size(); ++i) sum += v[i] * v[i - lag];
    EXPECT_LT(std::abs(sum) / static_cast<double>(kCount), 5 / std::sqrt(static_cast<double>(kCount))) << lag;
  }
}

TEST(Random, SeedsDecideAndUnseededRunsDiffer) {
  const auto draw = [](Attributes attrs) {
    attrs.emplace_back("shape", std::vector<int64_t>{16});
    return values(run_op("RandomUniform", {}, attrs));
  };
  EXPECT_EQ(draw({{"seed", 3.0}}), draw({{"seed", 3.0}}));
  EXPECT_NE(draw({{"seed", 3.0}}), draw({{"seed", 4.0}}));
  EXPECT_NE(draw({}), draw({}));
}

TEST(Random, BernoulliFollowsItsProbabilities) {
  for (DType dtype : kFloats)
    for (double p : {0.0, 0.125, 0.75, 1.0}) {
      const Tensor t = run_op("Bernoulli", {filled(dtype, {kCount}, p)}, {{"seed", 5.0}});
      EXPECT_EQ(t.dtype(), dtype);
      for (double x : values(t)) ASSERT_TRUE(x == 0 || x == 1);
      EXPECT_NEAR(mean(values(t)), p, 5 * std::sqrt(p * (1 - p) / kCount)) << name(dtype);
    }
  const Tensor bits = run_op("Bernoulli", {filled(DType::kF32, {8}, 1)}, {{"dtype", code(DType::kBool)}});
  EXPECT_EQ(bits.dtype(), DType::kBool);
  EXPECT_EQ(values(bits), std::vector<double>(8, 1));
}

TEST(Random, MultinomialFollowsItsLogProbabilities) {
  for (DType dtype : kFloats) {
    // Weights 1 : 2 : 0 : 5 in the first row, one sure class in the second.
    Tensor logits = *Tensor::zeros(dtype, {2, 4});
    const double infinity = HUGE_VAL,
                 rows[] = {0, std::log(2.0), -infinity, std::log(5.0), -infinity, -infinity, 50, -infinity};
    for (int64_t i = 0; i < 8; ++i) logits.set_double(i, rows[i]);
    const Tensor t =
        run_op("Multinomial", {logits}, {{"sample_size", kCount}, {"seed", 9.0}, {"dtype", code(DType::kI64)}});
    ASSERT_EQ(t.shape(), (Shape{2, kCount}));
    double counts[4] = {};
    for (int64_t i = 0; i < kCount; ++i) ++counts[t.at_int(i)];
    const double expected[] = {0.125, 0.25, 0, 0.625};
    // bf16 keeps log 5 to 2^-7: 0.8 % of the weight.
    for (int k = 0; k < 4; ++k)
      EXPECT_NEAR(counts[k] / kCount, expected[k],
                  5 * std::sqrt(expected[k] * (1 - expected[k]) / kCount) + 2 * precision(dtype) * expected[k]);
    for (int64_t i = 0; i < kCount; ++i) ASSERT_EQ(t.at_int(kCount + i), 2);
  }
}

TEST(Random, MultinomialNeedsAPossibleClass) {
  EXPECT_EQ(try_op("Multinomial", {filled(DType::kF32, {1, 3}, -HUGE_VAL)}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(try_op("Multinomial", {filled(DType::kF32, {1, 3}, NAN)}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(try_op("Multinomial", {filled(DType::kF32, {2, 0}, 0)}).status().code(), Code::kInvalidArgument);
  EXPECT_FALSE(try_op("Multinomial", {filled(DType::kF32, {3}, 0)}).ok());
  EXPECT_FALSE(try_op("Multinomial", {filled(DType::kF32, {1, 3}, 0)}, {{"sample_size", int64_t{-1}}}).ok());
  EXPECT_EQ(run_op("Multinomial", {filled(DType::kF32, {0, 3}, 0)}).shape(), (Shape{0, 1}));
}

TEST(Random, WrongAttributesAreNamed) {
  EXPECT_FALSE(try_op("RandomNormal", {}, {{"shape", std::vector<int64_t>{-1}}}).ok());
  EXPECT_FALSE(try_op("RandomNormal", {}, {{"shape", std::vector<int64_t>{2}}, {"dtype", code(DType::kI32)}}).ok());
  EXPECT_FALSE(try_op("RandomNormal", {}, {{"shape", std::vector<int64_t>{2}}, {"dtype", int64_t{99}}}).ok());
  EXPECT_EQ(
      try_op("RandomNormal", {}, {{"shape", std::vector<int64_t>{int64_t{1} << 20, int64_t{1} << 20}}}).status().code(),
      Code::kResourceExhausted);
  EXPECT_EQ(run_op("RandomNormal", {}, {{"shape", std::vector<int64_t>{3, 0}}}).size(), 0);
  EXPECT_EQ(run_op("RandomNormal", {}, {{"shape", std::vector<int64_t>{}}}).size(), 1);
}

// ---- Dropout

std::vector<Tensor> dropout(const Tensor& x, Tensor ratio, bool training, int64_t seed) {
  return run_op_n("Dropout", {x, std::move(ratio), Tensor::scalar<bool>(training)}, 2, {{"seed", seed}});
}

TEST(Dropout, KeepsTheRestScaled) {
  for (DType dtype : kFloats)
    for (double ratio : {0.25, 0.5, 0.75}) {  // 1 / (1 - ratio) · 3 is exact, or rounded once: 4 for 1/4
      const std::vector<Tensor> out = dropout(filled(dtype, {kCount}, 3), filled(DType::kF64, {}, ratio), true, 21);
      EXPECT_EQ(out[0].dtype(), dtype);
      EXPECT_EQ(out[1].dtype(), DType::kBool);
      const std::vector<double> y = values(out[0]), mask = values(out[1]);
      for (size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], mask[i] * 3 / (1 - ratio));
      EXPECT_NEAR(mean(mask), 1 - ratio, 5 * std::sqrt(ratio * (1 - ratio) / kCount));
    }
}

TEST(Dropout, WithoutRatioDropsHalf) {
  const std::vector<Tensor> out = dropout(filled(DType::kF32, {kCount}, 1), Tensor(), true, 2);
  EXPECT_NEAR(mean(values(out[1])), 0.5, 5 * std::sqrt(0.25 / kCount));
}

TEST(Dropout, RatioZeroAndInferenceKeepEverything) {
  const Tensor x = floats({2, 2}, {1, -2, NAN, INFINITY});
  for (bool training : {false, true}) {
    const std::vector<Tensor> out = dropout(x, filled(DType::kF16, {}, training ? 0 : 0.9), training, 1);
    EXPECT_EQ(out[0].at_double(0), 1);
    EXPECT_EQ(out[0].at_double(1), -2);
    EXPECT_TRUE(std::isnan(out[0].at_double(2)));
    EXPECT_EQ(out[0].at_double(3), INFINITY);
    EXPECT_EQ(values(out[1]), std::vector<double>(4, 1));
  }
}

TEST(Dropout, SeedsDecide) {
  const Tensor x = filled(DType::kF32, {64}, 1);
  EXPECT_EQ(values(dropout(x, Tensor(), true, 1)[0]), values(dropout(x, Tensor(), true, 1)[0]));
  EXPECT_NE(values(dropout(x, Tensor(), true, 1)[0]), values(dropout(x, Tensor(), true, 2)[0]));
}

TEST(Dropout, RefusesRatiosThatDropAll) {
  for (double ratio : {1.0, 1.5, -0.1, static_cast<double>(NAN)})
    EXPECT_EQ(try_op_n("Dropout",
                       {filled(DType::kF32, {2}, 1), filled(DType::kF32, {}, ratio), Tensor::scalar<bool>(true)}, 1)
                  .status()
                  .code(),
              Code::kInvalidArgument)
        << ratio;
  EXPECT_FALSE(try_op_n("Dropout", {filled(DType::kI32, {2}, 1)}, 1).ok());
  EXPECT_EQ(dropout(filled(DType::kF32, {0, 3}, 1), Tensor(), true, 1)[1].shape(), (Shape{0, 3}));
  EXPECT_EQ(dropout(filled(DType::kF32, {}, 1), filled(DType::kF32, {}, 0), true, 1)[0].rank(), 0);
}

}  // namespace
}  // namespace tenon::ir
