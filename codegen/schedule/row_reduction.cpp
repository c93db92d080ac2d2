#include "codegen/schedule/row_reduction.h"

#include <algorithm>
#include <bit>
#include <set>

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

constexpr int64_t kRowBlock = 8192;          // elements of one grid index
constexpr int64_t kRowBufferBytes = 16 << 10;
constexpr size_t kMaxRowBuffers = 4;
constexpr int64_t kShortRow = 8, kShortRowOfWorkgroup = 32;
constexpr int64_t kMaxRowLanes = 256, kRowLanes = 128;  // of a workgroup; where the row's length is not known
constexpr int64_t kLongRow = 16 << 10;       // elements that are worth several workgroups
constexpr int64_t kWorthKeeping = 12;        // cost from which a value is kept rather than computed again
constexpr int kVectorsOfRows = 4;            // vectors in flight where each lane has a row

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

/// The axis of the rows for each axis of a map over all of them, as its reads of reductions tell: those run over the rows' own
/// axes, the rest are along the row. `known`: of a map that reads none.
std::optional<std::vector<int>> axes_of_map(const Lowering& lowering, std::span<const int> stages, const Stage& map,
                                            const Rows& rows, const std::vector<int>& known) {
  std::vector<int> axes(map.axes.size(), -1);
  bool ok = map.axes.size() == rows.axes.size(), reads = false;
  visit(map.value, [&](int, const ExprNode& n) {
    if (!ok || n.kind != ExprKind::kLoad || !computed_here(stages, n.operand)) return;
    const Stage& from = lowering.group.stages[static_cast<size_t>(n.operand - kStageOperand)];
    int next = 0;
    for (size_t i = 0; ok && i < from.shape.size(); ++i) {
      if (from.shape[i].is_const(1)) continue;
      const ExprNode& index = map.value.pool->node(n.args[i]);
      ok = index.kind == ExprKind::kIndex && static_cast<size_t>(index.axis) < axes.size();
      if (!ok) return;
      int& axis = axes[static_cast<size_t>(index.axis)];
      ok = axis < 0 || axis == next;
      axis = next++;
    }
    reads = true;
  });
  if (!ok) return std::nullopt;
  if (!reads) axes = known;
  int along = static_cast<int>(rows.outer);
  for (int& axis : axes) {
    if (axis < 0) axis = along++;
  }
  if (axes.size() != rows.axes.size()) return std::nullopt;
  std::vector<char> taken(axes.size(), 0);
  for (size_t i = 0; i < axes.size(); ++i) {
    const size_t axis = static_cast<size_t>(axes[i]);
    if (axis >= taken.size() || taken[axis] || map.axes[i] != rows.axes[axis]) return std::nullopt;
    taken[axis] = 1;
  }
  return axes;
}

Expr rename_axes(Expr e, const std::vector<int>& axes) {
  return e.pool->copy(e, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
    return n.kind == ExprKind::kIndex ? e.pool->index(axes[static_cast<size_t>(n.axis)]) : Expr{};
  });
}

Status add_map(Lowering& lowering, std::span<const int> stages, int s, std::vector<int>& known, Rows& rows) {
  const Stage& stage = lowering.stage(s);
  const std::optional<std::vector<int>> axes = axes_of_map(lowering, stages, stage, rows, known);
  if (!axes) return error(Code::kUnsupported, "a map is over other axes than the rows");
  known = *axes;
  ExprPool& pool = *lowering.group.pool;
  std::vector<Expr> index;
  size_t next = 0;
  for (Dim d : stage.shape) index.push_back(d.is_const(1) ? pool.constant_int(DType::kI64, 0) : pool.index((*axes)[next++]));
  const Expr store = pool.load(kRowStore + s, stage.dtype, index);
  rows.maps.push_back({.stage = s, .value = rename_axes(stage.value, *axes), .store = store});
  return {};
}

