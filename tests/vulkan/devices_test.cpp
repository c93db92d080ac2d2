// Listing and choosing devices, and what is said where there is none.

#include <gmock/gmock.h>

#include <fstream>

#include "backends/vulkan/devices.h"
#include "backends/vulkan/faults.h"
#include "backends/vulkan/instance.h"
#include "tests/vulkan/vulkan_test.h"

namespace tenon {
namespace {

using ::testing::HasSubstr;
using backends::vulkan::DeviceInfo;
using backends::vulkan::DeviceOptions;
using backends::vulkan::Faults;
using backends::vulkan::Instance;
using vulkan_test::Environment;

class Devices : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = vulkan_test::no_device(); !why.empty()) GTEST_SKIP() << why;
  }
};

TEST_F(Devices, AreChosenByNumberNameAndUuid) {
  const auto instance = Instance::open({});
  ASSERT_TRUE(instance.ok()) << instance.status().to_string();
  for (const DeviceInfo& info : (*instance)->devices()) {
    EXPECT_EQ(info.uuid.size(), 32U);
    EXPECT_FALSE(info.heaps.empty());
    EXPECT_GT(info.subgroup_size, 0U);
    EXPECT_EQ(info.target.subgroup_size, static_cast<int>(info.subgroup_size));
    if (!info.refused.empty()) continue;
    EXPECT_EQ(*(*instance)->choose(std::to_string(info.index)), info.index);
    EXPECT_EQ(*(*instance)->choose(info.uuid.substr(0, 12)), info.index);
    EXPECT_TRUE((*instance)->choose(info.name.substr(0, 5)).ok());
  }
  const auto none = (*instance)->choose("an abacus");
  EXPECT_EQ(none.status().code(), Code::kNotFound);
  EXPECT_THAT(none.status().to_string(), HasSubstr("choose from 0 "));
  EXPECT_FALSE((*instance)->choose("99").ok());
}

TEST_F(Devices, AWrongOneIsAnErrorOfTheCompilation) {
  const auto graph = vulkan_test::parse("graph \"g\" { input %x: f32[N]\n %y: f32[N] = Neg(%x)\n output %y }");
  backends::CompileOptions options;
  options.device = "an abacus";
  EXPECT_THAT(backends::find_backend("vulkan")->compile(*graph, options).status().to_string(), HasSubstr("there is no Vulkan device 'an abacus'"));
  const Environment chosen("TENON_VULKAN_DEVICE", "an abacus");
  EXPECT_FALSE(backends::find_backend("vulkan")->available().ok());
}

TEST_F(Devices, AMissingOrOldDriverIsASentence) {
  {
    const Environment none("VK_DRIVER_FILES", "/nonexistent.json"), older("VK_ICD_FILENAMES", "/nonexistent.json");
    const Status status = backends::vulkan::list_devices().status();
    EXPECT_EQ(status.code(), Code::kNotFound) << status.to_string();
    EXPECT_THAT(status.to_string(), HasSubstr("install your GPU's driver"));
  }
  ASSERT_TRUE(Faults::set("dlopen:1=VK_ERROR_UNKNOWN").ok());
  EXPECT_THAT(backends::vulkan::list_devices().status().to_string(), HasSubstr("there is no Vulkan loader on this machine"));
  ASSERT_TRUE(Faults::set("vkEnumerateInstanceVersion:1=VK_ERROR_OUT_OF_HOST_MEMORY").ok());
  EXPECT_THAT(backends::vulkan::list_devices().status().to_string(), HasSubstr("older than 1.2"));
  ASSERT_TRUE(Faults::set("vkEnumeratePhysicalDevices:1=VK_ERROR_INITIALIZATION_FAILED").ok());
  EXPECT_THAT(backends::vulkan::list_devices().status().to_string(), HasSubstr("VK_ERROR_INITIALIZATION_FAILED"));
  ASSERT_TRUE(Faults::set("").ok());
}

TEST_F(Devices, WhatRunsOnTheHostBreaksARequiredPlacement) {
  const auto graph = vulkan_test::parse("graph \"g\" { input %x: f32[8]\n %y: f32[8] = Neg(%x)\n %n: i64[1, K] = NonZero(%y)\n output %n }");
  const auto compile = [&](const char* wanted) {
    backends::CompileOptions options;
    options.require_placement = wanted;
    return backends::find_backend("vulkan")->compile(*graph, options).status();
  };
  EXPECT_EQ(compile("vulkan=100%").code(), Code::kMismatch);
  EXPECT_THAT(compile("vulkan=100%").to_string(), HasSubstr("NonZero"));
  EXPECT_TRUE(compile("vulkan=50%").ok()) << compile("vulkan=50%").to_string();
  EXPECT_EQ(compile("gpu").code(), Code::kInvalidArgument);
}

TEST_F(Devices, WhatIsOnTheDenyListRunsOnTheHost) {
  const auto graph = vulkan_test::parse("graph \"g\" { input %x: f16[8]\n %y: f16[8] = Exp(%x)\n output %y }");
  const std::string path = ::testing::TempDir() + "deny.txt";
  const Environment file("TENON_VULKAN_DENY", path);
  for (const auto& [text, why] : {std::pair{"* * f16 it is wrong\n", "f16 kernels are on the deny list: it is wrong"}, {"# nothing\n* * f64 no\n", ""},
                                  {"0x1 * all no\n* 999.0.0-999.1 all no\n", ""}, {"* 0-999.0 lanes\n* 0.0.0-999.0.0 all so\n", "all kernels are on the deny list: so"}}) {
    SCOPED_TRACE(text);
    std::ofstream(path) << text;
    const auto made = backends::find_backend("vulkan")->compile(*graph, {});
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    std::string reasons;
    for (const auto& row : (*made)->placement()) reasons += row.reason;
    if (*why == '\0') EXPECT_EQ(reasons.find("deny list"), std::string::npos);
    else EXPECT_THAT(reasons, HasSubstr(why));
  }
  for (const char* text : {"nvidia * all", "* x-y all", "* * everything", "* *"}) {
    std::ofstream(path) << text;
    const auto made = backends::find_backend("vulkan")->compile(*graph, {});
    EXPECT_EQ(made.status().code(), Code::kInvalidArgument) << text;
    EXPECT_THAT(made.status().to_string(), HasSubstr("line 1"));
  }
}

}  // namespace
}  // namespace tenon
