#include <algorithm>
#include <unordered_map>

#include "codegen/schedule/powers.h"
#include "codegen/schedule/recurrence.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

namespace {

constexpr DType kI64 = DType::kI64;
constexpr int64_t kLanes = 512;
constexpr int64_t kLeastPart = 16;  // products of a lane that are worth a sum over lanes
constexpr int64_t kAtOnce = 4;      // of a lane, whose loads do not wait for one another

/// What a workgroup keeps of its row from step to step: states, in two halves, and what later phases multiply.
struct Held {
  int stage;
  int64_t size;  // of a half
  bool state;
  int buffer = -1;
};

class LaneEmitter {
 public:
  LaneEmitter(Lowering& lowering, const Recurrence& r) : lowering_(lowering), r_(r), pool_(*lowering.group.pool) {}

  /// Refuses before anything is appended.
  Status prepare() {
    if (r_.phases.empty()) return error(Code::kUnsupported, "GPU: a step computes nothing");
    const std::vector<Dim>& first = r_.phases[0].axes;
    for (const Phase& phase : r_.phases)
      if (phase.axes.size() != first.size() || (phase.has_rows() && phase.axes[1] != first[1]))
        return error(Code::kUnsupported, "GPU: parts of a step have different rows");
    if (first.size() == 3) rows_ = first[1];
    for (const Phase& phase : r_.phases)
      for (const StepMap& map : phase.maps) TENON_RETURN_IF_ERROR(hold(map, phase.n()));
    for (Phase& phase : r_.phases)
      for (StepMap& map : phase.maps) {
        TENON_RETURN_IF_ERROR(keep_in_row(map.value, phase.axes));
        if (const Held* held = find(map.into)) TENON_RETURN_IF_ERROR(to_row(map.store, phase.axes, *held));
      }
    for (StepProduct& product : r_.products) {
      const std::vector<Dim> axes = lowering_.stage(product.stage).all_axes();
      TENON_RETURN_IF_ERROR(keep_in_row(product.a, axes));
      product.b = flatten_loads(product.b, axes, shapes(lowering_));
    }
    choose_lanes();
    const int64_t bytes = shared_bytes(), there = lowering_.target.shared_bytes;
    if (bytes > there)
      return error(Code::kUnsupported, "GPU: a step's states and sums take {} bytes of shared memory, {} are there",
                   bytes, there);
    return {};
  }

  void emit() {
    std::vector<Expr> reads;
    std::vector<int> writes = r_.states, registers;
    for (const Held& h : held_) registers.push_back(h.stage);
    for (const Phase& phase : r_.phases) {
      for (const StepMap& map : phase.maps) {
        reads.push_back(map.value);
        if (find(map.into) == nullptr && std::ranges::find(writes, map.into) == writes.end())
          writes.push_back(map.into);
      }
      for (const Phase::Product& part : phase.products) {
        const StepProduct& product = r_.products[static_cast<size_t>(part.product)];
        const Expr zero[] = {pool_.constant_int(kI64, 0)};
        reads.push_back(product.a);
        reads.push_back(part.packed < 0
                            ? product.b
                            : pool_.load(kStageOperand + part.packed, lowering_.stage(part.packed).dtype, zero));
        for (const Gate& gate : part.gates) registers.push_back(gate.stage);
      }
    }
    KernelWriter writer(lowering_, "recurrence", reads, writes, registers);
    writer_ = &writer;
    em_ = &writer.emitter();
    b_ = &writer.builder();
    steps();
    writer.finish(rows_ ? *rows_ : Dim(1), r_.steps * work_of_step(r_));
  }

  std::string implementation() const { return fmt::format("recurrence of {} lanes", lanes_); }

 private:
  // ---- What a row holds

  Held* find(int stage) {
    const auto found = std::ranges::find(held_, stage, &Held::stage);
    return found == held_.end() ? nullptr : &*found;
  }

  Status hold(const StepMap& map, int64_t n) {
    const bool state = std::ranges::find(r_.states, map.into) != r_.states.end();
    const bool factor = std::ranges::any_of(r_.products, [&](const StepProduct& p) { return p.source == map.into; });
    if (find(map.into) != nullptr || (!state && !factor)) return {};
    const Dim one = rows_ ? *rows_ * n : Dim(n), all = ir::product(lowering_.stage(map.into).shape);
    if (!ir::known_eq(all, state ? 2 * one : one))
      return error(Code::kUnsupported, "GPU: a state is not of rows of {}", n);
    held_.push_back({map.into, n, state});
    return {};
  }

