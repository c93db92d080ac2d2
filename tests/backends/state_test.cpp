// Sessions that keep states: steps with them give, bit for bit, what passing outputs on by hand gives.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <random>

#include "backends/stateful/stateful.h"
#include "frontend/onnx/import.h"
#include "tests/backends/graphs.h"
#include "tests/backends/state_pair.h"

namespace tenon::backends {
namespace {

using ::testing::HasSubstr;

/// Attention over keys and values that grow along axis 2.
constexpr std::string_view kAttention = R"(graph "g" {
  input %q: f32[B, 2, S, 8]
  input %k: f32[B, 2, S, 8]
  input %v: f32[B, 2, S, 8]
  input %past_k: f32[B, 2, P, 8]
  input %past_v: f32[B, 2, P, 8]
  %keys: f32[B, 2, P + S, 8] = Concat(%past_k, %k) {axis = 2}
  %values: f32[B, 2, P + S, 8] = Concat(%past_v, %v) {axis = 2}
  %turned: f32[B, 2, 8, P + S] = Transpose(%keys) {perm = [0, 1, 3, 2]}
  %scores: f32[B, 2, S, P + S] = MatMul(%q, %turned)
  %weights: f32[B, 2, S, P + S] = Softmax(%scores) {axis = -1}
  %y: f32[B, 2, S, 8] = MatMul(%weights, %values)
  output %y
  output %keys
  output %values
})";
const std::vector<StatePair> kKeysAndValues = {{"past_k", "keys"}, {"past_v", "values"}};

/// Steps of these lengths.
void attend(Pair& pair, int64_t batch, std::span<const int64_t> lengths) {
  std::mt19937 random(7);
  for (const int64_t length : lengths) {
    std::map<std::string, Tensor> given;
    for (const char* name : {"q", "k", "v"}) given[name] = random_tensor(DType::kF32, {batch, 2, length, 8}, random);
    pair.step(given);
    if (testing::Test::HasFailure()) return;
  }
}

std::vector<int64_t> prompt_and_tokens(int64_t prompt, int tokens) {
  std::vector<int64_t> out(static_cast<size_t>(tokens), 1);
  out.insert(out.begin(), prompt);
  return out;
}

TEST(State, AttentionReadsKeysAndValuesInPlace) {
  Pair pair(parse(kAttention), kKeysAndValues);
  for (const StateInfo& info : pair.stateful->states()) {
    EXPECT_TRUE(info.in_place) << info.reason;
    EXPECT_EQ(info.axis, 2);
  }
  for (const int64_t batch : {1, 3}) {
    const Tensor empty = *Tensor::zeros(DType::kF32, {batch, 2, 0, 8});
    pair.begin({empty, empty}, false);
    attend(pair, batch, prompt_and_tokens(5, 70));  // beyond its first room, and twice that
  }
}

TEST(State, BeginsWhereItIsSet) {
  Pair pair(parse(kAttention), kKeysAndValues);
  std::mt19937 random(1);
  const Tensor keys = random_tensor(DType::kF32, {2, 2, 19, 8}, random), values = random_tensor(DType::kF32, {2, 2, 19, 8}, random);
  for (int time = 0; time < 2; ++time) {
    pair.begin({keys, values}, true);
    attend(pair, 2, prompt_and_tokens(3, 20));
  }
}

TEST(State, EveryBackendIsRight) {
  for (const char* name : {"reference", "vulkan"}) {
    if (const Status there = find_backend(name)->available(); !there.ok()) continue;
    Pair pair(parse(kAttention), kKeysAndValues, name);
    EXPECT_FALSE(pair.stateful->states()[0].in_place);
    EXPECT_THAT(pair.stateful->states()[0].reason, HasSubstr("memory of their own"));
    const Tensor empty = *Tensor::zeros(DType::kF32, {2, 2, 0, 8});
    pair.begin({empty, empty}, false);
    attend(pair, 2, prompt_and_tokens(4, 5));
  }
}

TEST(State, EveryLevelIsRight) {
  for (const int level : {0, 1, 2}) {
    CompileOptions options;
    options.opt_level = level;
    Pair pair(parse(kAttention), kKeysAndValues, "cpu", options);
    const Tensor empty = *Tensor::zeros(DType::kF32, {2, 2, 0, 8});
    pair.begin({empty, empty}, false);
    attend(pair, 2, prompt_and_tokens(4, 20));
  }
}

