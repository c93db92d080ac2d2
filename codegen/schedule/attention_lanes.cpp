#include "codegen/schedule/attention_lanes.h"

#include <algorithm>

#include "codegen/schedule/powers.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;

namespace {

constexpr int64_t kMaxComponents = 512;  // of a head
constexpr int64_t kLanes = 128, kLanesOfFewRows = 64;
constexpr int64_t kFewRows = 8;
constexpr int64_t kRowLanes = 16;
constexpr int64_t kSumsOfSide = 4;  // of a lane, along rows and keys
constexpr int64_t kSlice = 32, kShortSlice = 16;
constexpr int64_t kMostParts = 32;
constexpr int64_t kTilesOfPart = 2;  // tiles of keys that are worth a workgroup
constexpr int64_t kReserve = 2048;   // bytes for what lanes combine and what rows keep

/// Rows, where they are known; symbols of the batch count as one.
int64_t known_or(Dim d, int64_t otherwise) { return d.is_const() ? d.value() : otherwise; }

/// What a lane has of the tiles.
void choose_lane(AttentionTiles& t, const Attention& a, int64_t m, const Target& target) {
  t.lane_columns = (t.n + t.column_lanes - 1) / t.column_lanes;
  t.lane_rows = std::min({kSumsOfSide, power_below(target.lane_sums / t.lane_columns), t.column_lanes});
  const int64_t keys = known_or(a.extent(a.key_axis), INT64_MAX);
  while (t.lane_rows > 1 && t.row_lanes * t.lane_rows / 2 >= m) t.lane_rows /= 2;
  t.lane_keys = std::min(kSumsOfSide, power_below(target.lane_sums / t.lane_rows));
  while (t.lane_keys > 1 && t.column_lanes * t.lane_keys / 2 >= std::min<int64_t>(keys, 64)) t.lane_keys /= 2;
  t.d_slice = std::min(t.d, kSlice);
  t.key_slice = std::min(t.keys(), kSlice);
}

/// The next smaller tile: first what is shared at once, then a lane's rows and keys, then rows of lanes. False: there is none.
bool shrink(AttentionTiles& t) {
  if (t.key_slice > kShortSlice)
    t.key_slice /= 2;
  else if (t.d_slice > kShortSlice)
    t.d_slice = (t.d_slice + 1) / 2;
  else if (t.lane_rows > 1)
    t.lane_rows /= 2;
  else if (t.lane_keys > 1)
    t.lane_keys /= 2;
  else if (t.key_slice > 1)
    t.key_slice /= 2;
  else if (t.row_lanes > 1) {
    t.row_lanes /= 2, t.column_lanes *= 2;
    t.lane_columns = (t.n + t.column_lanes - 1) / t.column_lanes;
  } else
    return false;
  t.key_slice = std::min(t.key_slice, t.keys());
  return true;
}

int64_t choose_parts(const Attention& a, const AttentionTiles& t, int64_t m, const Target& target) {
  std::vector<Dim> batch;
  for (int axis : a.batch_axes) batch.push_back(a.extent(axis));
  const int64_t matrices = product_of_constants(batch);
  if (m == INT64_MAX || m < 1 || matrices < 1 || matrices > target.busy_workgroups) return 1;
  int64_t parts = std::min(target.busy_workgroups / (matrices * ((m + t.rows() - 1) / t.rows())), kMostParts);
  const Dim keys = a.extent(a.key_axis);
  if (keys.is_const()) parts = std::min(parts, keys.value() / (t.keys() * kTilesOfPart));
  return std::max<int64_t>(1, parts);
}

std::vector<Expr> reads_of(const Attention& a, bool finish, bool tiles) {
  std::vector<Expr> reads;
  if (tiles) reads = {a.q, a.k, a.v, a.score, a.x};
  if (tiles) reads.insert(reads.end(), a.limits.begin(), a.limits.end());
  if (finish) reads.insert(reads.end(), {a.shift, a.factor, a.post});
  reads.push_back(a.keep);
  return reads;
}

}  // namespace

int64_t AttentionTiles::shared_bytes(int64_t element) const {
  return (queries() + slices() + rows() * (keys() + 1) + rows() * 3 + 2 * rows() * row_parts()) * element;
}

