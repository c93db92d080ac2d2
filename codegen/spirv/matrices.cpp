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
  Finder(const kir::Kernel& kernel, const EmitOptions& options, MatrixScope scope)
      : k_(kernel), options_(options), scope_(scope), multiples_(multiples_of(kernel)), tiles_(kernel.buffers.size()) {}

  std::optional<MatrixTiles> run() {
    products(k_.body);
    rest(k_.body);
    for (size_t b = 0; b < tiles_.size(); ++b)
      possible_ = possible_ && tiles_[b].has_value() == (k_.buffers[b].space == kir::BufferSpace::kTile);
    return possible_ ? std::optional(MatrixTiles{scope_, tiles_}) : std::nullopt;
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

  bool has_dtypes(const MatrixShape& shape, const Inst& inst) const {
    return shape.a == buffer(inst.tiles[0].buffer).dtype && shape.b == buffer(inst.tiles[1].buffer).dtype && shape.sum == buffer(inst.index).dtype;
  }

  std::optional<MatrixTile> tile_of(const Inst& inst) const {
    if (inst.op != ScalarOp::kFma && inst.op != ScalarOp::kMul) return std::nullopt;
    if (!aligned(inst, 0) || !aligned(inst, 1)) return std::nullopt;
    return scope_ == MatrixScope::kWorkgroup ? workgroup_tile(inst) : subgroup_tile(inst);
  }

  std::optional<MatrixTile> workgroup_tile(const Inst& inst) const {
    const int64_t columns = buffer(inst.index).columns, rows = buffer(inst.index).count / columns;
    if (std::max({rows, columns, inst.depth}) > options_.max_matrix_side) return std::nullopt;
    for (const auto& [multiples, invocations] : options_.workgroup_matrices) {
      if (!has_dtypes(multiples, inst) || invocations != k_.lanes) continue;
      if (rows % multiples.m != 0 || columns % multiples.n != 0 || inst.depth % multiples.k != 0) continue;
      const MatrixShape whole{static_cast<int>(rows), static_cast<int>(columns), static_cast<int>(inst.depth), multiples.a, multiples.b, multiples.sum};
      return MatrixTile{whole, rows, columns, rows, columns, 1};
    }
    return std::nullopt;
  }

  std::optional<MatrixTile> subgroup_tile(const Inst& inst) const {
    if (options_.subgroup_size < 1 || k_.lanes % options_.subgroup_size != 0) return std::nullopt;
    std::optional<MatrixTile> best;
    for (const MatrixShape& shape : options_.matrices) {
      if (!has_dtypes(shape, inst)) continue;
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
      if (scope_ == MatrixScope::kWorkgroup) {  // elements are stored one by one, wherever they go
        possible_ = possible_ && tile && buffer(i->tiles[0].buffer).space == kir::BufferSpace::kLocal;
        continue;
      }
      const bool whole = tile && i->depth % tile->shape.m == 0 &&
                         (i->depth == tile->rows || multiples_[static_cast<size_t>(i->operands[1])] % tile->shape.m == 0);
      possible_ = possible_ && whole && aligned(*i, 0);
    }
  }

  const kir::Kernel& k_;
  const EmitOptions& options_;
  const MatrixScope scope_;
  std::vector<int64_t> multiples_;
  std::vector<std::optional<MatrixTile>> tiles_;
  bool possible_ = true;
};

}  // namespace

std::optional<MatrixTiles> matrix_tiles(const kir::Kernel& kernel, const EmitOptions& options, MatrixScope scope) {
  const bool any = scope == MatrixScope::kWorkgroup ? !options.workgroup_matrices.empty() : !options.matrices.empty();
  return any && kir::has_tiles(kernel) ? Finder(kernel, options, scope).run() : std::nullopt;
}

}  // namespace tenon::codegen::spirv
