#include <algorithm>
#include <map>
#include <unordered_map>

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

namespace {

constexpr int64_t kBlock = 8192;  // elements of one grid index on a CPU
constexpr int64_t kMaxTransposedCost = 32;
constexpr int64_t kTransposedLanes = 256;

constexpr int kStoreOperand = kStageOperand - 128;  // stands for the output in the expression of its offset
constexpr size_t kMaxPieces = 64;
constexpr int kTileOperand = kStageOperand + (1 << 20);  // + i: stands for a load that comes through shared memory
constexpr int64_t kSide = 32, kSquareLanes = 256;
constexpr size_t kMaxTiles = 4;

/// Equal-shaped maps, or one piece of one, after merging axes: `axes` are the loops, `values` the elements to store and
/// `store` a load whose argument is the offset in the output.
struct Map {
  std::vector<int> stages;
  std::vector<Expr> values;
  Expr store;
  std::vector<Dim> axes;
  size_t lane_axis = 0;
  Expr offset() const { return {store.pool, store.node().args[0]}; }
};

/// The part [lo, hi) of one axis; axis -1: everything.
struct Piece {
  int axis = -1;
  Dim lo = 0, hi = 0;
};

Map prepare(Lowering& lowering, std::span<const int> stages, const Piece& piece) {
  ir::ExprPool& pool = *lowering.group.pool;
  const std::vector<Dim> shape = lowering.stage(stages[0]).axes;
  Map map;
  map.stages.assign(stages.begin(), stages.end());
  map.axes = shape;
  std::vector<Expr> index;
  for (size_t a = 0; a < shape.size(); ++a) index.push_back(pool.index(static_cast<int>(a)));
  map.store = pool.load(kStoreOperand, lowering.stage(stages[0]).dtype, index);
  std::vector<Expr*> roots{&map.store};
  for (int s : stages) map.values.push_back(lowering.stage(s).value);
  for (Expr& e : map.values) roots.push_back(&e);
  if (piece.axis >= 0) map.axes[static_cast<size_t>(piece.axis)] = piece.hi - piece.lo;
  const auto shape_of = shapes(lowering);
  for (Expr* e : roots) {
    if (piece.axis >= 0) {
      *e = pool.copy(*e, [&](const ir::ExprNode& n, std::span<const Expr>) -> Expr {
        const bool moved = n.kind == ir::ExprKind::kIndex && n.axis == piece.axis;
        return moved ? pool.index(n.axis) + pool.dim(piece.lo) : Expr{};
      });
    }
    *e = flatten_loads(*e, map.axes, [&](int operand) { return operand == kStoreOperand ? &shape : shape_of(operand); });
  }
  merge_axes(pool, roots, map.axes, -1);
  if (map.axes.empty()) map.axes.push_back(1);
  return map;
}

/// If a comparison of an axis with a dim decides something in `value`: the axis, and where the answer changes.
std::optional<std::pair<int, Dim>> breakpoint(IndexAlgebra& algebra, ir::ExprPool& pool, const ir::ExprNode& n) {
  const bool less = n.op == ScalarOp::kLt || n.op == ScalarOp::kGe, greater = n.op == ScalarOp::kGt || n.op == ScalarOp::kLe;
  if (n.kind != ir::ExprKind::kOp || (!less && !greater) || pool.node(n.args[0]).dtype != DType::kI64) return std::nullopt;
  // a < b and a >= b change at a - b = 0; a > b and a <= b at a - b = 1.
  const Affine d = algebra.add(algebra.affine({&pool, n.args[0]}), algebra.affine({&pool, n.args[1]}), -1);
  if (d.terms.size() != 1 || pool.node(d.terms[0].atom).kind != ir::ExprKind::kIndex) return std::nullopt;
  const int axis = pool.node(d.terms[0].atom).axis;
  const Dim at = greater ? Dim(1) - d.constant : Dim() - d.constant;
  if (d.terms[0].coefficient.is_const(1)) return std::pair(axis, at);
  // -i + c < 0 is i > c.
  if (d.terms[0].coefficient.is_const(-1)) return std::pair(axis, greater ? d.constant : d.constant + 1);
  return std::nullopt;
}

/// The dims from the smallest to the largest, when that is known for all values of the symbols.
std::optional<std::vector<Dim>> in_order(std::vector<Dim> dims) {
  std::vector<Dim> out;
  while (!dims.empty()) {
    const auto least = std::find_if(dims.begin(), dims.end(), [&](Dim d) {
      return std::all_of(dims.begin(), dims.end(), [&](Dim other) { return ir::known_le(d, other); });
    });
    if (least == dims.end()) return std::nullopt;
    out.push_back(*least);
    dims.erase(least);
  }
  return out;
}

/// Concatenations choose between operands by position along one axis: one piece each needs no choice. One piece when the
/// value reads one operand only, or when the places are not known to be in order. A choice between very many is refused: one
/// kernel would make all of it for each element, and so many kernels take long to compile.
Result<std::vector<Piece>> split(Lowering& lowering, int stage) {
  const Stage& s = lowering.stage(stage);
  ir::ExprPool& pool = *lowering.group.pool;
  IndexAlgebra algebra(pool, s.axes);
  std::map<int, std::vector<Dim>> places;
  int loads = 0;
  visit(s.value, [&](int, const ir::ExprNode& n) { loads += n.kind == ir::ExprKind::kLoad ? 1 : 0; });
  std::vector<ir::ExprNode> nodes;
  visit(s.value, [&](int, const ir::ExprNode& n) { nodes.push_back(n); });
  for (const ir::ExprNode& n : nodes) {
    const auto found = breakpoint(algebra, pool, n);
    if (!found || !found->second.is_valid()) continue;
    std::vector<Dim>& at = places[found->first];
    if (at.size() <= kMaxPieces && std::find(at.begin(), at.end(), found->second) == at.end()) at.push_back(found->second);
  }
  const auto most = std::max_element(places.begin(), places.end(),
                                     [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); });
  const std::vector<Piece> whole{Piece{}};
  if (loads < 2 || most == places.end()) return whole;
  if (most->second.size() + 1 > kMaxPieces)
    return error(Code::kUnsupported, "{} places choose between operands, {} are the most", most->second.size(), kMaxPieces - 1);
  std::optional<std::vector<Dim>> ordered = in_order(most->second);
  if (!ordered) return whole;
  std::vector<Dim> at = *ordered;
  const Dim extent = s.axes[static_cast<size_t>(most->first)];
  std::vector<Piece> pieces;
  Dim lo = 0;
  at.push_back(extent);
  for (Dim hi : at) {
    if (!ir::known_le(lo, hi) || !ir::known_le(hi, extent)) return whole;
    if (lo != hi) pieces.push_back({most->first, lo, hi});
    lo = hi;
  }
  return pieces.empty() ? whole : pieces;
}

