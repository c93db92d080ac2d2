#include "codegen/schedule/attention_lanes.h"

#include <algorithm>

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;

namespace {

constexpr int64_t kMaxComponents = 512;  // of a head: panels of them are on the stack
constexpr int64_t kMaxKeys = 512, kMaxRows = 128;

int64_t round_up(int64_t x, int64_t unit) { return (x + unit - 1) / unit * unit; }

/// Whether everything that `e` reads along `axis` is read as it lies in memory.
bool contiguous_along(const Attention& a, Expr e, int axis) {
  IndexAlgebra algebra(*e.pool, a.axes);
  std::vector<int> offsets;
  bool ok = true, any = false;
  visit(e, [&](int, const ir::ExprNode& n) {
    if (n.kind == ExprKind::kLoad) offsets.push_back(n.args[0]);
    ok &= !n.guarded;
  });
  for (int id : offsets) {
    for (const Affine::Term& t : algebra.affine({e.pool, id}).terms) {
      const ir::ExprNode& atom = e.pool->node(t.atom);
      const bool along = atom.kind == ExprKind::kIndex && atom.axis == axis;
      any |= along;
      ok &= along ? t.coefficient.is_const(1) : !uses_axis({e.pool, t.atom}, axis);
    }
  }
  return ok && any;
}

void choose_keys(AttentionBlocks& b, const Attention& a, int64_t most) {
  const Dim keys = a.extent(a.key_axis);
  most = std::max(b.tile_lanes, most / b.tile_lanes * b.tile_lanes);
  b.keys = most;
  if (keys.is_const()) {
    const int64_t count = std::max<int64_t>(1, keys.value()), blocks = (count + most - 1) / most;
    b.keys = round_up((count + blocks - 1) / blocks, b.lanes);
    b.one_block = blocks == 1;
  }
  b.key_pitch = round_up(b.keys, b.lanes);
  if (b.key_pitch / b.lanes % 2 == 0) b.key_pitch += b.lanes;  // an odd number of cache lines spreads over the cache's sets
}

AttentionBlocks common(const Attention& a, const Target& target) {
  AttentionBlocks b;
  b.lanes = target.lanes(bits(a.dtype));
  b.fma = target.has_fma;
  b.d = a.extent(a.d_axis).value();
  b.n = a.extent(a.n_axis).value();
  b.n_pitch = round_up(b.n, b.lanes);
  return b;
}

/// Panels: register tiles of rows × lanes, for as many rows as share the panels of K and V.
AttentionBlocks many_rows(const Attention& a, const Target& target) {
  AttentionBlocks b = common(a, target);
  const bool many = target.vector_registers >= 32;
  b.tile_rows = many || target.has_fma ? 6 : 4;
  b.tile_lanes = b.lanes * (many ? 4 : 2);
  const Dim m = a.m();
  int64_t rows = kMaxRows;
  if (m.is_const()) {
    const int64_t count = std::max<int64_t>(1, m.value()), tiles = (count + b.tile_rows - 1) / b.tile_rows;
    b.tile_rows = (count + tiles - 1) / tiles;
    const int64_t blocks = (count + kMaxRows - 1) / kMaxRows;
    rows = (count + blocks - 1) / blocks;
  }
  b.rows = round_up(rows, b.tile_rows);
  const int64_t bytes = bits(a.dtype) / 8;
  choose_keys(b, a, std::min(target.l2_bytes / 4 / ((b.d + b.n_pitch + b.rows) * bytes), kMaxKeys));
  return b;
}

/// K and V in place: each is read once for all rows.
AttentionBlocks few_rows(const Attention& a, const Target& target, int64_t rows) {
  AttentionBlocks b = common(a, target);
  b.panels = false;
  b.rows = b.tile_rows = rows;
  b.tile_lanes = b.lanes * std::clamp<int64_t>((target.vector_registers - 8) / rows, 1, 4);
  choose_keys(b, a, kMaxKeys);
  return b;
}

/// The rows when every symbolic axis of theirs has size 1, as the queries of a decoder's step.
int64_t fewest_rows(const Attention& a) {
  Dim rows = 1;
  for (int axis : a.m_axes)
    if (a.extent(axis).is_const()) rows = rows * a.extent(axis);
  return rows.is_const() ? rows.value() : INT64_MAX;
}

}  // namespace

Status schedule_attention(Lowering& lowering, const Attention& a) {
  if (lowering.gpu()) return schedule_attention_in_lanes(lowering, a);
  for (int axis : {a.d_axis, a.n_axis}) {
    const Dim extent = a.extent(axis);
    if (!extent.is_const() || extent.value() > kMaxComponents || extent.value() < 1)
      return error(Code::kUnsupported, "heads of {} components", to_string(extent));
  }
  const Dim m = a.m(), keys = a.extent(a.key_axis);
  if (!(m * keys * a.batch()).is_valid()) return error(Code::kUnsupported, "extents overflow");
  const bool in_place = contiguous_along(a, a.k, a.d_axis) && contiguous_along(a, a.v, a.n_axis);
  const int64_t few = fewest_rows(a);
  const int64_t most = lowering.target.vector_registers >= 32 ? 6 : 4;
  std::vector<AttentionBlocks> variants;
  if (in_place && few <= most && few > 0) variants.push_back(few_rows(a, lowering.target, few));
  if (variants.empty() || !m.is_const()) variants.push_back(many_rows(a, lowering.target));
  std::vector<Expr> reads = {a.q, a.k, a.v, a.score, a.x, a.shift, a.factor, a.post, a.keep};
  reads.insert(reads.end(), a.limits.begin(), a.limits.end());
  const int own[] = {a.scores, a.maxima, a.sums, a.out};
  KernelWriter writer(lowering, "attention", reads, std::span<const int>(&a.out, 1), own);
  emit_attention(a, variants, writer, writer.output(a.out));
  const AttentionBlocks& last = variants.back();
  const Dim products = m * keys * (a.extent(a.d_axis) + a.extent(a.n_axis) + 16);
  writer.finish(a.batch() * ir::ceil_div(m, last.rows), a.batch() * products * 2);
  lowering.out.implementation = "attention " + std::to_string(last.rows) + "x" + std::to_string(last.keys);
  return {};
}

}  // namespace tenon::codegen
