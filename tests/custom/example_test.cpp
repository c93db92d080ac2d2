// The example: its README's commands, and what its ops compute, against closed forms.

#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>

#include <nlohmann/json.hpp>

#include "eval/model.h"
#include "frontend/onnx/proto.h"
#include "tests/custom/plugin.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using namespace tenon::testing;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kLibrary = TENON_BINARY_DIR "/lib/example_ops.so";
const std::string kModel = TENON_SOURCE_DIR "/examples/custom-op/filter.tir";

std::string slurp(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class Example : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "tenon-custom-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }

  int shell(const std::string& command) {
    const std::string all = fmt::format("cd '{}' && {} >'{}' 2>'{}'", TENON_SOURCE_DIR, command,
                                        (folder_ / "out").string(), (folder_ / "err").string());
    const int status = std::system(all.c_str());
    out_ = slurp(folder_ / "out");
    err_ = slurp(folder_ / "err");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  int tenon(const std::string& arguments) {
    return shell(fmt::format("'{}/bin/tenon' {}", TENON_BINARY_DIR, arguments));
  }

  fs::path folder_;
  std::string out_, err_;
};

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size()) text.replace(at, from.size(), to);
}

TEST_F(Example, CommandsOfTheReadmeRun) {
  std::ifstream readme(TENON_SOURCE_DIR "/examples/custom-op/README.md");
  int commands = 0;
  bool fenced = false;  // what a command prints
  for (std::string line; std::getline(readme, line);) {
    if (line.starts_with("```")) fenced = !fenced;
    if (fenced || !line.starts_with("    ")) continue;
    std::string command = line.substr(4);
    replace_all(command, "build/release", TENON_BINARY_DIR);
    replace_all(command, "build/custom-op", (folder_ / "build").string());
    EXPECT_EQ(shell(command), 0) << command << "\n" << out_ << err_;
    ++commands;
  }
  EXPECT_GE(commands, 6);
  EXPECT_THAT(slurp(folder_ / "build" / "optimized.tir"), HasSubstr("com.example.Fir"));
}

/// The op's definition, in double.
std::vector<double> fir(const std::vector<double>& x, size_t width, const std::vector<double>& taps, size_t stride) {
  std::vector<double> out;
  for (size_t row = 0; row < x.size() / width; ++row)
    for (size_t i = 0; i + taps.size() <= width; i += stride) {
      double sum = 0;
      for (size_t k = 0; k < taps.size(); ++k) sum += taps[k] * x[row * width + i + k];
      out.push_back(sum);
    }
  return out;
}

std::shared_ptr<const ir::OpRegistry> example_ops() {
  auto registry = std::make_shared<ir::OpRegistry>();
  const Status status = frontend::load_custom_ops(kLibrary, *registry);
  EXPECT_TRUE(status.ok()) << status.to_string();
  return registry;
}

TEST_F(Example, ComputesItsClosedForms) {
  auto graph = eval::load_model(kModel, {.ops = example_ops()});
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  for (const auto* backend : available_backends()) {
    // One executable for every size: the dims that Fir computes are symbolic.
    const auto executable = backend->compile(**graph, {});
    ASSERT_TRUE(executable.ok()) << executable.status().to_string();
    const auto session = (*executable)->create_session();
    for (const auto& [batch, time] : {std::pair<int64_t, int64_t>{1, 9}, {3, 4}, {2, 33}, {2, 2}, {0, 5}}) {
      Tensor x = *Tensor::zeros(DType::kF32, {batch, time});
      for (int64_t i = 0; i < x.size(); ++i) x.set_double(i, static_cast<double>(i * 37 % 23) / 2 - 5);
      const HostValue input = x;
      const auto out = (*session)->run(std::span(&input, 1));
      ASSERT_TRUE(out.ok()) << backend->name() << ": " << out.status().to_string();

      std::vector<double> positive, signs, values, lengths;
      for (double smooth : fir(numbers(input), static_cast<size_t>(time), {0.25, 0.5, 0.25}, 2)) {
        const double size = std::max(std::abs(smooth) - 1, 0.0), shrunk = smooth > 0 ? -size : size;
        positive.push_back(std::max(shrunk, 0.0));
        signs.push_back(shrunk > 0 ? 1 : shrunk < 0 ? -1 : 0);
      }
      for (size_t i = 0; i < signs.size(); ++i) {
        if (i == 0 || signs[i] != signs[i - 1]) values.push_back(signs[i]), lengths.push_back(0);
        ++lengths.back();
      }
      // Every number here is an f32: nothing rounds.
      EXPECT_EQ(numbers((*out)[0]), positive) << backend->name() << " " << batch << "x" << time;
      EXPECT_EQ(numbers((*out)[1]), values) << backend->name();
      EXPECT_EQ(numbers((*out)[2]), lengths) << backend->name();
      EXPECT_EQ(std::get<Tensor>((*out)[0]).dim(1), std::max<int64_t>((time - 3) / 2 + (time >= 3), 0));
    }
  }
}

