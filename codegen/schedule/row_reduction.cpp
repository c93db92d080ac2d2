#include <algorithm>
#include <limits>
#include <set>

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

using ir::Combiner;
using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

namespace {

constexpr int64_t kRowBlock = 8192;          // elements of one grid index
constexpr int64_t kRowBufferBytes = 16 << 10;
constexpr int64_t kShortRow = 8;
constexpr int64_t kWorthKeeping = 12;        // cost from which a value is kept rather than computed again
constexpr int kRowBuffer = kStageOperand - 64;  // operand numbers of row buffers

/// One reduction of a row, or one of its scalars.
struct Pass {
  int stage;
  Expr value, post;
  bool full = false;                         // a reduction: value runs along the row
  std::vector<std::pair<int, Expr>> keep;    // row buffer number, expression to keep in it
};

/// Stages over common rows: `axes` are the row's own axes (`outer` of them), then those along the row. Maps along the row
/// share one loop after the passes.
struct Rows {
  std::vector<Pass> passes;
  std::vector<std::pair<int, Expr>> maps;
  std::vector<Dim> axes;
  size_t outer = 0;
  std::vector<DType> row_buffers;
  std::vector<Expr> values() const {
    std::vector<Expr> all;
    for (const Pass& p : passes) all.push_back(p.value);
    for (const auto& [stage, value] : maps) all.push_back(value);
    return all;
  }
  std::vector<Dim> outer_axes() const { return {axes.begin(), axes.begin() + static_cast<int64_t>(outer)}; }
  std::vector<Dim> inner_axes() const { return {axes.begin() + static_cast<int64_t>(outer), axes.end()}; }
};

bool computed_here(std::span<const int> stages, int operand) {
  return operand >= kStageOperand && std::find(stages.begin(), stages.end(), operand - kStageOperand) != stages.end();
}

/// Whether every load of a reduction's result reads that of the row at hand.
bool reads_own_row(const Lowering& lowering, std::span<const int> stages, Expr e, size_t outer) {
  bool ok = true;
  visit(e, [&](int, const ExprNode& n) {
    if (n.kind != ExprKind::kLoad || !computed_here(stages, n.operand)) return;
    const Stage& from = lowering.group.stages[static_cast<size_t>(n.operand - kStageOperand)];
    ok &= from.reduces() && !n.guarded;
    int next = 0;
    for (size_t i = 0; ok && i < from.shape.size(); ++i) {
      if (from.shape[i].is_const(1)) continue;
      const ExprNode& index = e.pool->node(n.args[i]);
      ok = index.kind == ExprKind::kIndex && index.axis == next++;
    }
    ok &= static_cast<size_t>(next) == outer;
  });
  return ok;
}

Status check_shapes(Lowering& lowering, std::span<const int> stages, Rows& rows) {
  const Stage* first = nullptr;
  for (int s : stages) {
    if (lowering.stage(s).reduces() && first == nullptr) first = &lowering.stage(s);
  }
  if (first == nullptr) return error(Code::kUnsupported, "nothing to reduce");
  rows.axes = first->all_axes();
  rows.outer = first->axes.size();
  const Dim length = ir::product(first->reduce_axes);
  if (length.is_const() && length.value() < kShortRow && stages.size() == 1 && rows.outer > 0)
    return error(Code::kUnsupported, "rows of {} elements", length.value());
  for (int s : stages) {
    const Stage& stage = lowering.stage(s);
    const bool full = stage.reduces() || stage.axes == rows.axes;
    if (stage.reduces() && (stage.axes != first->axes || stage.reduce_axes != first->reduce_axes))
      return error(Code::kUnsupported, "reductions of different shapes");
    if (!full && stage.axes != first->axes) return error(Code::kUnsupported, "reduced axes are not the last ones");
    if (!reads_own_row(lowering, stages, stage.value, rows.outer) ||
        (stage.reduces() && !reads_own_row(lowering, stages, stage.post, rows.outer)))
      return error(Code::kUnsupported, "a reduction is read at another index");
    if (!stage.reduces() && full && stage.axes.size() == rows.axes.size()) rows.maps.emplace_back(s, stage.value);
    else rows.passes.push_back({.stage = s, .value = stage.value, .post = stage.post, .full = stage.reduces()});
  }
  return {};
}

/// Rows must lie along memory, one after the other: the last axis has stride 1 in every load that walks it, and no outer
/// axis slides along it (windows do).
bool contiguous(const Rows& rows, const Lowering& lowering) {
  IndexAlgebra algebra(*lowering.group.pool, rows.axes);
  const int last = static_cast<int>(rows.axes.size()) - 1;
  bool unit = true;
  const auto walks_last = [&](const Affine& offset, int axis) {
    return std::any_of(offset.terms.begin(), offset.terms.end(), [&](const Affine::Term& t) {
      const ExprNode& atom = lowering.group.pool->node(t.atom);
      return atom.kind == ExprKind::kIndex && atom.axis == axis;
    });
  };
  for (Expr value : rows.values()) {
    visit(value, [&](int, const ExprNode& n) {
      if (n.kind != ExprKind::kLoad || n.operand >= kStageOperand) return;
      const Affine offset = algebra.affine({value.pool, n.args[0]});
      for (const Affine::Term& t : offset.terms) {
        const ExprNode& atom = value.pool->node(t.atom);
        if (atom.kind != ExprKind::kIndex) continue;
        if (atom.axis == last) unit &= t.coefficient.is_const(1);
        else if (walks_last(offset, last)) unit &= !ir::known_lt(t.coefficient, rows.axes.back());
      }
    });
  }
  return unit || rows.outer == 0;
}

/// Chooses what several passes need and is dear: kept in a buffer of the row by the first one.
void choose_row_buffers(Lowering& lowering, Rows& rows) {
  const Dim length = ir::product(rows.inner_axes());
  if (!length.is_const()) return;
  std::unordered_map<int, int> uses;
  for (const Pass& p : rows.passes) {
    if (p.full) visit(p.value, [&](int id, const ExprNode&) { ++uses[id]; });
  }
  std::set<int> mapped;
  for (const auto& [stage, value] : rows.maps) visit(value, [&](int id, const ExprNode&) { mapped.insert(id); });
  for (int id : mapped) ++uses[id];
  int64_t bytes = 0;
  ir::ExprPool& pool = *lowering.group.pool;
  const Expr at[] = {row_major_position(pool, rows.inner_axes(), static_cast<int>(rows.outer))};
  std::unordered_map<int, Expr> kept;
  const auto along_row = [&](Expr e) {
    for (size_t a = rows.outer; a < rows.axes.size(); ++a) {
      if (uses_axis(e, static_cast<int>(a))) return true;
    }
    return false;
  };
  for (Pass& p : rows.passes) {
    if (!p.full) continue;
    p.value = kept.empty() ? p.value : substitute(p.value, kept);
    std::vector<int> stack{p.value.id};
    while (!stack.empty() && rows.row_buffers.size() < 4) {
      const int id = stack.back();
      stack.pop_back();
      const Expr e{&pool, id};
      const ExprNode node = e.node();
      const bool shared = uses.contains(id) && uses[id] > 1 && !kept.contains(id);
      if (shared && is_float(node.dtype) && evaluation_cost(e) >= kWorthKeeping && along_row(e)) {
        bytes += length.value() * bits(node.dtype) / 8;
        if (bytes > kRowBufferBytes) continue;
        const int number = static_cast<int>(rows.row_buffers.size());
        rows.row_buffers.push_back(node.dtype);
        kept[id] = pool.load(kRowBuffer + number, node.dtype, at);
        p.keep.emplace_back(number, e);
        continue;
      }
      for (int a : node.args) stack.push_back(a);
    }
  }
  for (auto& [stage, value] : rows.maps) value = substitute(value, kept);
}

Result<Rows> prepare(Lowering& lowering, std::span<const int> stages) {
  Rows rows;
  TENON_RETURN_IF_ERROR(check_shapes(lowering, stages, rows));
  std::vector<int> results(stages.begin(), stages.end());
  std::vector<Expr*> roots;
  for (Pass& p : rows.passes) {
    roots.push_back(&p.value);
    if (p.post.valid()) roots.push_back(&p.post);
  }
  for (auto& [stage, value] : rows.maps) roots.push_back(&value);
  for (Expr* e : roots) {
    *e = flatten_loads(*e, rows.axes, shapes(lowering, results));
    // Loads of results keep no index: the row decides.
    *e = e->pool->copy(*e, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
      const Expr none[] = {e->pool->constant_int(DType::kI64, 0)};
      return n.kind == ExprKind::kLoad && computed_here(stages, n.operand) ? e->pool->load(n.operand, n.dtype, none) : Expr{};
    });
  }
  rows.outer = static_cast<size_t>(merge_axes(*lowering.group.pool, roots, rows.axes, static_cast<int>(rows.outer)));
  const Dim innermost = rows.axes.back();
  if (rows.outer > 0 && innermost.is_const() && innermost.value() < kShortRow)
    return error(Code::kUnsupported, "runs of {} elements", innermost.value());
  if (!contiguous(rows, lowering)) return error(Code::kUnsupported, "rows are not contiguous in memory");
  choose_row_buffers(lowering, rows);
  return rows;
}

