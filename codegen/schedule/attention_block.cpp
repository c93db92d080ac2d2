#include "codegen/schedule/attention_emitter.h"

#include <algorithm>
#include <bit>

namespace tenon::codegen {

using ir::Combiner;
using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

void AttentionEmitter::block(ValueId k0, ValueId count) {
  k0_ = k0;
  k_count_ = count;
  if (c_->panels) {
    pack_keys();
    if (l_.v >= 0) pack_values();
    score_tiles();
  } else {
    em_.loop(LoopKind::kSerial, b_.i64(0), k_count_, 1, [&](ValueId key) { score_key(key); });
  }
  // Exponentials wait for the maximum of their row: all rows' come first, so that processors have other rows to go on with.
  em_.loop(LoopKind::kSerial, b_.i64(0), m_count_, 1, [&](ValueId row) { maximum_of_row(row); });
  em_.loop(LoopKind::kSerial, b_.i64(0), m_count_, 1, [&](ValueId row) { weights_of_row(row); });
  value_tiles();
}

/// keys[d][key], keys in lanes; beyond the last one, zeros up to a whole vector.
void AttentionEmitter::pack_keys() {
  const ValueId pitch = b_.i64(c_->key_pitch);
  em_.loop(LoopKind::kVector, b_.i64(0), k_count_, 1, [&](ValueId key) {
    em_.bind(a_.key_axis, b_.add(k0_, key));
    em_.hoist(a_.k);
    const auto one = [&](ValueId d) {
      em_.bind(a_.d_axis, d);
      b_.store(l_.k, b_.add(b_.mul(d, pitch), key), em_.emit(a_.k));
    };
    const int64_t whole = c_->d / c_->lanes * c_->lanes;
    if (whole > 0) {
      em_.loop(LoopKind::kSerial, b_.i64(0), b_.i64(whole), c_->lanes, [&](ValueId d0) {
        em_.loop(LoopKind::kUnroll, b_.i64(0), b_.i64(c_->lanes), 1, [&](ValueId i) { one(b_.add(d0, i)); });
      });
    }
    if (whole < c_->d) em_.loop(LoopKind::kSerial, b_.i64(whole), b_.i64(c_->d), 1, one);
  }, static_cast<int>(c_->lanes));
  const ValueId end = whole_vectors();
  if (same(end, k_count_)) return;
  em_.loop(LoopKind::kSerial, b_.i64(0), b_.i64(c_->d), 1, [&](ValueId d) {
    em_.loop(LoopKind::kVector, k_count_, end, 1, [&](ValueId key) { b_.store(l_.k, b_.add(b_.mul(d, pitch), key), number(0)); });
  });
}

/// values[key][n], with zeros beyond the last component.
void AttentionEmitter::pack_values() {
  em_.loop(LoopKind::kSerial, b_.i64(0), k_count_, 1, [&](ValueId key) {
    em_.bind(a_.key_axis, b_.add(k0_, key));
    em_.hoist(a_.v);
    const ValueId base = b_.mul(key, b_.i64(c_->n_pitch));
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(c_->n), 1, [&](ValueId n) {
      em_.bind(a_.n_axis, n);
      b_.store(l_.v, b_.add(base, n), em_.emit(a_.v));
    });
    if (c_->n == c_->n_pitch) return;
    em_.loop(LoopKind::kVector, b_.i64(c_->n), b_.i64(c_->n_pitch), 1, [&](ValueId n) { b_.store(l_.v, b_.add(base, n), number(0)); });
  });
}

/// k_count_, up to whole vectors.
ValueId AttentionEmitter::whole_vectors() {
  const ValueId lanes = b_.i64(c_->lanes);
  return b_.mul(b_.op(ScalarOp::kDiv, {b_.add(k_count_, b_.i64(c_->lanes - 1)), lanes}), lanes);
}

/// Calls tile(first lane, width) for wide tiles up to `end`, a multiple of a vector's lanes, then for single vectors.
void AttentionEmitter::tiles(ValueId end, const std::function<void(ValueId first, int64_t width)>& tile) {
  const ValueId wide = b_.i64(c_->tile_lanes);
  const ValueId whole = b_.mul(b_.op(ScalarOp::kDiv, {end, wide}), wide);
  if (!same(whole, b_.i64(0)))
    em_.loop(LoopKind::kSerial, b_.i64(0), whole, c_->tile_lanes, [&](ValueId first) { tile(first, c_->tile_lanes); });
  if (!same(whole, end)) em_.loop(LoopKind::kSerial, whole, end, c_->lanes, [&](ValueId first) { tile(first, c_->lanes); });
}

void AttentionEmitter::row_tiles(const std::function<void(ValueId row)>& tile) {
  em_.loop(LoopKind::kSerial, b_.i64(0), m_count_, c_->tile_rows, tile);
}

