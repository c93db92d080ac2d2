#include <algorithm>
#include <limits>

#include "codegen/schedule/row_reduction.h"
#include "codegen/schedule/streams.h"

namespace tenon::codegen {

using ir::Combiner;
using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

namespace {

constexpr int64_t kUnrolledRow = 8;
constexpr int64_t kStreams = 3;  // of memory at once: prefetchers follow each by itself, and ask for more together

bool is_store(Expr e) {
  const ExprNode& n = e.node();
  return n.kind == ExprKind::kLoad && n.operand >= kRowStore && n.operand < kRowBuffer;
}
Expr offset_of(Expr load) { return {load.pool, load.node().args[0]}; }

}  // namespace

void RowEmitter::row(std::span<const ValueId> index) {
  for (const RowPass& p : rows_.passes) {
    em_.hoist(p.value);
    const Stage& s = lowering_.stage(p.stage);
    if (!s.reduces()) {
      store_scalar(p.stage, em_.emit(p.value), index);
      continue;
    }
    ValueId result = -1;
    const ValueId acc = s.is_arg() ? arg_reduce(p, s) : reduce(p, s.combiner, s.acc_dtype, p.value);
    em_.scoped([&] {
      em_.bind_acc(acc);
      result = em_.emit(p.post);
    });
    em_.bind_result(kStageOperand + p.stage, result);
    if (writer_.output(p.stage) >= 0) store_scalar(p.stage, result, index);
  }
  const bool any = std::any_of(rows_.maps.begin(), rows_.maps.end(), [](const RowMap& m) { return !m.stored; });
  if (any) store_maps();
}

void RowEmitter::bind_row(std::span<const ValueId> index) {
  for (size_t a = 0; a < rows_.outer; ++a) em_.bind(static_cast<int>(a), index[a]);
}

int64_t RowEmitter::rows_together() const {
  if (lowering_.gpu() || stream_ahead_bytes(lowering_.target.vector_bits) > 0 || rows_.passes.size() != 1 || !rows_.maps.empty()) return 1;
  const RowPass& p = rows_.passes[0];
  const Stage& s = lowering_.stage(p.stage);
  return s.reduces() && !s.is_arg() && p.keep.empty() && !streams(p.value).empty() ? kStreams : 1;
}

void RowEmitter::together(std::span<const Values> indices) {
  const RowPass& p = rows_.passes[0];
  const Stage& s = lowering_.stage(p.stage);
  const ValueId init = constant(b_, s.acc_dtype, ir::identity(s.combiner, s.acc_dtype));
  const Values sums = along(rows_.outer, Values(indices.size(), init), std::vector<Combiner>(indices.size(), s.combiner), [&](std::span<const ValueId> carried) {
    for (int factor : p.value.node().args)
      if (const Expr shared{p.value.pool, factor}; !uses_any_axis(shared, 0, rows_.outer)) em_.emit(shared);
    Values next;
    for (size_t i = 0; i < indices.size(); ++i)
      em_.scoped([&] {
        bind_row(indices[i]);
        next.push_back(accumulate(s.combiner, s.acc_dtype, p.value, carried[i]));
      });
    return next;
  });
  for (size_t i = 0; i < indices.size(); ++i)
    em_.scoped([&] {
      bind_row(indices[i]);
      em_.bind_acc(sums[i]);
      const ValueId result = em_.emit(p.post);
      if (writer_.output(p.stage) >= 0) store_scalar(p.stage, result, indices[i]);
    });
}

void RowEmitter::store_scalar(int stage, ValueId value, std::span<const ValueId> index) {
  const std::vector<Dim> outer = rows_.outer_axes();
  const size_t last = rows_.lanes_have_rows() ? static_cast<size_t>(rows_.lane_axis) : outer.size();
  b_.store(writer_.output(stage), row_major_offset(em_, outer, index.first(outer.size()), last), value);
}

Expr RowEmitter::position(const RowBuffer& buffer) const {
  if (buffer.map < 0) return row_major_position(em_.pool(), rows_.inner_axes(), static_cast<int>(rows_.outer));
  return offset_of(rows_.maps[static_cast<size_t>(buffer.map)].store);
}

void RowEmitter::keep(const RowPass& p) {
  for (const auto& [number, e] : p.keep) {
    const ValueId value = em_.emit(e);
    b_.store(em_.buffer(kRowBuffer + number), em_.emit(position(rows_.buffers[static_cast<size_t>(number)])), value);
  }
}

/// Loops over the row; the innermost axis in lanes, unless each lane has a row.
RowEmitter::Values RowEmitter::along(size_t axis, std::span<const ValueId> carried, const std::vector<Combiner>& combiners,
                                     const std::function<Values(std::span<const ValueId>)>& body) {
  if (axis == rows_.axes.size()) return body(carried);
  if (lowering_.gpu() && axis == rows_.outer && !rows_.lanes_have_rows() && axis + 1 < rows_.axes.size()) return along_flat(carried, combiners, body);
  const bool lanes = axis + 1 == rows_.axes.size() && !rows_.lanes_have_rows();
  const Dim extent = rows_.axes[axis];
  const bool unrolled = rows_.lanes_have_rows() && extent.is_const() && extent.value() <= kUnrolledRow;
  for (Expr e : rows_.values()) em_.hoist(is_store(e) ? offset_of(e) : e);
  return em_.loop(lanes ? LoopKind::kVector : unrolled ? LoopKind::kUnroll : LoopKind::kSerial, b_.i64(0), em_.dim(extent), 1, carried,
                  [&](ValueId iv, std::span<const ValueId> inner) {
                    em_.bind(static_cast<int>(axis), iv);
                    return along(axis + 1, inner, combiners, body);
                  }, lanes ? combiners : std::vector<Combiner>{});
}

/// One loop for all axes of the row, so that the lanes of a workgroup meet once and none is idle.
RowEmitter::Values RowEmitter::along_flat(std::span<const ValueId> carried, const std::vector<Combiner>& combiners,
                                          const std::function<Values(std::span<const ValueId>)>& body) {
  for (Expr e : rows_.values()) em_.hoist(is_store(e) ? offset_of(e) : e);
  return em_.loop(LoopKind::kVector, b_.i64(0), em_.dim(rows_.length()), 1, carried, [&](ValueId flat, std::span<const ValueId> inner) {
    const std::vector<ValueId> index = em_.unflatten(flat, rows_.inner_axes());
    for (size_t i = 0; i < index.size(); ++i) em_.bind(static_cast<int>(rows_.outer + i), index[i]);
    return body(inner);
  }, combiners);
}

std::vector<Expr> RowEmitter::streams(Expr value) const {
  std::vector<Expr> found;
  if (rows_.lanes_have_rows()) return found;
  visit(value, [&](int id, const ExprNode& n) {
    if (n.kind != ExprKind::kLoad || n.operand < 0 || static_cast<size_t>(n.operand) >= lowering_.group.operands.size()) return;
    const Tensor* constant = ir::constant_of(lowering_.group.operands[static_cast<size_t>(n.operand)].value);
    if (constant == nullptr || static_cast<int64_t>(constant->bytes()) <= lowering_.target.l2_bytes) return;
    const Expr load{value.pool, id};
    if (uses_any_axis(load, 0, rows_.outer)) found.push_back(load);
  });
  return found;
}

void RowEmitter::ask_ahead(std::span<const Expr> streamed) {
  const int64_t ahead = stream_ahead_bytes(lowering_.target.vector_bits);
  if (ahead == 0) return;
  for (Expr load : streamed)
    b_.prefetch(em_.buffer(load.node().operand), b_.add(em_.emit(offset_of(load)), b_.i64(ahead * 8 / bits(load.dtype()))));
}

ValueId RowEmitter::accumulate(Combiner combiner, DType dtype, Expr value, ValueId sum) {
  const ExprNode root = value.node();
  const bool fma = lowering_.target.has_fma && combiner == Combiner::kAdd && root.kind == ExprKind::kOp &&
                   root.op == ScalarOp::kMul && (dtype == DType::kF32 || dtype == DType::kF64);
  if (!fma) return b_.op(combine_op(combiner), {sum, em_.emit(value)});
  const ValueId x = em_.emit({value.pool, root.args[0]}), y = em_.emit({value.pool, root.args[1]});
  return b_.op(ScalarOp::kFma, {x, y, sum});
}

ValueId RowEmitter::reduce(const RowPass& p, Combiner combiner, DType dtype, Expr value) {
  const ValueId init = constant(b_, dtype, ir::identity(combiner, dtype));
  const std::vector<Expr> streamed = streams(value);
  return along(rows_.outer, std::span(&init, 1), {combiner}, [&](std::span<const ValueId> carried) {
    ask_ahead(streamed);
    const ValueId sum = accumulate(combiner, dtype, value, carried[0]);
    keep(p);
    return Values{sum};
  })[0];
}

/// The extreme value first, then the first (or last) position that holds it: both passes run in lanes.
ValueId RowEmitter::arg_reduce(const RowPass& p, const Stage& s) {
  const bool max = s.combiner == Combiner::kArgMax || s.combiner == Combiner::kArgMaxLast;
  const bool last = s.combiner == Combiner::kArgMinLast || s.combiner == Combiner::kArgMaxLast;
  const ValueId best = reduce(p, max ? Combiner::kMax : Combiner::kMin, s.acc_dtype, p.value);
  const ValueId none = b_.i64(last ? -1 : std::numeric_limits<int64_t>::max());
  const Expr at = row_major_position(em_.pool(), rows_.inner_axes(), static_cast<int>(rows_.outer));
  const ValueId found = along(rows_.outer, std::span(&none, 1), {last ? Combiner::kMax : Combiner::kMin},
                              [&](std::span<const ValueId> carried) {
    const ValueId v = em_.emit(p.value);
    ValueId same = b_.op(ScalarOp::kEq, {v, best});
    if (is_float(s.acc_dtype)) {
      const ValueId both = b_.op(ScalarOp::kAnd, {b_.op(ScalarOp::kIsNan, {v}), b_.op(ScalarOp::kIsNan, {best})});
      same = b_.op(ScalarOp::kOr, {same, both});
    }
    const ValueId position = b_.op(ScalarOp::kSelect, {same, em_.emit(at), none});
    return Values{b_.op(last ? ScalarOp::kMax : ScalarOp::kMin, {carried[0], position})};
  })[0];
  return b_.op(ScalarOp::kSelect, {b_.op(ScalarOp::kEq, {found, none}), b_.i64(0), found});
}

/// All values before any store: an output may hold what another map reads.
void RowEmitter::store_maps() {
  along(rows_.outer, {}, {}, [&](std::span<const ValueId>) {
    std::vector<std::pair<const RowMap*, ValueId>> values;
    for (const RowMap& m : rows_.maps) {
      if (!m.stored) values.emplace_back(&m, em_.emit(m.value));
    }
    for (const auto& [m, value] : values)
      b_.store(writer_.output(m->stage), em_.emit(offset_of(m->store)), value);
    return Values{};
  });
}

}  // namespace tenon::codegen
