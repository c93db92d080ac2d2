#include "codegen/schedule/tiled_contraction.h"

#include <algorithm>

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

namespace {

constexpr int64_t kLanes = 8;         // along each side of a tile
constexpr int64_t kMinTile = 16, kTileK = 16;
constexpr int64_t kManyTiles = 256;  // workgroups from which on larger tiles pay
constexpr int64_t kPad = 1;          // elements behind a shared row, so that columns meet different banks

/// Whether some load of `e` walks memory element by element along `axis`, and none along `other`.
bool runs_along(const Contraction& c, Expr e, int axis, int other) {
  IndexAlgebra algebra(*e.pool, c.extents);
  bool along = false, across = false;
  visit(e, [&](int, const ir::ExprNode& n) {
    if (n.kind != ExprKind::kLoad) return;
    const Affine offset = algebra.affine({e.pool, n.args[0]});
    const auto unit = [&](int a) {
      const Dim* k = offset.coefficient_of(e.pool->index(a).id);
      return k != nullptr && k->is_const(1);
    };
    along |= unit(axis);
    across |= unit(other);
  });
  return along && !across;
}

bool known_at_most(Dim d, int64_t limit) { return d.is_const() && d.value() <= limit; }

TiledContraction choose(Contraction c, const Target& target) {
  TiledContraction t;
  t.tile_k = kTileK;
  const Dim batch = ir::product(extents_of(c, c.batch_axes));
  const auto is_small = [&](int64_t tile) {
    return known_at_most(batch * ir::ceil_div(c.m, tile) * ir::ceil_div(c.n, tile), kManyTiles - 1);
  };
  int64_t sums = 8;  // of a lane along each side
  while (sums > 2 && (sums * sums > target.lane_sums || (sums > 4 && is_small(kLanes * sums)))) sums /= 2;
  t.lane_m = t.lane_n = sums;
  t.tile_m = t.tile_n = kLanes * sums;
  while (t.tile_m > kMinTile && known_at_most(c.m, t.tile_m / 2)) t.tile_m /= 2;
  while (t.tile_n > kMinTile && known_at_most(c.n, t.tile_n / 2)) t.tile_n /= 2;
  while (t.lanes() < kLanes * kLanes && std::max(t.lane_m, t.lane_n) > 2) (t.lane_m >= t.lane_n ? t.lane_m : t.lane_n) /= 2;
  t.a_along_k = !runs_along(c, c.a, c.m_axis, c.k_axis);
  t.b_along_k = runs_along(c, c.b, c.k_axis, c.n_axis);
  t.c = std::move(c);
  while (t.shared_bytes() > target.shared_bytes && t.tile_m * t.tile_n > kMinTile * kMinTile) (t.tile_m >= t.tile_n ? t.tile_m : t.tile_n) /= 2;
  return t;
}

class TileEmitter {
 public:
  TileEmitter(const TiledContraction& t, KernelWriter& writer, int output)
      : t_(t), c_(t.c), em_(writer.emitter()), b_(writer.builder()), output_(output) {}

  void emit() {
    b_.kernel().lanes = t_.lanes();
    const int64_t sums = t_.lane_m * t_.lane_n;
    a_tile_ = b_.add_local("a_tile", c_.acc_dtype, t_.tile_k * (t_.tile_m + kPad));
    b_tile_ = b_.add_local("b_tile", c_.acc_dtype, t_.tile_k * (t_.tile_n + kPad));
    c_tile_ = b_.add_local("c_tile", c_.acc_dtype, t_.tile_m * (t_.tile_n + kPad));
    sums_ = b_.add_local("sums", c_.acc_dtype, sums, kir::BufferSpace::kLane);
    bind_grid();
    for_lanes([&](ValueId, ValueId) {
      for (int64_t i = 0; i < sums; ++i) b_.store(sums_, b_.i64(i), zero());
    });
    em_.loop(LoopKind::kSerial, b_.i64(0), em_.dim(c_.k), t_.tile_k, [&](ValueId k0) {
      bring(a_tile_, c_.a, c_.m_axis, m0_, c_.m, t_.tile_m, k0, t_.a_along_k);
      bring(b_tile_, c_.b, c_.n_axis, n0_, c_.n, t_.tile_n, k0, t_.b_along_k);
      multiply();
    });
    spread_sums();
    finish();
  }

