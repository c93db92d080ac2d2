#include "codegen/schedule/dot_product.h"

#include <algorithm>
#include <cstdint>

#include "codegen/lower/pad.h"
#include "codegen/schedule/contraction.h"
#include "codegen/schedule/int_range.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ExprPool;
using ir::ScalarOp;

namespace {

/// cast(load) - zero, in i32.
struct Shifted {
  Expr load, zero;  // zero is invalid where nothing is subtracted
};

constexpr int64_t kLeastBytes = 3;  // of a word, that are worth one
constexpr int64_t kPair = 2;

Expr argument(Expr e, size_t i) { return {e.pool, e.node().args[i]}; }

bool is_byte(DType d) { return d == DType::kU8 || d == DType::kI8; }

std::optional<Shifted> shifted(Expr factor) {
  Shifted out;
  if (factor.node().kind == ExprKind::kOp && factor.node().op == ScalarOp::kSub) {
    out.zero = argument(factor, 1);
    factor = argument(factor, 0);
  }
  if (factor.dtype() != DType::kI32 || factor.node().kind != ExprKind::kCast) return std::nullopt;
  out.load = argument(factor, 0);
  if (out.load.node().kind != ExprKind::kLoad || !is_byte(out.load.dtype())) return std::nullopt;
  return out;
}

Expr i32(ExprPool& pool, int64_t value) { return pool.constant_int(DType::kI32, value); }

/// w' and what is left of its zero point.
struct SignedWeights {
  Expr value, zero;  // zero: invalid when w' has none
};

std::optional<SignedWeights> signed_weights(const Lowering& lowering, const Shifted& w) {
  ExprPool& pool = *lowering.group.pool;
  const Expr value = pool.cast(w.load, DType::kI32);
  const std::optional<IntRange> bytes = range_of(lowering, w.load), zeros = w.zero.valid() ? range_of(lowering, w.zero) : IntRange{0, 0};
  if (bytes && zeros && bytes->lo - zeros->hi >= -128 && bytes->hi - zeros->lo <= 127)
    return SignedWeights{w.zero.valid() ? value - w.zero : value, {}};
  const int64_t shift = w.load.dtype() == DType::kU8 ? 128 : 0;
  const Expr zero = w.zero.valid() ? w.zero - i32(pool, shift) : i32(pool, -shift);
  return SignedWeights{shift == 0 ? value : value - i32(pool, shift), zero};
}

/// `count` neighbours along `axis` of `value`, whose axis counts words then, as numbers of `width` bits of an i32; zeros beyond `extent`.
Expr as_word(ExprPool& pool, Expr value, int axis, int64_t extent, int64_t count = kWordBytes, int64_t width = 8) {
  Expr word;
  for (int64_t place = 0; place < count; ++place) {
    const Expr at = pool.index(axis) * pool.constant_int(DType::kI64, count) + pool.constant_int(DType::kI64, place);
    const bool cut_off = extent % count != 0;
    const Expr inside = at < pool.constant_int(DType::kI64, extent);
    Expr element = pool.copy(value, [&](const ExprNode& n, std::span<const Expr> args) -> Expr {
      if (n.kind == ExprKind::kIndex && n.axis == axis) return at;
      if (n.kind == ExprKind::kLoad && !n.guarded && cut_off) return pool.load_guarded(n.operand, n.dtype, args, inside, constant_expr(pool, n.dtype));
      return {};
    });
    if (cut_off) element = ir::select(inside, element, i32(pool, 0));
    const Expr low[] = {element, i32(pool, (int64_t{1} << width) - 1)};
    const Expr placed[] = {pool.op(ScalarOp::kAnd, low), i32(pool, width * place)};
    const Expr both[] = {word.valid() ? word : i32(pool, 0), pool.op(ScalarOp::kShl, placed)};
    word = place == 0 ? both[1] : pool.op(ScalarOp::kOr, both);
  }
  return word;
}

/// Adds the stage that sums `value` over the reduce axes; returns a load of it over the axes of `stage`.
Expr add_sums(Lowering& lowering, int stage, Expr value, int& number) {
  ExprPool& pool = *lowering.group.pool;
  const Stage& s = lowering.stage(stage);
  Stage sums;
  std::vector<int> renamed(s.axes.size(), -1);
  std::vector<Expr> index;
  for (size_t axis = 0; axis < s.axes.size(); ++axis) {
    if (!uses_axis(value, static_cast<int>(axis))) continue;
    renamed[axis] = static_cast<int>(sums.axes.size());
    sums.axes.push_back(s.axes[axis]);
    index.push_back(pool.index(static_cast<int>(axis)));
  }
  const size_t kept = sums.axes.size();
  sums.reduce_axes = s.reduce_axes;
  sums.shape = sums.axes;
  sums.dtype = sums.acc_dtype = DType::kI32;
  sums.value = pool.copy(value, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
    if (n.kind != ExprKind::kIndex) return {};
    const auto axis = static_cast<size_t>(n.axis);
    return pool.index(axis < s.axes.size() ? renamed[axis] : static_cast<int>(kept + axis - s.axes.size()));
  });
  sums.post = pool.acc(0, DType::kI32);
  number = static_cast<int>(lowering.group.stages.size());
  lowering.group.stages.push_back(std::move(sums));
  return pool.load(kStageOperand + number, DType::kI32, index);
}

