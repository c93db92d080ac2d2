// The runners in Python against stub packages with the same names (stubs/), and the example of docs/runners.md against the
// reference interpreter.

#include <cstring>
#include <optional>

#include "tests/runners/support.h"

namespace tenon::backends {
namespace {

using ::testing::HasSubstr;

/// A Python that has NumPy: the first in PATH, or the system's.
std::string python_with_numpy() {
  for (const char* python : {"python3", "/usr/bin/python3"})
    if (std::system(fmt::format("{} -c 'import numpy' >/dev/null 2>&1", python).c_str()) == 0) return python;
  return {};
}

/// An environment variable for the time of a test.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    ::setenv(name, value.c_str(), 1);
  }
  ~Variable() { old_ ? ::setenv(name_, old_->c_str(), 1) : ::unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

class Stubs : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    python_ = python_with_numpy();
    if (python_.empty()) GTEST_SKIP() << "no python3 with numpy";
  }
  std::string runner() const { return fmt::format("exec:{} '" TENON_SOURCE_DIR "/runners/python/{}_runner.py'", python_, GetParam()); }
  Variable path_{"PYTHONPATH", TENON_SOURCE_DIR "/tests/runners/stubs"};
  Variable no_cache_{"PYTHONDONTWRITEBYTECODE", "1"};
  std::string python_;
};

TEST_P(Stubs, TensorsGoThroughNumPyAndBack) {
  const std::string types[] = {"f16", "u8", "i64", "bool"};
  std::string inputs, nodes, outputs;
  std::vector<HostValue> given;
  for (int i = 0; i < 4; ++i) {
    const char c = static_cast<char>('a' + i);
    inputs += fmt::format("  input %x{}: {}[N, 3]\n", c, types[i]);
    nodes += fmt::format("  %y{}: {}[N, 3] = Identity(%x{})\n", c, types[i], c);
    outputs += fmt::format("  output %y{}\n", c);
    Tensor tensor = *Tensor::zeros(*dtype_from_name(types[i]), {2, 3});
    for (int64_t k = 0; k < tensor.size(); ++k) tensor.set_double(k, static_cast<double>(k % 2));
    given.emplace_back(std::move(tensor));
  }
  const auto graph = parse("graph \"g\" {\n" + inputs + nodes + outputs + "}");
  CompileOptions compile;
  compile.model = "/dev/null";
  auto session = open(*find_backend(runner()), *graph, {.num_threads = 1}, compile);
  ASSERT_TRUE(session.ok()) << session.status().to_string();
  auto out = (*session)->run(given);
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  for (size_t i = 0; i < given.size(); ++i) {
    const Tensor &a = std::get<Tensor>(given[i]), &b = std::get<Tensor>((*out)[i]);
    EXPECT_EQ(a.dtype(), b.dtype());
    EXPECT_EQ(a.shape(), b.shape());
    EXPECT_EQ(std::memcmp(a.data(), b.data(), a.bytes()), 0) << types[i];
  }
  auto samples = (*session)->time(given, {.runs = 5, .ms = 1});
  ASSERT_TRUE(samples.ok()) << samples.status().to_string();
  EXPECT_GE(samples->size(), 5u);
  auto figures = (*session)->process();
  ASSERT_TRUE(figures.ok() && figures->has_value());
  EXPECT_THAT((*figures)->runtime, HasSubstr("0.0.stub"));
  EXPECT_GT((*figures)->peak_rss_bytes, 1u << 20);
}

TEST_P(Stubs, AvailableWherePythonFindsThePackage) {
  const Variable path("PATH", "/usr/bin:/bin");
  const std::string name = GetParam() == std::string("openvino") ? "openvino" : "onnxruntime-python";
  if (std::system("/usr/bin/python3 -c '' >/dev/null 2>&1") != 0) GTEST_SKIP() << "no /usr/bin/python3";
  EXPECT_TRUE(find_backend(name)->available().ok()) << find_backend(name)->available().to_string();
  const Variable none("PYTHONPATH", "");
  if (std::system(fmt::format("/usr/bin/python3 -c 'import {}' >/dev/null 2>&1", GetParam()).c_str()) == 0) return;
  EXPECT_THAT(find_backend(name)->available().to_string(), HasSubstr(fmt::format("run pip install {}", GetParam())));
}

INSTANTIATE_TEST_SUITE_P(All, Stubs, ::testing::Values("onnxruntime", "openvino"));

