// Modules for matrix units whose products a subgroup computes: SPV_KHR_cooperative_matrix.

#include <gtest/gtest.h>

#include "codegen/spirv/emit.h"
#include "tests/spirv/matrix_reader.h"

namespace tenon {
namespace {

using namespace testing::matrices;

codegen::spirv::EmitOptions with_matrices() {
  codegen::spirv::EmitOptions options{.subgroup_size = 32, .narrow_indices = true};
  options.matrices = {{16, 16, 16, DType::kF16, DType::kF16, DType::kF32}, {16, 8, 16, DType::kF16, DType::kF16, DType::kF32}};
  return options;
}

TEST(SpirvMatrices, InstructionsAreThoseOfTheExtension) {
  const kir::Kernel kernel = product();
  for (const bool narrow : {false, true}) {
    codegen::spirv::EmitOptions options = with_matrices();
    options.narrow_indices = narrow;
    const auto words = codegen::spirv::emit(kernel, options);
    ASSERT_TRUE(words.ok()) << words.status().to_string();
    const auto module = read(*words);
    EXPECT_TRUE(declares(module, kCapability));
    EXPECT_TRUE(declares(module, kMemoryModel));
    EXPECT_EQ(extensions(module), std::vector<std::string>{"SPV_KHR_cooperative_matrix"});
    Reader reader(kSubgroupScope);
    for (const Instruction& i : module) {
      if (i.op == 14) {
        EXPECT_EQ(i.operands, (Words{5348, 3}));  // PhysicalStorageBuffer64, Vulkan
      }
      reader.add(i);
    }
    // 32 × 32 sums of 2 subgroups in blocks of 32 × 16 or 16 × 32, K of 2 × 16: two products of matrices for each of 2 fragments.
    EXPECT_EQ(reader.products, 4);
    EXPECT_EQ(reader.loads, 6);
    EXPECT_EQ(reader.stores, 2);
  }
}

TEST(SpirvMatrices, TheRestIsValid) {
  if (!has_validator()) GTEST_SKIP() << "spirv-val is not installed (Debian: spirv-tools)";
  for (const bool narrow : {false, true}) {
    codegen::spirv::EmitOptions options = with_matrices();
    options.narrow_indices = narrow;
    EXPECT_EQ(validate(without_matrices(*codegen::spirv::emit(product(), options)), "vulkan1.2"), "");
  }
}

TEST(SpirvMatrices, RegistersServeWhereNoShapeFits) {
  const kir::Kernel kernel = product();
  const auto uses = [&](const codegen::spirv::EmitOptions& options) {
    return declares(read(*codegen::spirv::emit(kernel, options)), kCapability);
  };
  EXPECT_TRUE(uses(with_matrices()));
  codegen::spirv::EmitOptions other = with_matrices();
  other.subgroup_size = 0;  // nobody knows how many subgroups there are
  EXPECT_FALSE(uses(other));
  for (const codegen::MatrixShape& shape : {codegen::MatrixShape{16, 16, 16, DType::kBF16, DType::kBF16, DType::kF32},
                                            codegen::MatrixShape{16, 16, 16, DType::kF16, DType::kF16, DType::kF16},
                                            codegen::MatrixShape{64, 16, 16, DType::kF16, DType::kF16, DType::kF32},
                                            codegen::MatrixShape{16, 16, 64, DType::kF16, DType::kF16, DType::kF32}}) {
    other = with_matrices();
    other.matrices = {shape};
    EXPECT_FALSE(uses(other));
  }
}

TEST(SpirvMatrices, MatricesThatAreNotAlignedAreForRegisters) {
  kir::Kernel kernel = product();
  for (kir::BufferInfo& buffer : kernel.buffers) buffer.count *= 2;
  const auto stride = [&](const auto& self, kir::Region& region) -> void {
    for (const auto& i : region.insts) {
      if (i->kind == kir::InstKind::kTileMma) i->tiles[0].stride += 1;
      for (kir::Region& inner : i->regions) self(self, inner);
    }
  };
  kernel.buffers.back().count /= 2;
  stride(stride, kernel.body);
  ASSERT_TRUE(kir::verify(kernel).ok()) << kir::verify(kernel).to_string();
  EXPECT_FALSE(declares(read(*codegen::spirv::emit(kernel, with_matrices())), kCapability));
}

}  // namespace
}  // namespace tenon
