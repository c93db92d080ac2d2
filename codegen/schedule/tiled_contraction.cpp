#include "codegen/schedule/tiled_contraction.h"

#include <algorithm>

#include "codegen/kernel_tiles.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ScalarOp;

namespace {

constexpr int64_t kLanes = 8;  // along each side of a tile
constexpr int64_t kMinTile = 16, kTileK = 16;
constexpr int64_t kManyTiles = 256;  // workgroups from which on larger tiles pay
constexpr int64_t kMatrixTile = 128, kMatrixTileK = 32,
                  kSubgroupSums = 2048;  // a side of a tile of matrices, its depth, sums of a subgroup
constexpr int64_t kPadBytes = 16;        // behind a shared row: see the header
constexpr int64_t kAheadElements = 32;   // of a factor that a lane holds while it multiplies those before
constexpr int64_t kBandBytes = 16 << 10;

/// Whether some load of `e` walks memory along `axis`, element by element or word by word of narrower ones, and none along `other`.
bool runs_along(const Contraction& c, Expr e, int axis, int other) {
  IndexAlgebra algebra(*e.pool, c.extents);
  bool along = false, across = false;
  visit(e, [&](int, const ir::ExprNode& n) {
    if (n.kind != ExprKind::kLoad) return;
    const Affine offset = algebra.affine({e.pool, n.args[0]});
    const auto walks = [&](int a, int64_t width) {
      const Dim* k = offset.coefficient_of(e.pool->index(a).id);
      return k != nullptr && k->is_const() && k->value() >= 1 && k->value() <= width;
    };
    along |= walks(axis, std::max(1, 32 / bits(n.dtype)));
    across |= walks(other, 1);
  });
  return along && !across;
}

bool known_at_most(Dim d, int64_t limit) { return d.is_const() && d.value() <= limit; }

/// 4 where a factor is a load, converted perhaps, whose memory `along` walks element by element in whole groups of four: each begins at a
/// multiple of four elements, and none is cut off. Buffers begin at multiples of more.
int vector_width(const Contraction& c, Expr factor, int along) {
  constexpr int kWidth = 4;
  while (factor.node().kind == ExprKind::kCast) factor = {factor.pool, factor.node().args[0]};
  const ir::ExprNode& load = factor.node();
  if (load.kind != ExprKind::kLoad || load.guarded || load.dtype == DType::kBool || bits(load.dtype) > 32) return 1;
  const auto whole = [](Dim d) { return d.is_const() && d.value() % kWidth == 0; };
  const Expr offset{factor.pool, load.args[0]};
  bool plain = whole(c.extents[static_cast<size_t>(along)]), found = false;
  visit(offset, [&](int, const ir::ExprNode& n) { plain &= n.kind != ExprKind::kLoad && n.kind != ExprKind::kCheckedIndex; });
  if (!plain) return 1;
  IndexAlgebra algebra(*factor.pool, c.extents);
  const Affine place = algebra.affine(offset);
  if (!whole(place.constant)) return 1;
  for (const Affine::Term& t : place.terms) {
    if (t.atom == factor.pool->index(along).id)
      found = t.coefficient.is_const(1);
    else if (!whole(t.coefficient) || uses_axis({factor.pool, t.atom}, along))
      return 1;
  }
  return found ? kWidth : 1;
}

/// The dtype in which a factor is brought in, and what it is in that: f16 and bf16 are widened later.
Expr narrow(Expr factor) {
  const ir::ExprNode& node = factor.node();
  if (node.kind != ExprKind::kCast || node.dtype != DType::kF32) return factor;
  const Expr inner{factor.pool, node.args[0]};
  return inner.dtype() == DType::kF16 || inner.dtype() == DType::kBF16 ? inner : factor;
}

class Chooser {
 public:
  Chooser(Contraction c, const Target& target) : target_(target) {
    batch_ = ir::product(extents_of(c, c.batch_axes));
    t_.a_along_k = !runs_along(c, c.a, c.m_axis, c.k_axis);
    t_.b_along_k = runs_along(c, c.b, c.k_axis, c.n_axis);
    c.a = narrow(c.a);
    c.b = narrow(c.b);
    t_.a_dtype = c.a.dtype();
    t_.b_dtype = c.b.dtype();
    t_.a_width = vector_width(c, c.a, t_.a_along_k ? c.k_axis : c.m_axis);
    t_.b_width = vector_width(c, c.b, t_.b_along_k ? c.k_axis : c.n_axis);
    t_.c = std::move(c);
  }

