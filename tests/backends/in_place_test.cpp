// What dies at a scatter is updated in place; what is needed later, and what callers gave, is not.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "backends/backend.h"
#include "runtime/observer.h"
#include "tests/backends/graphs.h"

namespace tenon::backends {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string scatter_row(const Executable& executable) {
  for (const Placement& row : executable.placement())
    if (row.implementation.find("scatter") != std::string::npos) return row.implementation;
  return {};
}

std::string scatters(std::string_view rest, std::string_view outputs) {
  const std::string text = fmt::format(R"(graph "g" {{
    input %x: f32[N, 4]
    input %at: i64[K, 1]
    input %new: f32[K, 4]
    %base: f32[N, 4] = Softmax(%x) {{axis = -1}}
    %z: f32[N, 4] = ScatterND(%base, %at, %new)
    {}
    {}
  }})", rest, outputs);
  const Graph graph = parse(text);
  const auto executable = *find_backend("cpu")->compile(*graph, {}), reference = *find_backend("reference")->compile(*graph, {});
  std::mt19937 random(8);
  const std::vector<HostValue> inputs = {random_tensor(DType::kF32, {6, 4}, random), Tensor::from<int64_t>({2, 1}, {1, 4}), random_tensor(DType::kF32, {2, 4}, random)};
  const auto got = *(*executable->create_session({}))->run(inputs), wanted = *(*reference->create_session({}))->run(inputs);
  for (size_t o = 0; o < got.size(); ++o) {
    const Tensor &a = std::get<Tensor>(got[o]), &b = std::get<Tensor>(wanted[o]);
    EXPECT_EQ(a.shape(), b.shape());
    for (int64_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a.at_double(i), b.at_double(i), 1e-6) << outputs;
  }
  return scatter_row(*executable);
}

TEST(InPlace, ScattersWriteToWhatDies) {
  EXPECT_THAT(scatters("", "output %z"), HasSubstr("in place"));
  EXPECT_THAT(scatters("%y: f32[N, 4] = Softmax(%z) {axis = 0}", "output %y"), HasSubstr("in place"));
}

TEST(InPlace, WhatIsNeededLaterIsCopied) {
  EXPECT_THAT(scatters("", "output %z\noutput %base"), Not(HasSubstr("in place")));
  EXPECT_THAT(scatters("%y: f32[N, 4] = Softmax(%base) {axis = 0}", "output %z\noutput %y"), Not(HasSubstr("in place")));
}

TEST(InPlace, WhatALoopKeepsStaysAsItWas) {
  const Graph graph = parse(R"(graph "g" {
    input %m: f32[4]
    input %u: f32[2]
    input %c: bool[]
    input %n: i64[]
    %i: i64[2] = Constant {value = dense<i64[2], 0, 1>}
    %z: f32[4] = Add(%m, %m)
    %s: f32[4] = Loop(%n, %c, %z) region {
      input %it: i64[]
      input %cc: bool[]
      input %v: f32[4]
      output %cc
      output %v
    }
    %y: f32[4] = ScatterElements(%z, %i, %u)
    output %s
    output %y
  })");
  const auto executable = *find_backend("cpu")->compile(*graph, {});
  const std::vector<HostValue> inputs = {Tensor::from<float>({4}, {1, 2, 3, 4}), Tensor::from<float>({2}, {10, 20}), Tensor::scalar<bool>(true), Tensor::scalar<int64_t>(1)};
  const auto out = *(*executable->create_session({}))->run(inputs);
  EXPECT_EQ(std::get<Tensor>(out[0]).at_double(0), 2);
  EXPECT_EQ(std::get<Tensor>(out[0]).at_double(1), 4);
  EXPECT_EQ(std::get<Tensor>(out[1]).at_double(0), 10);
  EXPECT_EQ(std::get<Tensor>(out[1]).at_double(3), 8);
}

/// What a loop's iterations write to a value that they hand on, by its body; also the bytes that they write.
struct Looped {
  std::string row;
  size_t bytes = 0;
};

struct Writes : runtime::Observer {
  size_t bytes = 0;
  void on_step(const runtime::StepEvent& event) override { bytes += event.depth > 0 ? event.written_bytes : 0; }
};

Looped loops(std::string_view body, std::string_view results, std::string_view behind = "", std::string_view outputs = "output %s\n output %t", int64_t trips = 5) {
  const std::string text = fmt::format(R"(graph "g" {{
    input %x: f32[100]
    input %n: i64[]
    input %u: f32[1]
    %go: bool[] = Constant {{value = dense<bool[], 1>}}
    %base: f32[100] = Add(%x, %x)
    %s: f32[100], %t: f32[100] = Loop(%n, %go, %base, %x) region {{
      input %it: i64[]
      input %c: bool[]
      input %v: f32[100]
      input %w: f32[100]
      %one: i64[1] = Constant {{value = dense<i64[1], 1>}}
      %at: i64[1] = tenon.reshape(%it) {{dims = dims[1]}}
      {}
      output %c
      {}
    }}
    {}
    {}
  }})", body, results, behind, outputs);
  const Graph graph = parse(text);
  const auto executable = *find_backend("cpu")->compile(*graph, {}), reference = *find_backend("reference")->compile(*graph, {});
  std::mt19937 random(8);
  const std::vector<HostValue> inputs = {random_tensor(DType::kF32, {100}, random), Tensor::scalar<int64_t>(trips), random_tensor(DType::kF32, {1}, random)};
  Writes writes;
  const auto session = *executable->create_session({.num_threads = 1, .observer = &writes});
  const auto wanted = *(*reference->create_session({}))->run(inputs);
  std::vector<std::vector<HostValue>> got;
  for (int time = 0; time < 3; ++time) got.push_back(*session->run(inputs));  // later runs must not change what earlier ones gave
  for (const auto& run : got) {
    for (size_t o = 0; o < run.size(); ++o) {
      const Tensor &a = std::get<Tensor>(run[o]), &b = std::get<Tensor>(wanted[o]);
      EXPECT_EQ(a.shape(), b.shape());
      for (int64_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a.at_double(i), b.at_double(i), 1e-6) << text;
    }
  }
  return {scatter_row(*executable), writes.bytes / 3};
}

