#include <algorithm>

#include "codegen/schedule/window_tile.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

namespace {

constexpr int64_t kMaxFixedTiles = 4;
constexpr int64_t kUnrolledTaps = 4;     // of the innermost serial axis
constexpr int64_t kUnrolledValues = 128;

}  // namespace

Dim WindowTileEmitter::emit() {
  const Dim grid = bind_grid();
  const bool fixed = t_.extent(t_.columns).is_const() && t_.lo.is_const() && t_.hi.is_const();
  if (!fixed || !fixed_runs()) symbolic_runs();
  return grid;
}

/// The grid runs over all other axes, blocks of lanes, of columns and, fastest, of rows.
Dim WindowTileEmitter::bind_grid() {
  const auto blocks = [&](int axis, int64_t block) { return axis < 0 ? Dim(1) : ir::ceil_div(t_.extent(axis), block); };
  std::vector<Dim> grid;
  for (int axis : t_.others) grid.push_back(t_.extent(axis));
  grid.push_back(blocks(t_.lanes, t_.lane_block));
  grid.push_back(blocks(t_.columns, t_.column_block));
  grid.push_back(blocks(t_.rows, t_.row_block));
  const std::vector<ValueId> index = em_.unflatten(b_.grid_index(), grid);
  const size_t n = t_.others.size();
  for (size_t i = 0; i < n; ++i) em_.bind(t_.others[i], index[i]);
  const auto share = [&](int axis, int64_t block, size_t at, ValueId& lo, ValueId& hi) {
    if (axis < 0) return;
    const ValueId extent = em_.dim(t_.extent(axis));
    const bool one = grid[at].is_const(1);
    lo = one ? b_.i64(0) : b_.mul(index[at], b_.i64(block));
    hi = one ? extent : minimum(b_.add(lo, b_.i64(block)), extent);
  };
  share(t_.lanes, t_.lane_block, n, lane_lo_, lane_hi_);
  const Dim lanes = t_.extent(t_.lanes);
  if (lanes.is_const() && lanes.value() % t_.lane_block == 0) whole_block_ = b_.i64(t_.lane_block);
  share(t_.columns, t_.column_block, n + 1, column_lo_, column_hi_);
  share(t_.rows, t_.row_block, n + 2, row_lo_, row_hi_);
  return ir::product(grid);
}

/// Tiles at places known to the compiler, where borders cost no run-time guards; false when those would be very many.
bool WindowTileEmitter::fixed_runs() {
  const int64_t extent = t_.extent(t_.columns).value(), lo = t_.lo.value(), hi = t_.hi.value(), count = t_.count;
  const auto inner = [&](int64_t first) { return first >= lo && first + count <= std::min(hi, extent); };
  std::vector<int64_t> before, after;
  int64_t from = 0, to = 0;
  for (int64_t first = 0; first < extent; first += count) {
    if (!inner(first)) {
      (from == to ? before : after).push_back(first);
      if (static_cast<int64_t>(before.size() + after.size()) > kMaxFixedTiles) return false;
      continue;
    }
    if (from == to) from = first;
    to = first + count;
  }
  border_ = extent - (to - from);
  const auto fixed = [&](int64_t first) {
    const ValueId here = b_.op(ScalarOp::kAnd, {b_.op(ScalarOp::kLe, {column_lo_, b_.i64(first)}), b_.op(ScalarOp::kLt, {b_.i64(first), column_hi_})});
    const auto tile = [&] {
      em_.scoped([&] { rows_of(first, std::min(count, extent - first), {}); });
      return std::vector<ValueId>{};
    };
    if (t_.column_block >= extent) tile();
    else b_.if_else(here, tile, [] { return std::vector<ValueId>{}; });
  };
  for (int64_t first : before) fixed(first);
  if (from < to) tiles(maximum(column_lo_, b_.i64(from)), minimum(column_hi_, b_.i64(to)), count, {.columns = true});
  for (int64_t first : after) fixed(first);
  return true;
}

/// Single columns up to the interior, its tiles, and single columns.
void WindowTileEmitter::symbolic_runs() {
  const ValueId lo = maximum(column_lo_, minimum(column_hi_, em_.dim(t_.lo)));
  const ValueId hi = maximum(lo, minimum(column_hi_, em_.dim(t_.hi)));
  const ValueId whole = b_.mul(b_.op(ScalarOp::kDiv, {b_.sub(hi, lo), b_.i64(t_.count)}), b_.i64(t_.count));
  const ValueId end = b_.add(lo, whole);
  const bool borders = !t_.column_guards.empty();
  if (borders) tiles(column_lo_, lo, 1, {});
  tiles(lo, end, t_.count, {.columns = true});
  if (t_.count > 1) tiles(end, hi, 1, {.columns = true});
  if (borders) tiles(hi, column_hi_, 1, {});
}