TEST(PythonRunners, OnnxRuntimeGetsStringsAndSequencesAndNamesItsErrors) {
  const std::string python = python_with_numpy();
  if (python.empty()) GTEST_SKIP() << "no python3 with numpy";
  const Variable path("PYTHONPATH", TENON_SOURCE_DIR "/tests/runners/stubs");
  const Backend& backend = *find_backend(fmt::format("exec:{} '" TENON_SOURCE_DIR "/runners/python/onnxruntime_runner.py'", python));
  const auto graph = parse(R"(graph "g" {
  input %xa: string[2]
  input %xb: seq<f32[*]>
  input %xc: f32[]
  %ya: string[2] = Identity(%xa)
  %yb: seq<f32[*]> = Identity(%xb)
  %yc: f32[] = Identity(%xc)
  output %yb
  output %ya
  output %yc
})");
  CompileOptions compile;
  compile.model = "/dev/null";
  auto session = open(backend, *graph, {}, compile);
  ASSERT_TRUE(session.ok()) << session.status().to_string();
  auto sequence = std::make_shared<Sequence>();
  sequence->elem = DType::kF32;
  sequence->items = {Tensor::from<float>({2}, {1, 2}), Tensor::scalar<float>(3)};
  // The stub's model has four inputs; the one that nobody gave ends the run.
  auto out = (*session)->run(std::vector<HostValue>{*Tensor::strings({2}, {"a", "ü"}), sequence, Tensor::scalar<float>(4)});
  EXPECT_THAT(out.status().to_string(), HasSubstr("xd"));
  compile.model_dims = {{"refuse", 1}};
  EXPECT_EQ(open(backend, *graph, {}, compile).status().code(), Code::kUnsupported);
}

TEST(PythonRunners, TheExampleOfTheGuideRuns) {
  if (!has_python()) GTEST_SKIP() << "python3 is not installed";
  const Backend& example = *find_backend("exec:python3 '" TENON_SOURCE_DIR "/examples/runner/runner.py' '" TENON_BINARY_DIR "/bin/tenon'");
  const auto graph = parse(R"(graph "g" {
  input %a: f32[N, 3]
  input %b: i64[N, 1]
  %s: ? = Cast(%b) {to = 1}
  %y: ? = Mul(%a, %s)
  %z: ? = Neg(%b)
  output %z
  output %y
})");
  const std::vector<HostValue> inputs = {Tensor::from<float>({2, 3}, {1, 2, 3, 4, 5, 6}), Tensor::from<int64_t>({2, 1}, {10, -1})};
  auto session = open(example, *graph);
  ASSERT_TRUE(session.ok()) << session.status().to_string();
  auto out = (*session)->run(inputs);
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  EXPECT_EQ(std::get<Tensor>((*out)[0]).at_int(0), -10);
  EXPECT_EQ(std::get<Tensor>((*out)[1]).at_double(1), 20);
  EXPECT_EQ(std::get<Tensor>((*out)[1]).at_double(5), -6);
  auto samples = (*session)->time(inputs, {.runs = 2, .ms = 0});
  ASSERT_TRUE(samples.ok()) << samples.status().to_string();
  EXPECT_EQ(samples->size(), 2u);
}

TEST(PythonRunners, TheClassInTheGuideRuns) {
  const std::string python = python_with_numpy();
  if (python.empty()) GTEST_SKIP() << "no python3 with numpy";
  const std::string guide = slurp(TENON_SOURCE_DIR "/docs/runners.md");
  const std::string fence = "```python\n";
  const size_t start = guide.find(fence);
  ASSERT_NE(start, std::string::npos);
  const Folder folder;
  const auto file = folder.path() / "mirror.py";
  std::ofstream(file) << guide.substr(start + fence.size(), guide.find("```", start + fence.size()) - start - fence.size());
  const Variable path("PYTHONPATH", TENON_SOURCE_DIR "/runners/python");
  const Variable no_cache("PYTHONDONTWRITEBYTECODE", "1");
  auto session = open(*find_backend(fmt::format("exec:{} {}", python, file.string())), *identity());
  ASSERT_TRUE(session.ok()) << session.status().to_string();
  auto out = (*session)->run(std::vector<HostValue>{Tensor::from<float>({2}, {3, 4})});
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  EXPECT_EQ(std::get<Tensor>(out->front()).at_double(1), 4);
}

}  // namespace
}  // namespace tenon::backends
