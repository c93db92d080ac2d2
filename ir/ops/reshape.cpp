#include <algorithm>

#include "ir/ops/body_helpers.h"
#include "ir/ops/families.h"

/// Ops that give the same elements another shape, and those that read shapes.
namespace tenon::ir {
namespace {

// ---- What they share

// All of them are tenon.reshape once the shape is known in symbols that earlier values define.
Result<std::vector<Value*>> decompose_reshape(Node& node, Builder& builder) {
  TENON_RETURN_IF_ERROR(require_known_shape(node));
  return std::vector<Value*>{builder.make("tenon.reshape", {node.input(0)}, {{"dims", output_dims(node)}})};
}

// The evaluated node has constant types: its output shape is what inference says.
Status eval_reshape(EvalContext& c) {
  const Type& type = c.node.output(0)->type();
  if (!type.is_ranked_tensor() || !type.tensor().is_static())
    return error(Code::kInvalidArgument, "the new shape is not known");
  Shape shape;
  for (const Dim& d : *type.tensor().dims) shape.push_back(d.value());
  TENON_ASSIGN_OR_RETURN(Tensor out, c.tensor(0).reshaped(std::move(shape)));
  c.outputs[0] = std::move(out);
  return {};
}

void keep_dim_values(InferContext& c) {
  const Type& type = c.node().output(0)->type();
  if (!type.is_ranked_tensor() || type.tensor().rank() > 1) return;
  if (std::optional<std::vector<Dim>> values = c.dim_values(0)) c.set_dim_values(0, std::move(*values));
}

// ---- Reshape

// -1 takes what the other dims leave of `count`.
Result<Dim> inferred_dim(const std::optional<std::vector<Dim>>& from, Dim rest, InferContext& c, int axis) {
  if (!from) return c.fresh_dim(0, axis);
  const Dim count = product(*from);
  if (rest.is_const(0)) return c.fail("-1 cannot be inferred beside a dim of 0");
  if (const std::optional<Dim> exact = exact_div(count, rest)) return *exact;
  if (count.is_const() && rest.is_const())
    return c.fail("{} elements do not divide into rows of {}", count.value(), rest.value());
  return floor_div(count, rest);
}

Result<std::vector<Dim>> reshaped_dims(InferContext& c, const std::vector<Dim>& wanted) {
  const std::optional<std::vector<Dim>> from = c.ranked(0) ? std::optional(c.shape(0)) : std::nullopt;
  const bool allow_zero = c.node().attr_int("allowzero", 0) != 0;
  std::vector<Dim> out;
  int infer_at = -1;
  Dim rest = 1;
  for (size_t i = 0; i < wanted.size(); ++i) {
    Dim d = wanted[i];
    if (d.is_const(-1)) {
      if (infer_at >= 0) return c.fail("the shape has more than one -1");
      infer_at = static_cast<int>(i);
      out.emplace_back(1);
      continue;
    }
    if (d.is_const() && d.value() < 0) return c.fail("the shape has the dim {}", d.value());
    if (d.is_const(0) && !allow_zero) {
      if (from && i >= from->size()) return c.fail("dim {} is copied from a tensor of rank {}", i, from->size());
      d = from ? (*from)[i] : c.fresh_dim(0, static_cast<int>(i));
    }
    rest = rest * d;
    out.push_back(d);
  }
  if (infer_at >= 0) {
    TENON_ASSIGN_OR_RETURN(out[static_cast<size_t>(infer_at)], inferred_dim(from, rest, c, infer_at));
  } else if (from && known_ne(product(*from), rest)) {
    return c.fail("{} cannot be reshaped to {}", to_string(c.in(0)), to_string(TensorType(c.dtype(0), out)));
  }
  return out;
}

// Only the shape's length is known: the rank.
void infer_rank_from_length(InferContext& c, int shape_input) {
  if (!c.ranked(shape_input) || c.shape(shape_input).size() != 1 || !c.shape(shape_input)[0].is_const() ||
      c.shape(shape_input)[0].value() > 64) {
    c.set(0, TensorType::unranked(c.dtype(0)));
    return;
  }
  std::vector<Dim> dims;
  for (int i = 0; i < c.shape(shape_input)[0].value(); ++i) dims.push_back(c.fresh_dim(0, i));
  c.set(0, TensorType(c.dtype(0), std::move(dims)));
}

Status infer_reshape(InferContext& c) {
  const std::optional<std::vector<Dim>> wanted = c.dim_values(1);
  if (!wanted || std::ranges::any_of(*wanted, is_data)) {  // 0 and -1 would mean something else
    infer_rank_from_length(c, 1);
    return {};
  }
  TENON_ASSIGN_OR_RETURN(std::vector<Dim> dims, reshaped_dims(c, *wanted));
  c.set(0, TensorType(c.dtype(0), std::move(dims)));
  keep_dim_values(c);
  return {};
}

// ---- Flatten

Status infer_flatten(InferContext& c) {
  if (!c.ranked(0)) {
    c.set(0, TensorType(c.dtype(0), {c.fresh_dim(0, 0), c.fresh_dim(0, 1)}));
    return {};
  }
  const std::span<const Dim> dims = c.shape(0);
  const int64_t rank = static_cast<int64_t>(dims.size());
  int64_t axis = c.node().attr_int("axis", 1);
  if (axis < -rank || axis > rank) return c.fail("axis {} is outside [-{}, {}]", axis, rank, rank);
  if (axis < 0) axis += rank;
  const size_t at = static_cast<size_t>(axis);
  c.set(0, TensorType(c.dtype(0), {product(dims.first(at)), product(dims.subspan(at))}));
  return {};
}

// ---- Squeeze, Unsqueeze

Status infer_squeeze(InferContext& c) {
  c.set(0, TensorType::unranked(c.dtype(0)));
  if (!c.ranked(0)) return {};
  const std::vector<Dim>& dims = c.shape(0);
  TENON_ASSIGN_OR_RETURN(const auto axes, axes_input(c, 1, static_cast<int64_t>(dims.size())));
  if (c.has(1) && !axes) return {};
  std::vector<Dim> out;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (axes) {
      const bool removed = std::ranges::find(*axes, static_cast<int64_t>(i)) != axes->end();
      if (removed && known_ne(dims[i], 1)) return c.fail("axis {} of {} cannot be squeezed", i, to_string(c.in(0)));
      if (!removed) out.push_back(dims[i]);
    } else {
      if (!dims[i].is_const() && !known_ne(dims[i], 1)) return {};  // it may be 1 at run time
      if (!dims[i].is_const(1)) out.push_back(dims[i]);
    }
  }
  c.set(0, TensorType(c.dtype(0), std::move(out)));
  keep_dim_values(c);
  return {};
}

Status infer_unsqueeze(InferContext& c) {
  c.set(0, TensorType::unranked(c.dtype(0)));
  if (!c.ranked(0)) return {};
  const std::optional<std::vector<int64_t>> raw = known_ints(c, 1);
  if (!raw) return {};
  std::vector<Dim> out = c.shape(0);
  Result<std::vector<int64_t>> axes = normalize_axes(*raw, static_cast<int64_t>(out.size() + raw->size()));
  if (!axes.ok()) return c.fail_text(axes.status().what());
  std::ranges::sort(*axes);
  for (int64_t axis : *axes) out.insert(out.begin() + axis, Dim(1));
  c.set(0, TensorType(c.dtype(0), std::move(out)));
  keep_dim_values(c);
  return {};
}

// ---- Shape, Size

std::pair<int64_t, int64_t> shape_range(const Node& node, int64_t rank) {
  const auto clamp = [&](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + rank : v, 0, rank); };
  const int64_t start = clamp(node.attr_int("start", 0));
  return {start, std::max(start, clamp(node.attr_int("end", rank)))};
}

