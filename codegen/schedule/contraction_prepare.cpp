#include "codegen/schedule/contraction_prepare.h"

#include <algorithm>
#include <numeric>

#include "codegen/lower/pad.h"
#include "codegen/schedule/bf16_pairs.h"
#include "codegen/schedule/contraction_axes.h"
#include "codegen/schedule/contraction_taps.h"

namespace tenon::codegen {

using ir::Dim;
using ir::Expr;
using ir::ExprKind;
using ir::ExprNode;
using ir::ExprPool;
using ir::ScalarOp;

namespace {

/// The operand that stands for packed panels has the stage's own axes: batch, then K, then N.
struct PackedForm {
  std::vector<int> batch_axes, n_axes;
  std::vector<Dim> shape;
  std::optional<BlockCodes> codes;
};

/// Sorts the axes of B as they are in the stage; nullopt when B is no constant matrix.
std::optional<PackedForm> packed_form(const Lowering& lowering, int stage, Expr a, Expr b) {
  if (!reads_constants(lowering, b)) return std::nullopt;
  const Stage& s = lowering.group.stages[static_cast<size_t>(stage)];
  PackedForm form;
  form.codes = block_codes(lowering, stage, b);
  bool suffix = true;
  for (int axis = static_cast<int>(s.axes.size()) - 1; axis >= 0; --axis) {
    const bool in_a = uses_axis(a, axis), in_b = uses_axis(b, axis);
    suffix = suffix && in_b && !in_a;
    if (suffix) form.n_axes.insert(form.n_axes.begin(), axis);
    else if (in_b) form.batch_axes.insert(form.batch_axes.begin(), axis);
  }
  if (form.n_axes.empty()) return std::nullopt;
  for (int axis : form.batch_axes) form.shape.push_back(s.axes[static_cast<size_t>(axis)]);
  form.shape.insert(form.shape.end(), s.reduce_axes.begin(), s.reduce_axes.end());
  for (int axis : form.n_axes) form.shape.push_back(s.axes[static_cast<size_t>(axis)]);
  // A broadcast constant is not worth its product in memory.
  std::vector<int> operands;
  collect_operands(b, operands);
  Dim read = 0;
  for (int o : operands) read = read + ir::product(lowering.group.shape_of(o));
  const int64_t most = form.codes ? 2 * (kWordBytes * 8 / form.codes->bits) : 2;  // codes take a part of an element
  if (!ir::known_le(ir::product(form.shape), read * most)) return std::nullopt;
  const bool fixed = std::all_of(form.shape.begin(), form.shape.end(), [](Dim d) { return d.is_const() && d.value() > 0; });
  return fixed ? std::optional(form) : std::nullopt;
}

Expr packed_load(const Stage& s, const PackedForm& form, Expr b) {
  ExprPool& pool = *b.pool;
  std::vector<Expr> index;
  for (int axis : form.batch_axes) index.push_back(pool.index(axis));
  for (size_t i = 0; i < s.reduce_axes.size(); ++i) index.push_back(pool.index(static_cast<int>(s.axes.size() + i)));
  for (int axis : form.n_axes) index.push_back(pool.index(axis));
  return pool.load(kPackedOperand, b.dtype(), index);
}

/// What panels hold of the words of `dot`: pairs of bytes are widened where they are read.
Expr panel_element(const DotProduct& dot, Expr b) {
  return dot.pairs && b.node().kind == ExprKind::kCast ? Expr{b.pool, b.node().args[0]} : b;
}

/// Strides of the batch axes in B's flat offset, counted in matrices.
Status set_b_batch(Contraction& c) {
  IndexAlgebra algebra(*c.b.pool, c.extents);
  const Affine offset = algebra.affine({c.b.pool, c.b.node().args[0]});
  const int64_t matrix = c.k.value() * c.n.value();
  for (const Affine::Term& t : offset.terms) {
    const ExprNode& atom = c.b.pool->node(t.atom);
    if (atom.kind != ExprKind::kIndex || !t.coefficient.is_const()) return error(Code::kUnsupported, "B's batch axes are not plain");
    if (std::find(c.batch_axes.begin(), c.batch_axes.end(), atom.axis) == c.batch_axes.end()) continue;
    if (t.coefficient.value() % matrix != 0) return error(Code::kUnsupported, "B's batch axes are not outermost");
    c.b_batch.emplace_back(atom.axis, t.coefficient.value() / matrix);
  }
  return {};
}

/// Whether results of rows that follow each other lie side by side.
bool lies_along_rows(const Contraction& c) {
  ExprPool& pool = *c.stored.pool;
  IndexAlgebra algebra(pool, c.extents);
  bool along = false;
  for (const Affine::Term& t : algebra.affine({&pool, c.stored.node().args[0]}).terms) {
    const ExprNode& atom = pool.node(t.atom);
    if (atom.kind == ExprKind::kIndex && atom.axis == c.m_axis) along = t.coefficient.is_const(1);
    else if (uses_axis({&pool, t.atom}, c.m_axis)) return false;
  }
  return along;
}

/// What the kernel needs of A beside its elements, and what these are.
struct OfRows {
  Expr factor = {};  // Contraction::row_factor
  Expr group_scale = {}, group_sum = {};
  bool pairs = false, byte_pairs = false;
  std::span<const Beside> beside = {};
  std::span<const Contraction::Taps> taps = {};  // their indices over the stage's axes
};

Result<Contraction> prepare(Lowering& lowering, int stage, Expr stage_value, int padded, const PackedForm* form, const OfRows& of_rows = {}) {
  const Stage& s = lowering.stage(stage);
  Contraction c;
  c.padded = padded;
  c.axes = s.all_axes();
  c.acc_dtype = s.acc_dtype;
  c.lanes = lowering.target.lanes(bits(c.acc_dtype));
  const auto dims_of = shapes(lowering);
  const auto shape_of = [&](int operand) { return operand == kPackedOperand ? &form->shape : dims_of(operand); };
  Expr value = flatten_loads(stage_value, c.axes, shape_of);
  c.post = flatten_loads(s.post, c.axes, dims_of);
  std::vector<Expr*> roots = {&value, &c.post};
  const std::pair<Expr, Expr*> more[] = {
      {of_rows.factor, &c.row_factor}, {of_rows.group_scale, &c.group_scale}, {of_rows.group_sum, &c.group_sum}, {s.stored, &c.stored}};
  for (const auto& [from, to] : more) {
    if (!from.valid()) continue;
    *to = flatten_loads(from, c.axes, dims_of);
    roots.push_back(to);
  }
  for (const Beside& other : of_rows.beside)
    c.beside.push_back({other.stage, flatten_loads(other.post, c.axes, dims_of)});
  for (Contraction::Beside& other : c.beside) roots.push_back(&other.post);
  c.taps.assign(of_rows.taps.begin(), of_rows.taps.end());
  for (Contraction::Taps& taps : c.taps) roots.push_back(&taps.index);
  c.outer = static_cast<size_t>(merge_axes(*lowering.group.pool, roots, c.axes, static_cast<int>(s.axes.size())));
  TENON_RETURN_IF_ERROR(factors(s, value, c));
  TENON_RETURN_IF_ERROR(classify(c));
  c.pairs = of_rows.pairs;
  c.byte_pairs = of_rows.byte_pairs;
  const bool as_it_is = c.a.dtype() == c.acc_dtype || c.pairs || of_rows.group_sum.valid();
  if (form != nullptr) c.b_mode = Contraction::B::kPacked;
  else if (plain_offset(c, c.a)) {
    choose_wide(c);
    choose_rows(c);
  }
  bool keep_k = c.in_place();
  if (c.packed()) {
    // K's loops stay where A is read in place through them.
    Contraction kept = c;
    flatten_groups(kept, true);
    keep_k = as_it_is && direct_load(kept, kept.a, kept.k_axes, -1);
  }
  if (!c.taps.empty() && !keep_k) return error(Code::kUnsupported, "A is not read in place");
  flatten_groups(c, keep_k);
  if (c.packed()) TENON_RETURN_IF_ERROR(set_b_batch(c));
  if (c.m.is_const() && c.m.value() <= 1 && !c.packed()) return error(Code::kUnsupported, "one row");
  if (c.k.is_const() && c.k.value() <= 2) return error(Code::kUnsupported, "{} products an element", c.k.value());
  if (!(c.m * c.n * c.k).is_valid()) return error(Code::kUnsupported, "extents overflow");
  c.fma = lowering.target.has_fma && (c.acc_dtype == DType::kF32 || c.acc_dtype == DType::kF64);
  if (c.group_sum.valid()) c.k_unit = kWordBytes;
  c.a_direct = c.in_place() || (as_it_is && direct_load(c, c.a, c.k_axes, -1));
  c.rows_in_lanes = c.stored.valid() && (!c.m.is_const() || c.m.value() >= c.lanes) && lies_along_rows(c);
  choose_tile(c, lowering.target);
  if (form != nullptr && c.k_axes.size() == 1) c.codes = form->codes;
  choose_blocks(c, lowering.target);
  c.b_contiguous = c.b_mode == Contraction::B::kHere && direct_load(c, c.b, c.k_axes, c.n_axis) && c.b.dtype() == c.acc_dtype;
  c.direct_rows = c.b_contiguous || c.unpacks_codes() ? 2 * c.tile_rows : 0;
  return c;
}

}  // namespace

Expr load_of(const Lowering& lowering, int stage) {
  const Expr at[] = {lowering.group.pool->constant_int(DType::kI64, 0)};
  return lowering.group.pool->load(kStageOperand + stage, lowering.group.stages[static_cast<size_t>(stage)].dtype, at);
}

/// B as panels. A padded image that A reads is stored once with its zeros.
Result<Contraction> prepare_packed(Lowering& lowering, int stage, const DotProduct& dot, std::span<const Beside> beside) {
  const Stage s = lowering.stage(stage);
  Contraction probe;
  TENON_RETURN_IF_ERROR(factors(s, s.value, probe));
  if (s.axes.empty()) return error(Code::kUnsupported, "one output element");
  const int last = static_cast<int>(s.axes.size()) - 1;
  Expr a = probe.a, b = probe.b;
  if (uses_axis(a, last)) std::swap(a, b);
  const std::optional<PackedForm> form = packed_form(lowering, stage, a, b);
  if (!form) return error(Code::kUnsupported, "B is not constant");
  const auto product_of = [&](Expr x) {
    const Expr args[] = {x, packed_load(s, *form, b), constant_expr(*b.pool, b.dtype())};
    return b.pool->op(s.value.node().op, std::span(args).first(s.value.node().args.size()));
  };
  if (!beside.empty() && form->codes) return error(Code::kUnsupported, "B stays codes of blocks");
  std::optional<Padded> padded;
  std::optional<Result<Contraction>> found;
  const auto try_padding = [&](std::span<const Contraction::Taps> taps, std::span<const std::optional<int64_t>> halo) {
    padded = materialise_padding(lowering, stage, a, 0, false, halo);
    if (!padded) return;
    const Expr read = lowering.group.pool->load(kStageOperand + padded->stage, a.dtype(), padded->index);
    found = prepare(lowering, stage, product_of(read), padded->stage, &*form, {.byte_pairs = dot.pairs, .beside = beside, .taps = taps});
    if (found->ok() && (*found)->a_direct) return;
    lowering.group.stages.pop_back();
    padded.reset();
  };
  const std::optional<PaddedTaps> taps = taps_in_padding(lowering, stage, a, b);
  if (taps) try_padding(taps->taps, {});
  if (padded) {  // how far beyond the image is read depends on the tile
    const std::vector<std::optional<int64_t>> halo = taps->halo((*found)->tile_rows);
    lowering.group.stages.pop_back();
    try_padding(taps->taps, halo);
  }
  if (!padded) try_padding({}, {});
  if (!padded) found = prepare(lowering, stage, product_of(a), -1, &*form, {.factor = dot.row_factor, .byte_pairs = dot.pairs, .beside = beside});
  if (!found->ok()) return std::move(*found);
  Contraction c = std::move(**found);
  if (c.m.is_const(1) && lies_along_k(lowering, s, b))
    return error(Code::kUnsupported, "one row, and B lies along K");
  std::vector<Expr> parts = {panel_element(dot, b)};
  for (const Beside& other : beside) parts.push_back(other.b);
  if (c.codes) add_code_stages(lowering, stage, form->batch_axes, form->n_axes, c);
  else
    c.packed_stage =
        add_packed_stage(lowering, stage, parts, form->batch_axes, form->n_axes, s.reduce_axes, c.tile_lanes);
  c.b = load_of(lowering, c.packed_stage);
  return c;
}

namespace {

/// The stage that sums the bytes of each group, and a load of it at the group of step k of the stage's axes.
Expr add_group_sums(Lowering& lowering, int stage, const BlockBytes& bytes, int64_t group, int& number) {
  ExprPool& pool = *lowering.group.pool;
  const Stage& s = lowering.stage(stage);
  const size_t k_axis = s.axes.size();
  Stage sums;
  std::vector<Expr> place, index(k_axis + 1);
  for (size_t axis = 0; axis < k_axis; ++axis) {
    if (!uses_axis(bytes.load, static_cast<int>(axis))) continue;
    index[axis] = pool.index(static_cast<int>(sums.axes.size()));
    sums.axes.push_back(s.axes[axis]);
    place.push_back(pool.index(static_cast<int>(axis)));
  }
  const Expr groups = pool.constant_int(DType::kI64, group);
  sums.axes.push_back(s.reduce_axes[0].value() / group);
  sums.reduce_axes = {Dim(group)};
  const int outer = static_cast<int>(sums.axes.size());
  index[k_axis] = pool.index(outer - 1) * groups + pool.index(outer);
  sums.shape = sums.axes;
  sums.dtype = sums.acc_dtype = DType::kI32;
  const Expr value = pool.copy(pool.cast(bytes.load, DType::kI32), [&](const ExprNode& n, std::span<const Expr>) -> Expr {
    return n.kind == ExprKind::kIndex ? index[static_cast<size_t>(n.axis)] : Expr{};
  });
  sums.value = IndexAlgebra(pool, sums.all_axes()).simplify(value);
  sums.post = pool.acc(0, DType::kI32);
  number = static_cast<int>(lowering.group.stages.size());
  lowering.group.stages.push_back(std::move(sums));
  place.push_back(ir::floor_div(pool.index(static_cast<int>(k_axis)), pool.constant_int(DType::kI64, group / kWordBytes)));
  return pool.load(kStageOperand + number, DType::kI32, place);
}

}  // namespace

/// Bytes by codes, both with scales for groups of K: sums of a group are exact, in integers.
Result<Contraction> prepare_block_dot(Lowering& lowering, int stage, DotProduct& dot) {
  const Stage s = lowering.stage(stage);
  ExprPool& pool = *lowering.group.pool;
  Contraction probe;
  TENON_RETURN_IF_ERROR(factors(s, s.value, probe));
  if (s.axes.empty() || probe.dot) return error(Code::kUnsupported, "one output element");
  const int k_axis = static_cast<int>(s.axes.size());
  if (uses_axis(probe.a, k_axis - 1)) std::swap(probe.a, probe.b);
  std::optional<PackedForm> form = packed_form(lowering, stage, probe.a, probe.b);
  const std::optional<BlockBytes> bytes = form && form->codes ? block_bytes(lowering, stage, probe.a) : std::nullopt;
  if (!bytes) return error(Code::kUnsupported, "not bytes by codes, with scales for blocks");
  BlockCodes& codes = *form->codes;
  codes.group = std::gcd(codes.group, bytes->group);
  if (codes.group % codes.codes_per_word() != 0) return error(Code::kUnsupported, "groups of {}", codes.group);
  const std::optional<Padded> words = materialise_words(lowering, stage, bytes->load, k_axis, true);
  if (!words) return error(Code::kUnsupported, "K does not run along A's bytes");
  dot.words = words->stage;
  const Expr group_sum = add_group_sums(lowering, stage, *bytes, codes.group, dot.column_sums);
  const Dim steps = s.reduce_axes[0].value() / kWordBytes;
  form->shape[form->batch_axes.size()] = steps;
  Stage& rewritten = lowering.stage(stage);
  rewritten.reduce_axes = {steps};
  const bool is_signed = lowering.target.has_dot4_signed && !lowering.target.has_dot4 && codes.bits < 8;
  const Expr args[] = {pool.load(kStageOperand + words->stage, DType::kI32, words->index), packed_load(rewritten, *form, pool.constant_int(DType::kI32, 0)),
                       pool.constant_int(DType::kI32, 0)};
  const Expr product = pool.op(is_signed ? ScalarOp::kDot4Signed : ScalarOp::kDot4, args);
  TENON_ASSIGN_OR_RETURN(Contraction c, prepare(lowering, stage, product, -1, &*form, {{}, at_step(bytes->scale, k_axis, kWordBytes), group_sum}));
  if (!c.a_direct || !c.codes) return error(Code::kUnsupported, "A's words are not read in place");
  add_code_stages(lowering, stage, form->batch_axes, form->n_axes, c);
  c.b = load_of(lowering, c.packed_stage);
  return c;
}

/// Factors that are bf16, as words of two.
Result<Contraction> prepare_pairs(Lowering& lowering, int stage, DotProduct& dot, std::span<const Beside> beside) {
  const Stage s = lowering.stage(stage);
  ExprPool& pool = *lowering.group.pool;
  Contraction probe;
  TENON_RETURN_IF_ERROR(factors(s, s.value, probe));
  if (s.axes.empty() || probe.dot) return error(Code::kUnsupported, "one output element");
  const int last = static_cast<int>(s.axes.size()) - 1;
  if (uses_axis(probe.a, last)) std::swap(probe.a, probe.b);
  std::optional<PackedForm> form = packed_form(lowering, stage, probe.a, probe.b);
  const std::optional<BF16Pairs> pairs = form ? as_bf16_pairs(lowering, stage, probe.a, probe.b) : std::nullopt;
  if (!pairs) return error(Code::kUnsupported, "not widened from bf16, or K does not run along A");
  const size_t reduced = static_cast<size_t>(pairs->axis) - s.axes.size();
  form->shape[form->batch_axes.size() + reduced] = pairs->words;
  Stage& rewritten = lowering.stage(stage);
  rewritten.reduce_axes[reduced] = pairs->words;
  const std::vector<Dim> k_extents = rewritten.reduce_axes;
  const Expr product = pairs->a * packed_load(rewritten, *form, pool.constant_int(DType::kI32, 0));
  TENON_ASSIGN_OR_RETURN(Contraction c, prepare(lowering, stage, product, -1, &*form, {.pairs = true, .beside = beside}));
  if (!c.a_direct || !pairs_pay(lowering.target, c.m, c.n)) return error(Code::kUnsupported, "no faster in pairs");
  std::vector<Expr> parts = {pairs->b};
  for (const Beside& other : beside) {
    const std::optional<Expr> words = constant_bf16_pairs(lowering, other.b, pairs->axis, pairs->extent);
    if (!words) return error(Code::kUnsupported, "factors beside it are not bf16");
    parts.push_back(*words);
  }
  c.packed_stage = add_packed_stage(lowering, stage, parts, form->batch_axes, form->n_axes, k_extents, c.tile_lanes);
  c.b = load_of(lowering, c.packed_stage);
  dot.words = pairs->stage;
  return c;
}

/// A padded image is stored once with its zeros: B then needs no guards, and often no packing.
Result<Contraction> prepare_here(Lowering& lowering, int stage) {
  const Expr value = lowering.stage(stage).value;
  TENON_ASSIGN_OR_RETURN(Contraction c, prepare(lowering, stage, value, -1, nullptr));
  constexpr int64_t kSlack = 64;  // the widest tile
  for (int f : value.node().args) {
    const Expr factor{value.pool, f};
    const std::optional<Padded> padded = materialise_padding(lowering, stage, factor, kSlack, true);
    if (!padded) continue;
    const Expr read = value.pool->load(kStageOperand + padded->stage, factor.dtype(), padded->index);
    Result<Contraction> better = prepare(lowering, stage, substitute(value, {{f, read}}), padded->stage, nullptr);
    if (better.ok()) return better;
    lowering.group.stages.pop_back();
  }
  return c;
}

Result<Contraction> prepare_panels(Lowering& lowering, int stage) {
  const Stage& s = lowering.stage(stage);
  const PackedForm form{{0}, {2}, {s.axes[0], s.reduce_axes[0], s.axes[2]}, {}};
  return prepare(lowering, stage, s.value, -1, &form);
}

}  // namespace tenon::codegen
