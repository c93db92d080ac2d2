// Small models that ask for much: refused before anything is allocated, stopped in time, on every backend.

#include <sys/resource.h>

#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/backend.h"
#include "ir/graph.h"
#include "ir/parser.h"

namespace tenon::backends {
namespace {

using ::testing::HasSubstr;

constexpr size_t kLimit = size_t{64} << 20;

Tensor ints(std::vector<int64_t> values) { return Tensor::from<int64_t>({static_cast<int64_t>(values.size())}, values); }

long peak_kib() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

std::shared_ptr<const Executable> compiled(std::string_view backend, const std::string& text) {
  auto graph = ir::parse_text(text);
  EXPECT_TRUE(graph.ok()) << graph.status().to_string();
  if (!graph.ok()) return nullptr;
  auto executable = find_backend(backend)->compile(**graph, {});
  EXPECT_TRUE(executable.ok()) << executable.status().to_string();
  return executable.ok() ? *executable : nullptr;
}

struct Bomb {
  const char* name;
  const char* text;
  std::vector<HostValue> inputs;
};
void PrintTo(const Bomb& bomb, std::ostream* out) { *out << bomb.name; }

/// Each would take gigabytes; sizes come in at run time, where no inference sees them.
std::vector<Bomb> bombs() {
  const int64_t n = int64_t{1} << 30;
  const Tensor one = Tensor::from<float>({1}, {1});
  return {
      {"ConstantOfShape", R"(graph "g" {
  input %s: i64[1]
  %y: ? = ConstantOfShape(%s)
  output %y
})", {ints({n})}},
      {"Expand", R"(graph "g" {
  input %x: f32[1]
  input %s: i64[1]
  %y: ? = Expand(%x, %s)
  output %y
})", {one, ints({n})}},
      {"Tile", R"(graph "g" {
  input %x: f32[1]
  input %s: i64[1]
  %y: ? = Tile(%x, %s)
  output %y
})", {one, ints({n})}},
      {"Range", R"(graph "g" {
  input %n: i64[]
  %a: i64[] = Constant {value = dense<i64[], 0>}
  %d: i64[] = Constant {value = dense<i64[], 1>}
  %y: ? = Range(%a, %n, %d)
  output %y
})", {Tensor::scalar<int64_t>(n)}},
      {"Pad", R"(graph "g" {
  input %x: f32[1]
  input %s: i64[2]
  %y: ? = Pad(%x, %s)
  output %y
})", {one, ints({0, n})}},
      {"Resize", R"(graph "g" {
  input %x: f32[1, 1, 1, 1]
  input %s: i64[4]
  %y: ? = Resize(%x, _, _, %s) {mode = "linear"}
  output %y
})", {Tensor::from<float>({1, 1, 1, 1}, {1}), ints({1, 1, 1 << 15, 1 << 15})}},
      {"OneHot", R"(graph "g" {
  input %i: i64[1]
  input %n: i64[]
  %v: f32[2] = Constant {value = dense<f32[2], 0, 1>}
  %y: ? = OneHot(%i, %n, %v)
  output %y
})", {ints({1}), Tensor::scalar<int64_t>(n)}},
      {"ConcatInALoop", R"(graph "g" {
  input %x: f32[N]
  %trips: i64[] = Constant {value = dense<i64[], 40>}
  %y: ? = Loop(%trips, _, %x) region {
    input %i: i64[]
    input %c: bool[]
    input %v: ?
    %more: bool[] = Identity(%c)
    %w: ? = Concat(%v, %v) {axis = 0}
    output %more
    output %w
  }
  output %y
})", {one}},
      {"StackedOutputOfALoop", R"(graph "g" {
  input %x: f32[1048576]
  %trips: i64[] = Constant {value = dense<i64[], 1000000>}
  %y: ? = Loop(%trips, _) region {
    input %i: i64[]
    input %c: bool[]
    %more: bool[] = Identity(%c)
    %w: f32[1048576] = Neg(%x)
    output %more
    output %w
  }
  output %y
})", {*Tensor::zeros(DType::kF32, {1 << 20})}},
      {"Contraction", R"(graph "g" {
  input %x: f32[N, 1]
  input %y: f32[1, N]
  %z: f32[N, N] = MatMul(%x, %y)
  output %z
})", {*Tensor::zeros(DType::kF32, {1 << 15, 1}), *Tensor::zeros(DType::kF32, {1, 1 << 15})}},
      {"ScratchOfATransform", R"(graph "g" {
  input %x: f32[1, 2, 2]
  input %n: i64[]
  %axis: i64[] = Constant {value = dense<i64[], 1>}
  %y: ? = DFT(%x, %n, %axis) {inverse = 1, onesided = 1}
  output %y
})", {*Tensor::zeros(DType::kF32, {1, 2, 2}), Tensor::scalar<int64_t>(1 << 23)}},
  };
}

