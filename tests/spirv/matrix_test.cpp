// Modules for matrix units. The validator of Debian 12 does not know them: their instructions are checked here, by the numbers of
// SPV_KHR_cooperative_matrix, and then replaced by others of the same types for the validator to check all the rest.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <set>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "codegen/spirv/emit.h"
#include "tests/spirv/sample_kernels.h"

namespace tenon {
namespace {

using Words = std::vector<uint32_t>;
constexpr uint32_t kTypeMatrix = 4456, kLoad = 4457, kStore = 4458, kMultiplyAdd = 4459, kCapability = 6022;
constexpr uint32_t kNonPrivate = 0x20, kWorkgroup = 4, kSubgroupScope = 3;

struct Instruction {
  uint32_t op;
  Words operands;
};

std::vector<Instruction> read(const Words& words) {
  std::vector<Instruction> out;
  for (size_t at = 5; at < words.size();) {
    const uint32_t count = words[at] >> 16;
    EXPECT_GT(count, 0U);
    EXPECT_LE(at + count, words.size());
    if (count == 0 || at + count > words.size()) break;
    out.push_back(
        {words[at] & 0xffff, Words(words.begin() + static_cast<int64_t>(at) + 1, words.begin() + static_cast<int64_t>(at + count))});
    at += count;
  }
  return out;
}

/// Types, constants and what values are of, read in the order of the module.
struct Reader {
  std::map<uint32_t, Instruction> types;
  std::map<uint32_t, uint32_t> constants, type_of;
  int loads = 0, stores = 0, products = 0;

  struct Matrix {
    uint32_t component, scope, rows, columns, use;
  };
  Matrix matrix(uint32_t type) {
    EXPECT_TRUE(types.contains(type) && types[type].op == kTypeMatrix);
    const Words& o = types[type].operands;
    EXPECT_EQ(o.size(), 6U);
    for (size_t i = 2; i < 6; ++i) EXPECT_TRUE(constants.contains(o[i])) << "operand " << i << " is no constant from above";
    return {o[1], constants[o[2]], constants[o[3]], constants[o[4]], constants[o[5]]};
  }
  /// The component that a pointer of shared memory points to.
  uint32_t pointee(uint32_t pointer) {
    const Words& o = types[type_of[pointer]].operands;
    EXPECT_EQ(types[type_of[pointer]].op, 32U);
    EXPECT_EQ(o[1], kWorkgroup);
    return o[2];
  }

