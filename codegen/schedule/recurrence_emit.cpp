#include <algorithm>
#include <bit>

#include "codegen/schedule/recurrence.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

namespace {

constexpr DType kI64 = DType::kI64;

class RecurrenceEmitter {
 public:
  RecurrenceEmitter(Lowering& lowering, const Recurrence& r, KernelWriter& writer, int64_t tiles)
      : lowering_(lowering), r_(r), writer_(writer), em_(writer.emitter()), b_(writer.builder()), tiles_(tiles) {}

  void emit() {
    size_t count = 0;
    for (const Phase& p : r_.phases) count = std::max(count, static_cast<size_t>(p.rows * p.gates() * p.width));
    if (count > 0) sums_ = b_.add_local("sums", lowering_.stage(r_.products[0].stage).acc_dtype, static_cast<int64_t>(count));
    const ValueId round = b_.op(ScalarOp::kDiv, {b_.grid_index(), b_.i64(tiles_)});
    tile_ = b_.sub(b_.grid_index(), b_.mul(round, b_.i64(tiles_)));
    const auto phases = static_cast<int64_t>(r_.phases.size());
    const ValueId step = b_.op(ScalarOp::kDiv, {round, b_.i64(phases)});
    em_.bind(0, step);
    const ValueId number = b_.sub(round, b_.mul(step, b_.i64(phases)));
    for (int64_t p = 0; p < phases; ++p) {
      const Phase& phase = r_.phases[static_cast<size_t>(p)];
      ValueId mine = phases == 1 ? -1 : b_.op(ScalarOp::kEq, {number, b_.i64(p)});
      if (phase.tiles() < tiles_) mine = b_.op(ScalarOp::kAnd, {mine, b_.op(ScalarOp::kLt, {tile_, b_.i64(phase.tiles())})});
      when(mine, [&] { tile(phase); });
    }
  }

 private:
  void when(ValueId condition, const std::function<void()>& body) {
    if (condition < 0) {
      em_.scoped(body);
      return;
    }
    b_.if_else(condition, [&] { em_.scoped(body); return std::vector<ValueId>{}; }, [] { return std::vector<ValueId>{}; });
  }

  void tile(const Phase& phase) {
    n0_ = b_.mul(tile_, b_.i64(phase.width));
    n_count_ = b_.i64(phase.width);
    if (phase.n() % phase.width != 0) n_count_ = b_.op(ScalarOp::kMin, {n_count_, b_.sub(b_.i64(phase.n()), n0_)});
    if (!phase.has_rows()) {
      rows(phase, b_.i64(0), b_.i64(1), 1);
      return;
    }
    const Dim m = phase.axes[1];
    const ValueId all = em_.dim(m);
    if (m.is_const() || phase.rows == 1) {
      em_.loop(LoopKind::kSerial, b_.i64(0), all, phase.rows, [&](ValueId row) { rows(phase, row, all, phase.rows); });
      return;
    }
    // Whole tiles, then smaller ones for the rows that are left: each reads all the weights.
    ValueId row = b_.i64(0);
    for (int64_t count = phase.rows; count > 0; count = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(count - 1)))) {
      const ValueId end = b_.add(row, b_.mul(b_.op(ScalarOp::kDiv, {b_.sub(all, row), b_.i64(count)}), b_.i64(count)));
      em_.loop(LoopKind::kSerial, row, end, count, [&](ValueId first) { rows(phase, first, end, count); });
      row = end;
    }
  }

  /// Rows [row, row + count) below `end`.
  void rows(const Phase& phase, ValueId row, ValueId end, int64_t count) {
    int64_t first_gate = 0;
    for (const Phase::Product& product : phase.products) {
      sums(phase, product, row, end, count, first_gate);
      first_gate += static_cast<int64_t>(product.gates.size());
    }
    const ValueId present = count == 1 ? b_.i64(1) : b_.op(ScalarOp::kMin, {b_.i64(count), b_.sub(end, row)});
    em_.loop(LoopKind::kSerial, b_.i64(0), present, 1, [&](ValueId i) {
      if (phase.has_rows()) em_.bind(1, b_.add(row, i));
      maps(phase, i);
    });
  }

  /// sums[row][gate][lane] for all gates of one product, in registers along K.
  void sums(const Phase& phase, const Phase::Product& part, ValueId row, ValueId end, int64_t count, int64_t first_gate) {
    const StepProduct& product = r_.products[static_cast<size_t>(part.product)];
    const auto gates = static_cast<int64_t>(part.gates.size());
    const DType acc = lowering_.stage(product.stage).acc_dtype;
    std::vector<ValueId> base;
    for (int64_t i = 0; i < count; ++i)
      em_.scoped([&] {
        // Rows beyond the last repeat it.
        if (phase.has_rows()) em_.bind(1, i == 0 ? row : b_.op(ScalarOp::kMin, {b_.add(row, b_.i64(i)), b_.sub(end, b_.i64(1))}));
        base.push_back(em_.emit(product.row));
      });
    const int k_axis = static_cast<int>(phase.axes.size()), from = em_.buffer(product.a.node().operand);
    const int packed = em_.buffer(kStageOperand + part.packed);
    const ValueId panel = b_.mul(tile_, b_.i64(product.k * gates * phase.width));
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(phase.width), 1, [&](ValueId lane) {
      const std::vector<ValueId> inits(static_cast<size_t>(count * gates), constant(b_, acc, {}));
      const auto result = em_.loop(LoopKind::kSerial, b_.i64(0), b_.i64(product.k), 1, inits, [&](ValueId k, std::span<const ValueId> carried) {
        em_.bind(k_axis, k);
        const ValueId along = em_.emit(product.along);
        const ValueId line = b_.add(panel, b_.mul(k, b_.i64(gates * phase.width)));
        std::vector<ValueId> weights, next;
        for (int64_t g = 0; g < gates; ++g) weights.push_back(b_.load(packed, b_.add(b_.add(line, b_.i64(g * phase.width)), lane)));
        for (int64_t i = 0; i < count; ++i) {
          const ValueId a = b_.load(from, b_.add(base[static_cast<size_t>(i)], along));
          for (int64_t g = 0; g < gates; ++g)
            next.push_back(multiply_add(b_, lowering_.target, a, weights[static_cast<size_t>(g)], carried[static_cast<size_t>(i * gates + g)]));
        }
        return next;
      });
      for (int64_t i = 0; i < count; ++i)
        for (int64_t g = 0; g < gates; ++g)
          b_.store(sums_, b_.add(b_.i64((i * phase.gates() + first_gate + g) * phase.width), lane), result[static_cast<size_t>(i * gates + g)]);
    }, static_cast<int>(phase.width));
  }

  void maps(const Phase& phase, ValueId row) {
    const int n_axis = static_cast<int>(phase.axes.size()) - 1;
    const ValueId base = b_.mul(row, b_.i64(phase.gates() * phase.width));
    for (const StepMap& m : phase.maps) {
      em_.hoist(m.value);
      em_.hoist(m.store);
    }
    em_.loop(LoopKind::kVector, b_.i64(0), n_count_, 1, [&](ValueId lane) {
      em_.bind(n_axis, b_.add(n0_, lane));
      int64_t number = 0;
      for (const Phase::Product& product : phase.products)
        for (const Gate& gate : product.gates)
          em_.bind_result(kStageOperand + gate.stage, b_.load(sums_, b_.add(b_.add(base, b_.i64(number++ * phase.width)), lane)));
      for (const StepMap& m : phase.maps) em_.store_buffer(writer_.output(m.into), em_.emit(m.store), em_.emit(m.value));
    });
  }

  Lowering& lowering_;
  const Recurrence& r_;
  KernelWriter& writer_;
  Emitter& em_;
  kir::KernelBuilder& b_;
  int64_t tiles_;
  int sums_ = -1;
  ValueId tile_ = -1, n0_ = -1, n_count_ = -1;
};

}  // namespace