void AttentionEmitter::score_tiles() {
  tiles(whole_vectors(), [&](ValueId first, int64_t width) {
    row_tiles([&](ValueId row) {
      if (l_.limits < 0) return score_tile(row, first, width);
      b_.if_else(b_.op(ScalarOp::kLt, {first, seen_keys(row)}), [&] {
        em_.scoped([&] { score_tile(row, first, width); });
        return std::vector<ValueId>{};
      }, [] { return std::vector<ValueId>{}; });
    });
  });
}

/// scores[row + i][key] = sum over d of queries[row + i][d] * keys[d][key].
void AttentionEmitter::score_tile(ValueId row, ValueId first, int64_t width) {
  std::vector<ValueId> q_base, s_base;
  for (int64_t i = 0; i < c_->tile_rows; ++i) {
    const ValueId at = b_.add(row, b_.i64(i));
    q_base.push_back(b_.mul(at, b_.i64(c_->d)));
    s_base.push_back(b_.add(b_.mul(at, b_.i64(c_->key_pitch)), first));
  }
  em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(width), 1, [&](ValueId lane) {
    const std::vector<ValueId> zeros(q_base.size(), number(0));
    const ValueId k_base = b_.add(first, lane);
    const auto sums = em_.loop(LoopKind::kSerial, b_.i64(0), b_.i64(c_->d), 1, zeros, [&](ValueId d, std::span<const ValueId> carried) {
      const ValueId key = b_.load(l_.k, b_.add(b_.mul(d, b_.i64(c_->key_pitch)), k_base));
      std::vector<ValueId> next;
      for (size_t i = 0; i < carried.size(); ++i) next.push_back(multiply_add(b_.load(l_.q, b_.add(q_base[i], d)), key, carried[i]));
      return next;
    });
    for (size_t i = 0; i < sums.size(); ++i) b_.store(l_.scores, b_.add(s_base[i], lane), sums[i]);
  }, static_cast<int>(width));
}

/// The scores of all rows with one key, which is read in place, its components in lanes.
void AttentionEmitter::score_key(ValueId key) {
  em_.bind(a_.key_axis, b_.add(k0_, key));
  em_.hoist(a_.k);
  const std::vector<ValueId> zeros(static_cast<size_t>(c_->rows), number(0));
  const int64_t width = std::min(c_->tile_lanes, std::max(c_->lanes, c_->d / c_->lanes * c_->lanes));
  const auto sums = em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(c_->d), 1, zeros, [&](ValueId d, std::span<const ValueId> carried) {
    em_.bind(a_.d_axis, d);
    const ValueId k = em_.emit(a_.k);
    std::vector<ValueId> next;
    for (size_t i = 0; i < carried.size(); ++i)
      next.push_back(multiply_add(b_.load(l_.q, b_.add(b_.i64(static_cast<int64_t>(i) * c_->d), d)), k, carried[i]));
    return next;
  }, std::vector<Combiner>(zeros.size(), Combiner::kAdd), static_cast<int>(width));
  for (size_t i = 0; i < sums.size(); ++i) b_.store(l_.scores, b_.add(b_.i64(static_cast<int64_t>(i) * c_->key_pitch), key), sums[i]);
}

/// Scores of a row become X, whose maximum so far becomes the row's; what was summed before is scaled to that.
void AttentionEmitter::maximum_of_row(ValueId row) {
  bind_row(b_.add(m0_, row));
  em_.hoist(a_.score);
  em_.hoist(a_.x);
  const ValueId base = b_.mul(row, b_.i64(c_->key_pitch)), seen = seen_keys(row);
  const ValueId before = c_->one_block ? number(-kInfinity) : b_.load(l_.maxima, row);
  const bool plain = a_.x.node().kind == ExprKind::kLoad && a_.score.node().kind == ExprKind::kAcc;
  const ValueId largest = em_.loop(LoopKind::kVector, b_.i64(0), seen, 1, std::span(&before, 1), [&](ValueId key, std::span<const ValueId> carried) {
    em_.bind(a_.key_axis, b_.add(k0_, key));
    const ValueId at = b_.add(base, key);
    em_.bind_acc(b_.load(l_.scores, at));
    em_.bind_result(kStageOperand + a_.scores, em_.emit(a_.score));
    const ValueId x = em_.emit(a_.x);
    if (!plain) b_.store(l_.scores, at, x);
    return std::vector<ValueId>{b_.op(ScalarOp::kMax, {carried[0], x})};
  }, {Combiner::kMax})[0];
  b_.store(l_.maxima, row, largest);
  if (c_->one_block) return;
  const ValueId scale = b_.op(ScalarOp::kExp, {minimum(number(0), b_.sub(before, finite_maximum(largest)))});
  b_.store(l_.sums, row, b_.mul(b_.load(l_.sums, row), scale));
  const ValueId out = b_.mul(row, b_.i64(c_->n_pitch));
  em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(c_->n_pitch), 1, [&](ValueId n) {
    const ValueId at = b_.add(out, n);
    b_.store(l_.out, at, b_.mul(b_.load(l_.out, at), scale));
  });
}

