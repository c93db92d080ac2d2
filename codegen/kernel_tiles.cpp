#include "codegen/kernel_tiles.h"

#include <algorithm>

#include "codegen/kernel_copy.h"
#include "codegen/math.h"

namespace tenon::kir {
namespace {

class TileExpander final : public KernelCopier {
 public:
  TileExpander(const Kernel& from, Kernel& to, bool math) : KernelCopier(from, to) {
    if (math) math_.emplace(from, b_);
  }

 private:
  /// A tile and the block of it that each lane has.
  struct Tile {
    int buffer;
    DType dtype;
    int64_t rows, columns;
    LaneBlock block;
  };

  Tile tile_of(const Inst& inst) const {
    const BufferInfo& info = from_.buffers[static_cast<size_t>(inst.index)];
    const int64_t rows = info.count / info.columns;
    return {inst.index, info.dtype, rows, info.columns, *lane_block(rows, info.columns, from_.lanes)};
  }

  bool rewrite(const Inst& inst, std::span<const ValueId> o) override {
    switch (inst.kind) {
      case InstKind::kTileFill:
        fill(tile_of(inst), o[0]);
        return true;
      case InstKind::kTileMma:
        multiply(inst, tile_of(inst), o);
        return true;
      case InstKind::kTileStore:
        store(inst, tile_of(inst), o);
        return true;
      default: {
        const std::optional<ValueId> value = math_ ? math_->rewrite(inst, o) : std::nullopt;
        if (value) map(inst.results[0]) = *value;
        return value.has_value();
      }
    }
  }

  /// body(first row, first column of the lane), once a lane.
  void for_lanes(const Tile& t, const std::function<void(ValueId, ValueId)>& body) {
    b_.loop(LoopKind::kVector, b_.i64(0), b_.i64(from_.lanes), 1, [&](ValueId lane) {
      const ValueId across = b_.i64(t.columns / t.block.columns);
      body(b_.mul(b_.op(ScalarOp::kDiv, {lane, across}), b_.i64(t.block.rows)), b_.op(ScalarOp::kRem, {lane, across}));
    });
  }
  /// From column j of a lane's block to its first.
  static int64_t columns(const Tile& t, int64_t j) { return j * (t.columns / t.block.columns); }
  static int64_t sums(const Tile& t) { return t.block.rows * t.block.columns; }

  ValueId place(const TileAccess& access, ValueId offset, ValueId r, ValueId c) {
    const ValueId far = access.transposed ? c : r, near = access.transposed ? r : c;
    return b_.add(b_.add(offset, b_.mul(far, b_.i64(access.stride))), near);
  }
  /// The place so many rows and columns further.
  ValueId further(const TileAccess& access, ValueId place, int64_t rows, int64_t columns) {
    return b_.add(place, b_.i64(access.transposed ? columns * access.stride + rows : rows * access.stride + columns));
  }

  void fill(const Tile& t, ValueId value) {
    for_lanes(t, [&](ValueId, ValueId) {
      for (int64_t i = 0; i < sums(t); ++i) b_.store(t.buffer, b_.i64(i), value);
    });
  }

  void multiply(const Inst& inst, const Tile& t, std::span<const ValueId> o) {
    for_lanes(t, [&](ValueId row, ValueId first) {
      std::vector<ValueId> all;
      for (int64_t i = 0; i < sums(t); ++i) all.push_back(b_.load(t.buffer, b_.i64(i)));
      all = b_.loop(LoopKind::kSerial, b_.i64(0), b_.i64(inst.depth), 1, all, [&](ValueId k, std::span<const ValueId> carried) {
        const TileAccess &left = inst.tiles[0], &right = inst.tiles[1];
        const ValueId from = place(left, o[0], row, k), to = place(right, o[1], k, first);
        const auto load = [&](const TileAccess& access, ValueId at) { return b_.cast(b_.load(access.buffer, at), t.dtype); };
        std::vector<ValueId> a, b, next;
        for (int64_t i = 0; i < t.block.rows; ++i) a.push_back(load(left, further(left, from, i, 0)));
        for (int64_t j = 0; j < t.block.columns; ++j) b.push_back(load(right, further(right, to, 0, columns(t, j))));
        for (ValueId x : a)
          for (ValueId y : b) next.push_back(multiply_add(inst.op, x, y, carried[next.size()]));
        return next;
      });
      for (size_t i = 0; i < all.size(); ++i) b_.store(t.buffer, b_.i64(static_cast<int64_t>(i)), all[i]);
    });
  }

