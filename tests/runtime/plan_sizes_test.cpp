#include "runtime/plan_sizes.h"

#include <gtest/gtest.h>

#include "plan_maker.h"
#include "runtime/session.h"

namespace tenon::runtime {
namespace {

TEST(PlanSizes, AreThoseOfARun) {
  PlanMaker m;
  const DimId n = m.d("N"), size = m.op(DimProgram::Op::kMul, n, m.d(3));
  const ValueIdx x = m.input("x", {n, m.d(3)}), a = m.value("a", Storage::kArena, {size}), b = m.value("b", Storage::kArena, {size});
  const ValueIdx y = m.value("y", Storage::kArena, {size});
  m.dispatch("one", add_one, {x, a}, {}, size, size);
  m.dispatch("two", add_one, {a, b}, {}, size);
  m.dispatch("three", add_one, {b, y}, {}, size);
  m.output("y", y);
  const auto plan = *prepare(m.done());
  constexpr int64_t kRows = 100;
  const std::optional<int64_t> symbols[] = {kRows};
  const PlanSizes sizes = plan_sizes(*plan->plan, symbols);
  EXPECT_EQ(sizes.dims[static_cast<size_t>(size)], 3 * kRows);
  EXPECT_EQ(sizes.bytes[static_cast<size_t>(a)], 12u * kRows);
  const auto cost = dispatch_cost(*plan->plan, plan->plan->steps[0], sizes);
  ASSERT_TRUE(cost);
  EXPECT_EQ(cost->grid, 3 * kRows);
  EXPECT_EQ(cost->work, 3 * kRows);
  EXPECT_EQ(cost->read, 12u * kRows);
  EXPECT_EQ(cost->written, 12u * kRows);
  EXPECT_EQ(dispatch_cost(*plan->plan, plan->plan->steps[1], sizes)->work, -1);

  const auto session = *Session::create(plan);
  const std::vector<HostValue> in = {*Tensor::zeros(DType::kF32, {kRows, 3})};
  ASSERT_TRUE(session->run(in).ok());
  const ArenaLayout arena = *arena_layout(*plan, sizes);
  EXPECT_EQ(arena.bytes, session->arena_bytes());
  EXPECT_EQ(arena.bound, arena.bytes);
}

TEST(PlanSizes, WhatDependsOnAMissingSymbolIsUnknown) {
  PlanMaker m;
  const DimId n = m.d("N"), k = m.d("K"), two = m.d(2);
  const ValueIdx x = m.input("x", {n}), y = m.input("y", {k, two}), z = m.value("z", Storage::kArena, {k});
  m.dispatch("one", add_one, {x, z}, {}, k);
  m.output("z", z);
  const auto plan = m.done();
  const std::optional<int64_t> symbols[] = {7, std::nullopt};
  const PlanSizes sizes = plan_sizes(*plan, symbols);
  EXPECT_EQ(sizes.bytes[static_cast<size_t>(x)], 28u);
  EXPECT_EQ(sizes.bytes[static_cast<size_t>(y)], std::nullopt);
  EXPECT_FALSE(dispatch_cost(*plan, plan->steps[0], sizes));
  const std::optional<int64_t> impossible[] = {INT64_MAX, INT64_MAX};
  EXPECT_EQ(plan_sizes(*plan, impossible).bytes[static_cast<size_t>(y)], std::nullopt);
}

}  // namespace
}  // namespace tenon::runtime