TEST(State, GrowsAlongAnyAxis) {
  for (int axis = 0; axis < 3; ++axis) {
    for (const char* dtype : {"f32", "f16", "i64", "bool"}) {
      std::vector<std::string> dims = {"A", "3", "5"};
      if (axis == 0) dims[1] = "A";
      const auto type = [&](const char* element, const char* extent) {
        std::vector<std::string> all = dims;
        all[static_cast<size_t>(axis)] = extent;
        return fmt::format("{}[{}]", element, fmt::join(all, ", "));
      };
      const std::string text = fmt::format(R"(graph "g" {{
        input %x: {}
        input %past: {}
        %present: {} = Concat(%past, %x) {{axis = {}}}
        %cast: {} = Cast(%present) {{to = 11}}
        output %present
        output %cast
      }})", type(dtype, "S"), type(dtype, "P"), type(dtype, "P + S"), axis, type("f64", "P + S"));
      Pair pair(parse(text), {{"past", "present"}});
      EXPECT_TRUE(pair.stateful->states()[0].in_place) << pair.stateful->states()[0].reason;
      Shape shape = {2, 3, 5};
      if (axis == 0) shape[1] = 2;
      shape[static_cast<size_t>(axis)] = 0;
      const DType element = *dtype_from_name(dtype);
      pair.begin({*Tensor::zeros(element, shape)}, false);
      std::mt19937 random(3);
      for (int i = 0; i < 40; ++i) {
        shape[static_cast<size_t>(axis)] = 1 + i % 2;
        pair.step({{"x", random_tensor(element, shape, random)}});
      }
    }
  }
}

/// Readers of the past before, and behind, the present.
TEST(State, ThePastIsReadBesideThePresent) {
  Pair pair(parse(R"(graph "g" {
    input %x: f32[S, 4]
    input %past: f32[P, 4]
    %axes: i64[1] = Constant {value = dense<i64[1], 0>}
    %before: f32[1, 4] = ReduceSum(%past, %axes) {keepdims = 1}
    %new: f32[S, 4] = Add(%x, %before)
    %present: f32[P + S, 4] = Concat(%past, %new) {axis = 0}
    %all: f32[1, 4] = ReduceSum(%present, %axes) {keepdims = 1}
    %again: f32[1, 4] = ReduceMax(%past, %axes) {keepdims = 1}
    %y: f32[1, 4] = Sub(%all, %again)
    output %y
    output %present
  })"), {{"past", "present"}});
  std::mt19937 random(5);
  pair.begin({random_tensor(DType::kF32, {2, 4}, random)}, true);
  for (int i = 0; i < 30; ++i) pair.step({{"x", random_tensor(DType::kF32, {1, 4}, random)}});
}

TEST(State, OpsWithAPastAreOpened) {
  const Graph graph = parse(R"(graph "g" {
    input %q: f32[B, 4, S, 8]
    input %k: f32[B, 2, S, 8]
    input %v: f32[B, 2, S, 8]
    input %past_k: f32[B, 2, P, 8]
    input %past_v: f32[B, 2, P, 8]
    %y: ?, %keys: ?, %values: ? = Attention(%q, %k, %v, _, %past_k, %past_v) {is_causal = 1}
    output %y
    output %keys
    output %values
  })");
  const auto found = find_states(*graph, {});
  ASSERT_TRUE(found.ok()) << found.status().to_string();
  ASSERT_EQ(found->size(), 2u);
  Pair pair(graph, *found);
  EXPECT_TRUE(pair.stateful->states()[0].in_place) << pair.stateful->states()[0].reason;
  const Tensor empty = *Tensor::zeros(DType::kF32, {2, 2, 0, 8});
  pair.begin({empty, empty}, false);
  std::mt19937 random(9);
  for (const int64_t length : prompt_and_tokens(6, 20))
    pair.step({{"q", random_tensor(DType::kF32, {2, 4, length, 8}, random)},
               {"k", random_tensor(DType::kF32, {2, 2, length, 8}, random)},
               {"v", random_tensor(DType::kF32, {2, 2, length, 8}, random)}});
}