  ValueId multiply_add(ScalarOp op, ValueId x, ValueId y, ValueId sum) {
    return op == ScalarOp::kMul ? b_.op(ScalarOp::kAdd, {sum, b_.op(ScalarOp::kMul, {x, y})}) : b_.op(op, {x, y, sum});
  }

  void store(const Inst& inst, const Tile& t, std::span<const ValueId> o) {
    const TileAccess& to = inst.tiles[0];
    for_lanes(t, [&](ValueId first_row, ValueId first) {
      const ValueId begin = place(to, o[0], b_.sub(first_row, o[1]), first);
      for (int64_t i = 0; i < t.block.rows; ++i) {
        const ValueId row = b_.sub(b_.add(first_row, b_.i64(i)), o[1]);
        const ValueId inside =
            inst.depth == t.rows
                ? b_.constant_int(DType::kBool, 1)
                : b_.op(ScalarOp::kAnd, {b_.op(ScalarOp::kLe, {b_.i64(0), row}), b_.op(ScalarOp::kLt, {row, b_.i64(inst.depth)})});
        for (int64_t j = 0; j < t.block.columns; ++j)
          b_.store_masked(to.buffer, further(to, begin, i, columns(t, j)), b_.load(t.buffer, b_.i64(i * t.block.columns + j)), inside);
      }
    });
  }

  std::optional<MathExpander> math_;
};

}  // namespace

std::optional<LaneBlock> lane_block(int64_t rows, int64_t columns, int64_t lanes) {
  if (rows < 1 || columns < 1 || lanes < 1 || rows * columns % lanes != 0) return std::nullopt;
  const int64_t sums = rows * columns / lanes;
  std::optional<LaneBlock> best;
  for (int64_t r = 1; r <= std::min(sums, rows); ++r) {
    if (sums % r != 0 || rows % r != 0 || columns % (sums / r) != 0) continue;
    if (!best || std::max(r, sums / r) < std::max(best->rows, best->columns)) best = LaneBlock{r, sums / r};
  }
  return best;
}

std::optional<SubgroupBlock> subgroup_block(int64_t rows, int64_t columns, int64_t subgroups, int64_t m, int64_t n) {
  std::optional<SubgroupBlock> best;
  for (int64_t across = 1; across <= subgroups; ++across) {
    if (subgroups % across != 0 || columns % (across * n) != 0 || rows % (subgroups / across * m) != 0) continue;
    const SubgroupBlock one{rows / (subgroups / across), columns / across, across};
    if (!best || one.rows + one.columns < best->rows + best->columns) best = one;
  }
  return best;
}

bool has_tiles(const Kernel& kernel) {
  return std::ranges::any_of(kernel.buffers, [](const BufferInfo& b) { return b.space == BufferSpace::kTile; });
}

Kernel tiles_expanded(const Kernel& kernel, bool math) {
  Kernel out = without_body(kernel);
  for (BufferInfo& b : out.buffers) {
    if (b.space != BufferSpace::kTile) continue;
    b.space = BufferSpace::kLane;
    b.count /= kernel.lanes;
    b.columns = 0;
  }
  TileExpander(kernel, out, math).run();
  return out;
}

void expand_tiles(Kernel& kernel) {
  if (has_tiles(kernel)) kernel = tiles_expanded(kernel);
}

}  // namespace tenon::kir
