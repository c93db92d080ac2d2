#include "codegen/schedule/tiled_contraction.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

namespace {

/// A factor and its tile in shared memory.
struct Shared {
  Expr factor;
  int axis;  // of the rows or columns of the product that it has
  Dim extent;
  int64_t side;         // how many of them are in a tile
  int width;            // elements that a lane brings at once
  bool memory_along_k;  // in which order they lie in memory
  ValueId first = -1;   // the first of the tile
  int buffer = -1, ahead = -1;
  int64_t pitch = 0;
  bool along_k = false;  // a row of the buffer is along K

  int64_t groups(int64_t tile_k) const { return side * tile_k / width; }
  int64_t line(int64_t tile_k) const { return (memory_along_k ? tile_k : side) / width; }  // groups side by side in memory
};

class TileEmitter {
 public:
  TileEmitter(const TiledContraction& t, KernelWriter& writer, int output)
      : t_(t), c_(t.c), em_(writer.emitter()), b_(writer.builder()), output_(output) {}

  void emit() {
    b_.kernel().lanes = t_.lanes;
    // Registers want neighbouring rows and columns side by side, matrices take either order: then as memory has them.
    Shared a{c_.a, c_.m_axis, c_.m, t_.tile_m, t_.a_width, t_.a_along_k}, b{c_.b, c_.n_axis, c_.n, t_.tile_n, t_.b_width, t_.b_along_k};
    add_shared("a", t_.a_dtype, a);
    add_shared("b", t_.b_dtype, b);
    c_pitch_ = t_.tile_n + pad_of(c_.acc_dtype);
    c_tile_ = b_.add_local("c_tile", c_.acc_dtype, t_.band * c_pitch_);
    sums_ = b_.add_tile("sums", c_.acc_dtype, t_.tile_m, t_.tile_n);
    bind_grid();
    a.first = m0_;
    b.first = n0_;
    b_.tile_fill(sums_, zero(c_.acc_dtype));
    if (t_.ahead) ask(a, b, b_.i64(0));
    em_.loop(LoopKind::kSerial, b_.i64(0), em_.dim(c_.k), t_.tile_k, [&](ValueId k0) {
      for (const Shared* tile : {&a, &b}) {
        if (t_.ahead)
          put(*tile);
        else
          bring(*tile, k0);
      }
      if (t_.ahead) ask(a, b, b_.add(k0, b_.i64(t_.tile_k)));
      b_.tile_mma(sums_, multiply_add(), {a.buffer, a.pitch, !a.along_k}, b_.i64(0), {b.buffer, b.pitch, b.along_k}, b_.i64(0), t_.tile_k);
    });
    const auto finish_band = [&](ValueId first) {
      b_.tile_store(sums_, first, t_.band, {c_tile_, c_pitch_, false}, b_.i64(0));
      finish(first);
    };
    if (t_.band == t_.tile_m)
      finish_band(b_.i64(0));
    else
      em_.loop(LoopKind::kSerial, b_.i64(0), b_.i64(t_.tile_m), t_.band, finish_band);
  }

 private:
  ValueId zero(DType d) { return constant(b_, d, {}); }
  ValueId less(ValueId x, Dim extent) { return b_.op(ScalarOp::kLt, {x, em_.dim(extent)}); }
  ValueId quotient(ValueId x, int64_t y) { return b_.op(ScalarOp::kDiv, {x, b_.i64(y)}); }
  ValueId rest(ValueId x, int64_t y) { return b_.op(ScalarOp::kRem, {x, b_.i64(y)}); }
  void add_shared(const std::string& name, DType d, Shared& tile) {
    tile.along_k = t_.matrix && tile.memory_along_k;
    tile.pitch = (tile.along_k ? t_.tile_k : tile.side) + pad_of(d);
    tile.buffer = b_.add_local(name + "_tile", d, (tile.along_k ? tile.side : t_.tile_k) * tile.pitch);
    if (t_.ahead) tile.ahead = b_.add_local(name + "_ahead", d, tile.side * t_.tile_k / t_.lanes, kir::BufferSpace::kLane);
  }