/// A factor and its bounds, where it has 16 bits.
struct Difference {
  Expr value;
  IntRange range;
};

std::optional<Difference> difference(const Lowering& lowering, const Shifted& factor) {
  Expr value = lowering.group.pool->cast(factor.load, DType::kI32);
  if (factor.zero.valid()) value = value - factor.zero;
  const std::optional<IntRange> range = range_of(lowering, value);
  if (!range || range->lo < INT16_MIN || range->hi > INT16_MAX) return std::nullopt;
  return Difference{value, *range};
}

/// Words of two of the weights: two bytes where they fit these.
Expr pair_of_weights(ExprPool& pool, const Difference& w, int axis, int64_t extent) {
  const auto& [value, range] = w;
  if (range.lo < INT8_MIN || range.hi > INT8_MAX) return as_word(pool, value, axis, extent, kPair, 16);
  return pool.cast(pool.cast(as_word(pool, value, axis, extent, kPair, 8), DType::kI16), DType::kI32);
}

std::optional<DotProduct> rewrite_as_pairs(Lowering& lowering, int stage, const Shifted& x, const Shifted& w) {
  ExprPool& pool = *lowering.group.pool;
  const Stage s = lowering.stage(stage);
  const size_t outer = s.axes.size(), all = outer + s.reduce_axes.size();
  const std::optional<Difference> weights = difference(lowering, w);
  if (!weights || !difference(lowering, x) || (x.zero.valid() && uses_any_axis(x.zero, 0, all))) return std::nullopt;
  for (size_t axis = all; axis-- > outer;) {
    const Dim extent = s.reduce_axes[axis - outer];
    if (!extent.is_const() || extent.value() < kPair) continue;
    const std::optional<Padded> words = materialise_differences(lowering, stage, x.load, x.zero, static_cast<int>(axis));
    if (!words) continue;
    Stage& rewritten = lowering.stage(stage);
    rewritten.value = pool.load(kStageOperand + words->stage, DType::kI32, words->index) *
                      pair_of_weights(pool, *weights, static_cast<int>(axis), extent.value());
    rewritten.reduce_axes[axis - outer] = (extent.value() + kPair - 1) / kPair;
    return DotProduct{.pairs = true, .words = words->stage};
  }
  return std::nullopt;
}

}  // namespace

bool in_pairs(const Target& target) {
  return target.kind == Target::Kind::kCpu && !target.has_dot4 && !target.has_dot4_signed;
}

