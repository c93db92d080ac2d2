#include <algorithm>

#include "codegen/schedule/contraction.h"

namespace tenon::codegen {

using ir::Dim;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

namespace {
constexpr int64_t kUnrolledTaps = 4;  // a window's innermost axis
}

void ContractionEmitter::emit() {
  if (!c_.wide && (!c_.m.is_const() || c_.m.value() > c_.direct_rows)) panel_ = b_.add_local("b_panel", c_.acc_dtype, c_.k_block * c_.tile_lanes);
  if (!c_.a_direct) rows_of_a_ = b_.add_local("a_rows", c_.acc_dtype, c_.m_block * c_.k_block);
  sums_ = b_.add_local("sums", c_.acc_dtype, c_.m_block * c_.tile_lanes);
  bind_grid();
  if (c_.one_k_block) {
    choose_direct([&] { block_of_k(b_.i64(0), em_.dim(c_.k)); });
  } else {
    const ValueId count = b_.mul(m_count_, b_.i64(c_.tile_lanes));
    em_.loop(LoopKind::kVector, b_.i64(0), count, 1, [&](ValueId i) { b_.store(sums_, i, zero()); });
    choose_direct([&] {
      em_.loop(LoopKind::kSerial, b_.i64(0), em_.dim(c_.k), c_.k_block, [&](ValueId k0) {
        block_of_k(k0, minimum(b_.i64(c_.k_block), b_.sub(em_.dim(c_.k), k0)));
      });
    });
  }
  epilogue();
}

/// Whether B is read in place: known when M is constant or B cannot be, else decided by the kernel.
void ContractionEmitter::choose_direct(const std::function<void()>& body) {
  direct_ = c_.wide || (c_.m.is_const() && c_.m.value() <= c_.direct_rows);
  if (c_.wide || c_.m.is_const() || c_.direct_rows == 0) {
    body();
    return;
  }
  const auto branch = [&](bool direct) {
    return [&, direct] {
      em_.scoped([&] {
        direct_ = direct;
        body();
      });
      return std::vector<ValueId>{};
    };
  };
  b_.if_else(b_.op(ScalarOp::kLe, {em_.dim(c_.m), b_.i64(c_.direct_rows)}), branch(true), branch(false));
}

void ContractionEmitter::bind_grid() {
  std::vector<Dim> grid;
  for (int a : c_.batch_axes) grid.push_back(c_.axes[static_cast<size_t>(a)]);
  grid.push_back(ir::ceil_div(c_.m, c_.m_block));
  grid.push_back(ir::ceil_div(c_.n, c_.tile_lanes));
  const std::vector<ValueId> index = em_.unflatten(b_.grid_index(), grid);
  output_index_.assign(c_.outer, -1);
  for (size_t i = 0; i < c_.batch_axes.size(); ++i) {
    em_.bind(c_.batch_axes[i], index[i]);
    output_index_[static_cast<size_t>(c_.batch_axes[i])] = index[i];
  }
  m0_ = b_.mul(index[index.size() - 2], b_.i64(c_.m_block));
  n0_ = b_.mul(index.back(), b_.i64(c_.tile_lanes));
  m_count_ = minimum(b_.i64(c_.m_block), b_.sub(em_.dim(c_.m), m0_));
  if (c_.m.is_const() && c_.m.value() <= c_.m_block) m_count_ = em_.dim(c_.m);
  n_count_ = minimum(b_.i64(c_.tile_lanes), b_.sub(em_.dim(c_.n), n0_));
  if (c_.n.is_const() && c_.n.value() % c_.tile_lanes == 0) n_count_ = b_.i64(c_.tile_lanes);
}

void ContractionEmitter::block_of_k(ValueId k0, ValueId k_count) {
  const auto tiles = [&] {
    em_.loop(LoopKind::kSerial, b_.i64(0), m_count_, c_.tile_rows, [&](ValueId row) { register_tile(row, k0, k_count); });
  };
  if (!c_.a_direct) pack_a(k0, k_count);
  if (!direct_) {
    pack_b(k0, k_count);
    tiles();
    return;
  }
  if (c_.wide) {  // the image has slack behind it, and what lies beyond N is dropped
    tiles();
    return;
  }
  whole_or_edge([&](bool edge) {
    edge_ = edge;
    tiles();
    edge_ = false;
  });
}

/// Two versions of the code, unless it is known which tiles N cuts off.
void ContractionEmitter::whole_or_edge(const std::function<void(bool edge)>& body) {
  if (const std::optional<int64_t> count = b_.as_constant(n_count_)) {
    body(*count != c_.tile_lanes);
    return;
  }
  const auto branch = [&](bool edge) {
    return [&, edge] {
      em_.scoped([&] { body(edge); });
      return std::vector<ValueId>{};
    };
  };
  b_.if_else(b_.op(ScalarOp::kEq, {n_count_, b_.i64(c_.tile_lanes)}), branch(false), branch(true));
}

/// panel[k][lane] = B(k0 + k, n0 + lane), zero beyond N. Rows in place are copied whole; else the lanes' own index arithmetic
/// comes first and K runs inside.
void ContractionEmitter::pack_b(ValueId k0, ValueId k_count) {
  const auto rows = [&](bool masked) {
    em_.loop(LoopKind::kSerial, b_.i64(0), k_count, 1, [&](ValueId k) {
      em_.bind(c_.k_axis, b_.add(k0, k));
      const ValueId row = b_.mul(k, b_.i64(c_.tile_lanes));
      em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(c_.tile_lanes), 1, [&](ValueId lane) {
        em_.bind(c_.n_axis, b_.add(n0_, lane));
        if (masked) em_.set_mask(b_.op(ScalarOp::kLt, {lane, n_count_}));
        const ValueId value = em_.emit(c_.b);
        em_.set_mask(-1);
        b_.store(panel_, b_.add(row, lane), value);
      }, static_cast<int>(c_.tile_lanes));
    });
  };
  if (c_.b_contiguous) {
    whole_or_edge(rows);
    return;
  }
  const auto columns = [&](bool masked) {
    em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(c_.tile_lanes), 1, [&](ValueId lane) {
      em_.bind(c_.n_axis, b_.add(n0_, lane));
      em_.hoist(c_.b);
      const ValueId inside = masked ? b_.op(ScalarOp::kLt, {lane, n_count_}) : -1;
      em_.loop(LoopKind::kSerial, b_.i64(0), k_count, 1, [&](ValueId k) {
        em_.bind(c_.k_axis, b_.add(k0, k));
        em_.set_mask(inside);
        ValueId value = em_.emit(c_.b);
        em_.set_mask(-1);
        if (masked) value = b_.op(ScalarOp::kSelect, {inside, value, zero()});
        b_.store(panel_, b_.add(b_.mul(k, b_.i64(c_.tile_lanes)), lane), value);
      });
    });
  };
  whole_or_edge(columns);
}

