#include <numeric>

#include "tests/kernels/run_kernel.h"

namespace tenon::kir {
namespace {

constexpr int64_t kRows = 37, kStride = 21;

/// y[j][lane] = x[lane][j + 1] for squares of `width` lanes.
Kernel transposing(DType dtype, int64_t width, bool symbolic) {
  Kernel k;
  KernelBuilder b(k);
  const int x = b.add_binding("x", dtype, false), y = b.add_binding("y", dtype, true);
  const ValueId rows = b.dim(0), stride = symbolic ? b.dim(1) : b.i64(kStride);
  b.loop(LoopKind::kVector, b.i64(0), rows, 1, [&](ValueId lane) {
    const ValueId row = b.mul(lane, stride);
    b.loop(LoopKind::kUnroll, b.i64(0), b.i64(width), 1, [&](ValueId j) {
      b.store(y, b.add(b.mul(j, rows), lane), b.load(x, b.add(b.add(row, j), b.i64(1))));
    });
  }, static_cast<int>(width));
  return k;
}

template <class T>
void check(DType dtype) {
  std::vector<T> x(kRows * kStride);
  std::iota(x.begin(), x.end(), T(0));
  for (const std::string& target : runnable_targets()) {
    for (const int64_t width : {4, 8, 16}) {
      for (const bool symbolic : {false, true}) {
        const auto fn = compile(transposing(dtype, width, symbolic), target);
        ASSERT_TRUE(fn);
        std::vector<T> y(kRows * width);
        const Binding bindings[] = {bound(x), bound(y)};
        const int64_t dims[] = {kRows, kStride};
        ASSERT_EQ(fn(bindings, dims, 0, 1), 0);
        for (int64_t j = 0; j < width; ++j)
          for (int64_t row = 0; row < kRows; ++row)
            ASSERT_EQ(y[static_cast<size_t>(j * kRows + row)], x[static_cast<size_t>(row * kStride + j + 1)]) << target << " " << width << " " << j;
      }
    }
  }
}

TEST(Emitter, RunsOfUnrolledLoopsAreTransposed) {
  check<float>(DType::kF32);
  check<double>(DType::kF64);
  check<uint8_t>(DType::kU8);
}

}  // namespace
}  // namespace tenon::kir
