#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <thread>

#include "backends/backend.h"
#include "eval/compare.h"
#include "frontend/onnx/import.h"
#include "ir/graph.h"
#include "ir/op.h"
#include "ir/parser.h"

namespace tenon::backends {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<ir::Graph> graph_of(std::string_view text) {
  auto graph = ir::parse_text(text);
  EXPECT_TRUE(graph.ok()) << graph.status().to_string();
  return graph.ok() ? std::move(*graph) : nullptr;
}

std::shared_ptr<const Executable> compile(const ir::Graph& graph, const CompileOptions& options = {}) {
  auto executable = find_backend("cpu")->compile(graph, options);
  EXPECT_TRUE(executable.ok()) << executable.status().to_string();
  return executable.ok() ? *executable : nullptr;
}

Result<std::vector<HostValue>> run(const Executable& executable, const std::vector<HostValue>& inputs, const SessionOptions& options = {}) {
  TENON_ASSIGN_OR_RETURN(auto session, executable.create_session(options));
  return session->run(inputs);
}

std::vector<HostValue> reference(const ir::Graph& graph, const std::vector<HostValue>& inputs) {
  auto executable = find_backend("reference")->compile(graph, {});
  auto out = run(**executable, inputs);
  EXPECT_TRUE(out.ok()) << out.status().to_string();
  return out.ok() ? *out : std::vector<HostValue>();
}

Tensor wave(Shape shape, double step = 0.37) {
  Tensor out = *Tensor::zeros(DType::kF32, std::move(shape));
  for (int64_t i = 0; i < out.size(); ++i) out.set_double(i, std::sin(static_cast<double>(i) * step));
  return out;
}

void expect_agreement(const std::vector<HostValue>& expected, const Result<std::vector<HostValue>>& actual, const std::string& what = {}) {
  ASSERT_TRUE(actual.ok()) << what << actual.status().to_string();
  ASSERT_EQ(actual->size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto difference = eval::compare(expected[i], (*actual)[i], {.rtol = 1e-4, .atol = 0, .scaled_atol = 1e-5});
    EXPECT_TRUE(difference.ok) << what << "output " << i << ": " << difference.message;
  }
}

const Placement* row(const Executable& executable, std::string_view op) {
  const auto& rows = executable.placement();
  const auto found = std::ranges::find(rows, op, &Placement::op);
  return found == rows.end() ? nullptr : &*found;
}

constexpr std::string_view kAttention = R"(graph "g" {
  input %q: f32[B, S, 32]
  input %k: f32[B, T, 32]
  %kt: f32[B, 32, T] = Transpose(%k) {perm = [0, 2, 1]}
  %scores: f32[B, S, T] = MatMul(%q, %kt)
  %weights: f32[B, S, T] = Softmax(%scores) {axis = -1}
  %out: f32[B, S, 32] = MatMul(%weights, %k)
  output %out
})";

// Packed weights of 24 columns in a panel of more: several kernels write parts of what is made once.
TEST(Cpu, PacksWeightsFromSeveralConstants) {
  ir::Graph graph;
  ir::Builder b(graph);
  ir::Value* x = graph.add_input("x", ir::TensorType(DType::kU8, {40, 27}));
  Tensor w = *Tensor::zeros(DType::kI8, {27, 24}), zero = *Tensor::zeros(DType::kI8, {24});
  for (int64_t i = 0; i < w.size(); ++i) w.set_int(i, i % 41 - 20);
  for (int64_t i = 0; i < zero.size(); ++i) zero.set_int(i, i % 5);
  graph.add_output(b.make("MatMulInteger", {x, b.constant(w), b.constant(Tensor::scalar<uint8_t>(114)), b.constant(zero)}));
  ASSERT_TRUE(b.status().ok()) << b.status().to_string();
  Tensor given = *Tensor::zeros(DType::kU8, {40, 27});
  for (int64_t i = 0; i < given.size(); ++i) given.set_int(i, i * 7 % 256);
  const std::vector<HostValue> inputs = {given};
  expect_agreement(reference(graph, inputs), run(*compile(graph), inputs));
}

