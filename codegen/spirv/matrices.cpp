#include "codegen/spirv/matrices.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "codegen/kernel_tiles.h"

namespace tenon::codegen::spirv {
namespace {

using kir::Inst;
using kir::InstKind;
using kir::Region;
using kir::ScalarOp;
using kir::ValueId;

constexpr int64_t kVector = 4;      // shared memory may be arrays of vectors, of which matrices begin with whole ones
constexpr int64_t kAlignment = 16;  // bytes (SPV_KHR_cooperative_matrix: of pointers and strides)

/// What a value is known to be a multiple of (0: it is 0); by value, 1 where nothing is known.
std::vector<int64_t> multiples_of(const kir::Kernel& kernel) {
  std::vector<int64_t> of(kernel.values.size(), 1);
  const auto at = [&](ValueId v) -> int64_t& { return of[static_cast<size_t>(v)]; };
  const std::function<void(const Region&)> visit = [&](const Region& region) {
    for (const auto& i : region.insts) {
      if (i->kind == InstKind::kConst && i->dtype == DType::kI64) at(i->results[0]) = i->constant.i;
      if (i->kind == InstKind::kFor) at(i->regions[0].args[0]) = std::gcd(at(i->operands[0]), i->step);
      if (i->kind == InstKind::kOp && kernel.dtype(i->results[0]) == DType::kI64 && i->operands.size() == 2) {
        const int64_t x = at(i->operands[0]), y = at(i->operands[1]);
        if (i->op == ScalarOp::kMul) at(i->results[0]) = std::gcd(x, kAlignment) > std::gcd(y, kAlignment) ? x : y;
        if (i->op == ScalarOp::kAdd || i->op == ScalarOp::kSub) at(i->results[0]) = std::gcd(x, y);
      }
      for (const Region& inner : i->regions) visit(inner);
    }
  };
  visit(kernel.body);
  return of;
}

class Finder {
 public:
  Finder(const kir::Kernel& kernel, const EmitOptions& options)
      : k_(kernel), options_(options), multiples_(multiples_of(kernel)), tiles_(kernel.buffers.size()) {}

  std::optional<std::vector<std::optional<MatrixTile>>> run() {
    if (options_.matrices.empty() || options_.subgroup_size < 1 || k_.lanes % options_.subgroup_size != 0) return std::nullopt;
    products(k_.body);
    rest(k_.body);
    for (size_t b = 0; b < tiles_.size(); ++b)
      possible_ = possible_ && tiles_[b].has_value() == (k_.buffers[b].space == kir::BufferSpace::kTile);
    return possible_ ? std::optional(tiles_) : std::nullopt;
  }

 private:
  const kir::BufferInfo& buffer(int b) const { return k_.buffers[static_cast<size_t>(b)]; }

  bool aligned(const Inst& inst, size_t t) const {
    const int64_t bytes = bits(buffer(inst.tiles[t].buffer).dtype) / 8;
    return buffer(inst.tiles[t].buffer).space == kir::BufferSpace::kLocal && inst.tiles[t].stride * bytes % kAlignment == 0 &&
           multiples_[static_cast<size_t>(inst.operands[t])] * bytes % kAlignment == 0;
  }

  std::optional<MatrixTile> tile_of(const kir::BufferInfo& info, const MatrixShape& shape) const {
    const int64_t rows = info.count / info.columns;
    const auto block = kir::subgroup_block(rows, info.columns, k_.lanes / options_.subgroup_size, shape.m, shape.n);
    if (!block) return std::nullopt;
    return MatrixTile{shape, rows, info.columns, block->rows, block->columns, block->across};
  }

  std::optional<MatrixTile> tile_of(const Inst& inst) const {
    if (inst.op != ScalarOp::kFma && inst.op != ScalarOp::kMul) return std::nullopt;
    if (!aligned(inst, 0) || !aligned(inst, 1)) return std::nullopt;
    std::optional<MatrixTile> best;
    for (const MatrixShape& shape : options_.matrices) {
      if (shape.a != buffer(inst.tiles[0].buffer).dtype || shape.b != buffer(inst.tiles[1].buffer).dtype ||
          shape.sum != buffer(inst.index).dtype)
        continue;
      if (inst.depth % shape.k != 0 || shape.m % kVector != 0 || shape.n % kVector != 0 || shape.k % kVector != 0) continue;
      const std::optional<MatrixTile> one = tile_of(buffer(inst.index), shape);
      if (one && (!best || int64_t{shape.m} * shape.n * shape.k > int64_t{best->shape.m} * best->shape.n * best->shape.k)) best = one;
    }
    return best;
  }

  void products(const Region& region) {
    for (const auto& i : region.insts) {
      for (const Region& inner : i->regions) products(inner);
      if (i->kind != InstKind::kTileMma) continue;
      const std::optional<MatrixTile> found = tile_of(*i);
      std::optional<MatrixTile>& tile = tiles_[static_cast<size_t>(i->index)];
      possible_ = possible_ && found && (!tile || tile->shape == found->shape);
      tile = found;
    }
  }

  void rest(const Region& region) {
    for (const auto& i : region.insts) {
      for (const Region& inner : i->regions) rest(inner);
      if (i->kind != InstKind::kTileStore) continue;
      const std::optional<MatrixTile>& tile = tiles_[static_cast<size_t>(i->index)];
      const bool whole = tile && i->depth % tile->shape.m == 0 &&
                         (i->depth == tile->rows || multiples_[static_cast<size_t>(i->operands[1])] % tile->shape.m == 0);
      possible_ = possible_ && whole && aligned(*i, 0);
    }
  }

  const kir::Kernel& k_;
  const EmitOptions& options_;
  std::vector<int64_t> multiples_;
  std::vector<std::optional<MatrixTile>> tiles_;
  bool possible_ = true;
};

}  // namespace

std::optional<std::vector<std::optional<MatrixTile>>> matrix_tiles(const kir::Kernel& kernel, const EmitOptions& options) {
  return kir::has_tiles(kernel) ? Finder(kernel, options).run() : std::nullopt;
}

}  // namespace tenon::codegen::spirv