Status check_shapes(Lowering& lowering, std::span<const int> stages, Rows& rows) {
  const Stage* first = nullptr;
  for (int s : stages) {
    if (lowering.stage(s).reduces() && first == nullptr) first = &lowering.stage(s);
  }
  if (first == nullptr) return error(Code::kUnsupported, "nothing to reduce");
  rows.axes = first->all_axes();
  rows.outer = first->axes.size();
  std::vector<int> known(rows.axes.size());
  for (size_t i = 0; i < known.size(); ++i) known[i] = static_cast<int>(i);
  for (bool reads : {true, false}) {  // maps that read no reduction have their axes as those that do
    for (int s : stages) {
      const Stage& stage = lowering.stage(s);
      if (stage.reduces() || stage.axes.size() != rows.axes.size()) continue;
      const std::vector<int> used = stage.operands();
      const bool does = std::any_of(used.begin(), used.end(), [&](int o) { return computed_here(stages, o); });
      if (does == reads) TENON_RETURN_IF_ERROR(add_map(lowering, stages, s, known, rows));
    }
  }
  std::sort(rows.maps.begin(), rows.maps.end(), [](const RowMap& a, const RowMap& b) { return a.stage < b.stage; });
  for (const RowMap& m : rows.maps) {
    if (!reads_own_row(lowering, stages, m.value, rows.outer)) return error(Code::kUnsupported, "a reduction is read at another index");
  }
  for (int s : stages) {
    const Stage& stage = lowering.stage(s);
    if (!stage.reduces() && stage.axes.size() == rows.axes.size()) continue;
    if (stage.reduces() && (stage.axes != first->axes || stage.reduce_axes != first->reduce_axes))
      return error(Code::kUnsupported, "reductions of different shapes");
    if (stage.axes != first->axes) return error(Code::kUnsupported, "a map is over other axes than the rows");
    if (!reads_own_row(lowering, stages, stage.value, rows.outer) ||
        (stage.reduces() && !reads_own_row(lowering, stages, stage.post, rows.outer)))
      return error(Code::kUnsupported, "a reduction is read at another index");
    rows.passes.push_back({.stage = s, .value = stage.value, .post = stage.post, .full = stage.reduces()});
  }
  return {};
}

/// Whether every load and store walks the last axis with stride 1, and no axis of the rows slides along it (windows do).
bool contiguous(const Rows& rows, const Lowering& lowering) {
  const ExprPool& pool = *lowering.group.pool;
  IndexAlgebra algebra(*lowering.group.pool, rows.axes);
  const int last = static_cast<int>(rows.axes.size()) - 1;
  bool unit = true;
  const auto walks_last = [&](const Affine& offset) {
    return std::any_of(offset.terms.begin(), offset.terms.end(), [&](const Affine::Term& t) {
      const ExprNode& atom = pool.node(t.atom);
      return atom.kind == ExprKind::kIndex && atom.axis == last;
    });
  };
  for (Expr value : rows.values()) {
    visit(value, [&](int, const ExprNode& n) {
      if (n.kind != ExprKind::kLoad || n.operand >= kStageOperand) return;
      const Affine offset = algebra.affine({value.pool, n.args[0]});
      for (const Affine::Term& t : offset.terms) {
        const ExprNode& atom = pool.node(t.atom);
        if (atom.kind != ExprKind::kIndex) continue;
        if (atom.axis == last) unit &= t.coefficient.is_const(1);
        else if (walks_last(offset)) unit &= !ir::known_lt(t.coefficient, rows.axes.back());
      }
    });
  }
  return unit || rows.outer == 0;
}

/// One of the rows' own axes, not a short one, whose neighbours lie side by side everywhere, -1 if there is none.
/// `any`: side by side or not.
int axis_across_rows(const Rows& rows, const Lowering& lowering, bool any) {
  const ExprPool& pool = *lowering.group.pool;
  IndexAlgebra algebra(*lowering.group.pool, rows.axes);
  std::vector<char> unit(rows.axes.size(), 1);
  for (Expr value : rows.values()) {
    visit(value, [&](int, const ExprNode& n) {
      if (n.kind != ExprKind::kLoad || n.operand >= kStageOperand) return;
      for (const Affine::Term& t : algebra.affine({value.pool, n.args[0]}).terms) {
        const ExprNode& atom = pool.node(t.atom);
        if (atom.kind == ExprKind::kIndex) unit[static_cast<size_t>(atom.axis)] &= t.coefficient.is_const(1);
      }
    });
  }
  const auto is_short = [&](size_t axis) { return rows.axes[axis].is_const() && rows.axes[axis].value() < kShortRow; };
  for (size_t axis = rows.outer; axis-- > 0;) {
    if (unit[axis] && !is_short(axis)) return static_cast<int>(axis);
  }
  for (size_t axis = rows.outer; any && axis-- > 0;) {
    if (!is_short(axis)) return static_cast<int>(axis);
  }
  return -1;
}

/// Chooses what several passes need and is dear: kept by the first one, in an array of the row, or where a map of the row
/// will be stored. What is an output itself is stored by the first pass that makes it.
class BufferChooser {
 public:
  BufferChooser(Lowering& lowering, Rows& rows) : pool_(*lowering.group.pool), rows_(rows), length_(rows.length()) {
    for (const RowPass& p : rows_.passes) {
      if (p.full) count(p.value);
    }
    std::set<int> mapped;
    for (const RowMap& m : rows_.maps) visit(m.value, [&](int id, const ExprNode&) { mapped.insert(id); });
    for (int id : mapped) ++uses_[id];
  }

