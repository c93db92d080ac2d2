#include "codegen/schedule/block_codes.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <set>

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

constexpr int64_t kMaxGroup = 128;  // beyond it what a group shares is repeated, for little

/// The constant by which an expression divides the index of `axis`; 0: it is no such quotient.
int64_t divisor_of_axis(const ExprPool& pool, const ExprNode& n, int axis) {
  if (n.kind != ExprKind::kOp || n.op != ScalarOp::kFloorDiv || n.dtype != DType::kI64) return 0;
  const ExprNode &x = pool.node(n.args[0]), &by = pool.node(n.args[1]);
  return x.kind == ExprKind::kIndex && x.axis == axis && by.kind == ExprKind::kConst ? std::max<int64_t>(by.scalar.i, 0)
                                                                                     : 0;
}

/// Takes B apart for one size of group.
class Parser {
 public:
  Parser(const Lowering& lowering, int k_axis, int64_t group)
      : lowering_(lowering), pool_(*lowering.group.pool), k_axis_(k_axis), group_(group) {}

  std::optional<BlockBytes> bytes(Expr a) {
    if (!parse(a) || !scale_.valid() || zero_.valid()) return std::nullopt;
    while (code_.node().kind == ExprKind::kCast && (is_float(code_.dtype()) || is_signed_int(code_.dtype()))) code_ = argument(code_, 0);
    if (code_.node().kind != ExprKind::kLoad || code_.dtype() != DType::kI8) return std::nullopt;
    return BlockBytes{code_, scale_};
  }

  std::optional<BlockCodes> codes(Expr b) {
    if (!parse(b) || !scale_.valid()) return std::nullopt;
    const std::optional<IntRange> range = range_of(lowering_, code_);
    if (!range) return std::nullopt;
    BlockCodes codes{.code = pool_.cast(code_, DType::kI32), .zero = {}, .scale = scale_};
    int64_t least_code = 0;
    for (int bits : {2, 4, 8}) {
      // A power of two where one will do: its products with the scale are exact.
      for (int64_t least : {int64_t{0}, -(int64_t{1} << (bits - 1)), range->lo}) {
        if (codes.bits != 0 || range->lo < least || range->hi - least >= int64_t{1} << bits) continue;
        codes.bits = bits;
        least_code = least;
      }
    }
    if (codes.bits == 0) return std::nullopt;
    if (least_code != 0) codes.code = codes.code - pool_.constant_int(DType::kI32, least_code);
    const Expr least = pool_.constant(DType::kF32, -static_cast<double>(least_code));
    codes.zero = least;
    if (zero_.valid())
      codes.zero = zero_.node().kind == ExprKind::kConst
                       ? pool_.constant(DType::kF32, zero_.node().scalar.f - static_cast<double>(least_code))
                       : zero_ + least;
    return codes;
  }

 private:
  Expr argument(Expr e, size_t i) { return {&pool_, e.node().args[i]}; }

  /// Whether an expression is not the same for all of a group.
  bool varies(Expr e) {
    const ExprNode& n = e.node();
    if (n.kind == ExprKind::kIndex) return n.axis == k_axis_;
    if (const int64_t by = divisor_of_axis(pool_, n, k_axis_); by > 0 && group_ > 0 && by % group_ == 0) return false;
    if (const auto known = varies_.find(e.id); known != varies_.end()) return known->second;
    bool any = false;
    for (size_t i = 0; i < n.args.size() && !any; ++i) any = varies(argument(e, i));
    return varies_[e.id] = any;
  }

  bool parse(Expr e) {
    const ExprNode n = e.node();
    if (!is_float(n.dtype)) return parse_code(e);
    if (n.kind == ExprKind::kCast) {
      const DType from = argument(e, 0).dtype();
      if (is_float(from) ? bits(n.dtype) < bits(from) : n.dtype != DType::kF32) return false;
      return parse(argument(e, 0));
    }
    if (n.kind != ExprKind::kOp || n.dtype != DType::kF32) return false;
    const bool left = varies(argument(e, 0));
    const Expr inner = argument(e, left ? 0 : 1), other = argument(e, left ? 1 : 0);
    if (n.args.size() != 2 || varies(other)) return false;
    if (n.op == ScalarOp::kMul) return parse(inner) && !std::exchange(scale_, other).valid();
    if (n.op == ScalarOp::kSub && left) return parse(inner) && !scale_.valid() && !std::exchange(zero_, other).valid();
    return false;
  }

