// `tenon profile`: text, JSON, traces, baselines.

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tests/cli/command.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class ProfileCommand : public ProductTest {
 protected:
  int profile(const std::string& arguments) { return run("profile " + arguments); }
};

TEST_F(ProfileCommand, ShowsKernelsNodesOpsAndMemory) {
  ASSERT_EQ(profile("m.tir --runs 3"), 0) << err_;
  for (const char* part : {"on cpu, 1 thread: ", "machine: ", "(between steps)", "product", "MatMul", "memory: weights", "random inputs, N at 1", "(the median observed run takes ", "of the run", "of roof"})
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
  EXPECT_THAT(out_, HasSubstr(" % of before\n"));
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