  void run() {
    for (RowPass& p : rows_.passes) {
      p.value = kept_.empty() ? p.value : substitute(p.value, kept_);
      if (p.full) choose_in(p);
    }
    for (RowMap& m : rows_.maps) m.value = substitute(m.value, kept_);
  }

 private:
  void count(Expr e) {
    visit(e, [&](int id, const ExprNode&) { ++uses_[id]; });
  }

  void choose_in(RowPass& p) {
    std::vector<int> stack{p.value.id};
    std::set<int> seen;
    while (!stack.empty() && rows_.buffers.size() < kMaxRowBuffers) {
      const int id = stack.back();
      stack.pop_back();
      if (!seen.insert(id).second) continue;
      const Expr e{&pool_, id};
      const ExprNode node = e.node();
      const bool shared = uses_.contains(id) && uses_[id] > 1 && !kept_.contains(id) && along_row(e);
      const std::optional<RowBuffer> buffer = shared ? place(e) : std::nullopt;
      if (buffer) {
        const int number = static_cast<int>(rows_.buffers.size());
        rows_.buffers.push_back(*buffer);
        kept_[id] = read(number, *buffer);
        p.keep.emplace_back(number, e);
        continue;
      }
      for (int a : node.args) stack.push_back(a);
    }
  }

  bool along_row(Expr e) const {
    for (size_t a = rows_.outer; a < rows_.axes.size(); ++a) {
      if (uses_axis(e, static_cast<int>(a))) return true;
    }
    return false;
  }

  std::optional<RowBuffer> place(Expr e) {
    const ExprNode node = e.node();
    if (node.kind == ExprKind::kLoad) return std::nullopt;
    for (size_t m = 0; m < rows_.maps.size(); ++m) {
      RowMap& map = rows_.maps[m];
      if (map.value.id != e.id || map.holds) continue;
      map.stored = true;
      return RowBuffer{node.dtype, static_cast<int>(m)};
    }
    if (!is_float(node.dtype) || evaluation_cost(e) < kWorthKeeping) return std::nullopt;
    if (!rows_.lanes_have_rows() && length_.is_const() && bytes_ + length_.value() * bits(node.dtype) / 8 <= kRowBufferBytes) {
      bytes_ += length_.value() * bits(node.dtype) / 8;
      return RowBuffer{node.dtype, -1};
    }
    for (size_t m = 0; m < rows_.maps.size(); ++m) {
      RowMap& map = rows_.maps[m];
      const bool output_too = uses_.contains(map.value.id) && uses_[map.value.id] > 1;  // a pass may store it
      if (map.holds || map.stored || output_too || map.store.dtype() != node.dtype) continue;
      map.holds = true;
      return RowBuffer{node.dtype, static_cast<int>(m)};
    }
    return std::nullopt;
  }

  Expr read(int number, const RowBuffer& buffer) {
    const Expr at = buffer.map < 0 ? row_major_position(pool_, rows_.inner_axes(), static_cast<int>(rows_.outer))
                                   : Expr{&pool_, rows_.maps[static_cast<size_t>(buffer.map)].store.node().args[0]};
    return pool_.load(kRowBuffer + number, buffer.dtype, std::span(&at, 1));
  }

  ExprPool& pool_;
  Rows& rows_;
  const Dim length_;
  int64_t bytes_ = 0;
  std::unordered_map<int, int> uses_;
  std::unordered_map<int, Expr> kept_;
};

/// Rows so few and long that a workgroup for each leaves a GPU idle; an arg reduction cannot be cut.
bool better_in_parts(const Lowering& lowering, const Rows& rows) {
  const Dim count = ir::product(rows.outer_axes());
  const bool few = count.is_const() && count.value() * 8 <= lowering.target.busy_workgroups && ir::known_le(kLongRow, rows.length());
  return few && std::none_of(rows.passes.begin(), rows.passes.end(), [&](const RowPass& p) { return lowering.group.stages[static_cast<size_t>(p.stage)].is_arg(); });
}

