#include "codegen/kernel_tiles.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include "support/tensor.h"

namespace tenon::kir {
namespace {

/// C = A B in one workgroup: factors of `factor`, sums of `sum`; K in two steps; the result in bands of rows.
struct Product {
  DType factor = DType::kF16, sum = DType::kF32;
  ScalarOp op = ScalarOp::kFma;
  int64_t m = 16, n = 32, depth = 8, band = 8;
  int lanes = 64;
  bool a_transposed = false, b_transposed = false;
};

Kernel kernel_of(const Product& p) {
  Kernel k;
  k.name = "product";
  KernelBuilder b(k);
  const int a = b.add_binding("a", p.factor, false), x = b.add_binding("b", p.factor, false), c = b.add_binding("c", p.sum, true);
  k.lanes = p.lanes;
  const int64_t pad = 3, a_pitch = (p.a_transposed ? p.m : p.depth) + pad, b_pitch = (p.b_transposed ? p.depth : p.n) + pad,
                c_pitch = p.n + 1;
  const int a_tile = b.add_local("a_tile", p.factor, 300 * 8), b_tile = b.add_local("b_tile", p.factor, 300 * 8),
            c_tile = b.add_local("c_tile", p.sum, p.band * c_pitch);
  const int sums = b.add_tile("sums", p.sum, p.m, p.n);
  b.tile_fill(sums, b.constant(p.sum, 2));
  b.loop(LoopKind::kSerial, b.i64(0), b.i64(2), 1, [&](ValueId step) {
    const auto bring = [&](int to, int from, int64_t rows, int64_t columns, int64_t pitch, bool transposed) {
      b.loop(LoopKind::kVector, b.i64(0), b.i64(rows * columns), 1, [&](ValueId i) {
        const ValueId r = b.op(ScalarOp::kDiv, {i, b.i64(columns)}), s = b.op(ScalarOp::kRem, {i, b.i64(columns)});
        const ValueId at = b.add(b.mul(transposed ? s : r, b.i64(pitch)), transposed ? r : s);
        b.store(to, b.add(at, b.i64(1)), b.load(from, b.add(b.mul(step, b.i64(rows * columns)), i)));
      });
    };
    bring(a_tile, a, p.m, p.depth, a_pitch, p.a_transposed);
    bring(b_tile, x, p.depth, p.n, b_pitch, p.b_transposed);
    b.tile_mma(sums, p.op, {a_tile, a_pitch, p.a_transposed}, b.i64(1), {b_tile, b_pitch, p.b_transposed}, b.i64(1), p.depth);
  });
  b.loop(LoopKind::kSerial, b.i64(0), b.i64(p.m), p.band, [&](ValueId first) {
    b.tile_store(sums, first, p.band, {c_tile, c_pitch, false}, b.i64(0));
    b.loop(LoopKind::kVector, b.i64(0), b.i64(p.band * p.n), 1, [&](ValueId i) {
      const ValueId r = b.op(ScalarOp::kDiv, {i, b.i64(p.n)}), s = b.op(ScalarOp::kRem, {i, b.i64(p.n)});
      b.store(c, b.add(b.mul(first, b.i64(p.n)), i), b.load(c_tile, b.add(b.mul(r, b.i64(c_pitch)), s)));
    });
  });
  return k;
}

struct Operands {
  Tensor a, b;
};

Operands operands_of(const Product& p) {
  std::mt19937 random(7);
  Operands out{*Tensor::zeros(p.factor, {2, p.m, p.depth}), *Tensor::zeros(p.factor, {2, p.depth, p.n})};
  for (Tensor* t : {&out.a, &out.b})
    for (int64_t i = 0; i < t->size(); ++i) {
      const auto r = static_cast<int64_t>(random() % 2001) - 1000;
      if (is_float(p.factor))
        t->set_double(i, static_cast<double>(r) / 997);
      else
        t->set_int(i, r * 65537 % 100);
    }
  return out;
}

Tensor interpreted(const Kernel& kernel, const Product& p, const Operands& o) {
  Tensor c = *Tensor::zeros(p.sum, {p.m, p.n});
  const BufferView views[] = {
      {const_cast<std::byte*>(o.a.data()), o.a.size()}, {const_cast<std::byte*>(o.b.data()), o.b.size()}, {c.mutable_data(), c.size()}};
  const Status status = interpret(kernel, views, {}, 0, 1);
  EXPECT_TRUE(status.ok()) << status.to_string();
  return c;
}

const Product kProducts[] = {{},
                             {.band = 16, .a_transposed = true, .b_transposed = true},
                             {.factor = DType::kF32, .m = 32, .n = 16, .a_transposed = true},
                             {.factor = DType::kBF16, .band = 2, .lanes = 16},
                             {.factor = DType::kF64, .sum = DType::kF64, .b_transposed = true},
                             {.factor = DType::kI8, .sum = DType::kI32, .op = ScalarOp::kMul},
                             {.factor = DType::kF32, .op = ScalarOp::kMul, .lanes = 128}};

// A sum of products in double, with a bound for its rounding: (K + 1) half units of the sums of magnitudes.
TEST(Tiles, InterpreterComputesProducts) {
  for (const Product& p : kProducts) {
    const Operands o = operands_of(p);
    const Kernel kernel = kernel_of(p);
    ASSERT_TRUE(verify(kernel).ok()) << verify(kernel).to_string();
    const Tensor c = interpreted(kernel, p, o);
    const double unit = p.sum == DType::kF32 ? std::ldexp(1, -24) : p.sum == DType::kF64 ? std::ldexp(1, -53) : 0;
    for (int64_t e = 0; e < c.size(); ++e) {
      double sum = 2, magnitude = 2;
      for (int64_t s = 0; s < 2; ++s)
        for (int64_t k = 0; k < p.depth; ++k) {
          const double product = o.a.at_double((s * p.m + e / p.n) * p.depth + k) * o.b.at_double((s * p.depth + k) * p.n + e % p.n);
          sum += product;
          magnitude += std::abs(product);
        }
      ASSERT_NEAR(c.at_double(e), sum, 2 * static_cast<double>(2 * p.depth + 1) * unit * magnitude) << print(kernel);
    }
  }
}

TEST(Tiles, RegistersComputeTheSameBits) {
  for (const Product& p : kProducts) {
    const Operands o = operands_of(p);
    const Kernel kernel = kernel_of(p);
    Kernel expanded = clone(kernel);
    expand_tiles(expanded);
    EXPECT_FALSE(has_tiles(expanded));
    ASSERT_TRUE(verify(expanded).ok()) << verify(expanded).to_string();
    const Tensor want = interpreted(kernel, p, o), got = interpreted(expanded, p, o);
    EXPECT_EQ(std::memcmp(want.data(), got.data(), want.bytes()), 0) << print(kernel);
  }
}

TEST(Tiles, TextRoundTrip) {
  for (const Product& p : kProducts) {
    const Kernel kernel = kernel_of(p);
    const auto parsed = parse(print(kernel));
    ASSERT_TRUE(parsed.ok()) << parsed.status().to_string() << print(kernel);
    EXPECT_EQ(print(*parsed), print(kernel));
    EXPECT_EQ(structural_hash(clone(kernel)), structural_hash(*parsed));
  }
}

TEST(Tiles, LanesShareEveryTileEqually) {
  for (int64_t rows : {16, 32, 48, 128})
    for (int64_t columns : {16, 64, 96})
      for (int64_t lanes : {4, 32, 64, 256}) {
        const auto block = lane_block(rows, columns, lanes);
        ASSERT_TRUE(block.has_value()) << rows << " " << columns << " " << lanes;
        EXPECT_EQ(block->rows * block->columns * lanes, rows * columns);
        EXPECT_EQ(rows % block->rows, 0);
        EXPECT_EQ(columns % block->columns, 0);
      }
  EXPECT_EQ(lane_block(64, 64, 64)->rows, 8);
  EXPECT_FALSE(lane_block(3, 5, 2).has_value());
}

TEST(Tiles, SubgroupsGetWholeMatrices) {
  const auto block = subgroup_block(128, 128, 8, 16, 16);
  ASSERT_TRUE(block.has_value());
  EXPECT_EQ(block->rows + block->columns, 96);
  EXPECT_EQ(128 / block->rows * block->across, 8);
  EXPECT_FALSE(subgroup_block(16, 16, 2, 16, 16).has_value());
  EXPECT_EQ(subgroup_block(16, 32, 2, 16, 16)->across, 2);
}

Inst* find(Region& region, InstKind kind) {
  for (const auto& i : region.insts) {
    if (i->kind == kind) return i.get();
    for (Region& inner : i->regions)
      if (Inst* found = find(inner, kind)) return found;
  }
  return nullptr;
}

TEST(Tiles, VerifierRefusesWhatIsNoProduct) {
  const auto spoilt = [](const std::function<void(Kernel&)>& spoil) {
    Kernel kernel = kernel_of({});
    spoil(kernel);
    return !verify(kernel).ok();
  };
  EXPECT_FALSE(spoilt([](Kernel&) {}));
  EXPECT_TRUE(spoilt([](Kernel& k) { k.lanes = 1; }));
  EXPECT_TRUE(spoilt([](Kernel& k) { k.buffers.back().columns = 31; }));
  EXPECT_TRUE(spoilt([](Kernel& k) { find(k.body, InstKind::kTileMma)->op = ScalarOp::kAdd; }));
  EXPECT_TRUE(spoilt([](Kernel& k) { find(k.body, InstKind::kTileMma)->depth = 0; }));
  EXPECT_TRUE(spoilt([](Kernel& k) { find(k.body, InstKind::kTileMma)->tiles.pop_back(); }));
  EXPECT_TRUE(spoilt([](Kernel& k) { find(k.body, InstKind::kTileMma)->tiles[0].buffer = 6; }));
  EXPECT_TRUE(spoilt([](Kernel& k) { find(k.body, InstKind::kTileMma)->tiles[0].stride = -1; }));
  EXPECT_TRUE(spoilt([](Kernel& k) { find(k.body, InstKind::kTileMma)->index = 3; }));
  EXPECT_TRUE(spoilt([](Kernel& k) { find(k.body, InstKind::kTileStore)->tiles[0].buffer = 3; }));
  EXPECT_TRUE(spoilt([](Kernel& k) { find(k.body, InstKind::kTileStore)->depth = 17; }));
  EXPECT_TRUE(spoilt([](Kernel& k) { find(k.body, InstKind::kTileFill)->index = 5; }));
}

TEST(Tiles, InterpreterChecksBounds) {
  Kernel kernel = kernel_of({});
  find(kernel.body, InstKind::kTileMma)->tiles[1].stride = 1 << 20;
  const Product p;
  const Operands o = operands_of(p);
  Tensor c = *Tensor::zeros(p.sum, {p.m, p.n});
  const BufferView views[] = {
      {const_cast<std::byte*>(o.a.data()), o.a.size()}, {const_cast<std::byte*>(o.b.data()), o.b.size()}, {c.mutable_data(), c.size()}};
  EXPECT_EQ(interpret(kernel, views, {}, 0, 1).code(), Code::kInternal);
}

Kernel several_at_once(int64_t first) {
  Kernel k;
  k.name = "several";
  KernelBuilder b(k);
  const int x = b.add_binding("x", DType::kF32, false), y = b.add_binding("y", DType::kF32, true);
  const auto values = b.load_wide(x, b.add(b.mul(b.grid_index(), b.i64(4)), b.i64(first)), 4);
  const ValueId turned[] = {values[1], values[0]};
  b.store_wide(y, b.mul(b.grid_index(), b.i64(4)), turned);
  return k;
}

TEST(WideAccesses, MoveSeveralElements) {
  const Kernel kernel = several_at_once(0);
  ASSERT_TRUE(verify(kernel).ok()) << verify(kernel).to_string();
  const auto parsed = parse(print(kernel));
  ASSERT_TRUE(parsed.ok()) << parsed.status().to_string() << print(kernel);
  EXPECT_EQ(print(*parsed), print(kernel));
  float x[] = {1, 2, 3, 4, 5, 6, 7, 8}, y[8] = {};
  const BufferView views[] = {{x, 8}, {y, 8}};
  ASSERT_TRUE(interpret(*parsed, views, {}, 0, 2).ok());
  EXPECT_EQ(std::vector(y, y + 8), (std::vector<float>{2, 1, 0, 0, 6, 5, 0, 0}));
  EXPECT_EQ(interpret(kernel, views, {}, 0, 3).code(), Code::kInternal) << "beyond the end";
  EXPECT_EQ(interpret(several_at_once(2), views, {}, 0, 1).code(), Code::kInternal) << "not at a multiple";
}

TEST(WideAccesses, VerifierRefusesOthers) {
  const auto spoilt = [](const std::function<void(Kernel&)>& spoil) {
    Kernel kernel = several_at_once(0);
    spoil(kernel);
    return !verify(kernel).ok();
  };
  EXPECT_FALSE(spoilt([](Kernel&) {}));
  EXPECT_TRUE(spoilt([](Kernel& k) { find(k.body, InstKind::kLoad)->width = 3; }));
  EXPECT_TRUE(spoilt([](Kernel& k) { find(k.body, InstKind::kLoad)->width = 2; }));
  EXPECT_TRUE(spoilt([](Kernel& k) { find(k.body, InstKind::kStore)->width = 4; }));
  EXPECT_TRUE(spoilt([](Kernel& k) { k.buffers[1].written = false; }));
  EXPECT_TRUE(spoilt([](Kernel& k) { k.buffers[0].dtype = DType::kF64; }));
}

}  // namespace
}  // namespace tenon::kir
