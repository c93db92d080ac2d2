#include "codegen/schedule/top_k.h"

#include <algorithm>
#include <bit>

#include "codegen/schedule/powers.h"
#include "ir/storage_order.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ScalarOp;
using ir::Value;
using kir::LoopKind;
using kir::ValueId;

namespace {

constexpr int64_t kLanes = 256;
constexpr int64_t kMostEntries = 4096;
constexpr int64_t kTurnEntries = 1024;         // of a row that comes in turns, at least
constexpr int64_t kTurnsOfPart = 4;            // that are worth a workgroup
constexpr int64_t kMostPositions = (INT32_MAX - kMostEntries) / 2;  // that 32 bits count, with those behind the row

struct TopK {
  const Value *x, *values, *indices;
  Dim outer, n, inner;  // the axes before, along and behind the row
  int64_t k = 0;
  bool largest = true;
  DType key = DType::kInvalid, position = DType::kInvalid;
  int64_t entries = 0, lanes = 0;
  int64_t parts = 1;
};

/// What one kernel sorts: elements of the row, or those that the parts' kernels found.
struct Pass {
  Dim extent;           // elements of a workgroup
  Dim workgroups;       // of a row
  int candidates = -1;  // the stage that holds their positions, at n or beyond where a part had fewer than k
  int positions = -1;   // the stage that takes those of the k first; -1: the outputs are written
};

/// Signed integers that order as the elements do.
Result<DType> key_dtype(DType d) {
  switch (d) {
    case DType::kI8: case DType::kI16: case DType::kI32: case DType::kU8: case DType::kU16: case DType::kU32:
    case DType::kF16: case DType::kBF16: case DType::kF32: return DType::kI32;
    case DType::kI64: case DType::kU64: case DType::kF64: return DType::kI64;
    default: return error(Code::kUnsupported, "kernels do not sort {}", name(d));
  }
}

Status choose_sizes(TopK& t, const Target& target) {
  const int64_t entry = (bits(t.key) + bits(t.position)) / 8;
  t.lanes = std::min(kLanes, power_below(target.max_workgroup));
  const int64_t scratch = t.lanes * 4;  // in which lanes combine what they found
  const int64_t most = std::min(kMostEntries, power_below((target.shared_bytes - scratch) / entry));
  if (ir::known_le(t.n, most)) {
    t.entries = t.n.is_const() ? std::max<int64_t>(2, power_above(t.n.value())) : most;
  } else {
    if (t.k > most / 2) return error(Code::kUnsupported, "{} of rows of {}, of which {} fit", t.k, to_string(t.n), most);
    t.entries = std::clamp(power_above(4 * t.k), std::min(kTurnEntries, most), most);
  }
  t.lanes = std::min(t.lanes, t.entries / 2);
  if (ir::known_le(t.n, t.entries)) return {};  // parts are for rows that come in turns
  const Dim rows = t.outer * t.inner;
  if (!rows.is_const() || !t.n.is_const() || rows.value() < 1) return {};
  const int64_t turns = t.n.value() / (t.entries - t.k);
  t.parts = std::max<int64_t>(1, std::min(target.busy_workgroups / rows.value(), turns / kTurnsOfPart));
  if (t.parts * t.k > t.n.value() / 2) t.parts = 1;
  return {};
}

Result<TopK> plan(const ir::Node& node, const Target& target) {
  TopK t{.x = node.input(0), .values = node.output(0), .indices = node.output(1)};
  for (const Value* v : {t.x, t.values, t.indices}) {
    if (!v->type().is_ranked_tensor()) return error(Code::kUnsupported, "rank of {} is not known", v->name());
    if (!ir::is_row_major(*v)) return error(Code::kUnsupported, "{} is not row-major", v->name());
  }
  const std::vector<Dim>& dims = *t.x->tensor().dims;
  const auto rank = static_cast<int64_t>(dims.size());
  int64_t axis = node.attr_int("axis", -1);
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank) return error(Code::kUnsupported, "there is no axis {}", axis);
  t.outer = ir::product(std::span(dims).first(static_cast<size_t>(axis)));
  t.n = dims[static_cast<size_t>(axis)];
  t.inner = ir::product(std::span(dims).subspan(static_cast<size_t>(axis) + 1));
  const Dim k = t.values->tensor().dim(axis);
  const auto asked = ir::constant_ints(node.input(1));
  if (!asked || asked->size() != 1 || !k.is_const(asked->front())) return error(Code::kUnsupported, "K is data");
  if (k.value() < 1 || ir::known_le(t.n + 1, k)) return error(Code::kUnsupported, "K is {} of {}", to_string(k), to_string(t.n));
  if (!(t.outer * t.n * t.inner).is_valid()) return error(Code::kUnsupported, "extents overflow");
  t.k = k.value();
  t.largest = node.attr_int("largest", 1) != 0;
  TENON_ASSIGN_OR_RETURN(t.key, key_dtype(t.x->dtype()));
  t.position = ir::known_le(t.n, kMostPositions) ? DType::kI32 : DType::kI64;
  TENON_RETURN_IF_ERROR(choose_sizes(t, target));
  return t;
}

