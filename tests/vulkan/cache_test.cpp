// Executables from the cache: no import, no lowering, and the same after a loss of the device.

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <thread>

#include "backends/vulkan/devices.h"
#include "backends/vulkan/faults.h"
#include "eval/compiled_model.h"
#include "frontend/onnx/export.h"
#include "support/build_id.h"
#include "tests/vulkan/vulkan_test.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;
using backends::vulkan::Faults;
using eval::CompiledModel;
using vulkan_test::expect_equal;
using vulkan_test::numbers;

std::string dense(int rows, int columns) {
  std::string out = fmt::format("dense<f32[{}, {}]", rows, columns);
  for (int i = 0; i < rows * columns; ++i) out += fmt::format(", {:.4f}", std::sin(i * 0.37));
  return out + ">";
}

class VulkanCache : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = vulkan_test::no_device(); !why.empty()) GTEST_SKIP() << why;
    if (build_id().empty()) GTEST_SKIP() << "linked without a build id, so nothing says who made an executable";
    ASSERT_TRUE(Faults::set("").ok());
    std::string name = (fs::temp_directory_path() / "tenon-vulkan-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    graph_ = vulkan_test::parse(fmt::format(R"(graph "g" {{
      input %x: f32[N, 128]
      %w: f32[128, 96] = Constant {{value = {}}}
      %p: f32[N, 96] = MatMul(%x, %w)
      %t: f32[N, 96] = Tanh(%p)
      %i: i64[3] = Constant {{value = dense<i64[3], 5, 0, 63>}}
      %g: f32[N, 3] = Gather(%t, %i) {{axis = 1}}
      %y: f32[N, 96] = Softmax(%t) {{axis = -1}}
      output %y
      output %g
    }})", dense(128, 96)));
    ASSERT_TRUE(frontend::export_onnx(*graph_, folder_ / "model.onnx", {}).ok());
    std::this_thread::sleep_for(std::chrono::milliseconds(60));  // times of files are coarse: a younger file is not kept
  }
  void TearDown() override {
    if (!folder_.empty()) fs::remove_all(folder_);
    ASSERT_TRUE(Faults::set("").ok());
  }

  Result<CompiledModel> open(backends::CompileOptions options = {}) {
    TENON_ASSIGN_OR_RETURN(const auto cache, DiskCache::open(folder_ / "cache"));
    options.cache = cache;
    auto model = CompiledModel::open({folder_ / "model.onnx", {}, backends::find_backend("vulkan"), options, cache});
    if (model.ok()) TENON_RETURN_IF_ERROR(model->compile());
    return model;
  }
  void expect_right(const CompiledModel& model) {
    const auto session = model.executable()->create_session();
    ASSERT_TRUE(session.ok()) << session.status().to_string();
    for (int64_t batch : {3, 1, 40}) {
      const std::vector<HostValue> in = {numbers({batch, 128}, 1)};
      expect_equal(vulkan_test::expected(*graph_, in), (*session)->run(in));
    }
  }

  fs::path folder_;
  std::unique_ptr<ir::Graph> graph_;
};

TEST_F(VulkanCache, TheSecondTimeTheExecutableIsThere) {
  auto first = open();
  ASSERT_TRUE(first.ok()) << first.status().to_string();
  EXPECT_FALSE(first->from_cache());
  first->keep();
  const auto second = open();
  ASSERT_TRUE(second.ok()) << second.status().to_string();
  EXPECT_TRUE(second->from_cache());
  const backends::CompileStats &made = first->executable()->stats(), &restored = second->executable()->stats();
  EXPECT_TRUE(restored.restored);
  EXPECT_EQ(restored.kernels, made.kernels);
  EXPECT_EQ(restored.dispatches, made.dispatches);
  EXPECT_EQ(restored.lower_ms + restored.emit_ms + restored.optimize_ms, 0);
  EXPECT_EQ(second->executable()->placement().size(), first->executable()->placement().size());
  expect_right(*second);
}

TEST_F(VulkanCache, OtherOptionsAndDenyListsAreCompiledAnew) {
  open()->keep();
  backends::CompileOptions options;
  options.opt_level = 1;
  EXPECT_FALSE(open(options)->from_cache());
  options = {};
  options.checked = true;
  auto checked = open(options);
  EXPECT_FALSE(checked->from_cache());
  checked->keep();
  EXPECT_FALSE(open(options)->from_cache());  // checks are never kept
  EXPECT_TRUE(open()->from_cache());
  std::ofstream(folder_ / "deny.txt") << "* * lanes they are wrong here\n";
  const vulkan_test::Environment denied("TENON_VULKAN_DENY", (folder_ / "deny.txt").string());
  EXPECT_FALSE(open()->from_cache());
}

TEST_F(VulkanCache, WhatWasRestoredSurvivesLosses) {
  open()->keep();
  for (const char* fault : {"vkQueueSubmit:1=VK_ERROR_DEVICE_LOST", "vkQueueSubmit:1+=VK_ERROR_DEVICE_LOST"}) {
    SCOPED_TRACE(fault);
    const auto model = open();
    ASSERT_TRUE(model.ok() && model->from_cache());
    ASSERT_TRUE(Faults::set(fault).ok());
    expect_right(*model);
    ASSERT_TRUE(Faults::set("").ok());
  }
}

TEST_F(VulkanCache, ALossWhileRestoringLeadsToANewDeviceThenToTheCpu) {
  open()->keep();
  for (const char* fault : {"vkCreateComputePipelines:1=VK_ERROR_DEVICE_LOST", "vkCreateComputePipelines:1+=VK_ERROR_DEVICE_LOST"}) {
    SCOPED_TRACE(fault);
    ASSERT_TRUE(backends::vulkan::open_info("").ok());
    ASSERT_TRUE(Faults::set(fault).ok());
    const auto model = open();
    ASSERT_TRUE(model.ok()) << model.status().to_string();
    EXPECT_TRUE(model->from_cache());
    expect_right(*model);
    ASSERT_TRUE(Faults::set("").ok());
  }
}

}  // namespace
}  // namespace tenon
