#include "codegen/schedule/contraction_taps.h"

#include <algorithm>
#include <cstdlib>

#include "codegen/lower/guards.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ExprPool;

namespace {

constexpr int64_t kPresumedExtent = 32;  // of images whose size only a run knows
constexpr int64_t kMostTaps = 1 << 16;   // of a window, whose distances are below …
constexpr int64_t kFarthest = 1 << 30;   // … this, so that nothing overflows
constexpr int64_t kShortRun = 4;         // rows of M that make a tile
constexpr double kWorthSkipping = 0.8;   // products that are left, from which on smaller tiles and loops of unknown length do not pay

/// The index of an image along one of its dims: step * place + dilation * tap + first.
struct Walk {
  int place = -1, tap = -1;
  int64_t step = 0, dilation = 0, first = 0;
};

std::optional<Walk> walk_of(const Stage& s, const Affine& index) {
  if (!index.constant.is_const()) return std::nullopt;
  Walk walk{.first = index.constant.value()};
  for (const Affine::Term& t : index.terms) {
    const ExprNode& atom = s.value.pool->node(t.atom);
    if (atom.kind != ExprKind::kIndex || !t.coefficient.is_const() || t.coefficient.value() < 1) return std::nullopt;
    const bool reduced = static_cast<size_t>(atom.axis) >= s.axes.size();
    if ((reduced ? walk.tap : walk.place) >= 0) return std::nullopt;
    (reduced ? walk.tap : walk.place) = atom.axis;
    (reduced ? walk.dilation : walk.step) = t.coefficient.value();
  }
  const bool near = walk.step < kFarthest && walk.dilation < kFarthest && std::abs(walk.first) < kFarthest;
  return near && walk.tap >= 0 && walk.place >= 0 ? std::optional(walk) : std::nullopt;
}

int64_t presumed(Dim d, int64_t otherwise) { return std::clamp<int64_t>(d.is_const() ? d.value() : otherwise, 1, kFarthest); }

/// The part of all pairs of place and tap that meet the image.
double part_that_meets(const Walk& walk, Dim places, int64_t taps, Dim extent) {
  if (taps > kMostTaps) return 1;
  const int64_t size = presumed(extent, kPresumedExtent), count = presumed(places, size / walk.step);
  const auto below = [&](int64_t index) { return std::clamp<int64_t>((index + walk.step - 1) / walk.step, 0, count); };  // places before it
  double meets = 0;
  for (int64_t tap = 0; tap < taps; ++tap) {
    const int64_t at = walk.first + walk.dilation * tap;
    meets += static_cast<double>(std::max<int64_t>(0, below(std::max<int64_t>(0, size - at)) - below(std::max<int64_t>(0, -at))));
  }
  return meets / (static_cast<double>(count) * static_cast<double>(taps));
}

}  // namespace

std::vector<std::optional<int64_t>> PaddedTaps::halo(int64_t rows) const {
  std::vector<std::optional<int64_t>> out;
  for (const std::optional<int64_t>& step : row_step) out.push_back(step ? std::optional(*step * (rows - 1)) : std::nullopt);
  return out;
}

std::optional<PaddedTaps> taps_in_padding(const Lowering& lowering, int stage, Expr a, Expr b) {
  const Stage& s = lowering.group.stages[static_cast<size_t>(stage)];
  ExprPool& pool = *lowering.group.pool;
  const ExprNode root = a.node(), load = root.kind == ExprKind::kCast ? pool.node(root.args[0]) : root;
  if (load.kind != ExprKind::kLoad || !load.guarded || !is_zero(pool.node(load.args.back()))) return std::nullopt;
  const std::vector<Dim> axes = s.all_axes(), &shape = lowering.group.shape_of(load.operand);
  IndexAlgebra algebra(pool, axes);
  if (!guards_bounds(algebra, pool, load, shape)) return std::nullopt;
  int run = static_cast<int>(s.axes.size()) - 1;
  while (run >= 0 && (!uses_axis(a, run) || uses_axis(b, run))) --run;
  if (run < 0 || presumed(axes[static_cast<size_t>(run)], kPresumedExtent) < kShortRun) return std::nullopt;
  PaddedTaps out;
  double left = 1;
  for (size_t j = 0; j < shape.size(); ++j) {
    out.row_step.emplace_back();
    const Expr index{&pool, load.args[j]};
    const std::optional<Walk> walk = walk_of(s, algebra.affine(index));
    if (!walk) continue;
    const Dim taps = axes[static_cast<size_t>(walk->tap)];
    const double part = taps.is_const() ? part_that_meets(*walk, axes[static_cast<size_t>(walk->place)], taps.value(), shape[j]) : 1;
    if (part == 1) continue;
    left *= part;
    out.taps.push_back({index, shape[j]});
    out.row_step.back() = walk->place == run ? walk->step : 0;
  }
  return left <= kWorthSkipping ? std::optional(std::move(out)) : std::nullopt;
}

}  // namespace tenon::codegen