/// Lanes along the row where that is how memory lies; else, for several stages, each lane gets a row.
Status choose_lanes(Lowering& lowering, size_t stages, Rows& rows) {
  const Dim innermost = lowering.gpu() ? rows.length() : rows.axes.back();
  const bool in_order = contiguous(rows, lowering);
  const int64_t enough = lowering.gpu() ? kShortRowOfWorkgroup : kShortRow;
  const bool short_runs = rows.outer > 0 && innermost.is_const() && innermost.value() < enough;
  if (in_order && !short_runs) return {};
  const Status why = short_runs ? error(Code::kUnsupported, "runs of {} elements", innermost.value())
                                : error(Code::kUnsupported, "rows are not contiguous in memory");
  if (stages == 1) return why;
  rows.lane_axis = axis_across_rows(rows, lowering, short_runs);
  return rows.lanes_have_rows() ? Status() : why;
}

Result<Rows> prepare(Lowering& lowering, std::span<const int> stages) {
  Rows rows;
  TENON_RETURN_IF_ERROR(check_shapes(lowering, stages, rows));
  const std::vector<int> results(stages.begin(), stages.end());
  std::vector<Expr*> roots;
  for (RowPass& p : rows.passes) {
    roots.push_back(&p.value);
    if (p.post.valid()) roots.push_back(&p.post);
  }
  for (RowMap& m : rows.maps) {
    roots.push_back(&m.value);
    roots.push_back(&m.store);
  }
  const auto shape_of = shapes(lowering, results);
  for (Expr* e : roots) {
    *e = flatten_loads(*e, rows.axes, [&](int operand) {
      const bool store = operand >= kRowStore && operand < kRowBuffer;
      return store ? &lowering.stage(operand - kRowStore).shape : shape_of(operand);
    });
    // Loads of results keep no index: the row decides.
    *e = e->pool->copy(*e, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
      const Expr none[] = {e->pool->constant_int(DType::kI64, 0)};
      return n.kind == ExprKind::kLoad && computed_here(stages, n.operand) ? e->pool->load(n.operand, n.dtype, none) : Expr{};
    });
  }
  rows.outer = static_cast<size_t>(merge_axes(*lowering.group.pool, roots, rows.axes, static_cast<int>(rows.outer)));
  if (lowering.gpu() && stages.size() > 1 && better_in_parts(lowering, rows))
    return error(Code::kUnsupported, "rows of {} elements are shared out", to_string(rows.length()));
  TENON_RETURN_IF_ERROR(choose_lanes(lowering, stages.size(), rows));
  BufferChooser(lowering, rows).run();
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

/// Loads of operands and of other kernels' stages; what a row keeps is neither.
std::vector<Expr> operand_reads(const Rows& rows) {
  std::vector<Expr> reads;
  const auto add = [&](Expr e) {
    if (!e.valid()) return;
    reads.push_back(e.pool->copy(e, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
      const bool local = n.kind == ExprKind::kLoad && n.operand >= kRowStore && n.operand < kStageOperand;
      return local ? constant_expr(*e.pool, n.dtype) : Expr{};
    }));
  };
  for (const RowPass& p : rows.passes) {
    add(p.value);
    add(p.post);
  }
  for (const RowMap& m : rows.maps) add(m.value);
  return reads;
}

int64_t cost_of(const Rows& rows) {
  int64_t cost = 0;
  for (const RowPass& p : rows.passes) cost += evaluation_cost(p.value);
  for (const RowMap& m : rows.maps) cost += evaluation_cost(m.value);
  return cost;
}

void make_buffers(const Rows& rows, KernelWriter& writer) {
  Emitter& em = writer.emitter();
  for (size_t i = 0; i < rows.buffers.size(); ++i) {
    const RowBuffer& buffer = rows.buffers[i];
    const int made = buffer.map < 0
                         ? writer.builder().add_local("row" + std::to_string(i), buffer.dtype, rows.length().value())
                         : writer.output(rows.maps[static_cast<size_t>(buffer.map)].stage);
    em.set_buffer(kRowBuffer + static_cast<int>(i), made);
  }
}

/// A grid over the rows: the row itself is the unit of the "lanes" here.
Dim emit_rows(RowEmitter& emitter, const Rows& rows, Emitter& em) {
  kir::KernelBuilder& b = em.builder();
  const std::vector<Dim> outer = rows.outer_axes();
  const Dim count = ir::product(outer), length = rows.length();
  const int64_t block = length.is_const() ? std::max<int64_t>(1, kRowBlock / std::max<int64_t>(1, length.value())) : 1;
  const auto one = [&](ValueId flat) {
    const std::vector<ValueId> index = em.unflatten(flat, outer);
    for (size_t a = 0; a < outer.size(); ++a) em.bind(static_cast<int>(a), index[a]);
    emitter.row(index);
  };
  if (block == 1) {
    one(b.grid_index());
    return count;
  }
  const ValueId first = b.mul(b.grid_index(), b.i64(block));
  const ValueId last = b.op(ScalarOp::kMin, {b.add(first, b.i64(block)), em.dim(count)});
  em.loop(LoopKind::kSerial, first, last, 1, one);
  return ir::ceil_div(count, block);
}

