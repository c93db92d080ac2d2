#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "codegen/spirv/emit.h"
#include "tests/spirv/sample_kernels.h"

namespace tenon {
namespace {

bool have_validator() { return std::system("spirv-val --version > /dev/null 2>&1") == 0; }

/// The validator's messages for these modules; empty when they are valid.
std::string validate(const std::vector<std::string>& files) {
  std::string messages;
  for (const std::string& file : files) {
    FILE* pipe = popen(("spirv-val --target-env vulkan1.2 " + file + " 2>&1").c_str(), "r");
    char line[512];
    while (std::fgets(line, sizeof line, pipe) != nullptr) messages += file + ": " + line;
    if (pclose(pipe) != 0 && messages.empty()) messages = file + ": spirv-val failed";
  }
  return messages;
}

TEST(SpirvEmit, EveryModuleIsValid) {
  if (!have_validator()) GTEST_SKIP() << "spirv-val is not installed (Debian: spirv-tools)";
  std::vector<std::string> files;
  const std::string folder = ::testing::TempDir();
  for (const testing::SampleKernel& sample : testing::sample_kernels()) {
    ASSERT_TRUE(kir::verify(sample.kernel).ok()) << sample.name << ": " << kir::verify(sample.kernel).to_string();
    for (const bool narrow : {false, true}) {
      const bool alike = sample.name.starts_with("cast");  // no index but the grid's
      if (narrow && alike) continue;
      const auto words = codegen::spirv::emit(sample.kernel, {.subgroup_size = narrow ? 32 : 0, .narrow_indices = narrow});
      ASSERT_TRUE(words.ok()) << sample.name << ": " << words.status().to_string();
      files.push_back(fmt::format("{}/tenon_{}_{}_{}.spv", folder, getpid(), sample.name, narrow));
      std::ofstream(files.back(), std::ios::binary)
          .write(reinterpret_cast<const char*>(words->data()), static_cast<std::streamsize>(words->size() * 4));
    }
  }
  EXPECT_EQ(validate(files), "");
  for (const std::string& file : files) std::remove(file.c_str());
}

TEST(SpirvEmit, DeclaresOnlyTheCapabilitiesThatAKernelUses) {
  for (const testing::SampleKernel& sample : testing::sample_kernels()) {
    if (sample.name != "add_f32") continue;
    const auto words = codegen::spirv::emit(sample.kernel);
    ASSERT_TRUE(words.ok());
    std::vector<uint32_t> capabilities;
    for (size_t i = 5; i < words->size() && ((*words)[i] & 0xffff) == 17; i += 2) capabilities.push_back((*words)[i + 1]);
    EXPECT_EQ(capabilities, (std::vector<uint32_t>{1, 11, 5347}));  // Shader, Int64, PhysicalStorageBufferAddresses
  }
}

TEST(SpirvEmit, RefusesMoreSharedMemoryThanThereIs) {
  for (const testing::SampleKernel& sample : testing::sample_kernels()) {
    if (sample.name != "lanes_max_of_what_is_kept") continue;
    EXPECT_TRUE(codegen::spirv::emit(sample.kernel, {.shared_bytes = 2048}).ok());
    EXPECT_EQ(codegen::spirv::emit(sample.kernel, {.shared_bytes = 1024}).status().code(), Code::kUnsupported);
  }
}

}  // namespace
}  // namespace tenon
