// Failures of the device, made on purpose: each is a Status or is survived, never a crash.

#include <gmock/gmock.h>

#include <algorithm>

#include "backends/vulkan/faults.h"
#include "support/log.h"
#include "tests/vulkan/vulkan_test.h"

namespace tenon {
namespace {

using ::testing::HasSubstr;
using backends::vulkan::Faults;
using vulkan_test::Environment;
using vulkan_test::expect_equal;
using vulkan_test::expected;
using vulkan_test::numbers;
using vulkan_test::parse;

constexpr const char* kModel = R"(graph "g" {
  input %x: f32[B, 33]
  %w: f32[1] = Constant {value = dense<f32[1], 3>}
  %m: f32[B, 33] = Mul(%x, %w)
  %s: f32[B, 33] = Softmax(%m) {axis = -1}
  output %s
})";

class Loss : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (const std::string why = vulkan_test::no_device(); !why.empty()) GTEST_SKIP() << why;
    ASSERT_TRUE(Faults::set("").ok());
    old_ = Logger::get().set_sink([this](LogLevel, std::string_view text) { messages_.emplace_back(text); });
  }
  void TearDown() override {
    Logger::get().set_sink(old_);
    ASSERT_TRUE(Faults::set("").ok());
  }
  size_t count(std::string_view text) const {
    return static_cast<size_t>(std::count_if(messages_.begin(), messages_.end(), [&](const std::string& m) { return m.find(text) != std::string::npos; }));
  }
  Environment staging_{"TENON_VULKAN_STAGING", GetParam() ? "1" : "0"};
  std::unique_ptr<ir::Graph> graph_ = parse(kModel);
  std::vector<HostValue> in_ = {numbers({4, 33}, 1)};
  std::vector<std::string> messages_;
  Logger::Sink old_;
};

TEST_P(Loss, ARunIsRepeatedOnANewDevice) {
  const auto executable = *backends::find_backend("vulkan")->compile(*graph_, {});
  const auto session = *executable->create_session(), other = *executable->create_session();
  expect_equal(expected(*graph_, in_), session->run(in_));
  for (const char* fault : {"vkQueueSubmit:1=VK_ERROR_DEVICE_LOST", "vkWaitSemaphores:1=VK_ERROR_DEVICE_LOST", "vkWaitSemaphores:1=VK_TIMEOUT"}) {
    SCOPED_TRACE(fault);
    ASSERT_TRUE(Faults::set(fault).ok());
    expect_equal(expected(*graph_, in_), session->run(in_));
    expect_equal(expected(*graph_, in_), session->run(in_));
    expect_equal(expected(*graph_, in_), other->run(in_));
  }
  EXPECT_EQ(count("used anew"), 6U);
  EXPECT_EQ(count("on the CPU"), 0U);
}

TEST_P(Loss, AfterASecondOneTheModelRunsOnTheCpu) {
  const auto executable = *backends::find_backend("vulkan")->compile(*graph_, {});
  const auto session = *executable->create_session();
  expect_equal(expected(*graph_, in_), session->run(in_));
  ASSERT_TRUE(Faults::set("vkQueueSubmit:1+=VK_ERROR_DEVICE_LOST").ok());
  for (int i = 0; i < 3; ++i) expect_equal(expected(*graph_, in_), session->run(in_));
  const auto other = executable->create_session();
  ASSERT_TRUE(other.ok()) << other.status().to_string();
  expect_equal(expected(*graph_, in_), (*other)->run(in_));
  EXPECT_EQ(count("on the CPU"), 1U);
  EXPECT_EQ(count("VK_ERROR_DEVICE_LOST"), 2U);
}

TEST_P(Loss, WhereNoDeviceComesBackTheModelRunsOnTheCpu) {
  const auto executable = *backends::find_backend("vulkan")->compile(*graph_, {});
  const auto session = *executable->create_session();
  ASSERT_TRUE(Faults::set("vkQueueSubmit:1+=VK_ERROR_DEVICE_LOST,vkCreateDevice:1+=VK_ERROR_INITIALIZATION_FAILED").ok());
  expect_equal(expected(*graph_, in_), session->run(in_));
  ASSERT_TRUE(Faults::set("").ok());
  EXPECT_TRUE(backends::find_backend("vulkan")->compile(*graph_, {}).ok());  // what is compiled later finds the device again
}

// Every call that can fail, the first or the second time: a Status, or the right result.
TEST_P(Loss, AnyCallMayFail) {
  const std::vector<HostValue> want = expected(*graph_, in_);
  static int unique = 0;
  int failed = 0, survived = 0;
  for (const char* function : {"vkCreateInstance", "vkEnumeratePhysicalDevices", "vkCreateDevice", "vkCreateBuffer", "vkAllocateMemory", "vkBindBufferMemory",
                               "vkMapMemory", "vkCreateShaderModule", "vkCreatePipelineLayout", "vkCreateComputePipelines", "vkCreateCommandPool",
                               "vkResetCommandPool", "vkAllocateCommandBuffers", "vkBeginCommandBuffer", "vkEndCommandBuffer", "vkQueueSubmit",
                               "vkCreateSemaphore", "vkWaitSemaphores", "vkEnumerateInstanceVersion", "vkEnumerateDeviceExtensionProperties"})
    for (const char* result : {"VK_ERROR_OUT_OF_DEVICE_MEMORY", "VK_ERROR_DEVICE_LOST"})
      for (int call = 1; call <= (std::string_view(result) == "VK_ERROR_DEVICE_LOST" ? 2 : 1); ++call) {
        const std::string fault = fmt::format("{}:{}={}", function, call, result);
        SCOPED_TRACE(fault);
        // Options that no test has used give a device of their own.
        const Environment limit("TENON_VULKAN_MAX_BYTES", std::to_string((int64_t{1} << 30) + ++unique));
        ASSERT_TRUE(Faults::set(fault).ok());
        const auto executable = backends::find_backend("vulkan")->compile(*graph_, {});
        auto session = executable.ok() ? (*executable)->create_session() : executable.status();
        const auto out = session.ok() ? (*session)->run(in_) : session.status();
        if (out.ok()) {
          expect_equal(want, out);
          ++survived;
        } else {
          EXPECT_FALSE(out.status().what().empty());
          ++failed;
        }
        ASSERT_TRUE(Faults::set("").ok());
        if (!session.ok()) continue;
        expect_equal(want, (*session)->run(in_));  // a session may run again after any error
      }
  EXPECT_GT(failed, 15);
  EXPECT_GT(survived, 5);
}

INSTANTIATE_TEST_SUITE_P(Memory, Loss, ::testing::Bool(), [](const auto& info) { return info.param ? "Staged" : "Mapped"; });

TEST(LossSpec, FaultsThatCannotBeReadAreRefused) {
  for (const char* text : {"vkQueueSubmit", "vkQueueSubmit:0=VK_ERROR_DEVICE_LOST", "vkQueueSubmit:x=VK_ERROR_DEVICE_LOST", "vkQueueSubmit:1=VK_WHATEVER"})
    EXPECT_THAT(Faults::set(text).to_string(), HasSubstr("FUNCTION:N=RESULT")) << text;
}

}  // namespace
}  // namespace tenon
