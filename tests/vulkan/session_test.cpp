// Sessions of the vulkan backend with mapped memory and with staging, which lavapipe alone would never take.

#include <atomic>
#include <cmath>
#include <cstring>
#include <thread>

#include "backends/vulkan/faults.h"
#include "tests/vulkan/vulkan_test.h"

namespace tenon {
namespace {

using backends::vulkan::Faults;
using vulkan_test::Environment;
using vulkan_test::expect_equal;
using vulkan_test::expected;
using vulkan_test::numbers;
using vulkan_test::parse;

class Sessions : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (const std::string why = vulkan_test::no_device(); !why.empty()) GTEST_SKIP() << why;
  }
  std::shared_ptr<const backends::Executable> compile(const ir::Graph& graph) {
    auto made = backends::find_backend("vulkan")->compile(graph, {});
    EXPECT_TRUE(made.ok()) << made.status().to_string();
    return made.ok() ? *made : nullptr;
  }
  Environment staging_{"TENON_VULKAN_STAGING", GetParam() ? "1" : "0"};
};

constexpr const char* kChain = R"(graph "g" {
  input %x: f32[B, 33]
  input %w: f32[33, 17]
  %b: f32[17] = Constant {value = dense<f32[17], 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17>}
  %m: f32[B, 17] = MatMul(%x, %w)
  %a: f32[B, 17] = Add(%m, %b)
  %s: f32[B, 17] = Softmax(%a) {axis = -1}
  %axes: i64[1] = Constant {value = dense<i64[1], 1>}
  %r: f32[B] = ReduceSum(%a, %axes) {keepdims = 0}
  output %s
  output %r
})";

constexpr const char* kHostInBetween = R"(graph "g" {
  input %x: f32[B, 40]
  %y: f32[B, 40] = Mul(%x, %x)
  %n: i64[2, K] = NonZero(%y)
  %t: i64[K, 2] = Transpose(%n) {perm = [1, 0]}
  %g: f32[K] = GatherND(%y, %t)
  output %g
  output %y
})";

TEST_P(Sessions, EqualResultsOverManyRunsAndShapes) {
  const auto graph = parse(kChain);
  const auto executable = compile(*graph);
  const auto session = *executable->create_session();
  int seed = 0;
  for (int64_t batch : {1, 5, 5, 5, 64, 5, 1, 200, 0, 7, 7}) {
    SCOPED_TRACE(batch);
    const std::vector<HostValue> in = {numbers({batch, 33}, ++seed), numbers({33, 17}, seed + 50)};
    expect_equal(expected(*graph, in), session->run(in));
  }
}

TEST_P(Sessions, AReplayedRunRecordsAndAllocatesNothing) {
  const auto graph = parse(kChain);
  const auto executable = compile(*graph);
  const auto session = *executable->create_session();
  const auto run = [&](int seed) {
    const std::vector<HostValue> in = {numbers({5, 33}, seed), numbers({33, 17}, seed + 50)};
    return session->run(in);
  };
  std::vector<HostValue> kept;  // as callers do that look at results later
  for (int i = 0; i < 3; ++i) {
    auto out = run(i);
    ASSERT_TRUE(out.ok()) << out.status().to_string();
    if (i == 0) kept = std::move(*out);
  }
  ASSERT_TRUE(Faults::set("").ok());
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(run(i).ok());
  EXPECT_EQ(Faults::calls("vkQueueSubmit"), 10);
  EXPECT_EQ(Faults::calls("vkAllocateMemory"), 0);
  EXPECT_EQ(Faults::calls("vkAllocateCommandBuffers"), 0);
  EXPECT_EQ(Faults::calls("vkResetCommandPool"), 0);
  EXPECT_EQ(Faults::calls("vkCreateBuffer"), 0);
  EXPECT_EQ(Faults::calls("vkBeginCommandBuffer"), GetParam() ? 20 : 0);  // copies in and out, which staging memory needs
  const std::vector<HostValue> in = {numbers({5, 33}, 0), numbers({33, 17}, 50)};
  expect_equal(expected(*graph, in), Result<std::vector<HostValue>>(kept));
}