TEST(State, FixedShapesBeginAsZerosAndArePassedOn) {
  const Graph graph = parse(R"(graph "g" {
    input %x: f32[B, 3]
    input %at: i64[B]
    input %h: f32[B, 3]
    input %cache: f32[B, 6, 3]
    %sum: f32[B, 3] = Add(%x, %h)
    %next: f32[B, 3] = Tanh(%sum)
    %axes: i64[1] = Constant {value = dense<i64[1], 1>}
    %row: f32[B, 1, 3] = Unsqueeze(%next, %axes)
    %written: f32[B, 6, 3] = TensorScatter(%cache, %row, %at)
    %total: f32[B, 1, 3] = ReduceSum(%written, %axes) {keepdims = 1}
    output %total
    output %next
    output %written
  })");
  const auto found = find_states(*graph, {});
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->size(), 1u);  // the scatter; the other pair is the user's to say
  EXPECT_EQ((*found)[0].input, "cache");
  for (const char* backend : {"cpu", "reference"}) {
    Pair pair(graph, {{"h", "next"}, {"cache", "written"}}, backend);
    EXPECT_EQ(pair.stateful->states()[1].in_place, std::string_view(backend) == "cpu");
    std::mt19937 random(2);
    pair.begin({*Tensor::zeros(DType::kF32, {2, 3}), *Tensor::zeros(DType::kF32, {2, 6, 3})}, false);
    for (int64_t i = 0; i < 6; ++i) pair.step({{"x", random_tensor(DType::kF32, {2, 3}, random)}, {"at", Tensor::from<int64_t>({2}, {i, 5 - i})}});
  }
}

std::string refusal(std::string_view text, std::vector<StatePair> pairs) {
  const auto made = compile_stateful(*find_backend("cpu"), parse(text), {}, pairs);
  return made.ok() ? std::string() : made.status().to_string();
}

TEST(State, WrongPairsAreErrors) {
  EXPECT_THAT(refusal(kAttention, {{"past", "keys"}}), HasSubstr("no input 'past' (state past=keys): choose from q, k, v, past_k, past_v"));
  EXPECT_THAT(refusal(kAttention, {{"past_k", "nothing"}}), HasSubstr("no output 'nothing'"));
  EXPECT_THAT(refusal(kAttention, {{"past_k", "keys"}, {"past_v", "keys"}}), HasSubstr("give each once"));
  EXPECT_THAT(refusal(kAttention, {{"past_k", "keys"}, {"past_k", "values"}}), HasSubstr("give each once"));
  constexpr std::string_view kOdd = R"(graph "g" {
    input %a: f32[2, 3]
    input %b: f32[3]
    input %c: f16[2, 3]
    %x: f32[2, 3] = Relu(%a)
    %y: f32[4, 3] = Concat(%a, %x) {axis = 0}
    output %x
    output %y
  })";
  EXPECT_THAT(refusal(kOdd, {{"b", "x"}}), HasSubstr("one dtype and one rank"));
  EXPECT_THAT(refusal(kOdd, {{"c", "x"}}), HasSubstr("one dtype and one rank"));
  EXPECT_EQ(refusal(kOdd, {{"a", "x"}}), "");
}

