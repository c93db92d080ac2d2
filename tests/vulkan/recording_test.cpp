// Command buffers: barriers, parts, moving bindings, timestamps.

#include <atomic>
#include <cstring>
#include <deque>

#include "backends/vulkan/recording.h"
#include "tests/spirv/sample_kernels.h"
#include "tests/vulkan/vulkan_test.h"

namespace tenon {
namespace {

using namespace backends::vulkan;
using runtime::Access;

/// out[i] = in[i] + 1, on buffers of 4096 integers.
class Recordings : public ::testing::Test {
 protected:
  static constexpr int64_t kCount = 4096;

  void SetUp() override {
    if (const std::string why = vulkan_test::no_device(); !why.empty()) GTEST_SKIP() << why;
    device_ = *Device::open();
    kir::Kernel kernel;
    kernel.name = "increment";
    kir::KernelBuilder b(kernel);
    b.add_binding("in", DType::kI32, false);
    b.add_binding("out", DType::kI32, true);
    b.store(1, b.grid_index(), b.op(kir::ScalarOp::kAdd, {b.load(0, b.grid_index()), b.constant_int(DType::kI32, 1)}));
    const auto words = codegen::spirv::emit(kernel, device_->info().emit);
    ASSERT_TRUE(words.ok()) << words.status().to_string();
    pipeline_ = *device_->create_pipeline(*words);
    ASSERT_TRUE(device_->create_pipeline(*words, device_->info().emit.workgroup_size).ok());  // subgroups of a size, none of them with idle invocations
    for (auto& buffer : buffers_) {
      buffer = *device_->allocate(kCount * sizeof(int32_t), MemoryKind::kHost);
      std::memset(buffer->host(), 0, buffer->size());
    }
    code_ = *device_->allocate(sizeof(int32_t), MemoryKind::kHost);
    recording_ = *Recording::create(device_);
    stream_ = *Stream::create(device_);
  }

  void add(size_t from, size_t to, double ns = 0) {
    bindings_.push_back({Binding{buffers_[from]->address(), buffers_[from]->size(), Access::kRead}, Binding{buffers_[to]->address(), buffers_[to]->size(), Access::kWrite}});
    dispatches_.push_back({pipeline_.get(), bindings_.back(), {}, kCount, ns});
  }
  void run() {
    ASSERT_TRUE(recording_->enqueue(*stream_, {}).ok());
    ASSERT_TRUE(stream_->wait().ok());
  }
  int32_t at(size_t buffer, int64_t i) const { return reinterpret_cast<const int32_t*>(buffers_[buffer]->host())[i]; }

  std::shared_ptr<Device> device_;
  std::unique_ptr<Pipeline> pipeline_;
  std::unique_ptr<Memory> buffers_[4], code_;
  std::deque<std::vector<Binding>> bindings_;
  std::vector<Dispatch> dispatches_;
  std::unique_ptr<Recording> recording_;
  std::unique_ptr<Stream> stream_;
};

TEST_F(Recordings, BarriersStandWhereDispatchesMeet) {
  add(0, 1);
  add(0, 2);  // beside the first
  add(1, 3);  // reads what the first wrote
  add(2, 0);  // overwrites nothing that was read since, and what it reads is visible
  add(3, 0);  // overwrites, and reads what was written
  ASSERT_TRUE(recording_->record(dispatches_, code_->address(), false).ok());
  EXPECT_EQ(recording_->barriers(), 2);
  EXPECT_EQ(recording_->parts(), 1);
  run();
  for (int64_t i = 0; i < kCount; i += 511) EXPECT_EQ(at(0, i), 3);
}

TEST_F(Recordings, LongWorkIsSplitAndGivesTheSame) {
  add(0, 1, 5.5 * Stream::kMostNs);
  add(1, 2, 0.6 * Stream::kMostNs);
  add(2, 3, 0.6 * Stream::kMostNs);
  ASSERT_TRUE(recording_->record(dispatches_, code_->address(), false).ok());
  EXPECT_GE(recording_->parts(), 7);
  run();
  EXPECT_GE(stream_->submissions(), 7U);
  for (int64_t i = 0; i < kCount; ++i) ASSERT_EQ(at(3, i), 3) << i;
  std::atomic<bool> cancel = true;
  EXPECT_EQ(recording_->enqueue(*stream_, {&cancel, {}}).code(), Code::kCancelled);
  EXPECT_TRUE(stream_->wait().ok());
}

TEST_F(Recordings, ManyDispatchesAreSplit) {
  for (int i = 0; i < 1500; ++i) add(static_cast<size_t>(i % 2), static_cast<size_t>(1 - i % 2));
  ASSERT_TRUE(recording_->record(dispatches_, code_->address(), false).ok());
  EXPECT_EQ(recording_->parts(), 2);
  run();
  EXPECT_EQ(at(0, 77), 1500);
}

TEST_F(Recordings, ABindingMovesWithoutRecordingAgain) {
  add(0, 1);
  ASSERT_TRUE(recording_->record(dispatches_, code_->address(), false).ok());
  run();
  recording_->move(0, buffers_[1]->address());
  recording_->move(1, buffers_[2]->address());
  run();
  EXPECT_EQ(at(1, 9), 1);
  EXPECT_EQ(at(2, 9), 2);
}

TEST_F(Recordings, EachDispatchIsTimed) {
  if (device_->info().timestamp_ns == 0) GTEST_SKIP() << "the device has no timestamps";
  add(0, 1);
  add(1, 2);
  ASSERT_TRUE(recording_->record(dispatches_, code_->address(), true).ok());
  run();
  const auto times = recording_->times_ns();
  ASSERT_TRUE(times.ok()) << times.status().to_string();
  ASSERT_EQ(times->size(), 2U);
  for (double ns : *times) {
    EXPECT_GT(ns, 0);
    EXPECT_LT(ns, 60e9);
  }
}

TEST_F(Recordings, MemoryIsSharedOutInFewBlocks) {
  const MemoryFigures before = device_->allocator().figures();
  std::vector<std::unique_ptr<Memory>> many;
  for (int i = 0; i < 500; ++i) {
    auto made = device_->allocate(static_cast<size_t>(100 + 37 * i));
    ASSERT_TRUE(made.ok());
    EXPECT_EQ((*made)->address() % 64, 0U);
    many.push_back(std::move(*made));
  }
  const MemoryFigures after = device_->allocator().figures();
  EXPECT_LE(after.allocations - before.allocations, 6U);
  for (size_t i = 0; i < many.size(); i += 2) many[i].reset();
  const auto large = device_->allocate(100 << 20);
  ASSERT_TRUE(large.ok());
  many.clear();
  EXPECT_EQ(device_->allocator().figures().used, before.used + (*large)->size());
  const Status refused = device_->allocate(size_t{1} << 50).status();
  EXPECT_EQ(refused.code(), Code::kResourceExhausted);
}

}  // namespace
}  // namespace tenon
