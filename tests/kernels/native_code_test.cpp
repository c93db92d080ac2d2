#include "runtime/native_code.h"

#include <gtest/gtest.h>

#include <cmath>

#include "codegen/llvm/jit.h"
#include "run_kernel.h"

namespace tenon::kir {
namespace {

using runtime::NativeCode;

/// y[i] = tanh(x[i]) + constant, which takes code, constants and a loop.
Kernel sample(double constant) {
  Kernel kernel;
  kernel.name = "sample";
  KernelBuilder b(kernel);
  const int x = b.add_binding("x", DType::kF32, false), y = b.add_binding("y", DType::kF32, true);
  const ValueId n = b.dim(0), row = b.mul(b.grid_index(), n);
  b.loop(LoopKind::kVector, b.i64(0), n, 1, [&](ValueId i) {
    const ValueId at = b.add(row, i);
    b.store(y, at, b.op(ScalarOp::kAdd, {b.op(ScalarOp::kTanh, {b.load(x, at)}), b.constant(DType::kF32, constant)}));
  });
  return kernel;
}

std::string object_of(const Kernel& kernel, const codegen::Target& target) {
  const Kernel* const one = &kernel;
  auto object = codegen::emit({&one, 1}, target, codegen::EmitKind::kObject);
  EXPECT_TRUE(object.ok()) << object.status().to_string();
  return object.ok() ? *object : std::string();
}

NativeCode::Object bytes(const std::string& text) { return std::as_bytes(std::span(text.data(), text.size())); }

TEST(NativeCode, RunsWhatTheCompilerWrote) {
  for (const std::string& name : native_targets()) {
    const std::string one = object_of(sample(1), *codegen::cpu_target(name));
    Kernel other = sample(100);
    other.name = "other";
    const std::string two = object_of(other, *codegen::cpu_target(name));
    const NativeCode::Object objects[] = {bytes(one), bytes(two)};
    const auto code = NativeCode::link(objects);
    ASSERT_TRUE(code.ok()) << code.status().to_string();
    EXPECT_EQ((*code)->find("absent"), nullptr);
    constexpr int64_t kColumns = 37;
    std::vector<float> x(2 * kColumns), y(x.size());
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) * 0.05f - 2;
    void* const bindings[] = {x.data(), y.data()};
    for (const auto& [symbol, constant] : {std::pair("sample", 1.0), std::pair("other", 100.0)}) {
      const runtime::KernelFn function = (*code)->find(symbol);
      ASSERT_NE(function, nullptr);
      EXPECT_EQ(function(bindings, &kColumns, 0, 2), 0);
      for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(y[i], std::tanh(static_cast<double>(x[i])) + constant, 1e-5);
    }
  }
}

TEST(NativeCode, TakesNoneAndRefusesOtherMachines) {
  EXPECT_TRUE(NativeCode::link({}).ok());
  const std::string foreign = object_of(sample(1), *codegen::cpu_target("aarch64", false));
  const NativeCode::Object object = bytes(foreign);
#if defined(__x86_64__)
  EXPECT_EQ(NativeCode::link({&object, 1}).status().code(), Code::kUnsupported);
#endif
}

// Linking reads what it does not trust; what comes out of it is not run here.
TEST(NativeCode, ADamagedObjectNeverCrashesTheLinker) {
  const std::string good = object_of(sample(1), *codegen::cpu_target("host"));
  for (size_t size = 0; size < good.size(); size += 1 + size / 64) {
    const std::string cut = good.substr(0, size);
    const NativeCode::Object object = bytes(cut);
    EXPECT_FALSE(NativeCode::link({&object, 1}).ok()) << size;
  }
  for (size_t at = 0; at < good.size(); ++at)
    for (const int flip : {0x01, 0x80, 0xff}) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ flip);
      const NativeCode::Object object = bytes(bad);
      (void)NativeCode::link({&object, 1});
    }
}

}  // namespace
}  // namespace tenon::kir
