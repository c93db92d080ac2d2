#include "eval/compare.h"

#include <gmock/gmock.h>

#include <cmath>

#include "eval/match_rows.h"
#include "eval/verify.h"

namespace tenon::eval {
namespace {

using ::testing::HasSubstr;

HostValue f(std::initializer_list<float> v) { return Tensor::from<float>({static_cast<int64_t>(v.size())}, v); }

TEST(Compare, FollowsTheStatedRule) {
  const Tolerance t{.rtol = 1e-2, .atol = 0, .scaled_atol = 1e-3};  // scale 100: 0.1 absolute
  EXPECT_TRUE(compare(f({100, 0}), f({101, 0.09F}), t).ok);
  EXPECT_FALSE(compare(f({100, 0}), f({101.2F, 0}), t).ok);
  const Difference d = compare(f({100, 0}), f({100, 0.2F}), t);
  EXPECT_FALSE(d.ok);
  EXPECT_THAT(d.message, HasSubstr("first at [1]"));
  EXPECT_NEAR(d.max_abs, 0.2, 1e-6);
  EXPECT_TRUE(compare(f({1, 0}), f({1, 0.4F}), {.rtol = 0, .atol = 0.5, .scaled_atol = 0}).ok);
}

TEST(Compare, NanInfinityTypesAndShapes) {
  EXPECT_TRUE(compare(f({NAN, INFINITY, 1}), f({NAN, INFINITY, 1}), {}).ok);
  EXPECT_FALSE(compare(f({NAN}), f({1}), {}).ok);
  EXPECT_FALSE(compare(f({1}), f({NAN}), {}).ok);
  EXPECT_FALSE(compare(f({INFINITY}), f({-INFINITY}), {}).ok);
  EXPECT_FALSE(compare(f({1}), f({1, 1}), {}).ok);
  EXPECT_FALSE(compare(f({1}), Tensor::from<double>({1}, {1}), {}).ok);
  EXPECT_FALSE(compare(f({1}), HostValue(), {}).ok);
  EXPECT_FALSE(compare(Tensor::from<int64_t>({1}, {100000}), Tensor::from<int64_t>({1}, {100001}), {}).ok);
  EXPECT_TRUE(compare(Tensor::from<int64_t>({1}, {5}), Tensor::from<int64_t>({1}, {6}), {.atol = 1}).ok);
}

std::map<size_t, HostValue> table(std::initializer_list<float> scores, std::initializer_list<int64_t> labels) {
  return {{0, f(scores)}, {1, Tensor::from<int64_t>({static_cast<int64_t>(labels.size())}, labels)}};
}
std::vector<HostValue> list(const std::map<size_t, HostValue>& m) { return {m.at(0), m.at(1)}; }

TEST(MatchRows, AllowsAnyOrderButNoOtherRows) {
  const RowRule rule{"scores", 0.3};
  const std::vector<std::string> names = {"scores", "labels"};
  const auto check = [&](const std::map<size_t, HostValue>& actual) {
    std::vector<size_t> columns;
    return match_rows(rule, names, table({0.9F, 0.5F, 0.5F, 0.1F}, {1, 2, 3, 4}), list(actual), {}, columns).ok;
  };
  EXPECT_TRUE(check(table({0.9F, 0.5F, 0.5F, 0.1F}, {1, 3, 2, 9})));   // a tie swapped, noise below the threshold
  EXPECT_FALSE(check(table({0.9F, 0.5F, 0.5F, 0.1F}, {1, 3, 3, 4})));  // a row is there twice
  EXPECT_FALSE(check(table({0.9F, 0.5F, 0.5F, 0.4F}, {1, 2, 3, 4})));  // a row too many
  EXPECT_FALSE(check(table({0.9F, 0.5F, 0.5F, NAN}, {1, 2, 3, 4})));
  EXPECT_FALSE(check(table({0.8F, 0.5F, 0.5F, 0.1F}, {1, 2, 3, 4})));
}

TEST(MatchRows, SeesARankingByItself) {
  const std::vector<std::string> names = {"scores", "labels"};
  const auto rule = ranking_rule(names, table({0.9F, 0.5F, 0.5F}, {1, 2, 3}));
  ASSERT_TRUE(rule.has_value());
  EXPECT_EQ(rule->key, "scores");
  EXPECT_FALSE(ranking_rule(names, table({0.5F, 0.9F, 0.5F}, {1, 2, 3})).has_value());  // not sorted
  EXPECT_FALSE(ranking_rule(names, {{0, f({0.9F, 0.5F})}, {1, f({1, 2, 3})}}).has_value());  // another number of rows
  EXPECT_FALSE(ranking_rule({"scores"}, {{0, f({0.9F, 0.5F})}}).has_value());  // nothing that could be swapped
}

TEST(MatchRows, ReadsItsRule) {
  EXPECT_EQ(parse_row_rule("scores>=0.25")->threshold, 0.25);
  EXPECT_FALSE(parse_row_rule("scores")->threshold.has_value());
  EXPECT_FALSE(parse_row_rule(">=1").ok());
  EXPECT_FALSE(parse_row_rule("a>=b").ok());
}

TEST(Verify, Globs) {
  EXPECT_TRUE(glob_match("test_conv*", "test_conv2d"));
  EXPECT_TRUE(glob_match("*/a?c", "x/y/abc"));
  EXPECT_FALSE(glob_match("a", "ab"));
  EXPECT_TRUE(glob_match("**", ""));
}

}  // namespace
}  // namespace tenon::eval
