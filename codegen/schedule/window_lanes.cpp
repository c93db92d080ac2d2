#include "codegen/schedule/window_lanes.h"

#include <algorithm>
#include <optional>

#include "codegen/lower/guards.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ExprPool;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

namespace {

constexpr int64_t kMostTaps = 16;
constexpr int64_t kMostColumns = 8;
constexpr int64_t kMostTileCost = 1000;     // operations in the code of one tile
constexpr int64_t kInvocations = 256;       // in place of a workgroup, for latencies to hide behind one another

/// The coefficients of two axes in the offset of a load.
struct Slide {
  Dim stride, dilation;
};

/// Of every load that walks both axes, at most one pair.
std::optional<Slide> slide_of(const Window& w, int axis, int tap) {
  ExprPool& pool = *w.value.pool;
  IndexAlgebra algebra(pool, w.axes);
  std::optional<Slide> found;
  std::vector<int> offsets;
  visit(w.value, [&](int, const ExprNode& n) {
    if (n.kind == ExprKind::kLoad) offsets.push_back(n.args[0]);
  });
  for (int id : offsets) {
    const Affine offset = algebra.affine({&pool, id});
    const Dim* stride = offset.coefficient_of(pool.index(axis).id);
    const Dim* dilation = offset.coefficient_of(pool.index(tap).id);
    if (stride == nullptr || dilation == nullptr) continue;
    if (found && (*stride != found->stride || *dilation != found->dilation)) return std::nullopt;
    found = Slide{*stride, *dilation};
  }
  return found;
}

/// Windows of neighbours meet. Both are the same number of rows' lengths, which may not be known.
bool overlaps(const Slide& s, int64_t taps) {
  if (s.stride.is_const() && s.dilation.is_const()) return s.dilation.value() >= 1 && s.stride.value() < s.dilation.value() * taps;
  const std::optional<Dim> strides = ir::exact_div(s.stride, s.dilation), dilations = ir::exact_div(s.dilation, s.stride);
  if (strides && strides->is_const()) return strides->value() >= 1 && strides->value() < taps;
  return dilations && dilations->is_const() && dilations->value() >= 1;
}

bool loads_by_data(const Window& w) {
  bool found = false;
  visit(w.value, [&](int, const ExprNode& n) { found |= n.kind == ExprKind::kCheckedIndex; });
  return found;
}

/// As many columns as registers and the code's size allow, none of which are computed twice where the extent has such a divisor, as long as
/// the device has enough to do.
int64_t choose_count(const WindowLanes& t, const Target& target) {
  const int64_t columns = t.w.extent(t.columns).value(), taps = t.w.extent(t.tap).value();
  const int64_t fits = kMostTileCost / std::max<int64_t>(1, evaluation_cost(t.w.value) * taps);
  int64_t most = std::min({columns, kMostColumns, fits, int64_t{target.lane_sums} / 4});
  const int64_t elements = product_of_constants(t.w.outer_axes());
  const int64_t busy = target.busy_workgroups * kInvocations;
  most = std::min(most, elements / std::max<int64_t>(1, busy));
  for (int64_t count = most; count > most / 2 && count > 1; --count)
    if (columns % count == 0) return count;
  return most;
}

Result<WindowLanes> plan(Lowering& lowering, int stage) {
  WindowLanes t{.w = prepare_window(lowering, stage)};
  const Window& w = t.w;
  if (w.stage.is_arg()) return error(Code::kUnsupported, "the position of a value");
  if (loads_by_data(w)) return error(Code::kUnsupported, "indices that are data");
  const auto known = [&](int axis) { return w.extent(axis).is_const() && w.extent(axis).value() > 1; };
  for (int axis = static_cast<int>(w.outer) - 2; axis >= 0 && t.columns < 0; --axis)
    for (int tap = static_cast<int>(w.axes.size()) - 1; tap >= static_cast<int>(w.outer); --tap) {
      if (!known(axis) || !known(tap) || w.extent(tap).value() > kMostTaps) continue;
      const std::optional<Slide> slide = slide_of(w, axis, tap);
      if (!slide || !overlaps(*slide, w.extent(tap).value())) continue;
      t.columns = axis;
      t.tap = tap;
      break;
    }
  if (t.columns < 0) return error(Code::kUnsupported, "nothing slides");
  t.count = choose_count(t, lowering.target);
  if (t.count < 2) return error(Code::kUnsupported, "too few elements for several an invocation");
  return t;
}

class WindowLanesEmitter {
 public:
  WindowLanesEmitter(const WindowLanes& t, KernelWriter& writer, int output)
      : t_(t), w_(t.w), em_(writer.emitter()), b_(writer.builder()), output_(output), algebra_(em_.pool(), t.w.axes) {}

  Dim emit() {
    const Dim grid = bind_grid();
    place_all();
    const DType dtype = w_.stage.acc_dtype;
    const std::vector<ValueId> identity(static_cast<size_t>(t_.count), constant(b_, dtype, ir::identity(w_.stage.combiner, dtype)));
    const std::vector<ValueId> sums = reduce(static_cast<int>(w_.outer), identity);
    for (size_t j = 0; j < sums.size(); ++j) store(j, sums[j]);
    return grid;
  }

