#include "codegen/schedule/window_tile.h"

#include <algorithm>
#include <unordered_set>

#include "codegen/lower/guards.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ExprPool;

namespace {

constexpr int64_t kMaxTaps = 32;
constexpr int64_t kMaxTileCost = 2000;            // operations in the code of one tile
constexpr int64_t kPresumed = 32;                 // extent of a symbolic axis
constexpr int64_t kOperationsPerGridIndex = 64 << 10;
constexpr int64_t kWorthyRows = 4;

int64_t presumed(Dim d) { return d.is_const() ? std::max<int64_t>(1, d.value()) : kPresumed; }
int64_t ceil_of(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t x, int64_t unit) { return ceil_of(x, unit) * unit; }

/// One load of the value, its offset as a sum.
struct Load {
  int id;
  Affine offset;
  std::vector<int> guards;
};

struct Analysis {
  WindowTile& t;
  ExprPool& pool;
  IndexAlgebra algebra;
  std::vector<Load> loads;

  bool is_reduce(int axis) const { return static_cast<size_t>(axis) >= t.w.outer; }

  Dim coefficient(const Affine& a, int axis) {
    const Dim* c = a.coefficient_of(pool.index(axis).id);
    return c ? *c : Dim(0);
  }
  /// Every atom is an axis.
  bool plain(const Affine& a) const {
    return std::all_of(a.terms.begin(), a.terms.end(),
                       [&](const Affine::Term& x) { return pool.node(x.atom).kind == ExprKind::kIndex; });
  }
  std::vector<int> axes_of(const Affine& a) const {
    std::vector<int> axes;
    for (const Affine::Term& x : a.terms) axes.push_back(pool.node(x.atom).axis);
    return axes;
  }
};

Status collect_loads(Analysis& a) {
  bool checked = false;
  visit(a.t.w.value, [&](int id, const ExprNode& n) {
    checked |= n.kind == ExprKind::kCheckedIndex;
    if (n.kind == ExprKind::kLoad) a.loads.push_back({id, {}, {}});
  });
  if (checked) return error(Code::kUnsupported, "indices that are data");
  for (Load& load : a.loads) {
    const ExprNode n = a.pool.node(load.id);
    load.offset = a.algebra.affine({&a.pool, n.args[0]});
    if (!n.guarded) continue;
    const auto guards = conjuncts(a.pool, n.args[1]);
    if (!guards) return error(Code::kUnsupported, "a guard of very many parts");
    load.guards = *guards;
  }
  return {};
}

/// The last output axis, if memory runs along it in every load.
Status choose_lanes(Analysis& a) {
  a.t.lanes = static_cast<int>(a.t.w.outer) - 1;
  for (const Load& load : a.loads) {
    for (const Affine::Term& x : load.offset.terms) {
      const ExprNode& atom = a.pool.node(x.atom);
      const bool lane = atom.kind == ExprKind::kIndex && atom.axis == a.t.lanes;
      if (!lane && uses_axis({&a.pool, x.atom}, a.t.lanes)) return error(Code::kUnsupported, "lanes that are not a run in memory");
      if (lane && !(x.coefficient.is_const(1) || x.coefficient.is_const(2))) return error(Code::kUnsupported, "lanes apart in memory");
    }
  }
  return {};
}

/// Whether windows at neighbouring places of an output axis meet along a reduce axis.
bool slides(Analysis& a, int axis, int tap) {
  return std::any_of(a.loads.begin(), a.loads.end(), [&](const Load& load) {
    const Dim stride = a.coefficient(load.offset, axis), dilation = a.coefficient(load.offset, tap);
    return !stride.is_const(0) && !dilation.is_const(0) && ir::known_le(1, dilation) && ir::known_le(stride, dilation * a.t.extent(tap));
  });
}

/// The last output axis before the lanes that slides along some axis `taps` allows.
std::optional<std::pair<int, int>> sliding(Analysis& a, int skip, const std::function<bool(int tap)>& allowed) {
  for (int axis = static_cast<int>(a.t.w.outer) - 2; axis >= 0; --axis) {
    if (axis == skip) continue;
    for (int tap = static_cast<int>(a.t.w.axes.size()) - 1; a.is_reduce(tap); --tap)
      if (allowed(tap) && slides(a, axis, tap)) return std::pair(axis, tap);
  }
  return std::nullopt;
}

Status choose_axes(Analysis& a) {
  WindowTile& t = a.t;
  const auto found = sliding(a, -1, [&](int tap) { return t.extent(tap).is_const() && t.extent(tap).value() <= kMaxTaps; });
  if (!found) return error(Code::kUnsupported, "nothing slides");
  t.columns = found->first;
  t.tap = found->second;
  for (size_t r = t.w.outer; r < t.w.axes.size(); ++r)
    if (static_cast<int>(r) != t.tap) t.serial.push_back(static_cast<int>(r));
  if (const auto walk = sliding(a, t.columns, [&](int tap) { return tap != t.tap; })) t.rows = walk->first;
  for (int axis = 0; axis < t.lanes; ++axis)
    if (axis != t.columns && axis != t.rows) t.others.push_back(axis);
  return {};
}

/// Narrows [lo, hi) of an axis to where `guard` >= 0 for all reduce indices.
void narrow(Analysis& a, const Affine& guard, int axis, Dim& lo, Dim& hi) {
  Dim least = guard.constant, coefficient = 0;
  for (const Affine::Term& x : guard.terms) {
    const int of = a.pool.node(x.atom).axis;
    if (of == axis) coefficient = x.coefficient;
    else least = least + ir::min(x.coefficient * (a.t.extent(of) - 1), 0);
  }
  if (ir::known_le(1, coefficient)) lo = ir::max(lo, ir::ceil_div(Dim() - least, coefficient));
  else hi = ir::min(hi, ir::floor_div(least, Dim() - coefficient) + 1);
}

void add_guard(Analysis& a, int id) {
  WindowTile& t = a.t;
  const auto seen = [&](const std::vector<int>& v) { return std::find(v.begin(), v.end(), id) != v.end(); };
  if (seen(t.column_guards) || seen(t.lane_guards) || seen(t.row_guards)) return;
  const std::optional<Affine> guard = at_least_zero(a.algebra, a.pool, id);
  if (!guard || !a.plain(*guard)) return;
  const std::vector<int> axes = a.axes_of(*guard);
  const auto uses = [&](int axis) { return std::find(axes.begin(), axes.end(), axis) != axes.end(); };
  const auto with_reduce_alone = [&](int axis) {
    const Dim c = a.coefficient(*guard, axis);
    return uses(axis) && (ir::known_le(1, c) || ir::known_le(c, -1)) &&
           std::all_of(axes.begin(), axes.end(), [&](int x) { return x == axis || a.is_reduce(x); });
  };
  if (with_reduce_alone(t.columns)) {
    t.column_guards.push_back(id);
    narrow(a, *guard, t.columns, t.lo, t.hi);
  } else if (with_reduce_alone(t.lanes)) {
    t.lane_guards.push_back(id);
    narrow(a, *guard, t.lanes, t.lane_lo, t.lane_hi);
  } else if (!uses(t.columns) && !uses(t.lanes) && !uses(t.tap)) {
    t.row_guards.push_back(id);
  }
}

void clamp_interior(Dim extent, Dim& lo, Dim& hi) {
  lo = ir::min(lo, extent);
  hi = ir::max(hi, lo);
}

/// Whether one of the conditions has a say beside guarding loads.
bool decides_more(const Analysis& a, const std::vector<int>& guards) {
  std::vector<int> stack{a.t.w.value.id};
  std::unordered_set<int> seen;
  while (!stack.empty()) {
    const int id = stack.back();
    stack.pop_back();
    if (!seen.insert(id).second) continue;
    if (std::find(guards.begin(), guards.end(), id) != guards.end()) return true;
    const ExprNode& node = a.pool.node(id);
    for (size_t i = 0; i < node.args.size(); ++i) {
      const bool guard = node.kind == ExprKind::kLoad && node.guarded && i + 2 == node.args.size();
      if (!guard) stack.push_back(node.args[i]);
    }
  }
  return false;
}

void sort_guards(Analysis& a) {
  WindowTile& t = a.t;
  t.hi = t.extent(t.columns);
  t.lane_hi = t.extent(t.lanes);
  for (const Load& load : a.loads)
    for (int id : load.guards) add_guard(a, id);
  const bool shared = std::all_of(a.loads.begin(), a.loads.end(), [&](const Load& load) {
    return load.guards.empty() || std::all_of(t.row_guards.begin(), t.row_guards.end(), [&](int id) {
             return std::find(load.guards.begin(), load.guards.end(), id) != load.guards.end();
           });
  });
  if (!shared || decides_more(a, t.row_guards)) t.row_guards.clear();
  clamp_interior(t.extent(t.columns), t.lo, t.hi);
  clamp_interior(t.extent(t.lanes), t.lane_lo, t.lane_hi);
}

/// Columns between neighbours' first taps, in taps; 1 when unknown.
int64_t stride_in_taps(Analysis& a) {
  for (const Load& load : a.loads) {
    const Dim stride = a.coefficient(load.offset, a.t.columns), dilation = a.coefficient(load.offset, a.t.tap);
    if (stride.is_const(0) || dilation.is_const(0)) continue;
    if (const auto ratio = ir::exact_div(stride, dilation); ratio && ratio->is_const()) return ratio->value();
  }
  return 1;
}

/// As many columns as accumulators, the inputs that a tap moves over and one weight find registers, shared out evenly.
Status choose_count(Analysis& a, const Target& target) {
  WindowTile& t = a.t;
  const int64_t taps = t.extent(t.tap).value(), stride = stride_in_taps(a);
  const int64_t live = 1 + std::clamp<int64_t>(stride, 1, taps);
  int64_t most = std::clamp<int64_t>((target.vector_registers - 3) / live, 2, 8);
  const int64_t cost = evaluation_cost(t.w.value);
  most = std::min(most, kMaxTileCost / (cost * taps));
  if (most < 1) return error(Code::kUnsupported, "taps of {} operations", cost);
  const Dim columns = t.extent(t.columns);
  t.count = columns.is_const() ? ceil_of(presumed(columns), ceil_of(presumed(columns), most)) : most;
  return {};
}

/// Shares of a grid index: lanes such that the rows under a tile stay in half of the L1 cache, and enough rows or columns.
void choose_blocks(Analysis& a, const Target& target, int width) {
  WindowTile& t = a.t;
  const int64_t bytes = std::max(bits(t.w.stage.acc_dtype), 32) / 8;
  int64_t serial_trips = 1;
  for (int r : t.serial) serial_trips *= presumed(t.extent(r));
  const int64_t span = (t.count - 1) * stride_in_taps(a) + t.extent(t.tap).value();
  const int64_t lanes = presumed(t.extent(t.lanes));
  const bool walks = t.rows >= 0;
  int64_t block = target.l1_bytes / 2 / (bytes * span * (walks ? serial_trips : 1)) / width * width;
  block = std::max<int64_t>(block, 4 * width);
  t.lane_block = t.extent(t.lanes).is_const() ? round_up(ceil_of(lanes, ceil_of(lanes, block)), width) : block;
  const int64_t cost = std::max<int64_t>(1, evaluation_cost(t.w.value) / 2);
  const int64_t per_column = std::min(t.lane_block, lanes) * serial_trips * t.extent(t.tap).value() * cost;
  const int64_t columns = presumed(t.extent(t.columns));
  t.column_block = columns;
  if (walks) {
    t.row_block = std::clamp<int64_t>(kOperationsPerGridIndex / std::max<int64_t>(1, per_column * columns), kWorthyRows, 1 << 20);
    t.row_block = std::min(t.row_block, presumed(t.extent(t.rows)));
  } else {
    const int64_t tiles = std::max<int64_t>(1, kOperationsPerGridIndex / std::max<int64_t>(1, per_column * t.count));
    t.column_block = t.extent(t.columns).is_const() ? std::min(tiles, ceil_of(columns, t.count)) * t.count : tiles * t.count;
  }
  if (walks && !t.extent(t.columns).is_const()) t.column_block = 64 / t.count * t.count;
  if (walks && t.extent(t.columns).is_const()) t.column_block = round_up(columns, t.count);
}

Result<WindowTile> plan_tile(Lowering& lowering, int stage) {
  WindowTile t{.w = prepare_window(lowering, stage)};
  if (t.w.stage.is_arg()) return error(Code::kUnsupported, "the position of a value");
  if (t.w.outer < 2) return error(Code::kUnsupported, "fewer than two output axes");
  Analysis a{t, *lowering.group.pool, IndexAlgebra(*lowering.group.pool, t.w.axes), {}};
  TENON_RETURN_IF_ERROR(collect_loads(a));
  TENON_RETURN_IF_ERROR(choose_lanes(a));
  TENON_RETURN_IF_ERROR(choose_axes(a));
  const int width = lowering.target.lanes(std::max(bits(t.w.stage.acc_dtype), 32));
  if (choose_lane_axis(t.w.outer_axes()) != static_cast<size_t>(t.lanes)) return error(Code::kUnsupported, "few lanes");
  sort_guards(a);
  t.split_lanes = !t.extent(t.lanes).is_const() || t.extent(t.lanes).value() > 2 * width;
  TENON_RETURN_IF_ERROR(choose_count(a, lowering.target));
  choose_blocks(a, lowering.target, width);
  for (Dim d : {t.lo, t.hi, t.lane_lo, t.lane_hi})
    if (!d.is_valid()) return error(Code::kUnsupported, "the interior's bounds overflow");
  return t;
}

/// A load that only lanes and reduce axes decide, and whose lanes lie apart: the stage that stores it with lanes last, and the
/// value that reads it there.
bool pack_one(Lowering& lowering, int stage, std::vector<int>& packed) {
  ExprPool& pool = *lowering.group.pool;
  const Stage s = lowering.stage(stage);
  const int lanes = static_cast<int>(s.axes.size()) - 1;
  const std::vector<Dim> axes = s.all_axes();
  IndexAlgebra algebra(pool, axes);
  std::vector<int> loads;
  visit(s.value, [&](int id, const ExprNode& n) {
    if (n.kind == ExprKind::kLoad && !n.guarded && n.operand < kStageOperand) loads.push_back(id);
  });
  for (int id : loads) {
    const ExprNode load = pool.node(id);
    const Expr offset = {&pool, flatten_loads({&pool, id}, axes, shapes(lowering)).node().args[0]};
    const Affine a = algebra.affine(offset);
    std::vector<int> used;
    bool own = true, apart = false;
    for (const Affine::Term& x : a.terms) {
      const ExprNode& atom = pool.node(x.atom);
      own &= atom.kind == ExprKind::kIndex && (atom.axis == lanes || static_cast<size_t>(atom.axis) >= s.axes.size());
      if (!own) break;
      if (atom.axis == lanes) apart = !x.coefficient.is_const(1);
      else used.push_back(atom.axis);
    }
    if (!own || !apart) continue;
    std::sort(used.begin(), used.end());
    used.push_back(lanes);
    Stage p;
    std::vector<Expr> read;
    std::unordered_map<int, Expr> axis_of;
    for (int axis : used) {
      p.shape.push_back(axes[static_cast<size_t>(axis)]);
      read.push_back(pool.index(axis));
      axis_of.emplace(axis, pool.index(static_cast<int>(p.axes.size())));
      p.axes.push_back(axes[static_cast<size_t>(axis)]);
    }
    p.value = pool.copy({&pool, id}, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
      if (n.kind != ExprKind::kIndex) return {};
      const auto found = axis_of.find(n.axis);
      return found == axis_of.end() ? pool.constant_int(DType::kI64, 0) : found->second;
    });
    p.dtype = p.acc_dtype = load.dtype;
    const int number = static_cast<int>(lowering.group.stages.size());
    lowering.stage(stage).value = substitute(s.value, {{id, pool.load(kStageOperand + number, load.dtype, read)}});
    lowering.group.stages.push_back(std::move(p));
    packed.push_back(number);
    return true;
  }
  return false;
}

}  // namespace

Status schedule_window_tile(Lowering& lowering, int stage) {
  if (lowering.stage(stage).axes.empty()) return error(Code::kUnsupported, "one output element");
  const Stage whole = lowering.stage(stage);
  std::vector<int> packed;
  while (pack_one(lowering, stage, packed)) {}
  Result<WindowTile> planned = plan_tile(lowering, stage);
  if (!planned.ok()) {
    lowering.stage(stage) = whole;
    lowering.group.stages.resize(lowering.group.stages.size() - packed.size());
    return std::move(planned).status();
  }
  const WindowTile t = std::move(*planned);
  for (int p : packed) TENON_RETURN_IF_ERROR(schedule_map(lowering, std::span<const int>(&p, 1)));
  const Expr reads[] = {t.w.value, t.w.post};
  KernelWriter writer(lowering, "window", reads, std::span<const int>(&stage, 1));
  const Dim grid = WindowTileEmitter(t, writer, writer.output(stage)).emit();
  writer.finish(grid, ir::product(t.w.outer_axes()) * (t.w.trips() * evaluation_cost(t.w.value) + evaluation_cost(t.w.post)));
  lowering.out.implementation = "window tile " + std::to_string(t.count);
  return {};
}

}  // namespace tenon::codegen
