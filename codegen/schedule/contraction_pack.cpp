#include <algorithm>

#include "codegen/schedule/contraction.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ExprPool;

bool reads_constants(const Lowering& lowering, Expr e) {
  std::vector<int> operands;
  collect_operands(e, operands);
  return !operands.empty() && std::all_of(operands.begin(), operands.end(), [&](int o) {
    if (o >= kStageOperand) o = lowering.group.stages[static_cast<size_t>(o - kStageOperand)].same_memory_as;
    return o >= 0 && o < kStageOperand && static_cast<size_t>(o) < lowering.group.operands.size() &&
           ir::constant_of(lowering.group.operands[static_cast<size_t>(o)].value) != nullptr;
  });
}

int add_packed_stage(Lowering& lowering, int stage, std::span<const Expr> parts, std::span<const int> batch_axes,
                     std::span<const int> n_axes, std::span<const Dim> k_extents, int64_t tile_lanes) {
  ExprPool& pool = *lowering.group.pool;
  const Stage& s = lowering.stage(stage);
  std::vector<Dim> extents = s.axes;
  extents.insert(extents.end(), k_extents.begin(), k_extents.end());
  const auto extent = [&](int axis) { return extents[static_cast<size_t>(axis)]; };
  Stage packed;
  std::vector<Expr> replacement(extents.size());
  const auto add_axis = [&](Dim size) {
    packed.axes.push_back(size);
    return pool.index(static_cast<int>(packed.axes.size()) - 1);
  };
  for (int axis : batch_axes) replacement[static_cast<size_t>(axis)] = add_axis(extent(axis));
  int64_t n = 1;
  for (int axis : n_axes) n *= extent(axis).value();
  const Expr tile = add_axis((n + tile_lanes - 1) / tile_lanes);
  for (size_t axis = s.axes.size(); axis < extents.size(); ++axis) replacement[axis] = add_axis(extents[axis]);
  const auto i64 = [&](int64_t value) { return pool.constant_int(DType::kI64, value); };
  const Expr lane = add_axis(tile_lanes * static_cast<int64_t>(parts.size()));
  const bool cut_off = n % tile_lanes != 0;
  Expr value;
  for (size_t p = parts.size(); p-- > 0;) {
    const int64_t first = static_cast<int64_t>(p) * tile_lanes;
    const Expr column = tile * i64(tile_lanes) + (first == 0 ? lane : lane - i64(first));
    int64_t inner = 1;
    for (size_t i = n_axes.size(); i-- > 0;) {
      Expr index = inner == 1 ? column : ir::floor_div(column, i64(inner));
      if (i > 0) index = ir::mod(index, pool.dim(extent(n_axes[i])));
      replacement[static_cast<size_t>(n_axes[i])] = index;
      inner *= extent(n_axes[i]).value();
    }
    Expr own, inside;  // of the lanes this part's, of those the ones that have a column; invalid: all
    if (parts.size() > 1) inside = own = lane >= i64(first) && lane < i64(first + tile_lanes);
    if (cut_off) inside = own.valid() ? own && column < i64(n) : column < i64(n);
    const Expr element = pool.copy(parts[p], [&](const ExprNode& node, std::span<const Expr> args) -> Expr {
      if (node.kind == ExprKind::kIndex) return replacement[static_cast<size_t>(node.axis)];
      if (node.kind != ExprKind::kLoad || !inside.valid()) return {};
      if (!node.guarded)
        return pool.load_guarded(node.operand, node.dtype, args, inside, constant_expr(pool, node.dtype));
      return pool.load_guarded(node.operand, node.dtype, args.first(args.size() - 2), inside && args[args.size() - 2],
                               args.back());
    });
    value = value.valid() ? ir::select(own, element, value) : element;
  }
  packed.value = IndexAlgebra(pool, packed.axes).simplify(value);
  packed.dtype = packed.acc_dtype = parts[0].dtype();
  packed.shape = packed.axes;
  lowering.group.stages.push_back(std::move(packed));
  return static_cast<int>(lowering.group.stages.size()) - 1;
}

void add_code_stages(Lowering& lowering, int stage, std::span<const int> batch_axes, std::span<const int> n_axes, Contraction& c) {
  const BlockCodes& codes = *c.codes;
  const int k_axis = static_cast<int>(lowering.stage(stage).axes.size());
  const auto add = [&](Expr factor, int64_t of_k) {
    const Dim extent = c.k.value() * c.k_unit / of_k;
    return add_packed_stage(lowering, stage, std::span(&factor, 1), batch_axes, n_axes, std::span(&extent, 1),
                            c.tile_lanes);
  };
  c.packed_stage = add(word_of_codes(codes, k_axis), codes.codes_per_word());
  c.scale_stage = add(at_step(codes.scale, k_axis, codes.group), codes.group);
  if (codes.zero.node().kind != ExprKind::kConst) c.zero_stage = add(at_step(codes.zero, k_axis, codes.group), codes.group);
}

}  // namespace tenon::codegen
