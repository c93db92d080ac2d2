// Kernels that compare every index with its buffer's size.

#include <gmock/gmock.h>

#include <array>
#include <bit>

#include "backends/vulkan/session_device.h"
#include "tests/vulkan/vulkan_test.h"

namespace tenon {
namespace {

using backends::vulkan::Constants;
using backends::vulkan::Device;
using backends::vulkan::KernelSites;
using backends::vulkan::Loaded;
using backends::vulkan::SessionDevice;
using ::testing::HasSubstr;
using vulkan_test::Environment;

class Checked : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (const std::string why = vulkan_test::no_device(); !why.empty()) GTEST_SKIP() << why;
  }
  Environment staging_{"TENON_VULKAN_STAGING", GetParam() ? "1" : "0"};
};

/// out[g + dim] = in[g], in one invocation or, by its lanes, in a workgroup.
kir::Kernel shifted_copy(int lanes) {
  kir::Kernel kernel;
  kernel.name = "shifted";
  kernel.lanes = lanes;
  kir::KernelBuilder b(kernel);
  b.add_binding("in", DType::kF32, false);
  b.add_binding("out", DType::kF32, true);
  const auto copy = [&](kir::ValueId i) { b.store(1, b.add(i, b.dim(0)), b.load(0, i)); };
  if (lanes == 1)
    copy(b.grid_index());
  else
    b.loop(kir::LoopKind::kVector, b.i64(0), b.i64(lanes), 1,
           [&](kir::ValueId i) { copy(b.add(b.mul(b.grid_index(), b.i64(lanes)), i)); });
  return kernel;
}

Result<std::shared_ptr<const Loaded>> load(const kir::Kernel& kernel, bool narrow) {
  auto out = std::make_shared<Loaded>();
  TENON_ASSIGN_OR_RETURN(const auto device, Device::open());
  kir::CheckedKernel checked = kir::check_bounds(kernel);
  codegen::spirv::EmitOptions options = device->info().emit;
  options.log = checked.log;
  options.narrow_indices = narrow;
  TENON_ASSIGN_OR_RETURN(const auto words, codegen::spirv::emit(checked.kernel, options));
  TENON_ASSIGN_OR_RETURN(auto pipeline, device->create_pipeline(words, kernel.lanes));
  out->pipelines.push_back(std::move(pipeline));
  TENON_ASSIGN_OR_RETURN(out->constants, Constants::upload(device, {}));
  out->device = device;
  runtime::PlanKernel planned;
  planned.access = {runtime::Access::kRead, runtime::Access::kWrite};
  out->kernels = std::make_shared<const std::vector<runtime::PlanKernel>>(1, planned);
  out->sites.push_back(std::make_shared<KernelSites>(KernelSites{kernel.name, kernel.buffers, checked.sites}));
  return std::shared_ptr<const Loaded>(std::move(out));
}

