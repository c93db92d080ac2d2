#include <algorithm>

#include "ir/ops/families.h"

namespace tenon::ir {
namespace {

// ---- Constant, Identity

Status infer_constant(InferContext& c) {
  const Tensor* tensor = c.node().attr_tensor("value");
  if (!tensor->defined()) return c.fail("the constant's tensor is undefined");
  c.set(0, TensorType(tensor->dtype(), std::vector<Dim>(tensor->shape().begin(), tensor->shape().end())));
  return {};
}

Status eval_constant(EvalContext& c) {
  c.outputs[0] = *c.node.attr_tensor("value");
  return {};
}

Status infer_identity(InferContext& c) {
  c.set(0, c.in(0));
  if (auto values = c.dim_values(0)) c.set_dim_values(0, *values);
  return {};
}

Status eval_identity(EvalContext& c) {
  c.outputs[0] = c.inputs[0];
  return {};
}

std::vector<Expr> output_indices(ExprPool& pool, size_t rank) {
  std::vector<Expr> out;
  for (size_t i = 0; i < rank; ++i) out.push_back(pool.index(static_cast<int>(i)));
  return out;
}

Body body_for(const Node& node) {
  Body body;
  body.dtype = node.output()->dtype();
  body.axes = *node.output()->tensor().dims;
  return body;
}

Result<std::vector<Body>> identity_body(const Node& node) {
  Body body = body_for(node);
  body.value = body.pool->load(0, body.dtype, output_indices(*body.pool, body.axes.size()));
  return std::vector<Body>{std::move(body)};
}

// ---- tenon.reshape, tenon.expand

Status infer_dims_attr(InferContext& c) {
  const std::vector<Dim>& dims = *c.node().attr_dims("dims");
  for (const Dim& dim : dims)
    if (!dim.is_valid() || (dim.is_const() && dim.value() < 0)) return c.fail("{} is no dim", to_string(dim));
  c.set(0, TensorType(c.dtype(0), dims));
  return {};
}

Status infer_reshape(InferContext& c) {
  TENON_RETURN_IF_ERROR(infer_dims_attr(c));
  const std::vector<Dim>& dims = *c.node().attr_dims("dims");
  if (c.ranked(0) && c.differ(c.in(0).tensor().count(), product(dims)))
    return c.fail("{} cannot be reshaped to {}", to_string(c.in(0)), to_string(TensorType(c.dtype(0), dims)));
  if (auto values = c.dim_values(0); values && dims.size() <= 1) c.set_dim_values(0, *values);
  return {};
}

Expr flatten(ExprPool& pool, std::span<const Expr> indices, std::span<const Dim> dims) {
  Expr flat = pool.constant_int(DType::kI64, 0);
  for (size_t i = 0; i < dims.size(); ++i) flat = flat * pool.dim(dims[i]) + indices[i];
  return flat;
}

/// Indices of axes `dims` from a flat position among them. The first axis needs no mod.
void unflatten(ExprPool& pool, Expr flat, std::span<const Dim> dims, std::vector<Expr>& out) {
  for (size_t i = 0; i < dims.size(); ++i) {
    Dim inner = product(dims.subspan(i + 1));
    if (dims[i].is_const(1)) {
      out.push_back(pool.constant_int(DType::kI64, 0));
      continue;
    }
    Expr index = inner.is_const(1) ? flat : floor_div(flat, pool.dim(inner));
    out.push_back(i == 0 ? index : mod(index, pool.dim(dims[i])));
  }
}

/// Splits both shapes into the smallest runs of axes with equal products, so that axes which a reshape keeps keep their
/// index: [B, T, 768] -> [B, T, 12, 64] divides only within the last one.
Result<std::vector<Body>> reshape_body(const Node& node) {
  Body body = body_for(node);
  ExprPool& pool = *body.pool;
  body.kind = ComputeKind::kMovement;
  std::span<const Dim> from = *node.input(0)->tensor().dims, to = body.axes;
  std::vector<Expr> outer = output_indices(pool, to.size()), indices;
  size_t i = 0, k = 0;
  while (i < from.size()) {
    size_t end_i = i + 1, end_k = k < to.size() ? k + 1 : k;
    Dim left = from[i], right = product(to.subspan(k, end_k - k));
    while (left != right) {
      bool grow_left = end_k == to.size() || (end_i < from.size() && known_lt(left, right));
      if (grow_left && end_i == from.size()) break;
      if (grow_left) {
        left = left * from[end_i++];
      } else {
        right = right * to[end_k++];
      }
    }
    if (left != right || end_i == from.size()) end_i = from.size(), end_k = to.size();
    std::span<const Dim> run_from = from.subspan(i, end_i - i), run_to = to.subspan(k, end_k - k);
    if (run_from.size() == 1 && run_to.size() == 1) {
      indices.push_back(outer[k]);
    } else {
      Expr flat = flatten(pool, std::span(outer).subspan(k, end_k - k), run_to);
      unflatten(pool, flat, run_from, indices);
    }
    i = end_i, k = end_k;
  }
  body.value = pool.load(0, body.dtype, indices);
  return std::vector<Body>{std::move(body)};
}

Status infer_expand(InferContext& c) {
  TENON_RETURN_IF_ERROR(infer_dims_attr(c));
  if (!c.ranked(0)) return {};
  const std::vector<Dim>& dims = *c.node().attr_dims("dims");
  const std::vector<Dim>& from = c.shape(0);
  if (from.size() > dims.size()) return c.fail("rank {} cannot be expanded to rank {}", from.size(), dims.size());
  for (size_t i = 0; i < from.size(); ++i) {
    const Dim& to = dims[dims.size() - from.size() + i];
    if (!from[i].is_const(1) && known_ne(from[i], 1) && known_ne(from[i], to))
      return c.fail("{} cannot be expanded to {}", to_string(c.in(0)), to_string(TensorType(c.dtype(0), dims)));
  }
  return {};
}

Result<std::vector<Body>> expand_body(const Node& node) {
  Body body = body_for(node);
  ExprPool& pool = *body.pool;
  std::span<const Dim> from = *node.input(0)->tensor().dims;
  size_t lead = body.axes.size() - from.size();
  Expr zero = pool.constant_int(DType::kI64, 0);
  std::vector<Expr> indices;
  for (size_t i = 0; i < from.size(); ++i) {
    Expr index = pool.index(static_cast<int>(lead + i));
    if (from[i].is_const(1)) {
      indices.push_back(zero);
    } else if (from[i] == body.axes[lead + i] || known_ne(from[i], 1)) {
      indices.push_back(index);
    } else {
      indices.push_back(select(pool.dim(from[i]) == pool.constant_int(DType::kI64, 1), zero, index));
    }
  }
  body.value = pool.load(0, body.dtype, indices);
  return std::vector<Body>{std::move(body)};
}

// ---- tenon.dim_values

Status infer_dim_values(InferContext& c) {
  const std::vector<Dim>& dims = *c.node().attr_dims("dims");
  for (const Dim& dim : dims)
    if (!dim.is_valid()) return c.fail("a dim is invalid");
  bool scalar = c.node().attr_int("scalar", 0) != 0;
  if (scalar && dims.size() != 1) return c.fail("a scalar has one dim, not {}", dims.size());
  std::vector<Dim> shape;
  if (!scalar) shape.emplace_back(static_cast<int64_t>(dims.size()));
  c.set(0, TensorType(DType::kI64, std::move(shape)));
  c.set_dim_values(0, dims);
  return {};
}

Result<std::vector<Body>> dim_values_body(const Node& node) {
  Body body = body_for(node);
  ExprPool& pool = *body.pool;
  const std::vector<Dim>& dims = *node.attr_dims("dims");
  Expr value = dims.empty() ? pool.constant_int(DType::kI64, 0) : pool.dim(dims.back());
  for (size_t i = dims.size(); i-- > 1;)
    value = select(pool.index(0) < pool.constant_int(DType::kI64, static_cast<int64_t>(i)), pool.dim(dims[i - 1]), value);
  body.value = value;
  return std::vector<Body>{std::move(body)};
}

Status eval_dim_values(EvalContext& c) {
  const std::vector<Dim>& dims = *c.node.attr_dims("dims");
  Shape shape;
  if (c.node.attr_int("scalar", 0) == 0) shape.push_back(static_cast<int64_t>(dims.size()));
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, DType::kI64, std::move(shape)));
  for (size_t i = 0; i < dims.size(); ++i) {
    TENON_ASSIGN_OR_RETURN(int64_t value, evaluate(dims[i], c.symbols));
    out->set_int(static_cast<int64_t>(i), value);
  }
  return {};
}