  TiledContraction run() {
    for (const MatrixShape& shape : target_.matrices)
      if (fits(shape) && (!t_.matrix || volume(shape) > volume(*t_.matrix))) t_.matrix = shape;
    if (!t_.matrix || !choose_matrices()) choose_registers();
    t_.ahead = target_.lane_sums >= 64 && comes_in_turns(t_.tile_m, t_.a_width) && comes_in_turns(t_.tile_n, t_.b_width);
    return std::move(t_);
  }

 private:
  const Contraction& c() const { return t_.c; }
  int64_t room() const { return target_.shared_bytes - target_.matrix_reserved_bytes; }
  static int64_t volume(const MatrixShape& s) { return int64_t{s.m} * s.n * s.k; }
  Dim tiles(int64_t m, int64_t n) const { return batch_ * ir::ceil_div(c().m, m) * ir::ceil_div(c().n, n); }
  bool is_small(int64_t m, int64_t n) const { return known_at_most(tiles(m, n), kManyTiles - 1); }
  bool is_large(int64_t tile) const {
    const Dim all = tiles(tile, tile);
    return all.is_const() && all.value() >= kManyTiles;
  }

  bool fits(const MatrixShape& shape) const {
    return !c().dot && shape.a == t_.a_dtype && shape.b == t_.b_dtype && shape.sum == c().acc_dtype && kMatrixTileK % shape.k == 0 &&
           known_many(c().m, shape.m) && known_many(c().n, shape.n);
  }
  /// Not known to leave most of a matrix empty.
  static bool known_many(Dim d, int64_t m) { return !known_at_most(d, m / 2); }

  /// Halves sides that are mostly empty, or while there are too few workgroups.
  bool choose_matrices() {
    const MatrixShape& shape = *t_.matrix;
    t_.tile_k = kMatrixTileK;
    t_.tile_m = t_.tile_n = kMatrixTile;
    while (t_.tile_m > 2 * shape.m && known_at_most(c().m, t_.tile_m / 2)) t_.tile_m /= 2;
    while (t_.tile_n > 2 * shape.n && known_at_most(c().n, t_.tile_n / 2)) t_.tile_n /= 2;
    for (;;) {
      t_.lanes = matrix_lanes();
      int64_t& side = t_.tile_m >= t_.tile_n ? t_.tile_m : t_.tile_n;
      const int64_t least = &side == &t_.tile_m ? 2 * shape.m : 2 * shape.n;
      set_band(shape.m);
      if (t_.lanes > 0 && t_.shared_bytes() <= room() && (side <= least || !is_small(t_.tile_m, t_.tile_n))) return true;
      if (side <= least) break;
      side /= 2;
    }
    if (t_.lanes > 0 && t_.shared_bytes() <= room()) return true;
    t_.matrix.reset();
    return false;
  }

  /// As few subgroups as hold the sums, four at least where there are matrices for so many; 0: none.
  int matrix_lanes() const {
    const int64_t sums = t_.tile_m * t_.tile_n;
    for (int64_t subgroups = std::max<int64_t>(4, sums / kSubgroupSums); subgroups > 0; subgroups /= 2) {
      const int64_t lanes = subgroups * target_.subgroup_size;
      if (lanes > target_.max_workgroup || lanes < 2 || sums % lanes != 0) continue;
      if (kir::subgroup_block(t_.tile_m, t_.tile_n, subgroups, t_.matrix->m, t_.matrix->n)) return static_cast<int>(lanes);
    }
    return 0;
  }

