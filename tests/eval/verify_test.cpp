// Cases in child processes: one that crashes, hangs, throws or leaves something behind fails by itself.

#include "eval/verify.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <map>
#include <new>
#include <thread>

#include "frontend/onnx/export.h"
#include "frontend/onnx/import.h"
#include "ir/parser.h"

namespace tenon::eval {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

[[noreturn]] void crash() {
  ::signal(SIGSEGV, SIG_DFL);
  ::raise(SIGSEGV);
  ::_exit(1);
}

/// The interpreter, but for what a model's output is named after: "crash", "hang" and "throw" do so when they are compiled, "late-crash",
/// "late-hang" and "late-exit" make the next case of the process do so, "keep" holds a lot of memory from then on, and "alone" is an error
/// in the process of one that did.
class Harmful final : public backends::Backend {
 public:
  std::string_view name() const override { return "harmful"; }
  Status available() const override { return {}; }
  Result<std::shared_ptr<const backends::Executable>> compile(const ir::Graph& graph, const backends::CompileOptions& options) const override {
    const std::string what = graph.output_name(0);
    act(std::exchange(next_, ""));
    act(what);
    if (what.starts_with("late-")) next_ = what.substr(5);
    if (what == "keep") kept_.assign(size_t{400} << 20, 1);
    if (what == "alone" && !kept_.empty()) return error(Code::kInternal, "another case was here");
    return backends::find_backend("reference")->compile(graph, options);
  }

 private:
  static void act(const std::string& what) {
    if (what == "crash") crash();
    if (what == "hang") std::this_thread::sleep_for(std::chrono::hours(1));
    if (what == "exit") ::_exit(0);
    if (what == "throw") throw std::bad_alloc();
  }

  mutable std::string next_;
  mutable std::vector<char> kept_;
};

class VerifyCases : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "tenon-verify-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  void TearDown() override { fs::remove_all(root_); }

  /// Cases one after the other in a process, named by number and what they do; messages by name, "" of those that pass.
  std::map<std::string, std::string> run(std::initializer_list<const char*> what, double timeout_s = 60) {
    int number = 0;
    for (const char* each : what) write(fmt::format("{}-{}", number++, each), each);
    const auto cases = find_cases(root_);
    EXPECT_TRUE(cases.ok() && cases->size() == what.size());
    VerifyOptions options;
    options.timeout_s = timeout_s;
    std::map<std::string, int> calls;
    const auto results = verify_cases(*cases, backend_, options, [&](const CaseResult& r) { ++calls[r.name]; });
    std::map<std::string, std::string> out;
    for (size_t i = 0; i < results.size(); ++i) {
      EXPECT_EQ(results[i].name, (*cases)[i].name);
      EXPECT_EQ(calls[results[i].name], 1) << results[i].name;
      EXPECT_EQ(results[i].status == CaseStatus::kPassed, results[i].message.empty()) << results[i].name;
      out[results[i].name] = results[i].message;
    }
    return out;
  }

  Harmful backend_;

 private:
  void write(const std::string& name, const std::string& what) {
    const fs::path data = root_ / name / "test_data_set_0";
    fs::create_directories(data);
    const auto graph = ir::parse_text(fmt::format("graph \"g\" {{\n  input %x: f32[1]\n  %y: f32[1] = Neg(%x)\n  output %y as \"{}\"\n}}", what));
    ASSERT_TRUE(graph.ok()) << graph.status().to_string();
    const auto bytes = frontend::export_onnx_bytes(**graph, {});
    ASSERT_TRUE(bytes.ok()) << bytes.status().to_string();
    std::ofstream(root_ / name / "model.onnx", std::ios::binary) << *bytes;
    ASSERT_TRUE(frontend::write_tensor(Tensor::from<float>({1}, {1}), "x", data / "input_0.pb").ok());
    ASSERT_TRUE(frontend::write_tensor(Tensor::from<float>({1}, {-1}), what, data / "output_0.pb").ok());
  }

  fs::path root_;
};

TEST_F(VerifyCases, ThatEndTheirProcessFailAlone) {
  const auto messages = run({"good", "crash", "good", "throw", "good"});
  EXPECT_THAT(messages.at("1-crash"), HasSubstr("crashed: Segmentation fault"));
  EXPECT_NE(messages.at("3-throw"), "") << "and nothing that runs the cases goes on in its process";
  for (const char* good : {"0-good", "2-good", "4-good"}) EXPECT_EQ(messages.at(good), "") << good;
}

TEST_F(VerifyCases, ThatHangAreEnded) {
  const auto messages = run({"good", "hang", "good"}, 0.3);
  EXPECT_EQ(messages.at("1-hang"), "took longer than 0.3 s");
  EXPECT_EQ(messages.at("0-good"), "");
  EXPECT_EQ(messages.at("2-good"), "");
}

TEST_F(VerifyCases, AreChargedWithWhatHappensAfterTheirAnswer) {
  const auto messages = run({"good", "late-crash", "good", "late-hang", "good", "late-exit", "good", "late-crash", "crash"}, 1);
  EXPECT_EQ(messages.at("1-late-crash"), "crashed: Segmentation fault after its answer, while its process ran 2-good, which by itself does not");
  EXPECT_EQ(messages.at("3-late-hang"), "took longer than 1 s after its answer, while its process ran 4-good, which by itself does not");
  EXPECT_THAT(messages.at("5-late-exit"), AllOf(HasSubstr("ended without a result after its answer"), HasSubstr("6-good")));
  for (const char* good : {"0-good", "2-good", "4-good", "6-good"}) EXPECT_EQ(messages.at(good), "") << good;
  EXPECT_EQ(messages.at("7-late-crash"), "") << "the next one crashes by itself";
  EXPECT_EQ(messages.at("8-crash"), "crashed: Segmentation fault");
}

TEST_F(VerifyCases, ThatKeepMemoryAreTheLastOfTheirProcess) {
  const auto messages = run({"keep", "alone", "good"});
  for (const auto& [name, message] : messages) EXPECT_EQ(message, "") << name;
}

}  // namespace
}  // namespace tenon::eval
