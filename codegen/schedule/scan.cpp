#include <algorithm>
#include <bit>

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
constexpr int64_t kLanes = 128, kElements = 8;  // of a workgroup, of each of its lanes
constexpr int64_t kShortRow = 64, kFewRows = 1024;

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

/// A workgroup for each row, a tile of it at a time: each lane sums up its own elements, the lanes' totals are summed up in log2(lanes)
/// steps (Hillis and Steele, "Data parallel algorithms", 1986), and each element is stored with what comes before its lane.
class TileEmitter {
 public:
  TileEmitter(KernelWriter& writer, const Sweep& sweep, int stage, int64_t lanes)
      : sweep_(sweep), s_(*sweep.stage), em_(writer.emitter()), b_(writer.builder()), output_(writer.output(stage)), lanes_(lanes) {}

  Dim emit() {
    b_.kernel().lanes = static_cast<int>(lanes_);
    tile_ = b_.add_local("tile", s_.acc_dtype, lanes_ * kElements);
    for (int& totals : totals_) totals = b_.add_local("totals", s_.acc_dtype, lanes_);
    const std::vector<Dim> outer = sweep_.outer();
    const std::vector<ValueId> index = em_.unflatten(b_.grid_index(), outer);
    for (size_t a = 0; a < outer.size(); ++a) em_.bind(static_cast<int>(a), index[a]);
    identity_ = constant(b_, s_.acc_dtype, ir::identity(s_.combiner, s_.acc_dtype));
    em_.loop(LoopKind::kSerial, b_.i64(0), em_.dim(sweep_.extent()), lanes_ * kElements, std::span(&identity_, 1),
             [&](ValueId first, std::span<const ValueId> before) {
      bring(first);
      sum_lanes();
      const int totals = sum_totals();
      store(first, before[0], totals);
      return std::vector<ValueId>{combine(before[0], b_.load(totals, b_.i64(lanes_ - 1)))};
    });
    return ir::product(outer);
  }

 private:
  ValueId combine(ValueId x, ValueId y) { return b_.op(combine_op(s_.combiner), {x, y}); }
  ValueId less(ValueId x, ValueId y) { return b_.op(ir::ScalarOp::kLt, {x, y}); }
  ValueId bind_place(ValueId place) {
    const ValueId extent = em_.dim(sweep_.extent());
    em_.bind(static_cast<int>(sweep_.axes.size()) - 1, s_.scan->reverse ? b_.sub(b_.sub(extent, b_.i64(1)), place) : place);
    return less(place, extent);
  }

  void bring(ValueId first) {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(lanes_ * kElements), 1, [&](ValueId i) {
      const ValueId inside = bind_place(b_.add(first, i));
      em_.set_mask(inside);
      const ValueId value = em_.emit(sweep_.value);
      em_.set_mask(-1);
      b_.store(tile_, i, b_.op(ir::ScalarOp::kSelect, {inside, value, identity_}));
    });
  }

  void sum_lanes() {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(lanes_), 1, [&](ValueId lane) {
      const ValueId base = b_.mul(lane, b_.i64(kElements));
      const ValueId total = em_.loop(LoopKind::kSerial, b_.i64(0), b_.i64(kElements), 1, std::span(&identity_, 1), [&](ValueId j, std::span<const ValueId> sum) {
        const ValueId at = b_.add(base, j), next = combine(sum[0], b_.load(tile_, at));
        b_.store(tile_, at, next);
        return std::vector<ValueId>{next};
      })[0];
      b_.store(totals_[0], lane, total);
    });
  }

  /// The buffer that has the sums of totals.
  int sum_totals() {
    int from = totals_[0], to = totals_[1];
    for (int64_t distance = 1; distance < lanes_; distance *= 2) {
      em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(lanes_), 1, [&](ValueId lane) {
        b_.store(to, lane, combine(earlier(from, lane, distance), b_.load(from, lane)));
      });
      std::swap(from, to);
    }
    return from;
  }

  ValueId earlier(int totals, ValueId lane, int64_t distance) {
    return b_.load_masked(totals, b_.sub(lane, b_.i64(distance)), b_.op(ir::ScalarOp::kGe, {lane, b_.i64(distance)}), identity_);
  }

  void store(ValueId first, ValueId before, int totals) {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(lanes_ * kElements), 1, [&](ValueId i) {
      const ValueId inside = bind_place(b_.add(first, i));
      const ValueId lane = b_.op(ir::ScalarOp::kDiv, {i, b_.i64(kElements)});
      ValueId own = b_.load(tile_, i);
      if (s_.scan->exclusive) {
        const ValueId later = b_.op(ir::ScalarOp::kGt, {b_.op(ir::ScalarOp::kRem, {i, b_.i64(kElements)}), b_.i64(0)});
        own = b_.load_masked(tile_, b_.sub(i, b_.i64(1)), later, identity_);
      }
      const ValueId sum = combine(combine(before, earlier(totals, lane, 1)), own);
      b_.store_masked(output_, em_.emit({&em_.pool(), sweep_.store.node().args[0]}), b_.cast(sum, s_.dtype), inside);
    });
  }

  const Sweep& sweep_;
  const Stage& s_;
  Emitter& em_;
  kir::KernelBuilder& b_;
  int output_, tile_ = -1, totals_[2] = {-1, -1};
  int64_t lanes_;
  ValueId identity_ = -1;
};

/// Long rows that memory runs along, or too few of them for an invocation each.
bool has_long_rows(const Sweep& sweep) {
  if (ir::known_le(sweep.extent(), kShortRow)) return false;
  return !sweep.lanes || ir::known_le(ir::product(sweep.outer()), kFewRows);
}

Dim gpu_grid(KernelWriter& writer, const Sweep& sweep, int stage, const Target& target) {
  if (!has_long_rows(sweep)) return element_grid(writer, sweep, stage);
  const auto most = static_cast<int64_t>(std::bit_floor(static_cast<unsigned>(std::max(target.max_workgroup, 1))));
  return TileEmitter(writer, sweep, stage, std::min(kLanes, most)).emit();
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
  const Dim grid = lowering.gpu() ? gpu_grid(writer, sweep, stage, lowering.target)
                                  : row_grid(writer, sweep, stage, lowering.target.lanes(std::max(bits(sweep.stage->acc_dtype), 32)));
  writer.finish(grid, ir::product(sweep.axes) * (evaluation_cost(sweep.value) + 2));
  return {};
}

}  // namespace tenon::codegen
