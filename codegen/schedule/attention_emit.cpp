#include <algorithm>
#include <limits>

#include "codegen/schedule/attention.h"

namespace tenon::codegen {

using ir::Combiner;
using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

namespace {

/// What one variant keeps beside the registers.
struct Locals {
  int q = -1, k = -1, v = -1, scores = -1, maxima = -1, sums = -1, out = -1, limits = -1;
};

class AttentionEmitter {
 public:
  AttentionEmitter(const Attention& a, KernelWriter& writer, int output)
      : a_(a), em_(writer.emitter()), b_(writer.builder()), output_(output) {}

  void emit(std::span<const AttentionBlocks> variants) {
    std::vector<Locals> locals;
    for (const AttentionBlocks& c : variants) locals.push_back(make_locals(c));
    bind_grid(variants.back().rows);
    if (variants.size() == 1) return emit_variant(variants[0], locals[0]);
    const auto branch = [&](size_t i) {
      return [&, i] {
        em_.scoped([&] { emit_variant(variants[i], locals[i]); });
        return std::vector<ValueId>{};
      };
    };
    b_.if_else(b_.op(ScalarOp::kEq, {em_.dim(a_.m()), b_.i64(variants[0].rows)}), branch(0), branch(1));
  }

 private:
  using Body = std::function<std::vector<ValueId>(std::span<const ValueId>)>;

  Locals make_locals(const AttentionBlocks& c) {
    const std::string suffix = c.panels ? "" : "_few";
    const auto local = [&](const char* name, int64_t count) { return b_.add_local(name + suffix, a_.dtype, count); };
    Locals l;
    l.q = local("queries", c.rows * c.d);
    if (c.panels) l.k = local("keys", c.d * c.key_pitch);
    if (c.panels && !values_in_place(c)) l.v = local("values", c.keys * c.n_pitch);
    l.scores = local("scores", c.rows * c.key_pitch);
    l.maxima = local("maxima", c.rows);
    l.sums = local("sums", c.rows);
    l.out = local("sums_of_values", c.rows * c.n_pitch);
    if (!a_.limits.empty()) l.limits = b_.add_local("limits" + suffix, DType::kI64, c.rows / c.tile_rows);
    return l;
  }

  /// Rows of V follow each other as in a panel.
  bool values_in_place(const AttentionBlocks& c) {
    const ir::ExprNode& load = a_.v.node();
    if (c.n != c.n_pitch || load.kind != ExprKind::kLoad || load.guarded || a_.v.dtype() != a_.dtype) return false;
    IndexAlgebra algebra(em_.pool(), a_.axes);
    const Affine offset = algebra.affine({&em_.pool(), load.args[0]});
    int found = 0;
    for (const Affine::Term& t : offset.terms) {
      const ir::ExprNode& atom = em_.pool().node(t.atom);
      const Expr e{&em_.pool(), t.atom};
      if (atom.kind == ExprKind::kIndex && atom.axis == a_.n_axis) found += t.coefficient.is_const(1) ? 1 : 100;
      else if (atom.kind == ExprKind::kIndex && atom.axis == a_.key_axis) found += t.coefficient.is_const(c.n) ? 1 : 100;
      else if (uses_axis(e, a_.n_axis) || uses_axis(e, a_.key_axis)) found += 100;
    }
    return found == 2;
  }

  void bind_grid(int64_t rows) {
    std::vector<Dim> grid;
    for (int axis : a_.batch_axes) grid.push_back(a_.extent(axis));
    grid.push_back(ir::ceil_div(a_.m(), rows));
    const std::vector<ValueId> index = em_.unflatten(b_.grid_index(), grid);
    index_.assign(a_.outer, -1);
    for (size_t i = 0; i < a_.batch_axes.size(); ++i) bind(a_.batch_axes[i], index[i]);
    const ValueId m = em_.dim(a_.m());
    m0_ = a_.m().is_const() && a_.m().value() <= rows ? b_.i64(0) : b_.mul(index.back(), b_.i64(rows));
    m_count_ = minimum(b_.i64(rows), b_.sub(m, m0_));
    if (const auto zero = b_.as_constant(m0_); zero && *zero == 0 && a_.m().is_const()) m_count_ = m;
  }

  void bind(int axis, ValueId value) {
    em_.bind(axis, value);
    if (static_cast<size_t>(axis) < index_.size()) index_[static_cast<size_t>(axis)] = value;
  }

  void bind_row(ValueId row) {
    std::vector<Dim> extents;
    for (int axis : a_.m_axes) extents.push_back(a_.extent(axis));
    const std::vector<ValueId> at = em_.unflatten(row, extents);
    for (size_t i = 0; i < at.size(); ++i) bind(a_.m_axes[i], at[i]);
  }