  ScalarOp multiply_add() const {
    if (c_.dot) return c_.dot_signed ? ScalarOp::kDot4Signed : ScalarOp::kDot4;
    return c_.fma ? ScalarOp::kFma : ScalarOp::kMul;
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

  /// Below the extent: known where steps of `step` end with it.
  ValueId inside(ValueId x, Dim extent, int64_t step) {
    if (extent.is_const() && extent.value() % step == 0) return b_.constant_int(DType::kBool, 1);
    return less(x, extent);
  }

  /// Binds a place in a tile, along memory (`near`) or across it, to the axis that it is on. Whether that is within its extent.
  ValueId bind(const Shared& tile, bool near, ValueId k0, ValueId place) {
    const bool along_k = near == tile.memory_along_k;
    const ValueId index = b_.add(along_k ? k0 : tile.first, place);
    em_.bind(along_k ? c_.k_axis : tile.axis, index);
    return along_k ? inside(index, c_.k, t_.tile_k) : inside(index, tile.extent, tile.side);
  }

  /// The elements at the bound place, zeros where they do not count.
  std::vector<ValueId> fetch(const Shared& tile, ValueId counts) {
    return tile.width == 1 ? std::vector{masked(tile.factor, counts)} : several(tile.factor, tile.width, counts);
  }

  /// Where they are in shared memory.
  ValueId place_of(const Shared& tile, ValueId near, ValueId far) {
    return tile.along_k == tile.memory_along_k ? b_.add(b_.mul(far, b_.i64(tile.pitch)), near) : b_.add(b_.mul(near, b_.i64(tile.pitch)), far);
  }

  void keep(const Shared& tile, ValueId at, std::span<const ValueId> values) {
    if (tile.along_k == tile.memory_along_k) return b_.store_wide(tile.buffer, at, values);
    for (size_t e = 0; e < values.size(); ++e) b_.store(tile.buffer, b_.add(at, b_.i64(static_cast<int64_t>(e) * tile.pitch)), values[e]);
  }

  void bring(const Shared& tile, ValueId k0) {
    const int64_t line = tile.line(t_.tile_k);
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(tile.groups(t_.tile_k)), 1, [&](ValueId i) {
      const ValueId near = b_.mul(rest(i, line), b_.i64(tile.width)), far = quotient(i, line);
      const ValueId near_inside = bind(tile, true, k0, near);
      keep(tile, place_of(tile, near, far), fetch(tile, b_.op(ScalarOp::kAnd, {near_inside, bind(tile, false, k0, far)})));
    });
  }

  /// All groups of a lane: shared(near, far) once for those at one place along memory, then group(far, step, first) for each, which is
  /// `step` further than that across it; `first`: its first element among those that the lane holds.
  void for_groups(const Shared& tile, const std::function<void(ValueId, ValueId)>& shared, const std::function<void(ValueId, int64_t, int64_t)>& group) {
    const int64_t line = tile.line(t_.tile_k), together = line < t_.lanes ? 1 : line / t_.lanes, step = line < t_.lanes ? t_.lanes / line : 1;
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(t_.lanes), 1, [&](ValueId lane) {
      const ValueId column = line < t_.lanes ? rest(lane, line) : lane, far = line < t_.lanes ? quotient(lane, line) : b_.i64(0);
      for (int64_t part = 0; part < together; ++part)
        em_.scoped([&] {
          shared(b_.mul(b_.add(column, b_.i64(part * t_.lanes)), b_.i64(tile.width)), far);
          for (int64_t row = 0; row < tile.groups(t_.tile_k) / t_.lanes / together; ++row)
            em_.scoped([&] { group(far, row * step, (row * together + part) * tile.width); });
        });
    });
  }

