#include "codegen/schedule/recurrence_held.h"

#include <algorithm>
#include <unordered_map>

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;

namespace {

class Holder {
 public:
  Holder(Lowering& lowering, Recurrence& r, const std::optional<Dim>& rows) : lowering_(lowering), r_(r), pool_(*lowering.group.pool), rows_(rows) {}

  Result<std::vector<Held>> run() {
    for (const Phase& phase : r_.phases)
      for (const StepMap& map : phase.maps) TENON_RETURN_IF_ERROR(hold(map, phase.n()));
    for (Phase& phase : r_.phases)
      for (StepMap& map : phase.maps) {
        TENON_RETURN_IF_ERROR(keep_in_row(map.value, phase.axes));
        if (const Held* held = find_held(held_, map.into)) TENON_RETURN_IF_ERROR(to_row(map.store, phase.axes, *held));
      }
    for (StepProduct& product : r_.products) TENON_RETURN_IF_ERROR(keep_in_row(product.a, lowering_.stage(product.stage).all_axes()));
    return std::move(held_);
  }

 private:
  Status hold(const StepMap& map, int64_t n) {
    const bool state = std::ranges::find(r_.states, map.into) != r_.states.end();
    const bool factor = std::ranges::any_of(r_.products, [&](const StepProduct& p) { return p.source == map.into; });
    if (find_held(held_, map.into) != nullptr || (!state && !factor)) return {};
    const Dim one = rows_ ? *rows_ * n : Dim(n), all = ir::product(lowering_.stage(map.into).shape);
    if (!ir::known_eq(all, state ? 2 * one : one))
      return error(Code::kUnsupported, "GPU: a state is not of rows of {}", n);
    held_.push_back({map.into, n, state});
    return {};
  }

  /// Loads of what is held, as loads of one row alone.
  Status keep_in_row(Expr& e, const std::vector<Dim>& axes) {
    Status status;
    std::unordered_map<int, Expr> replacement;
    visit(e, [&](int id, const ExprNode& seen) {
      const ExprNode node = seen;
      const Held* held =
          node.kind == ExprKind::kLoad && node.operand >= kStageOperand ? find_held(held_, node.operand - kStageOperand) : nullptr;
      if (held == nullptr || !status.ok()) return;
      Expr offset{&pool_, node.args[0]};
      status = to_row(offset, axes, *held);
      const Expr at[] = {offset};
      replacement[id] = node.guarded ? pool_.load_guarded(node.operand, node.dtype, at, {&pool_, node.args[1]},
                                                          {&pool_, node.args[2]})
                                     : pool_.load(node.operand, node.dtype, at);
    });
    TENON_RETURN_IF_ERROR(status);
    if (!replacement.empty()) e = substitute(e, replacement);
    return {};
  }

  /// An offset in all rows as one in what is held of row kRow, of the half that it is in.
  Status to_row(Expr& offset, const std::vector<Dim>& axes, const Held& held) {
    IndexAlgebra algebra(pool_, axes);
    Affine rest = algebra.affine(offset);
    const Dim half = rows_ ? *rows_ * held.size : Dim(held.size);
    Affine in_row;
    std::erase_if(rest.terms, [&](const Affine::Term& t) {
      const ExprNode& atom = pool_.node(t.atom);
      if (rows_ && atom.kind == ExprKind::kIndex && atom.axis == 1 && t.coefficient.is_const(held.size)) return true;
      const IndexAlgebra::Range range = algebra.range(Affine{{{t.atom, Dim(1)}}, Dim()});
      if (!held.state || t.coefficient != half || !range.lo || !range.hi || !range.lo->is_const(0) ||
          !range.hi->is_const(1))
        return false;
      in_row.terms.push_back({t.atom, Dim(held.size)});
      return true;
    });
    if (const auto lo = algebra.range(rest).lo; held.state && in_row.terms.empty() && lo && ir::known_le(half, *lo)) {
      rest.constant = rest.constant - half;
      in_row.constant = Dim(held.size);
    }
    const IndexAlgebra::Range range = algebra.range(rest);
    if (!range.lo || !range.hi || !ir::known_le(0, *range.lo) || !ir::known_le(*range.hi, held.size - 1))
      return error(Code::kUnsupported, "GPU: a step reads other rows of a state");
    offset = pool_.index(kRow) * pool_.constant_int(DType::kI64, held.span()) + algebra.expr(algebra.add(in_row, rest));
    return {};
  }

  Lowering& lowering_;
  Recurrence& r_;
  ir::ExprPool& pool_;
  const std::optional<Dim>& rows_;
  std::vector<Held> held_;
};

}  // namespace

Result<std::vector<Held>> hold_rows(Lowering& lowering, Recurrence& recurrence, const std::optional<Dim>& rows) {
  return Holder(lowering, recurrence, rows).run();
}

const Held* find_held(const std::vector<Held>& held, int stage) {
  const auto found = std::ranges::find(held, stage, &Held::stage);
  return found == held.end() ? nullptr : &*found;
}

}  // namespace tenon::codegen
