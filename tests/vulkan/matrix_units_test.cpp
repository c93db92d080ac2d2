// What kernels make of the shapes of matrices that drivers list.

#include "backends/vulkan/matrix_units.h"

#include <gtest/gtest.h>

#include "backends/vulkan/deny.h"

namespace tenon::backends::vulkan {
namespace {

const MatrixShape kHalves{16, 8, 16, "f16", "f16", "f32", "f32", false};

TEST(MatrixUnits, TilesTakeWhatTheyCanAdd) {
  MatrixShape saturating = kHalves, mixed = kHalves, unknown = kHalves, empty = kHalves, huge = kHalves;
  saturating.saturating = true;
  mixed.result = "f16";
  unknown.a = "1000141000";
  empty.k = 0;
  huge.m = 1U << 31;
  const auto shapes = tile_shapes({saturating, mixed, unknown, empty, huge, kHalves});
  ASSERT_EQ(shapes.size(), 1U);
  EXPECT_EQ(shapes[0], (codegen::MatrixShape{16, 8, 16, DType::kF16, DType::kF16, DType::kF32}));
}

TEST(MatrixUnits, WorkgroupsTakeWhatLeavesSharedMemory) {
  DeviceInfo info;
  info.emit.shared_bytes = 48 << 10;
  info.max_matrix_workgroup = 256;
  info.matrix_shared_bytes = 16 << 10;
  info.workgroup_matrices = {{kHalves, 128}, {kHalves, 512}, {kHalves, 0}};
  const auto shapes = workgroup_tile_shapes(info);
  ASSERT_EQ(shapes.size(), 1U);
  EXPECT_EQ(shapes[0].invocations, 128);
  EXPECT_EQ(shapes[0].multiples.n, 8);
  info.matrix_shared_bytes = 40 << 10;
  EXPECT_TRUE(workgroup_tile_shapes(info).empty());
}

TEST(MatrixUnits, AreDeniedTogetherOrThoseOfWorkgroupsAlone) {
  const auto left = [](const char* text) {
    const auto entries = parse_deny_list(text);
    EXPECT_TRUE(entries.ok()) << entries.status().to_string();
    codegen::spirv::EmitOptions emit;
    emit.shared_bytes = 48 << 10;
    emit.matrix_shared_bytes = 16 << 10;
    emit.matrices = {{16, 16, 16, DType::kF16, DType::kF16, DType::kF32}};
    emit.workgroup_matrices = {{emit.matrices[0], 128}};
    codegen::Target target;
    target.matrices = emit.matrices;
    deny_matrices(*entries, emit, target);
    EXPECT_EQ(emit.matrices, target.matrices);
    EXPECT_EQ(target.matrix_reserved_bytes, emit.workgroup_matrices.empty() ? 0 : 16 << 10);
    return std::pair(emit.matrices.size(), emit.workgroup_matrices.size());
  };
  EXPECT_EQ(left("* * f16 wrong"), std::pair(size_t{1}, size_t{1}));
  EXPECT_EQ(left("* * workgroup-matrix wrong"), std::pair(size_t{1}, size_t{0}));
  EXPECT_EQ(left("* * matrix wrong"), std::pair(size_t{0}, size_t{0}));
}

}  // namespace
}  // namespace tenon::backends::vulkan
