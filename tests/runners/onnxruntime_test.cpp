// ONNX Runtime through Node against the reference interpreter; skipped where it is not installed (make runners).

#include <cmath>

#include "frontend/onnx/export.h"
#include "tests/runners/support.h"

namespace tenon::backends {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class OnnxRuntime : public ::testing::Test {
 protected:
  void SetUp() override {
    const Status status = find_backend("onnxruntime")->available();
    if (!status.ok()) GTEST_SKIP() << status.to_string();
  }
  const Backend& ort() const { return *find_backend("onnxruntime"); }
  Result<std::vector<HostValue>> run(const Backend& backend, const ir::Graph& graph, const std::vector<HostValue>& inputs) const {
    TENON_ASSIGN_OR_RETURN(const auto session, open(backend, graph, {.num_threads = 1}));
    return session->run(inputs);
  }
};

TEST_F(OnnxRuntime, AgreesWithTheReference) {
  const auto graph = parse(R"(graph "g" {
  input %x: f32[N, 4]
  input %i: i64[N]
  input %m: bool[N, 1]
  input %t: string[N]
  %e: ? = Softmax(%x)
  %w: ? = Where(%m, %e, %x)
  %h: ? = Cast(%w) {to = 10}
  %d: ? = Cast(%x) {to = 11}
  %n: ? = Neg(%i)
  %u: ? = Cast(%i) {to = 2}
  %s: ? = Identity(%t)
  output %w
  output %h
  output %d
  output %n
  output %u
  output %s
  output %w
})");
  Tensor x = *Tensor::zeros(DType::kF32, {3, 4});
  for (int64_t k = 0; k < 12; ++k) x.set_double(k, std::sin(static_cast<double>(k)));
  Tensor m = *Tensor::zeros(DType::kBool, {3, 1});
  m.set_int(1, 1);
  const std::vector<HostValue> inputs = {x, Tensor::from<int64_t>({3}, {-7, 0, int64_t{1} << 40}), m, *Tensor::strings({3}, {"a", "", "größer"})};
  auto expected = run(*find_backend("reference"), *graph, inputs);
  ASSERT_TRUE(expected.ok()) << expected.status().to_string();
  auto actual = run(ort(), *graph, inputs);
  ASSERT_TRUE(actual.ok()) << actual.status().to_string();
  ASSERT_EQ(actual->size(), 7u);
  for (size_t i = 0; i < 7; ++i) {
    const Tensor &a = std::get<Tensor>((*expected)[i]), &b = std::get<Tensor>((*actual)[i]);
    ASSERT_EQ(a.dtype(), b.dtype()) << i;
    ASSERT_EQ(a.shape(), b.shape()) << i;
    if (a.dtype() == DType::kString) EXPECT_EQ(a.string_values(), b.string_values());
    else
      for (int64_t k = 0; k < a.size(); ++k) EXPECT_NEAR(a.at_double(k), b.at_double(k), a.dtype() == DType::kF16 ? 1e-3 : 1e-6) << i;
  }
}

TEST_F(OnnxRuntime, TakesTheFileUnchangedWithDimsBound) {
  const Folder folder;
  const auto file = folder.path() / "m.onnx";
  const auto graph = parse("graph \"g\" {\n  input %x: f32[batch, 2]\n  %y: f32[batch, 2] = Neg(%x)\n  output %y\n}");
  ASSERT_TRUE(frontend::export_onnx(*graph, file).ok());
  CompileOptions compile;
  compile.model = file;
  compile.model_dims = {{"batch", 3}};
  auto session = open(ort(), *graph, {}, compile);
  ASSERT_TRUE(session.ok()) << session.status().to_string();
  EXPECT_TRUE((*session)->run(std::vector<HostValue>{*Tensor::zeros(DType::kF32, {3, 2})}).ok());
  compile.model = folder.path() / "none.onnx";
  EXPECT_THAT(open(ort(), *graph, {}, compile).status().to_string(), HasSubstr("none.onnx"));
}

TEST_F(OnnxRuntime, SaysWhatItCannotDo) {
  const auto graph = parse("graph \"g\" {\n  input %x: f8e4m3fn[2]\n  %y: ? = Cast(%x) {to = 1}\n  output %y\n}");
  const Status status = run(ort(), *graph, {*Tensor::zeros(DType::kF8E4M3FN, {2})}).status();
  EXPECT_EQ(status.code(), Code::kUnsupported) << status.to_string();
  EXPECT_THAT(status.to_string(), HasSubstr("f8e4m3fn"));
  const Folder folder;
  std::ofstream(folder.path() / "m.onnx") << "no model";
  CompileOptions compile;
  compile.model = folder.path() / "m.onnx";
  EXPECT_EQ(open(ort(), *identity(), {}, compile).status().code(), Code::kInvalidModel);
}

TEST_F(OnnxRuntime, GivesSamplesAndFigures) {
  auto session = open(ort(), *identity(), {.num_threads = 2});
  ASSERT_TRUE(session.ok()) << session.status().to_string();
  const std::vector<HostValue> inputs = {Tensor::from<float>({2}, {1, 2})};
  auto samples = (*session)->time(inputs, {.runs = 20, .ms = 5});
  ASSERT_TRUE(samples.ok()) << samples.status().to_string();
  EXPECT_GE(samples->size(), 20u);
  auto figures = (*session)->process();
  ASSERT_TRUE(figures.ok() && figures->has_value());
  EXPECT_THAT((*figures)->runtime, StartsWith("ONNX Runtime 1."));
  EXPECT_GT((*figures)->load_ms, 0);
  EXPECT_GT((*figures)->peak_rss_bytes, 10u << 20);
}

}  // namespace
}  // namespace tenon::backends