class TopKEmitter {
 public:
  TopKEmitter(const TopK& t, const Pass& pass, KernelWriter& writer, std::span<const int> outputs)
      : t_(t), pass_(pass), em_(writer.emitter()), b_(writer.builder()) {
    for (int stage : outputs) outputs_.push_back(writer.output(stage));
    x_ = em_.buffer(0);
    if (pass.candidates >= 0) candidates_ = em_.buffer(kStageOperand + pass.candidates);
  }

  void emit() {
    b_.kernel().lanes = static_cast<int>(t_.lanes);
    keys_ = b_.add_local("keys", t_.key, t_.entries);
    positions_ = b_.add_local("positions", t_.position, t_.entries);
    const Dim grid[] = {t_.outer, t_.inner, pass_.workgroups};
    index_ = em_.unflatten(b_.grid_index(), grid);
    row_ = b_.add(b_.mul(index_[0], em_.dim(t_.n * t_.inner)), index_[1]);
    first_ = b_.mul(index_[2], em_.dim(pass_.extent));
    if (ir::known_le(pass_.extent, t_.entries)) {
      bring(b_.i64(0), 0);
      sort();
    } else {
      bring(em_.dim(pass_.extent), 0);  // nothing is found yet
      em_.loop(LoopKind::kSerial, b_.i64(0), em_.dim(pass_.extent), t_.entries - t_.k, [&](ValueId next) {
        bring(next, t_.k);
        b_.if_else(better(), [&] { em_.scoped([&] { sort(); }); return std::vector<ValueId>{}; }, [] { return std::vector<ValueId>{}; });
      });
    }
    store();
  }

