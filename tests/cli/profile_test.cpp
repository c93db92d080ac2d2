// `tenon profile`: text, JSON, traces, baselines.

#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

namespace tenon {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string slurp(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class ProfileCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "tenon-profile-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    std::ofstream(folder_ / "m.tir") << R"(graph "g" {
  input %x: f32[N, 64]
  input %w: f32[64, 32]
  %p: f32[N, 32] = MatMul(%x, %w) "product"
  %y: f32[N, 32] = Relu(%p) "relu"
  output %y
})";
  }
  void TearDown() override { fs::remove_all(folder_); }

  int profile(const std::string& arguments) {
    const fs::path out = folder_ / "stdout", err = folder_ / "stderr";
    const int status = std::system(fmt::format("cd '{}' && '{}/bin/tenon' profile {} >'{}' 2>'{}'", folder_.string(), TENON_BINARY_DIR, arguments,
                                               out.string(), err.string()).c_str());
    out_ = slurp(out);
    err_ = slurp(err);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  fs::path folder_;
  std::string out_, err_;
};

TEST_F(ProfileCommand, ShowsKernelsNodesOpsAndMemory) {
  ASSERT_EQ(profile("m.tir --runs 3"), 0) << err_;
  for (const char* part : {"on cpu, 1 thread: ", "machine: ", "(between steps)", "product", "MatMul", "memory: weights", "random inputs, N at 1"})
    EXPECT_THAT(out_, HasSubstr(part));
  ASSERT_EQ(profile("m.tir --runs 3 --top 1"), 0) << err_;
  EXPECT_EQ(profile("--help"), 0);
  EXPECT_THAT(out_, HasSubstr("Examples:"));
}

TEST_F(ProfileCommand, WritesJsonAndATrace) {
  ASSERT_EQ(profile("m.tir --runs 3 --json p.json --trace t.json"), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("kernel"));
  const json p = json::parse(slurp(folder_ / "p.json")), trace = json::parse(slurp(folder_ / "t.json"));
  EXPECT_EQ(p["kind"], "profile");
  EXPECT_EQ(p["backend"], "cpu");
  EXPECT_TRUE(p["context"].contains("cpu"));
  EXPECT_GE(trace["traceEvents"].size(), 4u);
  ASSERT_EQ(profile("m.tir --runs 3 --json -"), 0) << err_;
  EXPECT_EQ(json::parse(out_)["kind"], "profile") << "nothing but JSON";
}

TEST_F(ProfileCommand, ComparesWithABaseline) {
  ASSERT_EQ(profile("m.tir --runs 3 --json old.json -O0"), 0) << err_;
  ASSERT_EQ(profile("m.tir --runs 3 --baseline old.json --json new.json"), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("of the change"));
  const json change = json::parse(slurp(folder_ / "new.json"))["baseline"];
  double sum = 0;
  for (const json& row : change["nodes"]) sum += row["delta_ms"].get<double>();
  EXPECT_NEAR(sum, change["delta_ms"].get<double>(), 1e-9);
}

TEST_F(ProfileCommand, ErrorsExitWith2) {
  std::ofstream(folder_ / "text.json") << "no JSON";
  std::ofstream(folder_ / "deep.json") << std::string(1000, '[') << std::string(1000, ']');
  std::ofstream(folder_ / "other.json") << R"({"kind": "profile", "total_ms": "long"})";
  for (const char* arguments : {"m.tir --backend reference", "m.tir --backend cpu,vulkan", "m.tir --backend abacus", "none.tir", "m.tir --runs 0", "m.tir --warmup 0",
                                "m.tir --baseline none.json", "m.tir --baseline text.json", "m.tir --baseline other.json", "m.tir --baseline deep.json", "m.tir --baseline /dev/zero", "m.tir --test-data",
                                "m.tir --runs 3 --json no/such/folder.json", "m.tir --target abacus"}) {
    EXPECT_EQ(profile(arguments), 2) << arguments;
    EXPECT_THAT(err_, StartsWith("error: ")) << arguments;
  }
}

}  // namespace
}  // namespace tenon
