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

  /// Where the elements of group i are along K and across.
  std::pair<ValueId, ValueId> group_at(const Shared& tile, ValueId i) {
    const int64_t line = (tile.memory_along_k ? t_.tile_k : tile.side) / tile.width;
    const ValueId near = b_.mul(rest(i, line), b_.i64(tile.width)), far = quotient(i, line);
    return tile.memory_along_k ? std::pair(near, far) : std::pair(far, near);
  }

  /// Group i of the tile's elements from k0 on, zeros beyond the edges.
  std::vector<ValueId> fetch(const Shared& tile, ValueId k0, ValueId i) {
    const auto [k, x] = group_at(tile, i);
    const ValueId place = b_.add(tile.first, x), depth = b_.add(k0, k);
    const ValueId counts = b_.op(ScalarOp::kAnd, {inside(place, tile.extent, tile.side), inside(depth, c_.k, t_.tile_k)});
    em_.bind(tile.axis, place);
    em_.bind(c_.k_axis, depth);
    return tile.width == 1 ? std::vector{masked(tile.factor, counts)} : several(tile.factor, tile.width, counts);
  }

  void keep(const Shared& tile, ValueId i, std::span<const ValueId> values) {
    const auto [k, x] = group_at(tile, i);
    const ValueId at = tile.along_k ? b_.add(b_.mul(x, b_.i64(tile.pitch)), k) : b_.add(b_.mul(k, b_.i64(tile.pitch)), x);
    if (tile.along_k == tile.memory_along_k) return b_.store_wide(tile.buffer, at, values);
    for (size_t e = 0; e < values.size(); ++e) b_.store(tile.buffer, b_.add(at, b_.i64(static_cast<int64_t>(e) * tile.pitch)), values[e]);
  }

  void bring(const Shared& tile, ValueId k0) {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(tile.groups(t_.tile_k)), 1, [&](ValueId i) { keep(tile, i, fetch(tile, k0, i)); });
  }

  /// body(group, its first element among those that the lane holds), for all groups of a lane.
  void for_groups(const Shared& tile, const std::function<void(ValueId, int64_t)>& body) {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(t_.lanes), 1, [&](ValueId lane) {
      for (int64_t g = 0; g < tile.groups(t_.tile_k) / t_.lanes; ++g)
        em_.scoped([&] { body(b_.add(lane, b_.i64(g * t_.lanes)), g * tile.width); });
    });
  }

  /// Both factors from k0 on, into registers, if there are any.
  void ask(const Shared& a, const Shared& b, ValueId k0) {
    const auto both = [&] {
      for (const Shared* tile : {&a, &b})
        for_groups(*tile, [&](ValueId i, int64_t first) {
          const std::vector<ValueId> values = fetch(*tile, k0, i);
          for (size_t e = 0; e < values.size(); ++e) b_.store(tile->ahead, b_.i64(first + static_cast<int64_t>(e)), values[e]);
        });
      return std::vector<ValueId>{};
    };
    em_.scoped([&] { b_.if_else(less(k0, c_.k), both, [] { return std::vector<ValueId>{}; }); });
  }

  /// From registers into shared memory.
  void put(const Shared& tile) {
    for_groups(tile, [&](ValueId i, int64_t first) {
      std::vector<ValueId> values;
      for (int64_t e = 0; e < tile.width; ++e) values.push_back(b_.load(tile.ahead, b_.i64(first + e)));
      keep(tile, i, values);
    });
  }

  ValueId masked(Expr factor, ValueId counts) {
    em_.set_mask(counts);
    const ValueId value = em_.emit(factor);
    em_.set_mask(-1);
    return b_.op(ScalarOp::kSelect, {counts, value, zero(factor.dtype())});
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
