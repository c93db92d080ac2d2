#include "codegen/schedule/winograd.h"

#include <algorithm>

#include "codegen/lower/guards.h"
#include "codegen/schedule/contraction.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ExprPool;

namespace {

constexpr int64_t kPresumedExtent = 32;      // of symbolic rows and columns
constexpr int64_t kMaxPost = 40;             // operations of an epilogue, which is repeated for each pixel of a tile
constexpr double kWeightBytesPerCycle = 10;  // from beyond the caches of a core
constexpr double kMoveCycles = 3.5;          // of a vector that a transform reads or writes, between caches
constexpr double kReorderMoves = 4;          // per vector of the image whose channels are brought innermost
constexpr double kGain = 0.9;                // what an estimate must be below, of the direct convolution's

/// The output axis + tap axis + constant that an index is.
struct Walk {
  int axis = -1, tap = -1;
  int64_t shift = 0;
};

std::optional<Walk> walk_of(const Stage& s, const Affine& index) {
  if (index.terms.size() != 2 || !index.constant.is_const()) return std::nullopt;
  Walk walk{.shift = index.constant.value()};
  for (const Affine::Term& t : index.terms) {
    const ExprNode& atom = s.value.pool->node(t.atom);
    if (atom.kind != ExprKind::kIndex || !t.coefficient.is_const(1)) return std::nullopt;
    (static_cast<size_t>(atom.axis) < s.axes.size() ? walk.axis : walk.tap) = atom.axis;
  }
  if (walk.axis < 0 || walk.tap < 0 || !s.reduce_axes[static_cast<size_t>(walk.tap) - s.axes.size()].is_const(3))
    return std::nullopt;
  return walk;
}

std::optional<WinogradConvolution> match(const Lowering& lowering, const Stage& s, Expr image, Expr weight) {
  ExprPool& pool = *s.value.pool;
  const ExprNode load = image.node();
  if (load.kind != ExprKind::kLoad || load.dtype != DType::kF32 || !reads_constants(lowering, weight))
    return std::nullopt;
  const int outer = static_cast<int>(s.axes.size());
  IndexAlgebra algebra(pool, s.all_axes());
  WinogradConvolution c{.operand = load.operand, .image = lowering.group.shape_of(load.operand), .axes = s.all_axes()};
  const size_t rank = c.image.size();
  if (rank < 3) return std::nullopt;
  std::optional<Walk> row, column;
  Affine channel;
  for (size_t j = 0; j < 3; ++j) {
    const Affine index = algebra.affine({&pool, load.args[rank - 3 + j]});
    const std::optional<Walk> walk = walk_of(s, index);
    if (walk && walk->axis == outer - 3) row = walk, c.stored[0] = j;
    else if (walk && walk->axis == outer - 2) column = walk, c.stored[1] = j;
    else channel = index, c.stored[2] = j;
  }
  if (!row || !column || channel.terms.size() != 1 || !channel.constant.is_const(0) ||
      !channel.terms[0].coefficient.is_const(1))
    return std::nullopt;
  for (size_t j = 0; j < 3; ++j) c.image[rank - 3 + j] = lowering.group.shape_of(load.operand)[rank - 3 + c.stored[j]];
  const ExprNode& k = pool.node(channel.terms[0].atom);
  c.row_axis = row->axis, c.column_axis = column->axis, c.channel_axis = outer - 1;
  c.tap_row_axis = row->tap, c.tap_column_axis = column->tap, c.k_axis = k.kind == ExprKind::kIndex ? k.axis : -1;
  c.top = row->shift, c.left = column->shift;
  const bool taps = c.k_axis >= outer && c.k_axis != c.tap_row_axis && c.k_axis != c.tap_column_axis &&
                    c.tap_row_axis != c.tap_column_axis;
  if (!taps) return std::nullopt;
  if (uses_axis(image, c.channel_axis) || !uses_axis(weight, c.channel_axis) || uses_any_axis(weight, 0, s.axes.size() - 1))
    return std::nullopt;
  for (int a = 0; a < c.row_axis; ++a) c.batch_axes.push_back(a);
  for (size_t j = 0; j + 3 < rank; ++j) {
    c.outer.push_back({&pool, load.args[j]});
    if (uses_any_axis(c.outer.back(), static_cast<size_t>(c.row_axis), s.axes.size() + 3)) return std::nullopt;
  }
  const bool zeros =
      !load.guarded || (pool.node(load.args.back()).kind == ExprKind::kConst &&
                        pool.node(load.args.back()).scalar.f == 0 &&
                        guards_bounds(algebra, pool, load, lowering.group.shape_of(load.operand)));
  const Dim channels = c.extent(c.channel_axis), terms = c.extent(c.k_axis);
  if (!zeros || !channels.is_const() || !terms.is_const() ||
      !terms.is_const(c.image.back().is_const() ? c.image.back().value() : -1))
    return std::nullopt;
  c.k = terms.value(), c.channels = channels.value();
  c.weight = flatten_loads(weight, c.axes, shapes(lowering));
  c.post = flatten_loads(s.post, c.axes, shapes(lowering));
  return c;
}

std::optional<WinogradConvolution> match(const Lowering& lowering, const Stage& s) {
  const ExprNode root = s.value.node();
  if (s.is_arg() || s.combiner != ir::Combiner::kAdd || s.acc_dtype != DType::kF32 || s.axes.size() < 3 ||
      s.reduce_axes.size() != 3)
    return std::nullopt;
  if (root.kind != ExprKind::kOp || root.op != ir::ScalarOp::kMul || root.dtype != DType::kF32) return std::nullopt;
  const Expr x{s.value.pool, root.args[0]}, y{s.value.pool, root.args[1]};
  std::optional<WinogradConvolution> c = match(lowering, s, x, y);
  return c ? c : match(lowering, s, y, x);
}

double presumed(Dim d) { return d.is_const() ? static_cast<double>(std::max<int64_t>(d.value(), 1)) : kPresumedExtent; }

/// Cycles of the direct convolution (form: none), or by a form: products, weights from memory, transforms.
double cycles(const WinogradConvolution& c, const Target& target, const WinogradForm* form) {
  const double lanes = target.lanes(32), k = static_cast<double>(c.k), n = static_cast<double>(c.channels);
  const auto m = static_cast<double>(form == nullptr ? 1 : form->outputs),
             points = form == nullptr ? 9 : (m + 2) * (m + 2);
  double tiles = std::ceil(presumed(c.extent(c.row_axis)) / m) * std::ceil(presumed(c.extent(c.column_axis)) / m);
  for (int a : c.batch_axes) tiles *= c.extent(a).is_const() ? presumed(c.extent(a)) : 1;
  const double products = tiles * points * k * n / (2 * lanes), weights = points * k * n * 4 / kWeightBytesPerCycle;
  const double moved = c.innermost() ? 0 : kReorderMoves * m * m * k;
  const double vectors = tiles * ((2 * points * k) + moved + (points + m * m) * n) / lanes;
  return products + weights + (form == nullptr ? 0 : vectors * kMoveCycles);
}

/// Null: the convolution as it is defined.
const WinogradForm* choose_form(const WinogradConvolution& c, const Target& target, Tunable& tunable) {
  tunable.signature = fmt::format("convolution 3x3 {}x{}x{} to {}", extent_text(c.extent(c.row_axis)), extent_text(c.extent(c.column_axis)), c.k, c.channels);
  for (int a : c.batch_axes) tunable.signature += fmt::format(" of {}", extent_text(c.extent(a)));
  double best = cycles(c, target, nullptr) * kGain;
  const WinogradForm* chosen = nullptr;
  for (const WinogradForm& form : winograd_forms()) {
    const double estimate = cycles(c, target, &form);
    if (estimate >= best) continue;
    chosen = &form;
    best = estimate * kGain;
  }
  if (target.tuning != nullptr)
    if (const auto found = target.tuning->find(tunable.signature); found != target.tuning->end() && found->second.winograd != 0) {
      if (found->second.winograd < 0) chosen = nullptr;
      for (const WinogradForm& form : winograd_forms())
        if (form.outputs == found->second.winograd) chosen = &form;
    }
  tunable.taken.winograd = chosen == nullptr ? -1 : static_cast<int>(chosen->outputs);
  for (int form : {-1, 2, 4})
    if (form != tunable.taken.winograd) tunable.others.push_back({.winograd = form});
  return chosen;
}

Stage temporary(std::vector<Dim> shape) {
  Stage s;
  s.shape = s.axes = std::move(shape);
  s.dtype = s.acc_dtype = DType::kF32;
  return s;
}

/// A stage that is the image with its channels innermost.
int reordered(Lowering& lowering, const WinogradConvolution& c) {
  ExprPool& pool = *lowering.group.pool;
  Stage s = temporary(c.image);
  const size_t rank = c.image.size();
  std::vector<Expr> index(rank);
  for (size_t j = 0; j < rank; ++j) index[j + 3 < rank ? j : rank - 3 + c.stored[j + 3 - rank]] = pool.index(static_cast<int>(j));
  s.value = pool.load(c.operand, DType::kF32, index);
  lowering.group.stages.push_back(std::move(s));
  return static_cast<int>(lowering.group.stages.size()) - 1;
}

Status emit(Lowering& lowering, WinogradConvolution c, const WinogradForm& form, int stage) {
  ExprPool& pool = *lowering.group.pool;
  std::vector<Stage>& stages = lowering.group.stages;
  const WinogradEmitter emitter(c, form, lowering.target.has_fma);
  const int64_t points = form.points() * form.points();
  const int image = static_cast<int>(stages.size()), products = image + 1;
  const Expr zero = pool.constant_int(DType::kI64, 0), point = pool.index(0), tile = pool.index(1), n = pool.index(2),
             k = pool.index(3);
  stages.push_back(temporary({points, emitter.tiles(), c.k}));
  Stage sums = temporary({points, emitter.tiles(), c.channels});
  sums.reduce_axes = {c.k};
  const Expr of_image[] = {point, tile, k}, of_weights[] = {point, k, n};
  sums.value =
      pool.load(kStageOperand + image, DType::kF32, of_image) * pool.load(kPackedOperand, DType::kF32, of_weights);
  sums.post = pool.acc(0, DType::kF32);
  stages.push_back(std::move(sums));
  const auto writer = [&](Expr read, int written) {
    return KernelWriter(lowering, "winograd", std::span<const Expr>(&read, 1), std::span<const int>(&written, 1));
  };

  const size_t kernels = lowering.out.kernels.size(), tunables = lowering.out.tunables.size();
  const Status product = schedule_panels(lowering, products, [&](int64_t tile_lanes) -> Result<int> {
    const int panels = static_cast<int>(stages.size());
    stages.push_back(temporary({points, (c.channels + tile_lanes - 1) / tile_lanes, c.k, tile_lanes}));
    KernelWriter weights = writer(c.weight, panels);
    emitter.transform_weights(weights, panels, tile_lanes);
    if (!c.innermost()) {
      const int image_stage = reordered(lowering, c);
      TENON_RETURN_IF_ERROR(schedule_map(lowering, std::span<const int>(&image_stage, 1)));
      c.operand = kStageOperand + image_stage;
    }
    KernelWriter images = writer(pool.load(c.operand, DType::kF32, std::span<const Expr>(&zero, 1)), image);
    emitter.transform_image(images, image);
    return panels;
  });
  if (!product.ok()) {
    lowering.out.kernels.resize(kernels);
    lowering.out.tunables.resize(tunables);
    return product;
  }
  const Expr reads[] = {pool.load(kStageOperand + products, DType::kF32, std::span<const Expr>(&zero, 1)), c.post};
  KernelWriter last(lowering, "winograd", reads, std::span<const int>(&stage, 1));
  emitter.transform_products(last, products, stage);
  return {};
}

}  // namespace

