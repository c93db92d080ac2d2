// `tenon devices`, --device, --require-placement, and models on devices that fail.

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tests/cli/command.h"

namespace tenon {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class DevicesCommand : public ProductTest {
 protected:
  void SetUp() override {
    if (run("devices") != 0) GTEST_SKIP() << err_ << out_;
  }
};

TEST_F(DevicesCommand, ListsWhatThereIs) {
  EXPECT_EQ(run("devices --json -"), 0) << err_;
  const auto json = nlohmann::json::parse(out_);
  ASSERT_FALSE(json["devices"].empty());
  const auto& first = json["devices"][0];
  for (const char* member : {"index", "name", "type", "driver", "driver_version", "api_version", "uuid", "heaps", "subgroup_size", "shared_bytes", "features", "matrices", "usable"})
    EXPECT_TRUE(first.contains(member)) << member;
  EXPECT_EQ(run(fmt::format("run m.tir --backend vulkan --device {}", first["uuid"].get<std::string>().substr(0, 8))), 0) << err_;
}

TEST_F(DevicesCommand, WithoutADriverItIsASentence) {
  ::setenv("VK_DRIVER_FILES", "/nonexistent.json", 1);
  ::setenv("VK_ICD_FILENAMES", "/nonexistent.json", 1);
  EXPECT_EQ(run("devices"), 2);
  EXPECT_THAT(err_, HasSubstr("install your GPU's driver"));
  EXPECT_EQ(run("run m.tir --backend vulkan"), 2);
  EXPECT_EQ(run("run m.tir --backend cpu"), 0) << err_;
  ::unsetenv("VK_DRIVER_FILES");
  ::unsetenv("VK_ICD_FILENAMES");
}

TEST_F(DevicesCommand, WithoutALoaderTheRestWorks) {
  ::setenv("TENON_VULKAN_FAULTS", "dlopen:1+=VK_ERROR_UNKNOWN", 1);
  EXPECT_EQ(run("devices"), 2);
  EXPECT_THAT(err_, HasSubstr("install libvulkan1"));
  EXPECT_EQ(run("run m.tir --backend vulkan"), 2);
  EXPECT_EQ(run("run m.tir --backend cpu"), 0) << err_;
  ::unsetenv("TENON_VULKAN_FAULTS");
}

TEST_F(DevicesCommand, AWrongDeviceListsTheOthers) {
  EXPECT_EQ(run("bench m.tir --backend vulkan --device abacus"), 2);
  EXPECT_THAT(err_, HasSubstr("there is no Vulkan device 'abacus'"));
  EXPECT_THAT(err_, HasSubstr("choose from 0 "));
}

TEST_F(DevicesCommand, RequiredPlacementIsStatus1) {
  std::ofstream(folder_ / "host.tir") << "graph \"g\" { input %x: f32[8]\n %n: i64[1, K] = NonZero(%x) \"where\"\n output %n }";
  for (const char* command : {"run", "inspect --placement", "bench --rounds 1 --launches 1"}) {
    EXPECT_EQ(run(fmt::format("{} host.tir --backend vulkan --require-placement vulkan=100%", command)), 1) << command << err_;
    EXPECT_THAT(err_, HasSubstr("where (NonZero)")) << command;
    EXPECT_EQ(run(fmt::format("{} m.tir --backend vulkan --require-placement vulkan=100%", command)), 0) << command << err_;
  }
  EXPECT_EQ(run("run m.tir --backend vulkan --require-placement all"), 2);
  EXPECT_EQ(run("inspect host.tir --placement --backend vulkan"), 0);
  EXPECT_THAT(out_, HasSubstr("between host and device, a run: inputs 0 B, outputs 0 B; around 1 step on the host"));
}

TEST_F(DevicesCommand, ALostDeviceIsAWarning) {
  ::setenv("TENON_VULKAN_FAULTS", "vkQueueSubmit:1+=VK_ERROR_DEVICE_LOST", 1);
  EXPECT_EQ(run("run m.tir --backend vulkan"), 0);
  EXPECT_THAT(err_, HasSubstr("used anew"));
  EXPECT_THAT(err_, HasSubstr("runs on the CPU from here on"));
  ::setenv("TENON_VULKAN_FAULTS", "vkQueueSubmit:1=VK_ERROR_DEVICE_LOST", 1);
  EXPECT_EQ(run("run m.tir --backend vulkan"), 0);
  EXPECT_THAT(err_, Not(HasSubstr("on the CPU")));
  ::unsetenv("TENON_VULKAN_FAULTS");
}

TEST_F(DevicesCommand, FiguresOfAnotherBackendSaySo) {
  const std::string bench = "bench m.tir --backend vulkan --rounds 1 --launches 1 --round-ms 1 --warmup-ms 0", profile = "profile m.tir --backend vulkan --runs 3";
  for (const std::string& command : {bench, profile}) {
    EXPECT_EQ(run(command + " --json -"), 0) << err_;
    EXPECT_THAT(out_, Not(HasSubstr("taken_over_by"))) << command;
  }
  ::setenv("TENON_VULKAN_FAULTS", "vkQueueSubmit:1+=VK_ERROR_DEVICE_LOST", 1);
  EXPECT_EQ(run(bench + " --json b.json"), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("vulkan, run by cpu"));
  EXPECT_THAT(out_, HasSubstr("vulkan failed and cpu took over"));
  EXPECT_EQ(nlohmann::json::parse(slurp(folder_ / "b.json"))["results"][0]["taken_over_by"], "cpu");
  EXPECT_EQ(run(profile + " --json p.json"), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("vulkan failed and cpu took over"));
  EXPECT_EQ(nlohmann::json::parse(slurp(folder_ / "p.json"))["taken_over_by"], "cpu");
  ::unsetenv("TENON_VULKAN_FAULTS");
}

TEST_F(DevicesCommand, VerifyTellsWrongOptionsFromWrongOutputs) {
  const std::string digits = std::string(TENON_SOURCE_DIR) + "/models/digits";
  for (const char* options : {"--device abacus", "--require-placement half", "--target x86-64-v3"}) {
    EXPECT_EQ(run(fmt::format("verify {} --backend vulkan {}", digits, options)), 2) << options;
    EXPECT_THAT(out_, Not(HasSubstr("FAIL"))) << options;
  }
}

TEST_F(DevicesCommand, SelfTestOfAGroup) {
  EXPECT_EQ(run("devices --self-test --group logic --json -"), 0) << err_;
  const auto json = nlohmann::json::parse(out_);
  EXPECT_EQ(json["passed"], true);
  EXPECT_EQ(json["groups"][0]["passed"], 4);
  EXPECT_EQ(run("devices --self-test --group abacus"), 2);
}

}  // namespace
}  // namespace tenon