TEST_F(Example, GeneratesAndFusesTheBody) {
  ASSERT_EQ(tenon(fmt::format("inspect {} --custom-ops {} --placement --backend cpu --json -", kModel, kLibrary)), 0)
      << err_;
  EXPECT_THAT(out_, HasSubstr("shrunk"));
  auto graph = eval::load_model(kModel, {.ops = example_ops()});
  ASSERT_TRUE(graph.ok());
  const auto executable = backends::find_backend("cpu")->compile(**graph, {});
  ASSERT_TRUE(executable.ok());
  bool fused = false;
  for (const auto& row : (*executable)->placement())
    if (std::ranges::find(row.covers, "shrunk") != row.covers.end()) {
      EXPECT_EQ(row.kind, backends::Placement::Kind::kGenerated) << row.reason;
      EXPECT_THAT(row.covers, Contains("scaled"));
      EXPECT_THAT(row.covers, Contains("positive"));
      fused = true;
    }
  EXPECT_TRUE(fused);
}

/// y = SoftShrink(x) as ONNX.
std::string onnx_model(int64_t version = 1) {
  onnx::ModelProto m;
  m.set_ir_version(8);
  m.add_opset_import()->set_version(17);
  auto& own = *m.add_opset_import();
  own.set_domain("com.example");
  own.set_version(version);
  auto& g = *m.mutable_graph();
  g.set_name("g");
  auto& x = *g.add_input();
  x.set_name("x");
  x.mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
  x.mutable_type()->mutable_tensor_type()->mutable_shape()->add_dim()->set_dim_param("N");
  auto& node = *g.add_node();
  node.set_op_type("SoftShrink");
  node.set_domain("com.example");
  node.add_input("x");
  node.add_output("y");
  g.add_output()->set_name("y");
  return m.SerializeAsString();
}

TEST_F(Example, EverySubcommandTakesTheLibrary) {
  const fs::path model = folder_ / "model.onnx";
  std::ofstream(model, std::ios::binary) << onnx_model();
  fs::create_directories(folder_ / "test_data_set_0");
  const auto put = [&](const char* file, std::initializer_list<float> v) {
    ASSERT_TRUE(frontend::write_tensor(Tensor::from<float>({4}, v), "t", folder_ / "test_data_set_0" / file).ok());
  };
  put("input_0.pb", {-2, -0.25, 0.5, 3});
  put("output_0.pb", {-1.5, 0, 0, 2.5});
  const std::string with = fmt::format("{} --custom-ops {}", model.string(), kLibrary);
  for (const std::string& arguments :
       {"inspect " + with, "check " + with, "optimize " + with, "compile " + with, "run " + with,
        "bench " + with + " --rounds 1 --round-ms 1",
        fmt::format("verify {} --custom-ops {} --backend reference,cpu --atol 0 --rtol 0", folder_.string(), kLibrary)})
    EXPECT_EQ(tenon(arguments), 0) << arguments << "\n" << out_ << err_;
  EXPECT_EQ(tenon("eval --help"), 0);
  EXPECT_THAT(out_, HasSubstr("--custom-ops"));
}

