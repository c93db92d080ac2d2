// Kernels that check what they access: by the Kernel IR interpreter, which refuses every access that is outside.

#include "codegen/bounds_check.h"
#include "codegen/kernel_tiles.h"

#include <gtest/gtest.h>

#include "codegen/spirv/emit.h"
#include "codegen/spirv/narrow.h"
#include "tests/spirv/sample_kernels.h"

namespace tenon {
namespace {

using kir::BufferView;
using kir::KernelBuilder;
using kir::kNoViolation;
using kir::ScalarOp;

/// out[g + 2 - dim] = in[2 g] + local[g]
kir::Kernel planted() {
  kir::Kernel kernel;
  kernel.name = "planted";
  KernelBuilder b(kernel);
  b.add_binding("in", DType::kF32, false);
  b.add_binding("out", DType::kF32, true);
  const int local = b.add_local("local", DType::kF32, 4);
  b.store(local, b.grid_index(), b.constant(DType::kF32, 10));
  const auto read = b.load(0, b.mul(b.grid_index(), b.i64(2)));
  const auto sum = b.op(ScalarOp::kAdd, {read, b.load(local, b.grid_index())});
  b.store(1, b.sub(b.add(b.grid_index(), b.i64(2)), b.dim(0)), sum);
  return kernel;
}

TEST(BoundsCheck, WhatIsOutsideIsSkippedAndRecorded) {
  const kir::Kernel kernel = planted();
  const kir::CheckedKernel checked = kir::check_bounds(kernel);
  ASSERT_TRUE(kir::verify(checked.kernel).ok()) << kir::verify(checked.kernel).to_string();
  ASSERT_EQ(checked.sites.size(), 4U);
  EXPECT_EQ(checked.log, 2);
  EXPECT_EQ(checked.sites[0].buffer, 2);
  EXPECT_TRUE(checked.sites[0].store);
  EXPECT_EQ(checked.sites[3].buffer, 1);
  struct Case {
    int64_t grid, shift;
    std::vector<int64_t> log;
    std::vector<float> out;
  };
  const int64_t no = kNoViolation;
  for (const Case& c : {Case{3, 2, {no, no, no, no}, {11, 13, 15, -1}},  // all is inside
                        Case{4, 2, {no, 6, no, no}, {11, 13, 15, 10}},   // in[6] of 5 reads as 0
                        Case{3, 3, {no, no, no, -1}, {13, 15, -1, -1}},  // out[-1] is skipped
                        Case{3, 0, {no, no, no, 4}, {-1, -1, 11, 13}},   // so is out[4] of 4
                        Case{5, 2, {4, 8, 4, 4}, {11, 13, 15, 10}}}) {   // the last index of each site
    SCOPED_TRACE(fmt::format("grid {} shift {}", c.grid, c.shift));
    std::vector<float> in = {1, 2, 3, 4, 5}, out(4, -1);
    std::vector<int64_t> log(4, no);
    const BufferView views[] = {{in.data(), 5}, {out.data(), 4}, {log.data(), 4}};
    const int64_t dims[] = {c.shift, 5, 4};
    const Status done = kir::interpret(checked.kernel, views, dims, 0, c.grid);
    ASSERT_TRUE(done.ok()) << done.to_string();
    EXPECT_EQ(log, c.log);
    EXPECT_EQ(out, c.out);
  }
}

TEST(BoundsCheck, MasksAndLoopsKeepTheirMeaning) {
  kir::Kernel kernel;
  KernelBuilder b(kernel);
  b.add_binding("in", DType::kI32, false);
  b.add_binding("out", DType::kI32, true);
  const auto mask_below = [&](kir::ValueId i, int64_t bound) { return b.op(ScalarOp::kLt, {i, b.i64(bound)}); };
  b.loop(kir::LoopKind::kVector, b.i64(0), b.dim(0), 1, [&](kir::ValueId i) {
    const auto read = b.load_masked(0, i, mask_below(i, 3), b.constant_int(DType::kI32, 7));
    b.store_masked(1, i, read, mask_below(i, 6));
  });
  const kir::CheckedKernel checked = kir::check_bounds(kernel);
  ASSERT_TRUE(kir::verify(checked.kernel).ok()) << kir::verify(checked.kernel).to_string();
  std::vector<int32_t> in = {1, 2}, out(5, -1);
  std::vector<int64_t> log(2, kNoViolation);
  const BufferView views[] = {{in.data(), 2}, {out.data(), 5}, {log.data(), 2}};
  const int64_t dims[] = {8, 2, 5};
  ASSERT_TRUE(kir::interpret(checked.kernel, views, dims, 0, 1).ok());
  EXPECT_EQ(out, (std::vector<int32_t>{1, 2, 7, 7, 7}));  // in[2], which the mask allows, is not there
  EXPECT_EQ(log, (std::vector<int64_t>{2, 5}));
}

TEST(BoundsCheck, SampleKernelsComputeTheSame) {
  constexpr int64_t kCount = 128;
  for (const testing::SampleKernel& sample : testing::sample_kernels()) {
    SCOPED_TRACE(sample.name);
    kir::Kernel plain = kir::clone(sample.kernel);
    kir::expand_tiles(plain);
    const kir::CheckedKernel checked = kir::check_bounds(plain);
    ASSERT_TRUE(kir::verify(checked.kernel).ok()) << kir::verify(checked.kernel).to_string();
    const auto bytes = [&](DType d) { return static_cast<size_t>(kCount * bits(d) / 8); };
    std::vector<std::byte> in(bytes(sample.in), std::byte{1}), want(bytes(sample.out)), got(bytes(sample.out));
    std::vector<int64_t> log(checked.sites.size(), kNoViolation);
    const BufferView views[] = {{in.data(), kCount}, {in.data(), kCount}, {want.data(), kCount}};
    const BufferView logged[] = {views[0], views[1], {got.data(), kCount}, {log.data(), std::ssize(log)}};
    const int64_t dims[] = {kCount, kCount, kCount, kCount};
    kir::Kernel guarded = kir::clone(checked.kernel);
    kir::expand_math(plain);
    kir::expand_math(guarded);
    ASSERT_TRUE(kir::interpret(plain, views, {dims, 1}, 0, kCount).ok());
    ASSERT_TRUE(kir::interpret(guarded, logged, dims, 0, kCount).ok());
    EXPECT_EQ(want, got);
    EXPECT_EQ(log, std::vector<int64_t>(log.size(), kNoViolation));
  }
}

// What is recorded must be what the kernel computes with: 32 bits where it would use these.
TEST(BoundsCheck, IndicesStayAsNarrowAsTheyAre) {
  int narrow = 0;
  for (const testing::SampleKernel& sample : testing::sample_kernels()) {
    const kir::CheckedKernel checked = kir::check_bounds(sample.kernel);
    const std::vector<char> before = codegen::spirv::narrow_values(sample.kernel),
                            after = codegen::spirv::narrow_values(checked.kernel, checked.log);
    for (size_t v = 0; v < before.size(); ++v) {
      ASSERT_EQ(before[v], after[v]) << sample.name << " value " << v;
      narrow += before[v];
    }
  }
  EXPECT_GT(narrow, 100);
}

}  // namespace
}  // namespace tenon
