// States of fixed size, and those whose rows are put in from a row on that is data: caches that a scatter writes to.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "tests/backends/state_pair.h"

namespace tenon::backends {
namespace {

using ::testing::HasSubstr;

/// A cache that readers see through a mask, as ONNX 24 has it.
std::string tensor_scatter(std::string_view mode, std::string_view dtype, std::string_view more = "") {
  return fmt::format(R"(graph "g" {{
    input %x: {1}[B, 2, S, 8]
    input %at: i64[B]
    input %cache: {1}[B, 2, 64, 8]
    %written: {1}[B, 2, 64, 8] = TensorScatter(%cache, %x, %at) {{mode = "{0}"}}
    %wide: f32[B, 2, 64, 8] = Cast(%written) {{to = 1}}
    %axes: i64[1] = Constant {{value = dense<i64[1], 2>}}
    %y: f32[B, 2, 1, 8] = ReduceSum(%wide, %axes) {{keepdims = 1}}
    output %y
    output %written
    {2}
  }})", mode, dtype, more);
}

const std::vector<StatePair> kCache = {{"cache", "written"}};

TEST(StateFixed, ScattersWriteToTheCache) {
  for (const char* mode : {"linear", "circular"}) {
    for (const char* dtype : {"f32", "f16", "i8"}) {
      const Graph graph = parse(tensor_scatter(mode, dtype));
      ASSERT_EQ(find_states(*graph, {})->size(), 1u);
      Pair pair(graph, kCache);
      EXPECT_TRUE(pair.stateful->states()[0].in_place) << pair.stateful->states()[0].reason;
      EXPECT_EQ(pair.stateful->states()[0].axis, -1);
      const DType element = *dtype_from_name(dtype);
      std::mt19937 random(2);
      for (const bool set : {false, true}) {
        pair.begin({set ? random_tensor(element, {3, 2, 64, 8}, random) : *Tensor::zeros(element, {3, 2, 64, 8})}, set);
        int64_t past = 0;
        for (const int64_t length : {5, 1, 1, 3, 1}) {
          Tensor at = *Tensor::zeros(DType::kI64, {3});
          for (int64_t b = 0; b < 3; ++b) at.set_int(b, mode[0] == 'c' ? past + 61 * b - 2 : past + 7 * b);
          pair.step({{"x", random_tensor(element, {3, 2, length, 8}, random)}, {"at", at}});
          past += length;
        }
      }
    }
  }
}

TEST(StateFixed, TheCacheIsNotWrittenAgain) {
  const auto executable = *compile_stateful(*find_backend("cpu"), parse(tensor_scatter("linear", "f32")), {}, kCache);
  Writes writes;
  const auto session = *executable->create_session({.num_threads = 1, .observer = &writes});
  std::mt19937 random(4);
  const Tensor one = random_tensor(DType::kF32, {1, 2, 1, 8}, random);
  ASSERT_TRUE(session->run(std::vector<HostValue>{one, Tensor::from<int64_t>({1}, {9})}).ok());
  EXPECT_LE(writes.bytes, one.bytes() + one.bytes());  // the row and the sum
}

TEST(StateFixed, WhatIsReadAfterwardsIsCopied) {
  Pair pair(parse(R"(graph "g" {
    input %x: f32[1, 4]
    input %at: i64[1, 1]
    input %cache: f32[6, 4]
    %written: f32[6, 4] = ScatterND(%cache, %at, %x)
    %y: f32[6, 4] = Sub(%written, %cache)
    output %y
    output %written
  })"), kCache);
  EXPECT_FALSE(pair.stateful->states()[0].in_place);
  EXPECT_THAT(pair.stateful->states()[0].reason, HasSubstr("reads it after it was written to"));
  std::mt19937 random(3);
  pair.begin({random_tensor(DType::kF32, {6, 4}, random)}, true);
  for (int64_t i = 0; i < 4; ++i) pair.step({{"x", random_tensor(DType::kF32, {1, 4}, random)}, {"at", Tensor::from<int64_t>({1, 1}, {i})}});
}

/// Two outputs are one value: the caller's must stay as it was.
TEST(StateFixed, OutputsDoNotChangeWithTheNextRun) {
  const auto executable = *compile_stateful(*find_backend("cpu"), parse(tensor_scatter("linear", "f32", "output %written as \"again\"")), {}, kCache);
  const auto session = *executable->create_session({});
  std::mt19937 random(3);
  const Tensor a = random_tensor(DType::kF32, {1, 2, 1, 8}, random), b = random_tensor(DType::kF32, {1, 2, 1, 8}, random);
  const Tensor at = Tensor::from<int64_t>({1}, {0});
  const auto first = session->run(std::vector<HostValue>{a, at});
  ASSERT_TRUE(first.ok()) << first.status().to_string();
  ASSERT_EQ(first->size(), 2u);
  const Tensor& kept = std::get<Tensor>((*first)[1]);
  ASSERT_TRUE(session->run(std::vector<HostValue>{b, at}).ok());
  EXPECT_EQ(kept.at_double(0), a.at_double(0));
  EXPECT_EQ(session->states()->get(0)->at_double(0), b.at_double(0));
}

