#include "codegen/schedule/few_rows.h"

#include <algorithm>

#include "codegen/schedule/powers.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

namespace {

constexpr int64_t kLanes = 128;  // of a workgroup, while there are many
constexpr int64_t kMostLanes = 512;
constexpr int64_t kWideColumns = 256;  // one part: an invocation for each column
constexpr int64_t kShared = 2048;      // elements of A that are shared at once
constexpr int64_t kShortSum = 32;
constexpr int64_t kInFlight = 4;    // elements of B that a lane asks for before it needs one
constexpr int64_t kSideBySide = 8;  // of which several come with one load

/// How many steps along `axis` it takes to come to the next run of up to `width` elements, as 2 where weights share a byte; 0: the step is
/// another.
int64_t steps_to_next(IndexAlgebra& algebra, ir::ExprPool& pool, const Affine& offset, int axis, int64_t width) {
  for (const Affine::Term& t : offset.terms) {
    const ir::ExprNode atom = pool.node(t.atom);
    if (!t.coefficient.is_const() || t.coefficient.value() < 1 || t.coefficient.value() > width) continue;
    if (atom.kind == ExprKind::kIndex && atom.axis == axis) return 1;
    if (atom.kind != ExprKind::kOp || (atom.op != ScalarOp::kFloorDiv && atom.op != ScalarOp::kMod)) continue;
    const int64_t inner = steps_to_next(algebra, pool, algebra.affine({&pool, atom.args[0]}), axis, 1);
    const Affine divisor = algebra.affine({&pool, atom.args[1]});
    if (atom.op == ScalarOp::kMod) return inner;
    if (inner > 0 && divisor.is_constant() && divisor.constant.is_const() && divisor.constant.value() <= INT32_MAX / inner)
      return inner * divisor.constant.value();
  }
  return 0;
}

/// Along which axis B's memory runs, and whether a load serves several elements of K.
void find_runs(FewRows& f) {
  const Contraction& c = f.c;
  ir::ExprPool& pool = *c.b.pool;
  IndexAlgebra algebra(pool, c.extents);
  std::vector<std::pair<int, int64_t>> offsets;  // and how many elements are a word
  visit(c.b, [&](int, const ir::ExprNode& n) {
    if (n.kind == ExprKind::kLoad) offsets.emplace_back(n.args[0], std::max(1, 32 / bits(n.dtype)));
  });
  bool along = false, across = false, shared = false;
  for (const auto& [id, width] : offsets) {
    const Affine offset = algebra.affine({&pool, id});
    const int64_t k = steps_to_next(algebra, pool, offset, c.k_axis, width);
    along |= k > 0;
    shared |= k > 1;
    across |= steps_to_next(algebra, pool, offset, c.n_axis, 1) > 0;
  }
  f.along_k = along && !across;
  f.adjacent = f.along_k && shared;
}

/// B at each of the elements that lie side by side.
void make_run(FewRows& f) {
  Contraction& c = f.c;
  ir::ExprPool& pool = *c.b.pool;
  f.run_axis = static_cast<int>(c.extents.size());
  c.extents.push_back(ir::floor_div(c.k, f.unroll));
  IndexAlgebra algebra(pool, c.extents);
  const Expr first = pool.index(f.run_axis) * pool.constant_int(DType::kI64, f.unroll);
  for (int64_t u = 0; u < f.unroll; ++u)
    f.b_run.push_back(algebra.simplify(pool.copy(c.b, [&](const ir::ExprNode& n, std::span<const Expr>) -> Expr {
      return n.kind == ExprKind::kIndex && n.axis == c.k_axis ? first + pool.constant_int(DType::kI64, u) : Expr{};
    })));
}

/// Columns that there are at least, symbols being 1.
int64_t least_columns(const Contraction& c) {
  std::vector<Dim> extents = extents_of(c, c.batch_axes);
  for (Dim d : extents_of(c, c.n_axes)) extents.push_back(d);
  return product_of_constants(extents);
}

void choose_lanes(FewRows& f, const Target& target) {
  const int64_t most = power_below(std::min<int64_t>(target.max_workgroup, kMostLanes));
  const int64_t subgroup = std::min(std::clamp<int64_t>(power_below(target.subgroup_size), 8, 64), most);
  const int64_t n = f.c.n.is_const() ? power_above(f.c.n.value()) : kMostLanes;
  const int64_t k = f.c.k.is_const() ? std::max(subgroup, power_below(f.c.k.value())) : kMostLanes, busy = target.busy_workgroups;
  const int64_t columns = least_columns(f.c), lanes = std::min(kLanes, most);
  if (f.along_k) {
    f.parts = std::min(subgroup, k);
    f.columns = std::min(lanes / f.parts, n);
    f.parts = std::min(lanes / f.columns, k);
    return;
  }
  f.columns = std::min({subgroup, n, most});
  while (f.columns < kWideColumns && f.columns * 2 <= n && f.columns * 2 <= most && columns / (f.columns * 2) >= busy) f.columns *= 2;
  f.parts = std::max<int64_t>(1, lanes / f.columns);
  while (f.columns * f.parts < most && columns / f.columns < busy && k / (f.parts * 2) >= kShortSum) f.parts *= 2;
  f.parts = std::min(f.parts, k);
}

FewRows choose(Contraction c, int64_t rows, const Target& target) {
  FewRows f;
  f.rows = rows;
  f.c = std::move(c);
  find_runs(f);
  choose_lanes(f, target);
  const int64_t budget = std::clamp<int64_t>(target.lane_sums / f.rows, 1, f.adjacent ? kSideBySide : kInFlight);
  // Columns in flight share what is read of A, but make fewer workgroups.
  const bool many = least_columns(f.c) / (f.tile() * 2) >= target.busy_workgroups;
  if (budget >= 2 && many) f.per_lane = 2;
  f.unroll = power_below(budget / f.per_lane);
  while (f.unroll > 1 && ir::known_lt(f.c.k, f.parts * f.unroll)) f.unroll /= 2;
  f.adjacent &= f.unroll > 1 && f.c.k.is_const() && f.c.k.value() % f.unroll == 0;
  if (f.adjacent) make_run(f);
  const int64_t step = f.parts * f.unroll;
  f.block = std::max(step, power_below(kShared / f.rows));
  if (f.c.k.is_const()) f.block = std::min(f.block, (f.c.k.value() + step - 1) / step * step);
  return f;
}

class FewRowsEmitter {
 public:
  FewRowsEmitter(const FewRows& f, KernelWriter& writer, int output)
      : f_(f), c_(f.c), em_(writer.emitter()), b_(writer.builder()), output_(output) {}