/// Lanes for the widest of the values, in several vectors: their sums do not wait for one another.
int rows_at_once(const Lowering& lowering, const Rows& rows) {
  int widest = 32;
  bool arg = false;
  for (Expr e : rows.values())
    visit(e, [&](int, const ExprNode& n) { if (is_float(n.dtype)) widest = std::max(widest, bits(n.dtype)); });
  for (const RowPass& p : rows.passes) arg |= lowering.group.stages[static_cast<size_t>(p.stage)].is_arg();
  const int vector = lowering.target.lanes(arg ? 64 : widest);
  int width = vector * (lowering.target.vector_registers >= 32 ? kVectorsOfRows : kVectorsOfRows / 2);
  const Dim lanes = rows.axes[static_cast<size_t>(rows.lane_axis)];
  while (lanes.is_const() && width > vector && width / 2 >= lanes.value()) width /= 2;
  return width;
}

/// On a GPU, a workgroup for each row, or an invocation.
Dim emit_rows_of_gpu(RowEmitter& emitter, const Rows& rows, Emitter& em, const Target& target) {
  if (!rows.lanes_have_rows()) {
    const Dim length = rows.length();
    const int64_t most = std::min<int64_t>(kMaxRowLanes, std::bit_floor(static_cast<uint64_t>(std::max(target.max_workgroup, 1))));
    int64_t lanes = std::min(kRowLanes, most);
    if (length.is_const())
      for (lanes = kShortRowOfWorkgroup; lanes < most && lanes * 4 <= length.value();) lanes *= 2;
    em.builder().kernel().lanes = static_cast<int>(lanes);
  }
  const std::vector<Dim> outer = rows.outer_axes();
  const std::vector<ValueId> index = em.unflatten(em.builder().grid_index(), outer);
  for (size_t a = 0; a < outer.size(); ++a) em.bind(static_cast<int>(a), index[a]);
  emitter.row(index);
  return ir::product(outer);
}

Dim emit_rows_in_lanes(RowEmitter& emitter, const Lowering& lowering, const Rows& rows, Emitter& em) {
  const Dim length = rows.length();
  const int width = rows_at_once(lowering, rows);
  const int64_t blocks = length.is_const() ? kRowBlock / std::max<int64_t>(1, length.value()) / width : 1;
  return emit_row_grid(em, rows.outer_axes(), static_cast<size_t>(rows.lane_axis), width * std::max<int64_t>(1, blocks),
                       [&](std::span<ValueId> index, ValueId lo, ValueId hi) {
    std::vector<ValueId> at(index.begin(), index.end());
    em.loop(LoopKind::kVector, lo, hi, 1, [&](ValueId iv) {
      em.bind(rows.lane_axis, iv);
      at[static_cast<size_t>(rows.lane_axis)] = iv;
      emitter.row(at);
    }, width);
  });
}

}  // namespace

std::vector<Expr> Rows::values() const {
  std::vector<Expr> all;
  for (const RowPass& p : passes) all.push_back(p.value);
  for (const RowMap& m : maps) {
    all.push_back(m.value);
    all.push_back(m.store);
  }
  return all;
}

Status schedule_rows(Lowering& lowering, std::span<const int> stages) {
  TENON_ASSIGN_OR_RETURN(const Rows rows, prepare(lowering, stages));
  std::vector<int> writes, in_registers;
  for (const RowPass& p : rows.passes) {
    if (lowering.stage(p.stage).output != nullptr || stages.size() == 1) writes.push_back(p.stage);
    in_registers.push_back(p.stage);
  }
  for (const RowMap& m : rows.maps) writes.push_back(m.stage);
  KernelWriter writer(lowering, "rows", operand_reads(rows), writes, in_registers);
  make_buffers(rows, writer);
  if (!rounds(rows)) writer.emitter().use_reciprocals(static_cast<int>(rows.axes.size()) - 1);
  RowEmitter emitter(lowering, rows, writer);
  const Dim grid = lowering.gpu() ? emit_rows_of_gpu(emitter, rows, writer.emitter(), lowering.target)
                   : rows.lanes_have_rows() ? emit_rows_in_lanes(emitter, lowering, rows, writer.emitter())
                                          : emit_rows(emitter, rows, writer.emitter());
  writer.finish(grid, ir::product(rows.outer_axes()) * rows.length() * cost_of(rows));
  return {};
}

}  // namespace tenon::codegen
