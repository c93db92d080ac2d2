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

/// The updates: first `parallel` axes, along which all targets differ, then those that keep their order.
struct Updates {
  const Stage* stage;
  Expr value, store;  // the argument of `store` is the offset in the output
  std::vector<Dim> axes;
  size_t parallel = 0;

  std::vector<Dim> parallel_axes() const { return {axes.begin(), axes.begin() + static_cast<int64_t>(parallel)}; }
  Dim serial_trips() const { return ir::product(std::span(axes).subspan(parallel)); }
};

/// The axis that an index is, moved by a dim or not; -1: none.
int moved_axis(Expr e) {
  const ir::ExprNode& n = e.node();
  if (n.kind == ExprKind::kIndex) return n.axis;
  if (n.kind != ExprKind::kOp || n.op != ir::ScalarOp::kAdd) return -1;
  const ir::ExprNode &a = e.pool->node(n.args[0]), &b = e.pool->node(n.args[1]);
  const auto fixed = [](const ir::ExprNode& node) { return node.kind == ExprKind::kDim || node.kind == ExprKind::kConst; };
  return a.kind == ExprKind::kIndex && fixed(b) ? a.axis : b.kind == ExprKind::kIndex && fixed(a) ? b.axis : -1;
}

/// The axis by which an index moves from a place that other axes alone decide, of which all lead apart already; -1: none.
int moved_by_others(Expr e, const std::vector<bool>& apart, size_t first) {
  const ir::ExprNode& n = e.node();
  if (n.kind != ExprKind::kOp || n.op != ir::ScalarOp::kAdd) return -1;
  Expr index{e.pool, n.args[0]}, place{e.pool, n.args[1]};
  if (index.node().kind != ExprKind::kIndex) std::swap(index, place);
  if (index.node().kind != ExprKind::kIndex) return -1;
  for (size_t i = 0; i < apart.size(); ++i)
    if (!apart[i] && uses_axis(place, static_cast<int>(first + i))) return -1;
  return index.node().axis;
}

/// Axes of the updates that decide an index of the output each: what differs there goes to different elements.
std::vector<bool> leads_apart(const Stage& s) {
  std::vector<bool> apart(s.reduce_axes.size(), false);
  const size_t first = s.axes.size();
  for (Expr e : s.scatter->target)
    if (const int axis = moved_axis(e); axis >= 0) apart[static_cast<size_t>(axis) - first] = true;
  for (Expr e : s.scatter->target)
    if (const int axis = moved_by_others(e, apart, first); axis >= 0) apart[static_cast<size_t>(axis) - first] = true;
  return apart;
}

/// The operand that the output is before the updates, if these do not read it.
const ir::Value* updated_operand(const Lowering& lowering, const Stage& s) {
  const ir::ExprNode& load = s.scatter->init.node();
  if (load.kind != ExprKind::kLoad || load.guarded || load.operand >= kStageOperand) return nullptr;
  const Operand& operand = lowering.group.operands[static_cast<size_t>(load.operand)];
  if (operand.dtype != s.dtype || operand.shape != s.shape) return nullptr;
  int axis = 0;
  for (size_t i = 0; i < operand.shape.size(); ++i) {
    if (operand.shape[i].is_const(1)) continue;
    const ir::ExprNode& index = s.scatter->init.pool->node(load.args[i]);
    if (index.kind != ExprKind::kIndex || index.axis != axis++) return nullptr;
  }
  std::vector<int> read;
  collect_operands(s.value, read);
  for (Expr e : s.scatter->target) collect_operands(e, read);
  return std::find(read.begin(), read.end(), load.operand) == read.end() ? operand.value : nullptr;
}

Updates prepare(Lowering& lowering, int stage) {
  const Stage& s = lowering.stage(stage);
  ir::ExprPool& pool = *lowering.group.pool;
  Updates u{.stage = &s, .value = {}, .store = {}, .axes = {}};
  const std::vector<bool> apart = leads_apart(s);
  std::vector<int> number(s.reduce_axes.size());
  for (const bool wanted : {true, false}) {
    for (size_t i = 0; i < apart.size(); ++i) {
      if (apart[i] != wanted) continue;
      number[i] = static_cast<int>(u.axes.size());
      u.axes.push_back(s.reduce_axes[i]);
    }
    if (wanted) u.parallel = u.axes.size();
  }
  const auto shape_of = shapes(lowering);
  const auto flat = [&](Expr e) {
    const Expr renamed = pool.copy(e, [&](const ir::ExprNode& n, std::span<const Expr>) -> Expr {
      return n.kind == ExprKind::kIndex ? pool.index(number[static_cast<size_t>(n.axis) - s.axes.size()]) : Expr{};
    });
    return flatten_loads(renamed, u.axes, [&](int operand) { return operand == kStoreOperand ? &s.shape : shape_of(operand); });
  };
  u.value = flat(s.value);
  u.store = flat(pool.load(kStoreOperand, s.dtype, s.scatter->target));
  Expr* roots[] = {&u.value, &u.store};
  u.parallel = static_cast<size_t>(merge_axes(pool, roots, u.axes, static_cast<int>(u.parallel)));
  return u;
}

