#include <algorithm>

#include "codegen/schedule/recurrence.h"

// Tiles of a recurrence's phases, and the matrices packed for them.
namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;

namespace {

class Packer {
 public:
  Packer(Lowering& lowering, const Recurrence& r) : lowering_(lowering), r_(r), pool_(*lowering.group.pool) {}

  Status pack(Phase& phase) {
    choose_tile(phase);
    for (Phase::Product& part : phase.products) {
      const StepProduct& product = r_.products[static_cast<size_t>(part.product)];
      if (lowering_.gpu() && lies_along_n(product)) continue;
      Stage s;
      const auto axis = [&](int64_t extent) {
        s.shape.push_back(extent);
        if (extent == 1) return number(0);
        s.axes.push_back(extent);
        return pool_.index(static_cast<int>(s.axes.size()) - 1);
      };
      const Expr tile = axis(phase.tiles()), k = axis(product.k), which = axis(std::ssize(part.gates)),
                 lane = axis(phase.width);
      if (s.axes.empty()) return error(Code::kUnsupported, "a matrix of one element");
      s.dtype = stage(product.stage).acc_dtype;
      s.value = packed(product, part.gates, phase, tile * number(phase.width) + lane, k, which);
      lowering_.group.stages.push_back(std::move(s));
      part.packed = static_cast<int>(lowering_.group.stages.size()) - 1;
    }
    return {};
  }

 private:
  Stage& stage(int s) { return lowering_.stage(s); }
  Expr number(int64_t value) { return pool_.constant_int(DType::kI64, value); }

  /// As many sums as fit registers beside a line of weights; several vectors of elements where few sums would wait for
  /// one another.
  void choose_tile(Phase& phase) {
    if (lowering_.gpu()) {
      phase.width = phase.n();
      return;
    }
    const Target& target = lowering_.target;
    const DType acc = phase.products.empty() ? stage(phase.maps[0].stage).dtype : stage(r_.products[0].stage).acc_dtype;
    const int64_t lanes = std::max(1, target.lanes(std::max(bits(acc), 32)));
    const int64_t gates = std::max<int64_t>(phase.gates(), 1), sums = target.vector_registers >= 32 ? 24 : 12;
    constexpr int64_t kChains = 8;  // latency × throughput of a multiplication with addition
    const Dim m = phase.has_rows() ? phase.axes[1] : Dim(1);
    const auto rows_beside = [&](int64_t vectors) { return std::max<int64_t>(1, sums / (gates * vectors)); };
    phase.rows = rows_beside(1);
    if (m.is_const()) {
      const int64_t most = phase.rows, count = std::max<int64_t>(1, (m.value() + most - 1) / most);
      phase.rows = std::clamp<int64_t>((m.value() + count - 1) / count, 1, most);
    }
    // Of rows whose number only a run knows there may be one, for which half of the chains are a compromise.
    const int64_t chains = m.is_const() ? kChains : kChains / 2, fewest = m.is_const() ? phase.rows : 1;
    int64_t vectors = 1;
    while (vectors < 4 && fewest * gates * vectors < chains && fewest * gates * vectors * 2 <= sums &&
           phase.n() > lanes * vectors)
      vectors *= 2;
    if (!m.is_const()) phase.rows = rows_beside(vectors);
    phase.width = lanes * vectors;
  }

  /// Whether the matrix is a tensor as it is stored, in which the elements of a row lie side by side.
  bool lies_along_n(const StepProduct& product) {
    const std::vector<Dim> axes = stage(product.stage).all_axes();
    const Expr b = flatten_loads(product.b, axes, shapes(lowering_));
    const ExprNode& load = pool_.node(b.id);
    if (load.kind != ExprKind::kLoad || load.guarded) return false;
    IndexAlgebra algebra(pool_, axes);
    const Affine offset = algebra.affine({&pool_, load.args[0]});
    const Dim* along = offset.coefficient_of(pool_.index(static_cast<int>(axes.size()) - 2).id);
    return along != nullptr && along->is_const(1);
  }

  Expr packed(const StepProduct& product, std::span<const Gate> gates, const Phase& phase, Expr element, Expr k,
              Expr which) {
    Expr first = number(gates[0].offset);
    const int64_t stride = gates.size() > 1 ? gates[1].offset - gates[0].offset : 0;
    bool even = true;
    for (size_t g = 0; g < gates.size(); ++g)
      even &= gates[g].offset == gates[0].offset + static_cast<int64_t>(g) * stride;
    if (even) first = first + which * number(stride);
    for (size_t g = 1; !even && g < gates.size(); ++g)
      first = ir::select(which == number(static_cast<int64_t>(g)), number(gates[g].offset), first);
    const int n = static_cast<int>(stage(product.stage).axes.size()) - 1;
    const bool padded = phase.n() % phase.width != 0;
    const Expr inside = element < number(phase.n());
    return pool_.copy(product.b, [&](const ExprNode& e, std::span<const Expr> args) -> Expr {
      if (e.kind == ExprKind::kIndex) return e.axis == n ? first + element : k;
      if (e.kind != ExprKind::kLoad || !padded) return {};
      const Expr zero = constant_expr(pool_, e.dtype);
      if (!e.guarded) return pool_.load_guarded(e.operand, e.dtype, args, inside, zero);
      return pool_.load_guarded(e.operand, e.dtype, args.first(args.size() - 2), args[args.size() - 2] && inside,
                                args.back());
    });
  }

  Lowering& lowering_;
  const Recurrence& r_;
  ir::ExprPool& pool_;
};

}  // namespace

Status pack_matrices(Lowering& lowering, const Recurrence& recurrence, Phase& phase) {
  return Packer(lowering, recurrence).pack(phase);
}

}  // namespace tenon::codegen