/// A row without any key so far: exp(-inf - 0) is 0, where exp(-inf - -inf) is NaN.
ValueId AttentionEmitter::finite_maximum(ValueId largest) {
  return b_.op(ScalarOp::kSelect, {b_.op(ScalarOp::kEq, {largest, number(-kInfinity)}), number(0), largest});
}

/// X of a row become exponentials, less the row's maximum, and those of keys that a mask hides 0.
void AttentionEmitter::weights_of_row(ValueId row) {
  if (a_.keep.valid()) bind_row(b_.add(m0_, row));
  const ValueId base = b_.mul(row, b_.i64(c_->key_pitch)), seen = seen_keys(row);
  const ValueId less = finite_maximum(b_.load(l_.maxima, row));
  const ValueId zero = number(0);
  const ValueId sum = em_.loop(LoopKind::kVector, b_.i64(0), seen, 1, std::span(&zero, 1), [&](ValueId key, std::span<const ValueId> carried) {
    const ValueId at = b_.add(base, key);
    const ValueId e = b_.op(ScalarOp::kExp, {minimum(number(0), b_.sub(b_.load(l_.scores, at), less))});
    ValueId weight = e;
    if (a_.keep.valid()) {
      em_.bind(a_.key_axis, b_.add(k0_, key));
      weight = b_.op(ScalarOp::kSelect, {em_.emit(a_.keep), e, number(0)});
    }
    b_.store(l_.scores, at, weight);
    return std::vector<ValueId>{b_.add(carried[0], e)};
  }, {Combiner::kAdd})[0];
  b_.store(l_.sums, row, c_->one_block ? sum : b_.add(b_.load(l_.sums, row), sum));
}

void AttentionEmitter::value_tiles() {
  if (!c_->panels) return row_tiles([&](ValueId row) { value_tile(row, b_.i64(0), c_->n, c_->tile_lanes); });
  // Tiles of about the same width, so that none has too few sums to keep the units busy.
  const int64_t vectors = c_->n_pitch / c_->lanes, widest = c_->tile_lanes / c_->lanes, count = (vectors + widest - 1) / widest;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t first = i * vectors / count * c_->lanes, width = (i + 1) * vectors / count * c_->lanes - first;
    row_tiles([&](ValueId row) { value_tile(row, b_.i64(first), width, width); });
  }
}

/// out[row + i][first + n] += sum over keys of scores[row + i][key] * values[key][first + n], n < count. `width` lanes, or a multiple.
void AttentionEmitter::value_tile(ValueId row, ValueId first, int64_t count, int64_t width) {
  std::vector<ValueId> s_base, o_base;
  const ValueId seen = seen_keys(row);
  const bool whole = count > width || std::has_single_bit(static_cast<uint64_t>(width));  // in vectors as wide; else in several
  const int64_t columns = whole ? 1 : width / c_->lanes;
  for (int64_t i = 0; i < c_->tile_rows; ++i) {
    const ValueId at = b_.add(row, b_.i64(i));
    s_base.push_back(b_.mul(at, b_.i64(c_->key_pitch)));
    for (int64_t j = 0; j < columns; ++j)
      o_base.push_back(b_.add(b_.add(b_.mul(at, b_.i64(c_->n_pitch)), first), b_.i64(j * c_->lanes)));
  }
  em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(count / columns), 1, [&](ValueId lane) {
    std::vector<ValueId> inits;
    for (ValueId base : o_base) inits.push_back(c_->one_block ? number(0) : b_.load(l_.out, b_.add(base, lane)));
    if (l_.v < 0 && columns == 1) {
      em_.bind(a_.n_axis, b_.add(first, lane));
      em_.hoist(a_.v);
    }
    const auto sums = em_.loop(LoopKind::kSerial, b_.i64(0), seen, 1, inits, [&](ValueId key, std::span<const ValueId> carried) {
      std::vector<ValueId> values, next;
      em_.bind(a_.key_axis, b_.add(k0_, key));
      for (int64_t j = 0; j < columns; ++j) {
        const ValueId n = b_.add(b_.add(first, b_.i64(j * c_->lanes)), lane);
        em_.scoped([&] {
          if (columns > 1) em_.bind(a_.n_axis, n);
          values.push_back(l_.v < 0 ? em_.emit(a_.v) : b_.load(l_.v, b_.add(b_.mul(key, b_.i64(c_->n_pitch)), n)));
        });
      }
      for (size_t i = 0; i < s_base.size(); ++i) {
        const ValueId weight = b_.load(l_.scores, b_.add(s_base[i], key));
        for (ValueId value : values) next.push_back(multiply_add(weight, value, carried[next.size()]));
      }
      return next;
    });
    for (size_t i = 0; i < sums.size(); ++i) b_.store(l_.out, b_.add(o_base[i], lane), sums[i]);
  }, static_cast<int>(width / columns));
}

}  // namespace tenon::codegen
