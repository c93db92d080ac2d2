#include <algorithm>

#include "codegen/schedule/powers.h"
#include "codegen/schedule/recurrence.h"
#include "codegen/schedule/recurrence_held.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

namespace {

constexpr DType kI64 = DType::kI64;
constexpr int64_t kLanes = 512;
constexpr int64_t kLeastPart = 16;  // products of a lane that are worth a sum over lanes
constexpr int64_t kAtOnce = 4;      // of a lane, whose loads do not wait for one another
constexpr int64_t kAtOnceOfRows = 2;  // the same where each is for several rows
constexpr int64_t kMostRows = 4;    // of a workgroup
constexpr int64_t kMostSums = 32;   // of a lane
/// What a unit of the device reads while the host begins a step of its own, of a few dispatches: 64 bytes a clock for about 100 µs.
constexpr double kBytesOfStep = 10 << 20;

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
    TENON_ASSIGN_OR_RETURN(held_, hold_rows(lowering_, r_, rows_));
    for (StepProduct& product : r_.products)
      product.b = flatten_loads(product.b, lowering_.stage(product.stage).all_axes(), shapes(lowering_));
    choose_lanes();
    const double read = matrix_bytes();
    if (read - read / static_cast<double>(units()) > kBytesOfStep)
      return error(Code::kUnsupported, "GPU: a workgroup would read {:.0f} bytes of matrices a step, which the whole device reads faster", read);
    const int64_t bytes = shared_bytes(), there = lowering_.target.shared_bytes;
    if (bytes > there)
      return error(Code::kUnsupported, "GPU: a step's states and sums take {} bytes of shared memory, {} are there",
                   bytes, there);
    return {};
  }

  /// Where there are more rows than units, a workgroup has several: it reads matrices once for all of them.
  void emit() {
    const int64_t most = most_rows();
    if (!rows_ || most == 1) return kernel(1, 1);
    if (rows_->is_const()) return kernel(std::min(most, (rows_->value() + units() - 1) / units()), 1);
    const RowsOfRun runs = rows_of_run(*rows_, units());
    kernel(1, runs.few);
    kernel(most, runs.many);
  }

  std::string implementation() const {
    return fmt::format("recurrence of {} lanes", lanes_) + (taken_ > 1 ? fmt::format(", {} rows", taken_) : "");
  }

 private:
  /// A workgroup has so many rows; the grid and the work are times `factor`.
  void kernel(int64_t rows, Dim factor) {
    taken_ = std::max<int64_t>(rows, 1);
    std::vector<Expr> reads;
    std::vector<int> writes = r_.states, registers;
    for (const Held& h : held_) registers.push_back(h.stage);
    for (const Phase& phase : r_.phases) {
      for (const StepMap& map : phase.maps) {
        reads.push_back(map.value);
        if (find_held(held_, map.into) == nullptr && std::ranges::find(writes, map.into) == writes.end())
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
    writer.finish((rows_ ? ir::ceil_div(*rows_, taken_) : Dim(1)) * factor, r_.steps * work_of_step(r_) * factor);
  }

  // ---- Sizes

  /// A workgroup of so many lanes keeps a unit busy alone.
  int64_t units() const { return std::max<int64_t>(1, lowering_.target.busy_workgroups / 2); }

  double matrix_bytes() const {
    double bytes = 0;
    for (const Phase& phase : r_.phases)
      for (const Phase::Product& part : phase.products) {
        const StepProduct& product = r_.products[static_cast<size_t>(part.product)];
        const DType stored = part.packed >= 0 ? lowering_.stage(part.packed).dtype : pool_.node(product.b.id).dtype;
        bytes += static_cast<double>(product.k) * static_cast<double>(phase.n()) * static_cast<double>(part.gates.size()) * bits(stored) / 8;
      }
    return bytes;
  }

  int64_t most_rows() const {
    int64_t rows = kMostRows;
    for (const Phase& phase : r_.phases) rows = std::min(rows, kMostSums / std::max<int64_t>(1, phase.gates()));
    return std::max<int64_t>(1, std::min(rows, lowering_.target.shared_bytes / std::max<int64_t>(1, shared_bytes())));
  }

  int64_t parts(const Phase& phase) const {
    int64_t k = 1;
    for (const Phase::Product& part : phase.products) k = std::max(k, r_.products[static_cast<size_t>(part.product)].k);
    return std::max<int64_t>(1, std::min(lanes_ / phase.n(), k / kLeastPart));
  }
  /// Of a row, that lanes hand to each other.
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

  /// Of a row.
  int64_t shared_bytes() const {
    int64_t bytes = most_sums() * bits(acc()) / 8;
    for (const Held& h : held_) bytes += h.span() * std::max(1, bits(lowering_.stage(h.stage).dtype) / 8);
    return bytes;
  }

  // ---- The kernel

  void steps() {
    b_->kernel().lanes = static_cast<int>(lanes_);
    for (Held& h : held_)
      h.buffer = b_->add_local("held" + std::to_string(&h - held_.data()), lowering_.stage(h.stage).dtype, taken_ * h.span());
    if (most_sums() > 0) sums_ = b_->add_local("sums", acc(), taken_ * most_sums());
    first_ = b_->mul(b_->grid_index(), b_->i64(taken_));
    present_ = taken_ == 1 ? b_->i64(1) : b_->op(ScalarOp::kMin, {b_->i64(taken_), b_->sub(em_->dim(*rows_), first_)});
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

  void lanes(ValueId count, const std::function<void(ValueId)>& body) {
    em_->loop(LoopKind::kVector, b_->i64(0), count, 1, body);
  }
  void lanes(int64_t count, const std::function<void(ValueId)>& body) { lanes(b_->i64(count), body); }

  /// Those that there are of the workgroup's rows, by number.
  void each_row(const std::function<void(ValueId)>& body) {
    if (taken_ == 1) return em_->scoped([&] { body(b_->i64(0)); });
    em_->loop(LoopKind::kSerial, b_->i64(0), present_, 1, body);
  }

  void bind_row(ValueId row) {
    em_->bind(kRow, row);
    if (rows_) em_->bind(1, b_->add(first_, row));
  }

  /// Each element of the half, where it lies in all rows and in what is held.
  void states(ValueId half, const std::function<void(const Held&, ValueId, ValueId)>& copy) {
    for (const Held& h : held_) {
      if (!h.state) continue;
      const ValueId size = b_->i64(h.size);
      each_row([&](ValueId row) {
        const ValueId number = rows_ ? b_->add(b_->mul(half, em_->dim(*rows_)), b_->add(first_, row)) : half;
        const ValueId outside = b_->mul(number, size), inside = b_->mul(b_->add(b_->mul(row, b_->i64(2)), half), size);
        lanes(h.size, [&](ValueId i) { copy(h, b_->add(outside, i), b_->add(inside, i)); });
      });
    }
  }

  void phase(const Phase& phase) {
    const int64_t n = phase.n(), parts = this->parts(phase), gates = phase.gates();
    if (parts == 1)
      return lanes(n, [&](ValueId element) {
        bind_element(phase, element);
        std::vector<std::vector<ValueId>> sums;  // of each gate, by row
        for (const Phase::Product& part : phase.products)
          for (std::vector<ValueId>& gate : products(phase, part, element, b_->i64(0), 1)) sums.push_back(std::move(gate));
        each_row([&](ValueId row) { maps(phase, row, [&](size_t gate) { return chosen(sums[gate], row); }); });
      });
    lanes(parts * n, [&](ValueId i) {
      const ValueId which = b_->op(ScalarOp::kDiv, {i, b_->i64(n)}), element = b_->op(ScalarOp::kRem, {i, b_->i64(n)});
      bind_element(phase, element);
      int64_t gate = 0;
      for (const Phase::Product& part : phase.products)
        for (const std::vector<ValueId>& rows : products(phase, part, element, which, parts)) {
          for (size_t r = 0; r < rows.size(); ++r)
            b_->store(sums_, b_->add(i, b_->i64((static_cast<int64_t>(r) * gates + gate) * parts * n)), rows[r]);
          ++gate;
        }
    });
    lanes(b_->mul(present_, b_->i64(n)), [&](ValueId i) {
      const ValueId row = taken_ == 1 ? b_->i64(0) : b_->op(ScalarOp::kDiv, {i, b_->i64(n)}), element = b_->sub(i, b_->mul(row, b_->i64(n)));
      bind_element(phase, element);
      const ValueId at = b_->add(b_->mul(row, b_->i64(gates * parts * n)), element);
      maps(phase, row, [&](size_t gate) { return total(b_->add(at, b_->i64(static_cast<int64_t>(gate) * parts * n)), parts, n); });
    });
  }

  void bind_element(const Phase& phase, ValueId element) {
    em_->bind(static_cast<int>(phase.axes.size()) - 1, element);
  }

  ValueId total(ValueId first, int64_t parts, int64_t n) {
    ValueId sum = b_->load(sums_, first);
    for (int64_t p = 1; p < parts; ++p) sum = b_->op(ScalarOp::kAdd, {sum, b_->load(sums_, b_->add(first, b_->i64(p * n)))});
    return sum;
  }

  ValueId chosen(std::span<const ValueId> by_row, ValueId row) {
    ValueId out = by_row[0];
    for (size_t r = 1; r < by_row.size(); ++r)
      out = b_->op(ScalarOp::kSelect, {b_->op(ScalarOp::kEq, {row, b_->i64(static_cast<int64_t>(r))}), by_row[r], out});
    return out;
  }

  /// The sums over part `which` of K, of each gate by row.
  std::vector<std::vector<ValueId>> products(const Phase& phase, const Phase::Product& part, ValueId element, ValueId which,
                                int64_t parts) {
    const StepProduct& product = r_.products[static_cast<size_t>(part.product)];
    const int64_t each = (product.k + parts * kAtOnce - 1) / (parts * kAtOnce) * kAtOnce;
    const ValueId end = b_->i64(product.k), lo = b_->op(ScalarOp::kMin, {b_->mul(which, b_->i64(each)), end});
    const ValueId hi = b_->op(ScalarOp::kMin, {b_->add(lo, b_->i64(each)), end});
    const int64_t at_once = taken_ == 1 ? kAtOnce : kAtOnceOfRows;
    const ValueId whole =
        product.k % at_once == 0 ? hi : b_->sub(hi, b_->op(ScalarOp::kRem, {b_->sub(hi, lo), b_->i64(at_once)}));
    std::vector<ValueId> sums(part.gates.size() * static_cast<size_t>(taken_), constant(*b_, lowering_.stage(product.stage).acc_dtype, {}));
    const auto several = [&](ValueId first, ValueId last, int64_t step) {
      sums = em_->loop(LoopKind::kSerial, first, last, step, sums, [&](ValueId k, std::span<const ValueId> carried) {
        std::vector<ValueId> next(carried.begin(), carried.end());
        for (int64_t i = 0; i < step; ++i) add(phase, part, element, b_->add(k, b_->i64(i)), next);
        return next;
      });
    };
    if (product.k >= at_once) several(lo, whole, at_once);
    if (product.k % at_once != 0) several(product.k >= at_once ? whole : lo, hi, 1);
    std::vector<std::vector<ValueId>> out(part.gates.size());
    for (size_t i = 0; i < sums.size(); ++i) out[i / static_cast<size_t>(taken_)].push_back(sums[i]);
    return out;
  }

  /// A's element k of each row. Rows that are not there repeat the last one.
  std::vector<ValueId> factors(const StepProduct& product) {
    std::vector<ValueId> out;
    for (int64_t r = 0; r < taken_; ++r)
      em_->scoped([&] {
        bind_row(r == 0 ? b_->i64(0) : b_->op(ScalarOp::kMin, {b_->i64(r), b_->sub(present_, b_->i64(1))}));
        out.push_back(em_->emit(product.a));
      });
    return out;
  }

  /// Adds a(m, k) b(k, n) to the sum of each gate and row.
  void add(const Phase& phase, const Phase::Product& part, ValueId element, ValueId k, std::vector<ValueId>& sums) {
    const StepProduct& product = r_.products[static_cast<size_t>(part.product)];
    const int n_axis = static_cast<int>(phase.axes.size()) - 1;
    em_->scoped([&] {
      em_->bind(n_axis + 1, k);
      const std::vector<ValueId> a = factors(product);
      for (size_t g = 0; g < part.gates.size(); ++g) {
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
        for (size_t r = 0; r < a.size(); ++r) {
          ValueId& sum = sums[g * a.size() + r];
          sum = multiply_add(*b_, lowering_.target, a[r], weight, sum);
        }
      }
    });
  }

  void maps(const Phase& phase, ValueId row, const std::function<ValueId(size_t)>& sum_of_gate) {
    bind_row(row);
    size_t number = 0;
    for (const Phase::Product& part : phase.products)
      for (const Gate& gate : part.gates) em_->bind_result(kStageOperand + gate.stage, sum_of_gate(number++));
    for (const StepMap& map : phase.maps) {
      const Held* held = find_held(held_, map.into);
      em_->store_buffer(held != nullptr ? held->buffer : writer_->output(map.into), em_->emit(map.store),
                        em_->emit(map.value));
    }
  }

  Lowering& lowering_;
  Recurrence r_;  // with offsets in a row
  ir::ExprPool& pool_;
  std::optional<Dim> rows_;
  std::vector<Held> held_;
  int64_t lanes_ = 1, taken_ = 1;  // taken_: rows of a workgroup
  KernelWriter* writer_ = nullptr;
  Emitter* em_ = nullptr;
  kir::KernelBuilder* b_ = nullptr;
  int sums_ = -1;
  ValueId first_ = -1, present_ = -1;  // of the workgroup's rows: the first one's number, how many there are
};

}  // namespace

Result<std::string> emit_recurrence_in_lanes(Lowering& lowering, const Recurrence& recurrence) {
  LaneEmitter emitter(lowering, recurrence);
  TENON_RETURN_IF_ERROR(emitter.prepare());
  emitter.emit();
  return emitter.implementation();
}

}  // namespace tenon::codegen
