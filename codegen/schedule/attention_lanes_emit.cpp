#include "codegen/schedule/attention_rows.h"

namespace tenon::codegen {

using ir::Combiner;
using ir::Dim;
using ir::Expr;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

namespace {

class TilesOfAttention : public RowsOfAttention {
 public:
  using RowsOfAttention::RowsOfAttention;

  void emit() {
    b_.kernel().lanes = static_cast<int>(t_.lanes());
    make_buffers();
    bind_grid();
    bring_queries();
    clear();
    em_.loop(LoopKind::kSerial, first_key_, last_key(), t_.keys(), [&](ValueId k0) {
      k0_ = k0;
      score_tile();
      softmax();
      add_values();
    });
    gather_sums();
    store_rows();
  }

 private:
  static constexpr int64_t kMaximum = 0, kTotal = 1;  // of state_

  void make_buffers() {
    const auto local = [&](const char* name, int64_t count, kir::BufferSpace space = kir::BufferSpace::kLocal) {
      return b_.add_local(name, a_.dtype, count, space);
    };
    queries_ = local("queries", t_.queries());
    slice_ = local("slice", t_.slices());
    scores_ = local("scores", t_.rows() * (t_.keys() + 1));
    scales_ = local("scales", t_.rows());
    maxima_ = local("row_maxima", t_.rows());
    totals_ = local("row_totals", t_.rows());
    part_maxima_ = local("part_maxima", t_.rows() * t_.row_parts());
    part_totals_ = local("part_totals", t_.rows() * t_.row_parts());
    products_ = local("products", t_.lane_rows * t_.lane_keys, kir::BufferSpace::kLane);
    sums_ = local("sums", t_.lane_rows * t_.lane_columns, kir::BufferSpace::kLane);
    state_ = local("state", 2, kir::BufferSpace::kLane);
  }

  void bind_grid() {
    std::vector<Dim> grid;
    for (int axis : a_.batch_axes) grid.push_back(a_.extent(axis));
    grid.push_back(ir::ceil_div(a_.m(), t_.rows()));
    grid.push_back(t_.parts);
    const std::vector<ValueId> index = em_.unflatten(b_.grid_index(), grid);
    for (size_t i = 0; i < a_.batch_axes.size(); ++i) bind(a_.batch_axes[i], index[i]);
    m0_ = b_.mul(index[index.size() - 2], b_.i64(t_.rows()));
    part_ = index.back();
    const ValueId blocks = em_.dim(ir::ceil_div(a_.m(), t_.rows()) * t_.parts);
    first_row_ = b_.add(b_.mul(b_.op(ScalarOp::kDiv, {b_.grid_index(), blocks}), em_.dim(a_.m())), m0_);
    const Dim keys = a_.extent(a_.key_axis);
    if (t_.parts == 1) {
      first_key_ = b_.i64(0);
      end_key_ = em_.dim(keys);
      return;
    }
    const ValueId length = em_.dim(ir::ceil_div(ir::ceil_div(keys, t_.keys()), t_.parts) * t_.keys());
    first_key_ = b_.mul(part_, length);
    end_key_ = minimum(b_.add(first_key_, length), em_.dim(keys));
  }

  /// Rows beyond the last repeat it; nobody stores them.
  void bind_row(ValueId row) { bind_axes(a_.m_axes, minimum(b_.add(m0_, row), b_.sub(em_.dim(a_.m()), b_.i64(1)))); }

  /// The keys' end for this workgroup: where rows' limits say so, before the last key.
  ValueId last_key() {
    if (a_.limits.empty()) return end_key_;
    const ValueId none = b_.i64(0);
    const ValueId most = em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(t_.rows()), 1, std::span(&none, 1),
                                  [&](ValueId row, std::span<const ValueId> carried) {
                                    bind_row(row);
                                    ValueId own = em_.dim(a_.extent(a_.key_axis));
                                    for (Expr e : a_.limits) own = minimum(own, em_.emit(e));
                                    return std::vector<ValueId>{maximum(carried[0], own)};
                                  },
                                  {Combiner::kMax})[0];
    return end_key_ = minimum(end_key_, most);
  }

  /// body(row of lanes, column of lanes), once a lane.
  void for_lanes(const std::function<void(ValueId, ValueId)>& body) {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(t_.lanes()), 1,
             [&](ValueId lane) { body(quotient(lane, t_.column_lanes), rest(lane, t_.column_lanes)); });
  }
  /// A lane's rows lie side by side, its columns apart, so that lanes read neighbouring ones.
  ValueId row_of(ValueId lane_row, int64_t i) { return b_.add(b_.mul(lane_row, b_.i64(t_.lane_rows)), b_.i64(i)); }
  ValueId column_of(ValueId lane_column, int64_t j) { return b_.add(lane_column, b_.i64(j * t_.column_lanes)); }
  ValueId score_at(ValueId row, ValueId key) { return b_.add(b_.mul(row, b_.i64(t_.keys() + 1)), key); }

