#include <algorithm>

#include "codegen/schedule/window_lanes.h"

namespace tenon::codegen {

using ir::Combiner;
using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

namespace {

constexpr int64_t kUnrollTrips = 8;
constexpr int64_t kWorthLanes = 32;
constexpr int64_t kShortSum = 16;        // from here on the latency of additions counts: several vectors at once
constexpr int64_t kFewElements = 4;
constexpr int64_t kOperationsPerGridIndex = 64 << 10;
constexpr int64_t kWorthScattering = 8;  // trips of a sum: elements that lie apart are loaded in each, and stored once

/// The loops over the reduce axes.
struct Loops : Window {
  std::vector<size_t> order;  // from the outermost loop to the innermost
  bool lanes_inside = false;  // the innermost one runs in lanes, which combine
};

Loops prepare(Lowering& lowering, int stage) {
  Loops w{prepare_window(lowering, stage), {}, false};
  for (size_t a = w.outer; a < w.axes.size(); ++a) w.order.push_back(a);
  return w;
}

/// (best, position) after seeing `v` at flat position `at`.
std::vector<ValueId> arg_step(kir::KernelBuilder& b, const Stage& s, std::span<const ValueId> best, ValueId v, ValueId at) {
  const bool max = s.combiner == Combiner::kArgMax || s.combiner == Combiner::kArgMaxLast;
  const bool last = s.combiner == Combiner::kArgMinLast || s.combiner == Combiner::kArgMaxLast;
  const ScalarOp compare = max ? (last ? ScalarOp::kGe : ScalarOp::kGt) : (last ? ScalarOp::kLe : ScalarOp::kLt);
  ValueId take = b.op(compare, {v, best[0]});
  if (is_float(s.acc_dtype)) {
    ValueId nan = b.op(ScalarOp::kIsNan, {v});
    if (!last) nan = b.op(ScalarOp::kAnd, {nan, b.op(ScalarOp::kNot, {b.op(ScalarOp::kIsNan, {best[0]})})});
    take = b.op(ScalarOp::kOr, {take, nan});
  }
  return {b.op(ScalarOp::kSelect, {take, v, best[0]}), b.op(ScalarOp::kSelect, {take, at, best[1]})};
}

std::vector<ValueId> step(Emitter& em, const Loops& w, std::span<const ValueId> carried, std::span<const ValueId> reduce_index) {
  kir::KernelBuilder& b = em.builder();
  if (w.stage.is_arg()) {
    const std::vector<Dim> extents(w.axes.begin() + static_cast<int64_t>(w.outer), w.axes.end());
    return arg_step(b, w.stage, carried, em.emit(w.value), row_major_offset(em, extents, reduce_index, extents.size() - 1));
  }
  return {accumulate(em, w, carried[0], w.value)};
}

/// Few output elements, many each: the reduce axis that memory runs along goes into lanes. The position of an arg reduction
/// depends on the order, so it keeps it.
void choose_lanes_inside(ir::ExprPool& pool, Loops& w) {
  if (w.stage.is_arg()) return;
  IndexAlgebra algebra(pool, w.axes);
  std::vector<int> offsets;
  visit(w.value, [&](int, const ir::ExprNode& n) {
    if (n.kind == ExprKind::kLoad) offsets.push_back(n.args[0]);
  });
  const auto is_run = [&](size_t axis) {
    const Dim extent = w.axes[axis];
    if (extent.is_const() ? extent.value() < kWorthLanes : w.outer > 0) return false;
    return std::any_of(offsets.begin(), offsets.end(), [&](int id) {
      const Affine offset = algebra.affine({&pool, id});
      return std::any_of(offset.terms.begin(), offset.terms.end(), [&](const Affine::Term& t) {
        const ir::ExprNode& atom = pool.node(t.atom);
        return atom.kind == ExprKind::kIndex && static_cast<size_t>(atom.axis) == axis && t.coefficient.is_const(1);
      });
    });
  };
  const auto run = std::find_if(w.order.rbegin(), w.order.rend(), is_run);
  if (run == w.order.rend()) return;
  w.lanes_inside = true;
  std::rotate(std::prev(run.base()), run.base(), w.order.end());
}

/// The output axis in lanes: the innermost one, or, where lanes along it visit memory far apart and sums are not short, another one along
/// which no load does. A convolution whose result is transposed is read along pixels, whatever it is stored along.
size_t choose_lanes(ir::ExprPool& pool, const Loops& w, const std::vector<Dim>& outer, int natural) {
  const size_t usual = choose_lane_axis(outer);
  const Dim trips = w.trips();
  if (trips.is_const() && trips.value() < kWorthScattering) return usual;
  IndexAlgebra algebra(pool, w.axes);
  std::vector<int> offsets;
  visit(w.value, [&](int, const ir::ExprNode& n) {
    if (n.kind == ExprKind::kLoad) offsets.push_back(n.args[0]);
  });
  const auto apart = [&](size_t axis) {
    const int index = pool.index(static_cast<int>(axis)).id;
    return std::any_of(offsets.begin(), offsets.end(), [&](int id) {
      const Affine offset = algebra.affine({&pool, id});
      return std::any_of(offset.terms.begin(), offset.terms.end(), [&](const Affine::Term& t) {
        if (t.atom != index) return uses_axis({&pool, t.atom}, static_cast<int>(axis));
        return !t.coefficient.is_const() || t.coefficient.value() < 0 || t.coefficient.value() > 2;
      });
    });
  };
  if (!apart(usual)) return usual;
  for (size_t axis = outer.size(); axis-- > 0;) {
    const bool fills = !outer[axis].is_const() || outer[axis].value() >= natural;
    if (fills && !apart(axis)) return axis;
  }
  return usual;
}

/// Loops over the reduce axes from the one at `depth` on; returns the carried values.
std::vector<ValueId> reduce(Emitter& em, const Loops& w, size_t depth, std::span<const ValueId> carried,
                            std::vector<ValueId>& reduce_index) {
  if (depth == w.order.size()) return step(em, w, carried, reduce_index);
  const size_t axis = w.order[depth];
  const Dim extent = w.axes[axis];
  const bool innermost = depth + 1 == w.order.size(), lanes = innermost && w.lanes_inside;
  const bool unroll = extent.is_const() && extent.value() <= kUnrollTrips && innermost;
  std::vector<Combiner> combiners;
  if (lanes) combiners.push_back(w.stage.combiner);
  em.hoist(w.value);
  return em.loop(lanes ? LoopKind::kVector : unroll ? LoopKind::kUnroll : LoopKind::kSerial, em.builder().i64(0), em.dim(extent), 1, carried,
                 [&](ValueId iv, std::span<const ValueId> inner) {
                   em.bind(static_cast<int>(axis), iv);
                   reduce_index.push_back(iv);
                   std::vector<ValueId> yields = reduce(em, w, depth + 1, inner, reduce_index);
                   reduce_index.pop_back();
                   return yields;
                 }, combiners);
}

/// The finished element for the outer axes that are bound.
ValueId element(Emitter& em, const Loops& w) {
  kir::KernelBuilder& b = em.builder();
  std::vector<ValueId> inits{constant(b, w.stage.acc_dtype, ir::identity(w.stage.combiner, w.stage.acc_dtype))};
  if (w.stage.is_arg()) inits.push_back(b.i64(0));
  std::vector<ValueId> reduce_index;
  const std::vector<ValueId> result = reduce(em, w, 0, inits, reduce_index);
  em.bind_acc(result.back());
  return em.emit(w.post);
}

Dim element_grid(KernelWriter& writer, const Loops& w, int stage) {
  Emitter& em = writer.emitter();
  const std::vector<Dim> outer = w.outer_axes();
  const std::vector<ValueId> index = em.unflatten(em.builder().grid_index(), outer);
  for (size_t a = 0; a < outer.size(); ++a) em.bind(static_cast<int>(a), index[a]);
  em.store_buffer(writer.output(stage), em.builder().grid_index(), element(em, w));
  return ir::product(outer);
}

Dim row_grid(KernelWriter& writer, Loops& w, int stage, const Target& target, int64_t cost) {
  Emitter& em = writer.emitter();
  std::vector<Dim> outer = w.outer_axes();
  const bool scalar = outer.empty();
  if (scalar) outer.push_back(1);
  const int natural = target.lanes(std::max(bits(w.stage.acc_dtype), 32));
  const size_t lane_axis = scalar ? 0 : choose_lanes(em.pool(), w, outer, natural);
  const Dim trips = w.trips();
  const bool long_sum = !trips.is_const() || trips.value() > kShortSum;
  if (!outer[lane_axis].is_const() || outer[lane_axis].value() <= kFewElements) choose_lanes_inside(em.pool(), w);
  const bool serial = scalar || w.lanes_inside;
  const bool wide = !serial && long_sum && (!outer[lane_axis].is_const() || outer[lane_axis].value() >= natural * 4);
  const int width = wide ? natural * 4 : 0;
  const int64_t one = std::max<int64_t>(1, cost * (trips.is_const() ? std::max<int64_t>(1, trips.value()) : 256));
  const int64_t unit = natural * 4;
  const int64_t block = std::max<int64_t>(1, kOperationsPerGridIndex / one / unit) * unit;
  return emit_row_grid(em, outer, lane_axis, block, [&](std::span<ValueId> index, ValueId lo, ValueId hi) {
    em.hoist(w.value);
    em.loop(serial ? LoopKind::kSerial : LoopKind::kVector, lo, hi, 1, [&](ValueId iv) {
      if (!scalar) em.bind(static_cast<int>(lane_axis), iv);
      index[lane_axis] = iv;
      const ValueId value = element(em, w);
      em.store_buffer(writer.output(stage), row_major_offset(em, outer, index, lane_axis), value);
    }, width);
  });
}

}  // namespace

Window prepare_window(Lowering& lowering, int stage) {
  Window w{.stage = lowering.stage(stage)};
  w.axes = w.stage.all_axes();
  w.outer = w.stage.axes.size();
  w.value = flatten_loads(w.stage.value, w.axes, shapes(lowering));
  w.post = flatten_loads(w.stage.post, w.axes, shapes(lowering));
  Expr* roots[] = {&w.value, &w.post};
  w.outer = static_cast<size_t>(merge_axes(*lowering.group.pool, roots, w.axes, static_cast<int>(w.outer)));
  const ir::ExprNode& root = w.value.node();
  w.fma = lowering.target.has_fma && w.stage.combiner == Combiner::kAdd && root.kind == ExprKind::kOp &&
          root.op == ScalarOp::kMul && (root.dtype == DType::kF32 || root.dtype == DType::kF64);
  return w;
}

ValueId accumulate(Emitter& em, const Window& w, ValueId acc, Expr value) {
  const ir::ExprNode root = value.node();
  if (!w.fma || root.kind != ExprKind::kOp || root.op != ScalarOp::kMul) return em.builder().op(combine_op(w.stage.combiner), {acc, em.emit(value)});
  const ValueId x = em.emit({&em.pool(), root.args[0]}), y = em.emit({&em.pool(), root.args[1]});
  return em.builder().op(ScalarOp::kFma, {x, y, acc});
}

Status schedule_window(Lowering& lowering, int stage) {
  const Status tiled = lowering.gpu() ? schedule_window_lanes(lowering, stage) : schedule_window_tile(lowering, stage);
  if (tiled.ok() || tiled.code() != Code::kUnsupported) return tiled;
  lowering.out.refused.push_back((lowering.gpu() ? "window lanes: " : "window tile: ") + tiled.what());
  Loops w = prepare(lowering, stage);
  const int64_t cost = evaluation_cost(w.value);
  const Expr reads[] = {w.value, w.post};
  KernelWriter writer(lowering, "window", reads, std::span<const int>(&stage, 1));
  const Dim grid = lowering.gpu() ? element_grid(writer, w, stage) : row_grid(writer, w, stage, lowering.target, cost);
  writer.finish(grid, ir::product(w.outer_axes()) * (w.trips() * cost + evaluation_cost(w.post)));
  return {};
}

}  // namespace tenon::codegen
