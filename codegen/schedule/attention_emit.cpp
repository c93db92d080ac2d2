#include "codegen/schedule/attention_emitter.h"

#include <algorithm>

namespace tenon::codegen {

using ir::Combiner;
using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

void AttentionEmitter::emit(std::span<const AttentionBlocks> variants) {
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

AttentionEmitter::Locals AttentionEmitter::make_locals(const AttentionBlocks& c) {
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
bool AttentionEmitter::values_in_place(const AttentionBlocks& c) {
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

void AttentionEmitter::bind_grid(int64_t rows) {
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

void AttentionEmitter::bind(int axis, ValueId value) {
  em_.bind(axis, value);
  if (static_cast<size_t>(axis) < index_.size()) index_[static_cast<size_t>(axis)] = value;
}

void AttentionEmitter::bind_row(ValueId row) {
  std::vector<Dim> extents;
  for (int axis : a_.m_axes) extents.push_back(a_.extent(axis));
  const std::vector<ValueId> at = em_.unflatten(row, extents);
  for (size_t i = 0; i < at.size(); ++i) bind(a_.m_axes[i], at[i]);
}

void AttentionEmitter::emit_variant(const AttentionBlocks& c, const Locals& l) {
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
ValueId AttentionEmitter::last_key() {
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

/// Of the block's keys those that a row's tile sees.
ValueId AttentionEmitter::seen_keys(ValueId row) {
  if (l_.limits < 0) return k_count_;
  const ValueId limit = b_.sub(b_.load(l_.limits, tile_of(row)), k0_);
  return b_.op(ScalarOp::kMax, {b_.i64(0), minimum(k_count_, limit)});
}

/// queries[row][d]; rows beyond the last, up to a whole tile, repeat it.
void AttentionEmitter::pack_queries() {
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
ValueId AttentionEmitter::whole_tiles() {
  const ValueId tile = b_.i64(c_->tile_rows);
  return b_.mul(b_.op(ScalarOp::kDiv, {b_.add(m_count_, b_.i64(c_->tile_rows - 1)), tile}), tile);
}

void AttentionEmitter::clear_rows() {
  em_.loop(LoopKind::kVector, b_.i64(0), m_count_, 1, [&](ValueId row) {
    b_.store(l_.maxima, row, number(-kInfinity));
    b_.store(l_.sums, row, number(0));
  });
  const ValueId count = b_.mul(whole_tiles(), b_.i64(c_->n_pitch));
  em_.loop(LoopKind::kVector, b_.i64(0), count, 1, [&](ValueId i) { b_.store(l_.out, i, number(0)); });
}

void AttentionEmitter::finish_row(ValueId row) {
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
ValueId AttentionEmitter::weighs_nothing(ValueId sum) {
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

ValueId AttentionEmitter::multiply_add(ValueId x, ValueId y, ValueId sum) {
  return c_->fma ? b_.op(ScalarOp::kFma, {x, y, sum}) : b_.add(sum, b_.mul(x, y));
}

bool AttentionEmitter::same(ValueId x, ValueId y) {
  const auto a = b_.as_constant(x), b = b_.as_constant(y);
  return x == y || (a && b && *a == *b);
}

void emit_attention(const Attention& a, std::span<const AttentionBlocks> variants, KernelWriter& writer, int output) {
  AttentionEmitter(a, writer, output).emit(variants);
}

}  // namespace tenon::codegen
