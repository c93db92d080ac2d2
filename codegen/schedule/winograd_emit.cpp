#include <cmath>

#include "codegen/schedule/winograd.h"

namespace tenon::codegen {

using ir::Dim;
using ir::ScalarOp;
using kir::KernelBuilder;
using kir::LoopKind;
using kir::ValueId;

std::vector<Dim> WinogradEmitter::tile_grid() const {
  std::vector<Dim> grid;
  for (int a : c_.batch_axes) grid.push_back(c_.extent(a));
  grid.push_back(ir::ceil_div(c_.extent(c_.row_axis), form_.outputs));
  grid.push_back(ir::ceil_div(c_.extent(c_.column_axis), form_.outputs));
  return grid;
}

/// The sum of row[i] * x[i], a term without a factor first.
ValueId WinogradEmitter::combine(KernelBuilder& b, std::span<const double> row, std::span<const ValueId> x) const {
  size_t first = row.size();
  for (size_t i = row.size(); i-- > 0;)
    if (row[i] != 0 && (first == row.size() || row[i] == 1 || (row[first] == -1 && row[i] != -1))) first = i;
  if (first == row.size()) return b.constant(DType::kF32, 0);
  ValueId sum = row[first] == 1 ? x[first] : b.mul(b.constant(DType::kF32, row[first]), x[first]);
  for (size_t i = 0; i < row.size(); ++i) {
    if (i == first || row[i] == 0) continue;
    if (row[i] == 1)
      sum = b.add(sum, x[i]);
    else if (row[i] == -1)
      sum = b.sub(sum, x[i]);
    else if (fma_)
      sum = b.op(ScalarOp::kFma, {b.constant(DType::kF32, row[i]), x[i], sum});
    else
      sum = b.add(sum, b.mul(b.constant(DType::kF32, row[i]), x[i]));
  }
  return sum;
}

/// matrix · x. Columns that are equal but for signs are added and subtracted first; rows that are so share their parts.
std::vector<ValueId> WinogradEmitter::apply(KernelBuilder& b, const Matrix& matrix, std::vector<ValueId> x) const {
  Matrix m = matrix;
  const auto twins = [](auto&& at, size_t count) {
    size_t used = 0;
    bool equal = true, minus = false, plus = false;
    for (size_t i = 0; i < count; ++i) {
      const auto [p, q] = at(i);
      equal &= std::abs(p) == std::abs(q);
      used += p != 0;
      plus |= p != 0 && p == q;
      minus |= p != 0 && p == -q;
    }
    return equal && used > 1 && plus && minus;
  };
  for (size_t c = 0; c < x.size(); ++c)
    for (size_t d = c + 1; d < x.size(); ++d) {
      if (!twins([&](size_t r) { return std::pair(m[r][c], m[r][d]); }, m.size())) continue;
      const ValueId sum = b.add(x[c], x[d]), difference = b.sub(x[c], x[d]);
      x[c] = sum;
      x[d] = difference;
      for (std::vector<double>& row : m) {
        const bool equal = row[c] == row[d];
        row[d] = equal ? 0 : row[c];
        if (!equal) row[c] = 0;
      }
    }
  std::vector<ValueId> out(m.size(), -1);
  for (size_t r = 0; r < m.size(); ++r) {
    if (out[r] >= 0) continue;
    for (size_t s = r + 1; s < m.size() && out[r] < 0; ++s) {
      if (out[s] >= 0 || !twins([&](size_t c) { return std::pair(m[r][c], m[s][c]); }, x.size())) continue;
      std::vector<double> equal(x.size(), 0), opposite(x.size(), 0);
      for (size_t c = 0; c < x.size(); ++c) (m[r][c] == m[s][c] ? equal : opposite)[c] = m[r][c];
      const ValueId e = combine(b, equal, x), o = combine(b, opposite, x);
      out[r] = b.add(e, o);
      out[s] = b.sub(e, o);
    }
    if (out[r] < 0) out[r] = combine(b, m[r], x);
  }
  return out;
}

/// matrix · x · matrixᵀ
std::vector<std::vector<ValueId>> WinogradEmitter::apply_both(KernelBuilder& b, const Matrix& matrix,
                                                              const std::vector<std::vector<ValueId>>& x) const {
  std::vector<std::vector<ValueId>> half(matrix.size()), out;
  for (size_t j = 0; j < x[0].size(); ++j) {
    std::vector<ValueId> column;
    for (const auto& row : x) column.push_back(row[j]);
    const std::vector<ValueId> y = apply(b, matrix, column);
    for (size_t i = 0; i < y.size(); ++i) half[i].push_back(y[i]);
  }
  for (const auto& row : half) out.push_back(apply(b, matrix, row));
  return out;
}

void WinogradEmitter::transform_image(KernelWriter& writer, int buffer_stage) const {
  Emitter& em = writer.emitter();
  KernelBuilder& b = em.builder();
  const int64_t points = form_.points();
  const std::vector<Dim> grid = tile_grid();
  const std::vector<ValueId> index = em.unflatten(b.grid_index(), grid);
  for (size_t i = 0; i < c_.batch_axes.size(); ++i) em.bind(c_.batch_axes[i], index[i]);
  const size_t rank = c_.image.size();
  const ValueId zero = b.i64(0), rows = em.dim(c_.image[rank - 3]), columns = em.dim(c_.image[rank - 2]),
                k = b.i64(c_.k);
  ValueId base = zero;
  for (size_t i = 0; i < c_.outer.size(); ++i) base = b.add(b.mul(base, em.dim(c_.image[i])), em.emit(c_.outer[i]));
  base = b.mul(base, b.mul(b.mul(rows, columns), k));
  const auto start = [&](size_t at, int64_t shift) {
    return b.add(b.mul(index[at], b.i64(form_.outputs)), b.i64(shift));
  };
  const ValueId row = start(index.size() - 2, c_.top), column = start(index.size() - 1, c_.left);
  const auto both = [&](ValueId x, ValueId y) { return b.op(ScalarOp::kAnd, {x, y}); };
  const auto within = [&](ValueId first, ValueId count, ValueId extent) {
    return both(b.op(ScalarOp::kGe, {first, zero}), b.op(ScalarOp::kLe, {b.add(first, count), extent}));
  };
  const ValueId first = b.add(base, b.mul(b.add(b.mul(row, columns), column), k));
  const ValueId written = b.mul(b.grid_index(), k), stride = em.dim(tiles() * c_.k);
  const int image = em.buffer(c_.operand), out = writer.output(buffer_stage);
  const auto transform = [&](bool guarded) {
    return [&, guarded] {
      std::vector<ValueId> row_inside, column_inside, row_at;
      for (int64_t i = 0; i < points; ++i) {
        row_at.push_back(b.add(first, b.mul(b.mul(b.i64(i), columns), k)));
        if (!guarded) continue;
        row_inside.push_back(within(b.add(row, b.i64(i)), b.i64(1), rows));
        column_inside.push_back(within(b.add(column, b.i64(i)), b.i64(1), columns));
      }
      em.loop(LoopKind::kVector, zero, k, 1, [&](ValueId lane) {
        std::vector<std::vector<ValueId>> pixels(static_cast<size_t>(points));
        for (size_t i = 0; i < pixels.size(); ++i)
          for (int64_t j = 0; j < points; ++j) {
            const ValueId at = b.add(b.add(row_at[i], b.i64(j * c_.k)), lane);
            pixels[i].push_back(guarded ? b.load_masked(image, at,
                                                        both(row_inside[i], column_inside[static_cast<size_t>(j)]),
                                                        b.constant(DType::kF32, 0))
                                        : b.load(image, at));
          }
        ValueId at = b.add(written, lane);
        for (const auto& line : apply_both(b, form_.bt, pixels))
          for (ValueId x : line) {
            b.store(out, at, x);
            at = b.add(at, stride);
          }
      });
      return std::vector<ValueId>{};
    };
  };
  b.if_else(both(within(row, b.i64(points), rows), within(column, b.i64(points), columns)), transform(false),
            transform(true));
  writer.finish(tiles(), tiles() * (c_.k * points * points * 6));
}

void WinogradEmitter::transform_weights(KernelWriter& writer, int panel_stage, int64_t tile_lanes) const {
  Emitter& em = writer.emitter();
  KernelBuilder& b = em.builder();
  const int64_t panels = (c_.channels + tile_lanes - 1) / tile_lanes, points = form_.points();
  const Dim grid[] = {panels, c_.k};
  const std::vector<ValueId> index = em.unflatten(b.grid_index(), grid);
  em.bind(c_.k_axis, index[1]);
  const ValueId written = b.mul(b.grid_index(), b.i64(tile_lanes)), first = b.mul(index[0], b.i64(tile_lanes));
  em.loop(LoopKind::kVector, b.i64(0), b.i64(tile_lanes), 1, [&](ValueId lane) {
    const ValueId channel = b.add(first, lane);
    em.bind(c_.channel_axis, channel);
    const bool cut_off = c_.channels % tile_lanes != 0;
    const ValueId inside = cut_off ? b.op(ScalarOp::kLt, {channel, b.i64(c_.channels)}) : -1;
    std::vector<std::vector<ValueId>> taps(3);
    for (int64_t i = 0; i < 3; ++i)
      for (int64_t j = 0; j < 3; ++j)
        em.scoped([&] {
          em.bind(c_.tap_row_axis, b.i64(i));
          em.bind(c_.tap_column_axis, b.i64(j));
          em.set_mask(inside);
          ValueId tap = em.emit(c_.weight);
          em.set_mask(-1);
          if (cut_off) tap = b.op(ScalarOp::kSelect, {inside, tap, b.constant(DType::kF32, 0)});
          taps[static_cast<size_t>(i)].push_back(tap);
        });
    ValueId at = b.add(written, lane);
    for (const auto& line : apply_both(b, form_.g, taps))
      for (ValueId x : line) {
        b.store(writer.output(panel_stage), at, x);
        at = b.add(at, b.i64(panels * c_.k * tile_lanes));
      }
  });
  writer.finish(panels * c_.k, Dim(panels * c_.k) * (tile_lanes * points * points * 6));
}

void WinogradEmitter::transform_products(KernelWriter& writer, int product_stage, int stage) const {
  Emitter& em = writer.emitter();
  KernelBuilder& b = em.builder();
  const int64_t points = form_.points(), outputs = form_.outputs;
  const std::vector<Dim> grid = tile_grid();
  const std::vector<ValueId> index = em.unflatten(b.grid_index(), grid);
  for (size_t i = 0; i < c_.batch_axes.size(); ++i) em.bind(c_.batch_axes[i], index[i]);
  ValueId base = b.i64(0);
  for (size_t i = 0; i < c_.batch_axes.size(); ++i) base = b.add(b.mul(base, em.dim(grid[i])), index[i]);
  const ValueId rows = em.dim(c_.extent(c_.row_axis)), columns = em.dim(c_.extent(c_.column_axis)),
                channels = b.i64(c_.channels);
  const ValueId row = b.mul(index[index.size() - 2], b.i64(outputs)), column = b.mul(index.back(), b.i64(outputs));
  base = b.mul(b.add(b.mul(b.add(b.mul(base, rows), row), columns), column), channels);
  const int products = em.buffer(kStageOperand + product_stage), out = writer.output(stage);
  const ValueId read = b.mul(b.grid_index(), channels), stride = em.dim(tiles() * c_.channels);
  em.hoist(c_.post);
  const auto transform = [&](bool guarded) {
    return [&, guarded] {
      em.scoped([&] {
        em.loop(LoopKind::kVector, b.i64(0), channels, 1, [&](ValueId lane) {
          em.bind(c_.channel_axis, lane);
          em.hoist(c_.post);
          std::vector<std::vector<ValueId>> sums(static_cast<size_t>(points));
          ValueId from = b.add(read, lane);
          for (auto& line : sums)
            for (int64_t j = 0; j < points; ++j) {
              line.push_back(b.load(products, from));
              from = b.add(from, stride);
            }
          const auto pixels = apply_both(b, form_.at, sums);
          for (int64_t i = 0; i < outputs; ++i)
            for (int64_t j = 0; j < outputs; ++j)
              em.scoped([&] {
                const ValueId y = b.add(row, b.i64(i)), x = b.add(column, b.i64(j));
                em.bind(c_.row_axis, y);
                em.bind(c_.column_axis, x);
                if (guarded)
                  em.set_mask(
                      b.op(ScalarOp::kAnd, {b.op(ScalarOp::kLt, {y, rows}), b.op(ScalarOp::kLt, {x, columns})}));
                em.bind_acc(pixels[static_cast<size_t>(i)][static_cast<size_t>(j)]);
                const ValueId offset = b.add(b.mul(b.add(b.mul(b.i64(i), columns), b.i64(j)), channels), lane);
                em.store_buffer(out, b.add(base, offset), em.emit(c_.post));
                em.set_mask(-1);
              });
        });
      });
      return std::vector<ValueId>{};
    };
  };
  const auto fits = [&](ValueId first, ValueId extent) {
    return b.op(ScalarOp::kLe, {b.add(first, b.i64(outputs)), extent});
  };
  b.if_else(b.op(ScalarOp::kAnd, {fits(row, rows), fits(column, columns)}), transform(false), transform(true));
  writer.finish(tiles(),
                tiles() * (c_.channels * (points * points * 6 + outputs * outputs * evaluation_cost(c_.post))));
}

}  // namespace tenon::codegen
