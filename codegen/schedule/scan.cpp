#include <algorithm>

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using kir::LoopKind;
using kir::ValueId;

namespace {

constexpr int kStoreOperand = kStageOperand - 128;  // stands for the output in the expression of its offset
constexpr int64_t kOperationsPerGridIndex = 64 << 10;

/// A scan with its own axis last and the others merged.
struct Sweep {
  const Stage* stage;
  Expr value, store;  // the argument of `store` is the offset in the output
  std::vector<Dim> axes;
  bool lanes = false;  // memory runs along another axis than the scan

  std::vector<Dim> outer() const { return {axes.begin(), axes.end() - 1}; }
  Dim extent() const { return axes.back(); }
};

Sweep prepare(Lowering& lowering, int stage) {
  const Stage& s = lowering.stage(stage);
  ir::ExprPool& pool = *lowering.group.pool;
  const auto along = static_cast<size_t>(s.scan->axis);
  Sweep sweep{.stage = &s, .value = {}, .store = {}, .axes = s.axes};
  std::rotate(sweep.axes.begin() + static_cast<int64_t>(along), sweep.axes.begin() + static_cast<int64_t>(along) + 1, sweep.axes.end());
  sweep.lanes = along + 1 < s.axes.size();
  const int last = static_cast<int>(s.axes.size()) - 1;
  const auto moved = [&](Expr e) {
    return pool.copy(e, [&](const ir::ExprNode& n, std::span<const Expr>) -> Expr {
      if (n.kind != ExprKind::kIndex || n.axis < static_cast<int>(along)) return {};
      return pool.index(n.axis == static_cast<int>(along) ? last : n.axis - 1);
    });
  };
  std::vector<Expr> index;
  for (size_t a = 0; a < s.axes.size(); ++a) index.push_back(pool.index(static_cast<int>(a)));
  const auto shape_of = shapes(lowering);
  const auto flat = [&](Expr e) {
    return flatten_loads(moved(e), sweep.axes, [&](int operand) { return operand == kStoreOperand ? &s.axes : shape_of(operand); });
  };
  sweep.value = flat(s.value);
  sweep.store = flat(pool.load(kStoreOperand, s.dtype, index));
  Expr* roots[] = {&sweep.value, &sweep.store};
  merge_axes(pool, roots, sweep.axes, last);
  return sweep;
}

/// The whole axis for the outer indices that are bound.
void run_along(KernelWriter& writer, const Sweep& sweep, int stage) {
  Emitter& em = writer.emitter();
  kir::KernelBuilder& b = em.builder();
  const Stage& s = *sweep.stage;
  const int axis = static_cast<int>(sweep.axes.size()) - 1;
  const ValueId extent = em.dim(sweep.extent());
  const ValueId inits[] = {constant(b, s.acc_dtype, ir::identity(s.combiner, s.acc_dtype))};
  em.hoist(sweep.value);
  em.loop(LoopKind::kSerial, b.i64(0), extent, 1, inits, [&](ValueId iv, std::span<const ValueId> carried) {
    em.bind(axis, s.scan->reverse ? b.sub(b.sub(extent, b.i64(1)), iv) : iv);
    const ValueId next = b.op(combine_op(s.combiner), {carried[0], em.emit(sweep.value)});
    em.store_buffer(writer.output(stage), em.emit({&em.pool(), sweep.store.node().args[0]}),
                    b.cast(s.scan->exclusive ? carried[0] : next, s.dtype));
    return std::vector<ValueId>{next};
  });
}

Dim element_grid(KernelWriter& writer, const Sweep& sweep, int stage) {
  Emitter& em = writer.emitter();
  const std::vector<Dim> outer = sweep.outer();
  const std::vector<ValueId> index = em.unflatten(em.builder().grid_index(), outer);
  for (size_t a = 0; a < outer.size(); ++a) em.bind(static_cast<int>(a), index[a]);
  run_along(writer, sweep, stage);
  return ir::product(outer);
}

Dim row_grid(KernelWriter& writer, const Sweep& sweep, int stage, int lanes) {
  Emitter& em = writer.emitter();
  const std::vector<Dim> outer = sweep.outer();
  if (outer.empty()) {
    run_along(writer, sweep, stage);
    return 1;
  }
  const size_t lane_axis = outer.size() - 1;
  const Dim trips = sweep.extent();
  const int64_t one = evaluation_cost(sweep.value) * (trips.is_const() ? std::max<int64_t>(1, trips.value()) : 256);
  const int64_t block = std::max<int64_t>(1, kOperationsPerGridIndex / one / lanes) * lanes;
  return emit_row_grid(em, outer, lane_axis, block, [&](std::span<ValueId>, ValueId lo, ValueId hi) {
    em.hoist(sweep.value);
    em.loop(sweep.lanes ? LoopKind::kVector : LoopKind::kSerial, lo, hi, 1, [&](ValueId iv) {
      em.bind(static_cast<int>(lane_axis), iv);
      run_along(writer, sweep, stage);
    });
  });
}

}  // namespace

Status schedule_scan(Lowering& lowering, int stage) {
  const Sweep sweep = prepare(lowering, stage);
  const Expr reads[] = {sweep.value};
  KernelWriter writer(lowering, "scan", reads, std::span<const int>(&stage, 1));
  const Dim grid = lowering.gpu() ? element_grid(writer, sweep, stage)
                                  : row_grid(writer, sweep, stage, lowering.target.lanes(std::max(bits(sweep.stage->acc_dtype), 32)));
  writer.finish(grid, ir::product(sweep.axes) * (evaluation_cost(sweep.value) + 2));
  return {};
}

}  // namespace tenon::codegen
