#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "backends/vulkan/recording.h"
#include "tests/spirv/sample_kernels.h"

namespace tenon {
namespace {

using backends::vulkan::Binding;
using backends::vulkan::Device;
using backends::vulkan::Dispatch;
using backends::vulkan::Memory;
using backends::vulkan::MemoryKind;
using backends::vulkan::Recording;
using backends::vulkan::Stream;

/// Buffers that the host fills, on a device of either kind.
Result<std::unique_ptr<Memory>> mapped(const Device& device, size_t bytes) { return device.allocate(bytes, MemoryKind::kHost); }

/// Runs one dispatch; the check code.
Result<int32_t> run(const std::shared_ptr<Device>& device, const Dispatch& dispatch) {
  TENON_ASSIGN_OR_RETURN(const auto code, mapped(*device, sizeof(int32_t)));
  std::memset(code->host(), 0, sizeof(int32_t));
  TENON_ASSIGN_OR_RETURN(const auto recording, Recording::create(device));
  TENON_ASSIGN_OR_RETURN(const auto stream, Stream::create(device));
  TENON_RETURN_IF_ERROR(recording->record({&dispatch, 1}, code->address(), false));
  TENON_RETURN_IF_ERROR(recording->enqueue(*stream, {}));
  TENON_RETURN_IF_ERROR(stream->wait());
  int32_t out = 0;
  std::memcpy(&out, code->host(), sizeof out);
  return out;
}

bool supports(const backends::vulkan::DeviceInfo& info, DType d) {
  if (d == DType::kF64) return info.float64;
  if (d == DType::kF16) return info.float16 && info.storage16;
  if (bits(d) == 16) return info.int16 && info.storage16;
  if (bits(d) == 8) return info.int8 && info.storage8;
  return true;
}

// Random values with the corners of each dtype; floats stay in a range where every cast is defined.
void fill(std::byte* data, DType d, int64_t count, std::mt19937_64& random) {
  for (int64_t i = 0; i < count; ++i) {
    ir::Scalar value;
    if (is_float(d)) {
      value.f = i % 5 == 0 ? static_cast<double>(static_cast<int>(random() % 7) - 3)
                           : std::uniform_real_distribution<double>(-100, 100)(random);
    } else if (d == DType::kBool) {
      value.i = static_cast<int64_t>(random() & 1);
    } else if (i % 4 == 0) {
      constexpr int64_t kCorners[] = {0, 1, -1, INT64_MIN, INT64_MAX, 7};
      value.i = ir::cast_scalar({0, kCorners[static_cast<size_t>(i / 4) % 6]}, DType::kI64, d).i;
      if (kCorners[static_cast<size_t>(i / 4) % 6] == INT64_MIN && is_signed_int(d))
        value.i = -(int64_t{1} << (bits(d) - 2)) * 2;
    } else {
      value.i = ir::cast_scalar({0, static_cast<int64_t>(random())}, DType::kI64, d).i;
    }
    ir::store_scalar(data, d, i, value);
  }
}

// Distance in units of the last place of the larger value's dtype.
double ulps(double a, double b, DType d) {
  if (a == b || (std::isnan(a) && std::isnan(b))) return 0;
  const int mantissa = d == DType::kF64 ? 52 : d == DType::kF32 ? 23 : d == DType::kF16 ? 10 : 7;
  const double scale = std::ldexp(1.0, std::ilogb(std::max({std::abs(a), std::abs(b), 1e-30})) - mantissa);
  return std::abs(a - b) / scale;
}

TEST(VulkanDevice, SampleKernelsAgreeWithTheKernelIrInterpreter) {
  const auto device = Device::open();
  if (!device.ok()) GTEST_SKIP() << "no Vulkan device: " << device.status().to_string();
  constexpr int64_t kCount = 131;
  std::mt19937_64 random(7);
  int count = 0;
  for (const testing::SampleKernel& sample : testing::sample_kernels()) {
    if (!supports((*device)->info(), sample.in) || !supports((*device)->info(), sample.out)) continue;
    SCOPED_TRACE(sample.name);
    codegen::spirv::EmitOptions options = (*device)->info().emit;
    options.narrow_indices = true;
    const auto words = codegen::spirv::emit(sample.kernel, options);
    ASSERT_TRUE(words.ok()) << words.status().to_string();
    const auto pipeline = (*device)->create_pipeline(*words, sample.kernel.lanes);
    ASSERT_TRUE(pipeline.ok()) << pipeline.status().to_string();
    std::vector<std::unique_ptr<Memory>> buffers;
    std::vector<Binding> bindings;
    for (DType d : {sample.in, sample.in, sample.out}) {
      auto buffer = mapped(**device, static_cast<size_t>(kCount * bits(d) / 8));
      ASSERT_TRUE(buffer.ok()) << buffer.status().to_string();
      fill((*buffer)->host(), d, kCount, random);
      bindings.push_back({(*buffer)->address(), (*buffer)->size()});
      buffers.push_back(std::move(*buffer));
    }
    std::vector<std::byte> expected(static_cast<size_t>(kCount * bits(sample.out) / 8));
    const kir::BufferView views[] = {{buffers[0]->host(), kCount}, {buffers[1]->host(), kCount}, {expected.data(), kCount}};
    const int64_t dims[] = {kCount};
    kir::Kernel expanded = kir::clone(sample.kernel);
    kir::expand_math(expanded);
    ASSERT_TRUE(kir::interpret(expanded, views, dims, 0, kCount).ok());
    const auto code = run(*device, {pipeline->get(), bindings, dims, kCount});
    ASSERT_TRUE(code.ok()) << code.status().to_string();
    EXPECT_EQ(*code, 0);
    for (int64_t i = 0; i < kCount; ++i) {
      const ir::Scalar want = ir::load_scalar(expected.data(), sample.out, i);
      const ir::Scalar got = ir::load_scalar(buffers[2]->host(), sample.out, i);
      // Vulkan allows fused steps in fma and 2.5 ulp in division, which the math sequences use a few of.
      if (is_float(sample.out)) ASSERT_LE(ulps(want.f, got.f, sample.out), 4) << "element " << i << ": " << want.f << " " << got.f;
      else ASSERT_EQ(want.i, got.i) << "element " << i;
    }
    ++count;
  }
  EXPECT_GT(count, 100);
  RecordProperty("kernels", count);
}

TEST(VulkanDevice, AFailingCheckComesBackAsItsCode) {
  const auto device = Device::open();
  if (!device.ok()) GTEST_SKIP() << "no Vulkan device: " << device.status().to_string();
  kir::Kernel kernel;
  kernel.name = "check";
  kir::KernelBuilder b(kernel);
  b.add_binding("out", DType::kI32, true);
  b.check(b.op(kir::ScalarOp::kLt, {b.grid_index(), b.i64(5)}), kir::kCheckIndexOutOfRange);
  b.store(0, b.grid_index(), b.constant_int(DType::kI32, 3));
  const auto words = codegen::spirv::emit(kernel, (*device)->info().emit);
  ASSERT_TRUE(words.ok());
  const auto pipeline = (*device)->create_pipeline(*words);
  const auto out = mapped(**device, 64);
  ASSERT_TRUE(pipeline.ok() && out.ok());
  const Binding bindings[] = {{(*out)->address(), 64}};
  for (const auto& [grid, want] : {std::pair<int64_t, int32_t>{5, 0}, {6, kir::kCheckIndexOutOfRange}, {5, 0}}) {
    const auto code = run(*device, {pipeline->get(), bindings, {}, grid});
    ASSERT_TRUE(code.ok()) << code.status().to_string();
    EXPECT_EQ(*code, want);
  }
}

}  // namespace
}  // namespace tenon