// ---- tenon.as_dims

/// What one value may have, so that its dims have names.
constexpr int64_t kMaxDimValues = 32;

/// A value as sizes: v = above - below - least. Only the minimum, which has no opposite, has a `least` of 1.
struct DimParts {
  int64_t above, below, least;
};

DimParts dim_parts(int64_t v) {
  const bool least = v == INT64_MIN;
  return {std::max<int64_t>(v, 0), least ? INT64_MAX : std::max<int64_t>(-v, 0), least};
}

/// [0, v0's above, below and least, v1's above, ...]
Status infer_as_dims(InferContext& c) {
  const bool fits = c.ranked(0) && c.shape(0).size() <= 1 && product(c.shape(0)).is_const() &&
                    product(c.shape(0)).value() <= kMaxDimValues;
  if (!fits) return c.fail("{} is not up to {} integers", to_string(c.in(0)), kMaxDimValues);
  const std::optional<std::vector<Dim>> known = c.dim_values(0);
  std::vector<Dim> out{0};
  const auto fresh = [&](int64_t most) {
    out.push_back(c.fresh_dim(0, static_cast<int>(out.size())));
    c.dims().set_bounds(out.back(), {0, most});
  };
  for (int64_t i = 0; i < product(c.shape(0)).value(); ++i) {
    if (!known) {
      fresh(INT64_MAX);
      fresh(INT64_MAX);
      fresh(1);
    } else if (const Dim& v = (*known)[static_cast<size_t>(i)]; v.is_const()) {
      const DimParts parts = dim_parts(v.value());
      out.insert(out.end(), {parts.above, parts.below, parts.least});
    } else {
      out.insert(out.end(), {max(v, 0), max(Dim(0) - v, 0), 0});
    }
  }
  c.set(0, TensorType(DType::kBool, std::move(out)));
  return {};
}

