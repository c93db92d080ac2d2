#include "codegen/kernel_ir.h"

#include <gtest/gtest.h>

namespace tenon::kir {
namespace {

// y[g*dim + i] = x[...] * 2 + 1 over a vector loop, and the row's sum in s[g].
Kernel scale_and_sum() {
  Kernel k;
  k.name = "scale \"and\" sum";
  KernelBuilder b(k);
  const int x = b.add_binding("x", DType::kF32, false), y = b.add_binding("y", DType::kF32, true);
  const int s = b.add_binding("s", DType::kF32, true);
  const ValueId n = b.dim(0), base = b.mul(b.grid_index(), n);
  const ValueId zero = b.constant(DType::kF32, 0);
  const auto sum = b.loop(
      LoopKind::kVector, b.i64(0), n, 1, std::span(&zero, 1),
      [&](ValueId iv, std::span<const ValueId> carried) {
        const ValueId at = b.add(base, iv);
        const ValueId v = b.op(ScalarOp::kFma, {b.load(x, at), b.constant(DType::kF32, 2), b.constant(DType::kF32, 1)});
        b.store(y, at, v);
        return std::vector<ValueId>{b.add(carried[0], v)};
      },
      {Combiner::kAdd});
  b.store(s, b.grid_index(), sum[0]);
  return k;
}

TEST(KernelBuilder, FoldsIndexArithmetic) {
  Kernel k;
  KernelBuilder b(k);
  const ValueId g = b.grid_index(), d = b.dim(0);
  EXPECT_EQ(b.add(g, b.i64(0)), g);
  EXPECT_EQ(b.mul(b.i64(1), g), g);
  EXPECT_EQ(b.as_constant(b.mul(g, b.i64(0))), 0);
  EXPECT_EQ(b.as_constant(b.sub(g, g)), 0);
  EXPECT_EQ(b.as_constant(b.add(b.i64(3), b.i64(4))), 7);
  EXPECT_EQ(b.as_constant(b.op(ScalarOp::kFloorDiv, {b.i64(-7), b.i64(2)})), -4);
  EXPECT_EQ(b.as_constant(b.op(ScalarOp::kMod, {g, b.i64(1)})), 0);
  const ValueId yes = b.op(ScalarOp::kLt, {b.i64(1), b.i64(2)});
  EXPECT_EQ(b.as_constant(yes), 1);
  EXPECT_EQ(b.op(ScalarOp::kSelect, {yes, g, d}), g);
  const ValueId less = b.op(ScalarOp::kLt, {g, d});
  EXPECT_EQ(b.op(ScalarOp::kAnd, {less, yes}), less);
  EXPECT_EQ(b.op(ScalarOp::kNot, {b.op(ScalarOp::kNot, {less})}), less);
  EXPECT_TRUE(verify(k).ok()) << verify(k).to_string();
}

TEST(KernelBuilder, FloatIdentitiesStay) {
  Kernel k;
  KernelBuilder b(k);
  const int x = b.add_binding("x", DType::kF32, false);
  const ValueId v = b.load(x, b.grid_index());
  EXPECT_NE(b.add(v, b.constant(DType::kF32, 0)), v);  // -0 + 0 is +0
}

TEST(KernelIr, TextRoundTrip) {
  const Kernel k = scale_and_sum();
  ASSERT_TRUE(verify(k).ok()) << verify(k).to_string();
  const std::string text = print(k);
  const auto parsed = parse(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status().to_string() << text;
  EXPECT_EQ(print(*parsed), text);
  EXPECT_EQ(parsed->name, k.name);
  EXPECT_EQ(structural_hash(*parsed), structural_hash(k));
}

TEST(KernelIr, TextOfEveryForm) {
  const char* text = R"(kernel "all" dims 2 lanes 64 {
  binding i64 "at"
  binding f16 written "y"
  local f32 16 "tile"
  lane bf16 8 "group"
  body %0 {
    %1 = const f32 nan
    %2 = const f32 -inf
    %3 = const i64 -9223372036854775808
    %4 = dim 1
    %5 = const bool 1
    %6 = load b0[%0] if %5 else %3
    check %5, 1
    %7 = const i64 0
    %8 = const i64 4
    %9 = for unroll %10 in %7 to %8 step 2 carry %11 = %1 {
      %12 = max %11, %2
      %13 = bitcast %12 to i32
      %14 = bitcast %13 to f32
      yield %14
    }
    %15 = if %5 {
      yield %9
    } else {
      yield %1
    }
    %16 = for vector width 16 %17 in %7 to %8 step 1 carry %18 = %15 combine max {
      yield %18
    }
    %19 = cast %16 to f16
    store b1[%0], %19 if %5
    if %5 {
    } else {
    }
  }
}
)";
  const auto k = parse(text);
  ASSERT_TRUE(k.ok()) << k.status().to_string();
  EXPECT_EQ(print(*k), text);
}

TEST(KernelIr, ParserNamesTheLine) {
  const auto k = parse("kernel \"k\" dims 0 lanes 1 {\n  body %0 {\n    %1 = add %0, %9\n  }\n}\n");
  ASSERT_FALSE(k.ok());
  EXPECT_NE(k.status().to_string().find("line 3"), std::string::npos) << k.status().to_string();
}

TEST(KernelIr, ParserSurvivesEveryTruncation) {
  const std::string text = print(scale_and_sum());
  for (size_t n = 0; n + 2 < text.size(); ++n) EXPECT_FALSE(parse(std::string_view(text).substr(0, n)).ok()) << n;
}

TEST(KernelIr, HashIgnoresNamesOnly) {
  Kernel k = scale_and_sum();
  const uint64_t hash = structural_hash(k);
  k.name = "other";
  k.buffers[0].name = "z";
  EXPECT_EQ(structural_hash(k), hash);
  k.buffers[0].dtype = DType::kI32;
  EXPECT_NE(structural_hash(k), hash);
}

TEST(KernelIr, VerifierRejects) {
  const auto broken = [](auto&& change) {
    Kernel k = scale_and_sum();
    change(k);
    return !verify(k).ok();
  };
  EXPECT_FALSE(broken([](Kernel&) {}));
  EXPECT_TRUE(broken([](Kernel& k) { k.buffers[1].written = false; }));
  EXPECT_TRUE(broken([](Kernel& k) { k.body.insts[0]->index = 5; }));
  EXPECT_TRUE(broken([](Kernel& k) { std::swap(k.body.insts.front(), k.body.insts.back()); }));
  EXPECT_TRUE(broken([](Kernel& k) { k.body.insts.back()->index = 9; }));
  EXPECT_TRUE(broken([](Kernel& k) { k.values[0].dtype = DType::kString; }));
  EXPECT_TRUE(broken([](Kernel& k) {
    for (auto& i : k.body.insts)
      if (i->kind == InstKind::kFor) i->combiners.clear();
  }));
  EXPECT_TRUE(broken([](Kernel& k) {
    for (auto& i : k.body.insts)
      if (i->kind == InstKind::kFor) i->step = 0;
  }));
}

TEST(KernelIr, Interprets) {
  const Kernel k = scale_and_sum();
  std::vector<float> x = {1, 2, 3, 4, 5, 6}, y(6), s(2);
  const BufferView views[] = {{x.data(), 6}, {y.data(), 6}, {s.data(), 2}};
  const int64_t dims[] = {3};
  ASSERT_TRUE(interpret(k, views, dims, 0, 2).ok());
  EXPECT_EQ(y, (std::vector<float>{3, 5, 7, 9, 11, 13}));
  EXPECT_EQ(s, (std::vector<float>{15, 33}));
  EXPECT_FALSE(interpret(k, views, dims, 0, 3).ok());  // out of bounds
}

TEST(KernelIr, ChecksFailTheRunButGoOn) {
  Kernel k;
  KernelBuilder b(k);
  const int y = b.add_binding("y", DType::kI64, true);
  b.check(b.op(ScalarOp::kLt, {b.grid_index(), b.i64(1)}), kCheckIndexOutOfRange);
  b.store(y, b.grid_index(), b.grid_index());
  std::vector<int64_t> out(3, -1);
  const BufferView views[] = {{out.data(), 3}};
  const Status status = interpret(k, views, {}, 0, 3);
  EXPECT_EQ(status.code(), Code::kOutOfRange);
  EXPECT_EQ(out, (std::vector<int64_t>{0, 1, 2}));
}

}  // namespace
}  // namespace tenon::kir