Status infer_shape(InferContext& c) {
  if (!c.ranked(0)) {
    c.set(0, TensorType(DType::kI64, {c.fresh_dim(0, 0)}));
    return {};
  }
  const std::vector<Dim>& dims = c.shape(0);
  const auto [start, end] = shape_range(c.node(), static_cast<int64_t>(dims.size()));
  c.set(0, TensorType(DType::kI64, {Dim(end - start)}));
  c.set_dim_values(0, std::vector<Dim>(dims.begin() + start, dims.begin() + end));
  return {};
}

Status eval_shape(EvalContext& c) {
  const Tensor& in = c.tensor(0);
  const auto [start, end] = shape_range(c.node, in.rank());
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, DType::kI64, {end - start}));
  for (int64_t i = start; i < end; ++i) out->set_int(i - start, in.dim(i));
  return {};
}

Status infer_size(InferContext& c) {
  c.set(0, TensorType(DType::kI64, {}));
  if (c.ranked(0)) c.set_dim_values(0, {product(c.shape(0))});
  return {};
}

Status eval_size(EvalContext& c) {
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, DType::kI64, {}));
  out->set_int(0, c.tensor(0).size());
  return {};
}

Result<std::vector<Value*>> decompose_dim_values(Node& node, Builder& builder) {
  const std::optional<std::vector<Dim>>& values = node.output()->dim_values();
  if (!values) return error(Code::kUnsupported, "the rank of the input is not known");
  const int64_t scalar = node.is("Size");
  return std::vector<Value*>{builder.make("tenon.dim_values", {}, {{"dims", *values}, {"scalar", scalar}})};
}

}  // namespace