Status eval_as_dims(EvalContext& c) {
  const Tensor& values = c.tensor(0);
  Shape shape{0};
  for (int64_t i = 0; i < values.size(); ++i) {
    const DimParts parts = dim_parts(values.at_int(i));
    shape.insert(shape.end(), {parts.above, parts.below, parts.least});
  }
  return c.allocate(0, DType::kBool, std::move(shape)).status();
}

// ---- tenon.fail

Status infer_fail(InferContext& c) {
  c.set(0, std::get<Type>(*c.node().attrs().find("type")));
  return {};
}

Status eval_fail(EvalContext& c) { return error(Code::kInvalidArgument, "{}", c.node.attr_string("why", "")); }

// ---- tenon.fused

Status infer_fused(InferContext& c) {
  Graph& region = c.node().region(0);
  if (static_cast<int>(region.inputs().size()) != c.node().num_inputs() ||
      static_cast<int>(region.outputs().size()) != c.node().num_outputs())
    return c.fail("the region takes {} values and gives {}, the node {} and {}", region.inputs().size(),
                  region.outputs().size(), c.node().num_inputs(), c.node().num_outputs());
  for (int i = 0; i < c.node().num_inputs(); ++i) {
    Value* input = region.inputs()[static_cast<size_t>(i)];
    input->set_type(c.in(i));
    input->set_dim_values(c.dim_values(i));
  }
  TENON_RETURN_IF_ERROR(infer_graph(region));
  for (int i = 0; i < c.node().num_outputs(); ++i) c.set(i, region.outputs()[static_cast<size_t>(i)]->type());
  return {};
}