 private:
  ValueId zero() { return constant(b_, c_.acc_dtype, {}); }
  ValueId less(ValueId x, Dim extent) { return b_.op(ScalarOp::kLt, {x, em_.dim(extent)}); }
  ValueId quotient(ValueId x, int64_t y) { return b_.op(ScalarOp::kDiv, {x, b_.i64(y)}); }
  ValueId rest(ValueId x, int64_t y) { return b_.op(ScalarOp::kRem, {x, b_.i64(y)}); }
  /// Element (k, x) of a shared tile of `width` columns.
  ValueId at(ValueId k, ValueId x, int64_t width) { return b_.add(b_.mul(k, b_.i64(width + kPad)), x); }

  /// body(row of lanes, column of lanes), once a lane.
  void for_lanes(const std::function<void(ValueId, ValueId)>& body) {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(t_.lanes()), 1, [&](ValueId lane) {
      const int64_t columns = t_.tile_n / t_.lane_n;
      body(quotient(lane, columns), rest(lane, columns));
    });
  }

  void bind_grid() {
    std::vector<Dim> grid = extents_of(c_, c_.batch_axes);
    grid.push_back(ir::ceil_div(c_.m, t_.tile_m));
    grid.push_back(ir::ceil_div(c_.n, t_.tile_n));
    const std::vector<ValueId> index = em_.unflatten(b_.grid_index(), grid);
    output_index_.assign(c_.outer, -1);
    for (size_t i = 0; i < c_.batch_axes.size(); ++i) {
      em_.bind(c_.batch_axes[i], index[i]);
      output_index_[static_cast<size_t>(c_.batch_axes[i])] = index[i];
    }
    m0_ = b_.mul(index[index.size() - 2], b_.i64(t_.tile_m));
    n0_ = b_.mul(index.back(), b_.i64(t_.tile_n));
  }