  void emit_variant(const AttentionBlocks& c, const Locals& l) {
    c_ = &c;
    l_ = l;
    pack_queries();
    if (!c.one_block) clear_rows();
    const ValueId keys = last_key();
    if (c.one_block) {
      block(b_.i64(0), keys);  // even if it has none: what one block gives is stored, not added
    } else {
      em_.loop(LoopKind::kSerial, b_.i64(0), keys, c.keys, [&](ValueId k0) { block(k0, minimum(b_.i64(c.keys), b_.sub(keys, k0))); });
    }
    em_.loop(LoopKind::kSerial, b_.i64(0), m_count_, 1, [&](ValueId row) { finish_row(row); });
  }

  /// Keys that any of the rows sees; limits[tile] are those that any of a tile's rows does.
  ValueId last_key() {
    const ValueId keys = em_.dim(a_.extent(a_.key_axis)), none = b_.i64(0);
    if (l_.limits < 0) return keys;
    const ValueId last = b_.sub(m_count_, b_.i64(1));
    return em_.loop(LoopKind::kSerial, none, m_count_, c_->tile_rows, std::span(&none, 1), [&](ValueId row, std::span<const ValueId> most) {
      ValueId limit = none;
      for (int64_t i = 0; i < c_->tile_rows; ++i) {
        em_.scoped([&] {
          bind_row(b_.add(m0_, minimum(b_.add(row, b_.i64(i)), last)));
          ValueId own = keys;
          for (Expr e : a_.limits) own = minimum(own, em_.emit(e));
          limit = b_.op(ScalarOp::kMax, {limit, own});
        });
      }
      b_.store(l_.limits, tile_of(row), limit);
      return std::vector<ValueId>{b_.op(ScalarOp::kMax, {most[0], limit})};
    })[0];
  }

  ValueId tile_of(ValueId row) { return b_.op(ScalarOp::kDiv, {row, b_.i64(c_->tile_rows)}); }

  /// Of the block's keys those that a row's tile sees.
  ValueId seen_keys(ValueId row) {
    if (l_.limits < 0) return k_count_;
    const ValueId limit = b_.sub(b_.load(l_.limits, tile_of(row)), k0_);
    return b_.op(ScalarOp::kMax, {b_.i64(0), minimum(k_count_, limit)});
  }

  /// queries[row][d]; rows beyond the last, up to a whole tile, repeat it.
  void pack_queries() {
    const ValueId last = b_.sub(m_count_, b_.i64(1));
    em_.loop(LoopKind::kSerial, b_.i64(0), whole_tiles(), 1, [&](ValueId row) {
      bind_row(b_.add(m0_, minimum(row, last)));
      em_.hoist(a_.q);
      const ValueId base = b_.mul(row, b_.i64(c_->d));
      em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(c_->d), 1, [&](ValueId d) {
        em_.bind(a_.d_axis, d);
        b_.store(l_.q, b_.add(base, d), em_.emit(a_.q));
      });
    });
  }

  /// m_count_, up to a multiple of tile_rows.
  ValueId whole_tiles() {
    const ValueId tile = b_.i64(c_->tile_rows);
    return b_.mul(b_.op(ScalarOp::kDiv, {b_.add(m_count_, b_.i64(c_->tile_rows - 1)), tile}), tile);
  }

  void clear_rows() {
    em_.loop(LoopKind::kVector, b_.i64(0), m_count_, 1, [&](ValueId row) {
      b_.store(l_.maxima, row, number(-kInfinity));
      b_.store(l_.sums, row, number(0));
    });
    const ValueId count = b_.mul(whole_tiles(), b_.i64(c_->n_pitch));
    em_.loop(LoopKind::kVector, b_.i64(0), count, 1, [&](ValueId i) { b_.store(l_.out, i, number(0)); });
  }

  void block(ValueId k0, ValueId count) {
    k0_ = k0;
    k_count_ = count;
    if (c_->panels) {
      pack_keys();
      if (l_.v >= 0) pack_values();
      score_tiles();
    } else {
      em_.loop(LoopKind::kSerial, b_.i64(0), k_count_, 1, [&](ValueId key) { score_key(key); });
    }
    em_.loop(LoopKind::kSerial, b_.i64(0), m_count_, 1, [&](ValueId row) { softmax_row(row); });
    value_tiles();
  }

