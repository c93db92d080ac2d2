#include "ir/dim.h"

#include <gtest/gtest.h>

#include <random>

namespace tenon::ir {
namespace {

int64_t floor_quotient(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

TEST(Dim, LikeTermsMerge) {
  DimContext c;
  Dim n = c.symbol("N"), m = c.symbol("M");
  EXPECT_EQ(n + m - n, m);
  EXPECT_EQ((n + 1) * (n - 1), n * n - 1);
  EXPECT_EQ(n - n, Dim(0));
  EXPECT_EQ(to_string(n * 2 + m * n - 3), "M*N + N*2 - 3");
  EXPECT_EQ(to_string(Dim(8) - n), "-N + 8");
}

TEST(Dim, DivisionsSimplify) {
  DimContext c;
  Dim n = c.symbol("N"), m = c.symbol("M");
  EXPECT_EQ(floor_div(n * 6 + 4, 2), n * 3 + 2);
  EXPECT_EQ(to_string(floor_div(n * 3 + 5, 2)), "N + floor_div(N + 1, 2) + 2");
  EXPECT_EQ(floor_div(floor_div(n, 2), 3), floor_div(n, 6));
  EXPECT_EQ(floor_div(n * m, m), n);
  EXPECT_EQ(floor_div(n * 4 + 2, 8), floor_div(n * 2 + 1, 4));
  EXPECT_EQ(ceil_div(n, 2), floor_div(n + 1, 2));
  EXPECT_EQ(mod(n * 4 + 6, 4), Dim(2));
  EXPECT_EQ(mod(n, 1), Dim(0));
  EXPECT_FALSE(floor_div(n, 0).is_valid());
}

TEST(Dim, ExactDivisionOfPolynomials) {
  DimContext c;
  Dim n = c.symbol("N"), m = c.symbol("M");
  EXPECT_EQ(exact_div((n + 1) * (m * 2 + n), n + 1), m * 2 + n);
  EXPECT_EQ(exact_div(n * 768, Dim(64)), n * 12);
  EXPECT_EQ(exact_div(n * n * 8, n * 2), n * 4);
  EXPECT_FALSE(exact_div(n, m).has_value());
  EXPECT_FALSE(exact_div(n * 3 + 1, Dim(3)).has_value());
}

TEST(Dim, BoundsProveFacts) {
  DimContext c;
  Dim n = c.symbol("N"), m = c.symbol("M");
  EXPECT_TRUE(known_le(n, n + 3));
  EXPECT_TRUE(known_ne(n + 1, 0));
  EXPECT_FALSE(known_ne(n, 0));
  EXPECT_FALSE(known_le(n, m));
  EXPECT_EQ(min(n, n + 1), n);
  EXPECT_EQ(max(n, 0), n);
  c.set_bounds(n, {1, 16});
  EXPECT_EQ(floor_div(n, 17), Dim(0));
  EXPECT_EQ(bounds(n * 2 - 1).hi, 31);
}

TEST(Dim, CasesProveWhatBoundsDoNot) {
  DimContext c;
  Dim past = c.symbol("P"), fresh = c.symbol("S");
  for (Dim d : {past, fresh}) c.set_bounds(d, {0, INT64_MAX});
  const Dim rows = max(min(past + fresh, 64) - min(past, 64), 0);  // of a mask of 64 × 64 that is cut to what is new
  EXPECT_TRUE(known_le(rows, fresh));
  EXPECT_FALSE(known_le(fresh, rows));
  EXPECT_TRUE(known_le(min(past, fresh), past));
  EXPECT_TRUE(known_le(past, max(fresh, past) + 1));
  EXPECT_FALSE(known_le(max(fresh, past), past));
}

TEST(Dim, OverflowIsInvalid) {
  DimContext c;
  EXPECT_FALSE((Dim(INT64_MAX) + 1).is_valid());
  EXPECT_FALSE((c.symbol("N") * INT64_MAX * 2).is_valid());
  EXPECT_FALSE(floor_div(Dim(INT64_MIN), -1).is_valid());
  Dim deep = c.symbol("N");
  for (int i = 0; i < 10000 && deep.is_valid(); ++i) deep = mod(deep * deep + 1, c.symbol("M") + i);
  EXPECT_FALSE(deep.is_valid());
}

TEST(Dim, ParserRefusesHostileText) {
  DimContext c;
  for (const char* text : {"", "N +", "((N)", "N M", "99999999999999999999", "N / 0", "foo(N, 1)", "min(N)", "\"N", "\"\\x4"})
    EXPECT_FALSE(parse_dim(text, c).ok()) << text;
  EXPECT_FALSE(parse_dim(std::string(100000, '('), c).ok());
  EXPECT_EQ(*parse_dim(std::string(100000, '-') + "N", c), c.symbol("N"));
  EXPECT_EQ(*parse_dim("-9223372036854775808", c), Dim(INT64_MIN));
  EXPECT_EQ(*parse_dim("(N+1)/2", c), floor_div(c.symbol("N") + 1, 2));
  EXPECT_EQ(to_string(*parse_dim("\"batch size\"*2", c)), "\"batch size\"*2");
}

/// A random expression beside its value at a random point, computed without Dim.
struct Random {
  std::mt19937 rng;
  DimContext& context;
  std::vector<std::optional<int64_t>> point;

  int64_t draw(int64_t lo, int64_t hi) { return std::uniform_int_distribution<int64_t>(lo, hi)(rng); }

  std::pair<Dim, std::optional<int64_t>> expression(int depth) {
    if (depth == 0 || draw(0, 5) == 0) {
      if (draw(0, 1)) {
        int64_t value = draw(-7, 9);
        return {Dim(value), value};
      }
      Dim symbol = context.symbol(std::string(1, static_cast<char>('A' + draw(0, 2))));
      return {symbol, point[static_cast<size_t>(symbol.symbol_id())]};
    }
    auto [a, x] = expression(depth - 1);
    auto [b, y] = expression(depth - 1);
    bool known = x && y;
    switch (draw(0, 6)) {
      case 0: return {a + b, known ? std::optional(*x + *y) : std::nullopt};
      case 1: return {a - b, known ? std::optional(*x - *y) : std::nullopt};
      case 2: return {a * b, known ? std::optional(*x * *y) : std::nullopt};
      case 3: return {floor_div(a, b), known && *y ? std::optional(floor_quotient(*x, *y)) : std::nullopt};
      case 4: return {mod(a, b), known && *y ? std::optional(*x - *y * floor_quotient(*x, *y)) : std::nullopt};
      case 5: return {min(a, b), known ? std::optional(std::min(*x, *y)) : std::nullopt};
      default: return {max(a, b), known ? std::optional(std::max(*x, *y)) : std::nullopt};
    }
  }
};

TEST(Dim, SimplificationKeepsTheValue) {
  int compared = 0;
  for (unsigned seed = 0; seed < 20000; ++seed) {
    DimContext context;
    for (const char* name : {"A", "B", "C"}) context.symbol(name);
    Random random{std::mt19937(seed), context, {}};
    for (int i = 0; i < 3; ++i) random.point.emplace_back(random.draw(0, 20));
    auto [dim, value] = random.expression(4);
    if (!value || !dim.is_valid()) continue;
    Result<int64_t> got = evaluate(dim, random.point);
    ASSERT_TRUE(got.ok()) << to_string(dim) << ": " << got.status().to_string();
    ASSERT_EQ(*got, *value) << "seed " << seed << ": " << to_string(dim);
    DimBounds range = bounds(dim);
    ASSERT_LE(range.lo, *value) << to_string(dim);
    ASSERT_GE(range.hi, *value) << to_string(dim);
    ++compared;
  }
  EXPECT_GT(compared, 10000);
}

TEST(Dim, TextRoundTrips) {
  for (unsigned seed = 0; seed < 5000; ++seed) {
    DimContext context, other;
    for (const char* name : {"A", "B", "C"}) context.symbol(name);
    for (const char* name : {"C", "B", "A"}) other.symbol(name);
    Random random{std::mt19937(seed), context, {1, 2, 3}};
    Dim dim = random.expression(4).first;
    if (!dim.is_valid()) continue;
    std::string text = to_string(dim);
    ASSERT_EQ(*parse_dim(text, context), dim) << "seed " << seed << ": " << text;
    Result<Dim> elsewhere = parse_dim(text, other);
    ASSERT_TRUE(elsewhere.ok()) << text << ": " << elsewhere.status().to_string();
    ASSERT_EQ(to_string(*elsewhere), text) << "seed " << seed;
  }
}

}  // namespace
}  // namespace tenon::ir
