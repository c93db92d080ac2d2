#include <algorithm>

#include "codegen/schedule/dot_product.h"
#include "codegen/schedule/few_rows.h"
#include "codegen/schedule/tiled_contraction.h"

namespace tenon::codegen {

using ir::Dim;

namespace {

constexpr int64_t kTile = 32;      // about what a workgroup computes along each side
constexpr int64_t kLongSum = 256;  // elements of K that are worth a workgroup

/// With the sums of parts of K in one kernel, and theirs with `post` in another.
Status schedule_parts(Lowering& lowering, int stage, int parts) {
  TENON_RETURN_IF_ERROR(schedule_contraction_in_lanes(lowering, parts, false));
  const std::string how = lowering.out.implementation;
  TENON_RETURN_IF_ERROR(schedule_window(lowering, stage));
  lowering.out.implementation = fmt::format("{}, {} parts of K", how, lowering.stage(stage).reduce_axes[0].value());
  return {};
}

/// Tiles, and for runs in which the rows are few a kernel of those.
Status schedule_unknown_rows(Lowering& lowering, int stage, const Contraction& c) {
  TENON_RETURN_IF_ERROR(schedule_tiled_contraction(lowering, stage));
  const int64_t rows = product_of_constants(extents_of(c, c.m_axes));
  const Result<FewRows> few = choose_few_rows(c, rows, lowering.target);
  if (!few.ok()) return {};
  const RowsOfRun runs = rows_of_run(c.m, rows);
  LoweredKernel& tiles = lowering.out.kernels.back();
  const std::string how = lowering.out.implementation;
  tiles.grid = tiles.grid * runs.many;
  tiles.work = tiles.work * runs.many;
  schedule_few_rows(lowering, stage, *few, runs.few);
  lowering.out.implementation = fmt::format("{}; of {} rows, {}", how, rows, lowering.out.implementation);
  return {};
}

/// A product of bytes as one of words, in kernels behind those of what it reads. Changes nothing where it refuses.
Status schedule_dot_product(Lowering& lowering, int stage) {
  const Stage plain = lowering.stage(stage);
  const size_t stages = lowering.group.stages.size(), kernels = lowering.out.kernels.size();
  std::optional<DotProduct> dot = rewrite_as_dot_product(lowering, stage);
  if (!dot) return error(Code::kUnsupported, "no product of bytes");
  sum_rows(lowering, stage, *dot);
  const Result<Contraction> c = classify_contraction(lowering, stage);
  if (c.ok() && c->m.is_const() && c->m.value() > kFewRows) store_weights(lowering, stage, *dot);
  const Status done = c.ok() ? schedule_contraction_in_lanes(lowering, stage, true) : c.status();
  if (!done.ok()) {
    lowering.group.stages.resize(stages);
    lowering.stage(stage) = plain;
    return done;
  }
  const std::string how = lowering.out.implementation;
  const auto product = static_cast<int64_t>(lowering.out.kernels.size());
  TENON_RETURN_IF_ERROR(schedule_operands(lowering, *dot));
  const auto first = lowering.out.kernels.begin();
  std::rotate(first + static_cast<int64_t>(kernels), first + product, lowering.out.kernels.end());
  lowering.out.implementation = how;
  return {};
}

}  // namespace

void store_result(Emitter& em, const Contraction& c, int output, std::vector<kir::ValueId> index, const PlacedSum& placed) {
  em.bind(c.m_axis, placed.m);
  em.bind(c.n_axis, placed.n);
  for (const auto& [axes, flat] : {std::pair(&c.m_axes, placed.m), std::pair(&c.n_axes, placed.n)}) {
    const std::vector<kir::ValueId> each = em.unflatten(flat, extents_of(c, *axes));
    for (size_t a = 0; a < axes->size(); ++a) index[static_cast<size_t>((*axes)[a])] = each[a];
  }
  em.bind_acc(placed.sum);
  em.set_mask(placed.inside);
  const kir::ValueId value = em.emit(c.post);
  em.set_mask(-1);
  const std::vector<Dim> outer(c.axes.begin(), c.axes.begin() + static_cast<int64_t>(c.outer));
  em.builder().store_masked(output, row_major_offset(em, outer, index, c.outer - 1), value, placed.inside);
}

Status schedule_contraction_on_gpu(Lowering& lowering, int stage) {
  if (lowering.target.has_dot4_signed) {
    const Status bytes = schedule_dot_product(lowering, stage);
    if (bytes.code() != Code::kUnsupported) return bytes;
  }
  return schedule_contraction_in_lanes(lowering, stage, true);
}

Status schedule_contraction_in_lanes(Lowering& lowering, int stage, bool may_split) {
  TENON_ASSIGN_OR_RETURN(const Contraction c, classify_contraction(lowering, stage));
  if (!c.m.is_const()) return schedule_unknown_rows(lowering, stage, c);
  const Result<FewRows> few = choose_few_rows(c, c.m.value(), lowering.target);
  if (!few.ok() && c.m.value() <= 1) return few.status();
  if (may_split) {
    const Dim batch = ir::product(extents_of(c, c.batch_axes));
    const Dim workgroups = few.ok() ? few->workgroups() : batch * ir::ceil_div(c.m, kTile) * ir::ceil_div(c.n, kTile);
    const Stage whole = lowering.stage(stage);
    const int parts = split_reduction(lowering, stage, workgroups, kLongSum, false);
    if (parts >= 0) {
      const size_t kernels = lowering.out.kernels.size();
      const Status in_parts = schedule_parts(lowering, stage, parts);
      if (in_parts.ok() || in_parts.code() != Code::kUnsupported) return in_parts;
      lowering.out.kernels.resize(kernels);
      lowering.group.stages.pop_back();
      lowering.stage(stage) = whole;
    }
  }
  if (!few.ok()) return schedule_tiled_contraction(lowering, stage);
  schedule_few_rows(lowering, stage, *few, 1);
  return {};
}

}  // namespace tenon::codegen