TEST_P(Checked, APlantedDefectIsAnErrorThatNamesNodeAndKernel) {
  constexpr size_t kCount = 64, kBytes = kCount * sizeof(float);
  for (const bool narrow : {true, false})
    for (const int lanes : {1, 32}) {
      SCOPED_TRACE(fmt::format("narrow {} lanes {}", narrow, lanes));
      const auto loaded = load(shifted_copy(lanes), narrow);
      ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
      const auto session = *SessionDevice::create(*loaded);
      const auto memory = *session->allocate(3 * kBytes);  // in, out, and what lies behind it
      auto* const in = reinterpret_cast<float*>(memory->data());
      float* const out = in + kCount;
      for (size_t i = 0; i < kCount; ++i) in[i] = static_cast<float>(i);
      const std::array<int32_t, 2> bound = {0, 1};
      const runtime::DeviceValue values[] = {{{memory->data(), kBytes}}, {{memory->data() + kBytes, kBytes}}};
      for (const int64_t shift : {0, 5, -1, 0}) {
        std::fill_n(out, 2 * kCount, -1.0F);
        ASSERT_TRUE(session->wrote({memory->data(), 3 * kBytes}).ok());
        const int64_t dims[] = {shift};
        const runtime::DeviceCall call{0, bound, dims, static_cast<int64_t>(kCount) / lanes, -1, "the_node"};
        auto program = session->record(values, {&call, 1}, false, nullptr);
        ASSERT_TRUE(program.ok()) << program.status().to_string();
        ASSERT_TRUE(session->run(**program, {}, {}).ok());
        const Status status = session->finish().status();
        ASSERT_TRUE(session->fetch({memory->data(), 3 * kBytes}).ok());
        ASSERT_TRUE(session->finish().ok());
        if (shift == 0) {
          EXPECT_TRUE(status.ok()) << status.to_string();
        } else {
          EXPECT_EQ(status.code(), Code::kInternal);
          EXPECT_THAT(status.to_string(), HasSubstr("the_node"));
          EXPECT_THAT(status.to_string(), HasSubstr("kernel shifted writes element"));
          EXPECT_THAT(status.to_string(), HasSubstr("of buffer 1 (out), which has 64"));
        }
        if (shift == -1) {
          EXPECT_THAT(status.to_string(), HasSubstr("element -1 of"));
        }
        for (size_t i = 0; i < kCount; ++i) {
          EXPECT_EQ(out[kCount + i], -1) << "behind the buffer, " << i;
          const auto from = static_cast<int64_t>(i) - shift;
          EXPECT_EQ(out[i], from >= 0 && from < static_cast<int64_t>(kCount) ? in[from] : -1.0F) << i;
        }
      }
    }
}

// The validation layer sees whether a device may have them.
TEST_P(Checked, WorkgroupsAreAsLargeAsTheTargetSays) {
  const auto device = Device::open();
  ASSERT_TRUE(device.ok()) << device.status().to_string();
  const auto loaded = load(shifted_copy(static_cast<int>(std::bit_floor(static_cast<unsigned>((*device)->info().target.max_workgroup)))), true);
  EXPECT_TRUE(loaded.ok()) << loaded.status().to_string();
}

TEST_P(Checked, ModelsRunAsTheyDoUnchecked) {
  const auto graph = vulkan_test::parse(R"(graph "g" {
    input %x: f32[B, 3, 9, 9]
    input %i: i64[M]
    %s: i64[4] = Constant {value = dense<i64[4], 4, 3, 3, 3>}
    %w: f32[4, 3, 3, 3] = ConstantOfShape(%s) {value = dense<f32[1], 0.25>}
    %c: f32[B, 4, 9, 9] = Conv(%x, %w) {pads = [1, 1, 1, 1], kernel_shape = [3, 3]}
    %p: f32[B, 4, 4, 4] = MaxPool(%c) {kernel_shape = [3, 3], strides = [2, 2]}
    %f: f32[B, 64] = Flatten(%p) {axis = 1}
    %m: f32[B, 64] = Softmax(%f) {axis = -1}
    %g: f32[B, M] = Gather(%m, %i) {axis = 1}
    output %g
  })");
  if (graph == nullptr) return;
  backends::CompileOptions options;
  options.checked = true;
  const auto executable = backends::find_backend("vulkan")->compile(*graph, options);
  ASSERT_TRUE(executable.ok()) << executable.status().to_string();
  const auto session = *(*executable)->create_session();
  for (int64_t batch : {1, 3, 1}) {
    const std::vector<HostValue> in = {vulkan_test::numbers({batch, 3, 9, 9}, 1),
                                       Tensor::from<int64_t>({3}, {63, -1, 5})};
    vulkan_test::expect_equal(vulkan_test::expected(*graph, in), session->run(in));
  }
  EXPECT_FALSE(backends::find_backend("vulkan")->save_key(options).has_value());
  const std::vector<HostValue> wrong = {vulkan_test::numbers({1, 3, 9, 9}, 1), Tensor::from<int64_t>({1}, {64})};
  EXPECT_EQ(session->run(wrong).status().code(), Code::kOutOfRange);  // the caller's mistake, not Tenon's
}

INSTANTIATE_TEST_SUITE_P(Memory, Checked, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Staged" : "Mapped"; });

}  // namespace
}  // namespace tenon
