#include "codegen/schedule/bf16_pairs.h"

#include "codegen/lower/pad.h"
#include "codegen/schedule/contraction.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ExprPool;
using ir::ScalarOp;

namespace {

constexpr int64_t kPair = 2;
constexpr int64_t kFewRowsOfPairs = 4;
constexpr int64_t kLeastColumns = 16;

Expr i64(ExprPool& pool, int64_t value) { return pool.constant_int(DType::kI64, value); }

/// The expression in bf16 that a factor widens.
std::optional<Expr> narrow_factor(Expr factor) {
  const ExprNode& node = factor.node();
  if (node.kind != ExprKind::kCast || node.dtype != DType::kF32) return std::nullopt;
  const Expr narrow{factor.pool, node.args[0]};
  return narrow.dtype() == DType::kBF16 ? std::optional(narrow) : std::nullopt;
}

/// The load of floats that an expression rounds to bf16, or is.
std::optional<Expr> rounded_load(Expr narrow) {
  if (narrow.node().kind == ExprKind::kCast) narrow = {narrow.pool, narrow.node().args[0]};
  const bool floats = narrow.dtype() == DType::kF32 || narrow.dtype() == DType::kBF16;
  return floats && narrow.node().kind == ExprKind::kLoad ? std::optional(narrow) : std::nullopt;
}

/// Adds a stage that is the memory of an operand under another dtype.
int add_view(Lowering& lowering, int operand, std::vector<Dim> shape, DType dtype) {
  Stage view;
  view.axes = view.shape = std::move(shape);
  view.dtype = view.acc_dtype = dtype;
  view.same_memory_as = operand;
  lowering.group.stages.push_back(std::move(view));
  return static_cast<int>(lowering.group.stages.size()) - 1;
}

/// An expression in bf16 as words along `axis`: a stage that computes it once for each of the axes that it has, `axis`
/// innermost.
std::optional<Padded> store_pairs(Lowering& lowering, int stage, Expr narrow, int axis) {
  ExprPool& pool = *lowering.group.pool;
  const std::vector<Dim> extents = lowering.stage(stage).all_axes();
  if (extents[static_cast<size_t>(axis)].value() % kPair != 0) return std::nullopt;
  Stage made;
  std::vector<Expr> index(extents.size()), place;
  const auto add_axis = [&](int a) {
    index[static_cast<size_t>(a)] = pool.index(static_cast<int>(made.axes.size()));
    made.axes.push_back(extents[static_cast<size_t>(a)]);
    place.push_back(pool.index(a));
  };
  for (int a = 0; a < static_cast<int>(extents.size()); ++a)
    if (a != axis && uses_axis(narrow, a)) add_axis(a);
  add_axis(axis);
  if (!ir::product(made.axes).is_valid()) return std::nullopt;
  made.shape = made.axes;
  made.dtype = made.acc_dtype = DType::kBF16;
  made.value = pool.copy(narrow, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
    return n.kind == ExprKind::kIndex ? index[static_cast<size_t>(n.axis)] : Expr{};
  });
  std::vector<Dim> words = made.shape;
  words.back() = words.back().value() / kPair;
  const int operand = kStageOperand + static_cast<int>(lowering.group.stages.size());
  lowering.group.stages.push_back(std::move(made));
  return Padded{add_view(lowering, operand, std::move(words), DType::kI32), std::move(place)};
}

/// The load of constants that a factor widens, read everywhere.
std::optional<ExprNode> constant_load(const Lowering& lowering, Expr factor) {
  const std::optional<Expr> narrow = narrow_factor(factor);
  if (!narrow || narrow->node().kind != ExprKind::kLoad || narrow->node().guarded ||
      !reads_constants(lowering, *narrow))
    return std::nullopt;
  return narrow->node();
}

}  // namespace

/// A word has neighbours along `axis`; beyond `extent` is zero.
std::optional<Expr> constant_bf16_pairs(Lowering& lowering, Expr b, int axis, int64_t extent) {
  const std::optional<ExprNode> constants = constant_load(lowering, b);
  if (!constants) return std::nullopt;
  const ExprNode& load = *constants;
  ExprPool& pool = *lowering.group.pool;
  const int view = kStageOperand + add_view(lowering, load.operand, lowering.group.shape_of(load.operand), DType::kU16);
  const Expr inside = pool.index(axis) < i64(pool, extent / kPair);
  const auto half = [&](int64_t place) {
    const Expr at = pool.index(axis) * i64(pool, kPair) + i64(pool, place);
    std::vector<Expr> index;
    for (int id : load.args)
      index.push_back(pool.copy({&pool, id}, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
        return n.kind == ExprKind::kIndex && n.axis == axis ? at : Expr{};
      }));
    const bool cut_off = place > 0 && extent % kPair != 0;
    const Expr element = cut_off
                             ? pool.load_guarded(view, DType::kU16, index, inside, pool.constant_int(DType::kU16, 0))
                             : pool.load(view, DType::kU16, index);
    return pool.cast(element, DType::kI32);
  };
  const Expr high[] = {half(1), pool.constant_int(DType::kI32, 16)};
  const Expr both[] = {half(0), pool.op(ScalarOp::kShl, high)};
  return pool.op(ScalarOp::kOr, both);
}

bool pairs_pay(const Target& target, Dim rows, Dim columns) {
  if (rows.is_const() && rows.value() <= kFewRowsOfPairs) return target.has_fma;
  return target.has_bf16_pairs && !ir::known_lt(columns, kLeastColumns);
}

std::optional<BF16Pairs> as_bf16_pairs(Lowering& lowering, int stage, Expr a, Expr b) {
  const Stage s = lowering.stage(stage);
  const std::optional<Expr> x = narrow_factor(a);
  if (s.acc_dtype != DType::kF32 || !x || !constant_load(lowering, b)) return std::nullopt;
  const std::optional<Expr> load = rounded_load(*x);
  const size_t outer = s.axes.size();
  for (size_t i = s.reduce_axes.size(); i-- > 0;) {
    const int axis = static_cast<int>(outer + i);
    const Dim extent = s.reduce_axes[i];
    if (!extent.is_const() || extent.value() < kPair) continue;
    std::optional<Padded> words = load ? materialise_pairs(lowering, stage, *load, axis) : std::nullopt;
    if (!words && !load && s.reduce_axes.size() == 1) words = store_pairs(lowering, stage, *x, axis);
    if (!words) continue;
    BF16Pairs pairs{
        .axis = axis, .extent = extent.value(), .words = (extent.value() + kPair - 1) / kPair, .stage = words->stage};
    pairs.a = lowering.group.pool->load(kStageOperand + words->stage, DType::kI32, words->index);
    pairs.b = *constant_bf16_pairs(lowering, b, axis, extent.value());
    return pairs;
  }
  return std::nullopt;
}

}  // namespace tenon::codegen
