// Sums of products of bf16 in pairs: two multiply-adds, which some machines have as one instruction.

#include <cmath>
#include <cstring>
#include <random>

#include "tests/kernels/run_kernel.h"

namespace tenon::kir {
namespace {

constexpr int64_t kPairs = 5, kColumns = 53;

/// y[n] = sum over k of the products of the halves of a[k] and b[k, n], high ones first.
Kernel sums_of_pairs() {
  Kernel k;
  k.name = "pairs";
  KernelBuilder b(k);
  const int x = b.add_binding("a", DType::kI32, false), w = b.add_binding("b", DType::kI32, false),
            c = b.add_binding("c", DType::kF32, false);
  const int y = b.add_binding("y", DType::kF32, true);
  const auto half = [&](ValueId word, bool high) {
    const ScalarOp op = high ? ScalarOp::kAnd : ScalarOp::kShl;
    return b.bitcast(b.op(op, {word, b.constant_int(DType::kI32, high ? -0x10000 : 16)}), DType::kF32);
  };
  b.loop(LoopKind::kVector, b.i64(0), b.i64(kColumns), 1, [&](ValueId n) {
    const ValueId first = b.load(c, n);
    const auto sum =
        b.loop(LoopKind::kSerial, b.i64(0), b.i64(kPairs), 1, std::span(&first, 1),
               [&](ValueId at, std::span<const ValueId> carried) {
                 const ValueId left = b.load(x, at), right = b.load(w, b.add(b.mul(at, b.i64(kColumns)), n));
                 const ValueId odd = b.op(ScalarOp::kFma, {half(left, true), half(right, true), carried[0]});
                 return std::vector<ValueId>{b.op(ScalarOp::kFma, {half(left, false), half(right, false), odd})};
               });
    b.store(y, n, sum[0]);
  });
  return k;
}

struct Numbers {
  std::vector<int32_t> a = std::vector<int32_t>(kPairs), b = std::vector<int32_t>(kPairs * kColumns);
  std::vector<float> c = std::vector<float>(kColumns), y = std::vector<float>(kColumns);

  /// Words of two numbers with exponents from `least` on, and now and then a zero, an infinity or no number.
  Numbers(uint64_t seed, uint32_t least, uint32_t exponents) {
    std::mt19937_64 random(seed);
    const auto half = [&] {
      const auto bits = static_cast<uint32_t>(random());
      const uint32_t special = bits >> 24 & 63;
      if (special < 3) return special == 0 ? 0u : special == 1 ? 0x7f80u : 0x7fc1u;
      return (bits & 0x807f) | (least + (bits >> 8 & 0xff) % exponents) << 7;
    };
    for (std::vector<int32_t>* words : {&a, &b})
      for (int32_t& word : *words) word = static_cast<int32_t>(half() << 16 | half());
    for (float& sum : c) {
      const uint32_t bits = half() << 16;
      std::memcpy(&sum, &bits, sizeof sum);
    }
  }
};

std::vector<float> interpreted(const Kernel& k, Numbers in) {
  const BufferView views[] = {
      {in.a.data(), kPairs}, {in.b.data(), kPairs * kColumns}, {in.c.data(), kColumns}, {in.y.data(), kColumns}};
  EXPECT_TRUE(interpret(k, views, {}, 0, 1).ok());
  return in.y;
}

std::vector<float> executed(const CompiledKernel& fn, Numbers in) {
  const Binding bindings[] = {bound(in.a), bound(in.b), bound(in.c), bound(in.y)};
  EXPECT_EQ(fn(bindings, nullptr, 0, 1), 0);
  return in.y;
}

TEST(Pairs, RoundAsTwoMultiplyAddsDo) {
  const Kernel k = sums_of_pairs();
  for (const std::string& target : runnable_targets()) {
    const CompiledKernel fn = compile(k, target);
    ASSERT_TRUE(fn);
    for (uint64_t seed = 1; seed <= 50; ++seed) {
      const Numbers in(seed, 118, 20);
      const std::vector<float> want = interpreted(k, in), got = executed(fn, in);
      for (size_t n = 0; n < want.size(); ++n)
        ASSERT_TRUE(want[n] == got[n] || (std::isnan(want[n]) && std::isnan(got[n])))
            << target << " " << seed << " " << n << ": " << got[n] << " not " << want[n];
    }
  }
}

/// Subnormal factors and sums may count as zero.
TEST(Pairs, OfSubnormalNumbersAreWithinTheBound) {
  const Kernel k = sums_of_pairs();
  for (const std::string& target : runnable_targets()) {
    const CompiledKernel fn = compile(k, target);
    ASSERT_TRUE(fn);
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      Numbers in(seed, 0, 70);  // up to 2^-58
      const std::vector<float> want = interpreted(k, in), got = executed(fn, in);
      for (size_t n = 0; n < want.size(); ++n) {
        if (!std::isfinite(want[n])) continue;
        EXPECT_LE(std::fabs(want[n] - got[n]), (2 * kPairs + 1) * 0x1p-126f) << target;
      }
    }
  }
}

TEST(Pairs, AreTheInstructionsOfBF16WhereTheTargetHasThem) {
  const Kernel k = sums_of_pairs();
  const Kernel* const one[] = {&k};
  const auto text = [&](std::string_view target) {
    return codegen::emit(one, *codegen::cpu_target(target, false), codegen::EmitKind::kAssembly).value();
  };
  const bool has = codegen::cpu_target("host")->has_bf16_pairs;
  EXPECT_EQ(text("host").find("vdpbf16ps") != std::string::npos, has);
  EXPECT_EQ(text("x86-64-v4").find("vdpbf16ps"), std::string::npos);
  EXPECT_NE(text("aarch64+bf16").find("bfmlalt"), std::string::npos);
  EXPECT_EQ(text("aarch64").find("bfmlalt"), std::string::npos);
}

}  // namespace
}  // namespace tenon::kir
