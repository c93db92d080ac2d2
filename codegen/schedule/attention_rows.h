#pragma once

#include <limits>
#include <vector>

#include "codegen/schedule/attention_lanes.h"

namespace tenon::codegen {

/// What both kernels of attention on a GPU know of rows: their axes, how exponentials are scaled, and how an element is finished.
class RowsOfAttention {
 public:
  RowsOfAttention(const Attention& a, const AttentionTiles& t, KernelWriter& writer, int output, const AttentionParts& parts)
      : a_(a), t_(t), em_(writer.emitter()), b_(writer.builder()), output_(output), parts_(parts), index_(a.outer, -1) {}

 protected:
  kir::ValueId number(double value) { return b_.constant(a_.dtype, value); }
  kir::ValueId less(kir::ValueId x, kir::ValueId y) { return b_.op(ir::ScalarOp::kLt, {x, y}); }
  kir::ValueId minimum(kir::ValueId x, kir::ValueId y) { return b_.op(ir::ScalarOp::kMin, {x, y}); }
  kir::ValueId maximum(kir::ValueId x, kir::ValueId y) { return b_.op(ir::ScalarOp::kMax, {x, y}); }
  kir::ValueId both(kir::ValueId x, kir::ValueId y) { return b_.op(ir::ScalarOp::kAnd, {x, y}); }
  kir::ValueId choose(kir::ValueId condition, kir::ValueId x, kir::ValueId y) { return b_.op(ir::ScalarOp::kSelect, {condition, x, y}); }
  kir::ValueId quotient(kir::ValueId x, int64_t y) { return b_.op(ir::ScalarOp::kDiv, {x, b_.i64(y)}); }
  kir::ValueId rest(kir::ValueId x, int64_t y) { return b_.op(ir::ScalarOp::kRem, {x, b_.i64(y)}); }
  kir::ValueId multiply_add(kir::ValueId x, kir::ValueId y, kir::ValueId sum) {
    return t_.fma ? b_.op(ir::ScalarOp::kFma, {x, y, sum}) : b_.add(sum, b_.mul(x, y));
  }

  void bind(int axis, kir::ValueId value) {
    em_.bind(axis, value);
    if (static_cast<size_t>(axis) < index_.size()) index_[static_cast<size_t>(axis)] = value;
  }
  void bind_axes(const std::vector<int>& axes, kir::ValueId flat) {
    std::vector<ir::Dim> extents;
    for (int axis : axes) extents.push_back(a_.extent(axis));
    const std::vector<kir::ValueId> at = em_.unflatten(flat, extents);
    for (size_t i = 0; i < at.size(); ++i) bind(axes[i], at[i]);
  }

  /// exp(x - largest), where -inf less -inf counts as -inf: a row without any key so far.
  kir::ValueId finite(kir::ValueId largest) { return choose(b_.op(ir::ScalarOp::kEq, {largest, number(-kInfinity)}), number(0), largest); }
  kir::ValueId exponential(kir::ValueId x, kir::ValueId finite_largest) { return b_.op(ir::ScalarOp::kExp, {b_.sub(x, finite_largest)}); }

  /// Stores an element of a row, whose axes are bound, under `inside`.
  void finish(kir::ValueId largest, kir::ValueId total, kir::ValueId sum, kir::ValueId inside) {
    em_.set_mask(inside);
    em_.bind_result(kStageOperand + a_.maxima, largest);
    const kir::ValueId unit = a_.shifted ? b_.op(ir::ScalarOp::kExp, {b_.sub(largest, em_.emit(a_.shift))}) : number(1);
    em_.bind_result(kStageOperand + a_.sums, b_.mul(total, unit));
    em_.bind_result(kStageOperand + a_.out, unit);
    sum = b_.mul(sum, em_.emit(a_.factor));
    const kir::ValueId nothing = weighs_nothing(total, inside);
    em_.bind_acc(nothing < 0 ? sum : choose(nothing, number(0), sum));
    const kir::ValueId value = em_.emit(a_.post);
    em_.set_mask(-1);
    const std::vector<ir::Dim> axes(a_.axes.begin(), a_.axes.begin() + static_cast<int64_t>(a_.outer));
    const kir::ValueId at = row_major_offset(em_, axes, index_, static_cast<size_t>(a_.n_axis));
    if (inside < 0)
      b_.store(output_, at, value);
    else
      b_.store_masked(output_, at, value, inside);
  }

  /// Whether a row has no weights, rather than weights that are 0/0: no keys, or none that the mask keeps. -1: never.
  kir::ValueId weighs_nothing(kir::ValueId total, kir::ValueId inside) {
    const ir::Dim keys = a_.extent(a_.key_axis);
    if (!a_.keep.valid() && ir::known_le(1, keys)) return -1;
    kir::ValueId empty = b_.op(ir::ScalarOp::kEq, {total, number(0)});
    if (!a_.keep.valid()) return both(empty, b_.op(ir::ScalarOp::kEq, {em_.dim(keys), b_.i64(0)}));
    if (inside >= 0) empty = both(empty, inside);
    const kir::ValueId kept = b_.if_else(
        empty,
        [&] {
          std::vector<kir::ValueId> found;
          em_.scoped([&] {
            const kir::ValueId zero = number(0);
            found = em_.loop(kir::LoopKind::kSerial, b_.i64(0), em_.dim(keys), 1, std::span(&zero, 1),
                             [&](kir::ValueId key, std::span<const kir::ValueId> carried) {
                               em_.bind(a_.key_axis, key);
                               return std::vector<kir::ValueId>{maximum(carried[0], choose(em_.emit(a_.keep), number(1), number(0)))};
                             });
          });
          return found;
        },
        [&] { return std::vector<kir::ValueId>{number(1)}; })[0];
    return b_.op(ir::ScalarOp::kEq, {kept, number(0)});
  }

  /// Where a part has row `row` of all rows.
  kir::ValueId part_of_row(kir::ValueId part, kir::ValueId row) { return b_.add(b_.mul(part, em_.dim(a_.batch() * a_.m())), row); }

  static constexpr double kInfinity = std::numeric_limits<double>::infinity();

  const Attention& a_;
  const AttentionTiles& t_;
  Emitter& em_;
  kir::KernelBuilder& b_;
  int output_;
  AttentionParts parts_;
  std::vector<kir::ValueId> index_;  // by output axis
};

}  // namespace tenon::codegen