constexpr std::string_view kScatter = "%next: f32[100] = ScatterElements(%v, %at, %u)\n";

TEST(InPlace, IterationsWriteToWhatTheyHandOn) {
  const Looped looped = loops(kScatter, "output %next\noutput %w");
  EXPECT_THAT(looped.row, HasSubstr("in place"));
  EXPECT_LE(looped.bytes, 5 * 16u) << "an element in each iteration";
  EXPECT_THAT(loops(kScatter, "output %next\noutput %w", "", "output %s", 0).row, HasSubstr("in place"));
}

TEST(InPlace, IterationsReadWhatTheyWriteTo) {
  EXPECT_THAT(loops(fmt::format("%m: f32[100] = Softmax(%v)\n{}", kScatter), "output %next\noutput %m").row, HasSubstr("in place"));
  EXPECT_THAT(loops(fmt::format("{}%m: f32[100] = Softmax(%v)", kScatter), "output %next\noutput %m").row, Not(HasSubstr("in place")));
}

/// The same memory under two names, and memory that somebody outside needs.
TEST(InPlace, IterationsShareNothingThatTheyWriteTo) {
  constexpr std::string_view kBoth = "%next: f32[100] = ScatterElements(%v, %at, %u)\n%old: f32[100] = Sub(%w, %u)\n";
  loops(kBoth, "output %next\noutput %next");
  loops(kScatter, "output %w\noutput %next");
  loops(fmt::format("{}%other: f32[100] = ScatterElements(%w, %one, %u)", kScatter), "output %other\noutput %next");
  loops(kScatter, "output %next\noutput %next", "%z: f32[100] = Sub(%base, %s)", "output %z\noutput %t\noutput %s\noutput %base");
  loops("%next: f32[100] = ScatterElements(%v, %at, %u)\n%sum: f32[100] = Add(%next, %base)", "output %next\noutput %sum");
}

TEST(InPlace, ScansWriteToTheirStates) {
  const Graph graph = parse(R"(graph "g" {
    input %x: f32[4]
    input %u: f32[3, 1]
    input %i: i64[3, 1]
    %s: f32[4], %all: f32[3, 4] = Scan(%x, %u, %i) {num_scan_inputs = 2} region {
      input %v: f32[4]
      input %e: f32[1]
      input %at: i64[1]
      %next: f32[4] = ScatterElements(%v, %at, %e)
      output %next
      output %next
    }
    output %s
    output %all
  })");
  const auto executable = *find_backend("cpu")->compile(*graph, {});
  EXPECT_THAT(scatter_row(*executable), HasSubstr("in place"));
  const Tensor x = Tensor::from<float>({4}, {1, 2, 3, 4});
  const auto out = *(*executable->create_session({}))->run(std::vector<HostValue>{x, Tensor::from<float>({3, 1}, {10, 20, 30}), Tensor::from<int64_t>({3, 1}, {0, 2, 0})});
  const auto values = [](const HostValue& value) {
    const auto span = std::get<Tensor>(value).span<float>();
    return std::vector<float>(span.begin(), span.end());
  };
  EXPECT_EQ(values(out[0]), (std::vector<float>{30, 2, 20, 4}));
  EXPECT_EQ(values(out[1]), (std::vector<float>{10, 2, 3, 4, 10, 2, 20, 4, 30, 2, 20, 4}));
  EXPECT_EQ(x.at_double(0), 1);
}

TEST(InPlace, CallersKeepTheirInputs) {
  const Graph graph = parse(R"(graph "g" {
    input %x: f32[3]
    input %at: i64[1, 1]
    input %new: f32[1]
    %z: f32[3] = ScatterND(%x, %at, %new)
    output %z
  })");
  const auto session = *(*find_backend("cpu")->compile(*graph, {}))->create_session({});
  const Tensor x = Tensor::from<float>({3}, {1, 2, 3});
  const auto out = *session->run(std::vector<HostValue>{x, Tensor::from<int64_t>({1, 1}, {1}), Tensor::from<float>({1}, {7})});
  EXPECT_EQ(x.at_double(1), 2);
  EXPECT_EQ(std::get<Tensor>(out[0]).at_double(1), 7);
}

}  // namespace
}  // namespace tenon::backends