 private:
  ValueId less(ValueId x, ValueId y) { return b_.op(ScalarOp::kLt, {x, y}); }
  ValueId both(ValueId x, ValueId y) { return b_.op(ScalarOp::kAnd, {x, y}); }
  ValueId select(ValueId condition, ValueId x, ValueId y) { return b_.op(ScalarOp::kSelect, {condition, x, y}); }
  ValueId key(int64_t value) { return b_.constant_int(t_.key, value); }
  int64_t greatest() const { return t_.key == DType::kI32 ? INT32_MAX : INT64_MAX; }
  void lanes(int64_t count, const std::function<void(ValueId)>& body) { em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(count), 1, body); }
  ValueId element(ValueId position) { return b_.add(row_, b_.mul(position, em_.dim(t_.inner))); }

  /// Entries from `at` on are the workgroup's elements from `next` on; behind the last one, what comes after all others.
  void bring(ValueId next, int64_t at) {
    lanes(t_.entries - at, [&](ValueId i) {
      const ValueId place = b_.add(next, i);
      ValueId inside = less(place, em_.dim(pass_.extent)), position = b_.add(first_, place);
      if (candidates_ >= 0) {
        const ValueId row = b_.add(b_.mul(index_[0], em_.dim(t_.inner)), index_[1]);
        position = b_.load_masked(candidates_, b_.add(b_.mul(row, em_.dim(pass_.extent)), place), inside, b_.i64(INT64_MAX));
      }
      inside = both(inside, less(position, em_.dim(t_.n)));
      const ValueId x = b_.load_masked(x_, element(position), inside, constant(b_, t_.x->dtype(), {}));
      const ValueId to = b_.add(b_.i64(at), i);
      b_.store(keys_, to, select(inside, key_of(x), key(greatest())));
      b_.store(positions_, to, b_.cast(select(inside, position, b_.add(em_.dim(t_.n), place)), t_.position));
    });
  }

  ValueId key_of(ValueId x) {
    const ValueId ordered = ordered_bits(x);
    return t_.largest ? b_.op(ScalarOp::kXor, {ordered, key(-1)}) : ordered;
  }

  /// Of floats the bits, those of negative ones but the sign turned over: magnitudes grow downwards there.
  ValueId ordered_bits(ValueId x) {
    const DType d = t_.x->dtype();
    const int64_t sign = t_.key == DType::kI32 ? INT32_MIN : INT64_MIN;
    if (d == DType::kU32 || d == DType::kU64) return b_.op(ScalarOp::kXor, {b_.bitcast(x, t_.key), key(sign)});
    if (!is_float(d)) return b_.cast(x, t_.key);
    const bool is_double = d == DType::kF64;
    const ValueId bits = b_.bitcast(is_double ? x : b_.cast(x, DType::kF32), t_.key);
    const ValueId magnitude = both(bits, key(greatest()));
    const ValueId infinity = key(is_double ? 0x7ff0000000000000 : 0x7f800000);
    const ValueId turned = select(less(bits, key(0)), b_.op(ScalarOp::kXor, {bits, key(greatest())}), bits);
    const ValueId number = select(b_.op(ScalarOp::kEq, {magnitude, key(0)}), key(0), turned);
    return select(less(infinity, magnitude), key(greatest()), number);
  }

  struct Entry {
    ValueId key, position;
  };
  Entry load(ValueId at) { return {b_.load(keys_, at), b_.load(positions_, at)}; }
  void store(ValueId at, const Entry& e) {
    b_.store(keys_, at, e.key);
    b_.store(positions_, at, e.position);
  }
  ValueId before(const Entry& x, const Entry& y) {
    return b_.op(ScalarOp::kOr, {less(x.key, y.key), both(b_.op(ScalarOp::kEq, {x.key, y.key}), less(x.position, y.position))});
  }

  /// Whether one of those that were brought comes before the last of the k best.
  ValueId better() {
    const ValueId none = b_.constant_int(DType::kI32, 0);
    const auto look = [&](ValueId i, std::span<const ValueId> any) {
      const ValueId comes = before(load(i), load(b_.i64(t_.k - 1)));
      return std::vector<ValueId>{b_.op(ScalarOp::kMax, {any[0], b_.cast(comes, DType::kI32)})};
    };
    const std::vector<ValueId> found =
        em_.loop(LoopKind::kVector, b_.i64(t_.k), b_.i64(t_.entries), 1, std::span(&none, 1), look, {kir::Combiner::kMax});
    return b_.op(ScalarOp::kGt, {found[0], none});
  }

  /// Runs of `size` in turn up and down, made of two of half the size, until all is one.
  void sort() {
    const ValueId one = b_.i64(1);
    const int64_t steps = std::countr_zero(static_cast<uint64_t>(t_.entries));
    em_.loop(LoopKind::kSerial, b_.i64(0), b_.i64(steps), 1, std::span(&one, 1), [&](ValueId step, std::span<const ValueId> half) {
      const ValueId size = b_.mul(half[0], b_.i64(2));
      em_.loop(LoopKind::kSerial, b_.i64(0), b_.add(step, one), 1, half, [&](ValueId, std::span<const ValueId> distance) {
        exchange(distance[0], size);
        return std::vector<ValueId>{b_.op(ScalarOp::kDiv, {distance[0], b_.i64(2)})};
      });
      return std::vector<ValueId>{size};
    });
  }

  /// Puts the pairs at a power of two apart in order.
  void exchange(ValueId distance, ValueId size) {
    lanes(t_.entries / 2, [&](ValueId pair) {
      const ValueId low = both(pair, b_.sub(distance, b_.i64(1)));
      const ValueId i = b_.sub(b_.mul(pair, b_.i64(2)), low), j = b_.add(i, distance);
      const Entry x = load(i), y = load(j);
      const ValueId down = b_.op(ScalarOp::kNe, {both(i, size), b_.i64(0)});
      const ValueId swap = b_.op(ScalarOp::kXor, {before(y, x), down});
      store(i, {select(swap, y.key, x.key), select(swap, y.position, x.position)});
      store(j, {select(swap, x.key, y.key), select(swap, x.position, y.position)});
    });
  }

  void store() {
    lanes(t_.k, [&](ValueId i) {
      const ValueId position = b_.cast(b_.load(positions_, i), DType::kI64);
      if (pass_.positions >= 0) return b_.store(outputs_[0], b_.add(b_.mul(b_.grid_index(), b_.i64(t_.k)), i), position);
      const ValueId row = b_.add(b_.mul(index_[0], b_.i64(t_.k)), i);
      const ValueId to = b_.add(b_.mul(row, em_.dim(t_.inner)), index_[1]);
      const ValueId inside = less(position, em_.dim(t_.n));
      if (!ir::known_le(t_.k, t_.n)) b_.check(inside, kir::kCheckIndexOutOfRange);  // the row has fewer than K elements
      b_.store(outputs_[0], to, b_.load_masked(x_, element(position), inside, constant(b_, t_.x->dtype(), {})));
      b_.store(outputs_[1], to, position);
    });
  }

  const TopK& t_;
  const Pass& pass_;
  Emitter& em_;
  kir::KernelBuilder& b_;
  std::vector<int> outputs_;
  int x_ = -1, candidates_ = -1, keys_ = -1, positions_ = -1;
  std::vector<ValueId> index_;  // before the row, behind it, the part
  ValueId row_ = -1, first_ = -1;
};