// Features before frames in memory: the weights are packed nevertheless, and their columns run in lanes.
TEST(Cpu, ProductsWithConstantsMayBeStoredTransposed) {
  for (const bool batched : {false, true}) {
    ir::Graph graph;
    ir::Builder b(graph);
    const ir::Dim frames = graph.dims().symbol("F"), batch = graph.dims().symbol("B");
    const std::vector<ir::Dim> dims = batched ? std::vector<ir::Dim>{batch, frames, 40} : std::vector<ir::Dim>{frames, 40};
    ir::Value* x = graph.add_input("x", ir::TensorType(DType::kF32, dims));
    ir::Value* product = b.make("Add", {b.make("MatMul", {x, b.constant(wave({40, 53}))}), b.constant(wave({53}, 0.9))});
    graph.add_output(b.make("Transpose", {b.make("Relu", {product})}, {{"perm", batched ? std::vector<int64_t>{0, 2, 1} : std::vector<int64_t>{1, 0}}}));
    ASSERT_TRUE(b.status().ok()) << b.status().to_string();
    const auto executable = compile(graph);
    ASSERT_EQ(executable->placement().size(), 1u);
    EXPECT_THAT(executable->placement()[0].implementation, HasSubstr("stored transposed"));
    auto session = *executable->create_session();
    for (const int64_t f : {1, 3, 8, 17, 100, 0}) {
      const std::vector<HostValue> in = {wave(batched ? Shape{3, f, 40} : Shape{f, 40}, 0.21)};
      expect_agreement(reference(graph, in), session->run(in), fmt::format("{} frames: ", f));
    }
  }
}

TEST(Cpu, OneCompilationServesEveryShape) {
  auto graph = graph_of(kAttention);
  ASSERT_NE(graph, nullptr);
  auto executable = compile(*graph);
  auto session = *executable->create_session();
  for (const auto& [b, s, t] : {std::tuple<int64_t, int64_t, int64_t>{1, 1, 1}, {2, 17, 40}, {3, 5, 129}, {1, 0, 7}, {2, 17, 40}}) {
    const std::vector<HostValue> in = {wave({b, s, 32}), wave({b, t, 32}, 0.11)};
    expect_agreement(reference(*graph, in), session->run(in), fmt::format("{} {} {}: ", b, s, t));
  }
}

TEST(Cpu, OutputsDoNotDependOnTheNumberOfThreads) {
  auto graph = graph_of(kAttention);
  ASSERT_NE(graph, nullptr);
  auto executable = compile(*graph);
  ThreadPool pool(4);
  const std::vector<HostValue> in = {wave({4, 200, 32}), wave({4, 301, 32}, 0.11)};
  std::vector<float> first;
  for (int threads : {1, 2, 3, 4}) {
    SessionOptions options;
    options.executor = &pool;
    options.num_threads = threads;
    auto out = run(*executable, in, options);
    ASSERT_TRUE(out.ok());
    const auto values = std::get<Tensor>((*out)[0]).span<float>();
    if (first.empty()) first.assign(values.begin(), values.end());
    EXPECT_TRUE(std::ranges::equal(first, values)) << threads << " threads";
  }
}

TEST(Cpu, SessionsOfOneExecutableRunAtTheSameTime) {
  auto graph = graph_of(R"(graph "g" {
    input %x: f32[N, 8]
    %y: f32[N, 8] = Exp(%x)
    %at: i64[2, K] = NonZero(%y)
    %rows: i64[K, 2] = Transpose(%at) {perm = [1, 0]}
    %picked: f32[K] = GatherND(%y, %rows)
    output %picked
  })");
  ASSERT_NE(graph, nullptr);
  auto executable = compile(*graph);
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int64_t t = 1; t <= 4; ++t)
    threads.emplace_back([&, t] {
      auto session = *executable->create_session();
      for (int64_t round = 0; round < 20; ++round) {
        const int64_t n = t * 10 + round % 3;
        const HostValue in = *Tensor::zeros(DType::kF32, {n, 8});
        auto out = session->run({&in, 1});
        if (!out.ok() || std::get<Tensor>((*out)[0]).size() != n * 8 || std::get<Tensor>((*out)[0]).at_double(n) != 1) ++wrong;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Cpu, DimsThatMustBeEqualAreChecked) {
  auto graph = graph_of(R"(graph "g" {
    input %a: f32[N]
    input %b: f32[M]
    %c: f32[N] = Add(%a, %b) "sum"
    output %c
  })");
  ASSERT_NE(graph, nullptr);
  auto executable = compile(*graph);
  EXPECT_TRUE(run(*executable, {wave({7}), wave({7})}).ok());
  const Status status = run(*executable, {wave({700}), wave({3})}).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_THAT(status.to_string(), HasSubstr("N = 700 and M = 3"));
  EXPECT_THAT(status.to_string(), HasSubstr("sum"));
}

TEST(Cpu, IndicesOutsideTheirTensorAreErrors) {
  auto graph = graph_of(R"(graph "g" {
    input %x: f32[N]
    input %i: i64[K]
    %y: f32[K] = Gather(%x, %i) {axis = 0} "pick"
    output %y
  })");
  ASSERT_NE(graph, nullptr);
  const Status status = run(*compile(*graph), {wave({4}), Tensor::from<int64_t>({2}, {1, 4})}).status();
  EXPECT_EQ(status.code(), Code::kOutOfRange);
  EXPECT_THAT(status.to_string(), HasSubstr("pick"));
}