/// a_rows[row][k] = A(m0 + row, k0 + k).
void ContractionEmitter::pack_a(ValueId k0, ValueId k_count) {
  em_.loop(LoopKind::kSerial, b_.i64(0), m_count_, 1, [&](ValueId row) {
    em_.bind(c_.m_axis, b_.add(m0_, row));
    em_.hoist(c_.a);
    const ValueId base = b_.mul(row, b_.i64(c_.k_block));
    em_.loop(LoopKind::kVector, b_.i64(0), k_count, 1, [&](ValueId k) {
      em_.bind(c_.k_axis, b_.add(k0, k));
      b_.store(rows_of_a_, b_.add(base, k), em_.emit(c_.a));
    });
  });
}

ValueId ContractionEmitter::multiply_add(ValueId x, ValueId y, ValueId sum) {
  if (c_.fma) return b_.op(ScalarOp::kFma, {x, y, sum});
  return b_.op(ScalarOp::kAdd, {sum, b_.op(ScalarOp::kMul, {x, y})});
}

/// A's offset as a part for the row and one along K.
void ContractionEmitter::split_a_offset(ir::Expr& base, ir::Expr& along_k) {
  IndexAlgebra algebra(em_.pool(), c_.extents);
  Affine outer = algebra.affine({&em_.pool(), c_.a.node().args[0]}), inner;
  std::erase_if(outer.terms, [&](const Affine::Term& t) {
    const ir::ExprNode& atom = em_.pool().node(t.atom);
    const bool along = atom.kind == ir::ExprKind::kIndex && c_.is_k(atom.axis);
    if (along) inner.terms.push_back(t);
    return along;
  });
  base = algebra.expr(outer);
  along_k = algebra.expr(inner);
}

