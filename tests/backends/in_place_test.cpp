// What dies at a scatter is updated in place; what is needed later, and what callers gave, is not.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "backends/backend.h"
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