  /// Loads of what is held, as loads of this row alone.
  Status keep_in_row(Expr& e, const std::vector<Dim>& axes) {
    Status status;
    std::unordered_map<int, Expr> replacement;
    visit(e, [&](int id, const ExprNode& seen) {
      const ExprNode node = seen;
      const Held* held =
          node.kind == ExprKind::kLoad && node.operand >= kStageOperand ? find(node.operand - kStageOperand) : nullptr;
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

  /// An offset in all rows as one in the bound row, of the half that it is in.
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
    offset = algebra.expr(algebra.add(in_row, rest));
    return {};
  }

  // ---- Sizes

  int64_t parts(const Phase& phase) const {
    int64_t k = 1;
    for (const Phase::Product& part : phase.products) k = std::max(k, r_.products[static_cast<size_t>(part.product)].k);
    return std::max<int64_t>(1, std::min(lanes_ / phase.n(), k / kLeastPart));
  }
  int64_t sums(const Phase& phase) const { return parts(phase) == 1 ? 0 : parts(phase) * phase.gates() * phase.n(); }

  void choose_lanes() {
    int64_t wanted = 1;
    for (const Phase& phase : r_.phases) {
      wanted = std::max(wanted, phase.n());
      for (const Phase::Product& part : phase.products)
        wanted = std::max(wanted, phase.n() * (r_.products[static_cast<size_t>(part.product)].k / kLeastPart));
    }
    const int64_t most = std::min(kLanes, power_below(lowering_.target.max_workgroup));
    lanes_ =
        std::clamp(power_above(wanted), std::min<int64_t>(most, std::max(2, lowering_.target.subgroup_size)), most);
  }

  DType acc() const { return r_.products.empty() ? DType::kF32 : lowering_.stage(r_.products[0].stage).acc_dtype; }

  int64_t most_sums() const {
    int64_t most = 0;
    for (const Phase& phase : r_.phases) most = std::max(most, sums(phase));
    return most;
  }

  int64_t shared_bytes() const {
    int64_t bytes = most_sums() * bits(acc()) / 8;
    for (const Held& h : held_)
      bytes += (h.state ? 2 : 1) * h.size * std::max(1, bits(lowering_.stage(h.stage).dtype) / 8);
    return bytes;
  }

  // ---- The kernel

  void steps() {
    b_->kernel().lanes = static_cast<int>(lanes_);
    for (Held& h : held_)
      h.buffer = b_->add_local("held" + std::to_string(&h - held_.data()), lowering_.stage(h.stage).dtype,
                               (h.state ? 2 : 1) * h.size);
    if (most_sums() > 0) sums_ = b_->add_local("sums", acc(), most_sums());
    if (rows_) em_->bind(1, b_->grid_index());
    for (const Held& h : held_) em_->set_buffer(kStageOperand + h.stage, h.buffer);
    states(b_->i64(0), [&](const Held& h, ValueId outside, ValueId inside) {
      b_->store(h.buffer, inside, b_->load(writer_->output(h.stage), outside));
    });
    em_->loop(LoopKind::kSerial, b_->i64(0), em_->dim(r_.steps), 1, [&](ValueId step) {
      em_->bind(0, step);
      for (const Phase& phase : r_.phases) em_->scoped([&] { this->phase(phase); });
    });
    states(em_->dim(ir::mod(r_.steps, 2)), [&](const Held& h, ValueId outside, ValueId inside) {
      b_->store(writer_->output(h.stage), outside, b_->load(h.buffer, inside));
    });
  }

  void lanes(int64_t count, const std::function<void(ValueId)>& body) {
    em_->loop(LoopKind::kVector, b_->i64(0), b_->i64(count), 1, body);
  }

  /// Each element of the half, where it lies in all rows and in this one.
  void states(ValueId half, const std::function<void(const Held&, ValueId, ValueId)>& copy) {
    for (const Held& h : held_) {
      if (!h.state) continue;
      const ValueId size = b_->i64(h.size);
      const ValueId row =
          rows_ ? b_->mul(b_->add(b_->mul(half, em_->dim(*rows_)), b_->grid_index()), size) : b_->mul(half, size);
      lanes(h.size, [&](ValueId i) { copy(h, b_->add(row, i), b_->add(b_->mul(half, size), i)); });
    }
  }

  void phase(const Phase& phase) {
    const int64_t n = phase.n(), parts = this->parts(phase);
    if (parts == 1)
      return lanes(n, [&](ValueId element) {
        bind_element(phase, element);
        for (const Phase::Product& part : phase.products) {
          const std::vector<ValueId> sums = products(phase, part, element, b_->i64(0), 1);
          for (size_t g = 0; g < sums.size(); ++g) em_->bind_result(kStageOperand + part.gates[g].stage, sums[g]);
        }
        maps(phase);
      });
    lanes(parts * n, [&](ValueId i) {
      const ValueId which = b_->op(ScalarOp::kDiv, {i, b_->i64(n)}), element = b_->op(ScalarOp::kRem, {i, b_->i64(n)});
      bind_element(phase, element);
      int64_t gate = 0;
      for (const Phase::Product& part : phase.products)
        for (ValueId sum : products(phase, part, element, which, parts))
          b_->store(sums_, b_->add(i, b_->i64(gate++ * parts * n)), sum);
    });
    lanes(n, [&](ValueId element) {
      bind_element(phase, element);
      int64_t gate = 0;
      for (const Phase::Product& part : phase.products)
        for (const Gate& g : part.gates) em_->bind_result(kStageOperand + g.stage, total(element, gate++, parts, n));
      maps(phase);
    });
  }

  void bind_element(const Phase& phase, ValueId element) {
    em_->bind(static_cast<int>(phase.axes.size()) - 1, element);
  }

  ValueId total(ValueId element, int64_t gate, int64_t parts, int64_t n) {
    ValueId sum = -1;
    for (int64_t p = 0; p < parts; ++p) {
      const ValueId one = b_->load(sums_, b_->add(element, b_->i64((gate * parts + p) * n)));
      sum = p == 0 ? one : b_->op(ScalarOp::kAdd, {sum, one});
    }
    return sum;
  }

  /// The sums of all gates over part `which` of K.
  std::vector<ValueId> products(const Phase& phase, const Phase::Product& part, ValueId element, ValueId which,
                                int64_t parts) {
    const StepProduct& product = r_.products[static_cast<size_t>(part.product)];
    const int64_t each = (product.k + parts * kAtOnce - 1) / (parts * kAtOnce) * kAtOnce;
    const ValueId end = b_->i64(product.k), lo = b_->op(ScalarOp::kMin, {b_->mul(which, b_->i64(each)), end});
    const ValueId hi = b_->op(ScalarOp::kMin, {b_->add(lo, b_->i64(each)), end});
    const ValueId whole =
        product.k % kAtOnce == 0 ? hi : b_->sub(hi, b_->op(ScalarOp::kRem, {b_->sub(hi, lo), b_->i64(kAtOnce)}));
    std::vector<ValueId> sums(part.gates.size(), constant(*b_, lowering_.stage(product.stage).acc_dtype, {}));
    const auto several = [&](ValueId first, ValueId last, int64_t step) {
      sums = em_->loop(LoopKind::kSerial, first, last, step, sums, [&](ValueId k, std::span<const ValueId> carried) {
        std::vector<ValueId> next(carried.begin(), carried.end());
        for (int64_t i = 0; i < step; ++i) add(phase, part, element, b_->add(k, b_->i64(i)), next);
        return next;
      });
    };
    if (product.k >= kAtOnce) several(lo, whole, kAtOnce);
    if (product.k % kAtOnce != 0) several(product.k >= kAtOnce ? whole : lo, hi, 1);
    return sums;
  }

  /// Adds a(k) b(k, n) to the sum of each gate.
  void add(const Phase& phase, const Phase::Product& part, ValueId element, ValueId k, std::vector<ValueId>& sums) {
    const StepProduct& product = r_.products[static_cast<size_t>(part.product)];
    const int n_axis = static_cast<int>(phase.axes.size()) - 1;
    em_->scoped([&] {
      em_->bind(n_axis + 1, k);
      const ValueId a = em_->emit(product.a);
      for (size_t g = 0; g < sums.size(); ++g) {
        ValueId weight = -1;
        if (part.packed >= 0) {
          const ValueId line =
              b_->mul(b_->add(b_->mul(k, b_->i64(std::ssize(part.gates))), b_->i64(static_cast<int64_t>(g))),
                      b_->i64(phase.width));
          weight = b_->load(em_->buffer(kStageOperand + part.packed), b_->add(line, element));
        } else {
          em_->scoped([&] {
            em_->bind(n_axis, b_->add(element, b_->i64(part.gates[g].offset)));
            weight = em_->emit(product.b);
          });
        }
        sums[g] = multiply_add(*b_, lowering_.target, a, weight, sums[g]);
      }
    });
  }

  void maps(const Phase& phase) {
    for (const StepMap& map : phase.maps) {
      const Held* held = find(map.into);
      em_->store_buffer(held != nullptr ? held->buffer : writer_->output(map.into), em_->emit(map.store),
                        em_->emit(map.value));
    }
  }

  Lowering& lowering_;
  Recurrence r_;  // with offsets in a row
  ir::ExprPool& pool_;
  std::optional<Dim> rows_;
  std::vector<Held> held_;
  int64_t lanes_ = 1;
  KernelWriter* writer_ = nullptr;
  Emitter* em_ = nullptr;
  kir::KernelBuilder* b_ = nullptr;
  int sums_ = -1;
};

}  // namespace

Result<std::string> emit_recurrence_in_lanes(Lowering& lowering, const Recurrence& recurrence) {
  LaneEmitter emitter(lowering, recurrence);
  TENON_RETURN_IF_ERROR(emitter.prepare());
  emitter.emit();
  return emitter.implementation();
}

}  // namespace tenon::codegen