  /// Both factors from k0 on, into registers, if there are any.
  void ask(const Shared& a, const Shared& b, ValueId k0) {
    const auto both = [&] {
      for (const Shared* tile : {&a, &b}) {
        ValueId near_inside = -1;
        const auto shared = [&](ValueId near, ValueId) {
          near_inside = bind(*tile, true, k0, near);
          em_.hoist_indices(tile->factor);
        };
        for_groups(*tile, shared, [&](ValueId far, int64_t step, int64_t first) {
          const ValueId far_inside = bind(*tile, false, k0, b_.add(far, b_.i64(step)));
          const std::vector<ValueId> values = fetch(*tile, b_.op(ScalarOp::kAnd, {near_inside, far_inside}));
          for (size_t e = 0; e < values.size(); ++e) b_.store(tile->ahead, b_.i64(first + static_cast<int64_t>(e)), values[e]);
        });
      }
      return std::vector<ValueId>{};
    };
    em_.scoped([&] { b_.if_else(less(k0, c_.k), both, [] { return std::vector<ValueId>{}; }); });
  }

  /// From registers into shared memory.
  void put(const Shared& tile) {
    const int64_t pitch = tile.along_k == tile.memory_along_k ? tile.pitch : 1;
    ValueId base = -1;
    for_groups(tile, [&](ValueId near, ValueId far) { base = place_of(tile, near, far); }, [&](ValueId, int64_t step, int64_t first) {
      std::vector<ValueId> values;
      for (int64_t e = 0; e < tile.width; ++e) values.push_back(b_.load(tile.ahead, b_.i64(first + e)));
      keep(tile, b_.add(base, b_.i64(step * pitch)), values);
    });
  }

  ValueId masked(Expr factor, ValueId counts) {
    em_.set_mask(counts);
    const ValueId value = em_.emit(factor);
    em_.set_mask(-1);
    while (factor.node().kind == ExprKind::kCast) factor = {factor.pool, factor.node().args[0]};
    if (factor.node().kind == ExprKind::kLoad && !factor.node().guarded) return value;  // zero where the mask does not hold
    return b_.op(ScalarOp::kSelect, {counts, value, zero(b_.kernel().dtype(value))});
  }

  /// Neighbouring elements of a factor that is a load, with conversions; zeros where they do not count.
  std::vector<ValueId> several(Expr factor, int width, ValueId counts) {
    if (factor.node().kind == ExprKind::kCast) {
      std::vector<ValueId> values = several({factor.pool, factor.node().args[0]}, width, counts);
      for (ValueId& v : values) v = b_.cast(v, factor.dtype());
      return values;
    }
    const ValueId at = em_.emit({factor.pool, factor.node().args[0]});
    const auto load = [&] { return b_.load_wide(em_.buffer(factor.node().operand), at, width); };
    return b_.if_else(counts, load, [&] { return std::vector<ValueId>(static_cast<size_t>(width), zero(factor.dtype())); });
  }

  /// The band of rows from `first` on, as they are in shared memory.
  void finish(ValueId first) {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(t_.band * t_.tile_n), 1, [&](ValueId i) {
      const ValueId row = quotient(i, t_.tile_n), column = rest(i, t_.tile_n);
      const ValueId m = b_.add(b_.add(m0_, first), row), n = b_.add(n0_, column);
      const ValueId inside = b_.op(ScalarOp::kAnd, {less(m, c_.m), less(n, c_.n)});
      store_result(em_, c_, output_, output_index_, {m, n, b_.load(c_tile_, b_.add(b_.mul(row, b_.i64(c_pitch_)), column)), inside});
    });
  }

  const TiledContraction& t_;
  const Contraction& c_;
  Emitter& em_;
  kir::KernelBuilder& b_;
  int output_;
  int c_tile_ = -1, sums_ = -1;
  int64_t c_pitch_ = 0;
  ValueId m0_ = -1, n0_ = -1;
  std::vector<ValueId> output_index_;
};

}  // namespace

void emit_tiled_contraction(const TiledContraction& t, KernelWriter& writer, int output) { TileEmitter(t, writer, output).emit(); }

}  // namespace tenon::codegen
