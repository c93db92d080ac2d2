#include "ir/range.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ir/op.h"
#include "ir/parser.h"

namespace tenon::ir {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(Range, FollowsConstantsArithmeticAndMovement) {
  auto graph = parse_text(R"(graph {
  input %b: bool[2, 3]
  input %x: f32[2, 3]
  input %i: i64[2, 3]
  input %u: u8[2, 3]
  %one: ? = Constant {value = dense<f32[], 1.0>}
  %zero: ? = Constant {value = dense<f32[], 0.0>}
  %lowest: ? = Constant {value = dense<f32[], -3.4028235e+38>}
  %infinity: ? = Constant {value = dense<f32[], -inf>}
  %list: ? = Constant {value = dense<f32[3], -2.0, 5.0, 1.0>}
  %axes: ? = Constant {value = dense<i64[1], 0>}
  %f: ? = Cast(%b) {to = 1}
  %hidden: ? = Sub(%one, %f)
  %mask: ? = Mul(%hidden, %lowest)
  %twice: ? = Add(%mask, %mask)
  %wide: ? = Unsqueeze(%mask, %axes)
  %chosen: ? = Where(%b, %list, %x)
  %known: ? = Where(%b, %list, %zero)
  %hard: ? = Where(%b, %zero, %infinity)
  %negative: ? = Neg(%known)
  %size: ? = Abs(%negative)
  %clipped: ? = Max(%x, %list)
  %number: ? = Cast(%i) {to = 1}
  %far: ? = Mul(%number, %lowest)
  %sum: ? = Add(%u, %u)
  %truth: ? = Cast(%known) {to = 9}
  %half: ? = Cast(%mask) {to = 10}
  %gate: ? = Sigmoid(%x)
  %root: ? = Sqrt(%known)
  output %mask
})");
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  ASSERT_TRUE(infer_graph(**graph).ok());
  const double lowest = -std::numeric_limits<float>::max();
  const struct {
    std::string name;
    double lo, hi;
  } expected[] = {
      {"b", 0, 1},
      {"x", -kInfinity, kInfinity},
      {"u", 0, 256},
      {"list", -2, 5},
      {"hidden", 0, 1},
      {"mask", lowest, 0},
      {"wide", lowest, 0},
      {"twice", -kInfinity, 0},  // beyond f32
      {"chosen", -kInfinity, kInfinity},
      {"known", -2, 5},
      {"hard", -kInfinity, 0},
      {"negative", -5, 2},
      {"size", 0, 5},
      {"clipped", -2, kInfinity},
      {"far", -kInfinity, kInfinity},
      {"sum", 0, 256},  // wraps around
      {"truth", 0, 1},
      {"half", -kInfinity, 0},  // beyond f16
      {"gate", 0, 1},
      {"root", -kInfinity, kInfinity},
  };
  for (const auto& row : expected) {
    const Value* found = nullptr;
    for (const Value* input : (*graph)->inputs())
      if (input->name() == row.name) found = input;
    for (const Node* n = (*graph)->first(); n; n = n->next())
      if (n->output()->name() == row.name) found = n->output();
    ASSERT_NE(found, nullptr) << row.name;
    Range range = range_of(found);
    EXPECT_EQ(range.lo, row.lo) << row.name;
    EXPECT_EQ(range.hi, row.hi) << row.name;
  }
}

TEST(Range, EndsOnGraphsThatShareMuch) {
  Graph graph;
  Builder b(graph);
  Value* y = b.scalar(DType::kF32, 1);
  for (int i = 0; i < 2000; ++i) y = b.make("Sub", {y, y});
  EXPECT_EQ(range_of(y).hi, kInfinity);
}

}  // namespace
}  // namespace tenon::ir