  /// An integer, less another of its group.
  bool parse_code(Expr e) {
    const ExprNode n = e.node();
    const bool less =
        n.kind == ExprKind::kOp && n.op == ScalarOp::kSub && n.dtype == DType::kI32 && !varies(argument(e, 1));
    if (less && !range_of(lowering_, argument(e, 1))) return false;
    code_ = less ? argument(e, 0) : e;
    if (less) zero_ = pool_.cast(argument(e, 1), DType::kF32);
    return true;
  }

  const Lowering& lowering_;
  ExprPool& pool_;
  int k_axis_;
  int64_t group_;
  Expr code_, zero_, scale_;
  std::unordered_map<int, bool> varies_;
};

/// What `take` finds in a factor for the largest size of group for which it finds anything, and that size.
template <class Found>
std::optional<Found> largest_groups(const Lowering& lowering, int stage, Expr e,
                                    const std::function<std::optional<Found>(Parser)>& take) {
  const Stage& s = lowering.group.stages[static_cast<size_t>(stage)];
  if (s.reduce_axes.size() != 1 || !s.reduce_axes[0].is_const() || s.acc_dtype != DType::kF32 ||
      e.dtype() != DType::kF32)
    return std::nullopt;
  const int k_axis = static_cast<int>(s.axes.size());
  std::set<int64_t, std::greater<>> groups{0};  // 0: all of K
  visit(e, [&](int, const ExprNode& n) { groups.insert(divisor_of_axis(*e.pool, n, k_axis)); });
  for (int64_t group : groups) {
    std::optional<Found> found = take(Parser(lowering, k_axis, group));
    if (!found) continue;
    found->group = std::gcd(std::gcd(group, s.reduce_axes[0].value()), kMaxGroup);
    return found;
  }
  return std::nullopt;
}

}  // namespace

std::optional<BlockCodes> block_codes(const Lowering& lowering, int stage, Expr b) {
  std::optional<BlockCodes> codes =
      largest_groups<BlockCodes>(lowering, stage, b, [&](Parser p) { return p.codes(b); });
  return codes && codes->group % codes->codes_per_word() == 0 ? codes : std::nullopt;
}

std::optional<BlockBytes> block_bytes(const Lowering& lowering, int stage, Expr a) {
  return largest_groups<BlockBytes>(lowering, stage, a, [&](Parser p) { return p.bytes(a); });
}

namespace {

/// `e` with what `at` gives in the place of the axis.
Expr at_place(Expr e, int axis, Expr at) {
  return e.pool->copy(e, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
    return n.kind == ExprKind::kIndex && n.axis == axis ? at : Expr{};
  });
}

}  // namespace

Expr word_of_codes(const BlockCodes& codes, int k_axis) {
  ExprPool& pool = *codes.code.pool;
  Expr word;
  for (int64_t i = 0; i < codes.codes_per_word(); ++i) {
    const CodePlace at = place_of(codes, i);
    const Expr k =
        pool.index(k_axis) * pool.constant_int(DType::kI64, codes.codes_per_word()) + pool.constant_int(DType::kI64, i);
    const Expr placed[] = {at_place(codes.code, k_axis, k), pool.constant_int(DType::kI32, 8 * at.byte + at.bit)};
    const Expr both[] = {word, pool.op(ScalarOp::kShl, placed)};
    word = i == 0 ? placed[0] : pool.op(ScalarOp::kOr, both);
  }
  return word;
}

Expr at_step(Expr e, int k_axis, int64_t step) {
  return at_place(e, k_axis, e.pool->index(k_axis) * e.pool->constant_int(DType::kI64, step));
}

}  // namespace tenon::codegen
