#include <algorithm>

#include "codegen/lower/pad.h"
#include "codegen/schedule/contraction.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

namespace {

constexpr int64_t kPackedRowsBytes = 256 << 10;  // of A, when it has to be packed: on the stack, in the L2 cache

/// The product's two factors. Which is A and which is B: see classify().
Status factors(const Stage& s, Expr value, Contraction& c) {
  const ExprNode& root = value.node();
  if (s.is_arg() || s.combiner != ir::Combiner::kAdd) return error(Code::kUnsupported, "not a sum");
  if (root.kind != ExprKind::kOp || root.op != ScalarOp::kMul) return error(Code::kUnsupported, "not a sum of products");
  c.a = {value.pool, root.args[0]};
  c.b = {value.pool, root.args[1]};
  return {};
}

/// Sorts the output's axes into batch, M (only in A) and N (only in B; a suffix, which runs in lanes).
Status classify(Contraction& c) {
  if (c.outer == 0) return error(Code::kUnsupported, "one output element");
  const int last = static_cast<int>(c.outer) - 1;
  const bool in_a = uses_axis(c.a, last), in_b = uses_axis(c.b, last);
  if (in_a == in_b) return error(Code::kUnsupported, "the innermost output axis is in {} factors", in_a ? "both" : "no");
  if (in_a) std::swap(c.a, c.b);
  bool suffix = true;
  for (int axis = last; axis >= 0; --axis) {
    const bool a = uses_axis(c.a, axis), b = uses_axis(c.b, axis);
    suffix = suffix && b && !a;
    (suffix ? c.n_axes : a && !b ? c.m_axes : c.batch_axes).push_back(axis);
  }
  for (std::vector<int>* axes : {&c.n_axes, &c.m_axes, &c.batch_axes}) std::reverse(axes->begin(), axes->end());
  return {};
}

std::vector<Dim> extents_of(const Contraction& c, const std::vector<int>& axes) {
  std::vector<Dim> out;
  for (int a : axes) out.push_back(c.axes[static_cast<size_t>(a)]);
  return out;
}

/// Sets `wide` when B's offset allows it: N is (row, column), read at pitch * row + column.
void choose_wide(Contraction& c) {
  const ExprNode& load = c.b.node();
  if (c.n_axes.size() != 2 || load.kind != ExprKind::kLoad || load.guarded || c.b.dtype() != c.acc_dtype) return;
  if (c.padded < 0 || load.operand != kStageOperand + c.padded) return;
  IndexAlgebra algebra(*c.b.pool, c.axes);
  const Affine offset = algebra.affine({c.b.pool, load.args[0]});
  Dim row = 0, column = 0;
  for (const Affine::Term& t : offset.terms) {
    const ExprNode& atom = c.b.pool->node(t.atom);
    if (atom.kind != ExprKind::kIndex) {
      if (uses_axis({c.b.pool, t.atom}, c.n_axes[0]) || uses_axis({c.b.pool, t.atom}, c.n_axes[1])) return;
      continue;
    }
    if (atom.axis == c.n_axes[0]) row = t.coefficient;
    if (atom.axis == c.n_axes[1]) column = t.coefficient;
  }
  c.wide = column.is_const(1) && ir::known_le(c.axes[static_cast<size_t>(c.n_axes[1])], row);
  c.pitch = row;
}

/// A bare load with an offset of plain indices: its part along the reduce axes can be added in the inner loop.
bool plain_offset(const Contraction& c, Expr e) {
  const ExprNode& load = e.node();
  if (load.kind != ExprKind::kLoad || load.guarded || load.operand >= kStageOperand || e.dtype() != c.acc_dtype) return false;
  IndexAlgebra algebra(*e.pool, c.axes);
  const Affine offset = algebra.affine({e.pool, load.args[0]});
  return std::all_of(offset.terms.begin(), offset.terms.end(),
                     [&](const Affine::Term& t) { return e.pool->node(t.atom).kind == ExprKind::kIndex; });
}

/// Replaces the M, N and K axes by one flat axis each, numbered after all others. Wide: B alone gets a flat N, which runs
/// over image rows, and K stays as it is.
void flatten_groups(Contraction& c) {
  ir::ExprPool& pool = *c.a.pool;
  std::vector<int> k_axes;
  for (size_t a = c.outer; a < c.axes.size(); ++a) k_axes.push_back(static_cast<int>(a));
  const int base = static_cast<int>(c.axes.size());
  std::vector<Expr> replacement(c.axes.size());
  const auto flatten = [&](const std::vector<int>& group, int flat_axis) {
    Dim inner = 1;
    const Expr flat = pool.index(flat_axis);
    for (size_t i = group.size(); i-- > 0;) {
      const Dim extent = c.axes[static_cast<size_t>(group[i])];
      Expr index = inner.is_const(1) ? flat : ir::floor_div(flat, pool.dim(inner));
      if (i > 0) index = ir::mod(index, pool.dim(extent));
      replacement[static_cast<size_t>(group[i])] = index;
      inner = inner * extent;
    }
    return inner;
  };
  c.m_axis = base, c.n_axis = base + 1, c.k_axis = base + 2;
  c.m = flatten(c.m_axes, c.m_axis);
  if (c.wide) {
    const Dim rows = c.axes[static_cast<size_t>(c.n_axes[0])], columns = c.axes[static_cast<size_t>(c.n_axes[1])];
    c.n = (rows - 1) * c.pitch + columns;
    if (!ir::known_le(1, rows)) c.n = ir::max(c.n, 0);
    c.k = ir::product(extents_of(c, k_axes));
    for (int a : k_axes) replacement[static_cast<size_t>(a)] = pool.index(a);
    for (int a : c.n_axes) replacement[static_cast<size_t>(a)] = pool.index(a);
    c.k_axes = k_axes;
  } else {
    c.n = flatten(c.n_axes, c.n_axis);
    c.k = flatten(k_axes, c.k_axis);
    c.k_axes = {c.k_axis};
  }
  std::vector<Dim> extents = c.axes;
  extents.insert(extents.end(), {c.m, c.n, c.k});
  IndexAlgebra algebra(pool, extents);
  for (Expr* e : {&c.a, &c.b, &c.post}) {
    if (c.wide && e == &c.b) {
      replacement[static_cast<size_t>(c.n_axes[0])] = pool.constant_int(DType::kI64, 0);
      replacement[static_cast<size_t>(c.n_axes[1])] = pool.index(c.n_axis);
    } else if (c.wide) {
      for (int a : c.n_axes) replacement[static_cast<size_t>(a)] = pool.index(a);
    }
    *e = algebra.simplify(pool.copy(*e, [&](const ExprNode& node, std::span<const Expr>) -> Expr {
      return node.kind == ExprKind::kIndex ? replacement[static_cast<size_t>(node.axis)] : Expr{};
    }));
  }
  c.extents = std::move(extents);
}

/// A bare load whose offset is affine, with the given axis only as an index: cheap to address in the inner loop.
bool direct_load(const Contraction& c, Expr e, int axis, int unit_axis) {
  const ExprNode& node = e.node();
  if (node.kind != ExprKind::kLoad || node.guarded || node.operand >= kStageOperand) return false;
  IndexAlgebra algebra(*e.pool, c.extents);
  const Affine offset = algebra.affine({e.pool, node.args[0]});
  bool unit = unit_axis < 0;
  for (const Affine::Term& t : offset.terms) {
    const ExprNode& atom = e.pool->node(t.atom);
    if (atom.kind == ExprKind::kIndex) {
      unit |= atom.axis == unit_axis && t.coefficient.is_const(1);
      continue;
    }
    bool checked = false;
    visit({e.pool, t.atom}, [&](int, const ExprNode& n) {
      checked |= n.kind == ExprKind::kLoad || n.kind == ExprKind::kCheckedIndex;
    });
    if (checked || uses_axis({e.pool, t.atom}, axis) || (unit_axis >= 0 && uses_axis({e.pool, t.atom}, unit_axis))) return false;
  }
  return unit;
}

int64_t round_up(int64_t x, int64_t unit) { return (x + unit - 1) / unit * unit; }

/// Register tile: MR rows of `vectors` vectors. Tall tiles of few vectors load more per product; wide ones pad more.
void choose_tile(Contraction& c, const Target& target, int lanes) {
  struct Tile {
    int rows, vectors;
    double efficiency;
  };
  const std::vector<Tile> tiles = target.vector_registers >= 32
                                      ? std::vector<Tile>{{6, 4, 1.0}, {12, 2, 0.8}, {14, 1, 0.7}}
                                      : std::vector<Tile>{{target.has_fma ? 6 : 4, 2, 1.0}, {8, 1, 0.75}};
  double best = 0;
  for (const Tile& t : tiles) {
    const int64_t width = static_cast<int64_t>(t.vectors) * lanes;
    double cost = 1 / t.efficiency;
    if (c.n.is_const() && c.n.value() > 0) cost *= static_cast<double>(round_up(c.n.value(), width)) / static_cast<double>(c.n.value());
    int64_t rows = t.rows;
    if (c.m.is_const() && c.m.value() > 0) {
      const int64_t count = (c.m.value() + rows - 1) / rows;
      rows = (c.m.value() + count - 1) / count;
      cost *= static_cast<double>(rows * count) / static_cast<double>(c.m.value());
    }
    if (best != 0 && cost >= best) continue;
    best = cost;
    c.tile_rows = rows;
    c.tile_lanes = width;
  }
}

void choose_blocks(Contraction& c, const Target& target) {
  const int64_t bytes = bits(c.acc_dtype) / 8;
  const int64_t k_max = std::clamp<int64_t>(target.l2_bytes / 4 / (c.tile_lanes * bytes), 64, 768);
  if (c.k.is_const()) {
    const int64_t k = std::max<int64_t>(1, c.k.value()), blocks = (k + k_max - 1) / k_max;
    c.k_block = (k + blocks - 1) / blocks;
  } else {
    c.k_block = std::min<int64_t>(k_max, 256);
  }
  c.one_k_block = c.k.is_const() && c.k.value() <= c.k_block;
  const int64_t m_max = std::max<int64_t>(c.tile_rows, target.l2_bytes / 4 / (c.tile_lanes * bytes) / c.tile_rows * c.tile_rows);
  c.m_block = round_up(std::min<int64_t>(m_max, 96), c.tile_rows);
  if (!c.m.is_const()) return;
  const int64_t m = std::max<int64_t>(1, c.m.value());
  int64_t block = std::min(m_max, round_up(m, c.tile_rows));
  const Dim others = ir::product(extents_of(c, c.batch_axes)) * ir::ceil_div(c.n, c.tile_lanes);
  // Every block of M packs its tile of B again, so blocks are large; a wide B is not packed at all.
  const int64_t wanted = c.wide ? 32 : 8;
  if (others.is_const() && others.value() > 0 && others.value() * ((m + block - 1) / block) < wanted) {
    const int64_t chunks = (wanted + others.value() - 1) / others.value();
    block = std::min(block, std::max(4 * c.tile_rows, round_up((m + chunks - 1) / chunks, c.tile_rows)));
  }
  c.m_block = std::min(block, round_up(m, c.tile_rows));
}

/// The output axis and divisor of some quotient in `value` by which the axis, of an extent that it divides, falls into two: the
/// channels of a grouped convolution are groups × channels of one.
std::optional<std::pair<int, int64_t>> divided_axis(const Stage& s) {
  const ir::ExprPool& pool = *s.value.pool;
  std::optional<std::pair<int, int64_t>> found;
  visit(s.value, [&](int, const ExprNode& n) {
    if (found || n.kind != ExprKind::kOp || n.op != ScalarOp::kFloorDiv || n.dtype != DType::kI64) return;
    const ExprNode &axis = pool.node(n.args[0]), &by = pool.node(n.args[1]);
    if (axis.kind != ExprKind::kIndex || static_cast<size_t>(axis.axis) >= s.axes.size()) return;
    const Dim extent = s.axes[static_cast<size_t>(axis.axis)];
    const std::optional<int64_t> divisor = by.kind == ExprKind::kConst                       ? std::optional(by.scalar.i)
                                           : by.kind == ExprKind::kDim && by.dim.is_const() ? std::optional(by.dim.value())
                                                                                             : std::nullopt;
    if (divisor && *divisor > 1 && extent.is_const() && *divisor < extent.value() && extent.value() % *divisor == 0)
      found = std::pair(axis.axis, *divisor);
  });
  return found;
}

/// Replaces axis `axis` by extent / inner and inner; row-major order stays.
void split_axis(Stage& s, int axis, int64_t inner) {
  ir::ExprPool& pool = *s.value.pool;
  const auto at = s.axes.begin() + axis;
  const int64_t outer = at->value() / inner;
  *at = outer;
  s.axes.insert(at + 1, Dim(inner));
  IndexAlgebra algebra(pool, s.all_axes());
  for (Expr* e : {&s.value, &s.post}) {
    *e = algebra.simplify(pool.copy(*e, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
      if (n.kind != ExprKind::kIndex || n.axis < axis) return {};
      if (n.axis > axis) return pool.index(n.axis + 1);
      return pool.index(axis) * pool.constant_int(DType::kI64, inner) + pool.index(axis + 1);
    }));
  }
}

