#include <gtest/gtest.h>

#include "tests/counting_new.h"
#include "plan_maker.h"
#include "runtime/session.h"

namespace tenon::runtime {
namespace {

using testing_support::allocations;

int64_t allocations_of_one_output(const Shape& shape) {
  const int64_t before = allocations;
  {
    std::vector<HostValue> outputs(1);
    Tensor made = *Tensor::empty(DType::kF32, shape);
    outputs[0] = made;
  }
  return allocations - before;
}

TEST(Allocation, AWarmRunAllocatesOnlyItsOutputs) {
  if (!TENON_COUNTS_ALLOCATIONS) GTEST_SKIP() << "a sanitizer owns operator new";
  PlanMaker m;
  const DimId n = m.d("N"), two = m.d(2), size = m.op(DimProgram::Op::kMul, n, two);
  ValueIdx x = m.input("x", {n, two});
  for (int i = 0; i < 20; ++i) {
    const ValueIdx y = m.value("y", Storage::kArena, {n, two});
    m.dispatch("inc", add_one, {x, y}, {}, size);
    x = i % 5 == 0 ? m.alias("flat", y, {size}) : y;
  }
  m.output("y", x);
  auto session = *Session::create(*prepare(m.done()));
  const std::vector<HostValue> in = {*Tensor::zeros(DType::kF32, {300, 2})};
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(session->run(in).ok());
  const int64_t before = allocations;
  const bool ok = session->run(in).ok();
  const int64_t made = allocations - before;
  EXPECT_TRUE(ok);
  EXPECT_LE(made, allocations_of_one_output({300, 2}));
}

// The body adds one to what it carries; iterations of one shape must not allocate.
TEST(Allocation, AWarmLoopAllocatesNothingPerIteration) {
  if (!TENON_COUNTS_ALLOCATIONS) GTEST_SKIP() << "a sanitizer owns operator new";
  PlanMaker m;
  const DimId n = m.d("N");
  const ValueIdx trips = m.input("trips", {}, DType::kI64), x = m.input("x", {n});
  PlanMaker b(m.symbols());
  const DimId bn = b.d("N");
  b.input("i", {}, DType::kI64);
  const ValueIdx going = b.input("going", {}, DType::kBool), carried = b.input("carried", {bn});
  const ValueIdx mid = b.value("mid", Storage::kArena, {bn}), next = b.value("next", Storage::kArena, {bn});
  b.dispatch("inc", add_one, {carried, mid}, {}, bn);
  b.dispatch("inc", add_one, {mid, next}, {}, bn);
  b.output("going", going);
  b.output("next", next);
  const ValueIdx last = m.value("last", Storage::kHost, {n});
  Step& step = m.step(Step::Kind::kLoop, "loop", {trips, -1, x}, {last});
  step.plans = {b.done()};
  step.captures = {{}};
  m.output("last", last);
  auto session = *Session::create(*prepare(m.done()));
  const auto count = [&](int64_t n_trips) {
    const std::vector<HostValue> in = {Tensor::scalar<int64_t>(n_trips), *Tensor::zeros(DType::kF32, {64})};
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(session->run(in).ok());
    const int64_t before = allocations;
    auto out = session->run(in);
    const int64_t made = allocations - before;
    EXPECT_EQ(floats((*out)[0])[63], static_cast<float>(2 * n_trips));
    return made;
  };
  const int64_t few = count(10);
  EXPECT_EQ(count(1000), few);
}

}  // namespace
}  // namespace tenon::runtime