int64_t Phase::gates() const {
  int64_t count = 0;
  for (const Product& p : products) count += static_cast<int64_t>(p.gates.size());
  return count;
}

Dim work_of_step(const Recurrence& r) {
  Dim work = 0;
  for (const Phase& p : r.phases) {
    const Dim m = p.has_rows() ? p.axes[1] : Dim(1);
    for (const Phase::Product& part : p.products)
      work = work + m * (2 * r.products[static_cast<size_t>(part.product)].k * p.n() * static_cast<int64_t>(part.gates.size()));
    for (const StepMap& map : p.maps) work = work + m * p.n() * evaluation_cost(map.value);
  }
  return work;
}

ValueId multiply_add(kir::KernelBuilder& b, const Target& target, ValueId x, ValueId y, ValueId sum) {
  if (target.has_fma && is_float(b.kernel().dtype(sum))) return b.op(ScalarOp::kFma, {x, y, sum});
  return b.op(ScalarOp::kAdd, {sum, b.op(ScalarOp::kMul, {x, y})});
}

void emit_recurrence(Lowering& lowering, const Recurrence& r) {
  ir::ExprPool& pool = *lowering.group.pool;
  std::vector<Expr> reads;
  std::vector<int> writes, registers = r.states;
  int64_t tiles = 0;
  for (const Phase& phase : r.phases) {
    tiles = std::max(tiles, phase.tiles());
    for (const StepMap& m : phase.maps) {
      reads.push_back(m.value);
      if (std::find(writes.begin(), writes.end(), m.into) == writes.end()) writes.push_back(m.into);
    }
    for (const Phase::Product& part : phase.products) {
      const StepProduct& product = r.products[static_cast<size_t>(part.product)];
      const Expr zero[] = {pool.constant_int(kI64, 0)};
      reads.push_back(product.a);
      reads.push_back(pool.load(kStageOperand + part.packed, lowering.stage(part.packed).dtype, zero));
      for (const Gate& gate : part.gates) registers.push_back(gate.stage);
    }
  }
  for (int s : writes) registers.push_back(s);
  KernelWriter writer(lowering, "recurrence", reads, writes, registers);
  for (int s : writes) writer.emitter().set_buffer(kStageOperand + s, writer.output(s));
  writer.builder().kernel().round = tiles;
  RecurrenceEmitter(lowering, r, writer, tiles).emit();
  const Dim rounds = r.steps * static_cast<int64_t>(r.phases.size());
  writer.finish(rounds * tiles, r.steps * work_of_step(r));
}

}  // namespace tenon::codegen
