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
