#include "eval/round_off.h"

#include <gmock/gmock.h>

#include <cmath>

#include "ir/op.h"
#include "ir/parser.h"

namespace tenon::eval {
namespace {

using ::testing::DoubleNear;

HostValue f(std::initializer_list<float> v) { return Tensor::from<float>({static_cast<int64_t>(v.size())}, v); }

std::unique_ptr<ir::Graph> graph_of(std::string_view text) {
  auto graph = ir::parse_text(text);
  EXPECT_TRUE(graph.ok()) << graph.status().to_string();
  EXPECT_TRUE(ir::infer_graph(**graph).ok());
  return std::move(graph).value();
}

// (x + 2^20) - 2^20: one unit in the last place of the sum is 2^-3, so the result moves by as much.
constexpr std::string_view kCancels = R"(graph {
  input %x: f32[4]
  %c: ? = Constant {value = dense<f32[], 1048576.0>}
  %s: ? = Add(%x, %c)
  %y: ? = Sub(%s, %c)
  output %y
})";

constexpr std::string_view kExact = R"(graph {
  input %x: f32[4]
  %a: ? = Abs(%x)
  %n: ? = Neg(%a)
  %y: ? = Relu(%n)
  %z: ? = Max(%a, %x)
  %t: ? = Concat(%y, %z) {axis = 0}
  output %t
})";

TEST(RoundOff, DistanceIsRelativeInTheNorm) {
  EXPECT_THAT(relative_distance(f({3, 4.5F}), f({3, 4})), DoubleNear(0.1, 1e-9));
  EXPECT_EQ(relative_distance(f({3, 4}), f({3, 4})), 0);
  EXPECT_TRUE(std::isinf(relative_distance(f({3, NAN}), f({3, 4}))));
  EXPECT_TRUE(std::isinf(relative_distance(f({3, 4}), f({3, 4, 5}))));
  EXPECT_EQ(relative_distance(Tensor::from<int64_t>({4}, {1, 2, 3, 4}), Tensor::from<int64_t>({4}, {1, 2, 9, 4})),
            0.25);
}

TEST(RoundOff, NoiseFollowsTheCondition) {
  const std::vector<HostValue> x = {f({0.5F, 1.5F, -2.5F, 3})};
  const auto cancels = graph_of(kCancels);
  const Result<RoundOff> r = measure_round_off(*cancels, x, 8);
  ASSERT_TRUE(r.ok()) << r.status().to_string();
  // Four elements that move by 0 or 2^-3 each, against a norm of 4.2.
  EXPECT_GT(r->noise[0], 0.02);
  EXPECT_LT(r->noise[0], 0.061);
  const auto exact = graph_of(kExact);
  EXPECT_EQ(measure_round_off(*exact, x, 8)->noise[0], 0);
}

TEST(RoundOff, AcceptsWhatTheModelItselfCannotTellApart) {
  const std::vector<HostValue> x = {f({0.5F, 1.5F, -2.5F, 3})};
  const auto cancels = graph_of(kCancels);
  const std::vector<HostValue> actual = {f({0.5F, 1.5F, -2.5F, 3})};
  const auto check = [&](HostValue expected) {
    const auto sentence = within_round_off(*cancels, x, {{0, std::move(expected)}}, actual, 8);
    EXPECT_TRUE(sentence.ok());
    return sentence.ok() && sentence->has_value();
  };
  EXPECT_TRUE(check(f({0.5625F, 1.5F, -2.5F, 3})));
  EXPECT_FALSE(check(f({1.5F, 1.5F, -2.5F, 3})));  // eight units
  EXPECT_FALSE(check(f({0.5F, 1.5F, -2.5F, NAN})));
  EXPECT_FALSE(check(f({0.5F, 1.5F, -2.5F})));
}

// A ranking of scores that tie but for the rounding above: another order of the rows in every run.
constexpr std::string_view kRanks = R"(graph {
  input %x: f32[8]
  %c: ? = Constant {value = dense<f32[], 1048576.0>}
  %s: ? = Add(%x, %c)
  %d: ? = Sub(%s, %c)
  %k: ? = Constant {value = dense<i64[1], 8>}
  %scores: ?, %rows: ? = TopK(%d, %k)
  %table: ? = Constant {value = dense<i64[8], 3, 3, 5, 17, 17, 40, 41, 62>}
  %labels: ? = Gather(%table, %rows) {axis = 0}
  %other: ? = Cast(%labels) {to = 1}
  output %labels
  output %other
})";

