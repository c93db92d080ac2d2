#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan_maker.h"
#include "runtime/session.h"

namespace tenon::runtime {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Result<std::vector<HostValue>> run(PlanMaker& maker, std::vector<HostValue> inputs, SessionOptions options = {}) {
  auto prepared = prepare(maker.done());
  if (!prepared.ok()) return prepared.status();
  return (*Session::create(*prepared, options))->run(inputs);
}

int32_t not_equal_three(void* const* b, const int64_t*, int64_t, int64_t) {
  *static_cast<bool*>(b[1]) = *static_cast<const int64_t*>(b[0]) != 3;
  return 0;
}

// carried = carried + captured; scan output = the new carried; goes on while iteration != 3.
std::shared_ptr<const Plan> loop_body(const std::shared_ptr<std::vector<std::string>>& symbols) {
  PlanMaker m(symbols);
  const DimId n = m.d("N"), one = m.d(1);
  const ValueIdx i = m.input("i", {}, DType::kI64);
  m.input("going", {}, DType::kBool);
  const ValueIdx carried = m.input("carried", {n}), captured = m.input("captured", {n});
  const ValueIdx next = m.value("next", Storage::kArena, {n}), go = m.value("go", Storage::kArena, {}, DType::kBool);
  m.dispatch("go", not_equal_three, {i, go}, {}, one);
  m.dispatch("add", add_two_tensors, {carried, captured, next}, {}, n);
  m.output("go", go);
  m.output("next", next);
  m.output("row", next);
  return m.done();
}

void make_loop(PlanMaker& m) {
  const DimId n = m.d("N"), t = m.d("T");
  const ValueIdx trips = m.input("trips", {}, DType::kI64), x = m.input("x", {n});
  const ValueIdx last = m.value("last", Storage::kHost, {n}), rows = m.value("rows", Storage::kHost, {t, n});
  Step& step = m.step(Step::Kind::kLoop, "loop", {trips, -1, x}, {last, rows});
  step.plans = {loop_body(m.symbols())};
  step.captures = {{x}};
  m.output("last", last);
  m.output("rows", rows);
}

TEST(Loop, CarriesStacksAndStops) {
  PlanMaker m;
  make_loop(m);
  const HostValue x = Tensor::from<float>({2}, {1, 10});
  auto out = run(m, {Tensor::scalar<int64_t>(3), x});
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  EXPECT_THAT(floats((*out)[0]), ElementsAre(4, 40));
  EXPECT_EQ(std::get<Tensor>((*out)[1]).shape(), Shape({3, 2}));
  EXPECT_THAT(floats((*out)[1]), ElementsAre(2, 20, 3, 30, 4, 40));
  out = run(m, {Tensor::scalar<int64_t>(100), x});
  EXPECT_EQ(std::get<Tensor>((*out)[1]).shape(), Shape({4, 2})) << "the condition ends it after iteration 3";
  out = run(m, {Tensor::scalar<int64_t>(0), x});
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  EXPECT_THAT(floats((*out)[0]), ElementsAre(1, 10));
  EXPECT_EQ(std::get<Tensor>((*out)[1]).shape(), Shape({0, 2}));
}

TEST(Loop, HasALimit) {
  PlanMaker m;
  make_loop(m);
  SessionOptions options;
  options.max_loop_trips = 2;
  const auto status = run(m, {Tensor::scalar<int64_t>(3), Tensor::from<float>({1}, {1})}, options).status();
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_THAT(status.to_string(), HasSubstr("loop"));
}

// The carried value grows by one element each time: dims differ from iteration to iteration.
TEST(Loop, CarriedShapesMayChange) {
  PlanMaker m;
  const ValueIdx trips = m.input("trips", {}, DType::kI64), x = m.input("x", {m.d("N")});
  PlanMaker b(m.symbols());
  b.input("i", {}, DType::kI64);
  const ValueIdx going = b.input("going", {}, DType::kBool);
  const DimId k = b.d("K"), more = b.op(DimProgram::Op::kAdd, k, b.d(1));
  const ValueIdx carried = b.input("carried", {k});
  const ValueIdx next = b.value("next", Storage::kArena, {more});
  b.dispatch("grow",
             [](void* const* p, const int64_t* d, int64_t begin, int64_t end) {
               for (int64_t i = begin; i < end; ++i)
                 static_cast<float*>(p[1])[i] = i < d[0] ? static_cast<const float*>(p[0])[i] : static_cast<float>(i);
               return int32_t{0};
             },
             {carried, next}, {k}, more);
  b.output("going", going);
  b.output("next", next);
  const ValueIdx last = m.value("last", Storage::kHost, {m.d("L")});
  Step& step = m.step(Step::Kind::kLoop, "loop", {trips, -1, x}, {last});
  step.plans = {b.done()};
  step.captures = {{}};
  m.output("last", last);
  auto out = run(m, {Tensor::scalar<int64_t>(4), Tensor::from<float>({1}, {7})});
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  EXPECT_THAT(floats((*out)[0]), ElementsAre(7, 1, 2, 3, 4));
}

TEST(If, TakesABranchAndCopiesWhatItPassesThrough) {
  PlanMaker m;
  const DimId n = m.d("N");
  const ValueIdx condition = m.input("condition", {}, DType::kBool), x = m.input("x", {n});
  const ValueIdx y = m.value("y", Storage::kArena, {n});
  m.dispatch("inc", add_one, {x, y}, {}, n);
  PlanMaker then_branch(m.symbols()), else_branch(m.symbols());
  then_branch.output("same", then_branch.input("y", {then_branch.d("N")}));
  const DimId en = else_branch.d("N");
  const ValueIdx in = else_branch.input("y", {en}), inc = else_branch.value("inc", Storage::kArena, {en});
  else_branch.dispatch("inc", add_one, {in, inc}, {}, en);
  else_branch.output("inc", inc);
  const ValueIdx chosen = m.value("chosen", Storage::kHost, {n});
  Step& step = m.step(Step::Kind::kIf, "if", {condition}, {chosen});
  step.plans = {then_branch.done(), else_branch.done()};
  step.captures = {{y}, {y}};
  // The memory of y is free after the If: these would overwrite it.
  ValueIdx last = chosen;
  for (int i = 0; i < 3; ++i) {
    const ValueIdx next = m.value("z", Storage::kArena, {n});
    m.dispatch("inc", add_one, {last, next}, {}, n);
    last = next;
  }
  m.output("chosen", chosen);
  m.output("last", last);
  const HostValue in_x = Tensor::from<float>({2}, {1, 2});
  auto out = run(m, {Tensor::scalar<bool>(true), in_x});
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  EXPECT_THAT(floats((*out)[0]), ElementsAre(2, 3));
  EXPECT_THAT(floats((*out)[1]), ElementsAre(5, 6));
  out = run(m, {Tensor::scalar<bool>(false), in_x});
  EXPECT_THAT(floats((*out)[0]), ElementsAre(3, 4));
}

// state' = state + slice; the scan output is state'. Axes and directions as ONNX Scan has them.
void make_scan(PlanMaker& m, int64_t in_axis, int64_t in_direction, int64_t out_axis, int64_t out_direction) {
  const DimId n = m.d("N"), t = m.d("T");
  const ValueIdx init = m.input("init", {n});
  const ValueIdx x = m.input("x", in_axis == 0 ? std::vector{t, n} : std::vector{n, t});
  PlanMaker b(m.symbols());
  const DimId bn = b.d("N");
  const ValueIdx s = b.input("s", {bn}), slice = b.input("slice", {bn}), next = b.value("next", Storage::kArena, {bn});
  b.dispatch("add", add_two_tensors, {s, slice, next}, {}, bn);
  b.output("next", next);
  b.output("row", next);
  const ValueIdx last = m.value("last", Storage::kHost, {n});
  const ValueIdx rows = m.value("rows", Storage::kHost, out_axis == 0 ? std::vector{t, n} : std::vector{n, t});
  Step& step = m.step(Step::Kind::kScan, "scan", {init, x}, {last, rows});
  step.plans = {b.done()};
  step.captures = {{}};
  step.num_scan_inputs = 1;
  step.scan_input_axes = {in_axis};
  step.scan_output_axes = {out_axis};
  step.scan_input_directions = {in_direction};
  step.scan_output_directions = {out_direction};
  m.output("last", last);
  m.output("rows", rows);
}

TEST(Scan, WalksAxesInBothDirections) {
  const HostValue init = Tensor::from<float>({2}, {0, 100});
  const HostValue rows = Tensor::from<float>({3, 2}, {1, 10, 2, 20, 3, 30});
  const HostValue columns = Tensor::from<float>({2, 3}, {1, 2, 3, 10, 20, 30});
  {
    PlanMaker m;
    make_scan(m, 0, 0, 0, 0);
    auto out = run(m, {init, rows});
    ASSERT_TRUE(out.ok()) << out.status().to_string();
    EXPECT_THAT(floats((*out)[0]), ElementsAre(6, 160));
    EXPECT_THAT(floats((*out)[1]), ElementsAre(1, 110, 3, 130, 6, 160));
  }
  {
    PlanMaker m;
    make_scan(m, 1, 1, -1, 0);
    auto out = run(m, {init, columns});
    ASSERT_TRUE(out.ok()) << out.status().to_string();
    EXPECT_THAT(floats((*out)[1]), ElementsAre(3, 5, 6, 130, 150, 160));
  }
  {
    PlanMaker m;
    make_scan(m, 0, 1, 0, 1);
    auto out = run(m, {init, rows});
    EXPECT_THAT(floats((*out)[1]), ElementsAre(6, 160, 5, 150, 3, 130));
  }
  {
    PlanMaker m;
    make_scan(m, 0, 0, 1, 0);
    auto out = run(m, {init, *Tensor::zeros(DType::kF32, {0, 2})});
    ASSERT_TRUE(out.ok()) << out.status().to_string();
    EXPECT_THAT(floats((*out)[0]), ElementsAre(0, 100));
    EXPECT_EQ(std::get<Tensor>((*out)[1]).shape(), Shape({2, 0}));
  }
}

}  // namespace
}  // namespace tenon::runtime