std::optional<DotProduct> rewrite_as_dot_product(Lowering& lowering, int stage) {
  ExprPool& pool = *lowering.group.pool;
  const Stage s = lowering.stage(stage);
  if (s.is_arg() || s.combiner != ir::Combiner::kAdd || s.acc_dtype != DType::kI32 || s.axes.empty()) return std::nullopt;
  if (s.value.node().kind != ExprKind::kOp || s.value.node().op != ScalarOp::kMul) return std::nullopt;
  Expr a = argument(s.value, 0), b = argument(s.value, 1);
  if (reads_constants(lowering, a)) std::swap(a, b);
  if (!reads_constants(lowering, b)) return std::nullopt;
  const std::optional<Shifted> x = shifted(a), w = shifted(b);
  if (!x || !w || w->load.node().guarded) return std::nullopt;
  const size_t outer = s.axes.size(), all = outer + s.reduce_axes.size();
  for (const Shifted* f : {&*x, &*w})
    if (f->zero.valid() && uses_any_axis(f->zero, outer, all)) return std::nullopt;

  if (in_pairs(lowering.target))
    if (std::optional<DotProduct> pairs = rewrite_as_pairs(lowering, stage, *x, *w)) return pairs;

  const bool is_signed = lowering.target.has_dot4_signed && (lowering.gpu() || !lowering.target.has_dot4);
  const size_t stages = lowering.group.stages.size();
  const std::optional<SignedWeights> weights = signed_weights(lowering, *w);
  for (size_t axis = all; weights && axis-- > outer;) {
    const Dim extent = s.reduce_axes[axis - outer];
    if (!extent.is_const() || extent.value() < kLeastBytes) continue;
    const std::optional<Padded> words = materialise_words(lowering, stage, x->load, static_cast<int>(axis), is_signed);
    if (!words) continue;
    DotProduct dot{.row_factor = weights->zero, .words = words->stage};
    // zx' sum w' - K zx' zw', where a padded x counts as zx.
    Expr zero = x->zero;
    if (const int64_t shift = (x->load.dtype() == DType::kI8 ? 128 : 0) - (is_signed ? 128 : 0); shift != 0)
      zero = zero.valid() ? zero + i32(pool, shift) : i32(pool, shift);
    Expr correction;
    if (zero.valid()) {
      const Expr centred = weights->zero.valid() ? weights->value - weights->zero : weights->value;
      correction = zero * add_sums(lowering, stage, centred, dot.column_sums);
    }
    Stage& rewritten = lowering.stage(stage);
    const Expr args[] = {pool.load(kStageOperand + words->stage, DType::kI32, words->index),
                         as_word(pool, weights->value, static_cast<int>(axis), extent.value()), i32(pool, 0)};
    rewritten.value = pool.op(is_signed ? ScalarOp::kDot4Signed : ScalarOp::kDot4, args);
    rewritten.reduce_axes[axis - outer] = (extent.value() + kWordBytes - 1) / kWordBytes;
    if (correction.valid())
      rewritten.post = pool.copy(s.post, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
        return n.kind == ExprKind::kAcc ? pool.acc(n.axis, n.dtype) - correction : Expr{};
      });
    return dot;
  }
  lowering.group.stages.resize(stages);
  return std::nullopt;
}

void store_weights(Lowering& lowering, int stage, DotProduct& dot) {
  ExprPool& pool = *lowering.group.pool;
  const Stage s = lowering.stage(stage);
  const Expr weights = argument(s.value, 1);
  const std::vector<Dim> axes = s.all_axes();
  Stage words;
  std::vector<Expr> index, renamed(axes.size());
  for (size_t axis = 0; axis < axes.size(); ++axis) {
    if (!uses_axis(weights, static_cast<int>(axis))) continue;
    renamed[axis] = pool.index(static_cast<int>(words.axes.size()));
    words.axes.push_back(axes[axis]);
    index.push_back(pool.index(static_cast<int>(axis)));
  }
  words.shape = words.axes;
  words.dtype = words.acc_dtype = DType::kI32;
  words.value = pool.copy(weights, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
    return n.kind == ExprKind::kIndex ? renamed[static_cast<size_t>(n.axis)] : Expr{};
  });
  dot.weights = static_cast<int>(lowering.group.stages.size());
  lowering.group.stages.push_back(std::move(words));
  const Expr args[] = {argument(s.value, 0), pool.load(kStageOperand + dot.weights, DType::kI32, index), argument(s.value, 2)};
  lowering.stage(stage).value = pool.op(s.value.node().op, args);
}

void sum_rows(Lowering& lowering, int stage, DotProduct& dot) {
  if (!dot.row_factor.valid()) return;
  ExprPool& pool = *lowering.group.pool;
  const Expr value = lowering.stage(stage).value;
  const Expr ones[] = {argument(value, 0), i32(pool, 0x01010101), i32(pool, 0)};
  const Expr correction = dot.row_factor * add_sums(lowering, stage, pool.op(value.node().op, ones), dot.row_sums);
  Expr& post = lowering.stage(stage).post;
  post = pool.copy(post, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
    return n.kind == ExprKind::kAcc ? pool.acc(n.axis, n.dtype) - correction : Expr{};
  });
  dot.row_factor = {};
}

Status schedule_operands(Lowering& lowering, const DotProduct& dot) {
  for (const int map : {lowering.stage(dot.words).same_memory_as - kStageOperand, dot.weights})
    if (map >= 0) TENON_RETURN_IF_ERROR(schedule_map(lowering, std::span<const int>(&map, 1)));
  for (const int sums : {dot.column_sums, dot.row_sums}) {
    if (sums < 0) continue;
    const Status rows = schedule_rows(lowering, std::span<const int>(&sums, 1));
    if (!rows.ok() && rows.code() != Code::kUnsupported) return rows;
    if (!rows.ok()) TENON_RETURN_IF_ERROR(schedule_window(lowering, sums));
  }
  return {};
}

}  // namespace tenon::codegen
