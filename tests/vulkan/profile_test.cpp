// Dispatches that the device measures, in as few submissions as it runs otherwise.

#include <algorithm>
#include <chrono>

#include "backends/vulkan/devices.h"
#include "backends/vulkan/faults.h"
#include "runtime/observer.h"
#include "tests/vulkan/vulkan_test.h"

namespace tenon {
namespace {

using backends::vulkan::Faults;
using vulkan_test::Environment;
using vulkan_test::numbers;

struct Watcher final : runtime::Observer {
  std::vector<std::string> nodes;
  double ms = 0;
  std::chrono::steady_clock::time_point last;
  bool in_order = true, wanted = false;
  int values = 0;

  void on_step(const runtime::StepEvent& e) override {
    nodes.push_back(e.plan.steps[static_cast<size_t>(e.step)].node);
    in_order = in_order && e.start >= last && e.end >= e.start;
    last = e.start;
    ms += std::chrono::duration<double, std::milli>(e.end - e.start).count();
  }
  bool wants(const runtime::Plan&, runtime::ValueIdx) const override { return wanted; }
  Status on_value(const runtime::Plan&, runtime::ValueIdx, const HostValue&) override { return ++values, Status(); }
};

class Observed : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (const std::string why = vulkan_test::no_device(); !why.empty()) GTEST_SKIP() << why;
    ASSERT_TRUE(Faults::set("").ok());
    if (backends::vulkan::open_info("")->timestamp_ns == 0) GTEST_SKIP() << "the device's queue has no timestamps";
  }
  Environment staging_{"TENON_VULKAN_STAGING", GetParam() ? "1" : "0"};
};

TEST_P(Observed, ARunOfDispatchesIsOneSubmission) {
  const auto graph = vulkan_test::parse(R"(graph "g" {
    input %x: f32[B, 33]
    input %w: f32[33, 17]
    %m: f32[B, 17] = MatMul(%x, %w) "product"
    %s: f32[B, 17] = Softmax(%m) {axis = -1} "soft"
    %axes: i64[1] = Constant {value = dense<i64[1], 1>}
    %r: f32[B] = ReduceSum(%s, %axes) {keepdims = 0} "sum"
    output %s
    output %r
  })");
  const auto executable = *backends::find_backend("vulkan")->compile(*graph, {});
  const int dispatches = executable->stats().dispatches;
  ASSERT_GE(dispatches, 3);
  for (const bool wanted : {false, true}) {
    SCOPED_TRACE(wanted);
    Watcher watcher;
    watcher.wanted = wanted;
    const auto session = *executable->create_session({.observer = &watcher});
    for (const int64_t batch : {5, 5, 9, 0, 5}) {
      watcher.nodes.clear();
      watcher.ms = 0;
      ASSERT_TRUE(Faults::set("").ok());
      const std::vector<HostValue> in = {numbers({batch, 33}, 1), numbers({33, 17}, 2)};
      vulkan_test::expect_equal(vulkan_test::expected(*graph, in), session->run(in));
      EXPECT_EQ(watcher.nodes.size(), static_cast<size_t>(dispatches));
      EXPECT_TRUE(watcher.in_order);
      if (batch == 0) continue;
      EXPECT_GT(watcher.ms, 0);
      EXPECT_LE(Faults::calls("vkQueueSubmit"), wanted ? 100 : GetParam() ? 2 : 1);
    }
    EXPECT_EQ(watcher.values > 0, wanted);
  }
}

TEST_P(Observed, BodiesAndStepsOnTheHostAreSeenBetween) {
  const auto graph = vulkan_test::parse(R"(graph "g" {
    input %x: f32[B, 8]
    input %n: i64[]
    %twice: f32[B, 8] = Add(%x, %x) "twice"
    %last: f32[B, 8] = Loop(%n, _, %twice) "loop" region {
      input %i: i64[]
      input %go: bool[]
      input %v: f32[B, 8]
      %q: f32[B, 8] = Sub(%v, %x) "step"
      output %go
      output %q
    }
    %z: i64[2, K] = NonZero(%last) "where"
    output %z
    output %last
  })");
  if (graph == nullptr) return;
  Watcher watcher;
  const auto executable = *backends::find_backend("vulkan")->compile(*graph, {});
  const auto session = *executable->create_session({.observer = &watcher});
  const std::vector<HostValue> in = {numbers({2, 8}, 1), Tensor::scalar<int64_t>(3)};
  vulkan_test::expect_equal(vulkan_test::expected(*graph, in), session->run(in));
  EXPECT_EQ(std::ranges::count(watcher.nodes, "step"), 3);
  ASSERT_GE(watcher.nodes.size(), 6U);
  EXPECT_EQ(watcher.nodes.front(), "twice");
  EXPECT_EQ(watcher.nodes.back(), "where");
}

INSTANTIATE_TEST_SUITE_P(Memory, Observed, ::testing::Bool(), [](const auto& info) { return info.param ? "Staged" : "Mapped"; });

}  // namespace
}  // namespace tenon
