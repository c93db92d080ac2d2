#include "tests/aarch64/emulator/emulator.h"

#include <gtest/gtest.h>

#include "codegen/kernel_ir.h"
#include "codegen/llvm/jit.h"

namespace tenon::emulator {
namespace {

using kir::Kernel;
using kir::KernelBuilder;

class Emulation : public testing::Test {
 protected:
  void SetUp() override {
    if (const Status available = Emulator::available(); !available.ok()) GTEST_SKIP() << available.to_string();
  }
};

std::string object_of(const Kernel& kernel, std::string_view target) {
  const Kernel* const one = &kernel;
  return codegen::emit({&one, 1}, *codegen::cpu_target(target, false), codegen::EmitKind::kObject).value();
}

/// y[i] = dot4(x[i], x[i], 0) for i below dim 0.
Kernel sample() {
  Kernel kernel;
  kernel.name = "sample";
  KernelBuilder b(kernel);
  const int x = b.add_binding("x", DType::kI32, false), y = b.add_binding("y", DType::kI32, true);
  b.loop(kir::LoopKind::kVector, b.i64(0), b.dim(0), 1, [&](kir::ValueId i) {
    const kir::ValueId word = b.load(x, i);
    b.store(y, i, b.op(kir::ScalarOp::kDot4, {word, word, b.constant_int(DType::kI32, 0)}));
  });
  return kernel;
}

struct Ran {
  std::shared_ptr<Buffer> x, y;
  Result<int32_t> code;
};

Ran run(Emulator& emulator, std::string_view target, int64_t count, int64_t elements) {
  Ran out{emulator.allocate(static_cast<size_t>(count) * 4, 4).value(), emulator.allocate(static_cast<size_t>(count) * 4, 4).value(), 0};
  for (int64_t i = 0; i < count; ++i) reinterpret_cast<int32_t*>(out.x->data())[i] = 0x01ff0203;
  const int32_t kernel = emulator.link(object_of(sample(), target), "sample").value();
  const Place places[] = {*emulator.place_of(out.x->data()), *emulator.place_of(out.y->data())};
  out.code = emulator.run(kernel, places, {&elements, 1}, 0, 1);
  return out;
}

TEST_F(Emulation, ProcessorsHaveWhatTheirTargetsSay) {
  for (std::string_view target : targets()) {
    const auto features = (*Emulator::start(target))->features();
    ASSERT_TRUE(features.ok()) << features.status().to_string();
    EXPECT_EQ(*features, codegen::cpu_target(target, false)->features) << target;
  }
}

TEST_F(Emulation, RunsInSharedMemory) {
  for (std::string_view target : targets()) {
    const auto emulator = Emulator::start(target).value();
    constexpr int64_t kCount = 5000;
    const Ran done = run(*emulator, target, kCount, kCount);
    ASSERT_TRUE(done.code.ok()) << done.code.status().to_string();
    EXPECT_EQ(*done.code, 0);
    for (int64_t i = 0; i < kCount; ++i) ASSERT_EQ(reinterpret_cast<const int32_t*>(done.y->data())[i], 3 * 3 + 2 * 2 - 255 + 1) << target;
  }
}

// What tests rely on: neither an access beyond a buffer nor an instruction that the target lacks goes by unseen.
TEST_F(Emulation, WrongCodeEndsTheProcess) {
  const std::string_view least = targets().front(), most = targets().back();
  const auto beyond = Emulator::start(least).value(), foreign = Emulator::start(least).value();
  const Ran one_more = run(*beyond, least, 64, 65);
  EXPECT_NE(one_more.code.status().to_string().find("died of signal 11"), std::string::npos) << one_more.code.status().to_string();
  const Ran unknown = run(*foreign, most, 64, 64);
  EXPECT_NE(unknown.code.status().to_string().find("died of signal 4"), std::string::npos) << unknown.code.status().to_string();
}

}  // namespace
}  // namespace tenon::emulator