/// The updates from serial axis `axis` on, in order.
void update(KernelWriter& writer, const Updates& u, int stage, size_t axis) {
  Emitter& em = writer.emitter();
  kir::KernelBuilder& b = em.builder();
  const Stage& s = *u.stage;
  if (axis < u.axes.size()) {
    em.hoist(u.value);
    em.loop(LoopKind::kSerial, b.i64(0), em.dim(u.axes[axis]), 1, [&](ValueId iv) {
      em.bind(static_cast<int>(axis), iv);
      update(writer, u, stage, axis + 1);
    });
    return;
  }
  const int out = writer.output(stage);
  const ValueId offset = em.emit({&em.pool(), u.store.node().args[0]});
  ValueId value = em.emit(u.value);
  if (!s.scatter->replaces) {
    const ValueId old = b.cast(em.load_buffer(out, offset), s.acc_dtype);
    value = b.cast(b.op(combine_op(s.combiner), {old, value}), s.dtype);
  }
  em.store_buffer(out, offset, value);
}

Dim element_grid(KernelWriter& writer, const Updates& u, int stage) {
  Emitter& em = writer.emitter();
  const std::vector<Dim> parallel = u.parallel_axes();
  const std::vector<ValueId> index = em.unflatten(em.builder().grid_index(), parallel);
  for (size_t a = 0; a < parallel.size(); ++a) em.bind(static_cast<int>(a), index[a]);
  update(writer, u, stage, u.parallel);
  return ir::product(parallel);
}

Dim row_grid(KernelWriter& writer, const Updates& u, int stage, int lanes) {
  Emitter& em = writer.emitter();
  const std::vector<Dim> parallel = u.parallel_axes();
  if (parallel.empty()) {
    update(writer, u, stage, 0);
    return 1;
  }
  const size_t lane_axis = choose_lane_axis(parallel);
  const Dim trips = u.serial_trips();
  const int64_t one = evaluation_cost(u.value) * (trips.is_const() ? std::max<int64_t>(1, trips.value()) : 256);
  const int64_t block = std::max<int64_t>(1, kOperationsPerGridIndex / one / lanes) * lanes;
  return emit_row_grid(em, parallel, lane_axis, block, [&](std::span<ValueId>, ValueId lo, ValueId hi) {
    em.hoist(u.value);
    em.loop(LoopKind::kVector, lo, hi, 1, [&](ValueId iv) {
      em.bind(static_cast<int>(lane_axis), iv);
      update(writer, u, stage, u.parallel);
    });
  });
}

/// What the output holds before the updates.
Status initialise(Lowering& lowering, int stage) {
  const BindingRef memory = lowering.storage(kStageOperand + stage);
  const auto init = static_cast<int>(lowering.group.stages.size());
  Stage s = lowering.stage(stage);
  s.value = s.scatter->init;
  s.reduce_axes.clear();
  s.scatter.reset();
  lowering.group.stages.push_back(std::move(s));
  if (const int* temporary = std::get_if<int>(&memory)) {
    lowering.temporary_of.resize(lowering.group.stages.size(), -1);
    lowering.temporary_of.back() = *temporary;
  }
  return schedule_map(lowering, std::span<const int>(&init, 1));
}

}  // namespace

Status schedule_scatter(Lowering& lowering, int stage) {
  const bool alone = lowering.group.stages.size() == 1;
  const ir::Value* updated = alone ? updated_operand(lowering, lowering.stage(stage)) : nullptr;
  TENON_RETURN_IF_ERROR(initialise(lowering, stage));
  lowering.out.updated = updated;
  lowering.out.first_update = lowering.out.kernels.size();
  const Updates u = prepare(lowering, stage);
  lowering.out.updates = ir::product(u.axes);
  const Expr reads[] = {u.value, {u.store.pool, u.store.node().args[0]}};
  KernelWriter writer(lowering, "scatter", reads, std::span<const int>(&stage, 1));
  const Dim grid = lowering.gpu() ? element_grid(writer, u, stage)
                                  : row_grid(writer, u, stage, lowering.target.lanes(std::max(bits(u.stage->dtype), 32)));
  writer.finish(grid, ir::product(u.axes) * (evaluation_cost(u.value) + evaluation_cost(u.store)));
  return {};
}

}  // namespace tenon::codegen