  void emit() {
    b_.kernel().lanes = static_cast<int>(f_.lanes());
    a_ = b_.add_local("rows", c_.acc_dtype, f_.rows * f_.block);
    partial_ = b_.add_local("partial", c_.acc_dtype, f_.lanes() * f_.sums());
    sums_ = b_.add_local("sums", c_.acc_dtype, f_.sums(), kir::BufferSpace::kLane);
    bind_grid();
    for_lanes([&](ValueId, ValueId) {
      for (int64_t i = 0; i < f_.sums(); ++i) b_.store(sums_, b_.i64(i), zero());
    });
    em_.loop(LoopKind::kSerial, b_.i64(0), em_.dim(c_.k), f_.block, [&](ValueId k0) {
      bring_rows(k0);
      multiply(k0);
    });
    spread_sums();
    combine_parts();
    finish();
  }

 private:
  ValueId zero() { return constant(b_, c_.acc_dtype, {}); }
  ValueId less(ValueId x, ValueId y) { return b_.op(ScalarOp::kLt, {x, y}); }
  ValueId minimum(ValueId x, ValueId y) { return b_.op(ScalarOp::kMin, {x, y}); }
  ValueId quotient(ValueId x, int64_t y) { return b_.op(ScalarOp::kDiv, {x, b_.i64(y)}); }
  ValueId rest(ValueId x, int64_t y) { return b_.op(ScalarOp::kRem, {x, b_.i64(y)}); }

  /// body(part, column), once a lane.
  void for_lanes(const std::function<void(ValueId, ValueId)>& body) {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(f_.lanes()), 1, [&](ValueId lane) {
      if (f_.along_k)
        body(rest(lane, f_.parts), quotient(lane, f_.parts));
      else
        body(quotient(lane, f_.columns), rest(lane, f_.columns));
    });
  }

