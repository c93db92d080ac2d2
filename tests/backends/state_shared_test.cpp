// What runs write to must be nobody else's: states that share memory and runs that begin again.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/backends/state_pair.h"

namespace tenon::backends {
namespace {

using ::testing::HasSubstr;

/// A cache that a scatter writes to beside a state whose output is its present, by `op`.
void expect_apart(std::string_view shape, std::string_view op) {
  const Graph graph = parse(fmt::format(R"(graph "g" {{
    input %x: f32[1, 4]
    input %at: i64[1, 1]
    input %cache: f32[6, 4]
    input %prev: f32[{0}]
    %written: f32[6, 4] = ScatterND(%cache, %at, %x)
    %shape: i64[1] = Constant {{value = dense<i64[1], 24>}}
    %again: f32[{0}] = {1}
    %y: f32[{0}] = Add(%prev, %prev)
    output %y
    output %written
    output %again
  }})", shape, op));
  Pair pair(graph, {{"cache", "written"}, {"prev", "again"}});
  EXPECT_TRUE(pair.stateful->states()[0].in_place) << pair.stateful->states()[0].reason;
  std::mt19937 random(3);
  const Shape other = shape == "24" ? Shape{24} : Shape{6, 4};
  pair.begin({random_tensor(DType::kF32, {6, 4}, random), random_tensor(DType::kF32, other, random)}, true);
  for (int64_t i = 0; i < 4; ++i) pair.step({{"x", random_tensor(DType::kF32, {1, 4}, random)}, {"at", Tensor::from<int64_t>({1, 1}, {i})}});
}

TEST(StateShared, AStateThatIsAnothersPresentHasBytesOfItsOwn) { expect_apart("6, 4", "Identity(%written)"); }
TEST(StateShared, SoHasAViewOfIt) { expect_apart("24", "Reshape(%written, %shape)"); }

/// `y` is an addition behind what is written that the plan cannot do where a dim is 1, which only a run knows.
std::string with_unit_dim(std::string_view state) {
  return fmt::format(R"(graph "g" {{
    input %x: f32[1, 4]
    input %m: f32[M]
    input %z: f32[K]
    {0}
    %n: ? = Neg(%present)
    %places: ? = NonZero(%m)
    %f: ? = Cast(%places) {{to = 1}}
    %sum: f32[] = ReduceSum(%present) {{keepdims = 0}}
    %g: ? = Add(%f, %sum)
    %y: ? = Add(%g, %z)
    output %n
    output %y
    output %present
  }})", state);
}

std::vector<HostValue> one_of_three(std::mt19937& random) {
  return {random_tensor(DType::kF32, {1, 4}, random), Tensor::from<float>({4}, {0, 1, 0, 0}), random_tensor(DType::kF32, {3}, random)};
}

TEST(StateShared, RunsThatOnlyAppendMayBeginAgain) {
  const auto executable = compile_stateful(*find_backend("cpu"), parse(with_unit_dim(R"(input %past: f32[P, 4]
    %present: f32[P + 1, 4] = Concat(%past, %x) {axis = 0})")), {}, std::vector<StatePair>{{"past", "present"}});
  ASSERT_TRUE(executable.ok()) << executable.status().to_string();
  ASSERT_EQ((*executable)->states()[0].axis, 0);
  const auto session = *(*executable)->create_session({});
  std::mt19937 random(5);
  for (int64_t step = 1; step < 4; ++step) {
    const auto inputs = one_of_three(random);
    const auto outputs = session->run(inputs);
    ASSERT_TRUE(outputs.ok()) << outputs.status().to_string();
    const auto &n = std::get<Tensor>((*outputs)[0]), &y = std::get<Tensor>((*outputs)[1]);
    ASSERT_EQ(n.shape(), (Shape{step, 4}));
    EXPECT_EQ(n.at_double(4 * step - 1), -std::get<Tensor>(inputs[0]).at_double(3));
    ASSERT_EQ(y.size(), 3);
    double sum = 1;
    for (int64_t i = 0; i < n.size(); ++i) sum -= n.at_double(i);
    for (int64_t i = 0; i < 3; ++i) EXPECT_NEAR(y.at_double(i), sum + std::get<Tensor>(inputs[2]).at_double(i), 1e-5);
  }
}

TEST(StateShared, ThoseThatWriteToWhatTheyReadSayWhyTheyCannot) {
  const auto executable = compile_stateful(*find_backend("cpu"), parse(with_unit_dim(R"(input %at: i64[1, 1]
    input %past: f32[6, 4]
    %present: f32[6, 4] = ScatterND(%past, %at, %x))")), {}, std::vector<StatePair>{{"past", "present"}});
  ASSERT_TRUE(executable.ok()) << executable.status().to_string();
  const auto session = *(*executable)->create_session({});
  std::mt19937 random(5);
  auto inputs = one_of_three(random);
  inputs.push_back(Tensor::from<int64_t>({1, 1}, {2}));
  const auto outputs = session->run(inputs);
  EXPECT_THAT(outputs.status().to_string(), HasSubstr("past may be written to already"));
}

}  // namespace
}  // namespace tenon::backends