void store_elements(KernelWriter& writer, const Map& map, ValueId offset) {
  for (size_t i = 0; i < map.stages.size(); ++i)
    writer.emitter().store_buffer(writer.output(map.stages[i]), offset, writer.emitter().emit(map.values[i]));
}

/// One element a grid index.
Dim element_grid(KernelWriter& writer, const Map& map) {
  Emitter& em = writer.emitter();
  const std::vector<ValueId> index = em.unflatten(em.builder().grid_index(), map.axes);
  for (size_t a = 0; a < map.axes.size(); ++a) em.bind(static_cast<int>(a), index[a]);
  store_elements(writer, map, em.emit(map.offset()));
  return ir::product(map.axes);
}

Dim row_grid(KernelWriter& writer, const Map& map) {
  Emitter& em = writer.emitter();
  std::vector<Expr> hoisted = map.values;
  hoisted.push_back(map.offset());
  return emit_row_grid(em, map.axes, map.lane_axis, kBlock, [&](std::span<ValueId>, ValueId lo, ValueId hi) {
    for (Expr e : hoisted) em.hoist(e);
    em.loop(LoopKind::kVector, lo, hi, 1, [&](ValueId iv) {
      em.bind(static_cast<int>(map.lane_axis), iv);
      store_elements(writer, map, em.emit(map.offset()));
    });
  }, hoisted);
}

/// Whether a load's memory runs along `axis` while the lanes visit it far apart.
bool runs_across(IndexAlgebra& algebra, ir::ExprPool& pool, const Map& map, const ir::ExprNode& n, size_t axis) {
  if (n.kind != ir::ExprKind::kLoad || n.guarded) return false;
  const Affine offset = algebra.affine({&pool, n.args[0]});
  const Dim* lanes = offset.coefficient_of(pool.index(static_cast<int>(map.lane_axis)).id);
  const Dim* along = offset.coefficient_of(pool.index(static_cast<int>(axis)).id);
  const bool near = lanes == nullptr || (lanes->is_const() && std::abs(lanes->value()) <= 2);
  return !near && along != nullptr && along->is_const(1);
}