/// Whether a quotient may end in a rounding to integers, where one more bit of error can show as a whole step.
bool rounds(const Rows& rows) {
  bool found = false;
  for (Expr e : rows.values()) {
    visit(e, [&](int, const ExprNode& n) {
      const bool to_int = n.kind == ExprKind::kCast && !is_float(n.dtype) && is_float(e.pool->node(n.args[0]).dtype);
      found |= to_int || (n.kind == ExprKind::kOp && (n.op == ScalarOp::kFloor || n.op == ScalarOp::kCeil ||
                                                      n.op == ScalarOp::kRound || n.op == ScalarOp::kTrunc));
    });
  }
  return found;
}

/// Writes the passes of one row.
class RowEmitter {
 public:
  RowEmitter(Lowering& lowering, const Rows& rows, KernelWriter& writer)
      : lowering_(lowering), rows_(rows), writer_(writer), em_(writer.emitter()), b_(writer.builder()) {}

  void row(std::span<const ValueId> index) {
    const std::vector<Dim> outer = rows_.outer_axes();
    for (const Pass& p : rows_.passes) {
      em_.hoist(p.value);
      const Stage& s = lowering_.stage(p.stage);
      if (!s.reduces()) {
        store_scalar(p.stage, em_.emit(p.value), index);
        continue;
      }
      ValueId result = -1;
      const ValueId acc = s.is_arg() ? arg_reduce(p, s) : reduce(p, s.combiner, s.acc_dtype, p.value);
      em_.scoped([&] {
        em_.bind_acc(acc);
        result = em_.emit(p.post);
      });
      em_.bind_result(kStageOperand + p.stage, result);
      if (writer_.output(p.stage) >= 0) store_scalar(p.stage, result, index);
    }
    if (!rows_.maps.empty()) store_row(index);
  }