  void bring(int tile, Expr factor, int axis, ValueId first, Dim extent, int64_t width, ValueId k0, bool along_k) {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(width * t_.tile_k), 1, [&](ValueId i) {
      const ValueId k = along_k ? rest(i, t_.tile_k) : quotient(i, width);
      const ValueId x = along_k ? quotient(i, t_.tile_k) : rest(i, width);
      const ValueId place = b_.add(first, x), depth = b_.add(k0, k);
      const ValueId inside = b_.op(ScalarOp::kAnd, {less(place, extent), less(depth, c_.k)});
      em_.bind(axis, place);
      em_.bind(c_.k_axis, depth);
      em_.set_mask(inside);
      const ValueId value = em_.emit(factor);
      em_.set_mask(-1);
      b_.store(tile, at(k, x, width), b_.op(ScalarOp::kSelect, {inside, value, zero()}));
    });
  }

  void multiply() {
    for_lanes([&](ValueId row, ValueId column) {
      std::vector<ValueId> sums;
      for (int64_t i = 0; i < t_.lane_m * t_.lane_n; ++i) sums.push_back(b_.load(sums_, b_.i64(i)));
      sums = b_.loop(LoopKind::kSerial, b_.i64(0), b_.i64(t_.tile_k), 1, sums, [&](ValueId k, std::span<const ValueId> carried) {
        std::vector<ValueId> a, b, next;
        for (int64_t i = 0; i < t_.lane_m; ++i) a.push_back(b_.load(a_tile_, at(k, row_of(row, i), t_.tile_m)));
        for (int64_t j = 0; j < t_.lane_n; ++j) b.push_back(b_.load(b_tile_, at(k, column_of(column, j), t_.tile_n)));
        for (int64_t i = 0; i < t_.lane_m; ++i)
          for (int64_t j = 0; j < t_.lane_n; ++j)
            next.push_back(multiply_add(a[static_cast<size_t>(i)], b[static_cast<size_t>(j)], carried[next.size()]));
        return next;
      });
      for (size_t i = 0; i < sums.size(); ++i) b_.store(sums_, b_.i64(static_cast<int64_t>(i)), sums[i]);
    });
  }

  /// A lane's rows lie side by side and its columns apart, so that lanes read neighbouring columns.
  ValueId row_of(ValueId lane_row, int64_t i) { return b_.add(b_.mul(lane_row, b_.i64(t_.lane_m)), b_.i64(i)); }
  ValueId column_of(ValueId lane_column, int64_t j) { return b_.add(lane_column, b_.i64(j * (t_.tile_n / t_.lane_n))); }

  ValueId multiply_add(ValueId x, ValueId y, ValueId sum) {
    if (c_.dot) return b_.op(c_.dot_signed ? ScalarOp::kDot4Signed : ScalarOp::kDot4, {x, y, sum});
    if (c_.fma) return b_.op(ScalarOp::kFma, {x, y, sum});
    return b_.op(ScalarOp::kAdd, {sum, b_.op(ScalarOp::kMul, {x, y})});
  }

  void spread_sums() {
    for_lanes([&](ValueId row, ValueId column) {
      for (int64_t i = 0; i < t_.lane_m; ++i)
        for (int64_t j = 0; j < t_.lane_n; ++j)
          b_.store(c_tile_, at(row_of(row, i), column_of(column, j), t_.tile_n), b_.load(sums_, b_.i64(i * t_.lane_n + j)));
    });
  }

  void finish() {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(t_.tile_m * t_.tile_n), 1, [&](ValueId i) {
      const ValueId row = quotient(i, t_.tile_n), column = rest(i, t_.tile_n);
      const ValueId m = b_.add(m0_, row), n = b_.add(n0_, column);
      const ValueId inside = b_.op(ScalarOp::kAnd, {less(m, c_.m), less(n, c_.n)});
      em_.bind(c_.m_axis, m);
      em_.bind(c_.n_axis, n);
      std::vector<ValueId> index = output_index_;
      const auto place = [&](const std::vector<int>& axes, ValueId flat) {
        const std::vector<ValueId> each = em_.unflatten(flat, extents_of(c_, axes));
        for (size_t a = 0; a < axes.size(); ++a) index[static_cast<size_t>(axes[a])] = each[a];
      };
      place(c_.m_axes, m);
      place(c_.n_axes, n);
      em_.bind_acc(b_.load(c_tile_, at(row, column, t_.tile_n)));
      em_.set_mask(inside);
      const ValueId value = em_.emit(c_.post);
      em_.set_mask(-1);
      const std::vector<Dim> outer(c_.axes.begin(), c_.axes.begin() + static_cast<int64_t>(c_.outer));
      b_.store_masked(output_, row_major_offset(em_, outer, index, c_.outer - 1), value, inside);
    });
  }

  const TiledContraction& t_;
  const Contraction& c_;
  Emitter& em_;
  kir::KernelBuilder& b_;
  int output_;
  int a_tile_ = -1, b_tile_ = -1, c_tile_ = -1, sums_ = -1;
  ValueId m0_ = -1, n0_ = -1;
  std::vector<ValueId> output_index_;
};

}  // namespace

int64_t TiledContraction::shared_bytes() const {
  const int64_t elements = tile_k * (tile_m + tile_n + 2 * kPad) + tile_m * (tile_n + kPad);
  return elements * bits(c.acc_dtype) / 8;
}

Status schedule_tiled_contraction(Lowering& lowering, int stage) {
  TENON_ASSIGN_OR_RETURN(Contraction c, classify_contraction(lowering, stage));
  const TiledContraction t = choose(std::move(c), lowering.target);
  if (t.shared_bytes() > lowering.target.shared_bytes)
    return error(Code::kUnsupported, "tiles of {} bytes, {} are shared", t.shared_bytes(), lowering.target.shared_bytes);
  const Expr reads[] = {t.c.a, t.c.b, t.c.post};
  KernelWriter writer(lowering, "contraction", reads, std::span<const int>(&stage, 1));
  TileEmitter(t, writer, writer.output(stage)).emit();
  const Dim batch = ir::product(extents_of(t.c, t.c.batch_axes));
  writer.finish(batch * ir::ceil_div(t.c.m, t.tile_m) * ir::ceil_div(t.c.n, t.tile_n), batch * t.c.m * t.c.n * t.c.k * 2);
  lowering.out.implementation = fmt::format("contraction {}x{}x{}, {} lanes of {}x{}", t.tile_m, t.tile_n, t.tile_k, t.lanes(), t.lane_m, t.lane_n);
  return {};
}

}  // namespace tenon::codegen
