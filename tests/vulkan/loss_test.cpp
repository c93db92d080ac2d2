// Failures of the device, made on purpose: each is a Status or is survived, never a crash.

#include <gmock/gmock.h>

#include <algorithm>
#include <type_traits>

#include "backends/vulkan/devices.h"
#include "backends/vulkan/faults.h"
#include "backends/vulkan/loader.h"
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

template <class Function>
struct ReturnsResult : std::false_type {};
template <class... Arguments>
struct ReturnsResult<VkResult(VKAPI_PTR*)(Arguments...)> : std::true_type {};

/// Every function of a level that says whether it failed.
std::vector<std::string_view> functions_of_devices() {
  std::vector<std::string_view> out;
#define TENON_VK_NAME(name) \
  if (ReturnsResult<PFN_##name>::value) out.emplace_back(#name);
  TENON_VK_DEVICE(TENON_VK_NAME)
#undef TENON_VK_NAME
  return out;
}

enum class Opened : bool { kBefore, kMeanwhile };

/// Compiles, makes a session and runs, on a device that no test has used before; the fault counts from the beginning, or once the device is open.
struct Attempt {
  Environment limit;
  Status set;
  Result<std::shared_ptr<const backends::Executable>> executable;
  Result<std::unique_ptr<backends::Session>> session;
  Result<std::vector<HostValue>> out;

  Attempt(const ir::Graph& graph, std::span<const HostValue> in, const std::string& fault, Opened opened)
      : limit("TENON_VULKAN_MAX_BYTES", std::to_string((int64_t{1} << 30) + ++unique())),
        set((opened == Opened::kMeanwhile || backends::vulkan::open_info("").ok()) ? Faults::set(fault) : Status(Code::kInternal, "no device")),
        executable(backends::find_backend("vulkan")->compile(graph, options())),
        session(executable.ok() ? (*executable)->create_session() : executable.status()),
        out(session.ok() ? (*session)->run(in) : session.status()) {}
  static backends::CompileOptions options() {
    backends::CompileOptions out;
    const auto cache = DiskCache::open(::testing::TempDir() + "tenon_loss_cache");
    if (cache.ok()) out.cache = *cache;
    return out;
  }
  static int& unique() {
    static int number = 0;
    return number;
  }
};

// Wherever a device is lost once it is open, in a compilation, an upload or a run, the result is right: the second one computes it.
TEST_P(Loss, AnyCallMayLoseTheDevice) {
  const std::vector<HostValue> want = expected(*graph_, in_);
  constexpr int kCalls = 3;
  int lost = 0;
  for (const std::string_view function : functions_of_devices())
    for (int call = 1; call <= kCalls; ++call) {
      const std::string fault = fmt::format("{}:{}=VK_ERROR_DEVICE_LOST", function, call);
      SCOPED_TRACE(fault);
      const Attempt attempt(*graph_, in_, fault, Opened::kBefore);
      ASSERT_TRUE(attempt.set.ok()) << attempt.set.to_string();
      const bool reached = Faults::calls(function) >= call;
      ASSERT_TRUE(Faults::set("").ok());
      expect_equal(want, attempt.out);
      if (!reached) break;
      ++lost;
      if (attempt.session.ok()) expect_equal(want, (*attempt.session)->run(in_));
    }
  EXPECT_GT(lost, 20);
  EXPECT_EQ(count("on the CPU") + count("for the CPU"), 0U);
}

// A device that is lost over and over: the CPU computes, with one warning, whatever call it is.
TEST_P(Loss, AnyCallMayLoseEveryDevice) {
  const std::vector<HostValue> want = expected(*graph_, in_);
  for (const std::string_view function : functions_of_devices()) {
    const bool ignored = function == "vkDeviceWaitIdle" || function == "vkGetPipelineCacheData";  // whose failure says nothing new
    SCOPED_TRACE(function);
    messages_.clear();
    const Attempt attempt(*graph_, in_, fmt::format("{}:1+=VK_ERROR_DEVICE_LOST", function), Opened::kBefore);
    ASSERT_TRUE(attempt.set.ok()) << attempt.set.to_string();
    const bool reached = Faults::calls(function) > 0;
    expect_equal(want, attempt.out);
    if (attempt.session.ok()) expect_equal(want, (*attempt.session)->run(in_));
    ASSERT_TRUE(Faults::set("").ok());
    EXPECT_EQ(count("on the CPU") + count("for the CPU"), reached && !ignored ? 1U : 0U);
  }
}

TEST_P(Loss, WhereTheDeviceIsRequiredALostCompilationIsAnError) {
  backends::CompileOptions options;
  options.require_placement = "vulkan=100%";
  ASSERT_TRUE(Faults::set("vkCreateComputePipelines:1+=VK_ERROR_DEVICE_LOST").ok());
  EXPECT_THAT(backends::find_backend("vulkan")->compile(*graph_, options).status().to_string(), HasSubstr("VK_ERROR_DEVICE_LOST"));
}

// Every call that can fail otherwise: a Status, or the right result.
TEST_P(Loss, AnyCallMayFail) {
  const std::vector<HostValue> want = expected(*graph_, in_);
  std::vector<std::string_view> functions = functions_of_devices();
  for (const char* other : {"vkCreateInstance", "vkEnumeratePhysicalDevices", "vkCreateDevice", "vkEnumerateInstanceVersion", "vkEnumerateDeviceExtensionProperties"})
    functions.emplace_back(other);
  int failed = 0, survived = 0;
  for (const std::string_view function : functions) {
    const std::string fault = fmt::format("{}:1=VK_ERROR_OUT_OF_DEVICE_MEMORY", function);
    SCOPED_TRACE(fault);
    const Attempt attempt(*graph_, in_, fault, Opened::kMeanwhile);
    if (attempt.out.ok()) {
      expect_equal(want, attempt.out);
      ++survived;
    } else {
      EXPECT_FALSE(attempt.out.status().what().empty());
      ++failed;
    }
    ASSERT_TRUE(Faults::set("").ok());
    if (attempt.session.ok()) expect_equal(want, (*attempt.session)->run(in_));  // a session may run again after any error
  }
  EXPECT_GT(failed, 12);
  EXPECT_GT(survived, 3);
}

INSTANTIATE_TEST_SUITE_P(Memory, Loss, ::testing::Bool(), [](const auto& info) { return info.param ? "Staged" : "Mapped"; });

TEST(LossSpec, FaultsThatCannotBeReadAreRefused) {
  for (const char* text : {"vkQueueSubmit", "vkQueueSubmit:0=VK_ERROR_DEVICE_LOST", "vkQueueSubmit:x=VK_ERROR_DEVICE_LOST", "vkQueueSubmit:1=VK_WHATEVER"})
    EXPECT_THAT(Faults::set(text).to_string(), HasSubstr("FUNCTION:N=RESULT")) << text;
}

}  // namespace
}  // namespace tenon