Result<Contraction> prepare(Lowering& lowering, int stage, Expr stage_value, int padded) {
  const Stage& s = lowering.stage(stage);
  Contraction c;
  c.padded = padded;
  c.axes = s.all_axes();
  c.acc_dtype = s.acc_dtype;
  Expr value = flatten_loads(stage_value, c.axes, shapes(lowering));
  c.post = flatten_loads(s.post, c.axes, shapes(lowering));
  Expr* roots[] = {&value, &c.post};
  c.outer = static_cast<size_t>(merge_axes(*lowering.group.pool, roots, c.axes, static_cast<int>(s.axes.size())));
  TENON_RETURN_IF_ERROR(factors(s, value, c));
  TENON_RETURN_IF_ERROR(classify(c));
  if (plain_offset(c, c.a)) choose_wide(c);
  flatten_groups(c);
  if (c.m.is_const() && c.m.value() <= 1) return error(Code::kUnsupported, "one row");
  if (c.k.is_const() && c.k.value() <= 2) return error(Code::kUnsupported, "{} products an element", c.k.value());
  if (!(c.m * c.n * c.k).is_valid()) return error(Code::kUnsupported, "extents overflow");
  choose_tile(c, lowering.target, lowering.target.lanes(bits(c.acc_dtype)));
  choose_blocks(c, lowering.target);
  c.fma = lowering.target.has_fma && (c.acc_dtype == DType::kF32 || c.acc_dtype == DType::kF64);
  if (c.wide) {
    c.a_direct = true;
    c.one_k_block = true;
    return c;
  }
  c.a_direct = c.a.dtype() == c.acc_dtype && direct_load(c, c.a, c.k_axis, -1);
  if (!c.a_direct) {
    const int64_t rows = kPackedRowsBytes / (c.k_block * bits(c.acc_dtype) / 8) / c.tile_rows * c.tile_rows;
    c.m_block = std::min(c.m_block, std::max(rows, c.tile_rows));
  }
  c.b_contiguous = direct_load(c, c.b, c.k_axis, c.n_axis) && c.b.dtype() == c.acc_dtype;
  c.direct_rows = c.b_contiguous ? 2 * c.tile_rows : 0;
  return c;
}