TEST(State, RunsSayWhatIsWrong) {
  Pair pair(parse(kAttention), kKeysAndValues);
  std::mt19937 random(4);
  States& states = *pair.session->states();
  EXPECT_EQ(states.get(0).status().code(), Code::kNotFound);
  EXPECT_EQ(states.get(2).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(states.set(0, random_tensor(DType::kF32, {1, 3, 2, 8}, random)).code(), Code::kInvalidArgument);
  EXPECT_EQ(states.set(0, random_tensor(DType::kF16, {1, 2, 2, 8}, random)).code(), Code::kInvalidArgument);
  const Tensor one = random_tensor(DType::kF32, {1, 2, 1, 8}, random), two = random_tensor(DType::kF32, {2, 2, 1, 8}, random);
  const std::vector<HostValue> inputs = {one, one, one}, batch = {two, two, two};
  EXPECT_THAT(pair.session->run({}).status().to_string(), HasSubstr("0 inputs are given, 3 are wanted"));
  ASSERT_TRUE(states.set(0, random_tensor(DType::kF32, {1, 2, 4, 8}, random)).ok());
  EXPECT_THAT(pair.session->run(inputs).status().to_string(), HasSubstr("set all states that grow together"));
  states.reset();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(pair.session->run(inputs).ok());
  EXPECT_FALSE(pair.session->run(batch).ok());  // another batch in the middle of a sequence
  ASSERT_TRUE(pair.session->run(inputs).ok());
  EXPECT_EQ(states.get(0)->shape(), (Shape{1, 2, 4, 8}));
  EXPECT_EQ(states.rewind(5).code(), Code::kInvalidArgument);
  const Tensor before = *states.get(1);
  ASSERT_TRUE(states.rewind(2).ok());
  EXPECT_EQ(states.get(1)->shape(), (Shape{1, 2, 2, 8}));
  ASSERT_TRUE(pair.session->time(inputs, {.runs = 3, .ms = 0}, {}).ok());
  EXPECT_EQ(states.get(1)->shape(), (Shape{1, 2, 2, 8}));
  states.reset();
  ASSERT_TRUE(pair.session->run(batch).ok());
  EXPECT_EQ(states.get(0)->shape(), (Shape{2, 2, 1, 8}));
}

TEST(State, RewindForgetsTheSameInPlaceOrPassedOn) {
  // A cache that grows, beside a counter that nothing makes longer.
  const Graph graph = parse(R"(graph "g" {
    input %k: f32[B, S, 4]
    input %past: f32[B, P, 4]
    input %count: f32[1]
    %one: f32[1] = Constant {value = dense<f32[1], 1>}
    %next: f32[1] = Add(%count, %one)
    %keys: f32[B, P + S, 4] = Concat(%past, %k) {axis = -2}
    %axes: i64[1] = Constant {value = dense<i64[1], 1>}
    %y: f32[B, 4] = ReduceSum(%keys, %axes) {keepdims = 0}
    output %y
    output %keys
    output %next
  })");
  for (const char* backend : {"cpu", "reference", "vulkan"}) {
    SCOPED_TRACE(backend);
    if (!find_backend(backend)->available().ok()) continue;
    std::mt19937 random(6);
    Pair pair(graph, {{"past", "keys"}, {"count", "next"}}, backend);
    States& states = *pair.session->states();
    EXPECT_TRUE(states.rewind(0).ok());  // before there is anything
    EXPECT_EQ(states.rewind(1).code(), Code::kInvalidArgument);
    const Tensor counted = Tensor::from<float>({1}, {5});
    pair.begin({random_tensor(DType::kF32, {2, 3, 4}, random), counted}, true);
    for (int64_t step = 0; step < 3; ++step) pair.step({{"k", random_tensor(DType::kF32, {2, 2, 4}, random)}});
    const Tensor whole = *states.get(0);
    ASSERT_EQ(whole.shape(), (Shape{2, 9, 4}));
    EXPECT_THAT(states.rewind(10).to_string(), HasSubstr("its length is 9, so it cannot be 10"));
    EXPECT_EQ(states.rewind(-1).code(), Code::kInvalidArgument);
    EXPECT_TRUE(same(*states.get(0), whole));  // an error changes nothing
    EXPECT_EQ(states.get(1)->at_double(0), 8);
    ASSERT_TRUE(states.rewind(4).ok());
    const Tensor kept = *states.get(0);
    ASSERT_EQ(kept.shape(), (Shape{2, 4, 4}));
    for (int64_t i = 0; i < kept.size(); ++i) EXPECT_EQ(kept.at_double(i), whole.at_double(i / 16 * 36 + i % 16)) << i;
    EXPECT_TRUE(same(*states.get(1), counted));
    const Tensor more = random_tensor(DType::kF32, {2, 1, 4}, random);
    const auto out = pair.session->run(std::vector<HostValue>{more});
    ASSERT_TRUE(out.ok()) << out.status().to_string();
    for (int64_t i = 0; i < 8; ++i) {
      double sum = more.at_double(i);
      for (int64_t row = 0; row < 4; ++row) sum += kept.at_double(i / 4 * 16 + row * 4 + i % 4);
      EXPECT_NEAR(std::get<Tensor>((*out)[0]).at_double(i), sum, 1e-5) << i;
    }
    EXPECT_EQ(states.get(0)->dim(1), 5);
    EXPECT_TRUE(states.rewind(0).ok());
    EXPECT_EQ(states.get(0)->shape(), (Shape{2, 0, 4}));
  }
}