Status eval_fused(EvalContext& c) {
  TENON_ASSIGN_OR_RETURN(std::vector<HostValue> values, c.run_region(0, c.inputs));
  std::ranges::move(values, c.outputs.begin());
  return {};
}

}  // namespace

std::vector<OpDef> internal_ops() {
  return {
      {.domain = "",
       .name = "Constant",
       .outputs = {{"output", "T"}},
       .attrs = {{"value", AttrKind::kTensor, true}},
       .infer = infer_constant,
       .compute = {.eval = eval_constant, .structural = true},
       .doc = "A tensor that the model holds (Constant; every value_* attribute is imported as value)"},
      {.domain = "",
       .name = "Identity",
       .inputs = {{.name = "input", .var = "V", .any = true}},
       .outputs = {{.name = "output", .var = "V", .any = true}},
       .infer = infer_identity,
       .compute = {.body = identity_body, .eval = eval_identity, .view = true},
       .doc = "The input (Identity)"},
      {.domain = "tenon",
       .name = "reshape",
       .inputs = {{"data", "T"}},
       .outputs = {{"reshaped", "T"}},
       .attrs = {{"dims", AttrKind::kDims, true}},
       .infer = infer_reshape,
       .compute = {.body = reshape_body, .view = true},
       .doc = "Reshape to a shape known in symbols"},
      {.domain = "tenon",
       .name = "relayout",
       .inputs = {{"input", "T"}},
       .outputs = {{"output", "T"}},
       .infer = infer_identity,
       .compute = {.body = identity_body, .eval = eval_identity},
       .doc = "The input, stored in another order of its axes"},
      {.domain = "tenon",
       .name = "expand",
       .inputs = {{"data", "T"}},
       .outputs = {{"expanded", "T"}},
       .attrs = {{"dims", AttrKind::kDims, true}},
       .infer = infer_expand,
       .compute = {.body = expand_body},
       .doc = "Broadcast to a shape known in symbols; unlike Expand, dims is the resulting shape"},
      {.domain = "tenon",
       .name = "dim_values",
       .outputs = {{"values", "I", dtypes(DType::kI64)}},
       .attrs = {{"dims", AttrKind::kDims, true}, {"scalar", AttrKind::kInt, false, "0"}},
       .infer = infer_dim_values,
       .compute = {.body = dim_values_body, .eval = eval_dim_values},
       .doc = "The values of dims as a tensor of rank 1, or of rank 0 when scalar is 1"},
      {.domain = "tenon",
       .name = "as_dims",
       .inputs = {{"values", "I", dtypes(DType::kI32, DType::kI64)}},
       .outputs = {{"dims", "B", dtypes(DType::kBool)}},
       .infer = infer_as_dims,
       .compute = {.eval = eval_as_dims},
       .doc = "A tensor of no elements whose dims are the integers: it binds symbols to data as any shape does",
       .host = "hands data over to the plan's dims"},
      {.domain = "tenon",
       .name = "fail",
       .outputs = {{.name = "output", .var = "V", .any = true}},
       .attrs = {{"type", AttrKind::kType, true}, {"why", AttrKind::kString, true}},
       .infer = infer_fail,
       .compute = {.eval = eval_fail},
       .side_effects = true,
       .doc = "No value: a run that comes here fails",
       .host = "there is nothing to compute"},
      {.domain = "tenon",
       .name = "fused",
       .inputs = {{.name = "inputs", .var = "", .variadic = true}},
       .outputs = {{.name = "outputs", .var = "", .variadic = true}},
       .infer = infer_fused,
       .compute = {.eval = eval_fused, .structural = true},
       .num_regions = 1,
       .doc = "Nodes that one kernel computes; the region's inputs are the node's"},
  };
}

}  // namespace tenon::ir
