// Modules whose tiles are matrices of a workgroup: SPV_NV_cooperative_matrix2.

#include <gtest/gtest.h>

#include "codegen/spirv/emit.h"
#include "tests/spirv/matrix_reader.h"

namespace tenon {
namespace {

using namespace testing::matrices;

/// 32 × 32 sums of 64 lanes, K of 32 (tests/spirv/sample_kernels.cpp), on a device that has matrices of subgroups as well.
codegen::spirv::EmitOptions with_workgroup_matrices() {
  codegen::spirv::EmitOptions options{.subgroup_size = 32, .narrow_indices = true};
  options.matrices = {{16, 16, 16, DType::kF16, DType::kF16, DType::kF32}};
  options.workgroup_matrices = {{{16, 16, 16, DType::kF16, DType::kF16, DType::kF32}, 128}, {{32, 16, 16, DType::kF16, DType::kF16, DType::kF32}, 64}};
  options.max_matrix_side = 256;
  options.matrix_shared_bytes = 8 << 10;
  return options;
}

std::vector<Instruction> emitted(const codegen::spirv::EmitOptions& options) {
  const auto words = codegen::spirv::emit(product(), options);
  EXPECT_TRUE(words.ok()) << words.status().to_string();
  return words.ok() ? read(*words) : std::vector<Instruction>{};
}

TEST(SpirvWorkgroupMatrices, InstructionsAreThoseOfTheExtensions) {
  for (const bool narrow : {false, true}) {
    codegen::spirv::EmitOptions options = with_workgroup_matrices();
    options.narrow_indices = narrow;
    const auto words = codegen::spirv::emit(product(), options);
    ASSERT_TRUE(words.ok()) << words.status().to_string();
    EXPECT_EQ((*words)[1], 0x00010600U);
    const auto module = read(*words);
    EXPECT_TRUE(declares(module, kCapability));
    EXPECT_TRUE(declares(module, kElementFunctions));
    EXPECT_TRUE(declares(module, kMemoryModel));
    EXPECT_EQ(extensions(module), (std::vector<std::string>{"SPV_KHR_cooperative_matrix", "SPV_NV_cooperative_matrix2"}));
    Reader reader(kWorkgroupScope);
    bool sized = false;
    for (const Instruction& i : module) {
      sized |= i.op == 16 && i.operands[1] == 17;  // OpExecutionMode LocalSize, before any type of a workgroup's matrix
      if (i.op == 4456) {
        EXPECT_TRUE(sized);
      }
      reader.add(i);
    }
    // The tile is one matrix, its product one instruction, and each row asked for is stored element by element.
    EXPECT_EQ(reader.products, 1);
    EXPECT_EQ(reader.loads, 2);
    EXPECT_EQ(reader.stores, 0);
    EXPECT_EQ(reader.element_functions, 1);
    ASSERT_EQ(reader.matrices.size(), 3U);
    for (const Reader::Matrix& m : reader.matrices) {
      EXPECT_EQ(m.scope, kWorkgroupScope);
      EXPECT_EQ(m.rows, 32U);
      EXPECT_EQ(m.columns, 32U);
    }
  }
}

TEST(SpirvWorkgroupMatrices, TheRestIsValid) {
  if (!has_validator()) GTEST_SKIP() << "spirv-val is not installed (Debian: spirv-tools)";
  for (const bool narrow : {false, true}) {
    codegen::spirv::EmitOptions options = with_workgroup_matrices();
    options.narrow_indices = narrow;
    EXPECT_EQ(validate(without_matrices(*codegen::spirv::emit(product(), options)), "vulkan1.3"), "");
  }
}

TEST(SpirvWorkgroupMatrices, SubgroupsServeWhereATileIsNoSuchMultiple) {
  const auto scope = [](const codegen::spirv::EmitOptions& options) {
    const auto module = emitted(options);
    EXPECT_TRUE(declares(module, kCapability));
    return declares(module, kElementFunctions) ? kWorkgroupScope : kSubgroupScope;
  };
  EXPECT_EQ(scope(with_workgroup_matrices()), kWorkgroupScope);
  for (const codegen::spirv::WorkgroupMatrix& one : {codegen::spirv::WorkgroupMatrix{{32, 16, 16, DType::kF16, DType::kF16, DType::kF32}, 128},
                                                     {{64, 16, 16, DType::kF16, DType::kF16, DType::kF32}, 64},
                                                     {{16, 64, 16, DType::kF16, DType::kF16, DType::kF32}, 64},
                                                     {{16, 16, 64, DType::kF16, DType::kF16, DType::kF32}, 64},
                                                     {{16, 16, 16, DType::kF16, DType::kF16, DType::kF16}, 64}}) {
    codegen::spirv::EmitOptions options = with_workgroup_matrices();
    options.workgroup_matrices = {one};
    EXPECT_EQ(scope(options), kSubgroupScope);
  }
  codegen::spirv::EmitOptions small = with_workgroup_matrices();
  small.max_matrix_side = 31;
  EXPECT_EQ(scope(small), kSubgroupScope);
  codegen::spirv::EmitOptions full = with_workgroup_matrices();
  full.matrix_shared_bytes = full.shared_bytes - 1024;  // the driver leaves less than the factors take
  EXPECT_EQ(scope(full), kSubgroupScope);
}

}  // namespace
}  // namespace tenon