TEST(StateFixed, TimedRunsAndRewindingGoBack) {
  Pair pair(parse(tensor_scatter("linear", "f32")), kCache);
  States& states = *pair.session->states();
  std::mt19937 random(3);
  const Tensor cache = random_tensor(DType::kF32, {1, 2, 64, 8}, random), one = random_tensor(DType::kF32, {1, 2, 1, 8}, random);
  const std::vector<HostValue> inputs = {one, Tensor::from<int64_t>({1}, {3})};
  ASSERT_TRUE(pair.session->time(inputs, {.runs = 2}).ok());
  EXPECT_EQ(states.get(0).status().code(), Code::kNotFound);
  ASSERT_TRUE(states.set(0, cache).ok());
  ASSERT_TRUE(pair.session->time(inputs, {.runs = 3}).ok());
  EXPECT_TRUE(same(*states.get(0), cache));
  ASSERT_TRUE(pair.session->run(inputs).ok());
  EXPECT_FALSE(same(*states.get(0), cache));
}

TEST(StateFixed, RunsThatFailLeaveNothingToGoOnWith) {
  const auto executable = *compile_stateful(*find_backend("cpu"), parse(tensor_scatter("linear", "f32")), {}, kCache);
  const auto session = *executable->create_session({});
  std::mt19937 random(3);
  const Tensor one = random_tensor(DType::kF32, {2, 2, 1, 8}, random), other = random_tensor(DType::kF32, {2, 3, 1, 8}, random);
  const std::vector<HostValue> right = {one, Tensor::from<int64_t>({2}, {0, 1})}, shape = {other, right[1]}, place = {one, Tensor::from<int64_t>({2}, {2, 64})};
  ASSERT_TRUE(session->run(right).ok());
  EXPECT_FALSE(session->run(shape).ok());
  EXPECT_TRUE(session->run(right).ok()) << "nothing was written";
  EXPECT_EQ(session->run(place).status().code(), Code::kOutOfRange);
  EXPECT_THAT(session->run(right).status().to_string(), HasSubstr("a run that failed may have written to it (state cache): set the state, or reset it"));
  ASSERT_TRUE(session->states()->set(0, *Tensor::zeros(DType::kF32, {2, 2, 64, 8})).ok());
  EXPECT_TRUE(session->run(right).ok());
}

/// com.microsoft GroupQueryAttention: the total is the mask's length.
constexpr std::string_view kGrouped = R"(graph "g" {
  input %q: f32[B, S, 32]
  input %k: f32[B, S, 16]
  input %v: f32[B, S, 16]
  input %past_k: f32[B, 2, P, 8]
  input %past_v: f32[B, 2, P, 8]
  input %lengths: i32[B]
  input %mask: i64[B, T]
  %shape: i64[2] = Shape(%mask)
  %one: i64[] = Constant {value = dense<i64[], 1>}
  %size: i64[] = Gather(%shape, %one)
  %total: i32[] = Cast(%size) {to = 6}
  %y: ?, %keys: ?, %values: ? = com.microsoft.GroupQueryAttention(%q, %k, %v, %past_k, %past_v, %lengths, %total) {num_heads = 4, kv_num_heads = 2}
  output %y
  output %keys
  output %values
})";

void attend_grouped(Pair& pair, int64_t past, std::span<const int64_t> lengths) {
  std::mt19937 random(7);
  for (const int64_t length : lengths) {
    past += length;
    pair.step({{"q", random_tensor(DType::kF32, {2, length, 32}, random)},
               {"k", random_tensor(DType::kF32, {2, length, 16}, random)},
               {"v", random_tensor(DType::kF32, {2, length, 16}, random)},
               {"lengths", Tensor::from<int32_t>({2}, {static_cast<int32_t>(past - 1), static_cast<int32_t>(past > length ? past - 2 : past - 1)})},
               {"mask", *Tensor::zeros(DType::kI64, {2, past})}});
    if (testing::Test::HasFailure()) return;
  }
}