  /// queries[d][row].
  void bring_queries() {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(t_.rows() * t_.d), 1, [&](ValueId i) {
      const ValueId row = quotient(i, t_.d), d = rest(i, t_.d);
      bind_row(row);
      em_.bind(a_.d_axis, d);
      b_.store(queries_, b_.add(b_.mul(d, b_.i64(t_.rows() + 1)), row), em_.emit(a_.q));
    });
  }

  void clear() {
    for_lanes([&](ValueId, ValueId) {
      b_.store(state_, b_.i64(kMaximum), number(-kInfinity));
      b_.store(state_, b_.i64(kTotal), number(0));
      for (int64_t i = 0; i < t_.lane_rows * t_.lane_columns; ++i) b_.store(sums_, b_.i64(i), number(0));
    });
  }

  void score_tile() {
    for_lanes([&](ValueId, ValueId) {
      for (int64_t i = 0; i < t_.lane_rows * t_.lane_keys; ++i) b_.store(products_, b_.i64(i), number(0));
    });
    em_.loop(LoopKind::kSerial, b_.i64(0), b_.i64(t_.d), t_.d_slice, [&](ValueId d0) {
      bring_keys(d0);
      multiply_keys(d0);
    });
    for_lanes([&](ValueId row, ValueId column) {
      for (int64_t i = 0; i < t_.lane_rows; ++i)
        for (int64_t j = 0; j < t_.lane_keys; ++j)
          b_.store(scores_, score_at(row_of(row, i), column_of(column, j)), b_.load(products_, b_.i64(i * t_.lane_keys + j)));
    });
  }

  /// slice[d][key], 0 beyond the last key.
  void bring_keys(ValueId d0) {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(t_.keys() * t_.d_slice), 1, [&](ValueId i) {
      const ValueId key = quotient(i, t_.d_slice), d = b_.add(d0, rest(i, t_.d_slice)), place = b_.add(k0_, key);
      ValueId inside = less(place, end_key_);
      if (t_.d % t_.d_slice != 0) inside = both(inside, less(d, b_.i64(t_.d)));
      em_.bind(a_.key_axis, place);
      em_.bind(a_.d_axis, d);
      em_.set_mask(inside);
      const ValueId value = em_.emit(a_.k);
      em_.set_mask(-1);
      b_.store(slice_, b_.add(b_.mul(rest(i, t_.d_slice), b_.i64(t_.keys() + 1)), key), choose(inside, value, number(0)));
    });
  }

  void multiply_keys(ValueId d0) {
    const ValueId count = t_.d % t_.d_slice == 0 ? b_.i64(t_.d_slice) : minimum(b_.i64(t_.d_slice), b_.sub(b_.i64(t_.d), d0));
    for_lanes([&](ValueId row, ValueId column) {
      multiply(
          products_, t_.lane_rows, t_.lane_keys, count,
          [&](ValueId d, int64_t i) { return b_.load(queries_, b_.add(b_.mul(b_.add(d0, d), b_.i64(t_.rows() + 1)), row_of(row, i))); },
          [&](ValueId d, int64_t j) { return b_.load(slice_, b_.add(b_.mul(d, b_.i64(t_.keys() + 1)), column_of(column, j))); });
    });
  }

  /// sums[i][j] += sum over k < count of x(k, i) * y(k, j).
  template <class X, class Y>
  void multiply(int sums, int64_t rows, int64_t columns, ValueId count, const X& x, const Y& y) {
    std::vector<ValueId> values;
    for (int64_t i = 0; i < rows * columns; ++i) values.push_back(b_.load(sums, b_.i64(i)));
    values = em_.loop(LoopKind::kSerial, b_.i64(0), count, 1, values, [&](ValueId k, std::span<const ValueId> carried) {
      std::vector<ValueId> left, right, next;
      for (int64_t i = 0; i < rows; ++i) left.push_back(x(k, i));
      for (int64_t j = 0; j < columns; ++j) right.push_back(y(k, j));
      for (ValueId l : left)
        for (ValueId r : right) next.push_back(multiply_add(l, r, carried[next.size()]));
      return next;
    });
    for (size_t i = 0; i < values.size(); ++i) b_.store(sums, b_.i64(static_cast<int64_t>(i)), values[i]);
  }

  /// body(row, part of the row, lane); all of a row's keep the same maximum, and each the total of what it saw.
  void for_row_parts(const std::function<void(ValueId row, ValueId part, ValueId lane)>& body) {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(t_.rows() * t_.row_parts()), 1, [&](ValueId lane) {
      const ValueId row = quotient(lane, t_.row_parts());
      bind_row(row);
      body(row, rest(lane, t_.row_parts()), lane);
    });
  }

  /// Scores become exponentials, less their row's maximum so far; scales[row] brings to that what was summed before.
  void softmax() {
    for_row_parts([&](ValueId row, ValueId part, ValueId lane) {
      const ValueId none = number(-kInfinity);
      em_.hoist(a_.score);
      em_.hoist(a_.x);
      const ValueId most = em_.loop(LoopKind::kSerial, part, b_.i64(t_.keys()), t_.row_parts(), std::span(&none, 1),
                                    [&](ValueId key, std::span<const ValueId> carried) {
                                      const ValueId place = b_.add(k0_, key), inside = less(place, end_key_), at = score_at(row, key);
                                      em_.bind(a_.key_axis, place);
                                      em_.bind_acc(b_.load(scores_, at));
                                      em_.set_mask(inside);
                                      em_.bind_result(kStageOperand + a_.scores, em_.emit(a_.score));
                                      ValueId x = em_.emit(a_.x);
                                      em_.set_mask(-1);
                                      x = choose(inside, x, none);
                                      b_.store(scores_, at, x);
                                      return std::vector<ValueId>{maximum(carried[0], x)};
                                    })[0];
      b_.store(part_maxima_, lane, most);
    });
    for_row_parts([&](ValueId row, ValueId part, ValueId) {
      const ValueId before = b_.load(state_, b_.i64(kMaximum)), zero = number(0);
      ValueId largest = before;
      for (int64_t p = 0; p < t_.row_parts(); ++p)
        largest = maximum(largest, b_.load(part_maxima_, b_.add(b_.mul(row, b_.i64(t_.row_parts())), b_.i64(p))));
      const ValueId base = finite(largest), scale = exponential(before, base);
      if (a_.keep.valid()) em_.hoist(a_.keep);
      const ValueId total = em_.loop(LoopKind::kSerial, part, b_.i64(t_.keys()), t_.row_parts(), std::span(&zero, 1),
                                     [&](ValueId key, std::span<const ValueId> carried) {
                                       const ValueId at = score_at(row, key), e = exponential(b_.load(scores_, at), base);
                                       b_.store(scores_, at, kept(key, e));
                                       return std::vector<ValueId>{b_.add(carried[0], e)};
                                     })[0];
      b_.store(state_, b_.i64(kMaximum), largest);
      b_.store(state_, b_.i64(kTotal), multiply_add(b_.load(state_, b_.i64(kTotal)), scale, total));
      b_.store_masked(scales_, row, scale, b_.op(ScalarOp::kEq, {part, b_.i64(0)}));
    });
  }

  ValueId kept(ValueId key, ValueId weight) {
    if (!a_.keep.valid()) return weight;
    const ValueId place = b_.add(k0_, key), inside = less(place, end_key_);
    em_.bind(a_.key_axis, place);
    em_.set_mask(inside);
    const ValueId keep = em_.emit(a_.keep);
    em_.set_mask(-1);
    return choose(both(inside, keep), weight, number(0));
  }

  void add_values() {
    for_lanes([&](ValueId row, ValueId) {
      for (int64_t i = 0; i < t_.lane_rows; ++i) {
        const ValueId scale = b_.load(scales_, row_of(row, i));
        for (int64_t j = 0; j < t_.lane_columns; ++j) {
          const ValueId at = b_.i64(i * t_.lane_columns + j);
          b_.store(sums_, at, b_.mul(b_.load(sums_, at), scale));
        }
      }
    });
    const ValueId count = minimum(b_.i64(t_.keys()), b_.sub(end_key_, k0_));
    if (t_.values_in_place()) return multiply_values(b_.i64(0), count);
    em_.loop(LoopKind::kSerial, b_.i64(0), count, t_.key_slice, [&](ValueId first) {
      bring_values(first);
      multiply_values(first, minimum(b_.i64(t_.key_slice), b_.sub(count, first)));
    });
  }

  /// V(key k0 + first + k, n), 0 beyond the last component.
  ValueId value(ValueId key, ValueId n, ValueId inside) {
    ValueId v = -1;
    em_.scoped([&] {
      em_.bind(a_.key_axis, key);
      em_.bind(a_.n_axis, n);
      em_.set_mask(inside);
      v = em_.emit(a_.v);
      em_.set_mask(-1);
      if (inside >= 0) v = choose(inside, v, number(0));
    });
    return v;
  }

  /// slice[key][n].
  void bring_values(ValueId first) {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(t_.key_slice * t_.pitch()), 1, [&](ValueId i) {
      const ValueId key = b_.add(b_.add(k0_, first), quotient(i, t_.pitch())), n = rest(i, t_.pitch());
      ValueId inside = less(key, end_key_);
      if (t_.n != t_.pitch()) inside = both(inside, less(n, b_.i64(t_.n)));
      b_.store(slice_, i, value(key, n, inside));
    });
  }

  void multiply_values(ValueId first, ValueId count) {
    for_lanes([&](ValueId row, ValueId column) {
      multiply(
          sums_, t_.lane_rows, t_.lane_columns, count,
          [&](ValueId k, int64_t i) { return b_.load(scores_, score_at(row_of(row, i), b_.add(first, k))); },
          [&](ValueId k, int64_t j) {
            const ValueId n = column_of(column, j);
            if (!t_.values_in_place()) return b_.load(slice_, b_.add(b_.mul(k, b_.i64(t_.pitch())), n));
            return value(b_.add(b_.add(k0_, first), k), n, t_.n == t_.pitch() ? -1 : less(n, b_.i64(t_.n)));
          });
    });
  }

  /// Sums of values where the queries were, [row][n]; maxima and totals of rows.
  void gather_sums() {
    for_lanes([&](ValueId row, ValueId column) {
      for (int64_t i = 0; i < t_.lane_rows; ++i)
        for (int64_t j = 0; j < t_.lane_columns; ++j)
          b_.store(queries_, b_.add(b_.mul(row_of(row, i), b_.i64(t_.pitch())), column_of(column, j)),
                   b_.load(sums_, b_.i64(i * t_.lane_columns + j)));
    });
    for_row_parts([&](ValueId row, ValueId part, ValueId lane) {
      b_.store(part_totals_, lane, b_.load(state_, b_.i64(kTotal)));
      b_.store_masked(maxima_, row, b_.load(state_, b_.i64(kMaximum)), b_.op(ScalarOp::kEq, {part, b_.i64(0)}));
    });
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(t_.rows()), 1, [&](ValueId row) {
      ValueId total = number(0);
      for (int64_t p = 0; p < t_.row_parts(); ++p)
        total = b_.add(total, b_.load(part_totals_, b_.add(b_.mul(row, b_.i64(t_.row_parts())), b_.i64(p))));
      b_.store(totals_, row, total);
    });
  }

  void store_rows() {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(t_.rows() * t_.n), 1, [&](ValueId i) {
      const ValueId row = quotient(i, t_.n), n = rest(i, t_.n), inside = less(b_.add(m0_, row), em_.dim(a_.m()));
      const ValueId sum = b_.load(queries_, b_.add(b_.mul(row, b_.i64(t_.pitch())), n));
      if (t_.parts == 1) {
        bind_row(row);
        bind(a_.n_axis, n);
        return finish(b_.load(maxima_, row), b_.load(totals_, row), sum, inside);
      }
      const ValueId at = part_of_row(part_, b_.add(first_row_, row));
      b_.store_masked(parts_.sums, b_.add(b_.mul(at, b_.i64(t_.n)), n), sum, inside);
    });
    if (t_.parts == 1) return;
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(t_.rows()), 1, [&](ValueId row) {
      const ValueId at = part_of_row(part_, b_.add(first_row_, row)), inside = less(b_.add(m0_, row), em_.dim(a_.m()));
      b_.store_masked(parts_.totals, at, b_.load(totals_, row), inside);
      b_.store_masked(parts_.maxima, at, b_.load(maxima_, row), inside);
    });
  }

  int queries_ = -1, slice_ = -1, scores_ = -1, scales_ = -1, maxima_ = -1, totals_ = -1, part_maxima_ = -1, part_totals_ = -1;
  int products_ = -1, sums_ = -1, state_ = -1;
  ValueId m0_ = -1, k0_ = -1, part_ = -1, first_row_ = -1, first_key_ = -1, end_key_ = -1;
};

}  // namespace

void emit_attention_tiles(const Attention& a, const AttentionTiles& t, KernelWriter& writer, int output, const AttentionParts& parts) {
  TilesOfAttention(a, t, writer, output, parts).emit();
}

}  // namespace tenon::codegen