  void bind_grid() {
    std::vector<Dim> grid = extents_of(c_, c_.batch_axes);
    grid.push_back(ir::ceil_div(c_.n, f_.tile()));
    const std::vector<ValueId> index = em_.unflatten(b_.grid_index(), grid);
    output_index_.assign(c_.outer, -1);
    for (size_t i = 0; i < c_.batch_axes.size(); ++i) {
      em_.bind(c_.batch_axes[i], index[i]);
      output_index_[static_cast<size_t>(c_.batch_axes[i])] = index[i];
    }
    n0_ = b_.mul(index.back(), b_.i64(f_.tile()));
  }

  /// a[row][k] = A(row, k0 + k), 0 beyond K.
  void bring_rows(ValueId k0) {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(f_.rows * f_.block), 1, [&](ValueId i) {
      const ValueId depth = b_.add(k0, rest(i, f_.block)), inside = less(depth, em_.dim(c_.k));
      em_.bind(c_.m_axis, quotient(i, f_.block));
      em_.bind(c_.k_axis, depth);
      em_.set_mask(inside);
      const ValueId value = em_.emit(c_.a);
      em_.set_mask(-1);
      b_.store(a_, i, b_.op(ScalarOp::kSelect, {inside, value, zero()}));
    });
  }

  /// A lane's columns lie apart, so that lanes read neighbouring ones; beyond N the last one is read again, and nobody stores it.
  ValueId column_of(ValueId column, int64_t j) {
    return minimum(b_.add(b_.add(n0_, column), b_.i64(j * f_.columns)), b_.sub(em_.dim(c_.n), b_.i64(1)));
  }

  void multiply(ValueId k0) {
    const int64_t step = f_.parts * f_.unroll;
    const ValueId end = minimum(b_.i64(f_.block), b_.sub(em_.dim(c_.k), k0));
    const bool whole = c_.k.is_const() && c_.k.value() % step == 0;
    const auto element = [&](int64_t u) { return b_.i64(f_.adjacent ? u : u * f_.parts); };
    for_lanes([&](ValueId part, ValueId column) {
      std::vector<ValueId> sums, columns;
      for (int64_t j = 0; j < f_.per_lane; ++j) columns.push_back(column_of(column, j));
      for (int64_t i = 0; i < f_.sums(); ++i) sums.push_back(b_.load(sums_, b_.i64(i)));
      const ValueId first = f_.adjacent ? b_.mul(part, b_.i64(f_.unroll)) : part;
      sums = em_.loop(LoopKind::kSerial, first, end, step, sums, [&](ValueId k, std::span<const ValueId> carried) {
        std::vector<ValueId> next(carried.begin(), carried.end());
        std::vector<std::vector<ValueId>> b;  // by column
        for (ValueId n : columns) b.push_back(b_values(n, b_.add(k0, k), whole));
        for (int64_t u = 0; u < f_.unroll; ++u)
          for (int64_t i = 0; i < f_.rows; ++i) {
            const ValueId a = b_.load(a_, b_.add(k, b_.add(b_.i64(i * f_.block), element(u))));
            for (int64_t j = 0; j < f_.per_lane; ++j) {
              ValueId& sum = next[static_cast<size_t>(i * f_.per_lane + j)];
              sum = multiply_add(a, b[static_cast<size_t>(j)][static_cast<size_t>(u)], sum);
            }
          }
        return next;
      });
      for (size_t i = 0; i < sums.size(); ++i) b_.store(sums_, b_.i64(static_cast<int64_t>(i)), sums[i]);
    });
  }

  /// B at a lane's elements from k on, 0 beyond K: what lies there, times the zero of A, might be no number.
  std::vector<ValueId> b_values(ValueId n, ValueId k, bool whole) {
    std::vector<ValueId> values;
    em_.scoped([&] {
      em_.bind(c_.n_axis, n);
      if (f_.adjacent) {
        em_.bind(f_.run_axis, quotient(k, f_.unroll));
        for (Expr b : f_.b_run) values.push_back(em_.emit(b));
        return;
      }
      for (int64_t u = 0; u < f_.unroll; ++u) {
        const ValueId at = b_.add(k, b_.i64(u * f_.parts)), mask = whole || u == 0 ? -1 : less(at, em_.dim(c_.k));
        em_.scoped([&] {
          em_.bind(c_.k_axis, at);
          em_.set_mask(mask);
          const ValueId value = em_.emit(c_.b);
          em_.set_mask(-1);
          values.push_back(mask < 0 ? value : b_.op(ScalarOp::kSelect, {mask, value, zero()}));
        });
      }
    });
    return values;
  }

  ValueId multiply_add(ValueId x, ValueId y, ValueId sum) {
    if (c_.dot) return b_.op(c_.dot_signed ? ScalarOp::kDot4Signed : ScalarOp::kDot4, {x, y, sum});
    if (c_.fma) return b_.op(ScalarOp::kFma, {x, y, sum});
    return b_.op(ScalarOp::kAdd, {sum, b_.op(ScalarOp::kMul, {x, y})});
  }

  /// partial[part][row][column].
  void spread_sums() {
    for_lanes([&](ValueId part, ValueId column) {
      const ValueId base = b_.add(b_.mul(part, b_.i64(f_.rows * f_.tile())), column);
      for (int64_t i = 0; i < f_.sums(); ++i) {
        const int64_t place = i / f_.per_lane * f_.tile() + i % f_.per_lane * f_.columns;
        b_.store(partial_, b_.add(base, b_.i64(place)), b_.load(sums_, b_.i64(i)));
      }
    });
  }

  void combine_parts() {
    for (int64_t half = f_.parts / 2; half > 0; half /= 2) {
      const int64_t count = half * f_.rows * f_.tile();
      em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(count), 1, [&](ValueId i) {
        b_.store(partial_, i, b_.op(ScalarOp::kAdd, {b_.load(partial_, i), b_.load(partial_, b_.add(i, b_.i64(count)))}));
      });
    }
  }

  void finish() {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(f_.rows * f_.tile()), 1, [&](ValueId i) {
      const ValueId m = quotient(i, f_.tile()), n = b_.add(n0_, rest(i, f_.tile()));
      const ValueId inside = less(n, em_.dim(c_.n));
      store_result(em_, c_, output_, output_index_, {m, n, b_.load(partial_, i), inside});
    });
  }

  const FewRows& f_;
  const Contraction& c_;
  Emitter& em_;
  kir::KernelBuilder& b_;
  int output_;
  int a_ = -1, partial_ = -1, sums_ = -1;
  ValueId n0_ = -1;
  std::vector<ValueId> output_index_;
};

}  // namespace

