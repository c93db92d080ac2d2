#include <numeric>

#include "tests/kernels/run_kernel.h"

namespace tenon::kir {
namespace {

constexpr int64_t kOuter = 6, kInner = 23, kStride = 5, kGrid = 3;
constexpr int64_t kElements = 4000;

/// Loads and stores whose addresses move by numbers, by dims and by products of what outer loops count, forwards and
/// backwards, from several rows at once, in loops that begin anywhere and may not run at all.
Kernel walking(DType dtype) {
  Kernel k;
  KernelBuilder b(k);
  const int x = b.add_binding("x", dtype, false), sums = b.add_binding("sums", dtype, true),
            mirrored = b.add_binding("mirrored", dtype, true);
  const ValueId g = b.grid_index(), outer = b.dim(0), inner = b.dim(1), stride = b.dim(2), from = b.dim(3);
  b.loop(LoopKind::kSerial, from, outer, 1, [&](ValueId i) {
    std::vector<ValueId> rows;  // apart by what only a run knows
    for (int64_t r = 0; r < 3; ++r)
      rows.push_back(b.mul(b.op(ScalarOp::kRem, {b.add(b.add(g, i), b.i64(r)), inner}), stride));
    const ValueId zero = is_float(dtype) ? b.constant(dtype, 0) : b.constant_int(dtype, 0);
    const ValueId inits[] = {zero};
    const auto sum = b.loop(LoopKind::kSerial, from, inner, 3, inits, [&](ValueId j, std::span<const ValueId> carried) {
      ValueId total = carried[0];
      b.loop(LoopKind::kUnroll, b.i64(0), b.i64(2), 1, [&](ValueId t) {
        const ValueId flat = b.add(b.add(b.mul(i, b.i64(9)), b.mul(j, b.i64(2))), t);
        b.prefetch(x, b.mul(flat, inner));
      });
      for (ValueId row : rows)
        for (int64_t t = 0; t < 2; ++t) {
          const ValueId flat = b.add(b.add(b.mul(i, b.i64(4)), b.mul(j, b.i64(2))), b.i64(t));
          total = b.add(total, b.load(x, b.add(b.add(b.mul(flat, stride), row), b.i64(1))));
          total = b.add(total, b.load(x, b.add(b.add(row, b.mul(i, inner)), b.add(j, b.i64(t)))));
        }
      const ValueId place = b.add(b.mul(b.add(b.mul(g, outer), i), inner), j);
      b.store(mirrored, b.sub(b.i64(kGrid * kOuter * kInner - 1), place), total);
      return std::vector<ValueId>{total};
    });
    b.store(sums, b.add(b.mul(g, outer), i), sum[0]);
  });
  // In the loop over the grid.
  b.store(sums, b.add(b.mul(g, b.i64(2)), b.i64(kGrid * kOuter)), b.load(x, b.add(b.mul(g, stride), b.i64(3))));
  return k;
}

/// The same in lanes: vectors, and what is left of them.
Kernel walking_in_lanes(DType dtype) {
  Kernel k;
  KernelBuilder b(k);
  const int x = b.add_binding("x", dtype, false), y = b.add_binding("y", dtype, true),
            z = b.add_binding("z", dtype, true);
  const ValueId g = b.grid_index(), n = b.dim(1), stride = b.dim(2);
  b.loop(LoopKind::kVector, b.i64(0), n, 1, [&](ValueId lane) {
    const ValueId at = b.add(b.mul(g, n), lane);
    const ValueId near = b.load(x, b.add(at, b.i64(2))),
                  far = b.load(x, b.add(b.mul(lane, b.i64(2)), b.mul(g, stride)));
    const ValueId back = b.load(x, b.sub(b.i64(kElements - 1), lane)), apart = b.load(x, b.mul(lane, stride));
    b.store(y, at, b.add(b.add(near, far), b.add(back, apart)));
    b.store(z, b.add(b.mul(at, b.i64(2)), b.i64(1)), near);
  });
  return k;
}

template <class T>
void check(const Kernel& kernel, int64_t from) {
  std::vector<T> x(kElements);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>((i * i + 7 * i) % 31);
  const int64_t dims[] = {kOuter, kInner, kStride, from};
  std::vector<T> y(2000, T(1)), z(2000, T(1)), y_expected = y, z_expected = z;
  const BufferView views[] = {{x.data(), kElements}, {y_expected.data(), 2000}, {z_expected.data(), 2000}};
  ASSERT_TRUE(verify(kernel).ok()) << verify(kernel).to_string();
  const Status interpreted = interpret(kernel, views, dims, 0, kGrid);
  ASSERT_TRUE(interpreted.ok()) << interpreted.to_string();
  for (const std::string& target : runnable_targets()) {
    const auto fn = compile(kernel, target);
    ASSERT_TRUE(fn);
    y.assign(y.size(), T(1));
    z.assign(z.size(), T(1));
    const Binding bindings[] = {bound(x), bound(y), bound(z)};
    ASSERT_EQ(fn(bindings, dims, 0, 1), 0);  // a part of the grid for each of two threads
    ASSERT_EQ(fn(bindings, dims, 1, kGrid), 0);
    EXPECT_EQ(y, y_expected) << target;
    EXPECT_EQ(z, z_expected) << target;
  }
}

TEST(LoopAddresses, MoveAsTheInterpreterSays) {
  for (const int64_t from : {0, 2, 30}) {
    check<float>(walking(DType::kF32), from);
    check<double>(walking(DType::kF64), from);
    check<int8_t>(walking(DType::kI8), from);
    check<int16_t>(walking(DType::kI16), from);
  }
}

TEST(LoopAddresses, MoveInLanes) {
  check<float>(walking_in_lanes(DType::kF32), 0);
  check<double>(walking_in_lanes(DType::kF64), 0);
  check<int8_t>(walking_in_lanes(DType::kI8), 0);
  check<int32_t>(walking_in_lanes(DType::kI32), 0);
}

}  // namespace
}  // namespace tenon::kir