 private:
  /// The columns' axis has tiles, all others their elements; the last axis is innermost. Binds the columns' axis to a tile's first one.
  Dim bind_grid() {
    std::vector<Dim> grid = w_.outer_axes();
    const int64_t columns = w_.extent(t_.columns).value();
    grid[static_cast<size_t>(t_.columns)] = (columns + t_.count - 1) / t_.count;
    index_ = em_.unflatten(b_.grid_index(), grid);
    ValueId& column = index_[static_cast<size_t>(t_.columns)];
    own_ = b_.mul(column, b_.i64(t_.count));
    column = columns % t_.count == 0 ? own_ : b_.op(ScalarOp::kMin, {own_, b_.i64(columns - t_.count)});
    for (size_t a = 0; a < index_.size(); ++a) em_.bind(static_cast<int>(a), index_[a]);
    return ir::product(grid);
  }

  /// values_[column][tap], in forms that are one expression where they are equal.
  void place_all() {
    const int64_t taps = w_.extent(t_.tap).value();
    for (int64_t j = 0; j < t_.count; ++j) {
      std::vector<Expr> values;
      for (int64_t tap = 0; tap < taps; ++tap) values.push_back(place(w_.value, j, tap));
      values_.push_back(std::move(values));
      posts_.push_back(place(w_.post, j, std::nullopt));
    }
  }

  Expr place(Expr e, int64_t j, std::optional<int64_t> tap) {
    ExprPool& pool = em_.pool();
    const Expr placed = pool.copy(e, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
      if (n.kind != ExprKind::kIndex) return {};
      if (n.axis == t_.columns) return pool.index(n.axis) + static_cast<double>(j);
      return n.axis == t_.tap && tap ? pool.constant_int(DType::kI64, *tap) : Expr{};
    });
    return pool.copy(algebra_.simplify(placed), [&](const ExprNode& n, std::span<const Expr> args) -> Expr {
      return n.kind == ExprKind::kLoad && n.guarded ? pool.load_guarded(n.operand, n.dtype, args.first(1), one_form(args[1]), args[2]) : Expr{};
    });
  }

  /// Comparisons as sums that are not negative, so that x + 1 < y and x < y - 1 are one.
  Expr one_form(Expr guard) {
    ExprPool& pool = em_.pool();
    const auto parts = conjuncts(pool, guard.id);
    if (!parts) return guard;
    Expr all;
    for (int id : *parts) {
      const std::optional<Affine> sum = at_least_zero(algebra_, pool, id);
      const Expr part = sum ? algebra_.expr(*sum) >= pool.constant_int(DType::kI64, 0) : Expr{&pool, id};
      all = all.valid() ? all && part : part;
    }
    return all;
  }

  /// The reduce axes from `axis` on, then the taps.
  std::vector<ValueId> reduce(int axis, std::span<const ValueId> sums) {
    if (axis == t_.tap) ++axis;
    if (static_cast<size_t>(axis) >= w_.axes.size()) return taps(sums);
    for (const std::vector<Expr>& values : values_)
      for (Expr e : values) em_.hoist(e);
    return em_.loop(LoopKind::kSerial, b_.i64(0), em_.dim(w_.extent(axis)), 1, sums, [&](ValueId iv, std::span<const ValueId> inner) {
      em_.bind(axis, iv);
      return reduce(axis + 1, inner);
    });
  }

  std::vector<ValueId> taps(std::span<const ValueId> sums) {
    std::vector<ValueId> out(sums.begin(), sums.end());
    for (size_t tap = 0; tap < values_[0].size(); ++tap)
      for (size_t j = 0; j < out.size(); ++j) out[j] = accumulate(em_, w_, out[j], values_[j][tap]);
    return out;
  }

  void store(size_t j, ValueId sum) {
    em_.scoped([&] {
      std::vector<ValueId> index = index_;
      ValueId& column = index[static_cast<size_t>(t_.columns)];
      const bool whole = w_.extent(t_.columns).value() % t_.count == 0;
      column = b_.add(column, b_.i64(static_cast<int64_t>(j)));
      // The tile before has what the last one computes again.
      const ValueId own = whole ? -1 : b_.op(ScalarOp::kGe, {column, own_});
      em_.bind_acc(sum);
      const ValueId value = em_.emit(posts_[j]);
      em_.set_mask(own);
      em_.store_buffer(output_, row_major_offset(em_, w_.outer_axes(), index, w_.outer - 1), value);
      em_.set_mask(-1);
    });
  }

  const WindowLanes& t_;
  const Window& w_;
  Emitter& em_;
  kir::KernelBuilder& b_;
  int output_;
  IndexAlgebra algebra_;
  std::vector<ValueId> index_;
  ValueId own_ = -1;  // the first column that the tile stores
  std::vector<std::vector<Expr>> values_;
  std::vector<Expr> posts_;
};

}  // namespace

Status schedule_window_lanes(Lowering& lowering, int stage) {
  TENON_ASSIGN_OR_RETURN(const WindowLanes t, plan(lowering, stage));
  const Expr reads[] = {t.w.value, t.w.post};
  KernelWriter writer(lowering, "window", reads, std::span<const int>(&stage, 1));
  const Dim grid = WindowLanesEmitter(t, writer, writer.output(stage)).emit();
  writer.finish(grid, ir::product(t.w.outer_axes()) * (t.w.trips() * evaluation_cost(t.w.value) + evaluation_cost(t.w.post)));
  lowering.out.implementation = fmt::format("window of {} columns", t.count);
  return {};
}

}  // namespace tenon::codegen
