// The register tile of a contraction: its loops over K, and how it reads A and B.

#include <algorithm>

#include "codegen/schedule/contraction.h"
#include "codegen/schedule/streams.h"

namespace tenon::codegen {

using ir::Dim;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

namespace {
constexpr int64_t kUnrolledTaps = 8;  // an innermost loop over K of so few trips
}

ContractionEmitter::Element ContractionEmitter::element(ValueId loaded) {
  if (c_.byte_pairs) return integers(loaded);
  if (!c_.pairs) return {loaded};
  const auto widened = [&](ScalarOp op, int64_t by) {
    return b_.bitcast(b_.op(op, {loaded, b_.constant_int(DType::kI32, by)}), DType::kF32);
  };
  return {loaded, widened(ScalarOp::kAnd, -0x10000), widened(ScalarOp::kShl, 16)};
}

/// The halves of a word, or the bytes of half of one, as integers.
ContractionEmitter::Element ContractionEmitter::integers(ValueId loaded) {
  const int half = bits(b_.kernel().dtype(loaded)) / 2;
  const auto by = [&](int64_t count) { return b_.constant_int(DType::kI32, count); };
  const ValueId word = b_.cast(loaded, DType::kI32), high = b_.op(ScalarOp::kShl, {word, by(32 - half)});
  return {loaded, b_.op(ScalarOp::kShr, {word, by(half)}), b_.op(ScalarOp::kShr, {high, by(32 - half)})};
}

ValueId ContractionEmitter::multiply_add(const Element& x, const Element& y, ValueId sum) {
  if (c_.pairs || c_.byte_pairs) return b_.op(ScalarOp::kFma, {x.even, y.even, b_.op(ScalarOp::kFma, {x.odd, y.odd, sum})});
  if (c_.dot) return b_.op(c_.dot_signed ? ScalarOp::kDot4Signed : ScalarOp::kDot4, {x.whole, y.whole, sum});
  if (c_.fma) return b_.op(ScalarOp::kFma, {x.whole, y.whole, sum});
  return b_.op(ScalarOp::kAdd, {sum, b_.op(ScalarOp::kMul, {x.whole, y.whole})});
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

Dim ContractionEmitter::inner_k(size_t axis) const {
  Dim inner = 1;
  for (size_t i = axis + 1; i < c_.k_axes.size(); ++i) inner = inner * c_.extents[static_cast<size_t>(c_.k_axes[i])];
  return inner;
}

/// The loops over K with the sums carried through, [lo, hi) of the outermost one. `flat` counts all of K.
std::vector<ValueId> ContractionEmitter::over_k(
    size_t axis, ValueId lo, ValueId hi, ValueId flat, std::span<const ValueId> carried,
    const std::function<std::vector<ValueId>(ValueId flat, std::span<const ValueId>)>& body) {
  if (axis == c_.k_axes.size()) return body(flat, carried);
  const int number = c_.k_axes[axis];
  if (axis > 0) {
    lo = b_.i64(0);
    hi = em_.dim(c_.extents[static_cast<size_t>(number)]);
  }
  for (const Meeting& taps : meeting_)
    if (taps.axis == number) lo = b_.op(ScalarOp::kMax, {lo, taps.lo}), hi = minimum(hi, taps.hi);
  if (direct_) em_.hoist(c_.b);
  const std::optional<int64_t> trips = b_.as_constant(hi);
  const bool unroll = axis > 0 && axis + 1 == c_.k_axes.size() && trips && *trips <= kUnrolledTaps;
  const ValueId inner = em_.dim(inner_k(axis));
  return em_.loop(unroll ? LoopKind::kUnroll : LoopKind::kSerial, lo, hi, 1, carried, [&](ValueId k, std::span<const ValueId> sums) {
    em_.bind(number, k);
    return over_k(axis + 1, lo, hi, b_.add(flat, b_.mul(k, inner)), sums, body);
  });
}

ValueId ContractionEmitter::b_value(int64_t part, ValueId flat, ValueId lane, ValueId inside) {
  if (direct_) {
    ValueId value = -1;
    em_.scoped([&] {
      em_.bind(c_.n_axis, b_.add(n0_, lane));
      em_.set_mask(inside);
      value = em_.emit(c_.b);
      em_.set_mask(-1);
    });
    return value;
  }
  const ValueId lanes = b_.i64(c_.panel_lanes());
  if (part > 0) lane = b_.add(lane, b_.i64(part * c_.tile_lanes));
  if (c_.packed() && !c_.codes)
    return b_.load(em_.buffer(c_.b.node().operand), b_.add(b_.add(panel_base_, b_.mul(flat, lanes)), lane));
  return b_.load(panel_, b_.add(b_.mul(b_.sub(flat, k0_), lanes), lane));
}

void ContractionEmitter::RowSteps::add(Dim divisor, Dim coefficient) {
  const auto same = std::ranges::find(carries, divisor, &Carry::divisor);
  if (same == carries.end()) carries.push_back({divisor, coefficient});
  else same->coefficient = same->coefficient + coefficient;
}

/// Of offsets that are sums of multiples of the row, of its quotients and of remainders of both; nullopt for others, and where no division
/// is to be saved, since all divisors are constant.
std::optional<ContractionEmitter::RowSteps> ContractionEmitter::row_steps(const Affine& offset) const {
  RowSteps out{.step = 0};
  const auto node = [&](int id) -> const ir::ExprNode& { return em_.pool().node(id); };
  const auto is_row = [&](int id) { return node(id).kind == ir::ExprKind::kIndex && node(id).axis == c_.m_axis; };
  const auto divisor_of = [&](int id, ScalarOp a, ScalarOp b) -> std::optional<Dim> {
    const ir::ExprNode& e = node(id);
    if (e.kind != ir::ExprKind::kOp || (e.op != a && e.op != b)) return std::nullopt;
    const ir::ExprNode& by = node(e.args[1]);
    if (by.kind == ir::ExprKind::kDim) return by.dim;
    return by.kind == ir::ExprKind::kConst && by.scalar.i > 0 ? std::optional(Dim(by.scalar.i)) : std::nullopt;
  };
  for (const Affine::Term& t : offset.terms) {
    if (is_row(t.atom)) out.step = out.step + t.coefficient;
    if (is_row(t.atom) || !uses_axis({&em_.pool(), t.atom}, c_.m_axis)) continue;
    const std::optional<Dim> quotient = divisor_of(t.atom, ScalarOp::kDiv, ScalarOp::kFloorDiv),
                             remainder = divisor_of(t.atom, ScalarOp::kRem, ScalarOp::kMod);
    if (!quotient && !remainder) return std::nullopt;
    const int of = node(t.atom).args[0];
    if (quotient && is_row(of)) {
      out.add(*quotient, t.coefficient);
    } else if (remainder && is_row(of)) {
      out.step = out.step + t.coefficient;
      out.add(*remainder, Dim(0) - t.coefficient * *remainder);
    } else if (const auto inner = divisor_of(of, ScalarOp::kDiv, ScalarOp::kFloorDiv); remainder && inner && is_row(node(of).args[0])) {
      out.add(*inner, t.coefficient);
      out.add(*inner * *remainder, Dim(0) - t.coefficient * *remainder);
    } else {
      return std::nullopt;
    }
  }
  const auto known = [](Dim d) { return d.is_valid(); };
  const bool valid = known(out.step) && std::ranges::all_of(out.carries, [&](const Carry& c) { return known(c.divisor) && known(c.coefficient); });
  const bool divides = std::ranges::any_of(out.carries, [](const Carry& c) { return !c.divisor.is_const(); });
  return valid && divides ? std::optional(std::move(out)) : std::nullopt;
}

/// The rows behind the first, whose offset is there.
void ContractionEmitter::step_rows(const Tile& tile, const RowSteps& steps, RowsOfA& rows) {
  const ValueId first = b_.add(m0_, tile.row), step = em_.dim(steps.step), none = b_.i64(0);
  std::vector<ValueId> divisor, rest, more;
  for (const Carry& carry : steps.carries) {
    divisor.push_back(em_.dim(carry.divisor));
    rest.push_back(b_.op(ScalarOp::kRem, {first, divisor.back()}));
    more.push_back(em_.dim(carry.coefficient));
  }
  for (int64_t i = 1; i < tile.rows; ++i) {
    ValueId at = b_.add(rows.base.back(), step);
    for (size_t c = 0; c < divisor.size(); ++c) {
      const ValueId next = b_.add(rest[c], b_.i64(1)), reached = b_.op(ScalarOp::kEq, {next, divisor[c]});
      rest[c] = b_.op(ScalarOp::kSelect, {reached, none, next});
      at = b_.add(at, b_.op(ScalarOp::kSelect, {reached, more[c], none}));
    }
    rows.base.push_back(at);
    rows.displacement.push_back(0);
  }
}

/// By how much the offset grows from row to row, where that is the same for all rows of a tile.
std::optional<Dim> ContractionEmitter::stride_of_rows(const Affine& offset) const {
  const auto node = [&](int id) -> const ir::ExprNode& { return em_.pool().node(id); };
  const auto is_row = [&](int id) { return node(id).kind == ir::ExprKind::kIndex && node(id).axis == c_.m_axis; };
  const auto of_run = [&](int id, ScalarOp a, ScalarOp b) {
    const ir::ExprNode& e = node(id);
    if (c_.taps.empty() || e.kind != ir::ExprKind::kOp || (e.op != a && e.op != b) || !is_row(e.args[0])) return false;
    const ir::ExprNode& by = node(e.args[1]);
    return by.kind == ir::ExprKind::kDim ? by.dim == c_.run : by.kind == ir::ExprKind::kConst && c_.run.is_const(by.scalar.i);
  };
  const std::function<bool(int)> varies = [&](int id) {
    if (of_run(id, ScalarOp::kDiv, ScalarOp::kFloorDiv)) return false;
    return is_row(id) || std::ranges::any_of(node(id).args, varies);
  };
  Dim stride = 0;
  for (const Affine::Term& t : offset.terms) {
    if (is_row(t.atom) || of_run(t.atom, ScalarOp::kRem, ScalarOp::kMod)) stride = stride + t.coefficient;
    else if (varies(t.atom)) return std::nullopt;
  }
  return stride;
}

std::vector<ContractionEmitter::Meeting> ContractionEmitter::taps_that_meet(const Tile& tile) {
  std::vector<Meeting> out;
  for (const Contraction::Taps& taps : c_.taps) {
    IndexAlgebra algebra(em_.pool(), c_.extents);
    Affine first = algebra.affine(taps.index);  // at the first tap
    const auto tap = std::ranges::find_if(first.terms, [&](const Affine::Term& t) {
      const ir::ExprNode& atom = em_.pool().node(t.atom);
      return atom.kind == ir::ExprKind::kIndex && c_.is_k(atom.axis);
    });
    TENON_CHECK(tap != first.terms.end());  // taps_in_padding() found one, and merged axes keep what roots use
    const int axis = em_.pool().node(tap->atom).axis;
    const ValueId step = em_.dim(tap->coefficient), none = b_.i64(0);
    first.terms.erase(tap);
    const auto index_in = [&](int64_t row) {
      ValueId index = -1;
      em_.scoped([&] {
        em_.bind(c_.m_axis, b_.add(m0_, b_.add(tile.row, b_.i64(row))));
        index = em_.emit(algebra.expr(first));
      });
      return index;
    };
    // The taps that it takes to come so far.
    const auto taps_for = [&](ValueId distance) {
      const ValueId positive = b_.op(ScalarOp::kMax, {distance, none});
      return b_.op(ScalarOp::kDiv, {b_.add(positive, b_.sub(step, b_.i64(1))), step});
    };
    out.push_back({axis, taps_for(b_.sub(none, index_in(tile.rows - 1))), taps_for(b_.sub(em_.dim(taps.extent), index_in(0)))});
  }
  return out;
}

/// Offsets of A's rows: of the first one, and where the others lie from it. Equal strides become constant displacements.
ContractionEmitter::RowsOfA ContractionEmitter::rows_of(const Tile& tile) {
  RowsOfA rows;
  ir::Expr base;
  std::optional<Dim> stride;
  std::optional<RowSteps> steps;
  if (c_.a_direct) {
    split_a_offset(base, rows.along_k);
    IndexAlgebra algebra(em_.pool(), c_.extents);
    const Affine offset = algebra.affine(base);
    stride = stride_of_rows(offset);
    if (!stride) steps = row_steps(offset);
  } else {
    stride = Dim(c_.k_block);
  }
  for (int64_t i = 0; i < tile.rows; ++i) {
    if (i > 0 && stride) {
      const bool fixed = stride->is_const();
      rows.base.push_back(fixed ? rows.base[0] : b_.add(rows.base[0], b_.mul(em_.dim(*stride), b_.i64(i))));
      rows.displacement.push_back(fixed ? stride->value() * i : 0);
      continue;
    }
    ValueId at = b_.mul(b_.add(tile.row, b_.i64(i)), b_.i64(c_.k_block));
    if (c_.a_direct)
      em_.scoped([&] {
        em_.bind(c_.m_axis, b_.add(m0_, b_.add(tile.row, b_.i64(i))));
        at = em_.emit(base);
      });
    rows.base.push_back(at);
    rows.displacement.push_back(0);
    if (!steps) continue;
    step_rows(tile, *steps, rows);
    break;
  }
  return rows;
}

/// Panels lie in the order in which they are read. One tile of rows asks for what comes a little later; of several, which pass over
/// one block of a panel after the other, each asks for an equal share of the next block, a little with every step, since memory does not
/// keep up with more; those beyond the number that it takes ask for a line that is there.
std::optional<ContractionEmitter::Ahead> ContractionEmitter::ahead(const Tile& tile, ValueId k0, ValueId k_end) {
  if (!c_.packed() || (c_.unpacks_codes() && !direct_)) return std::nullopt;
  const int element_bits = bits(c_.b.dtype());
  const int64_t line = kLineBytes * 8 / element_bits, lines = (c_.panel_lanes() + line - 1) / line;
  const int64_t tiles = c_.m.is_const() ? std::max<int64_t>(1, std::min(c_.m.value(), c_.m_block) / c_.tile_rows) : lines;
  if (c_.codes && tiles > 1) return std::nullopt;
  const int64_t ahead = c_.codes ? kStreamAheadBytes : stream_ahead_bytes(c_.lanes * bits(c_.acc_dtype));
  if (tiles == 1 && ahead == 0) return std::nullopt;
  if (tiles == 1)
    return Ahead{b_.add(panel_base_, b_.i64(ahead * 8 / element_bits)), b_.i64(c_.panel_lanes()),
                 line, lines};
  const int64_t step = (c_.panel_lanes() + tiles - 1) / tiles;
  const ValueId inner = em_.dim(inner_k(0)), from = b_.mul(k0, inner), end = b_.mul(k_end, inner);
  const ValueId steps = b_.sub(end, from), number = b_.op(ScalarOp::kDiv, {tile.row, b_.i64(c_.tile_rows)});
  const ValueId next = b_.add(panel_base_, b_.mul(end, b_.i64(c_.panel_lanes())));
  const ValueId share = b_.op(ScalarOp::kLt, {b_.mul(number, b_.i64(step)), b_.i64(c_.panel_lanes())});
  const ValueId base = b_.add(next, b_.mul(number, b_.mul(steps, b_.i64(step))));
  const ValueId stride = b_.op(ScalarOp::kSelect, {share, b_.i64(step), b_.i64(0)});
  return Ahead{b_.sub(b_.op(ScalarOp::kSelect, {share, base, panel_base_}), b_.mul(from, stride)), stride, line, (step + line - 1) / line};
}

/// sum(row + i, lane) += A(row + i, k) * B(k, lane), one vector of lanes beside the other.
void ContractionEmitter::register_tile(const Tile& tile, ValueId k0, ValueId k_end) {
  const RowsOfA rows = rows_of(tile);
  meeting_ = taps_that_meet(tile);
  const auto count = static_cast<size_t>(tile.rows), vectors = static_cast<size_t>(tile.lanes / c_.lanes);
  const auto parts = static_cast<size_t>(c_.parts()),
             columns = parts * vectors;  // sums of a row: vector by vector of each part
  std::vector<ValueId> sum_base;         // by row and part
  for (int64_t i = 0; i < tile.rows; ++i)
    for (int64_t p = 0; p < c_.parts(); ++p)
      sum_base.push_back(
          b_.add(b_.mul(b_.add(tile.row, b_.i64(i)), b_.i64(c_.panel_lanes())), b_.i64(p * c_.tile_lanes)));
  const std::optional<Ahead> next_panel = ahead(tile, k0, k_end);
  const int a_buffer = c_.a_direct ? em_.buffer(c_.a.node().operand) : rows_of_a_;

  em_.loop(LoopKind::kVector, b_.i64(0), b_.i64(c_.lanes), 1, [&](ValueId first_lane) {
    std::vector<ValueId> lane, inside, inits;
    for (size_t v = 0; v < vectors; ++v) {
      lane.push_back(b_.add(first_lane, b_.i64(static_cast<int64_t>(v) * c_.lanes)));
      const bool cut_off = tile.edge && (!c_.n.is_const() || v + 1 == vectors);
      inside.push_back(cut_off ? b_.op(ScalarOp::kLt, {lane[v], n_count_}) : -1);
    }
    for (ValueId base : sum_base)
      for (size_t v = 0; v < vectors; ++v) inits.push_back(c_.one_k_block ? zero() : b_.load(sums_, b_.add(base, lane[v])));
    // In lanes, though they are equal: a sum of a row is one more column, of ones.
    ValueId ones = -1;
    if (c_.sums_rows()) {
      const auto word = [&](int64_t value) { return b_.constant_int(DType::kI32, value); };
      ones = b_.op(ScalarOp::kOr, {b_.op(ScalarOp::kAnd, {b_.cast(first_lane, DType::kI32), word(0)}), word(0x01010101)});
      inits.insert(inits.end(), count, zero());
    }
    const Step step = [&](ValueId k, std::span<const ValueId> b_elements, std::span<const ValueId> carried) {
      std::vector<ValueId> next, sums_of_rows;
      std::vector<Element> of_b;
      for (ValueId b : b_elements) of_b.push_back(element(b));
      const ValueId along = c_.a_direct ? em_.emit(rows.along_k) : b_.sub(k, k0);
      ValueId common = -1;
      for (size_t i = 0; i < count; ++i) {
        if (i == 0 || rows.base[i] != rows.base[i - 1]) common = b_.add(rows.base[i], along);
        const Element of_a = element(b_.load(a_buffer, b_.add(common, b_.i64(rows.displacement[i]))));
        for (size_t v = 0; v < columns; ++v) next.push_back(multiply_add(of_a, of_b[v], carried[i * columns + v]));
        if (ones >= 0) sums_of_rows.push_back(multiply_add(of_a, {ones}, carried[count * columns + i]));
      }
      next.insert(next.end(), sums_of_rows.begin(), sums_of_rows.end());
      return next;
    };
    const auto from_panel = [&](ValueId flat, std::span<const ValueId> carried) {
      std::vector<ValueId> b_elements;
      for (int64_t p = 0; p < c_.parts(); ++p)
        for (size_t v = 0; v < vectors; ++v) b_elements.push_back(b_value(p, flat, lane[v], inside[v]));
      if (next_panel) {
        const ValueId at = b_.add(next_panel->base, b_.mul(flat, next_panel->stride));
        for (int64_t l = 0; l < next_panel->lines; ++l)
          b_.prefetch(em_.buffer(c_.b.node().operand), b_.add(at, b_.i64(l * next_panel->line)));
      }
      return step(flat, b_elements, carried);
    };
    const bool stream = next_panel.has_value();
    const std::vector<ValueId> result = c_.dots_codes() ? dots_of_codes(k0, k_end, lane, inits, stream, tile, rows)
                                        : c_.codes && direct_ ? over_codes(k0, k_end, lane, inits, stream, step)
                                                        : over_k(0, k0, k_end, b_.i64(0), inits, from_panel);
    for (size_t v = 0; v < vectors; ++v)
      em_.scoped([&] {
        em_.bind(c_.n_axis, b_.add(n0_, lane[v]));
        if (inside[v] < 0 && c_.post_in_registers) hoist_posts();
        ValueId factor = -1;
        if (c_.sums_rows()) {
          em_.set_mask(inside[v]);
          factor = em_.emit(c_.row_factor);
          em_.set_mask(-1);
        }
        for (size_t i = 0; i < count; ++i) {
          std::vector<ValueId> sums;
          for (size_t p = 0; p < parts; ++p) sums.push_back(result[i * columns + p * vectors + v]);
          if (factor >= 0) sums[0] = b_.sub(sums[0], b_.mul(factor, result[count * columns + i]));
          const ValueId row = b_.add(tile.row, b_.i64(static_cast<int64_t>(i)));
          if (c_.post_in_registers) {
            em_.scoped([&] { finish_row(row, lane[v], sums, inside[v]); });
            continue;
          }
          for (size_t p = 0; p < parts; ++p) b_.store(sums_, b_.add(sum_base[i * parts + p], lane[v]), sums[p]);
        }
      });
  }, static_cast<int>(c_.lanes));
}

}  // namespace tenon::codegen