int64_t FewRows::shared_bytes() const { return (rows * block + lanes() * sums()) * bits(c.acc_dtype) / 8; }

Dim FewRows::workgroups() const { return ir::product(extents_of(c, c.batch_axes)) * ir::ceil_div(c.n, tile()); }

Result<FewRows> choose_few_rows(Contraction c, int64_t rows, const Target& target) {
  if (rows > kFewRows || rows < 1) return error(Code::kUnsupported, "{} rows", rows);
  if (c.k.is_const() && c.k.value() < kShortSum) return error(Code::kUnsupported, "{} products an element", c.k.value());
  FewRows f = choose(std::move(c), rows, target);
  while (f.shared_bytes() > target.shared_bytes && f.block % (2 * f.parts * f.unroll) == 0) f.block /= 2;
  if (f.shared_bytes() > target.shared_bytes)
    return error(Code::kUnsupported, "rows of {} bytes, {} are shared", f.shared_bytes(), target.shared_bytes);
  return f;
}

void schedule_few_rows(Lowering& lowering, int stage, const FewRows& few, Dim runs) {
  const Expr reads[] = {few.c.a, few.c.b, few.c.post};
  KernelWriter writer(lowering, "few_rows", reads, std::span<const int>(&stage, 1));
  FewRowsEmitter(few, writer, writer.output(stage)).emit();
  const Dim work = ir::product(extents_of(few.c, few.c.batch_axes)) * few.rows * few.c.n * few.c.k * 2;
  writer.finish(few.workgroups() * runs, work * runs);
  lowering.out.implementation =
      fmt::format("contraction of few rows{}, {}x{} lanes, {}x{} each", few.c.dot ? " of bytes" : "", few.columns, few.parts, few.per_lane, few.unroll);
}

}  // namespace tenon::codegen