std::vector<OpDef> reshape_ops() {
  constexpr DTypeSet kI64Only = dtypes(DType::kI64);
  return {
      {.domain = "",
       .name = "Reshape",
       .inputs = {{"data", "T"}, {"shape", "I", kI64Only}},
       .outputs = {{"reshaped", "T"}},
       .attrs = {{"allowzero", AttrKind::kInt, false, "0"}},
       .infer = infer_reshape,
       .compute = {.decompose = decompose_reshape, .eval = eval_reshape},
       .doc = "The elements in another shape; 0 copies a dim, -1 infers one (Reshape)"},
      {.domain = "",
       .name = "Flatten",
       .inputs = {{"input", "T"}},
       .outputs = {{"output", "T"}},
       .attrs = {{"axis", AttrKind::kInt, false, "1"}},
       .infer = infer_flatten,
       .compute = {.decompose = decompose_reshape, .eval = eval_reshape},
       .doc = "A matrix: the axes before `axis` by those from it on (Flatten)"},
      {.domain = "",
       .name = "Squeeze",
       .inputs = {{"data", "T"}, {"axes", "I", kI64Only, true}},
       .outputs = {{"squeezed", "T"}},
       .infer = infer_squeeze,
       .compute = {.decompose = decompose_reshape, .eval = eval_reshape},
       .doc = "Without axes of one element (Squeeze)"},
      {.domain = "",
       .name = "Unsqueeze",
       .inputs = {{"data", "T"}, {"axes", "I", kI64Only}},
       .outputs = {{"expanded", "T"}},
       .infer = infer_unsqueeze,
       .compute = {.decompose = decompose_reshape, .eval = eval_reshape},
       .doc = "With new axes of one element (Unsqueeze)"},
      {.domain = "",
       .name = "Shape",
       .inputs = {{"data", "T"}},
       .outputs = {{"shape", "I", kI64Only}},
       .attrs = {{"start", AttrKind::kInt, false, "0"}, {"end", AttrKind::kInt}},
       .infer = infer_shape,
       .compute = {.decompose = decompose_dim_values, .eval = eval_shape},
       .doc = "The dims of a tensor (Shape)"},
      {.domain = "",
       .name = "Size",
       .inputs = {{"data", "T"}},
       .outputs = {{"size", "I", kI64Only}},
       .infer = infer_size,
       .compute = {.decompose = decompose_dim_values, .eval = eval_size},
       .doc = "The number of elements of a tensor (Size)"},
  };
}

}  // namespace tenon::ir