 private:
  void store_scalar(int stage, ValueId value, std::span<const ValueId> index) {
    const std::vector<Dim> outer = rows_.outer_axes();
    b_.store(writer_.output(stage), row_major_offset(em_, outer, index.first(outer.size()), outer.size()), value);
  }

  void keep(const Pass& p) {
    for (const auto& [number, e] : p.keep) {
      const Expr at = row_major_position(em_.pool(), rows_.inner_axes(), static_cast<int>(rows_.outer));
      const ValueId value = em_.emit(e);
      b_.store(em_.buffer(kRowBuffer + number), em_.emit(at), value);
    }
  }

  /// Loops over the row, the innermost axis in lanes.
  std::vector<ValueId> along(size_t axis, std::span<const ValueId> carried, const std::vector<Combiner>& combiners,
                             const std::function<std::vector<ValueId>(std::span<const ValueId>)>& body) {
    if (axis == rows_.axes.size()) return body(carried);
    const bool last = axis + 1 == rows_.axes.size();
    for (Expr e : rows_.values()) em_.hoist(e);
    return em_.loop(last ? LoopKind::kVector : LoopKind::kSerial, b_.i64(0), em_.dim(rows_.axes[axis]), 1, carried,
                    [&](ValueId iv, std::span<const ValueId> inner) {
                      em_.bind(static_cast<int>(axis), iv);
                      return along(axis + 1, inner, combiners, body);
                    }, last ? combiners : std::vector<Combiner>{});
  }

  ValueId reduce(const Pass& p, Combiner combiner, DType dtype, Expr value) {
    const ValueId init = constant(b_, dtype, ir::identity(combiner, dtype));
    const ExprNode root = value.node();
    const bool fma = lowering_.target.has_fma && combiner == Combiner::kAdd && root.kind == ExprKind::kOp &&
                     root.op == ScalarOp::kMul && (dtype == DType::kF32 || dtype == DType::kF64);
    return along(rows_.outer, std::span(&init, 1), {combiner}, [&](std::span<const ValueId> carried) {
      if (fma) {
        const ValueId x = em_.emit({value.pool, root.args[0]}), y = em_.emit({value.pool, root.args[1]});
        keep(p);
        return std::vector<ValueId>{b_.op(ScalarOp::kFma, {x, y, carried[0]})};
      }
      const ValueId v = em_.emit(value);
      keep(p);
      return std::vector<ValueId>{b_.op(combine_op(combiner), {carried[0], v})};
    })[0];
  }

