#include "runtime/observer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "plan_maker.h"
#include "runtime/session.h"

namespace tenon::runtime {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Writes down what it sees.
struct Recorder : Observer {
  struct Seen {
    std::string node;
    int depth;
    int threads;
    int64_t work;
    size_t read, written;
    std::chrono::steady_clock::time_point start, end;
  };
  std::vector<Seen> steps;
  std::map<std::string, std::vector<float>> values;
  std::map<std::string, Shape> shapes;
  std::vector<std::string> order;  // steps and values as they came
  std::vector<ArenaRange> arena;
  int arenas = 0;
  std::set<std::string> refused, failing;
  std::vector<std::optional<int64_t>> symbols;

  void on_step(const StepEvent& e) override {
    steps.push_back({e.plan.steps[static_cast<size_t>(e.step)].node, e.depth, e.threads, e.work, e.read_bytes, e.written_bytes, e.start, e.end});
    order.push_back(steps.back().node);
    symbols.assign(e.symbols.begin(), e.symbols.end());
  }
  void on_arena(const Plan&, std::span<const ArenaRange> ranges) override {
    arena.assign(ranges.begin(), ranges.end());
    ++arenas;
  }
  bool wants(const Plan& plan, ValueIdx v) const override { return !refused.contains(plan.values[static_cast<size_t>(v)].name); }
  Status on_value(const Plan& plan, ValueIdx v, const HostValue& value) override {
    const std::string& name = plan.values[static_cast<size_t>(v)].name;
    order.push_back("=" + name);
    if (failing.contains(name)) return Status(Code::kMismatch, "seen enough");
    const auto& tensor = std::get<Tensor>(value);
    shapes[name] = tensor.shape();
    if (tensor.dtype() == DType::kF32) values[name] = floats(value);
    return {};
  }
};

std::unique_ptr<Session> session_of(PlanMaker& maker, Observer& observer, int threads = 1) {
  auto prepared = prepare(maker.done());
  EXPECT_TRUE(prepared.ok()) << prepared.status().to_string();
  if (!prepared.ok()) return nullptr;
  SessionOptions options;
  options.observer = &observer;
  options.num_threads = threads;
  return std::move(Session::create(*prepared, options)).value();
}

int32_t fill_half(void* const* b, const int64_t* dims, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) static_cast<float*>(b[0])[i + dims[0]] = static_cast<float>(dims[0] + 1);
  return 0;
}

// x -> t, in two dispatches of one node -> v, a view of t as [2, 2] -> y = t + 1; `spare` is a view of t that nobody uses.
struct TwoHalves : PlanMaker {
  TwoHalves() {
    const DimId zero = d(0), two = d(2), four = d(4), work = d(123);
    const ValueIdx x = input("x", {four});
    const ValueIdx t = value("t", Storage::kArena, {four}), u = value("u", Storage::kArena, {four});
    const ValueIdx view = alias("v", t, {two, two});
    alias("spare", view, {two, two, d(1)});
    alias("x2", x, {two, two});
    const ValueIdx y = value("y", Storage::kArena, {four});
    dispatch("half", fill_half, {t}, {zero}, two, work);
    dispatch("half", fill_half, {t}, {two}, two);
    dispatch("twice", add_two_tensors, {view, t, u}, {}, four);
    dispatch("last", add_two_tensors, {u, x, y}, {}, four);
    output("y", y);
  }
};

TEST(Observer, SeesEveryStepWithItsBytesAndWork) {
  TwoHalves m;
  Recorder seen;
  const HostValue x = Tensor::from<float>({4}, {1, 2, 3, 4});
  ASSERT_TRUE(session_of(m, seen)->run({&x, 1}).ok());
  ASSERT_EQ(seen.steps.size(), 4u);
  const auto& s = seen.steps;
  EXPECT_EQ(s[0].node, "half");
  EXPECT_EQ(s[0].work, 123);
  EXPECT_EQ(s[1].work, -1);
  EXPECT_EQ(s[0].read, 0u);
  EXPECT_EQ(s[0].written, 16u);
  EXPECT_EQ(s[2].read, 16u) << "a tensor and its view are read once";
  EXPECT_EQ(s[3].read, 32u);
  EXPECT_EQ(s[3].written, 16u);
  for (size_t i = 0; i < s.size(); ++i) {
    EXPECT_EQ(s[i].threads, 1);
    EXPECT_EQ(s[i].depth, 0);
    EXPECT_LE(s[i].start, s[i].end);
    EXPECT_TRUE(i == 0 || s[i - 1].end <= s[i].start);
  }
}