/// A stage that is stored at this place and that no expression computes.
int add_stage(Lowering& lowering, DType dtype, std::vector<Dim> shape, const Value* output) {
  Stage s;
  s.axes = s.shape = std::move(shape);
  s.dtype = s.acc_dtype = dtype;
  s.output = output;
  lowering.group.stages.push_back(std::move(s));
  return static_cast<int>(lowering.group.stages.size()) - 1;
}

void add_kernel(Lowering& lowering, const TopK& t, const Pass& pass, std::span<const int> outputs) {
  ir::ExprPool& pool = *lowering.group.pool;
  const Expr at[] = {pool.constant_int(DType::kI64, 0)};
  const Expr candidates = pass.candidates < 0 ? Expr{} : pool.load(kStageOperand + pass.candidates, DType::kI64, at);
  const Expr reads[] = {pool.load(0, t.x->dtype(), at), candidates};
  KernelWriter writer(lowering, "top_k", reads, outputs);
  TopKEmitter(t, pass, writer, outputs).emit();
  const Dim workgroups = t.outer * t.inner * pass.workgroups;
  const int64_t steps = std::countr_zero(static_cast<uint64_t>(t.entries));
  writer.finish(workgroups, workgroups * pass.extent * (steps * (steps + 1) / 2 * 8));
}

}  // namespace

Status schedule_top_k(Lowering& lowering, const ir::Node& node) {
  if (!lowering.gpu()) return error(Code::kUnsupported, "a CPU sorts on the host");
  TENON_ASSIGN_OR_RETURN(const TopK t, plan(node, lowering.target));
  lowering.group.operands.push_back({t.x, *t.x->tensor().dims, t.x->dtype()});
  const int outputs[] = {add_stage(lowering, t.x->dtype(), *t.values->tensor().dims, t.values),
                         add_stage(lowering, DType::kI64, *t.indices->tensor().dims, t.indices)};
  if (t.parts == 1) {
    add_kernel(lowering, t, {.extent = t.n, .workgroups = 1}, outputs);
  } else {
    const int found = add_stage(lowering, DType::kI64, {t.outer, t.inner, t.parts, t.k}, nullptr);
    add_kernel(lowering, t, {.extent = ir::ceil_div(t.n, t.parts), .workgroups = t.parts, .positions = found}, std::span(&found, 1));
    add_kernel(lowering, t, {.extent = t.parts * t.k, .workgroups = 1, .candidates = found}, outputs);
  }
  lowering.out.implementation = fmt::format("sort of {}", t.entries);
  if (t.parts > 1) lowering.out.implementation += fmt::format(" in {} parts", t.parts);
  return {};
}

}  // namespace tenon::codegen