TEST(Cpu, NodesWithoutKernelsRunOnTheHostAndSayWhy) {
  auto graph = graph_of(R"(graph "g" {
    input %x: f32[N]
    %small: f8e4m3fn[N] = Cast(%x) {to = 17}
    %back: f32[N] = Cast(%small) {to = 1}
    %y: f32[N] = Neg(%back)
    output %y
  })");
  ASSERT_NE(graph, nullptr);
  auto executable = compile(*graph);
  const Placement* cast = row(*executable, "Cast");
  ASSERT_NE(cast, nullptr);
  EXPECT_EQ(cast->kind, Placement::Kind::kHost);
  EXPECT_THAT(cast->reason, HasSubstr("f8"));
  const std::vector<HostValue> in = {wave({11})};
  expect_agreement(reference(*graph, in), run(*executable, in));
}

TEST(Cpu, WeightsOfOtherSizesArePackedByTheSameKernels) {
  ir::Graph graph;
  ir::Builder b(graph);
  ir::Value* x = graph.add_input("x", ir::TensorType(DType::kF32, {graph.dims().symbol("N"), 64}));
  int64_t columns = 64;  // multiples of the widest tile: all of one shape on any processor
  for (const int64_t next : {128, 192, 256, 320, 384}) {
    Tensor weights = wave({columns, next}, 0.1 + 0.01 * static_cast<double>(next));
    for (int64_t i = 0; i < weights.size(); ++i) weights.set_double(i, weights.at_double(i) / 4);  // five layers must not amplify round-off
    x = b.make("Tanh", {b.make("MatMul", {x, b.constant(std::move(weights))})});
    columns = next;
  }
  graph.add_output(x);
  ASSERT_TRUE(b.status().ok()) << b.status().to_string();
  auto executable = compile(graph);
  ASSERT_NE(executable, nullptr);
  EXPECT_LE(executable->stats().kernels, executable->stats().dispatches + 2);
  const std::vector<HostValue> in = {wave({7, 64})};
  expect_agreement(reference(graph, in), run(*executable, in));
}

TEST(Cpu, EqualLayersShareTheirKernels) {
  std::string text = "graph \"g\" {\n  input %x0: f32[N, 24]\n  input %w: f32[24, 24]\n";
  for (int i = 0; i < 6; ++i)
    text += fmt::format("  %m{0}: f32[N, 24] = MatMul(%x{0}, %w)\n  %x{1}: f32[N, 24] = Tanh(%m{0})\n", i, i + 1);
  auto graph = graph_of(text + "  output %x6\n}");
  ASSERT_NE(graph, nullptr);
  auto executable = compile(*graph);
  EXPECT_GE(executable->stats().dispatches, 6);
  EXPECT_LE(executable->stats().kernels, executable->stats().dispatches / 6);
  const std::vector<HostValue> in = {wave({5, 24}), wave({24, 24}, 0.7)};
  expect_agreement(reference(*graph, in), run(*executable, in));
}

TEST(Cpu, OpenBlasIsAnImplementationOfMatrixProducts) {
  auto graph = graph_of(R"(graph "g" {
    input %a: f32[B, 1, M, 40]
    input %b: f32[3, 40, 50]
    input %c: f32[60, 50]
    %ab: f32[B, 3, M, 50] = MatMul(%a, %b) "batched"
    %ct: f32[50, 60] = Transpose(%c) {perm = [1, 0]}
    %d: f32[B, 3, M, 60] = MatMul(%ab, %ct) "plain"
    output %d
  })");
  ASSERT_NE(graph, nullptr);
  CompileOptions options;
  options.matmul = "openblas";
  options.opt_level = 1;
  auto executable = compile(*graph, options);
  const Placement* product = row(*executable, "MatMul");
  ASSERT_NE(product, nullptr);
  if (product->kind != Placement::Kind::kLibrary) GTEST_SKIP() << product->reason;
  const std::vector<HostValue> in = {wave({2, 1, 130, 40}), wave({3, 40, 50}, 0.7), wave({60, 50}, 0.3)};
  expect_agreement(reference(*graph, in), run(*executable, in));
}