class Bombs : public testing::TestWithParam<std::tuple<std::string_view, Bomb>> {};

TEST_P(Bombs, AreRefusedBeforeTheyAreAllocated) {
  const auto& [backend, bomb] = GetParam();
  const auto executable = compiled(backend, bomb.text);
  ASSERT_NE(executable, nullptr);
  SessionOptions options;
  options.max_bytes = kLimit;
  auto session = executable->create_session(options);
  ASSERT_TRUE(session.ok());
  const long before = peak_kib();
  const auto outputs = (*session)->run(bomb.inputs, Interrupt::after(std::chrono::minutes(5)));
  EXPECT_EQ(outputs.status().code(), Code::kResourceExhausted) << outputs.status().to_string();
  EXPECT_LT(peak_kib() - before, static_cast<long>(6 * kLimit >> 10)) << "something large was allocated";
}

INSTANTIATE_TEST_SUITE_P(Backends, Bombs, testing::Combine(testing::Values("reference", "cpu"), testing::ValuesIn(bombs())),
                         [](const auto& info) { return fmt::format("{}_{}", std::get<0>(info.param), std::get<1>(info.param).name); });

constexpr const char* kEndless = R"(graph "g" {
  input %x: f32[N]
  %go: bool[] = Constant {value = dense<bool[], 1>}
  %y: f32[N] = Loop(_, %go, %x) region {
    input %i: i64[]
    input %c: bool[]
    input %v: f32[N]
    %more: bool[] = Identity(%c)
    %w: f32[N] = Sin(%v)
    output %more
    output %w
  }
  output %y
})";

class Endless : public testing::TestWithParam<std::string_view> {
 protected:
  void SetUp() override {
    executable_ = compiled(GetParam(), kEndless);
    ASSERT_NE(executable_, nullptr);
    session_ = *executable_->create_session({});
  }
  const std::vector<HostValue> inputs_ = {*Tensor::zeros(DType::kF32, {1 << 16})};
  std::shared_ptr<const Executable> executable_;
  std::unique_ptr<Session> session_;
};

TEST_P(Endless, LoopsStopAtTheDeadline) {
  const auto outputs = session_->run(inputs_, Interrupt::after(std::chrono::milliseconds(200)));
  EXPECT_EQ(outputs.status().code(), Code::kDeadlineExceeded) << outputs.status().to_string();
}

TEST_P(Endless, LoopsStopWhenAnotherThreadSaysSo) {
  std::atomic<bool> cancel = false;
  Interrupt interrupt = Interrupt::after(std::chrono::hours(1));
  interrupt.cancel = &cancel;
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    cancel = true;
  });
  const auto outputs = session_->run(inputs_, interrupt);
  other.join();
  EXPECT_EQ(outputs.status().code(), Code::kCancelled) << outputs.status().to_string();
}

TEST_P(Endless, LoopsOfManyTripsAreRefused) {
  const std::vector<HostValue> small = {*Tensor::zeros(DType::kF32, {1})};
  const auto outputs = session_->run(small, Interrupt::after(std::chrono::minutes(10)));
  EXPECT_EQ(outputs.status().code(), Code::kResourceExhausted) << outputs.status().to_string();
}

INSTANTIATE_TEST_SUITE_P(Backends, Endless, testing::Values("reference", "cpu"), [](const auto& info) { return std::string(info.param); });

TEST(Limits, ASessionRunsAgainAfterARefusal) {
  const std::string text = bombs()[1].text;  // Expand
  const Tensor one = Tensor::from<float>({1}, {7});
  for (std::string_view backend : {"reference", "cpu"}) {
    const auto executable = compiled(backend, text);
    SessionOptions options;
    options.max_bytes = kLimit;
    const auto session = *executable->create_session(options);
    for (int round = 0; round < 3; ++round) {
      const std::vector<HostValue> huge = {one, ints({int64_t{1} << 30})}, small = {one, ints({1 << 20})};
      EXPECT_EQ(session->run(huge).status().code(), Code::kResourceExhausted) << backend;
      const auto out = session->run(small);
      ASSERT_TRUE(out.ok()) << backend << out.status().to_string();
      EXPECT_EQ(std::get<Tensor>((*out)[0]).at_double((1 << 20) - 1), 7);
    }
  }
}

TEST(Limits, CompilationStopsAtTheDeadline) {
  auto graph = *ir::parse_text(kEndless);
  CompileOptions options;
  options.interrupt = Interrupt::after(-std::chrono::seconds(1));
  EXPECT_EQ(find_backend("cpu")->compile(*graph, options).status().code(), Code::kDeadlineExceeded);
}

}  // namespace
}  // namespace tenon::backends