TEST_P(Sessions, HostCallsSplitTheRecording) {
  const auto graph = parse(kHostInBetween);
  const auto executable = compile(*graph);
  const auto session = *executable->create_session();
  for (int seed = 0; seed < 4; ++seed) {
    Tensor x = numbers({3, 40}, seed);
    for (int64_t i = 0; i < x.size(); i += 3 + seed) x.set_double(i, 0);
    const std::vector<HostValue> in = {x};
    expect_equal(expected(*graph, in), session->run(in));
  }
}

TEST_P(Sessions, LoopsBranchesAndTheirCaptures) {
  const auto graph = parse(R"(graph "g" {
    input %x: f32[B, 8]
    input %n: i64[]
    input %go: bool[]
    %twice: f32[B, 8] = Add(%x, %x)
    %last: f32[B, 8], %all: f32[T, B, 8] = Loop(%n, _, %twice) region {
      input %i: i64[]
      input %c: bool[]
      input %v: f32[B, 8]
      %f: f32[] = Cast(%i) {to = 1}
      %p: f32[B, 8] = Add(%v, %f)
      %q: f32[B, 8] = Sub(%p, %x)
      %s: f32[B, 8] = Sin(%q)
      output %c
      output %q
      output %s
    }
    %z: f32[B, 8] = If(%go) region {
      %t: f32[B, 8] = Mul(%last, %twice)
      output %t
    } region {
      output %twice
    }
    %out: f32[B, 8] = Tanh(%z)
    output %out
    output %all
    output %last
  })");
  ASSERT_NE(graph, nullptr);
  const auto executable = compile(*graph);
  const auto session = *executable->create_session();
  for (int64_t trips : {3, 1, 0, 5})
    for (bool go : {true, false}) {
      SCOPED_TRACE(trips);
      const std::vector<HostValue> in = {numbers({3, 8}, static_cast<int>(trips)), Tensor::scalar<int64_t>(trips), Tensor::scalar<bool>(go)};
      expect_equal(expected(*graph, in), session->run(in));
    }
}

// The caller may write to what it got, and may give it back as an input.
TEST_P(Sessions, OutputsAreTheCallers) {
  const auto graph = parse("graph \"g\" { input %x: f32[N]\n %y: f32[N] = Neg(%x)\n output %y }");
  const auto executable = compile(*graph);
  auto session = *executable->create_session();
  auto out = session->run(std::vector<HostValue>{numbers({1000}, 1)});
  ASSERT_TRUE(out.ok());
  Tensor mine = std::get<Tensor>((*out)[0]);
  out->clear();
  for (int round = 0; round < 3; ++round) {
    mine.set_double(7, 40 + round);
    const std::vector<HostValue> in = {mine};
    auto next = session->run(in);
    expect_equal(expected(*graph, in), next);
    mine = std::get<Tensor>((*next)[0]);
  }
  session.reset();
  std::thread([kept = std::move(mine)]() mutable { kept = Tensor(); }).join();
}

