// Sums of products of 16-bit integers in pairs: two multiply-adds, which some machines have as one instruction.

#include <cstdint>
#include <random>

#include "tests/kernels/run_kernel.h"

namespace tenon::kir {
namespace {

constexpr int64_t kPairs = 300, kColumns = 53;  // whole vectors of every target and a rest

/// y[n] = c[n] + the sum over k of the products of a's halves and those of b[k, n]; `bytes`: b has bytes, and is widened.
Kernel sums_of_pairs(bool bytes) {
  Kernel k;
  k.name = "integer_pairs";
  KernelBuilder b(k);
  const int x = b.add_binding("a", DType::kI32, false),
            w = b.add_binding("b", bytes ? DType::kI16 : DType::kI32, false),
            c = b.add_binding("c", DType::kI32, false);
  const int y = b.add_binding("y", DType::kI32, true);
  const auto half = [&](ValueId word, bool odd, int64_t width) {
    const auto by = [&](int64_t count) { return b.constant_int(DType::kI32, count); };
    if (odd) return b.op(ScalarOp::kShr, {word, by(width)});
    return b.op(ScalarOp::kShr, {b.op(ScalarOp::kShl, {word, by(32 - width)}), by(32 - width)});
  };
  b.loop(LoopKind::kVector, b.i64(0), b.i64(kColumns), 1, [&](ValueId n) {
    const ValueId first = b.load(c, n);
    const auto sum = b.loop(LoopKind::kSerial, b.i64(0), b.i64(kPairs), 1, std::span(&first, 1),
                            [&](ValueId at, std::span<const ValueId> carried) {
                              const ValueId left = b.load(x, at);
                              const ValueId right = b.cast(b.load(w, b.add(b.mul(at, b.i64(kColumns)), n)), DType::kI32);
                              const int64_t width = bytes ? 8 : 16;
                              const auto product = [&](bool odd, ValueId to) {
                                return b.op(ScalarOp::kFma, {half(left, odd, 16), half(right, odd, width), to});
                              };
                              return std::vector<ValueId>{product(false, product(true, carried[0]))};
                            });
    b.store(y, n, sum[0]);
  });
  return k;
}

uint32_t word_of(int16_t low, int16_t high) { return static_cast<uint16_t>(low) | uint32_t{static_cast<uint16_t>(high)} << 16; }

/// Sums of `a` by `b`, both [k, 2] numbers, modulo 2^32.
template <typename Narrow>
void expect_sums(const std::string& target, const std::vector<int16_t>& a, const std::vector<Narrow>& b) {
  constexpr bool kBytes = sizeof(Narrow) == 1;
  using Word = std::conditional_t<kBytes, uint16_t, uint32_t>;
  std::vector<uint32_t> words(kPairs), c(kColumns), y(kColumns), want(kColumns);
  std::vector<Word> panel(kPairs * kColumns);
  for (size_t n = 0; n < kColumns; ++n) c[n] = want[n] = static_cast<uint32_t>(n) * 0x1000193u;
  for (size_t k = 0; k < kPairs; ++k) {
    words[k] = word_of(a[2 * k], a[2 * k + 1]);
    for (size_t n = 0; n < kColumns; ++n) {
      const Narrow* pair = &b[2 * (k * kColumns + n)];
      panel[k * kColumns + n] = static_cast<Word>(kBytes ? uint32_t{static_cast<uint8_t>(pair[0])} | uint32_t{static_cast<uint8_t>(pair[1])} << 8
                                                         : word_of(pair[0], pair[1]));
      want[n] += static_cast<uint32_t>(a[2 * k] * pair[0]) + static_cast<uint32_t>(a[2 * k + 1] * pair[1]);
    }
  }
  const CompiledKernel fn = compile(sums_of_pairs(kBytes), target);
  ASSERT_TRUE(fn);
  const Binding bindings[] = {bound(words), bound(panel), bound(c), bound(y)};
  EXPECT_EQ(fn(bindings, nullptr, 0, 1), 0);
  EXPECT_EQ(y, want) << target;
}

/// Every sum of products that no 16 bits, and no 32 in the last case, could hold.
TEST(IntegerPairs, DoNotSaturate) {
  struct Extremes {
    int16_t a;
    int8_t byte;
    int16_t half;
  };
  for (const std::string& target : runnable_targets())
    for (const Extremes& e : {Extremes{255, -128, -255}, {255, 127, 255}, {-255, -128, 255}, {-32768, -128, -32768}, {32767, 127, 32767}}) {
      expect_sums(target, std::vector<int16_t>(2 * kPairs, e.a), std::vector<int8_t>(2 * kPairs * kColumns, e.byte));
      expect_sums(target, std::vector<int16_t>(2 * kPairs, e.a), std::vector<int16_t>(2 * kPairs * kColumns, e.half));
    }
}

TEST(IntegerPairs, OfAnyNumbers) {
  std::mt19937 random(5);
  std::vector<int16_t> a(2 * kPairs), halves(2 * kPairs * kColumns);
  std::vector<int8_t> bytes(halves.size());
  for (int16_t& v : a) v = static_cast<int16_t>(random());
  for (int16_t& v : halves) v = static_cast<int16_t>(random());
  for (int8_t& v : bytes) v = static_cast<int8_t>(random());
  for (const std::string& target : runnable_targets()) {
    expect_sums(target, a, halves);
    expect_sums(target, a, bytes);
  }
}

TEST(IntegerPairs, AreTheInstructionsOfTheTarget) {
  const Kernel k = sums_of_pairs(true);
  const Kernel* const one[] = {&k};
  const auto text = [&](std::string_view target) {
    return codegen::emit(one, *codegen::cpu_target(target, false), codegen::EmitKind::kAssembly).value();
  };
  for (const char* target : {"x86-64-v2", "x86-64-v3", "x86-64-v4"}) {
    EXPECT_NE(text(target).find("pmaddwd"), std::string::npos) << target;
    EXPECT_NE(text(target).find("pmovsxbw"), std::string::npos) << target;
  }
  EXPECT_NE(text("aarch64").find("smlal"), std::string::npos);
}

}  // namespace
}  // namespace tenon::kir