TEST(State, RewindSeesConcatenationsInsideOps) {
  const Graph graph = parse(R"(graph "g" {
    input %q: f32[B, 2, S, 8]
    input %k: f32[B, 2, S, 8]
    input %v: f32[B, 2, S, 8]
    input %past_k: f32[B, 2, P, 8]
    input %past_v: f32[B, 2, P, 8]
    %y: f32[B, 2, S, 8], %keys: f32[B, 2, P + S, 8], %values: f32[B, 2, P + S, 8] = Attention(%q, %k, %v, _, %past_k, %past_v)
    output %y
    output %keys
    output %values
  })");
  std::mt19937 random(7);
  const Tensor one = random_tensor(DType::kF32, {1, 2, 1, 8}, random);
  for (const char* backend : {"cpu", "reference"}) {
    SCOPED_TRACE(backend);
    Pair pair(graph, kKeysAndValues, backend);
    pair.begin({random_tensor(DType::kF32, {1, 2, 5, 8}, random), random_tensor(DType::kF32, {1, 2, 5, 8}, random)}, true);
    pair.step({{"q", one}, {"k", one}, {"v", one}});
    ASSERT_TRUE(pair.session->states()->rewind(2).ok());
    EXPECT_EQ(pair.session->states()->get(1)->shape(), (Shape{1, 2, 2, 8}));
  }
}

TEST(State, RunsThatFailDoNotBeginThem) {
  const Graph graph = parse(R"(graph "g" {
    input %x: f32[B, 3]
    input %h: f32[B, 3]
    %sum: f32[B, 3] = Add(%x, %h)
    %next: f32[B, 3] = Tanh(%sum)
    output %sum
    output %next
  })");
  std::mt19937 random(5);
  for (const char* backend : {"cpu", "reference"}) {
    Pair pair(graph, {{"h", "next"}}, backend);
    const std::vector<HostValue> wrong = {random_tensor(DType::kF32, {2, 5}, random)}, right = {random_tensor(DType::kF32, {1, 3}, random)};
    EXPECT_FALSE(pair.session->run(wrong).ok());
    EXPECT_EQ(pair.session->states()->get(0).status().code(), Code::kNotFound);
    const auto ran = pair.session->run(right);
    ASSERT_TRUE(ran.ok()) << ran.status().to_string();
  }
}

TEST(State, LengthsThatTheModelFixesAreChecked) {
  std::string text(kAttention);
  for (size_t at; (at = text.find("P + S")) != std::string::npos;) text.replace(at, 5, "12");
  for (size_t at; (at = text.find("P,")) != std::string::npos;) text.replace(at, 2, "11,");
  for (size_t at; (at = text.find("S,")) != std::string::npos;) text.replace(at, 2, "1,");
  Pair pair(parse(text), kKeysAndValues);
  EXPECT_TRUE(pair.stateful->states()[0].in_place);
  std::mt19937 random(4);
  const Tensor one = random_tensor(DType::kF32, {1, 2, 1, 8}, random), past = random_tensor(DType::kF32, {1, 2, 11, 8}, random);
  EXPECT_THAT(pair.session->run(std::vector<HostValue>{one, one, one}).status().to_string(), HasSubstr("the model takes 11 alone"));
  pair.begin({past, past}, true);
  pair.step({{"q", one}, {"k", one}, {"v", one}});
  ASSERT_TRUE(pair.session->states()->rewind(11).ok());
  EXPECT_TRUE(pair.session->run(std::vector<HostValue>{one, one, one}).ok());
}

TEST(State, GrowsNoFurtherThanTheMemoryLimit) {
  const Graph graph = parse(kAttention);
  const auto executable = *compile_stateful(*find_backend("cpu"), graph->clone(), {}, kKeysAndValues);
  constexpr size_t kRow = 2 * 2 * 8 * 4;  // of both
  const auto session = *executable->create_session({.max_bytes = 101 * kRow});  // 100 rows, and what a run gives
  std::mt19937 random(4);
  const Tensor one = random_tensor(DType::kF32, {1, 2, 1, 8}, random);
  int steps = 0;
  Status status;
  while (status.ok() && steps < 200) {
    status = session->run(std::vector<HostValue>{one, one, one}).status();
    steps += status.ok() ? 1 : 0;
  }
  EXPECT_EQ(status.code(), Code::kResourceExhausted) << status.to_string();
  EXPECT_EQ(steps, 100);  // 16, 32, 64, then what is needed
  EXPECT_EQ(session->states()->get(0)->dim(2), 100);
  session->states()->reset();
  EXPECT_TRUE(session->run(std::vector<HostValue>{one, one, one}).ok());
}

