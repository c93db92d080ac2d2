#include "codegen/schedule/int_range.h"

#include <algorithm>

namespace tenon::codegen {

using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ScalarOp;

namespace {

constexpr int64_t kSmall = int64_t{1} << 20;  // sums of a few of these are far from overflow

std::optional<IntRange> of_type(DType dtype) {
  if (dtype == DType::kU8) return IntRange{0, 255};
  if (dtype == DType::kI8) return IntRange{-128, 127};
  return std::nullopt;
}

std::optional<IntRange> of_elements(const Tensor& tensor) {
  const auto over = [&](const auto* elements) {
    const auto [lo, hi] = std::minmax_element(elements, elements + tensor.size());
    return IntRange{*lo, *hi};
  };
  if (tensor.size() == 0) return std::nullopt;
  switch (tensor.dtype()) {
    case DType::kU8:
      return over(reinterpret_cast<const uint8_t*>(tensor.data()));
    case DType::kI8:
      return over(reinterpret_cast<const int8_t*>(tensor.data()));
    case DType::kI32:
      return over(reinterpret_cast<const int32_t*>(tensor.data()));
    default:
      return std::nullopt;
  }
}

std::optional<IntRange> of_load(const Lowering& lowering, const ExprNode& load) {
  if (load.guarded || static_cast<size_t>(load.operand) >= lowering.group.operands.size()) return of_type(load.dtype);
  const Tensor* tensor = ir::constant_of(lowering.group.operands[static_cast<size_t>(load.operand)].value);
  return tensor == nullptr ? of_type(load.dtype) : of_elements(*tensor);
}

std::optional<IntRange> of_op(const Lowering& lowering, Expr e) {
  const ExprNode& node = e.node();
  if (node.args.size() != 2) return std::nullopt;
  const std::optional<IntRange> x = range_of(lowering, {e.pool, node.args[0]}),
                                y = range_of(lowering, {e.pool, node.args[1]});
  if (node.op == ScalarOp::kAnd) {  // no more than either that is not negative
    for (const auto& side : {y, x})
      if (side && side->lo >= 0) return IntRange{0, side->hi};
    return std::nullopt;
  }
  if (!x || !y || std::max({-x->lo, x->hi, -y->lo, y->hi}) > kSmall) return std::nullopt;
  if (node.op == ScalarOp::kAdd) return IntRange{x->lo + y->lo, x->hi + y->hi};
  if (node.op == ScalarOp::kSub) return IntRange{x->lo - y->hi, x->hi - y->lo};
  return std::nullopt;
}

}  // namespace

std::optional<IntRange> range_of(const Lowering& lowering, Expr e) {
  const ExprNode& node = e.node();
  if (is_float(node.dtype)) return std::nullopt;
  switch (node.kind) {
    case ExprKind::kConst:
      return IntRange{node.scalar.i, node.scalar.i};
    case ExprKind::kLoad:
      return of_load(lowering, node);
    case ExprKind::kOp:
      return node.dtype == DType::kI32 ? of_op(lowering, e) : std::nullopt;
    case ExprKind::kCast: {
      const std::optional<IntRange> inner = range_of(lowering, {e.pool, node.args[0]});
      if (bits(node.dtype) < 32) return of_type(node.dtype);
      return inner && (is_signed_int(node.dtype) || inner->lo >= 0) && std::max(-inner->lo, inner->hi) <= kSmall ? inner : std::nullopt;
    }
    default:
      return std::nullopt;
  }
}

}  // namespace tenon::codegen