void WindowTileEmitter::tiles(ValueId lo, ValueId hi, int64_t count, Known known) {
  em_.loop(LoopKind::kSerial, lo, hi, count, [&](ValueId column) {
    em_.bind(t_.columns, column);
    rows_of(std::nullopt, count, known);
  });
}

void WindowTileEmitter::rows_of(std::optional<int64_t> first, int64_t count, Known known) {
  if (t_.rows < 0) return all_lanes(first, count, known);
  em_.loop(LoopKind::kSerial, row_lo_, row_hi_, 1, [&](ValueId row) {
    em_.bind(t_.rows, row);
    all_lanes(first, count, known);
  });
}

void WindowTileEmitter::all_lanes(std::optional<int64_t> first, int64_t count, Known known) {
  known.lanes = t_.lane_guards.empty();
  if (known.lanes || !t_.split_lanes) return lanes_of(first, count, known, lane_lo_, lane_hi_);
  const ValueId lo = maximum(lane_lo_, minimum(lane_hi_, em_.dim(t_.lane_lo)));
  const ValueId hi = maximum(lo, minimum(lane_hi_, em_.dim(t_.lane_hi)));
  lanes_of(first, count, known, lane_lo_, lo);
  lanes_of(first, count, {known.columns, true}, lo, hi);
  lanes_of(first, count, known, hi, lane_hi_);
}

void WindowTileEmitter::lanes_of(std::optional<int64_t> first, int64_t count, Known known, ValueId lo, ValueId hi) {
  const TileCode code = code_of(first, count, known);
  const bool whole = whole_block_ >= 0 && lo == lane_lo_ && hi == lane_hi_;
  for (const auto* values : {&code.inside, &code.outside}) hoist_offsets(*values);
  for (Expr e : code.post) em_.hoist(e);
  for (Expr e : code.offset) em_.hoist(e);
  // From 0 on, so that whole blocks have bounds known to the compiler.
  em_.loop(LoopKind::kVector, b_.i64(0), whole ? whole_block_ : b_.sub(hi, lo), 1, [&](ValueId lane) {
    em_.bind(t_.lanes, b_.add(lo, lane));
    const DType dtype = w_.stage.acc_dtype;
    const std::vector<ValueId> identity(static_cast<size_t>(count), constant(b_, dtype, ir::identity(w_.stage.combiner, dtype)));
    const std::vector<ValueId> sums = reduce(0, code, identity);
    for (size_t j = 0; j < sums.size(); ++j) {
      em_.hoist(code.post[j]);
      em_.scoped([&] {
        em_.bind_acc(sums[j]);
        const ValueId value = em_.emit(code.post[j]);
        em_.store_buffer(output_, em_.emit(code.offset[j]), value);
      });
    }
  });
}

void WindowTileEmitter::hoist_offsets(const std::vector<std::vector<Expr>>& values) {
  for (const std::vector<Expr>& taps : values) {
    for (Expr value : taps) {
      std::vector<Expr> offsets;
      visit(value, [&](int, const ExprNode& n) {
        if (n.kind == ExprKind::kLoad) offsets.push_back({value.pool, n.args[0]});
      });
      for (Expr e : offsets) em_.hoist(e);
    }
  }
}

/// The serial axes from the one at `depth` on, then the taps.
std::vector<ValueId> WindowTileEmitter::reduce(size_t depth, const TileCode& code, std::span<const ValueId> sums) {
  if (depth < t_.serial.size()) {
    const int axis = t_.serial[depth];
    const Dim extent = t_.extent(axis);
    const int64_t values = static_cast<int64_t>(sums.size() * code.inside[0].size());
    const bool unroll = !code.border && depth + 1 == t_.serial.size() && extent.is_const() && extent.value() <= kUnrolledTaps &&
                        values * extent.value() <= kUnrolledValues;
    return em_.loop(unroll ? LoopKind::kUnroll : LoopKind::kSerial, b_.i64(0), em_.dim(extent), 1, sums,
                    [&](ValueId iv, std::span<const ValueId> inner) {
                      em_.bind(axis, iv);
                      return reduce(depth + 1, code, inner);
                    });
  }
  if (code.outside.empty()) return taps(code.inside, sums);
  const auto branch = [&](const std::vector<std::vector<Expr>>& values) {
    return [&] {
      std::vector<ValueId> out;
      em_.scoped([&] { out = taps(values, sums); });
      return out;
    };
  };
  return b_.if_else(em_.emit(code.row_inside), branch(code.inside), branch(code.outside));
}