TEST(Observer, GetsValuesAfterTheStepThatWritesThemLast) {
  TwoHalves m;
  Recorder seen;
  const HostValue x = Tensor::from<float>({4}, {1, 2, 3, 4});
  ASSERT_TRUE(session_of(m, seen)->run({&x, 1}).ok());
  EXPECT_THAT(seen.order, ElementsAre("half", "half", "=t", "=v", "=spare", "twice", "=u", "last", "=y"));
  EXPECT_THAT(seen.values["t"], ElementsAre(1, 1, 3, 3));
  EXPECT_THAT(seen.values["v"], ElementsAre(1, 1, 3, 3));
  EXPECT_EQ(seen.shapes["v"], Shape({2, 2}));
  EXPECT_EQ(seen.shapes["spare"], Shape({2, 2, 1}));
  EXPECT_THAT(seen.values["u"], ElementsAre(2, 2, 6, 6));
  EXPECT_THAT(seen.values["y"], ElementsAre(3, 4, 9, 10));
  seen.order.clear();
  seen.refused = {"t", "v", "spare", "y"};
  ASSERT_TRUE(session_of(m, seen)->run({&x, 1}).ok());
  EXPECT_THAT(seen.order, ElementsAre("half", "half", "twice", "=u", "last"));
}

TEST(Observer, EndsARunWithItsError) {
  TwoHalves m;
  Recorder seen;
  seen.failing = {"u"};
  const HostValue x = Tensor::from<float>({4}, {1, 2, 3, 4});
  auto session = session_of(m, seen);
  const auto out = session->run({&x, 1});
  EXPECT_EQ(out.status().code(), Code::kMismatch);
  EXPECT_THAT(out.status().to_string(), HasSubstr("value u"));
  EXPECT_EQ(seen.steps.size(), 3u);
  seen.failing.clear();
  EXPECT_TRUE(session->run({&x, 1}).ok());
}

TEST(Observer, GetsThePlacesOfValuesWheneverTheyChange) {
  PlanMaker m;
  const DimId n = m.d("N");
  ValueIdx x = m.input("x", {n});
  for (const char* name : {"a", "b", "c", "y"}) {
    const ValueIdx next = m.value(name, Storage::kArena, {n});
    m.dispatch(name, add_one, {x, next}, {}, n);
    x = next;
  }
  m.output("y", x);
  Recorder seen;
  auto session = session_of(m, seen);
  for (int64_t size : {100, 100, 3}) {
    const HostValue in = *Tensor::zeros(DType::kF32, {size});
    ASSERT_TRUE(session->run({&in, 1}).ok());
    EXPECT_EQ(seen.arenas, size == 3 ? 2 : 1) << "the same shapes keep the place";
    ASSERT_EQ(seen.arena.size(), 3u) << "an output has memory of its own";
    for (size_t i = 0; i < 3; ++i) {
      const ArenaRange& r = seen.arena[i];
      EXPECT_EQ(r.bytes, static_cast<size_t>(size) * 4);
      EXPECT_EQ(r.first_step, static_cast<int32_t>(i));
      EXPECT_EQ(r.last_step, static_cast<int32_t>(i) + 1);
      EXPECT_LE(r.offset + r.bytes, session->arena_bytes());
      for (size_t k = 0; k < i; ++k) {
        const ArenaRange& other = seen.arena[k];
        const bool together = other.first_step <= r.last_step && r.first_step <= other.last_step;
        const bool overlap = other.offset < r.offset + r.bytes && r.offset < other.offset + other.bytes;
        EXPECT_FALSE(together && overlap) << i << " and " << k;
      }
    }
  }
}