  /// The extreme value first, then the first (or last) position that holds it: both passes run in lanes.
  ValueId arg_reduce(const Pass& p, const Stage& s) {
    const bool max = s.combiner == Combiner::kArgMax || s.combiner == Combiner::kArgMaxLast;
    const bool last = s.combiner == Combiner::kArgMinLast || s.combiner == Combiner::kArgMaxLast;
    const ValueId best = reduce(p, max ? Combiner::kMax : Combiner::kMin, s.acc_dtype, p.value);
    const ValueId none = b_.i64(last ? -1 : std::numeric_limits<int64_t>::max());
    const Expr at = row_major_position(em_.pool(), rows_.inner_axes(), static_cast<int>(rows_.outer));
    const ValueId found = along(rows_.outer, std::span(&none, 1), {last ? Combiner::kMax : Combiner::kMin},
                                [&](std::span<const ValueId> carried) {
      const ValueId v = em_.emit(p.value);
      ValueId same = b_.op(ScalarOp::kEq, {v, best});
      if (is_float(s.acc_dtype)) {
        const ValueId both = b_.op(ScalarOp::kAnd, {b_.op(ScalarOp::kIsNan, {v}), b_.op(ScalarOp::kIsNan, {best})});
        same = b_.op(ScalarOp::kOr, {same, both});
      }
      const ValueId position = b_.op(ScalarOp::kSelect, {same, em_.emit(at), none});
      return std::vector<ValueId>{b_.op(last ? ScalarOp::kMax : ScalarOp::kMin, {carried[0], position})};
    })[0];
    return b_.op(ScalarOp::kSelect, {b_.op(ScalarOp::kEq, {found, none}), b_.i64(0), found});
  }

  void store_row(std::span<const ValueId> index) {
    std::vector<ValueId> at(index.begin(), index.begin() + static_cast<int64_t>(rows_.outer));
    for (size_t a = rows_.outer; a < rows_.axes.size(); ++a) at.push_back(b_.i64(0));
    const ValueId base = row_major_offset(em_, rows_.axes, at, rows_.axes.size());
    const Expr position = row_major_position(em_.pool(), rows_.inner_axes(), static_cast<int>(rows_.outer));
    along(rows_.outer, {}, {}, [&](std::span<const ValueId>) {
      for (const auto& [stage, value] : rows_.maps)
        b_.store(writer_.output(stage), b_.add(base, em_.emit(position)), em_.emit(value));
      return std::vector<ValueId>{};
    });
  }

  Lowering& lowering_;
  const Rows& rows_;
  KernelWriter& writer_;
  Emitter& em_;
  kir::KernelBuilder& b_;
};

}  // namespace

Status schedule_rows(Lowering& lowering, std::span<const int> stages) {
  if (lowering.gpu()) return error(Code::kUnsupported, "GPU: one element an invocation");
  TENON_ASSIGN_OR_RETURN(const Rows rows, prepare(lowering, stages));
  std::vector<Expr> reads;
  std::vector<int> writes, in_registers;
  int64_t cost = 0;
  const auto add_read = [&](Expr e) {
    if (!e.valid()) return;
    reads.push_back(e.pool->copy(e, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
      const bool local = n.kind == ExprKind::kLoad && n.operand >= kRowBuffer && n.operand < kStageOperand;
      return local ? constant_expr(*e.pool, n.dtype) : Expr{};  // row buffers are no operands
    }));
  };
  for (const Pass& p : rows.passes) {
    add_read(p.value);
    add_read(p.post);
    cost += evaluation_cost(p.value);
    if (lowering.stage(p.stage).output != nullptr || stages.size() == 1) writes.push_back(p.stage);
    in_registers.push_back(p.stage);
  }
  for (const auto& [stage, value] : rows.maps) {
    add_read(value);
    cost += evaluation_cost(value);
    writes.push_back(stage);
  }
  KernelWriter writer(lowering, "rows", reads, writes, in_registers);
  Emitter& em = writer.emitter();
  const Dim length = ir::product(rows.inner_axes());
  for (size_t i = 0; i < rows.row_buffers.size(); ++i) {
    const int local = writer.builder().add_local("row" + std::to_string(i), rows.row_buffers[i], length.value());
    em.set_buffer(kRowBuffer + static_cast<int>(i), local);
  }
  if (!rounds(rows)) em.use_reciprocals(static_cast<int>(rows.axes.size()) - 1);
  // A grid over the rows: the row itself is the unit of the "lanes" here.
  const std::vector<Dim> outer = rows.outer_axes();
  const Dim count = ir::product(outer);
  const int64_t block = length.is_const() ? std::max<int64_t>(1, kRowBlock / std::max<int64_t>(1, length.value())) : 1;
  RowEmitter emitter(lowering, rows, writer);
  kir::KernelBuilder& b = writer.builder();
  const auto one = [&](ValueId flat) {
    const std::vector<ValueId> index = em.unflatten(flat, outer);
    for (size_t a = 0; a < outer.size(); ++a) em.bind(static_cast<int>(a), index[a]);
    emitter.row(index);
  };
  if (block == 1) {
    one(b.grid_index());
  } else {
    const ValueId first = b.mul(b.grid_index(), b.i64(block));
    const ValueId last = b.op(ScalarOp::kMin, {b.add(first, b.i64(block)), em.dim(count)});
    em.loop(LoopKind::kSerial, first, last, 1, one);
  }
  writer.finish(block == 1 ? count : ir::ceil_div(count, block), count * length * cost);
  return {};
}

}  // namespace tenon::codegen
