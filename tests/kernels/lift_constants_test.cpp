#include "codegen/lift_constants.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/kernels/run_kernel.h"

namespace tenon::kir {
namespace {

constexpr int64_t kLanes = 8, kStride = 2;

/// y[(g * rows + r) * 16 + 2 lane] = 2 x[...], for `rows` rows of a grid index; some constants are used by nothing.
Kernel rows_of_pairs(int64_t rows) {
  Kernel k;
  KernelBuilder b(k);
  const int x = b.add_binding("x", DType::kF32, false), y = b.add_binding("y", DType::kF32, true);
  for (int64_t i = 0; i < rows; ++i) (void)b.i64(i);
  const ValueId first = b.mul(b.grid_index(), b.i64(rows));
  const ValueId zero = b.i64(0), count = b.i64(rows);
  b.loop(LoopKind::kSerial, zero, count, 1, [&](ValueId r) {
    const ValueId base = b.mul(b.add(first, r), b.i64(kLanes * kStride));
    b.loop(LoopKind::kVector, b.i64(0), b.i64(kLanes), 1, [&](ValueId lane) {
      const ValueId at = b.add(base, b.mul(lane, b.i64(kStride)));
      b.store(y, at, b.op(ScalarOp::kMul, {b.load(x, at), b.constant(DType::kF32, 2)}));
    });
  });
  return k;
}

struct Lifted {
  Kernel kernel;
  std::vector<int64_t> values;
};

Lifted lift_all(const Kernel& kernel) {
  const std::vector<const Inst*> constants = liftable_constants(kernel);
  Lifted out;
  std::vector<int> dims;
  for (const Inst* c : constants) {
    dims.push_back(kernel.num_dims + static_cast<int>(dims.size()));
    out.values.push_back(c->constant.i);
  }
  out.kernel = lift_constants(kernel, constants, dims);
  return out;
}

TEST(LiftConstants, KernelsThatDifferInSizesBecomeOne) {
  const Lifted five = lift_all(rows_of_pairs(5)), seven = lift_all(rows_of_pairs(7));
  ASSERT_TRUE(verify(five.kernel).ok()) << verify(five.kernel).to_string();
  EXPECT_NE(print(rows_of_pairs(5)), print(rows_of_pairs(7)));
  EXPECT_EQ(print(five.kernel), print(seven.kernel));
  EXPECT_EQ(five.values, (std::vector<int64_t>{5, 0, 5, kLanes * kStride, kStride}));
  EXPECT_EQ(seven.values, (std::vector<int64_t>{7, 0, 7, kLanes * kStride, kStride}));
}

TEST(LiftConstants, ResultsStay) {
  for (const int64_t rows : {5, 7}) {
    const Kernel kernel = rows_of_pairs(rows);
    const Lifted lifted = lift_all(kernel);
    std::vector<float> x(static_cast<size_t>(2 * rows * kLanes * kStride)), expected(x.size()), y(x.size());
    std::iota(x.begin(), x.end(), 1.0F);
    const auto run = [&](const Kernel& k, std::vector<float>& out, std::span<const int64_t> dims) {
      const BufferView views[] = {{x.data(), std::ssize(x)}, {out.data(), std::ssize(out)}};
      const Status status = interpret(k, views, dims, 0, 2);
      ASSERT_TRUE(status.ok()) << status.to_string();
    };
    run(kernel, expected, {});
    run(lifted.kernel, y, lifted.values);
    EXPECT_EQ(y, expected);
    EXPECT_EQ(y[2], 6.0F);
  }
}

TEST(LiftConstants, WhatEmittersNeedStays) {
  Kernel k;
  KernelBuilder b(k);
  const int y = b.add_binding("y", DType::kF32, true);
  const ValueId value = b.constant(DType::kF32, 1);
  const ValueId zero = b.i64(0), nine = b.i64(9);
  b.loop(LoopKind::kSerial, zero, nine, 1, [&](ValueId i) { b.store(y, b.op(ScalarOp::kDiv, {i, b.i64(6)}), value); });
  b.loop(LoopKind::kVector, b.i64(0), b.i64(19), 1, [&](ValueId i) { b.store(y, b.add(b.op(ScalarOp::kDiv, {i, b.i64(6)}), b.i64(3)), value); });
  EXPECT_EQ(lift_all(k).values, (std::vector<int64_t>{0, 9, 6, 3}));
}

}  // namespace
}  // namespace tenon::kir