TEST_F(Example, ErrorsSayWhatToDo) {
  const fs::path model = folder_ / "model.onnx";
  std::ofstream(model, std::ios::binary) << onnx_model();
  for (const std::string& arguments :
       {fmt::format("check {}", model.string()), "check " + kModel, fmt::format("run {}", model.string())}) {
    EXPECT_EQ(tenon(arguments), 2) << arguments;
    EXPECT_THAT(err_, HasSubstr("com.example.")) << arguments;
    EXPECT_THAT(err_, HasSubstr("register it with --custom-ops LIBRARY, see docs/custom-operators.md")) << arguments;
  }
  EXPECT_EQ(tenon(fmt::format("check {} --custom-ops {} --custom-ops {}", kModel, kLibrary, kLibrary)), 2);
  EXPECT_THAT(err_, HasSubstr("version 1 is registered already"));
  EXPECT_EQ(tenon(fmt::format("check {} --custom-ops {}", kModel, model.string())), 2);
  EXPECT_THAT(err_, HasSubstr("the library cannot be loaded"));
  EXPECT_EQ(tenon(fmt::format("check {} --custom-ops /nowhere.so", kModel)), 2);
  EXPECT_THAT(err_, HasSubstr("no such library (/nowhere.so)"));
}

TEST_F(Example, RefusesWrongModels) {
  const auto ops = example_ops();
  const auto said = [&](const char* call, const char* type = "f32[2, 6]") {
    const std::string text =
        fmt::format("graph \"g\" {{\n  input %x: {}\n  %y: ? = com.example.{}\n  output %y\n}}\n", type, call);
    auto graph = ir::parse_text(text, ops);
    if (!graph.ok()) return graph.status().to_string();
    const auto executable = backends::find_backend("cpu")->compile(**graph, {});
    return executable.ok() ? std::string("ok") : executable.status().to_string();
  };
  EXPECT_EQ(said("Fir(%x) {taps = floats[1.0]}"), "ok");
  EXPECT_THAT(said("Fir(%x)"), HasSubstr("the attribute 'taps' is missing"));
  EXPECT_THAT(said("Fir(%x) {taps = floats[]}"), HasSubstr("there are no taps"));
  EXPECT_THAT(said("Fir(%x) {taps = floats[1.0], stride = 0}"), HasSubstr("the stride is not positive"));
  EXPECT_THAT(said("Fir(%x) {taps = [1]}"), HasSubstr("of kind ints, not floats"));
  EXPECT_THAT(said("Fir(%x) {taps = floats[1.0]}", "f32[]"), HasSubstr("X has not 1 to 8 axes"));
  EXPECT_THAT(said("Fir(%x) {taps = floats[1.0]}", "f64[4]"), HasSubstr("may not be f64"));
  EXPECT_THAT(said("RunLengths(%x)", "i64[2, 2]"), HasSubstr("X is not a vector"));
  EXPECT_THAT(
      outcome(
          "graph \"g\" {\n  input %x: f32[3]\n  %y: ? = com.example.SoftShrink(%x) {lambda = -1.0}\n  output %y\n}\n",
          ops, {Tensor::from<float>({3}, {1, 2, 3})}),
      HasSubstr("lambda is negative (com.example.SoftShrink node 'y')"));
  EXPECT_THAT(outcome("graph \"g\" {\n  input %x: f32[3]\n  %y: ? = com.example.Fir(%x) {taps = floats[1.0, -1.0], "
                      "normalize = 1}\n  output %y\n}\n",
                      ops, {Tensor::from<float>({3}, {1, 2, 3})}, "cpu"),
              HasSubstr("taps that sum to 0 cannot be normalized"));
}

}  // namespace
}  // namespace tenon