/// The axis along which memory runs in some load that the lanes visit far apart.
std::optional<size_t> transposed_axis(ir::ExprPool& pool, const Map& map, int64_t width) {
  if (map.axes.size() < 2 || map.lane_axis + 1 != map.axes.size()) return std::nullopt;
  const auto worthy = [&](size_t axis) { return !map.axes[axis].is_const() || map.axes[axis].value() >= width; };
  if (!worthy(map.lane_axis)) return std::nullopt;
  IndexAlgebra algebra(pool, map.axes);
  std::optional<size_t> found;
  bool checked = false;
  int64_t cost = 0;
  for (Expr e : map.values) {
    cost += evaluation_cost(e);
    visit(e, [&](int, const ir::ExprNode& n) {
      checked |= n.kind == ir::ExprKind::kCheckedIndex;
      for (size_t axis = 0; axis < map.lane_axis; ++axis)
        if (worthy(axis) && runs_across(algebra, pool, map, n, axis)) found = axis;
    });
  }
  return checked || cost > kMaxTransposedCost ? std::nullopt : found;
}

/// Squares of `width` lanes and as many elements along `axis`, whose loads the emitter transposes in registers.
Dim transposed_grid(KernelWriter& writer, const Map& map, size_t axis, int64_t width) {
  Emitter& em = writer.emitter();
  kir::KernelBuilder& b = em.builder();
  const int64_t along = std::max<int64_t>(1, kBlock / kTransposedLanes / width) * width;
  std::vector<Dim> grid = map.axes;
  grid[axis] = ir::ceil_div(grid[axis], along);
  grid[map.lane_axis] = ir::ceil_div(grid[map.lane_axis], kTransposedLanes);
  const std::vector<ValueId> index = em.unflatten(b.grid_index(), grid);
  for (size_t a = 0; a < grid.size(); ++a)
    if (a != axis && a != map.lane_axis) em.bind(static_cast<int>(a), index[a]);
  const auto share = [&](size_t a, int64_t block) {
    const ValueId lo = b.mul(index[a], b.i64(block)), extent = em.dim(map.axes[a]);
    return std::pair(lo, b.op(ScalarOp::kMin, {b.add(lo, b.i64(block)), extent}));
  };
  const auto [lo, hi] = share(axis, along);
  const auto [lane_lo, lane_hi] = share(map.lane_axis, kTransposedLanes);
  const ValueId squares = b.mul(b.op(ScalarOp::kDiv, {b.sub(hi, lo), b.i64(width)}), b.i64(width));
  const auto lanes = [&, first = lane_lo, last = lane_hi](const std::function<void()>& body) {
    em.loop(LoopKind::kVector, first, last, 1, [&](ValueId lane) {
      em.bind(static_cast<int>(map.lane_axis), lane);
      body();
    }, static_cast<int>(width));
  };
  const auto element = [&](ValueId at) {
    em.bind(static_cast<int>(axis), at);
    store_elements(writer, map, em.emit(map.offset()));
  };
  const ValueId end = b.add(lo, squares);
  em.loop(LoopKind::kSerial, lo, end, width, [&](ValueId first) {
    lanes([&] { em.loop(LoopKind::kUnroll, b.i64(0), b.i64(width), 1, [&](ValueId j) { element(b.add(first, j)); }); });
  });
  em.loop(LoopKind::kSerial, end, hi, 1, [&](ValueId at) { lanes([&] { element(at); }); });
  return ir::product(grid);
}

/// On a GPU: squares along `axis` and the lanes' own. What memory has along `axis` a workgroup reads along that into the memory that it
/// shares, to store along the other: both sides are runs.
class SquareEmitter {
 public:
  SquareEmitter(KernelWriter& writer, const Map& map, size_t axis) : writer_(writer), map_(map), em_(writer.emitter()), b_(writer.builder()), axis_(axis) {
    ir::ExprPool& pool = em_.pool();
    IndexAlgebra algebra(pool, map.axes);
    std::vector<std::pair<int, DType>> found;
    for (Expr e : map.values)
      visit(e, [&](int id, const ir::ExprNode& n) {
        if (std::find(found.begin(), found.end(), std::pair(id, n.dtype)) == found.end() && runs_across(algebra, pool, map, n, axis)) found.emplace_back(id, n.dtype);
      });
    std::unordered_map<int, Expr> replaced;
    for (const auto& [id, dtype] : found) {
      const Expr none[] = {pool.constant_int(DType::kI64, 0)};
      replaced.emplace(id, pool.load(kTileOperand + static_cast<int>(loads_.size()), dtype, none));
      loads_.push_back({&pool, id});
    }
    for (Expr& e : map_.values) e = substitute(e, replaced);
  }

  size_t tiles() const { return loads_.size(); }
  /// Of the memory that a workgroup shares.
  int64_t bytes() const {
    int64_t sum = 0;
    for (Expr load : loads_) sum += kSide * (kSide + 1) * std::max(bits(load.dtype()), 8) / 8;
    return sum;
  }

