#include "codegen/schedule/contraction.h"

#include "codegen/schedule/contraction_axes.h"
#include "codegen/schedule/contraction_beside.h"
#include "codegen/schedule/contraction_prepare.h"
#include "codegen/schedule/tiled_contraction.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;

namespace {

std::string describe(const Contraction& c) {
  std::string text = fmt::format("contraction {}x{}", c.tile_rows, c.tile_lanes);
  if (!c.beside.empty()) text += fmt::format(" of {} products", c.parts());
  if (c.dot) text += " of bytes";
  if (c.byte_pairs) text += " of pairs of bytes";
  if (c.pairs) text += " of pairs of bf16";
  const ExprNode& factor = c.a.node();
  if (factor.kind == ExprKind::kCast && is_float(factor.dtype) && bits(c.a.pool->node(factor.args[0]).dtype) < bits(factor.dtype))
    text += fmt::format(" of {}", name(c.a.pool->node(factor.args[0]).dtype));
  if (c.codes) text += fmt::format(" packed in {} bits", c.codes->bits);
  else if (c.packed()) text += " packed";
  if (c.stored.valid()) text += ", stored transposed";
  if (!c.taps.empty()) text += ", taps that meet the image";
  return text + fmt::format(", blocks {}x{}", c.m_block, c.k_block);
}

void emit_contraction(Lowering& lowering, const Contraction& c, int stage) {
  std::vector<Expr> reads = {c.a, c.b, c.post, c.row_factor, c.group_scale, c.group_sum};
  for (int shared : {c.scale_stage, c.zero_stage})
    if (shared >= 0) reads.push_back(load_of(lowering, shared));
  std::vector<int> in_registers;
  for (const Contraction::Beside& other : c.beside) {
    reads.push_back(other.post);
    in_registers.push_back(other.stage);
  }
  KernelWriter writer(lowering, "contraction", reads, std::span<const int>(&stage, 1), in_registers);
  const Dim batch = ir::product(extents_of(c, c.batch_axes));
  ContractionEmitter(c, writer, writer.output(stage)).emit();
  writer.finish(batch * ir::ceil_div(c.m, c.m_block) * c.n_tiles(), batch * c.m * c.n * c.k * (2 * c.parts()));
  lowering.out.tunables.push_back(c.tunable);
}

/// The kernels that a prepared contraction needs first, and its own.
Status emit_prepared(Lowering& lowering, const Contraction& c, int stage, const DotProduct& dot) {
  if (c.dot || c.pairs || c.byte_pairs) TENON_RETURN_IF_ERROR(schedule_operands(lowering, dot));
  for (int map : {c.packed_stage, c.scale_stage, c.zero_stage, c.padded})
    if (map >= 0) TENON_RETURN_IF_ERROR(schedule_map(lowering, std::span<const int>(&map, 1)));
  emit_contraction(lowering, c, stage);
  lowering.out.implementation = describe(c);
  return {};
}

}  // namespace

Status schedule_panels(Lowering& lowering, int stage, const std::function<Result<int>(int64_t tile_lanes)>& panels) {
  TENON_ASSIGN_OR_RETURN(Contraction c, prepare_panels(lowering, stage));
  TENON_ASSIGN_OR_RETURN(c.packed_stage, panels(c.tile_lanes));
  c.b = load_of(lowering, c.packed_stage);
  emit_contraction(lowering, c, stage);
  return {};
}

Result<Contraction> classify_contraction(Lowering& lowering, int stage) {
  const Stage& s = lowering.stage(stage);
  Contraction c;
  c.axes = s.all_axes();
  c.acc_dtype = s.acc_dtype;
  Expr value = flatten_loads(s.value, c.axes, shapes(lowering));
  c.post = flatten_loads(s.post, c.axes, shapes(lowering));
  Expr* roots[] = {&value, &c.post};
  c.outer = static_cast<size_t>(merge_axes(*lowering.group.pool, roots, c.axes, static_cast<int>(s.axes.size())));
  TENON_RETURN_IF_ERROR(factors(s, value, c));
  TENON_RETURN_IF_ERROR(classify(c));
  flatten_groups(c, false);
  if (c.k.is_const() && c.k.value() <= 2) return error(Code::kUnsupported, "{} products an element", c.k.value());
  if (!(c.m * c.n * c.k).is_valid()) return error(Code::kUnsupported, "extents overflow");
  c.fma = lowering.target.has_fma && (c.acc_dtype == DType::kF32 || c.acc_dtype == DType::kF64);
  return c;
}

Status schedule_contraction(Lowering& lowering, int stage) {
  const Stage whole = lowering.stage(stage);
  const size_t stages = lowering.group.stages.size();
  if (lowering.gpu()) {
    if (const auto groups = divided_axis(whole)) split_axis(lowering.stage(stage), groups->first, groups->second);
    const Status done = schedule_contraction_on_gpu(lowering, stage);
    if (!done.ok()) lowering.stage(stage) = whole;
    return done;
  }
  if (const auto groups = divided_axis(whole)) split_axis(lowering.stage(stage), groups->first, groups->second);
  put_constant_innermost(lowering, stage);
  const Stage plain = lowering.stage(stage);
  const auto undo = [&] {
    lowering.group.stages.resize(stages);
    lowering.stage(stage) = plain;
  };
  std::optional<DotProduct> dot;
  Result<Contraction> prepared = error(Code::kUnsupported, "no words");
  for (const bool pairs : {false, true}) {
    dot.emplace();
    prepared = pairs ? prepare_pairs(lowering, stage, *dot) : prepare_block_dot(lowering, stage, *dot);
    if (prepared.ok()) break;
    undo();
  }
  if (!prepared.ok()) {
    dot = rewrite_as_dot_product(lowering, stage);
    prepared = prepare_packed(lowering, stage, dot ? *dot : DotProduct{});
  }
  if (!prepared.ok() && dot) {
    undo();
    prepared = prepare_packed(lowering, stage, {});
  }
  if (!prepared.ok()) {
    lowering.group.stages.resize(stages);
    if (plain.stored.valid()) lowering.stage(stage) = whole;
    prepared = prepare_here(lowering, stage);
  }
  if (!prepared.ok()) {
    lowering.group.stages.resize(stages);
    lowering.stage(stage) = whole;
    return std::move(prepared).status();
  }
  return emit_prepared(lowering, *prepared, stage, dot.value_or(DotProduct{}));
}

Status schedule_beside(Lowering& lowering, int stage, std::span<const Beside> beside) {
  if (lowering.gpu()) return error(Code::kUnsupported, "GPUs have a kernel for each");
  const Stage plain = lowering.stage(stage);
  const size_t stages = lowering.group.stages.size();
  const auto undo = [&] {
    lowering.group.stages.resize(stages);
    lowering.stage(stage) = plain;
  };
  DotProduct dot;
  Result<Contraction> prepared = prepare_pairs(lowering, stage, dot, beside);
  if (!prepared.ok()) {
    undo();
    prepared = prepare_packed(lowering, stage, {}, beside);
  }
  if (!prepared.ok()) {
    undo();
    return std::move(prepared).status();
  }
  return emit_prepared(lowering, *prepared, stage, dot);
}

}  // namespace tenon::codegen