TEST(RoundOff, OrderWithoutMeaningDoesNotExcuseValues) {
  const std::vector<HostValue> x = {f({1, 1, 1, 1, 1, 1, 1, 1})};
  const auto ranks = graph_of(kRanks);
  const auto labels = [](std::initializer_list<int64_t> v) { return Tensor::from<int64_t>({8}, v); };
  const std::vector<HostValue> actual = {labels({3, 3, 5, 17, 17, 40, 41, 62}), f({3, 3, 5, 17, 17, 40, 41, 62})};
  const Result<RoundOff> r = measure_round_off(*ranks, x, 8);
  ASSERT_TRUE(r.ok()) << r.status().to_string();
  ASSERT_GT(r->noise[0], 0.5);
  ASSERT_GT(r->noise[1], 0.5);
  EXPECT_EQ(r->unordered_noise[0], 0);
  EXPECT_LT(r->unordered_noise[1], 1e-6);
  const auto check = [&](size_t output, HostValue expected) {
    const auto sentence = within_round_off(*ranks, x, {{output, std::move(expected)}}, actual, 8);
    EXPECT_TRUE(sentence.ok());
    return sentence.ok() && sentence->has_value();
  };
  EXPECT_TRUE(check(0, labels({62, 5, 3, 41, 17, 17, 40, 3})));
  EXPECT_FALSE(check(0, labels({0, 0, 0, 0, 0, 0, 0, 0})));
  EXPECT_FALSE(check(0, labels({9, 71, 23, 55, 8, 30, 2, 44})));
  EXPECT_FALSE(check(0, labels({62, 5, 3, 41, 17, 17, 40, 5})));
  EXPECT_TRUE(check(1, f({62, 5, 3, 41, 17, 17, 40, 3})));
  EXPECT_FALSE(check(1, f({0, 0, 0, 0, 0, 0, 0, 0})));
  EXPECT_FALSE(check(1, f({62, 5, 3, 41, 17, 17, 40, 5})));
}

TEST(RoundOff, UnorderedDistanceIsTheLeastOfAllOrders) {
  EXPECT_EQ(unordered_distance(f({4, NAN, 3}), f({NAN, 3, 4})), 0);
  EXPECT_THAT(unordered_distance(f({4.5F, 3}), f({3, 4})), DoubleNear(0.1, 1e-9));
  EXPECT_TRUE(std::isinf(unordered_distance(f({3, NAN}), f({3, 4}))));
  EXPECT_TRUE(std::isinf(unordered_distance(f({3, 4}), f({3, 4, 5}))));
  EXPECT_THAT(unordered_distance(Tensor::from<int64_t>({2}, {5, 3}), Tensor::from<int64_t>({2}, {3, 4})),
              DoubleNear(0.5, 1e-9));
  EXPECT_EQ(unordered_distance(*Tensor::strings({3}, {"a", "b", "c"}), *Tensor::strings({3}, {"c", "a", "b"})), 0);
  EXPECT_THAT(unordered_distance(*Tensor::strings({4}, {"a", "b", "c", "c"}), *Tensor::strings({4}, {"c", "a", "a", "b"})),
              DoubleNear(0.25, 1e-9));
}

TEST(RoundOff, LeavesStableAndRandomModelsAlone) {
  const std::vector<HostValue> x = {f({0.5F, 1.5F, -2.5F, 3})};
  const auto stable = graph_of("graph {\n  input %x: f32[4]\n  %y: ? = Mul(%x, %x)\n  output %y\n}");
  const std::vector<HostValue> actual = {f({0.25F, 2.25F, 6.25F, 9})};
  EXPECT_FALSE(within_round_off(*stable, x, {{0, f({0.25F, 2.25F, 6.25F, 9.001F})}}, actual, 8)->has_value());
  const auto random = graph_of("graph {\n  input %x: f32[4]\n  %y: ? = RandomUniformLike(%x)\n  output %y\n}");
  EXPECT_EQ(measure_round_off(*random, x, 8).status().code(), Code::kUnsupported);
}

}  // namespace
}  // namespace tenon::eval
