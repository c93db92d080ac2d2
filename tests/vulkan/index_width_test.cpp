// Indices of 64 bits: emitted and compiled for the sizes that want them, and kept for plans that may meet such sizes.

#include <gtest/gtest.h>

#include <array>

#include "backends/vulkan/executable.h"
#include "backends/vulkan/index_width.h"
#include "tests/vulkan/vulkan_test.h"

namespace tenon {
namespace {

using backends::vulkan::Constants;
using backends::vulkan::Device;
using backends::vulkan::Loaded;
using backends::vulkan::SessionDevice;

class IndexWidth : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = vulkan_test::no_device(); !why.empty()) GTEST_SKIP() << why;
  }
};

/// out[g] = in[g] below the dim.
kir::Kernel copy_below() {
  kir::Kernel kernel;
  kernel.name = "below";
  kir::KernelBuilder b(kernel);
  const int in = b.add_binding("in", DType::kF32, false), out = b.add_binding("out", DType::kF32, true);
  b.store_masked(out, b.grid_index(), b.load(in, b.grid_index()), b.op(ir::ScalarOp::kLt, {b.grid_index(), b.dim(0)}));
  return kernel;
}

TEST_F(IndexWidth, TheWideModuleIsEmittedOnceAndForLargeSizesAlone) {
  constexpr size_t kCount = 64, kBytes = kCount * sizeof(float);
  const kir::Kernel kernel = copy_below();
  int emitted = 0;
  auto loaded = std::make_shared<Loaded>();
  const auto device = Device::open();
  ASSERT_TRUE(device.ok()) << device.status().to_string();
  codegen::spirv::EmitOptions options = (*device)->info().emit;
  ASSERT_TRUE(options.narrow_indices);
  auto pipeline = (*device)->create_pipeline(*codegen::spirv::emit(kernel, options));
  ASSERT_TRUE(pipeline.ok()) << pipeline.status().to_string();
  options.narrow_indices = false;
  (*pipeline)->wide_words = [&] {
    ++emitted;
    return codegen::spirv::emit(kernel, options);
  };
  loaded->pipelines.push_back(std::move(*pipeline));
  loaded->constants = *Constants::upload(*device, {});
  loaded->device = *device;
  runtime::PlanKernel planned;
  planned.access = {runtime::Access::kRead, runtime::Access::kWrite};
  loaded->kernels = std::make_shared<const std::vector<runtime::PlanKernel>>(1, planned);
  const auto session = *SessionDevice::create(loaded);
  const auto memory = *session->allocate(2 * kBytes);
  auto* const in = reinterpret_cast<float*>(memory->data());
  for (size_t i = 0; i < kCount; ++i) in[i] = static_cast<float>(i);
  const runtime::DeviceValue values[] = {{{memory->data(), kBytes}}, {{memory->data() + kBytes, kBytes}}};
  const std::array<int32_t, 2> bound = {0, 1};
  // Of the last two, 32 bits would leave nothing.
  for (const auto& [below, expected] : {std::pair{int64_t{40}, 0}, {int64_t{1} << 32, 1}, {(int64_t{1} << 40) + 7, 1}}) {
    SCOPED_TRACE(below);
    std::fill_n(in + kCount, kCount, -1.0F);
    ASSERT_TRUE(session->wrote({memory->data(), 2 * kBytes}).ok());
    const int64_t dims[] = {below};
    const runtime::DeviceCall call{0, bound, dims, static_cast<int64_t>(kCount), -1, "node"};
    auto program = session->record(values, {&call, 1}, false, nullptr);
    ASSERT_TRUE(program.ok()) << program.status().to_string();
    ASSERT_TRUE(session->run(**program, {}, {}).ok());
    ASSERT_TRUE(session->finish().ok());
    ASSERT_TRUE(session->fetch({memory->data(), 2 * kBytes}).ok());
    ASSERT_TRUE(session->finish().ok());
    for (size_t i = 0; i < kCount; ++i) EXPECT_EQ(in[kCount + i], static_cast<int64_t>(i) < below ? in[i] : -1.0F) << i;
    EXPECT_EQ(emitted, expected);
  }
}

TEST_F(IndexWidth, FollowsFromWhatIsKnownOfAPlan) {
  for (const auto& [dim, wide] : {std::pair{"8", false}, {"N", true}, {"67108864", false}, {"268435456", true}, {"1073741824", true}}) {
    SCOPED_TRACE(dim);
    const auto graph = vulkan_test::parse(fmt::format("graph \"g\" {{ input %x: f32[{0}]\n %y: f32[{0}] = Neg(%x)\n output %y }}", dim));
    const auto made = backends::find_backend("vulkan")->compile(*graph, {});
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    const auto* own = dynamic_cast<const backends::vulkan::VulkanExecutable*>(made->get());
    ASSERT_NE(own, nullptr);
    EXPECT_EQ(backends::vulkan::may_need_wide(*own->plan->plan), std::vector<char>(1, wide));
  }
}

/// The words of every kernel's wide module; empty: it has none.
std::vector<std::vector<uint32_t>> wide_words(const backends::Executable& executable) {
  std::vector<std::vector<uint32_t>> out;
  for (const backends::vulkan::Module& module : dynamic_cast<const backends::vulkan::VulkanExecutable&>(executable).modules) {
    auto words = module.wide_words();
    out.push_back(words.ok() ? std::move(*words) : std::vector<uint32_t>());
  }
  return out;
}

TEST_F(IndexWidth, WideModulesAreSavedWhereSizesMayWantThem) {
  for (const auto& [dim, wanted] : {std::pair{"N", true}, {"8", false}}) {
    SCOPED_TRACE(dim);
    const std::string text = fmt::format("graph \"g\" {{ input %x: f32[{0}]\n %y: f32[{0}] = Neg(%x)\n output %y }}", dim);
    const auto graph = vulkan_test::parse(text);
    backends::CompileOptions options;
    options.keep_code = true;
    options.reload = [&] { return Result<std::unique_ptr<ir::Graph>>(vulkan_test::parse(text)); };
    const backends::Backend& backend = *backends::find_backend("vulkan");
    const auto made = backend.compile(*graph, options);
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    const auto saved = backend.save(**made);
    ASSERT_TRUE(saved.ok()) << saved.status().to_string();
    const auto restored = backend.restore(saved->bytes, *Buffer::allocate(64), *graph, options);
    ASSERT_TRUE(restored.ok()) << restored.status().to_string();
    const auto before = wide_words(**made), after = wide_words(**restored);
    ASSERT_EQ(before.size(), 1u);
    ASSERT_FALSE(before[0].empty());
    EXPECT_EQ(after, wanted ? before : std::vector<std::vector<uint32_t>>(1));
    const auto device = Device::open();
    ASSERT_TRUE(device.ok()) << device.status().to_string();
    if (wanted) {
      EXPECT_TRUE((*device)->create_pipeline(after[0]).ok());
    }
    const std::vector<HostValue> in = {vulkan_test::numbers({8}, 1)};
    vulkan_test::expect_equal(vulkan_test::expected(*graph, in), (*(*restored)->create_session())->run(in));
  }
}

}  // namespace
}  // namespace tenon
