// Which stages share rows, and along what their lanes run.

#include <algorithm>

#include "codegen/schedule/row_reduction.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ExprPool;

namespace {

constexpr int64_t kShortRow = 8;
constexpr int64_t kLongRow = 16 << 10;       // elements that are worth several workgroups

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

Result<Rows> match_rows(Lowering& lowering, std::span<const int> stages) {
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
  choose_row_buffers(lowering, rows);
  return rows;
}

}  // namespace tenon::codegen