/// The loops over K with the sums carried through.
std::vector<ValueId> ContractionEmitter::over_k(
    size_t axis, ValueId lo, ValueId hi, std::span<const ValueId> carried,
    const std::function<std::vector<ValueId>(std::span<const ValueId>)>& body) {
  if (axis == c_.k_axes.size()) return body(carried);
  const int number = c_.k_axes[axis];
  if (c_.wide) {
    lo = b_.i64(0);
    hi = em_.dim(c_.extents[static_cast<size_t>(number)]);
  }
  if (direct_) em_.hoist(c_.b);
  const std::optional<int64_t> trips = b_.as_constant(hi);
  const bool unroll = c_.wide && axis + 1 == c_.k_axes.size() && trips && *trips <= kUnrolledTaps;
  return em_.loop(unroll ? LoopKind::kUnroll : LoopKind::kSerial, lo, hi, 1, carried, [&](ValueId k, std::span<const ValueId> inner) {
    em_.bind(number, k);
    return over_k(axis + 1, lo, hi, inner, body);
  });
}

/// sums[row + i][lane] += A(row + i, k) * B(k, lane) for a tile of rows. Rows beyond the block's last repeat it.
void ContractionEmitter::register_tile(ValueId row, ValueId k0, ValueId k_count) {
  std::vector<ValueId> rows;
  for (int64_t i = 0; i < c_.tile_rows; ++i) {
    ValueId r = b_.add(row, b_.i64(i));
    const bool always_inside = c_.m.is_const() && c_.m.value() % c_.tile_rows == 0;
    rows.push_back(always_inside || i == 0 ? r : minimum(r, b_.sub(m_count_, b_.i64(1))));
  }
  std::vector<ValueId> a_base(rows.size());
  ir::Expr base, along_k;
  if (c_.a_direct) split_a_offset(base, along_k);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!c_.a_direct) {
      a_base[i] = b_.mul(rows[i], b_.i64(c_.k_block));
      continue;
    }
    em_.scoped([&] {
      em_.bind(c_.m_axis, b_.add(m0_, rows[i]));
      a_base[i] = em_.emit(base);
    });
  }
  std::vector<ValueId> sum_base;
  for (int64_t i = 0; i < c_.tile_rows; ++i) sum_base.push_back(b_.mul(b_.add(row, b_.i64(i)), b_.i64(c_.tile_lanes)));

  em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(c_.tile_lanes), 1, [&](ValueId lane) {
    if (direct_) em_.bind(c_.n_axis, b_.add(n0_, lane));
    const ValueId inside = edge_ ? b_.op(ScalarOp::kLt, {lane, n_count_}) : -1;
    std::vector<ValueId> inits;
    for (ValueId base : sum_base) inits.push_back(c_.one_k_block ? zero() : b_.load(sums_, b_.add(base, lane)));
    const int a_buffer = c_.a_direct ? em_.buffer(c_.a.node().operand) : rows_of_a_;
    const std::vector<ValueId> result = over_k(0, k0, b_.add(k0, k_count), inits, [&](std::span<const ValueId> carried) {
      ValueId b_value = -1;
      const ValueId local_k = direct_ && c_.a_direct ? -1 : b_.sub(em_.emit(em_.pool().index(c_.k_axis)), k0);
      if (direct_) {
        em_.set_mask(inside);
        b_value = em_.emit(c_.b);
        em_.set_mask(-1);
      } else {
        b_value = b_.load(panel_, b_.add(b_.mul(local_k, b_.i64(c_.tile_lanes)), lane));
      }
      const ValueId a_offset = c_.a_direct ? em_.emit(along_k) : local_k;
      std::vector<ValueId> next;
      for (size_t i = 0; i < carried.size(); ++i)
        next.push_back(multiply_add(b_.load(a_buffer, b_.add(a_base[i], a_offset)), b_value, carried[i]));
      return next;
    });
    for (size_t i = 0; i < result.size(); ++i) b_.store(sums_, b_.add(sum_base[i], lane), result[i]);
  }, static_cast<int>(c_.tile_lanes));
}