  Dim emit() {
    b_.kernel().lanes = kSquareLanes;
    for (Expr load : loads_) tiles_.push_back(b_.add_local("tile", load.dtype(), kSide * (kSide + 1)));
    std::vector<Dim> grid = map_.axes;
    for (size_t a : {axis_, map_.lane_axis}) grid[a] = ir::ceil_div(grid[a], kSide);
    index_ = em_.unflatten(b_.grid_index(), grid);
    for (size_t a = 0; a < grid.size(); ++a)
      if (a != axis_ && a != map_.lane_axis) em_.bind(static_cast<int>(a), index_[a]);
    square([&](ValueId slow, ValueId fast) {
      const ValueId inside = bind_place(fast, slow);
      em_.set_mask(inside);
      std::vector<ValueId> values;
      for (Expr load : loads_) values.push_back(em_.emit(load));
      em_.set_mask(-1);
      for (size_t t = 0; t < tiles_.size(); ++t) b_.store(tiles_[t], b_.add(b_.mul(slow, b_.i64(kSide + 1)), fast), values[t]);
    });
    square([&](ValueId slow, ValueId fast) {
      const ValueId inside = bind_place(slow, fast);
      for (size_t t = 0; t < tiles_.size(); ++t)
        em_.bind_result(kTileOperand + static_cast<int>(t), b_.load(tiles_[t], b_.add(b_.mul(fast, b_.i64(kSide + 1)), slow)));
      em_.set_mask(inside);
      store_elements(writer_, map_, em_.emit(map_.offset()));
      em_.set_mask(-1);
    });
    return ir::product(grid);
  }

 private:
  void square(const std::function<void(ValueId slow, ValueId fast)>& body) {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(kSide * kSide), 1, [&](ValueId i) {
      body(b_.op(ScalarOp::kDiv, {i, b_.i64(kSide)}), b_.op(ScalarOp::kRem, {i, b_.i64(kSide)}));
    });
  }

  /// The place in the square; whether the map has it.
  ValueId bind_place(ValueId along_axis, ValueId along_lanes) {
    const auto place = [&](size_t axis, ValueId inside) {
      const ValueId at = b_.add(b_.mul(index_[axis], b_.i64(kSide)), inside);
      em_.bind(static_cast<int>(axis), at);
      return b_.op(ScalarOp::kLt, {at, em_.dim(map_.axes[axis])});
    };
    return b_.op(ScalarOp::kAnd, {place(axis_, along_axis), place(map_.lane_axis, along_lanes)});
  }

  KernelWriter& writer_;
  Map map_;
  Emitter& em_;
  kir::KernelBuilder& b_;
  size_t axis_;
  std::vector<Expr> loads_;
  std::vector<int> tiles_;
  std::vector<ValueId> index_;
};

Dim gpu_grid(KernelWriter& writer, const Map& map, const Target& target) {
  const auto axis = target.max_workgroup >= kSquareLanes ? transposed_axis(writer.emitter().pool(), map, kSide) : std::nullopt;
  if (!axis) return element_grid(writer, map);
  SquareEmitter squares(writer, map, *axis);
  return squares.tiles() <= kMaxTiles && squares.bytes() <= target.shared_bytes ? squares.emit() : element_grid(writer, map);
}

Dim cpu_grid(KernelWriter& writer, const Map& map, const Target& target) {
  int widest = 32;
  for (Expr e : map.values) widest = std::max(widest, bits(e.dtype()));
  const int64_t width = target.lanes(widest);
  const auto axis = transposed_axis(writer.emitter().pool(), map, width);
  return axis ? transposed_grid(writer, map, *axis, width) : row_grid(writer, map);
}

}  // namespace

Status schedule_map(Lowering& lowering, std::span<const int> stages) {
  std::vector<Piece> pieces{Piece{}};
  if (stages.size() == 1 && !lowering.gpu()) {
    TENON_ASSIGN_OR_RETURN(pieces, split(lowering, stages[0]));
  }
  for (const Piece& piece : pieces) {
    Map map = prepare(lowering, stages, piece);
    map.lane_axis = choose_lane_axis(map.axes);
    int64_t cost = 0;
    for (Expr e : map.values) cost += evaluation_cost(e);
    KernelWriter writer(lowering, "map", map.values, stages);
    const Dim grid = lowering.gpu() ? gpu_grid(writer, map, lowering.target) : cpu_grid(writer, map, lowering.target);
    writer.finish(grid, ir::product(map.axes) * cost);
  }
  return {};
}

}  // namespace tenon::codegen