TEST(Observer, SeesValuesOfUnknownSizeAndTheirViews) {
  PlanMaker m;
  const DimId k = m.d("K"), one = m.d(1);
  const ValueIdx x = m.input("x", {m.d("N")});
  const ValueIdx found = m.value("found", Storage::kHost, {k});
  const ValueIdx row = m.alias("row", found, {one, k});
  const ValueIdx t = m.value("t", Storage::kArena, {k}), y = m.value("y", Storage::kArena, {k});
  m.host("find", [](HostCallContext& c) {
    c.outputs[0] = Tensor::from<float>({2}, {5, 6});
    return Status();
  }, {x}, {found});
  m.dispatch("inc", add_one, {row, t}, {}, k);
  m.dispatch("inc", add_one, {t, y}, {}, k);
  m.output("y", y);
  Recorder seen;
  const HostValue in = *Tensor::zeros(DType::kF32, {7});
  ASSERT_TRUE(session_of(m, seen)->run({&in, 1}).ok());
  EXPECT_THAT(seen.order, ElementsAre("find", "=found", "=row", "inc", "=t", "inc", "=y"));
  EXPECT_EQ(seen.shapes["row"], Shape({1, 2}));
  EXPECT_EQ(seen.steps[0].read, 28u);
  EXPECT_EQ(seen.steps[0].written, 8u);
  EXPECT_EQ(seen.steps[1].read, 8u);
  ASSERT_EQ(seen.arena.size(), 1u) << "placed once the size was known";
  EXPECT_EQ(seen.arena[0].value, t);
  EXPECT_THAT(seen.symbols, ::testing::Contains(std::optional<int64_t>(2)));
}

TEST(Observer, SeesTheStepsOfBodies) {
  PlanMaker m;
  const DimId n = m.d("N");
  const ValueIdx trips = m.input("trips", {}, DType::kI64), x = m.input("x", {n});
  const ValueIdx last = m.value("last", Storage::kHost, {n});
  PlanMaker body(m.symbols());
  const DimId bn = body.d("N");
  body.input("i", {}, DType::kI64);
  const ValueIdx going = body.input("going", {}, DType::kBool), carried = body.input("carried", {bn});
  const ValueIdx next = body.value("next", Storage::kArena, {bn});
  body.dispatch("inc", add_one, {carried, next}, {}, bn);
  body.output("going", going);
  body.output("next", next);
  Step& step = m.step(Step::Kind::kLoop, "loop", {trips, -1, x}, {last});
  step.plans = {body.done()};
  step.captures = {{}};
  m.output("last", last);
  Recorder seen;
  const std::vector<HostValue> in = {Tensor::scalar<int64_t>(3), Tensor::from<float>({2}, {1, 10})};
  ASSERT_TRUE(session_of(m, seen)->run(in).ok());
  EXPECT_THAT(seen.order, ElementsAre("inc", "inc", "inc", "loop", "=last")) << "values are those of the model's plan";
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(seen.steps[i].depth, 1);
    EXPECT_GE(seen.steps[i].start, seen.steps[3].start);
    EXPECT_LE(seen.steps[i].end, seen.steps[3].end);
  }
  EXPECT_EQ(seen.steps[3].depth, 0);
  EXPECT_THAT(seen.values["last"], ElementsAre(4, 13));
}

TEST(Observer, IsToldHowManyThreadsADispatchUsed) {
  PlanMaker m;
  const DimId n = m.d(64), much = m.d(int64_t{1} << 30), little = m.d(1);
  const ValueIdx x = m.input("x", {n});
  const ValueIdx t = m.value("t", Storage::kArena, {n}), y = m.value("y", Storage::kArena, {n});
  m.dispatch("much", add_one, {x, t}, {}, n, much);
  m.dispatch("little", add_one, {t, y}, {}, n, little);
  m.output("y", y);
  ThreadPool pool(2);
  auto prepared = prepare(m.done());
  ASSERT_TRUE(prepared.ok());
  Recorder seen;
  SessionOptions options;
  options.executor = &pool;
  options.observer = &seen;
  const HostValue in = *Tensor::zeros(DType::kF32, {64});
  ASSERT_TRUE((*Session::create(*prepared, options))->run({&in, 1}).ok());
  EXPECT_EQ(seen.steps[0].threads, 2);
  EXPECT_EQ(seen.steps[1].threads, 1);
}

TEST(Prepare, RefusesAKernelThatDoesNotSayWhatItWrites) {
  TwoHalves m;
  (*m.kernels)[0].access.clear();
  EXPECT_FALSE(prepare(m.done()).ok());
}

}  // namespace
}  // namespace tenon::runtime