/// output[batch, m, n] = post(sums).
void ContractionEmitter::epilogue() {
  em_.hoist(c_.post);
  em_.loop(LoopKind::kSerial, b_.i64(0), m_count_, 1, [&](ValueId row) {
    const ValueId m = b_.add(m0_, row);
    em_.bind(c_.m_axis, m);
    std::vector<Dim> m_extents;
    for (int a : c_.m_axes) m_extents.push_back(c_.axes[static_cast<size_t>(a)]);
    const std::vector<ValueId> m_index = em_.unflatten(m, m_extents);
    std::vector<ValueId> index = output_index_;
    for (size_t i = 0; i < c_.m_axes.size(); ++i) index[static_cast<size_t>(c_.m_axes[i])] = m_index[i];
    em_.hoist(c_.post);
    c_.wide ? epilogue_row_wide(row, index) : epilogue_row(row, index);
  });
}

void ContractionEmitter::epilogue_row(ValueId row, std::vector<ValueId> index) {
  const size_t prefix = c_.outer - c_.n_axes.size();
  std::vector<Dim> axes(c_.axes.begin(), c_.axes.begin() + static_cast<int64_t>(prefix));
  axes.push_back(c_.n);
  index.resize(prefix);
  index.push_back(b_.i64(0));
  const ValueId base = b_.add(row_major_offset(em_, axes, index, prefix), n0_);
  const ValueId sum_base = b_.mul(row, b_.i64(c_.tile_lanes));
  em_.loop(LoopKind::kVector, b_.i64(0), n_count_, 1, [&](ValueId lane) {
    em_.bind(c_.n_axis, b_.add(n0_, lane));
    em_.bind_acc(b_.load(sums_, b_.add(sum_base, lane)));
    b_.store(output_, b_.add(base, lane), em_.emit(c_.post));
  });
}

/// The tile's image rows one by one, without the columns that are not the window's.
void ContractionEmitter::epilogue_row_wide(ValueId row, std::vector<ValueId> index) {
  const ValueId pitch = em_.dim(c_.pitch);
  const Dim columns = c_.axes[static_cast<size_t>(c_.n_axes[1])];
  const std::vector<Dim> axes(c_.axes.begin(), c_.axes.begin() + static_cast<int64_t>(c_.outer));
  const ValueId first = b_.op(ScalarOp::kDiv, {n0_, pitch});
  const ValueId end = b_.add(b_.op(ScalarOp::kDiv, {b_.sub(b_.add(n0_, n_count_), b_.i64(1)), pitch}), b_.i64(1));
  const ValueId sum_base = b_.mul(row, b_.i64(c_.tile_lanes));
  em_.loop(LoopKind::kSerial, first, end, 1, [&](ValueId image_row) {
    em_.bind(c_.n_axes[0], image_row);
    em_.hoist(c_.post);
    const ValueId start = b_.sub(b_.mul(image_row, pitch), n0_);  // lane of column 0; may lie before the tile
    const ValueId lo = b_.op(ScalarOp::kMax, {b_.i64(0), start});
    const ValueId hi = minimum(n_count_, b_.add(start, em_.dim(columns)));
    index[static_cast<size_t>(c_.n_axes[0])] = image_row;
    index[static_cast<size_t>(c_.n_axes[1])] = b_.i64(0);
    const ValueId base = b_.sub(row_major_offset(em_, axes, index, axes.size()), start);
    em_.loop(LoopKind::kVector, lo, hi, 1, [&](ValueId lane) {
      em_.bind(c_.n_axes[1], b_.sub(lane, start));
      em_.bind_acc(b_.load(sums_, b_.add(sum_base, lane)));
      b_.store(output_, b_.add(base, lane), em_.emit(c_.post));
    });
  });
}

}  // namespace tenon::codegen