TEST(StateFixed, GroupedQueriesPutRowsIntoMemory) {
  const Graph graph = parse(kGrouped);
  const auto found = find_states(*graph, {});
  ASSERT_TRUE(found.ok()) << found.status().to_string();
  ASSERT_EQ(found->size(), 2u);
  Pair pair(graph, *found);
  for (const StateInfo& info : pair.stateful->states()) {
    EXPECT_TRUE(info.in_place) << info.reason;
    EXPECT_EQ(info.axis, 2);
  }
  const std::vector<int64_t> lengths = {5, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  const Tensor none = *Tensor::zeros(DType::kF32, {2, 2, 0, 8}), buffer = *Tensor::zeros(DType::kF32, {2, 2, 40, 8});
  pair.begin({none, none}, false);  // grows
  attend_grouped(pair, 0, lengths);
  pair.begin({buffer, buffer}, true);  // one buffer for past and present
  attend_grouped(pair, 0, lengths);
  EXPECT_EQ(pair.session->states()->get(0)->dim(2), 40);
}

TEST(StateFixed, WhatIsBehindCountedRowsMustBeFinite) {
  Pair pair(parse(kGrouped), {{"past_k", "keys"}, {"past_v", "values"}});
  Tensor buffer = *Tensor::zeros(DType::kF32, {1, 2, 40, 8});
  EXPECT_TRUE(pair.session->states()->set(1, buffer).ok());
  for (const double value : {std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity()}) {
    buffer.set_double(buffer.size() - 1, value);
    EXPECT_THAT(pair.session->states()->set(1, buffer).to_string(), HasSubstr("give zeros there"));
  }
}

TEST(StateFixed, ABufferOfTheModelsSizeIsTheState) {
  const Graph graph = parse(R"(graph "g" {
    input %q: f32[B, 1, 32]
    input %k: f32[B, 1, 32]
    input %v: f32[B, 1, 32]
    input %past_k: f32[B, 4, 20, 8]
    input %past_v: f32[B, 4, 20, 8]
    input %length: i32[1]
    %y: ?, %keys: ?, %values: ? = com.microsoft.DecoderMaskedMultiHeadAttention(%q, %k, %v, _, _, %past_k, %past_v, %length) {num_heads = 4, past_present_share_buffer = 1}
    output %y
    output %keys
    output %values
  })");
  const auto found = find_states(*graph, {});
  ASSERT_TRUE(found.ok()) << found.status().to_string();
  ASSERT_EQ(found->size(), 2u);
  Pair pair(graph, *found);
  for (const StateInfo& info : pair.stateful->states()) EXPECT_TRUE(info.in_place) << info.reason;
  const Tensor buffer = *Tensor::zeros(DType::kF32, {2, 4, 20, 8});
  pair.begin({buffer, buffer}, false);
  std::mt19937 random(9);
  for (int32_t i = 0; i < 20; ++i) {
    std::map<std::string, Tensor> given = {{"length", Tensor::from<int32_t>({1}, {i})}};
    for (const char* name : {"q", "k", "v"}) given[name] = random_tensor(DType::kF32, {2, 1, 32}, random);
    pair.step(given);
  }
}

/// What the model fixes is the same everywhere, whether memory has room or not.
TEST(StateFixed, LengthsThatTheModelFixesAreTheSameOnEveryBackend) {
  const Graph graph = parse(R"(graph "g" {
    input %x: f32[1, 4]
    input %past: f32[11, 4]
    %present: f32[12, 4] = Concat(%past, %x) {axis = 0}
    output %present
  })");
  std::mt19937 random(4);
  const std::vector<HostValue> one = {random_tensor(DType::kF32, {1, 4}, random)};
  for (const char* backend : {"cpu", "reference"}) {
    Pair pair(graph, {{"past", "present"}}, backend);
    EXPECT_THAT(pair.session->run(one).status().to_string(), HasSubstr("its length along axis 0 is 0, the model takes 11 alone")) << backend;
    pair.begin({random_tensor(DType::kF32, {11, 4}, random)}, true);
    pair.step({{"x", std::get<Tensor>(one[0])}});
    EXPECT_THAT(pair.session->run(one).status().to_string(), HasSubstr("its length along axis 0 is 12, the model takes 11 alone")) << backend;
  }
}

/// States and what runs need beside them are within one limit.
TEST(StateFixed, OneLimitIsForStatesAndRuns) {
  const Graph graph = parse(R"(graph "g" {
    input %x: f32[1, 1000]
    input %past: f32[P, 1000]
    %present: f32[P + 1, 1000] = Concat(%past, %x) {axis = 0}
    %soft: f32[P + 1, 1000] = Softmax(%present) {axis = 0}
    %turned: f32[1000, P + 1] = Transpose(%soft) {perm = [1, 0]}
    output %turned
    output %present
  })");
  constexpr size_t kRow = 4000;
  const auto executable = *compile_stateful(*find_backend("cpu"), graph->clone(), {}, std::vector<StatePair>{{"past", "present"}});
  const auto session = *executable->create_session({.max_bytes = 100 * kRow});
  std::mt19937 random(4);
  const std::vector<HostValue> one = {random_tensor(DType::kF32, {1, 1000}, random)};
  int steps = 0;
  Status status;
  for (; status.ok() && steps < 200; ++steps) status = session->run(one).status();
  EXPECT_EQ(status.code(), Code::kResourceExhausted) << status.to_string();
  EXPECT_LE(steps, 50) << "the result alone is as large as the state";
  EXPECT_GE(steps, 17);
}

}  // namespace
}  // namespace tenon::backends