TEST(Cpu, OptionsAreChecked) {
  auto graph = graph_of("graph \"g\" {\n  input %x: f32[N]\n  %y: f32[N] = Neg(%x)\n  output %y\n}");
  ASSERT_NE(graph, nullptr);
  CompileOptions options;
  options.matmul = "mkl";
  EXPECT_EQ(find_backend("cpu")->compile(*graph, options).status().code(), Code::kInvalidArgument);
  options = {};
  options.target = "z80";
  EXPECT_EQ(find_backend("cpu")->compile(*graph, options).status().code(), Code::kInvalidArgument);
  SessionOptions few;
  few.num_threads = -1;
  EXPECT_EQ(compile(*graph)->create_session(few).status().code(), Code::kInvalidArgument);
}

TEST(Cpu, MemoryBeyondTheLimitIsRefusedBeforeItIsTaken) {
  auto graph = graph_of(kAttention);
  ASSERT_NE(graph, nullptr);
  auto executable = compile(*graph);
  SessionOptions options;
  options.max_bytes = 1 << 17;
  EXPECT_TRUE(run(*executable, {wave({1, 8, 32}), wave({1, 8, 32})}, options).ok());
  const Status status = run(*executable, {wave({1, 2000, 32}), wave({1, 2000, 32})}, options).status();
  EXPECT_EQ(status.code(), Code::kResourceExhausted) << status.to_string();
}

TEST(Cpu, AttentionToNothingGivesWhatItsDefinitionGives) {
  // Weights of masked keys are chosen 0, also in a row whose softmax is 0/0 for want of any key.
  auto masked = graph_of(R"(graph "g" {
    input %q: f32[1, 2, 5, 8]
    input %k: f32[1, 2, 8, 9]
    input %v: f32[1, 2, 9, 16]
    input %m: f32[1, 1, 5, 9]
    input %r: f32[1, 1, 5, 1]
    %zero: f32[] = Constant {value = dense<f32[], 0>}
    %inf: f32[] = Constant {value = dense<f32[], -inf>}
    %s: ? = MatMul(%q, %k)
    %kept: ? = Greater(%m, %zero)
    %sm: ? = Where(%kept, %s, %inf)
    %p: ? = Softmax(%sm) {axis = -1}
    %a: ? = Where(%kept, %p, %zero)
    %y: ? = MatMul(%a, %v)
    %plain: ? = Softmax(%s) {axis = -1}
    %some: ? = Where(%kept, %plain, %zero)
    %rows: ? = Greater(%r, %zero)
    %either: ? = Where(%rows, %some, %plain)
    %z: ? = MatMul(%either, %v)
    output %y
    output %z
  })");
  ASSERT_NE(masked, nullptr);
  Tensor mask = wave({1, 1, 5, 9});
  for (int64_t i = 18; i < 27; ++i) mask.set_double(i, -1);  // no key for the third row
  const std::vector<HostValue> in = {wave({1, 2, 5, 8}), wave({1, 2, 8, 9}, 0.7), wave({1, 2, 9, 16}, 0.3), mask, wave({1, 1, 5, 1}, 1.7)};
  expect_agreement(reference(*masked, in), run(*compile(*masked), in), "masked");

  auto memory = graph_of(R"(graph "g" {
    input %q: f32[1, 2, 3, 8]
    input %k: f32[1, 2, K, 8]
    input %v: f32[1, 2, K, 8]
    %y: ? = Attention(%q, %k, %v) {}
    output %y
  })");
  ASSERT_NE(memory, nullptr);
  auto executable = compile(*memory);
  for (int64_t keys : {0, 1, 40}) {
    const std::vector<HostValue> given = {wave({1, 2, 3, 8}), wave({1, 2, keys, 8}, 0.7), wave({1, 2, keys, 8}, 0.3)};
    expect_agreement(reference(*memory, given), run(*executable, given), fmt::format("{} keys", keys));
  }
}

TEST(Cpu, YunetServesThreeShapesFromOneCompilation) {
  const std::filesystem::path model = std::filesystem::path(TENON_SOURCE_DIR) / "../shared/models/detect/yunet-n-dynamic/model.onnx";
  if (!std::filesystem::exists(model)) GTEST_SKIP() << "../shared/models is not there";
  auto graph = frontend::import_onnx(model);
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  auto executable = compile(**graph);  // the only compilation
  auto session = *executable->create_session();
  for (const Shape& shape : {Shape{1, 3, 160, 224}, Shape{2, 3, 320, 320}, Shape{1, 3, 97, 131}}) {
    const std::vector<HostValue> in = {wave(shape)};
    expect_agreement(reference(**graph, in), session->run(in), to_string(shape) + " ");
  }
  fmt::print("1 compilation, {} kernels, {} dispatches\n", executable->stats().kernels, executable->stats().dispatches);
}

}  // namespace
}  // namespace tenon::backends
