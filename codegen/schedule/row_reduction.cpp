#include "codegen/schedule/row_reduction.h"

#include <algorithm>
#include <bit>
#include <set>

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ScalarOp;
using kir::LoopKind;
using kir::ValueId;

namespace {

constexpr int64_t kRowBlock = 8192;          // elements of one grid index
constexpr int64_t kMaxRowLanes = 256, kRowLanes = 128;  // of a workgroup; where the row's length is not known
constexpr int kVectorsOfRows = 4;            // vectors in flight where each lane has a row

/// Whether a quotient may end in a rounding to integers, where one more bit of error can show as a whole step.
bool rounds(const Rows& rows) {
  bool found = false;
  for (Expr e : rows.values()) {
    visit(e, [&](int, const ExprNode& n) {
      const bool to_int = n.kind == ExprKind::kCast && !is_float(n.dtype) && is_float(e.pool->node(n.args[0]).dtype);
      found |= to_int || (n.kind == ExprKind::kOp && (n.op == ScalarOp::kFloor || n.op == ScalarOp::kCeil ||
                                                      n.op == ScalarOp::kRound || n.op == ScalarOp::kTrunc));
    });
  }
  return found;
}

/// Loads of operands and of other kernels' stages; what a row keeps is neither.
std::vector<Expr> operand_reads(const Rows& rows) {
  std::vector<Expr> reads;
  const auto add = [&](Expr e) {
    if (!e.valid()) return;
    reads.push_back(e.pool->copy(e, [&](const ExprNode& n, std::span<const Expr>) -> Expr {
      const bool local = n.kind == ExprKind::kLoad && n.operand >= kRowStore && n.operand < kStageOperand;
      return local ? constant_expr(*e.pool, n.dtype) : Expr{};
    }));
  };
  for (const RowPass& p : rows.passes) {
    add(p.value);
    add(p.post);
  }
  for (const RowMap& m : rows.maps) add(m.value);
  return reads;
}

int64_t cost_of(const Rows& rows) {
  int64_t cost = 0;
  for (const RowPass& p : rows.passes) cost += evaluation_cost(p.value);
  for (const RowMap& m : rows.maps) cost += evaluation_cost(m.value);
  return cost;
}

void make_buffers(const Rows& rows, KernelWriter& writer) {
  Emitter& em = writer.emitter();
  for (size_t i = 0; i < rows.buffers.size(); ++i) {
    const RowBuffer& buffer = rows.buffers[i];
    const int made = buffer.map < 0
                         ? writer.builder().add_local("row" + std::to_string(i), buffer.dtype, rows.length().value())
                         : writer.output(rows.maps[static_cast<size_t>(buffer.map)].stage);
    em.set_buffer(kRowBuffer + static_cast<int>(i), made);
  }
}

/// A grid over the rows: the row itself is the unit of the "lanes" here.
Dim emit_rows(RowEmitter& emitter, const Rows& rows, Emitter& em) {
  kir::KernelBuilder& b = em.builder();
  const std::vector<Dim> outer = rows.outer_axes();
  const Dim count = ir::product(outer), length = rows.length();
  const int64_t together = emitter.rows_together();
  int64_t block = length.is_const() ? std::max<int64_t>(1, kRowBlock / std::max<int64_t>(1, length.value())) : 1;
  block = (block + together - 1) / together * together;
  const auto one = [&](ValueId flat) {
    const std::vector<ValueId> index = em.unflatten(flat, outer);
    for (size_t a = 0; a < outer.size(); ++a) em.bind(static_cast<int>(a), index[a]);
    emitter.row(index);
  };
  if (block == 1) {
    one(b.grid_index());
    return count;
  }
  const ValueId first = b.mul(b.grid_index(), b.i64(block));
  const ValueId last = b.op(ScalarOp::kMin, {b.add(first, b.i64(block)), em.dim(count)});
  ValueId rest = first;
  if (together > 1) {
    const ValueId step = b.i64(together);
    rest = b.add(first, b.mul(b.op(ScalarOp::kDiv, {b.sub(last, first), step}), step));
    em.loop(LoopKind::kSerial, first, rest, together, [&](ValueId flat) {
      std::vector<RowEmitter::Values> indices;
      for (int64_t i = 0; i < together; ++i) indices.push_back(em.unflatten(b.add(flat, b.i64(i)), outer));
      emitter.together(indices);
    });
  }
  em.loop(LoopKind::kSerial, rest, last, 1, one);
  return ir::ceil_div(count, block);
}

/// Lanes for the widest of the values, in several vectors: their sums do not wait for one another.
int rows_at_once(const Lowering& lowering, const Rows& rows) {
  int widest = 32;
  bool arg = false;
  for (Expr e : rows.values())
    visit(e, [&](int, const ExprNode& n) { if (is_float(n.dtype)) widest = std::max(widest, bits(n.dtype)); });
  for (const RowPass& p : rows.passes) arg |= lowering.group.stages[static_cast<size_t>(p.stage)].is_arg();
  const int vector = lowering.target.lanes(arg ? 64 : widest);
  int width = vector * (lowering.target.vector_registers >= 32 ? kVectorsOfRows : kVectorsOfRows / 2);
  const Dim lanes = rows.axes[static_cast<size_t>(rows.lane_axis)];
  while (lanes.is_const() && width > vector && width / 2 >= lanes.value()) width /= 2;
  return width;
}

/// On a GPU, a workgroup for each row, or an invocation.
Dim emit_rows_of_gpu(RowEmitter& emitter, const Rows& rows, Emitter& em, const Target& target) {
  if (!rows.lanes_have_rows()) {
    const Dim length = rows.length();
    const int64_t most = std::min<int64_t>(kMaxRowLanes, std::bit_floor(static_cast<uint64_t>(std::max(target.max_workgroup, 1))));
    int64_t lanes = std::min(kRowLanes, most);
    if (length.is_const())
      for (lanes = kShortRowOfWorkgroup; lanes < most && lanes * 4 <= length.value();) lanes *= 2;
    em.builder().kernel().lanes = static_cast<int>(lanes);
  }
  const std::vector<Dim> outer = rows.outer_axes();
  const std::vector<ValueId> index = em.unflatten(em.builder().grid_index(), outer);
  for (size_t a = 0; a < outer.size(); ++a) em.bind(static_cast<int>(a), index[a]);
  emitter.row(index);
  return ir::product(outer);
}

Dim emit_rows_in_lanes(RowEmitter& emitter, const Lowering& lowering, const Rows& rows, Emitter& em) {
  const Dim length = rows.length();
  const int width = rows_at_once(lowering, rows);
  const int64_t blocks = length.is_const() ? kRowBlock / std::max<int64_t>(1, length.value()) / width : 1;
  return emit_row_grid(em, rows.outer_axes(), static_cast<size_t>(rows.lane_axis), width * std::max<int64_t>(1, blocks),
                       [&](std::span<ValueId> index, ValueId lo, ValueId hi) {
    std::vector<ValueId> at(index.begin(), index.end());
    em.loop(LoopKind::kVector, lo, hi, 1, [&](ValueId iv) {
      em.bind(rows.lane_axis, iv);
      at[static_cast<size_t>(rows.lane_axis)] = iv;
      emitter.row(at);
    }, width);
  });
}

}  // namespace

Status schedule_rows(Lowering& lowering, std::span<const int> stages) {
  TENON_ASSIGN_OR_RETURN(const Rows rows, match_rows(lowering, stages));
  std::vector<int> writes, in_registers;
  for (const RowPass& p : rows.passes) {
    if (lowering.stage(p.stage).output != nullptr || stages.size() == 1) writes.push_back(p.stage);
    in_registers.push_back(p.stage);
  }
  for (const RowMap& m : rows.maps) writes.push_back(m.stage);
  KernelWriter writer(lowering, "rows", operand_reads(rows), writes, in_registers);
  make_buffers(rows, writer);
  if (!rounds(rows)) writer.emitter().use_reciprocals(static_cast<int>(rows.axes.size()) - 1);
  RowEmitter emitter(lowering, rows, writer);
  const Dim grid = lowering.gpu() ? emit_rows_of_gpu(emitter, rows, writer.emitter(), lowering.target)
                   : rows.lanes_have_rows() ? emit_rows_in_lanes(emitter, lowering, rows, writer.emitter())
                                          : emit_rows(emitter, rows, writer.emitter());
  writer.finish(grid, ir::product(rows.outer_axes()) * rows.length() * cost_of(rows));
  return {};
}

}  // namespace tenon::codegen