  /// keys[d][key], keys in lanes; beyond the last one, zeros up to a whole vector.
  void pack_keys() {
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
  void pack_values() {
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
  ValueId whole_vectors() {
    const ValueId lanes = b_.i64(c_->lanes);
    return b_.mul(b_.op(ScalarOp::kDiv, {b_.add(k_count_, b_.i64(c_->lanes - 1)), lanes}), lanes);
  }

  /// Calls tile(first lane, width) for wide tiles up to `end`, a multiple of a vector's lanes, then for single vectors.
  void tiles(ValueId end, const std::function<void(ValueId first, int64_t width)>& tile) {
    const ValueId wide = b_.i64(c_->tile_lanes);
    const ValueId whole = b_.mul(b_.op(ScalarOp::kDiv, {end, wide}), wide);
    if (!same(whole, b_.i64(0)))
      em_.loop(LoopKind::kSerial, b_.i64(0), whole, c_->tile_lanes, [&](ValueId first) { tile(first, c_->tile_lanes); });
    if (!same(whole, end)) em_.loop(LoopKind::kSerial, whole, end, c_->lanes, [&](ValueId first) { tile(first, c_->lanes); });
  }

  void row_tiles(const std::function<void(ValueId row)>& tile) {
    em_.loop(LoopKind::kSerial, b_.i64(0), m_count_, c_->tile_rows, tile);
  }

  void score_tiles() {
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
  void score_tile(ValueId row, ValueId first, int64_t width) {
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
  void score_key(ValueId key) {
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

  /// Scores of a row become exponentials, less the row's maximum so far; what was summed before is scaled to that.
  void softmax_row(ValueId row) {
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
    // A row without any key so far: exp(-inf - 0) is 0, where exp(-inf - -inf) is NaN.
    const ValueId none = b_.op(ScalarOp::kEq, {largest, number(-kInfinity)});
    const ValueId less = b_.op(ScalarOp::kSelect, {none, number(0), largest});
    const ValueId zero = number(0);
    const ValueId sum = em_.loop(LoopKind::kVector, b_.i64(0), seen, 1, std::span(&zero, 1), [&](ValueId key, std::span<const ValueId> carried) {
      const ValueId at = b_.add(base, key);
      const ValueId e = b_.op(ScalarOp::kExp, {b_.sub(b_.load(l_.scores, at), less)});
      ValueId weight = e;
      if (a_.keep.valid()) {
        em_.bind(a_.key_axis, b_.add(k0_, key));
        weight = b_.op(ScalarOp::kSelect, {em_.emit(a_.keep), e, number(0)});
      }
      b_.store(l_.scores, at, weight);
      return std::vector<ValueId>{b_.add(carried[0], e)};
    }, {Combiner::kAdd})[0];
    b_.store(l_.maxima, row, largest);
    if (c_->one_block) {
      b_.store(l_.sums, row, sum);
      return;
    }
    const ValueId scale = b_.op(ScalarOp::kExp, {b_.sub(before, less)});
    b_.store(l_.sums, row, multiply_add(b_.load(l_.sums, row), scale, sum));
    const ValueId out = b_.mul(row, b_.i64(c_->n_pitch));
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(c_->n_pitch), 1, [&](ValueId n) {
      const ValueId at = b_.add(out, n);
      b_.store(l_.out, at, b_.mul(b_.load(l_.out, at), scale));
    });
  }

  void value_tiles() {
    if (!c_->panels) return row_tiles([&](ValueId row) { value_tile(row, b_.i64(0), c_->n, c_->tile_lanes); });
    tiles(b_.i64(c_->n_pitch), [&](ValueId first, int64_t width) { row_tiles([&](ValueId row) { value_tile(row, first, width, width); }); });
  }

  /// out[row + i][first + n] += sum over keys of scores[row + i][key] * values[key][first + n], n < count.
  void value_tile(ValueId row, ValueId first, int64_t count, int64_t width) {
    std::vector<ValueId> s_base, o_base;
    const ValueId seen = seen_keys(row);
    for (int64_t i = 0; i < c_->tile_rows; ++i) {
      const ValueId at = b_.add(row, b_.i64(i));
      s_base.push_back(b_.mul(at, b_.i64(c_->key_pitch)));
      o_base.push_back(b_.add(b_.mul(at, b_.i64(c_->n_pitch)), first));
    }
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(count), 1, [&](ValueId lane) {
      em_.bind(a_.n_axis, b_.add(first, lane));
      if (l_.v < 0) em_.hoist(a_.v);
      std::vector<ValueId> inits;
      for (ValueId base : o_base) inits.push_back(c_->one_block ? number(0) : b_.load(l_.out, b_.add(base, lane)));
      const auto sums = em_.loop(LoopKind::kSerial, b_.i64(0), seen, 1, inits, [&](ValueId key, std::span<const ValueId> carried) {
        em_.bind(a_.key_axis, b_.add(k0_, key));
        const ValueId value = l_.v < 0 ? em_.emit(a_.v) : b_.load(l_.v, b_.add(b_.add(b_.mul(key, b_.i64(c_->n_pitch)), first), lane));
        std::vector<ValueId> next;
        for (size_t i = 0; i < carried.size(); ++i) next.push_back(multiply_add(b_.load(l_.scores, b_.add(s_base[i], key)), value, carried[i]));
        return next;
      });
      for (size_t i = 0; i < sums.size(); ++i) b_.store(l_.out, b_.add(o_base[i], lane), sums[i]);
    }, static_cast<int>(width));
  }

  void finish_row(ValueId row) {
    bind_row(b_.add(m0_, row));
    const ValueId largest = b_.load(l_.maxima, row);
    em_.bind_result(kStageOperand + a_.maxima, largest);
    const ValueId unit = a_.shifted ? b_.op(ScalarOp::kExp, {b_.sub(largest, em_.emit(a_.shift))}) : number(1);
    em_.bind_result(kStageOperand + a_.sums, b_.mul(b_.load(l_.sums, row), unit));
    em_.bind_result(kStageOperand + a_.out, unit);
    const ValueId factor = em_.emit(a_.factor);
    em_.hoist(a_.post);
    const ValueId nothing = weighs_nothing(b_.load(l_.sums, row));
    const std::vector<Dim> axes(a_.axes.begin(), a_.axes.begin() + static_cast<int64_t>(a_.outer));
    const ValueId from = b_.mul(row, b_.i64(c_->n_pitch));
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(c_->n), 1, [&](ValueId n) {
      bind(a_.n_axis, n);
      const ValueId sum = b_.mul(b_.load(l_.out, b_.add(from, n)), factor);
      em_.bind_acc(nothing < 0 ? sum : b_.op(ScalarOp::kSelect, {nothing, number(0), sum}));
      b_.store(output_, row_major_offset(em_, axes, index_, static_cast<size_t>(a_.n_axis)), em_.emit(a_.post));
    });
  }

  /// Whether a row has no weights, rather than weights that are 0/0: no keys, or none that the mask keeps. -1: never.
  ValueId weighs_nothing(ValueId sum) {
    const Dim keys = a_.extent(a_.key_axis);
    if (!a_.keep.valid() && ir::known_le(1, keys)) return -1;
    const ValueId empty = b_.op(ScalarOp::kEq, {sum, number(0)}), no_keys = b_.op(ScalarOp::kEq, {em_.dim(keys), b_.i64(0)});
    if (!a_.keep.valid()) return b_.op(ScalarOp::kAnd, {empty, no_keys});
    const ValueId kept = b_.if_else(empty, [&] {
      std::vector<ValueId> found;
      em_.scoped([&] {
        const ValueId zero = number(0);
        found = em_.loop(LoopKind::kVector, b_.i64(0), em_.dim(keys), 1, std::span(&zero, 1), [&](ValueId key, std::span<const ValueId> carried) {
          em_.bind(a_.key_axis, key);
          const ValueId here = b_.op(ScalarOp::kSelect, {em_.emit(a_.keep), number(1), number(0)});
          return std::vector<ValueId>{b_.op(ScalarOp::kMax, {carried[0], here})};
        }, {Combiner::kMax});
      });
      return found;
    }, [&] { return std::vector<ValueId>{number(1)}; })[0];
    return b_.op(ScalarOp::kEq, {kept, number(0)});
  }

  ValueId multiply_add(ValueId x, ValueId y, ValueId sum) {
    return c_->fma ? b_.op(ScalarOp::kFma, {x, y, sum}) : b_.add(sum, b_.mul(x, y));
  }
  ValueId minimum(ValueId x, ValueId y) { return b_.op(ScalarOp::kMin, {x, y}); }
  ValueId number(double value) { return b_.constant(a_.dtype, value); }
  bool same(ValueId x, ValueId y) {
    const auto a = b_.as_constant(x), b = b_.as_constant(y);
    return x == y || (a && b && *a == *b);
  }

  static constexpr double kInfinity = std::numeric_limits<double>::infinity();

  const Attention& a_;
  Emitter& em_;
  kir::KernelBuilder& b_;
  int output_;
  const AttentionBlocks* c_ = nullptr;
  Locals l_;
  std::vector<ValueId> index_;     // by output axis
  ValueId m0_ = -1, m_count_ = -1, k0_ = -1, k_count_ = -1;
};

}  // namespace

void emit_attention(const Attention& a, std::span<const AttentionBlocks> variants, KernelWriter& writer, int output) {
  AttentionEmitter(a, writer, output).emit(variants);
}

}  // namespace tenon::codegen
