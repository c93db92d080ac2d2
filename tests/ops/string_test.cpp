#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "ir/ops/regex.h"
#include "tests/ops/op_runner.h"

namespace tenon::ir {
namespace {

using test::Attributes;
using test::floats;
using test::run_op;
using test::run_op_n;
using test::values;
using testing::DoubleNear;
using testing::ElementsAre;

bool matches(std::string_view pattern, std::string_view text) {
  Result<Regex> regex = Regex::compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status().to_string();
  return regex.ok() && *regex->full_match(text);
}

TEST(Regex, MatchesTheWholeText) {
  EXPECT_TRUE(matches("a+b*c?", "aab"));
  EXPECT_FALSE(matches("a+b*c?", "xaab"));
  EXPECT_TRUE(matches("(?:cat|dog)s?", "dogs"));
  EXPECT_TRUE(matches(R"(^[\w.+-]+@[\w-]+\.[a-z]{2,4}$)", "first.last@example.org"));
  EXPECT_FALSE(matches(R"([^0-9]{3})", "ab1"));
  EXPECT_TRUE(matches(R"(\bcat\b nap)", "cat nap"));
  EXPECT_TRUE(matches("x{0,2}", ""));
  EXPECT_FALSE(matches("x{0,2}", "xxx"));
  EXPECT_TRUE(matches("a.c", "a\xC3\xA9" "c"));
  EXPECT_TRUE(matches("(a*)*", std::string(1000, 'a')));
}

TEST(Regex, TakesNoExponentialTimeAndRefusesWhatItDoesNotKnow) {
  EXPECT_FALSE(matches("(a|a)*(a|a)*(a|a)*b", std::string(5000, 'a')));
  for (const char* bad : {"(", ")", "[a", "*a", "a\\", "[z-a]", "(?=a)", "\\1", "((a{1000}){1000}){1000}"}) EXPECT_FALSE(Regex::compile(bad).ok()) << bad;
  EXPECT_FALSE(Regex::compile(std::string(100000, '(')).ok());
}

TEST(Strings, ConcatSplitNormalize) {
  Tensor a = *Tensor::strings({2, 1}, {"x", "y"}), b = *Tensor::strings({2}, {"1", "2"});
  EXPECT_THAT(run_op("StringConcat", {a, b}).string_values(), ElementsAre("x1", "x2", "y1", "y2"));
  std::vector<Tensor> parts = run_op_n("StringSplit", {*Tensor::strings({2}, {"a,b,c", "d"})}, 2, {{"delimiter", std::string(",")}});
  EXPECT_THAT(parts[0].string_values(), ElementsAre("a", "b", "c", "d", "", ""));
  EXPECT_THAT(values(parts[1]), ElementsAre(3, 1));
  EXPECT_THAT(run_op("StringSplit", {*Tensor::strings({1}, {"  one  two three "})}, {{"maxsplit", int64_t{1}}}).string_values(), ElementsAre("one", "two three"));
  Attributes attrs = {{"case_change_action", std::string("UPPER")}, {"stopwords", std::vector<std::string>{"monday"}}};
  EXPECT_THAT(run_op("StringNormalizer", {*Tensor::strings({3}, {"Monday", "caf\xC3\xA9", "x"})}, attrs).string_values(), ElementsAre("CAF\xC3\x89", "X"));
}

TEST(Signal, TransformsACosineToOneLine) {
  constexpr int64_t n = 12;
  std::vector<float> x;
  for (int64_t i = 0; i < n; ++i) x.push_back(static_cast<float>(std::cos(2 * std::numbers::pi * 3 * static_cast<double>(i) / n)));
  Tensor y = run_op("DFT", {floats({1, n, 1}, x)}, {{"onesided", int64_t{1}}});
  ASSERT_EQ(y.shape(), (Shape{1, n / 2 + 1, 2}));
  for (int64_t k = 0; k <= n / 2; ++k) EXPECT_NEAR(y.at_double(2 * k), k == 3 ? n / 2.0 : 0, 1e-5);
}

TEST(Signal, InverseUndoesTheTransform) {
  Tensor x = floats({1, 5, 2}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  Tensor back = run_op("DFT", {run_op("DFT", {x})}, {{"inverse", int64_t{1}}});
  EXPECT_THAT(values(back), testing::Pointwise(DoubleNear(1e-5), values(x)));
}

TEST(Signal, LengthsAndAxesAreOneNumber) {
  const Tensor x = floats({1, 2, 1}, {1, 2}), signal = floats({1, 4}, {1, 2, 3, 4});
  const auto none = Tensor();
  for (const Tensor& wrong : {test::ints({}), test::ints({2, 2})}) {
    for (const auto& inputs : {std::vector{x, wrong}, std::vector{x, none, wrong}})
      EXPECT_THAT(test::try_op("DFT", inputs).status().what(), testing::HasSubstr("must be one number"));
    EXPECT_THAT(test::try_op("STFT", {signal, test::ints({1}), none, wrong}).status().what(), testing::HasSubstr("must be one number"));
  }
  Graph graph;
  Value* operands[] = {graph.add_input("x", TensorType(DType::kF32, {1, 2, 1})), graph.add_input("n", TensorType(DType::kI64, {2}))};
  EXPECT_EQ(infer_node(*graph.create(*find_op("DFT"), operands, 1)).code(), Code::kInvalidModel);
}

TEST(Signal, InversesOfSmallNumbersAreLarge) {
  EXPECT_EQ(values(run_op("com.microsoft.Inverse", {Tensor::from<double>({2, 2}, {1e-200, 0, 0, 1e-200})})), (std::vector<double>{1e200, 0, 0, 1e200}));
  const auto singular = test::try_op("com.microsoft.Inverse", {Tensor::from<double>({2, 2}, {1, 2, 2, 4})});
  EXPECT_THAT(singular.status().what(), testing::HasSubstr("singular"));
}

TEST(Signal, DeterminantChangesSignWithARowSwap) {
  EXPECT_THAT(values(run_op("Det", {floats({2, 2, 2}, {1, 2, 3, 4, 3, 4, 1, 2})})), testing::Pointwise(DoubleNear(1e-9), std::vector<double>{-2, 2}));
}

TEST(Random, TheSameSeedGivesTheSameNumbersInRange) {
  Attributes attrs = {{"shape", std::vector<int64_t>{1000}}, {"seed", 3.0}, {"low", 2.0}, {"high", 4.0}};
  Tensor a = run_op("RandomUniform", {}, attrs), b = run_op("RandomUniform", {}, attrs);
  EXPECT_EQ(values(a), values(b));
  double mean = 0;
  for (double v : values(a)) {
    EXPECT_GE(v, 2);
    EXPECT_LE(v, 4);
    mean += v / 1000;
  }
  EXPECT_NEAR(mean, 3, 0.1);
}

}  // namespace
}  // namespace tenon::ir
