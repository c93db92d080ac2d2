#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "backends/backend.h"
#include "ir/parser.h"
#include "support/build_id.h"

namespace tenon::backends {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kModel = R"(graph "g" {
  input %x: f32[N, 24]
  input %w: f32[24, 32]
  %p: f32[N, 32] = MatMul(%x, %w)
  %t: f32[N, 32] = Tanh(%p)
  %y: f32[N, 32] = Softmax(%t) {axis = -1}
  output %y
})";

class KernelCache : public ::testing::Test {
 protected:
  void SetUp() override {
    if (build_id().empty()) GTEST_SKIP() << "linked without a build id, so nothing says which compiler made a kernel";
    std::string name = (fs::temp_directory_path() / "tenon-kernels-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    graph_ = *ir::parse_text(kModel);
    for (const Shape& shape : {Shape{5, 24}, Shape{24, 32}}) {
      Tensor tensor = *Tensor::zeros(DType::kF32, shape);
      for (int64_t i = 0; i < tensor.size(); ++i) tensor.set_double(i, std::sin(static_cast<double>(i) * 0.7));
      inputs_.emplace_back(std::move(tensor));
    }
  }
  void TearDown() override { fs::remove_all(folder_); }

  struct Compiled {
    int kernels = 0, cached = 0;
    std::string bytes;              // of the output
  };
  Compiled compile(CompileOptions options = {}) {
    if (options.cache == nullptr && use_cache_) options.cache = *DiskCache::open(folder_);
    const auto executable = *find_backend("cpu")->compile(*graph_, options);
    const auto session = *executable->create_session();
    const auto outputs = *session->run(inputs_);
    const Tensor& y = std::get<Tensor>(outputs[0]);
    return {executable->stats().kernels, executable->stats().cached, {reinterpret_cast<const char*>(y.data()), y.bytes()}};
  }
  std::vector<fs::path> entries() const {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(folder_))
      if (entry.path().filename() != "key") out.push_back(entry.path());
    return out;
  }

  fs::path folder_;
  bool use_cache_ = true;
  std::unique_ptr<ir::Graph> graph_;
  std::vector<HostValue> inputs_;
};

TEST_F(KernelCache, TheSecondCompilationTakesEveryKernelFromIt) {
  const Compiled first = compile(), second = compile();
  EXPECT_GT(first.kernels, 0);
  EXPECT_EQ(first.cached, 0);
  EXPECT_EQ(second.cached, second.kernels);
  EXPECT_EQ(second.bytes, first.bytes);
}

TEST_F(KernelCache, WithoutOneNothingIsKept) {
  use_cache_ = false;
  compile();
  EXPECT_EQ(compile().cached, 0);
  EXPECT_TRUE(entries().empty());
}

TEST_F(KernelCache, AnotherTargetTakesOtherCode) {
  compile();
  CompileOptions lower;
  lower.target = "x86-64-v2";
  auto executable = find_backend("cpu")->compile(*graph_, lower);
  if (!executable.ok()) GTEST_SKIP() << executable.status().to_string();
  EXPECT_EQ(compile(lower).cached, 0);
  const Compiled again = compile(lower);
  EXPECT_EQ(again.cached, again.kernels);
}

TEST_F(KernelCache, WhatSomebodyElseWroteIsMadeAnew) {
  const Compiled first = compile();
  const std::vector<fs::path> files = entries();
  const auto damage = [&](const auto& how) {
    for (const fs::path& file : files) how(file);
    const Compiled again = compile();
    EXPECT_EQ(again.cached, 0);
    EXPECT_EQ(again.bytes, first.bytes);
    EXPECT_EQ(compile().cached, again.kernels) << "it was not replaced";
  };
  damage([](const fs::path& file) { fs::resize_file(file, fs::file_size(file) / 2); });
  damage([](const fs::path& file) { fs::resize_file(file, 0); });
  damage([](const fs::path& file) {  // another instruction somewhere in the code
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    const auto size = static_cast<std::streamoff>(fs::file_size(file));
    stream.seekg(size - 400);
    const auto old = static_cast<char>(stream.get());
    stream.seekp(size - 400);
    stream.put(static_cast<char>(old ^ 0x20));
  });
  const fs::path other = folder_.string() + "-other";
  damage([&](const fs::path& file) {  // well formed, by another user's key
    const auto cache = *DiskCache::open(other);
    std::ifstream in(file, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(in)), {});
    ASSERT_TRUE(cache->store("x", std::as_bytes(std::span(text.data(), text.size()))).ok());
    for (const auto& entry : fs::directory_iterator(other))
      if (entry.path().filename() != "key") fs::copy_file(entry.path(), file, fs::copy_options::overwrite_existing);
  });
  fs::remove_all(other);
}

}  // namespace
}  // namespace tenon::backends