/// A padded image is stored once with its zeros: B then needs no guards, and often no packing.
Result<Contraction> prepare_padded(Lowering& lowering, int stage) {
  const Expr value = lowering.stage(stage).value;
  TENON_ASSIGN_OR_RETURN(Contraction c, prepare(lowering, stage, value, -1));
  constexpr int64_t kSlack = 64;  // the widest tile
  for (int f : value.node().args) {
    const std::optional<Padded> padded = materialise_padding(lowering, stage, {value.pool, f}, kSlack);
    if (!padded) continue;
    Result<Contraction> better = prepare(lowering, stage, padded->value, padded->stage);
    if (better.ok()) return better;
    lowering.group.stages.pop_back();
  }
  return c;
}

}  // namespace

Status schedule_contraction(Lowering& lowering, int stage) {
  if (lowering.gpu()) return error(Code::kUnsupported, "GPU: one element an invocation");
  const Stage whole = lowering.stage(stage);
  if (const auto groups = divided_axis(whole)) split_axis(lowering.stage(stage), groups->first, groups->second);
  Result<Contraction> prepared = prepare_padded(lowering, stage);
  if (!prepared.ok()) {
    lowering.stage(stage) = whole;
    return std::move(prepared).status();
  }
  const Contraction c = std::move(*prepared);
  if (c.padded >= 0) TENON_RETURN_IF_ERROR(schedule_map(lowering, std::span<const int>(&c.padded, 1)));
  const Expr reads[] = {c.a, c.b, c.post};
  KernelWriter writer(lowering, "contraction", reads, std::span<const int>(&stage, 1));
  const Dim batch = ir::product(extents_of(c, c.batch_axes));
  ContractionEmitter(c, writer, writer.output(stage)).emit();
  writer.finish(batch * ir::ceil_div(c.m, c.m_block) * ir::ceil_div(c.n, c.tile_lanes), batch * c.m * c.n * c.k * 2);
  lowering.out.implementation = "contraction " + std::to_string(c.tile_rows) + "x" + std::to_string(c.tile_lanes);
  return {};
}

}  // namespace tenon::codegen