TEST(State, ThePastIsNotWrittenAgain) {
  const Graph graph = parse(kAttention);
  const auto executable = *compile_stateful(*find_backend("cpu"), graph->clone(), {}, kKeysAndValues);
  Writes writes;
  const auto session = *executable->create_session({.num_threads = 1, .observer = &writes});
  std::mt19937 random(4);
  const Tensor past = random_tensor(DType::kF32, {1, 2, 1000, 8}, random), one = random_tensor(DType::kF32, {1, 2, 1, 8}, random);
  for (size_t s = 0; s < 2; ++s) ASSERT_TRUE(session->states()->set(s, past).ok());
  ASSERT_TRUE(session->run(std::vector<HostValue>{one, one, one}).ok());
  EXPECT_LE(writes.bytes, 2 * one.bytes() + 4 * one.bytes());
}

/// Also where scores are a product of their own.
TEST(State, ATranspositionReadsThePresentWhereItLies) {
  const Graph graph = parse(R"(graph "g" {
    input %q: f32[1, 2, S, 8]
    input %k: f32[1, 2, S, 8]
    input %past: f32[1, 2, P, 8]
    %keys: f32[1, 2, P + S, 8] = Concat(%past, %k) {axis = 2}
    %turned: f32[1, 2, 8, P + S] = Transpose(%keys) {perm = [0, 1, 3, 2]}
    %scores: f32[1, 2, S, P + S] = MatMul(%q, %turned)
    output %scores
    output %keys
  })");
  const auto executable = *compile_stateful(*find_backend("cpu"), graph->clone(), {}, std::vector<StatePair>{{"past", "keys"}});
  Writes writes;
  const auto session = *executable->create_session({.num_threads = 1, .observer = &writes});
  std::mt19937 random(4);
  const Tensor past = random_tensor(DType::kF32, {1, 2, 1000, 8}, random), one = random_tensor(DType::kF32, {1, 2, 1, 8}, random);
  ASSERT_TRUE(session->states()->set(0, past).ok());
  ASSERT_TRUE(session->run(std::vector<HostValue>{one, one}).ok());
  EXPECT_LE(writes.bytes, one.bytes() + 2 * 1001 * sizeof(float));
}

/// Decoders as an exporter writes them: a prompt, then tokens.
void decode(const std::filesystem::path& file, bool positions) {
  if (!std::filesystem::exists(file)) GTEST_SKIP() << file << " is not there";
  const auto graph = frontend::import_onnx(file, {});
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  const auto found = find_states(**graph, {});
  ASSERT_TRUE(found.ok()) << found.status().to_string();
  ASSERT_EQ(found->size(), 4u);
  Pair pair(*graph, *found);
  for (const StateInfo& info : pair.stateful->states()) EXPECT_TRUE(info.in_place) << info.pair.input << ": " << info.reason;
  std::mt19937 random(11);
  std::vector<Tensor> empty;
  for (const StatePair& state : *found)
    for (const ir::Value* input : (*graph)->inputs())
      if (input->name() == state.input) empty.push_back(*Tensor::zeros(DType::kF32, {2, input->tensor().dim(1).value(), 0, input->tensor().dim(3).value()}));
  pair.begin(std::move(empty), false);
  int64_t past = 0;
  for (const int64_t length : prompt_and_tokens(7, 30)) {
    Tensor ids = *Tensor::zeros(DType::kI64, {2, length}), mask = *Tensor::zeros(DType::kI64, {2, past + length}), at = *Tensor::zeros(DType::kI64, {2, length});
    for (int64_t i = 0; i < ids.size(); ++i) ids.set_int(i, static_cast<int64_t>(random() % 99));
    for (int64_t i = 0; i < mask.size(); ++i) mask.set_int(i, i < past + length || i >= past + length + 2 ? 1 : 0);  // the second row is padded
    for (int64_t i = 0; i < at.size(); ++i) at.set_int(i, past + i % length);
    std::map<std::string, Tensor> given = {{"input_ids", ids}, {"attention_mask", mask}};
    if (positions) given["position_ids"] = at;
    pair.step(given);
    if (testing::Test::HasFailure()) return;
    past += length;
  }
}

const std::filesystem::path kHf = std::filesystem::path(TENON_SOURCE_DIR) / ".." / "shared" / "hf";

TEST(State, Gpt2Decodes) { decode(kHf / "gpt2/text-generation/onnx/model-with-past/model.onnx", true); }
TEST(State, LlamaDecodes) { decode(kHf / "llama/text-generation/onnx/model-with-past/model.onnx", true); }

}  // namespace
}  // namespace tenon::backends