std::span<const WinogradForm> winograd_forms() {
  static const WinogradForm forms[] = {
      {.outputs = 2,
       .bt = {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}},
       .g = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}},
       .at = {{1, 1, 1, 0}, {0, 1, -1, -1}}},
      {.outputs = 4,
       .bt = {{4, 0, -5, 0, 1, 0},
              {0, -4, -4, 1, 1, 0},
              {0, 4, -4, -1, 1, 0},
              {0, -2, -1, 2, 1, 0},
              {0, 2, -1, -2, 1, 0},
              {0, 4, 0, -5, 0, 1}},
       .g = {{1. / 4, 0, 0},
             {-1. / 6, -1. / 6, -1. / 6},
             {-1. / 6, 1. / 6, -1. / 6},
             {1. / 24, 1. / 12, 1. / 6},
             {1. / 24, -1. / 12, 1. / 6},
             {0, 0, 1}},
       .at = {{1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, -1, 8, -8, 1}}}};
  return forms;
}

Status schedule_winograd(Lowering& lowering, int stage) {
  if (!lowering.target.winograd) return error(Code::kUnsupported, "not wanted");
  const std::optional<WinogradConvolution> c = match(lowering, lowering.stage(stage));
  if (!c) return error(Code::kUnsupported, "not a convolution of 3x3 taps by constants whose result has its channels innermost");
  if (c->k < lowering.target.lanes(32) || c->channels < lowering.target.lanes(32))
    return error(Code::kUnsupported, "fewer channels than lanes");
  if (evaluation_cost(c->post) > kMaxPost) return error(Code::kUnsupported, "its epilogue is too long to repeat");
  Tunable tunable;
  const WinogradForm* chosen = choose_form(*c, lowering.target, tunable);
  lowering.out.tunables.push_back(std::move(tunable));
  if (chosen == nullptr) return error(Code::kUnsupported, "products do not dominate");
  const size_t stages = lowering.group.stages.size();
  Status done = emit(lowering, *c, *chosen, stage);
  if (!done.ok())
    lowering.group.stages.resize(stages);
  else
    lowering.out.implementation = fmt::format("winograd {0}x{0}", chosen->outputs);
  return done;
}

}  // namespace tenon::codegen