  void choose_registers() {
    int64_t sums = 8;  // of a lane along each side
    while (sums > 2 && (sums * sums > target_.lane_sums || (sums > 4 && is_small(kLanes * sums, kLanes * sums)))) sums /= 2;
    int64_t lanes = kLanes;
    if (sums == 8 && is_large(2 * lanes * sums) && 4 * lanes * lanes <= target_.max_workgroup) lanes *= 2;
    t_.tile_k = kTileK;
    t_.tile_m = t_.tile_n = lanes * sums;
    while (t_.tile_m > kMinTile && known_at_most(c().m, t_.tile_m / 2)) t_.tile_m /= 2;
    while (t_.tile_n > kMinTile && known_at_most(c().n, t_.tile_n / 2)) t_.tile_n /= 2;
    const auto set_lanes = [&] {
      t_.lanes = static_cast<int>(
          std::clamp(t_.tile_m * t_.tile_n / (sums * sums), std::min(kLanes * kLanes, t_.tile_m * t_.tile_n / 4), lanes * lanes));
    };
    set_lanes();
    set_band(1);
    while (t_.shared_bytes() > room() && t_.tile_m * t_.tile_n > kMinTile * kMinTile) {
      (t_.tile_m >= t_.tile_n ? t_.tile_m : t_.tile_n) /= 2;
      set_lanes();
      set_band(1);
    }
  }

  /// Whether each lane brings equally many elements of a factor, few enough to hold them.
  bool comes_in_turns(int64_t side, int64_t width) const {
    const int64_t elements = side * t_.tile_k;
    return elements % (width * t_.lanes) == 0 && elements / t_.lanes <= kAheadElements;
  }

  void set_band(int64_t least) {
    t_.band = t_.tile_m;
    const int64_t row = (t_.tile_n + pad_of(c().acc_dtype)) * bits(c().acc_dtype) / 8;
    while (t_.band % 2 == 0 && t_.band / 2 >= least && t_.band * row > kBandBytes) t_.band /= 2;
  }

  const Target& target_;
  TiledContraction t_;
  Dim batch_ = 1;
};

}  // namespace

int64_t pad_of(DType d) { return kPadBytes * 8 / bits(d); }

int64_t TiledContraction::shared_bytes() const {
  const auto factor = [&](DType d, int64_t width, bool along_k) {
    return (along_k ? width * (tile_k + pad_of(d)) : tile_k * (width + pad_of(d))) * bits(d) / 8;
  };
  return factor(a_dtype, tile_m, matrix && a_along_k) + factor(b_dtype, tile_n, matrix && b_along_k) +
         band * (tile_n + pad_of(c.acc_dtype)) * bits(c.acc_dtype) / 8;
}

namespace {

std::string describe(const TiledContraction& t) {
  std::string text = fmt::format("contraction {}x{}x{}", t.tile_m, t.tile_n, t.tile_k);
  if (t.c.dot)
    text += " of bytes";
  else if (t.a_dtype != t.c.acc_dtype && t.a_dtype == t.b_dtype)
    text += fmt::format(" of {}", name(t.a_dtype));
  if (t.matrix) return text + fmt::format(", {} lanes with matrices {}x{}x{}", t.lanes, t.matrix->m, t.matrix->n, t.matrix->k);
  const auto block = kir::lane_block(t.tile_m, t.tile_n, t.lanes);
  return text + fmt::format(", {} lanes of {}x{}", t.lanes, block->rows, block->columns);
}

}  // namespace

Status schedule_tiled_contraction(Lowering& lowering, int stage) {
  TENON_ASSIGN_OR_RETURN(Contraction c, classify_contraction(lowering, stage));
  const TiledContraction t = Chooser(std::move(c), lowering.target).run();
  if (t.shared_bytes() > lowering.target.shared_bytes)
    return error(Code::kUnsupported, "tiles of {} bytes, {} are shared", t.shared_bytes(), lowering.target.shared_bytes);
  const Expr reads[] = {t.c.a, t.c.b, t.c.post};
  KernelWriter writer(lowering, "contraction", reads, std::span<const int>(&stage, 1));
  emit_tiled_contraction(t, writer, writer.output(stage));
  const Dim batch = ir::product(extents_of(t.c, t.c.batch_axes));
  writer.finish(batch * ir::ceil_div(t.c.m, t.tile_m) * ir::ceil_div(t.c.n, t.tile_n), batch * t.c.m * t.c.n * t.c.k * 2);
  lowering.out.implementation = describe(t);
  return {};
}

}  // namespace tenon::codegen
