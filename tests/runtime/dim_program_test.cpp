#include "runtime/dim_program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tenon::runtime {
namespace {

using Op = DimProgram::Op;

Result<int64_t> eval(Op op, int64_t a, int64_t b) {
  DimProgram program;
  program.insts = {{Op::kConst, a}, {Op::kConst, b}, {op, 0, 0, 1}};
  const std::vector<int64_t> values = {a, b, 0};
  return evaluate(program, 2, values, {});
}

TEST(DimProgram, DivisionRoundsToMinusInfinity) {
  EXPECT_EQ(*eval(Op::kFloorDiv, 7, 2), 3);
  EXPECT_EQ(*eval(Op::kFloorDiv, -7, 2), -4);
  EXPECT_EQ(*eval(Op::kFloorDiv, 7, -2), -4);
  EXPECT_EQ(*eval(Op::kFloorDiv, -8, 2), -4);
  EXPECT_EQ(*eval(Op::kMod, -7, 3), 2);
  EXPECT_EQ(*eval(Op::kMod, 7, -3), -2);
  EXPECT_EQ(*eval(Op::kMod, INT64_MIN, -1), 0);
  EXPECT_EQ(*eval(Op::kMin, -7, 3), -7);
  EXPECT_EQ(*eval(Op::kMax, -7, 3), 3);
}

TEST(DimProgram, OverflowAndDivisionByZeroAreErrors) {
  EXPECT_EQ(eval(Op::kMul, INT64_MAX, 2).status().code(), Code::kOutOfRange);
  EXPECT_EQ(eval(Op::kAdd, INT64_MAX, 1).status().code(), Code::kOutOfRange);
  EXPECT_EQ(eval(Op::kFloorDiv, 1, 0).status().code(), Code::kOutOfRange);
  EXPECT_EQ(eval(Op::kMod, 1, 0).status().code(), Code::kOutOfRange);
  EXPECT_EQ(eval(Op::kFloorDiv, INT64_MIN, -1).status().code(), Code::kOutOfRange);
}

TEST(DimProgram, NamesSymbolsWithoutValue) {
  DimProgram program;
  program.num_symbols = 1;
  program.symbol_names = {"batch"};
  program.insts = {{Op::kSymbol, 0}, {Op::kConst, 3}, {Op::kMul, 0, 0, 1}};
  const std::vector<std::optional<int64_t>> symbols = {std::nullopt};
  const auto result = evaluate(program, 0, std::vector<int64_t>(3), symbols);
  EXPECT_THAT(result.status().to_string(), ::testing::HasSubstr("batch"));
  EXPECT_EQ(expression(program, 2), "batch*3");
}

}  // namespace
}  // namespace tenon::runtime
