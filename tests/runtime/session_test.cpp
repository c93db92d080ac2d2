#include "runtime/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "plan_maker.h"
#include "runtime/print.h"

namespace tenon::runtime {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Op = DimProgram::Op;

std::unique_ptr<Session> session_of(PlanMaker& maker, SessionOptions options = {}) {
  auto prepared = prepare(maker.done());
  EXPECT_TRUE(prepared.ok()) << prepared.status().to_string();
  if (!prepared.ok()) return nullptr;
  return std::move(Session::create(*prepared, options)).value();
}

// y = (x + 1) + 1, any N.
void make_chain(PlanMaker& m, int length) {
  const DimId n = m.d("N");
  ValueIdx x = m.input("x", {n});
  for (int i = 0; i < length; ++i) {
    const ValueIdx y = m.value("y" + std::to_string(i), Storage::kArena, {n});
    m.dispatch("node" + std::to_string(i), add_one, {x, y}, {}, n);
    x = y;
  }
  m.output("y", x);
}

Tensor iota(int64_t n) {
  Tensor t = *Tensor::zeros(DType::kF32, {n});
  for (int64_t i = 0; i < n; ++i) t.set_double(i, static_cast<double>(i));
  return t;
}

TEST(Session, RunsAChainForAnyShape) {
  PlanMaker m;
  make_chain(m, 5);
  auto session = session_of(m);
  for (int64_t n : {3, 0, 7, 3, 100}) {
    const HostValue in = iota(n);
    auto out = session->run({&in, 1});
    ASSERT_TRUE(out.ok()) << out.status().to_string();
    const auto values = floats((*out)[0]);
    ASSERT_EQ(values.size(), static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) EXPECT_EQ(values[static_cast<size_t>(i)], static_cast<float>(i) + 5);
  }
  EXPECT_EQ(session->arena_bytes(), 2 * 448u) << "two buffers of 100 floats";
}

TEST(Session, OutputsOfARunSurviveTheNext) {
  PlanMaker m;
  make_chain(m, 2);
  auto session = session_of(m);
  const HostValue a = iota(4), b = Tensor::from<float>({4}, {9, 9, 9, 9});
  auto first = session->run({&a, 1});
  auto second = session->run({&b, 1});
  EXPECT_THAT(floats((*first)[0]), ElementsAre(2, 3, 4, 5));
  EXPECT_THAT(floats((*second)[0]), ElementsAre(11, 11, 11, 11));
}

TEST(Session, NamesTheInputThatDoesNotFit) {
  PlanMaker m;
  const DimId n = m.d("N"), four = m.d(4);
  const ValueIdx a = m.input("left", {n, four}), b = m.input("right", {n, four});
  const ValueIdx c = m.value("c", Storage::kArena, {n, four});
  m.dispatch("add", add_two_tensors, {a, b, c}, {}, m.op(Op::kMul, n, four));
  m.output("c", c);
  auto session = session_of(m);
  const auto fails = [&](std::vector<HostValue> in) { return session->run(in).status().to_string(); };
  const HostValue good = *Tensor::zeros(DType::kF32, {2, 4});
  EXPECT_THAT(fails({good, *Tensor::zeros(DType::kI64, {2, 4})}), HasSubstr("input right"));
  EXPECT_THAT(fails({good, *Tensor::zeros(DType::kF32, {3, 4})}), HasSubstr("(N)"));
  EXPECT_THAT(fails({*Tensor::zeros(DType::kF32, {2, 5}), good}), HasSubstr("dim 1 is 5, but 4 is wanted (input left)"));
  EXPECT_THAT(fails({*Tensor::zeros(DType::kF32, {8}), good}), HasSubstr("rank"));
  EXPECT_THAT(fails({HostValue(), good}), HasSubstr("nothing is given"));
  EXPECT_THAT(fails({good}), HasSubstr("1 inputs"));
  EXPECT_TRUE(session->run(std::vector<HostValue>{good, good}).ok());
}

TEST(Session, ChecksFactsBeforeAnyStep) {
  PlanMaker m;
  const DimId n = m.d("N"), k = m.d("K");
  const ValueIdx a = m.input("a", {n}), b = m.input("b", {k}), c = m.value("c", Storage::kArena, {n});
  m.dispatch("add", add_two_tensors, {a, b, c}, {}, n);
  m.output("c", c);
  m.plan->checks.push_back({DimCheck::Kind::kEqual, n, k, "add"});
  auto session = session_of(m);
  const auto status = session->run(std::vector<HostValue>{iota(5), iota(2)}).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_THAT(status.to_string(), HasSubstr("N = 5 and K = 2"));
  EXPECT_TRUE(session->run(std::vector<HostValue>{iota(5), iota(5)}).ok());
}

TEST(Session, ABroadcastDimIsOneOrTheSame) {
  PlanMaker m;
  const DimId n = m.d("N"), k = m.d("K");
  const ValueIdx a = m.input("a", {n}), c = m.value("c", Storage::kArena, {n});
  m.input("b", {k});
  m.dispatch("add", add_one, {a, c}, {}, n);
  m.output("c", c);
  m.plan->checks.push_back({DimCheck::Kind::kBroadcast, n, k, "add"});
  auto session = session_of(m);
  EXPECT_TRUE(session->run(std::vector<HostValue>{iota(5), iota(1)}).ok());
  EXPECT_TRUE(session->run(std::vector<HostValue>{iota(5), iota(5)}).ok());
  EXPECT_EQ(session->run(std::vector<HostValue>{iota(1), iota(5)}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(session->run(std::vector<HostValue>{iota(5), iota(2)}).status().code(), Code::kInvalidArgument);
}

TEST(Session, AliasesShareMemoryAndOutputsOwnTheirs) {
  PlanMaker m;
  const DimId n = m.d("N"), two = m.d(2), half = m.op(Op::kFloorDiv, n, two);
  const ValueIdx x = m.input("x", {n});
  const ValueIdx y = m.value("y", Storage::kArena, {n});
  m.dispatch("inc", add_one, {x, y}, {}, n);
  const ValueIdx folded = m.alias("folded", y, {half, two});
  const ValueIdx same = m.alias("same", x, {half, two});
  const ValueIdx w = m.constant("w", Tensor::from<float>({1}, {5}));
  m.output("folded", folded);
  m.output("same", same);
  m.output("w", w);
  auto session = session_of(m);
  HostValue in = iota(4);
  auto out = session->run({&in, 1});
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  EXPECT_EQ(std::get<Tensor>((*out)[0]).shape(), Shape({2, 2}));
  EXPECT_THAT(floats((*out)[0]), ElementsAre(1, 2, 3, 4));
  std::get<Tensor>(in).set_double(0, 77);
  std::get<Tensor>((*out)[2]).set_double(0, -1);
  EXPECT_THAT(floats((*out)[1]), ElementsAre(0, 1, 2, 3)) << "an input is copied to an output";
  EXPECT_THAT(floats((*session->run({&in, 1}))[2]), ElementsAre(5)) << "constants cannot be written through outputs";
  in = iota(5);
  EXPECT_THAT(session->run({&in, 1}).status().to_string(), HasSubstr("cannot be reshaped"));
}

TEST(Session, BindsDimsThatOnlyRunTimeKnows) {
  PlanMaker m;
  const DimId n = m.d("N"), k = m.d("K"), twice = m.op(Op::kMul, k, m.d(2));
  const ValueIdx x = m.input("x", {n});
  const ValueIdx kept = m.value("kept", Storage::kHost, {k});
  m.host("positive",
         [](HostCallContext& c) -> Status {
           std::vector<float> out;
           for (float f : std::get<Tensor>(c.inputs[0]).span<float>())
             if (f > 0) out.push_back(f);
           c.outputs[0] = Tensor::from<float>({static_cast<int64_t>(out.size())}, std::span<const float>(out));
           return {};
         },
         {x}, {kept});
  const ValueIdx y = m.value("y", Storage::kArena, {twice});
  m.dispatch("twice",
             [](void* const* b, const int64_t* d, int64_t begin, int64_t end) {
               for (int64_t i = begin; i < end; ++i)
                 static_cast<float*>(b[1])[i] = static_cast<const float*>(b[0])[i % d[0]];
               return int32_t{0};
             },
             {kept, y}, {k}, twice);
  const ValueIdx z = m.value("z", Storage::kArena, {twice});
  m.dispatch("inc", add_one, {y, z}, {}, twice);
  m.output("z", z);
  auto session = session_of(m);
  const HostValue a = Tensor::from<float>({4}, {-1, 3, 0, 4}), b = Tensor::from<float>({4}, {-1, -3, 0, 4});
  EXPECT_THAT(floats((*session->run({&a, 1}))[0]), ElementsAre(4, 5, 4, 5));
  EXPECT_THAT(floats((*session->run({&b, 1}))[0]), ElementsAre(5, 5));
  EXPECT_THAT(floats((*session->run({&a, 1}))[0]), ElementsAre(4, 5, 4, 5));
}

TEST(Session, HostFunctionsMayWriteIntoTheArenaAndNeverKeepIt) {
  PlanMaker m;
  const DimId n = m.d("N");
  const ValueIdx x = m.input("x", {n});
  const ValueIdx y = m.value("y", Storage::kArena, {n});
  m.host("fill",
         [](HostCallContext& c) -> Status {
           auto& out = std::get<Tensor>(c.outputs[0]);
           for (int64_t i = 0; i < out.size(); ++i) out.set_double(i, std::get<Tensor>(c.inputs[0]).at_double(i) * 2);
           return {};
         },
         {x}, {y});
  const ValueIdx kept = m.opaque("kept", Storage::kHost);
  m.host("keep",
         [](HostCallContext& c) -> Status {
           auto sequence = std::make_shared<Sequence>();
           sequence->items.push_back(c.inputs[0]);
           c.outputs[0] = sequence;
           return {};
         },
         {y}, {kept});
  const ValueIdx z = m.value("z", Storage::kArena, {n});
  m.dispatch("inc", add_one, {y, z}, {}, n);
  const ValueIdx q = m.value("q", Storage::kArena, {n});
  m.dispatch("inc2", add_one, {z, q}, {}, n);
  m.output("kept", kept);
  m.output("q", q);
  auto session = session_of(m);
  const HostValue a = iota(3), b = Tensor::from<float>({3}, {9, 9, 9});
  auto out = session->run({&a, 1});
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  EXPECT_THAT(floats((*out)[1]), ElementsAre(2, 4, 6));
  ASSERT_TRUE(session->run({&b, 1}).ok());
  EXPECT_THAT(floats(std::get<std::shared_ptr<Sequence>>((*out)[0])->items[0]), ElementsAre(0, 2, 4));
}

TEST(Session, OutputsDoNotDependOnTheNumberOfThreads) {
  PlanMaker m;
  make_chain(m, 3);
  ThreadPool pool(4);
  const HostValue in = iota(100'003);  // work is unknown here, so every dispatch takes all threads
  std::vector<float> first;
  for (int threads : {1, 2, 3, 4}) {
    SessionOptions options;
    options.executor = &pool;
    options.num_threads = threads;
    auto out = session_of(m, options)->run({&in, 1});
    if (first.empty()) first = floats((*out)[0]);
    EXPECT_EQ(floats((*out)[0]), first);
  }
}

TEST(Session, SessionsOfOnePlanRunAtTheSameTime) {
  PlanMaker m;
  make_chain(m, 4);
  auto prepared = *prepare(m.done());
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      auto session = *Session::create(prepared);
      for (int round = 0; round < 50; ++round) {
        const int64_t n = 1000 + t * 17 + round % 3;
        const HostValue in = iota(n);
        auto out = session->run({&in, 1});
        if (!out.ok() || floats((*out)[0])[static_cast<size_t>(n) - 1] != static_cast<float>(n - 1) + 4) ++wrong;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Session, KernelChecksNameTheNode) {
  PlanMaker m;
  const DimId n = m.d("N");
  const ValueIdx x = m.input("x", {n}), y = m.value("y", Storage::kArena, {n});
  m.dispatch("gather_7", [](void* const*, const int64_t*, int64_t, int64_t) { return int32_t{1}; }, {x, y}, {}, n);
  m.output("y", y);
  const HostValue in = iota(3);
  const auto status = session_of(m)->run({&in, 1}).status();
  EXPECT_EQ(status.code(), Code::kOutOfRange);
  EXPECT_THAT(status.to_string(), HasSubstr("gather_7"));
}

TEST(Session, RefusesMoreMemoryThanAllowedAndImpossibleShapes) {
  PlanMaker m;
  const DimId n = m.d("N"), big = m.op(Op::kMul, n, m.d(int64_t{1} << 40));
  const ValueIdx x = m.input("x", {n}), y = m.value("y", Storage::kArena, {big}), z = m.value("z", Storage::kArena, {n});
  m.dispatch("grow", add_one, {x, y}, {}, n);
  m.dispatch("shrink", add_one, {y, z}, {}, n);
  m.output("z", z);
  auto session = session_of(m);
  HostValue in = iota(3);
  EXPECT_EQ(session->run({&in, 1}).status().code(), Code::kResourceExhausted);
  in = *Tensor::zeros(DType::kF32, {int64_t{1} << 24});
  EXPECT_EQ(session->run({&in, 1}).status().code(), Code::kOutOfRange);
  in = iota(0);
  EXPECT_TRUE(session->run({&in, 1}).ok());
}

TEST(Session, StopsWhenCancelledOrLate) {
  PlanMaker m;
  make_chain(m, 2);
  auto session = session_of(m);
  const HostValue in = iota(3);
  const std::atomic<bool> cancel = true;
  Interrupt options;
  options.cancel = &cancel;
  EXPECT_EQ(session->run({&in, 1}, options).status().code(), Code::kCancelled);
  options = {};
  options.deadline = std::chrono::steady_clock::now() - std::chrono::seconds(1);
  EXPECT_EQ(session->run({&in, 1}, options).status().code(), Code::kDeadlineExceeded);
  EXPECT_TRUE(session->run({&in, 1}).ok());
}

TEST(Prepare, RefusesBrokenPlans) {
  const auto fails = [](const std::function<void(Plan&)>& damage) {
    PlanMaker m;
    make_chain(m, 2);
    damage(*m.plan);
    auto prepared = prepare(m.done());
    EXPECT_EQ(prepared.status().code(), Code::kInvalidArgument);
    return prepared.ok() ? "" : prepared.status().to_string();
  };
  EXPECT_THAT(fails([](Plan& p) { p.steps[1].bindings[0] = 99; }), HasSubstr("node1"));
  EXPECT_THAT(fails([](Plan& p) { p.steps[1].kernel = 5; }), HasSubstr("kernel"));
  EXPECT_THAT(fails([](Plan& p) { p.steps[1].grid = -7; }), HasSubstr("node1"));
  EXPECT_THAT(fails([](Plan& p) { p.steps[0].bindings.pop_back(); }), HasSubstr("does not fit"));
  EXPECT_THAT(fails([](Plan& p) { p.values[1].dims = {12}; }), HasSubstr("y0"));
  EXPECT_THAT(fails([](Plan& p) { p.values[1].storage = Storage::kAlias; p.values[1].alias_of = 1; }), HasSubstr("itself"));
  EXPECT_THAT(fails([](Plan& p) { p.dims.insts.push_back({Op::kAdd, 0, 0, 1}); }), HasSubstr("later"));
  EXPECT_THAT(fails([](Plan& p) { p.outputs[0].value = -1; }), HasSubstr("output y"));
  EXPECT_THAT(fails([](Plan& p) { p.inputs[0].value = 2; }), HasSubstr("input x"));
}

TEST(Print, ShowsStorageShapesAndSteps) {
  PlanMaker m;
  make_chain(m, 1);
  m.done();
  EXPECT_EQ(print(*m.plan),
            "%0: f32[N] input  ; x\n%1: f32[N] arena  ; y0\n"
            "dispatch node0(%0, %1) dims [] grid N  ; node0\nreturn y = %1\n");
}

}  // namespace
}  // namespace tenon::runtime