Result<AttentionTiles> choose_attention_tiles(const Attention& a, int64_t m, const Target& target) {
  AttentionTiles t;
  t.fma = target.has_fma;
  t.d = a.extent(a.d_axis).value();
  t.n = a.extent(a.n_axis).value();
  const int64_t most = power_below(target.max_workgroup);
  const int64_t lanes = std::min(m <= kFewRows ? kLanesOfFewRows : kLanes, most);
  t.row_lanes = std::min({kRowLanes, m < kRowLanes ? power_above(m) : kRowLanes, lanes});
  t.column_lanes = lanes / t.row_lanes;
  for (; t.row_lanes > 1 && t.n > t.column_lanes * target.lane_sums; t.row_lanes /= 2) t.column_lanes *= 2;
  choose_lane(t, a, m, target);
  const int64_t element = bits(a.dtype) / 8;
  const auto fits = [&] { return t.shared_bytes(element) + kReserve <= target.shared_bytes; };
  while (!fits() && shrink(t)) {
  }
  if (!fits()) return error(Code::kUnsupported, "heads of {} and {} components do not fit in the shared memory", t.d, t.n);
  t.parts = choose_parts(a, t, m, target);
  return t;
}

namespace {

/// `rows` of the whole batch; `runs`, 0 or 1: whether it does anything.
void schedule_tiles(Lowering& lowering, const Attention& a, const AttentionTiles& t, Dim rows, Dim runs) {
  const int own[] = {a.scores, a.maxima, a.sums, a.out}, writes[] = {a.out};
  const bool one = t.parts == 1;
  std::vector<int> temporaries;
  for (Dim count : {rows * t.n * t.parts, rows * t.parts, rows * t.parts}) {
    if (one) break;
    temporaries.push_back(static_cast<int>(lowering.out.temporaries.size()));
    lowering.out.temporaries.push_back({a.dtype, count});
  }
  const auto bind_parts = [&](KernelWriter& writer, bool written) {
    if (one) return AttentionParts{};
    const auto bind = [&](size_t i, const char* name) { return writer.emitter().add_binding(name, a.dtype, written, temporaries[i]); };
    return AttentionParts{bind(0, "sums"), bind(1, "totals"), bind(2, "maxima")};
  };
  {
    KernelWriter writer(lowering, "attention", reads_of(a, one, true), std::span(writes).first(one ? 1 : 0), own);
    const AttentionParts parts = bind_parts(writer, true);
    emit_attention_tiles(a, t, writer, writer.output(a.out), parts);
    const Dim grid = a.batch() * ir::ceil_div(a.m(), t.rows()) * t.parts;
    writer.finish(grid * runs, rows * a.extent(a.key_axis) * (t.d + t.n + 16) * 2 * runs);
  }
  if (one) return;
  KernelWriter writer(lowering, "attention_parts", reads_of(a, true, false), writes, own);
  const AttentionParts parts = bind_parts(writer, false);
  emit_attention_parts(a, t, writer, writer.output(a.out), parts);
  writer.finish(rows * t.n * runs, rows * t.n * t.parts * 4 * runs);
}

std::string describe(const AttentionTiles& t) {
  std::string text = fmt::format("attention {}x{}, {} lanes", t.rows(), t.keys(), t.lanes());
  if (t.parts > 1) text += fmt::format(", {} parts of the keys", t.parts);
  return text;
}

}  // namespace

Status schedule_attention_in_lanes(Lowering& lowering, const Attention& a) {
  for (int axis : {a.d_axis, a.n_axis}) {
    const Dim extent = a.extent(axis);
    if (!extent.is_const() || extent.value() > kMaxComponents || extent.value() < 1)
      return error(Code::kUnsupported, "heads of {} components", to_string(extent));
  }
  const Dim m = a.m(), rows = a.batch() * m;
  if (!(rows * a.extent(a.key_axis) * kMaxComponents * kMostParts).is_valid()) return error(Code::kUnsupported, "extents overflow");
  std::vector<Dim> extents;
  for (int axis : a.m_axes) extents.push_back(a.extent(axis));
  const int64_t fewest = product_of_constants(extents);
  const bool both = !m.is_const() && fewest >= 1 && fewest <= kFewRows;
  TENON_ASSIGN_OR_RETURN(const AttentionTiles many, choose_attention_tiles(a, known_or(m, INT64_MAX), lowering.target));
  TENON_ASSIGN_OR_RETURN(const AttentionTiles few, choose_attention_tiles(a, fewest, lowering.target));
  const RowsOfRun runs = both ? rows_of_run(m, fewest) : RowsOfRun{0, 1};
  schedule_tiles(lowering, a, many, rows, runs.many);
  lowering.out.implementation = describe(many);
  if (!both) return {};
  schedule_tiles(lowering, a, few, a.batch() * fewest, runs.few);
  lowering.out.implementation += fmt::format("; of {} rows, {}", fewest, describe(few));
  return {};
}

}  // namespace tenon::codegen