TEST_P(Sessions, SeveralAtOnceShareAnExecutable) {
  const auto graph = parse(kChain);
  const auto executable = compile(*graph);
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      const std::vector<HostValue> in = {numbers({t + 2, 33}, t), numbers({33, 17}, t)};
      const auto session = *executable->create_session();
      const auto first = session->run(in);
      for (int i = 0; i < 5; ++i) {
        const auto again = session->run(in);
        if (!first.ok() || !again.ok()) return;
        const Tensor &a = std::get<Tensor>((*first)[0]), &b = std::get<Tensor>((*again)[0]);
        if (std::memcmp(a.data(), b.data(), a.bytes()) == 0) ++right;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(right, 15);
}

// Outputs that callers keep are the host's memory: on a device of their own they would fill it.
TEST_P(Sessions, KeptOutputsHoldNoMemoryOfAStagedDevice) {
  const auto graph = parse("graph \"g\" { input %x: f32[N]\n %y: f32[N] = Neg(%x)\n output %y }");
  const Environment limit("TENON_VULKAN_MAX_BYTES", std::to_string(40 << 20));
  const auto executable = compile(*graph);
  const auto session = *executable->create_session();
  std::vector<HostValue> kept;
  for (int i = 0; i < 40 && GetParam(); ++i) {
    auto out = session->run(std::vector<HostValue>{numbers({1 << 18}, i)});
    ASSERT_TRUE(out.ok()) << out.status().to_string();
    kept.push_back(std::move((*out)[0]));
  }
  for (size_t i = 0; i < kept.size(); i += 7) {
    const std::vector<HostValue> in = {numbers({1 << 18}, static_cast<int>(i))};
    expect_equal(expected(*graph, in), std::vector<HostValue>{kept[i]});
  }
}

// More than the staging ring at once.
TEST_P(Sessions, LargeTensors) {
  const auto graph = parse("graph \"g\" { input %x: f32[N]\n %y: f32[N] = Neg(%x)\n %z: f32[N] = Abs(%x)\n output %y\n output %z }");
  const auto executable = compile(*graph);
  const auto session = *executable->create_session();
  for (int64_t size : {5'000'001, 5'000'001, 1'100'000}) {
    const Tensor x = numbers({size}, 3);
    const auto out = session->run(std::vector<HostValue>{x});
    ASSERT_TRUE(out.ok()) << out.status().to_string();
    const auto in = x.span<float>(), y = std::get<Tensor>((*out)[0]).span<float>(), z = std::get<Tensor>((*out)[1]).span<float>();
    for (size_t i = 0; i < in.size(); ++i) ASSERT_TRUE(y[i] == -in[i] && z[i] == std::abs(in[i])) << i;
  }
}

TEST_P(Sessions, AnIndexOutOfRangeIsAnErrorOfThatRunAlone) {
  const auto graph = parse("graph \"g\" { input %x: f32[N]\n input %i: i64[M]\n %y: f32[M] = Gather(%x, %i)\n output %y }");
  const auto executable = compile(*graph);
  const auto session = *executable->create_session();
  for (int64_t index : {2, 99, 1}) {
    const std::vector<HostValue> in = {numbers({5}, 1), Tensor::from<int64_t>({2}, {index, 0})};
    const auto out = session->run(in);
    if (index < 5) expect_equal(expected(*graph, in), out);
    else EXPECT_EQ(out.status().code(), Code::kOutOfRange) << out.status().to_string();
  }
}

TEST_P(Sessions, WhatDoesNotFitIsRefusedWithNumbers) {
  const Environment limit("TENON_VULKAN_MAX_BYTES", std::to_string(30 << 20));
  const auto graph = parse("graph \"g\" { input %x: f32[N]\n %y: f32[N] = Neg(%x)\n output %y }");
  const auto executable = compile(*graph);
  const auto session = *executable->create_session();
  const auto out = session->run(std::vector<HostValue>{numbers({8 << 20}, 1)});
  ASSERT_EQ(out.status().code(), Code::kResourceExhausted) << out.status().to_string();
  EXPECT_NE(out.status().to_string().find("33554432 bytes of device memory are needed"), std::string::npos) << out.status().to_string();
  EXPECT_NE(out.status().to_string().find("are free"), std::string::npos) << out.status().to_string();
  const std::vector<HostValue> small = {numbers({100}, 1)};
  expect_equal(expected(*graph, small), session->run(small));
}

INSTANTIATE_TEST_SUITE_P(Memory, Sessions, ::testing::Bool(), [](const auto& info) { return info.param ? "Staged" : "Mapped"; });

}  // namespace
}  // namespace tenon
