#include <algorithm>

#include "codegen/schedule/contraction.h"

namespace tenon::codegen {

using ir::Dim;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

bool Contraction::is_k(int axis) const { return std::find(k_axes.begin(), k_axes.end(), axis) != k_axes.end(); }

void ContractionEmitter::emit() {
  const bool packs_b = may_have_panel() && (!c_.m.is_const() || c_.m.value() > c_.direct_rows);
  if (packs_b) panel_ = b_.add_local("b_panel", c_.acc_dtype, c_.k_block * c_.tile_lanes);
  if (!c_.a_direct) rows_of_a_ = b_.add_local("a_rows", c_.acc_dtype, c_.m_block * c_.k_block);
  if (!c_.post_in_registers) sums_ = b_.add_local("sums", c_.acc_dtype, c_.m_block * c_.panel_lanes());
  bind_grid();
  const ValueId end = em_.dim(c_.extents[static_cast<size_t>(c_.k_axes[0])]);
  if (c_.one_k_block) {
    choose_direct([&] { block_of_k(b_.i64(0), end); });
  } else {
    const ValueId count = b_.mul(m_count_, b_.i64(c_.panel_lanes()));
    em_.loop(LoopKind::kVector, b_.i64(0), count, 1, [&](ValueId i) { b_.store(sums_, i, zero()); });
    choose_direct([&] {
      em_.loop(LoopKind::kSerial, b_.i64(0), end, c_.k_step,
               [&](ValueId k0) { block_of_k(k0, minimum(b_.add(k0, b_.i64(c_.k_step)), end)); });
    });
  }
  if (!c_.post_in_registers) epilogue_from_sums();
}

/// Whether B is read in place: known when M is constant or B cannot be, else decided by the kernel.
void ContractionEmitter::choose_direct(const Body& body) {
  const bool decided = !may_have_panel() || c_.m.is_const() || c_.direct_rows == 0;
  direct_ = c_.in_place() || (may_have_panel() && c_.m.is_const() && c_.m.value() <= c_.direct_rows);
  if (decided) {
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
  const Dim blocks = ir::ceil_div(c_.m, c_.m_block), tiles = c_.n_tiles();
  grid.push_back(c_.n_outer ? tiles : blocks);
  grid.push_back(c_.n_outer ? blocks : tiles);
  const std::vector<ValueId> index = em_.unflatten(b_.grid_index(), grid);
  const size_t last = index.size() - 1;
  const ValueId block = index[c_.n_outer ? last : last - 1], tile = index[c_.n_outer ? last - 1 : last];
  output_index_.assign(c_.outer, -1);
  for (size_t i = 0; i < c_.batch_axes.size(); ++i) {
    em_.bind(c_.batch_axes[i], index[i]);
    output_index_[static_cast<size_t>(c_.batch_axes[i])] = index[i];
  }
  m0_ = b_.mul(block, b_.i64(c_.m_block));
  n0_ = b_.mul(tile, b_.i64(c_.tile_lanes));
  m_count_ = minimum(b_.i64(c_.m_block), b_.sub(em_.dim(c_.m), m0_));
  if (c_.m.is_const() && c_.m.value() <= c_.m_block) m_count_ = em_.dim(c_.m);
  n_count_ = minimum(b_.i64(c_.tile_lanes), b_.sub(em_.dim(c_.n), n0_));
  if (c_.n.is_const() && c_.n.value() % c_.tile_lanes == 0) n_count_ = b_.i64(c_.tile_lanes);
  if (c_.n.is_const() && c_.n.value() < c_.tile_lanes) n_count_ = em_.dim(c_.n);
  if (!c_.packed()) return;
  ValueId matrix = b_.i64(0);
  for (const auto& [axis, stride] : c_.b_batch)
    matrix = b_.add(matrix, b_.mul(output_index_[static_cast<size_t>(axis)], b_.i64(stride)));
  const ValueId panel = b_.add(b_.mul(matrix, em_.dim(tiles)), tile);
  panel_number_ = panel;
  const ValueId rows = c_.codes ? b_.i64(c_.k.value() * c_.k_unit / c_.codes->codes_per_word()) : em_.dim(c_.k);
  panel_base_ = b_.mul(panel, b_.mul(rows, b_.i64(c_.panel_lanes())));
}

void ContractionEmitter::block_of_k(ValueId k0, ValueId k_end) {
  k0_ = k0;
  k_end_ = k_end;
  if (!c_.a_direct) pack_a(k0, b_.sub(k_end, k0));
  if (c_.wide()) {  // the image has slack behind it, and what lies beyond N is dropped
    tiles_of_rows(c_.tile_lanes, false);
    return;
  }
  if (!direct_ && c_.unpacks_codes()) unpack_b(k0, k_end);
  const bool panel = !direct_ && !c_.packed();
  if (panel) pack_b(k0, b_.sub(k_end, k0));
  if (panel && !c_.post_in_registers) {  // the panel ends in zeros
    tiles_of_rows(c_.tile_lanes, false);
    return;
  }
  whole_or_edge([&](int64_t lanes, bool edge) { tiles_of_rows(lanes, edge); });
}

/// Two versions of the code, unless it is known which tiles N cuts off; of these, only the vectors that N reaches into.
void ContractionEmitter::whole_or_edge(const std::function<void(int64_t lanes, bool edge)>& body) {
  int64_t edge_lanes = c_.tile_lanes;
  bool partial = true;
  if (c_.n.is_const()) {
    const int64_t rest = c_.n.value() % c_.tile_lanes;
    edge_lanes = (rest + c_.lanes - 1) / c_.lanes * c_.lanes;
    partial = rest % c_.lanes != 0;
  }
  if (const std::optional<int64_t> count = b_.as_constant(n_count_)) {
    *count == c_.tile_lanes ? body(c_.tile_lanes, false) : body(edge_lanes, partial);
    return;
  }
  const auto branch = [&](int64_t lanes, bool edge) {
    return [&, lanes, edge] {
      em_.scoped([&] { body(lanes, edge); });
      return std::vector<ValueId>{};
    };
  };
  b_.if_else(b_.op(ScalarOp::kEq, {n_count_, b_.i64(c_.tile_lanes)}), branch(c_.tile_lanes, false), branch(edge_lanes, partial));
}

/// The block's rows, run by run where tiles stay inside of one.
void ContractionEmitter::tiles_of_rows(int64_t lanes, bool edge) {
  if (c_.taps.empty()) {
    tiles_of_run(b_.i64(0), m_count_, lanes, edge);
    return;
  }
  const ValueId run = em_.dim(c_.run);
  const ValueId last = b_.op(ScalarOp::kDiv, {b_.sub(b_.add(m0_, m_count_), b_.i64(1)), run});
  em_.loop(LoopKind::kSerial, b_.op(ScalarOp::kDiv, {m0_, run}), b_.add(last, b_.i64(1)), 1, [&](ValueId number) {
    const ValueId from = b_.sub(b_.mul(number, run), m0_);
    tiles_of_run(b_.op(ScalarOp::kMax, {from, b_.i64(0)}), minimum(b_.add(from, run), m_count_), lanes, edge);
  });
}

/// Whole tiles, then smaller ones for the rows that are left.
void ContractionEmitter::tiles_of_run(ValueId from, ValueId to, int64_t lanes, bool edge) {
  const ValueId rest = b_.op(ScalarOp::kRem, {b_.sub(to, from), b_.i64(c_.tile_rows)});
  const bool any_whole = !c_.run.is_const() || c_.run.value() >= c_.tile_rows;
  ValueId row = b_.sub(to, rest);
  if (any_whole)
    em_.loop(LoopKind::kSerial, from, row, c_.tile_rows,
             [&](ValueId first) { register_tile({first, c_.tile_rows, lanes, edge}, k0_, k_end_); });
  for (int64_t rows : c_.rest_rows) {
    const auto tile = [&] {
      em_.scoped([&] { register_tile({row, rows, lanes, edge}, k0_, k_end_); });
      return std::vector<ValueId>{b_.add(row, b_.i64(rows))};
    };
    const ValueId fits = b_.op(ScalarOp::kLe, {b_.add(row, b_.i64(rows)), to});
    const std::optional<int64_t> known = b_.as_constant(fits);
    if (known && *known == 0) continue;
    row = known ? tile()[0] : b_.if_else(fits, tile, [&] { return std::vector<ValueId>{row}; })[0];
  }
}

/// panel[k][lane] = B(k0 + k, n0 + lane), zero beyond N. Rows in place are copied whole; else the lanes' own index arithmetic
/// comes first and K runs inside.
void ContractionEmitter::pack_b(ValueId k0, ValueId k_count) {
  const auto rows = [&](int64_t, bool masked) {
    em_.loop(LoopKind::kSerial, b_.i64(0), k_count, 1, [&](ValueId k) {
      em_.bind(c_.k_axis, b_.add(k0, k));
      const ValueId row = b_.mul(k, b_.i64(c_.tile_lanes));
      em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(c_.tile_lanes), 1, [&](ValueId lane) {
        em_.bind(c_.n_axis, b_.add(n0_, lane));
        if (masked) em_.set_mask(b_.op(ScalarOp::kLt, {lane, n_count_}));
        const ValueId value = em_.emit(c_.b);
        em_.set_mask(-1);
        b_.store(panel_, b_.add(row, lane), value);
      });
    });
  };
  const auto columns = [&](int64_t, bool masked) {
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
  // The panel is filled to its whole width.
  if (const std::optional<int64_t> count = b_.as_constant(n_count_)) {
    c_.b_contiguous ? rows(0, *count != c_.tile_lanes) : columns(0, *count != c_.tile_lanes);
    return;
  }
  const auto branch = [&](bool masked) {
    return [&, masked] {
      em_.scoped([&] { c_.b_contiguous ? rows(0, masked) : columns(0, masked); });
      return std::vector<ValueId>{};
    };
  };
  b_.if_else(b_.op(ScalarOp::kEq, {n_count_, b_.i64(c_.tile_lanes)}), branch(false), branch(true));
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

/// output[batch, m, n] = post(sums), for lanes that are inside N.
void ContractionEmitter::finish_row(ValueId row, ValueId lane, std::span<const ValueId> sums, ValueId inside) {
  bind_row(row);
  const ValueId base = row_base(row);
  em_.set_mask(inside);
  em_.store_buffer(output_, result_at(base, lane), result_of(sums));
  em_.set_mask(-1);
}

/// post of an element's sums, its own first.
ValueId ContractionEmitter::result_of(std::span<const ValueId> sums) {
  for (size_t p = 0; p < c_.beside.size(); ++p) {
    ValueId value = -1;
    em_.scoped([&] {
      em_.bind_acc(sums[p + 1]);
      value = em_.emit(c_.beside[p].post);
    });
    em_.bind_result(kStageOperand + c_.beside[p].stage, value);
  }
  em_.bind_acc(sums[0]);
  return em_.emit(c_.post);
}

void ContractionEmitter::hoist_posts() {
  em_.hoist(c_.post);
  for (const Contraction::Beside& other : c_.beside) em_.hoist(other.post);
}

/// Offset of the result's element for a lane of the bound row, which begins at `base`.
ValueId ContractionEmitter::result_at(ValueId base, ValueId lane) {
  return c_.stored.valid() ? em_.emit({c_.stored.pool, c_.stored.node().args[0]}) : b_.add(base, lane);
}

void ContractionEmitter::bind_row(ValueId row) { em_.bind(c_.m_axis, b_.add(m0_, row)); }

/// The index of the row by output axis.
std::vector<ValueId> ContractionEmitter::index_of(ValueId row) {
  const std::vector<ValueId> m_index = em_.unflatten(b_.add(m0_, row), extents_of(c_, c_.m_axes));
  std::vector<ValueId> index = output_index_;
  for (size_t i = 0; i < c_.m_axes.size(); ++i) index[static_cast<size_t>(c_.m_axes[i])] = m_index[i];
  return index;
}

/// Offset of the tile's first element of N in a row of the output, where rows are contiguous. M's axes side by side are one.
ValueId ContractionEmitter::row_base(ValueId row) {
  if (c_.stored.valid()) return b_.i64(0);
  const size_t prefix = c_.outer - c_.n_axes.size();
  const std::vector<int>& m_axes = c_.m_axes;
  const bool one = m_axes.size() > 1 && std::ranges::adjacent_find(m_axes, [](int a, int b) { return b != a + 1; }) == m_axes.end();
  const std::vector<ValueId> split = one ? output_index_ : index_of(row);
  std::vector<Dim> axes;
  std::vector<ValueId> index;
  for (size_t axis = 0; axis < prefix; ++axis) {
    const auto number = static_cast<int>(axis);
    const bool of_m = one && number >= m_axes.front() && number <= m_axes.back();
    if (of_m && number != m_axes.front()) continue;
    axes.push_back(of_m ? c_.m : c_.axes[axis]);
    index.push_back(of_m ? b_.add(m0_, row) : split[axis]);
  }
  axes.push_back(c_.n);
  index.push_back(b_.i64(0));
  return b_.add(row_major_offset(em_, axes, index, axes.size() - 1), n0_);
}

/// post of all sums of the block, rows in lanes: of as many columns at a time, whose sums lie side by side and are transposed in registers.
void ContractionEmitter::epilogue_by_columns() {
  em_.loop(LoopKind::kVector, b_.i64(0), m_count_, 1, [&](ValueId row) {
    bind_row(row);
    hoist_posts();
    const ValueId base = b_.mul(row, b_.i64(c_.panel_lanes()));
    const auto column = [&](ValueId lane) {
      em_.bind(c_.n_axis, b_.add(n0_, lane));
      const ValueId sum = b_.load(sums_, b_.add(base, lane));
      b_.store(output_, result_at(base, lane), result_of(std::span(&sum, 1)));
    };
    const ValueId lanes = b_.i64(c_.lanes), whole = b_.mul(b_.op(ScalarOp::kDiv, {n_count_, lanes}), lanes);
    em_.loop(LoopKind::kSerial, b_.i64(0), whole, c_.lanes, [&](ValueId first) {
      em_.loop(LoopKind::kUnroll, b_.i64(0), lanes, 1, [&](ValueId i) { column(b_.add(first, i)); });
    });
    em_.loop(LoopKind::kSerial, whole, n_count_, 1, column);
  }, static_cast<int>(c_.lanes));
}

/// post of all sums of the block.
void ContractionEmitter::epilogue_from_sums() {
  if (c_.rows_in_lanes) return epilogue_by_columns();
  hoist_posts();
  em_.loop(LoopKind::kSerial, b_.i64(0), m_count_, 1, [&](ValueId row) {
    bind_row(row);
    hoist_posts();
    if (c_.wide()) {
      epilogue_row_wide(row, index_of(row));
      return;
    }
    const ValueId base = row_base(row);
    const ValueId sum_base = b_.mul(row, b_.i64(c_.panel_lanes()));
    em_.loop(LoopKind::kVector, b_.i64(0), n_count_, 1, [&](ValueId lane) {
      em_.bind(c_.n_axis, b_.add(n0_, lane));
      std::vector<ValueId> sums;
      for (int64_t p = 0; p < c_.parts(); ++p)
        sums.push_back(b_.load(sums_, b_.add(b_.add(sum_base, b_.i64(p * c_.tile_lanes)), lane)));
      b_.store(output_, result_at(base, lane), result_of(sums));
    });
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
