// Recurrent layers on the CPU: whole sequences in kernels, against the ops' own evaluation, on every level of x86-64 and on
// emulated aarch64.

#include <array>
#include <cmath>
#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "backends/backend.h"
#include "ir/evaluate.h"
#include "ir/parser.h"
#include "support/executor.h"
#include "tests/aarch64/emulator/backend.h"
#include "tests/aarch64/emulator/emulator.h"
#include "tests/ops/recurrent_layer.h"

namespace tenon::backends {
namespace {

using ir::Layer;
using ir::LayerBuilder;
using ir::LayerSpec;

const Backend& cpu() { return *find_backend("cpu"); }

void expect_near(const std::vector<HostValue>& got, const std::vector<HostValue>& want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t o = 0; o < want.size(); ++o) {
    const Tensor &g = std::get<Tensor>(got[o]), &w = std::get<Tensor>(want[o]);
    ASSERT_EQ(g.shape(), w.shape()) << "output " << o;
    for (int64_t i = 0; i < w.size(); ++i) {
      const double a = g.at_double(i), b = w.at_double(i);
      if (std::isnan(a) && std::isnan(b)) continue;
      ASSERT_TRUE(a == b || std::abs(a - b) <= tolerance) << "output " << o << " element " << i << " is " << a << ", not " << b;
    }
  }
}

bool same_bytes(const std::vector<HostValue>& a, const std::vector<HostValue>& b) {
  for (size_t o = 0; o < a.size(); ++o) {
    const Tensor &x = std::get<Tensor>(a[o]), &y = std::get<Tensor>(b[o]);
    if (x.bytes() != y.bytes() || std::memcmp(x.data(), y.data(), x.bytes()) != 0) return false;
  }
  return true;
}

Result<std::vector<HostValue>> run(const Executable& executable, std::span<const HostValue> inputs, int threads) {
  ThreadPool pool(threads);
  SessionOptions options;
  options.num_threads = threads;
  options.executor = &pool;
  TENON_ASSIGN_OR_RETURN(const auto session, executable.create_session(options));
  return session->run(inputs);
}

/// Same values on every level, the same bytes on one and two threads, and no step of the sequence on its own.
void expect_same(const ir::Graph& graph, std::span<const HostValue> inputs, double tolerance) {
  const auto want = ir::evaluate_graph(graph, inputs);
  ASSERT_TRUE(want.ok()) << want.status().to_string();
  for (const char* target : {"x86-64-v2", "x86-64-v3", "x86-64-v4"}) {
    SCOPED_TRACE(target);
    CompileOptions options;
    options.target = target;
    const auto executable = cpu().compile(graph, options);
    if (!executable.ok() && executable.status().code() == Code::kUnsupported) continue;  // this machine lacks the level
    ASSERT_TRUE(executable.ok()) << executable.status().to_string();
    for (const Placement& row : (*executable)->placement())
      EXPECT_NE(row.kind, Placement::Kind::kHost) << row.node << ": " << row.implementation << ", " << row.reason;
    const auto one = run(**executable, inputs, 1), two = run(**executable, inputs, 2);
    ASSERT_TRUE(one.ok()) << one.status().to_string();
    ASSERT_TRUE(two.ok()) << two.status().to_string();
    expect_near(*one, *want, tolerance);
    EXPECT_TRUE(same_bytes(*one, *two));
  }
  if (!emulator::Emulator::available().ok()) return;
  CompileOptions options;
  options.target = emulator::targets().back();
  const auto emulated = emulator::emulated_backend().compile(graph, options);
  ASSERT_TRUE(emulated.ok()) << emulated.status().to_string();
  const auto got = run(**emulated, inputs, 1);
  ASSERT_TRUE(got.ok()) << got.status().to_string();
  expect_near(*got, *want, tolerance);
}

void expect_same(const LayerSpec& spec, uint64_t seed = 1) {
  Layer layer;
  LayerBuilder(spec, layer, seed).build();
  expect_same(layer.graph, layer.inputs, spec.dtype == DType::kF64 ? 1e-9 : spec.dtype == DType::kF32 ? 2e-5 : 4e-3);
}

TEST(RecurrentOnCpu, EveryDirection) {
  for (const char* op : {"RNN", "GRU", "LSTM"})
    for (const char* direction : {"forward", "reverse", "bidirectional"})
      for (const bool symbolic : {false, true}) {
        SCOPED_TRACE(fmt::format("{} {} symbolic {}", op, direction, symbolic));
        expect_same({.op = op, .direction = direction, .hidden = 21, .dtype = DType::kF32, .symbolic = symbolic});
      }
}

TEST(RecurrentOnCpu, Options) {
  for (const char* op : {"RNN", "GRU", "LSTM"}) {
    SCOPED_TRACE(op);
    const LayerSpec plain{.op = op, .direction = "bidirectional", .dtype = DType::kF32};
    for (auto attrs : std::vector<std::vector<std::pair<std::string, ir::Attr>>>{{{"layout", int64_t{1}}}, {{"clip", 0.3}}}) {
      LayerSpec spec = plain;
      spec.attrs = attrs;
      expect_same(spec);
    }
    for (const bool data : {false, true}) {
      LayerSpec spec = plain;
      spec.lengths = {5, 0, 2};
      spec.lengths_are_data = data;
      expect_same(spec);
    }
    LayerSpec bare = plain;
    bare.bias = bare.initial = false;
    expect_same(bare);
  }
  expect_same({.op = "GRU", .dtype = DType::kF32, .attrs = {{"linear_before_reset", int64_t{1}}}});
  expect_same({.dtype = DType::kF32, .peepholes = true, .attrs = {{"input_forget", int64_t{1}}}});
}

TEST(RecurrentOnCpu, LargeEnoughForTwoThreads) {
  for (const char* op : {"RNN", "GRU", "LSTM"})
    for (const int64_t batch : {1, 2, 7}) {
      SCOPED_TRACE(fmt::format("{} batch {}", op, batch));
      expect_same({.op = op, .steps = 7, .batch = batch, .input = 33, .hidden = 300, .dtype = DType::kF32, .symbolic = batch == 7, .scale = 0.1});
    }
}

TEST(RecurrentOnCpu, RandomShapes) {
  std::mt19937 random(11);
  for (uint64_t round = 0; round < 24; ++round) {
    LayerSpec s{.op = std::array{"RNN", "GRU", "LSTM"}[random() % 3], .direction = std::array{"forward", "reverse", "bidirectional"}[random() % 3]};
    s.steps = 2 + static_cast<int64_t>(random() % 6);
    s.batch = 1 + static_cast<int64_t>(random() % 15);
    s.input = 1 + static_cast<int64_t>(random() % 9);
    s.hidden = 2 + static_cast<int64_t>(random() % 70);
    s.dtype = std::array{DType::kF64, DType::kF32, DType::kF16}[random() % 3];
    s.symbolic = random() % 2 == 0;
    s.bias = random() % 2 == 0;
    s.initial = random() % 2 == 0;
    SCOPED_TRACE(fmt::format("round {}: {} {} steps {} batch {} input {} hidden {} {}", round, s.op, s.direction, s.steps, s.batch, s.input,
                             s.hidden, name(s.dtype)));
    expect_same(s, round);
  }
}

TEST(RecurrentOnCpu, NoSteps) {
  for (const char* op : {"RNN", "GRU", "LSTM"}) expect_same({.op = op, .steps = 0, .dtype = DType::kF32, .symbolic = true});
}

/// A recurrence that no op stands for: the product of the new state comes out, and one state follows the other.
TEST(RecurrentOnCpu, ScanOfOtherSteps) {
  const auto graph = ir::parse_text(R"(graph "g" {
  input %a0: f32[B, 20]
  input %b0: f32[B, 20]
  input %x: f32[T, B, 20]
  input %w: f32[20, 20]
  input %v: f32[20, 9]
  %a: f32[B, 20], %b: f32[B, 20], %y: f32[T, B, 9], %z: f32[T, B, 20] = Scan(%a0, %b0, %x) {num_scan_inputs = 1} region {
    input %s: f32[B, 20]
    input %r: f32[B, 20]
    input %t: f32[B, 20]
    %p: f32[B, 20] = MatMul(%s, %w)
    %q: f32[B, 20] = Add(%p, %t)
    %n: f32[B, 20] = Tanh(%q)
    %m: f32[B, 9] = MatMul(%n, %v)
    %o: f32[B, 9] = Relu(%m)
    %c: f32[B, 20] = Sub(%r, %t)
    output %n
    output %s
    output %o
    output %c
  }
  output %a
  output %b
  output %y
  output %z
})");
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  std::mt19937 random(3);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (const auto& [steps, batch] : std::array<std::pair<int64_t, int64_t>, 3>{{{6, 3}, {1, 1}, {5, 8}}}) {
    std::vector<HostValue> inputs;
    for (const Shape& shape : {Shape{batch, 20}, Shape{batch, 20}, Shape{steps, batch, 20}, Shape{20, 20}, Shape{20, 9}}) {
      Tensor t = *Tensor::zeros(DType::kF32, shape);
      for (int64_t i = 0; i < t.size(); ++i) t.set_double(i, uniform(random));
      inputs.push_back(std::move(t));
    }
    expect_same(**graph, inputs, 2e-5);
  }
}

}  // namespace
}  // namespace tenon::backends