  void add(const Instruction& i) {
    const Words& o = i.operands;
    if ((i.op >= 19 && i.op <= 33) || i.op == kTypeMatrix)
      types[o[0]] = i;
    else if (i.op == 43)
      constants[o[1]] = o[2], type_of[o[1]] = o[0];
    else if (i.op == kLoad)
      load(o);
    else if (i.op == kStore)
      store(o);
    else if (i.op == kMultiplyAdd)
      multiply(o);
    else if (o.size() >= 2 && types.contains(o[0]))
      type_of[o[1]] = o[0];
  }
  void load(const Words& o) {
    ++loads;
    ASSERT_EQ(o.size(), 6U);  // type, result, pointer, layout, stride, memory operands
    const Matrix m = matrix(o[0]);
    EXPECT_LT(m.use, 2U);
    EXPECT_EQ(m.scope, kSubgroupScope);
    EXPECT_EQ(pointee(o[2]), m.component);
    EXPECT_LE(constants.at(o[3]), 1U);
    // A row of the layout lies in one row of memory.
    EXPECT_GE(constants.at(o[4]), constants.at(o[3]) == 0 ? m.columns : m.rows);
    EXPECT_EQ(o[5], kNonPrivate);
    type_of[o[1]] = o[0];
  }
  void store(const Words& o) {
    ++stores;
    ASSERT_EQ(o.size(), 5U);  // pointer, object, layout, stride, memory operands
    const Matrix m = matrix(type_of.at(o[1]));
    EXPECT_EQ(m.use, 2U);
    EXPECT_EQ(pointee(o[0]), m.component);
    EXPECT_EQ(constants.at(o[2]), 0U);
    EXPECT_GE(constants.at(o[3]), m.columns);
    EXPECT_EQ(o[4], kNonPrivate);
  }
  void multiply(const Words& o) {
    ++products;
    ASSERT_EQ(o.size(), 5U);  // type, result, a, b, sum
    const Matrix r = matrix(o[0]), a = matrix(type_of.at(o[2])), b = matrix(type_of.at(o[3])), c = matrix(type_of.at(o[4]));
    EXPECT_EQ(type_of.at(o[4]), o[0]);
    EXPECT_EQ(std::vector({a.use, b.use, c.use, r.use}), (std::vector<uint32_t>{0, 1, 2, 2}));
    EXPECT_EQ(a.rows, r.rows);
    EXPECT_EQ(b.columns, r.columns);
    EXPECT_EQ(a.columns, b.rows);
    type_of[o[1]] = o[0];
  }
};

/// The module with matrices as structures of a component, loads and products of them as undefined values, and stores as nothing.
Words without_matrices(const Words& words) {
  Words out(words.begin(), words.begin() + 5);
  const auto put = [&](uint32_t op, const Words& operands) {
    out.push_back(static_cast<uint32_t>((operands.size() + 1) << 16) | op);
    out.insert(out.end(), operands.begin(), operands.end());
  };
  for (const Instruction& i : read(words)) {
    const Words& o = i.operands;
    if (i.op == 10 || (i.op == 17 && o[0] == kCapability) || i.op == kStore) continue;
    if (i.op == kTypeMatrix)
      put(30, {o[0], o[1]});
    else if (i.op == kLoad || i.op == kMultiplyAdd)
      put(1, {o[0], o[1]});
    else
      put(i.op, o);
  }
  return out;
}

std::string validate(const Words& words) {
  const std::string file = fmt::format("{}/tenon_matrix_{}.spv", ::testing::TempDir(), getpid());
  std::ofstream(file, std::ios::binary).write(reinterpret_cast<const char*>(words.data()), static_cast<std::streamsize>(words.size() * 4));
  std::string messages;
  FILE* pipe = popen(("spirv-val --target-env vulkan1.2 " + file + " 2>&1").c_str(), "r");
  char line[512];
  while (std::fgets(line, sizeof line, pipe) != nullptr) messages += line;
  if (pclose(pipe) != 0 && messages.empty()) messages = "spirv-val failed";
  std::remove(file.c_str());
  return messages;
}

codegen::spirv::EmitOptions with_matrices() {
  codegen::spirv::EmitOptions options{.subgroup_size = 32, .narrow_indices = true};
  options.matrices = {{16, 16, 16, DType::kF16, DType::kF16, DType::kF32}, {16, 8, 16, DType::kF16, DType::kF16, DType::kF32}};
  return options;
}

kir::Kernel product() {
  for (testing::SampleKernel& sample : testing::sample_kernels())
    if (sample.name == "lanes_multiply_tiles_f16") return std::move(sample.kernel);
  ADD_FAILURE() << "there is no such sample";
  return {};
}

bool declares(const std::vector<Instruction>& module, uint32_t capability) {
  return std::ranges::any_of(module, [&](const Instruction& i) { return i.op == 17 && i.operands[0] == capability; });
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
    EXPECT_TRUE(declares(module, 5345));  // VulkanMemoryModel
    std::string extension;
    Reader reader;
    for (const Instruction& i : module) {
      if (i.op == 10) extension.assign(reinterpret_cast<const char*>(i.operands.data()));
      if (i.op == 14) {
        EXPECT_EQ(i.operands, (Words{5348, 3}));  // PhysicalStorageBuffer64, Vulkan
      }
      reader.add(i);
    }
    EXPECT_EQ(extension, "SPV_KHR_cooperative_matrix");
    // 32 × 32 sums of 2 subgroups in blocks of 32 × 16 or 16 × 32, K of 2 × 16: two products of matrices for each of 2 fragments.
    EXPECT_EQ(reader.products, 4);
    EXPECT_EQ(reader.loads, 6);
    EXPECT_EQ(reader.stores, 2);
  }
}

TEST(SpirvMatrices, TheRestIsValid) {
  if (std::system("spirv-val --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "spirv-val is not installed (Debian: spirv-tools)";
  for (const bool narrow : {false, true}) {
    codegen::spirv::EmitOptions options = with_matrices();
    options.narrow_indices = narrow;
    EXPECT_EQ(validate(without_matrices(*codegen::spirv::emit(product(), options))), "");
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