std::vector<ValueId> WindowTileEmitter::taps(const std::vector<std::vector<Expr>>& values, std::span<const ValueId> sums) {
  std::vector<ValueId> out(sums.begin(), sums.end());
  for (size_t tap = 0; tap < values[0].size(); ++tap)
    for (size_t j = 0; j < out.size(); ++j) out[j] = accumulate(em_, w_, out[j], values[j][tap]);
  return out;
}

/// Values with the guards that hold gone, at each column and tap.
WindowTileEmitter::TileCode WindowTileEmitter::code_of(std::optional<int64_t> first, int64_t count, Known known) {
  ir::ExprPool& pool = em_.pool();
  std::unordered_map<int, Expr> decided;
  const Expr yes = pool.constant_int(DType::kBool, 1), no = pool.constant_int(DType::kBool, 0);
  if (known.columns) for (int id : t_.column_guards) decided.emplace(id, yes);
  if (known.lanes) for (int id : t_.lane_guards) decided.emplace(id, yes);
  TileCode code{.border = first && 2 * border_ <= t_.extent(t_.columns).value()};
  for (int id : t_.row_guards) {
    const Expr guard{&pool, id};
    code.row_inside = code.row_inside.valid() ? code.row_inside && guard : guard;
    decided.emplace(id, yes);
  }
  const Expr inside = substitute(w_.value, decided);
  for (int id : t_.row_guards) decided.insert_or_assign(id, no);
  const Expr outside = substitute(w_.value, decided);
  std::vector<Expr> index;
  for (size_t a = 0; a < w_.outer; ++a) index.push_back(pool.index(static_cast<int>(a)));
  Affine offset;
  Dim stride = 1;
  for (size_t a = w_.outer; a-- > 0;) {
    offset = algebra_.add(offset, algebra_.affine(pool.index(static_cast<int>(a))), stride);
    stride = stride * w_.axes[a];
  }
  const int64_t taps = t_.extent(t_.tap).value();
  for (int64_t j = 0; j < count; ++j) {
    const Expr column = first ? pool.constant_int(DType::kI64, *first + j) : pool.index(t_.columns) + static_cast<double>(j);
    std::vector<Expr> in, out;
    for (int64_t tap = 0; tap < taps; ++tap) {
      in.push_back(place(inside, column, tap));
      if (!t_.row_guards.empty()) out.push_back(place(outside, column, tap));
    }
    code.inside.push_back(std::move(in));
    if (!out.empty()) code.outside.push_back(std::move(out));
    code.post.push_back(place(w_.post, column, std::nullopt));
    code.offset.push_back(ordered(algebra_.affine(place(algebra_.expr(offset), column, std::nullopt))));
  }
  return code;
}

/// `e` at a column and tap, with offsets whose parts that loops share come first.
Expr WindowTileEmitter::place(Expr e, Expr column, std::optional<int64_t> tap) {
  ir::ExprPool& pool = em_.pool();
  const Expr placed = pool.copy(e, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
    if (n.kind != ExprKind::kIndex) return {};
    if (n.axis == t_.columns) return column;
    return n.axis == t_.tap && tap ? pool.constant_int(DType::kI64, *tap) : Expr{};
  });
  return pool.copy(algebra_.simplify(placed), [&](const ExprNode& n, std::span<const Expr> args) -> Expr {
    if (n.kind != ExprKind::kLoad) return {};
    const Expr at[] = {ordered(algebra_.affine(args[0]))};
    return n.guarded ? pool.load_guarded(n.operand, n.dtype, at, args[1], args[2]) : pool.load(n.operand, n.dtype, at);
  });
}

/// Terms of outer loops first, then those of the lanes, then the constant, which becomes a displacement.
Expr WindowTileEmitter::ordered(Affine a) {
  std::vector<int> rank(w_.axes.size(), 0);
  rank[static_cast<size_t>(t_.columns)] = 1;
  if (t_.rows >= 0) rank[static_cast<size_t>(t_.rows)] = 2;
  for (size_t i = 0; i < t_.serial.size(); ++i) rank[static_cast<size_t>(t_.serial[i])] = 3 + static_cast<int>(i);
  rank[static_cast<size_t>(t_.lanes)] = 100;
  const Dim constant = a.constant;
  a.constant = 0;
  const Expr sum = algebra_.expr(a, rank);
  return constant.is_const(0) ? sum : a.terms.empty() ? em_.pool().dim(constant) : sum + em_.pool().dim(constant);
}

}  // namespace tenon::codegen
