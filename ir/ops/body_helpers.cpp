#include "ir/ops/body_helpers.h"

#include <algorithm>
#include <cstring>

#include "ir/scalar_op.h"

namespace tenon::ir {

Body start_body(const Node& node, ComputeKind kind, int output) {
  Body body;
  body.kind = kind;
  body.dtype = node.output(output)->dtype();
  body.axes = output_dims(node, output);
  return body;
}

Result<std::vector<Body>> one_body(Body body) {
  std::vector<Body> bodies;
  bodies.push_back(std::move(body));
  return bodies;
}

// A symbol that no input has is one that this node defines, by inference or because the model names its outputs' dims.
Status require_known_shape(const Node& node) {
  std::vector<int> given;
  const auto collect = [&](const std::vector<Dim>& dims) {
    for (const Dim& d : dims) collect_symbols(d, given);
  };
  for (const Value* input : node.inputs()) {
    if (input == nullptr) continue;
    if (input->type().is_ranked_tensor()) collect(*input->tensor().dims);
    if (input->dim_values()) collect(*input->dim_values());
  }
  for (const Value* output : node.outputs()) {
    if (!output->type().is_ranked_tensor()) return error(Code::kUnsupported, "the rank of an output is not known");
    for (int64_t axis = 0; axis < output->tensor().rank(); ++axis) {
      std::vector<int> symbols;
      collect_symbols(output->tensor().dim(axis), symbols);
      for (int id : symbols)
        if (std::ranges::find(given, id) == given.end())
          return error(Code::kUnsupported, "the output's shape depends on data");
    }
  }
  return {};
}

std::vector<Expr> axis_indices(ExprPool& pool, size_t rank, size_t first) {
  std::vector<Expr> out;
  for (size_t i = 0; i < rank; ++i) out.push_back(pool.index(static_cast<int>(first + i)));
  return out;
}

Expr load_at(Body& body, const Node& node, int operand, std::span<const Expr> at) {
  return body.pool->load(operand, node.input(operand)->dtype(), at);
}

Expr load_only(Body& body, const Node& node, int operand) {
  return load_at(body, node, operand, std::vector<Expr>(input_dims(node, operand).size(), i64(*body.pool, 0)));
}

bool is_data(Dim d) {
  std::vector<int> symbols;
  if (d.is_valid()) collect_symbols(d, symbols);
  return std::ranges::any_of(symbols, [&](int s) { return d.node()->context->symbol_bounds(s).hi == INT64_MAX; });
}

Expr position(Expr index, Dim extent) {
  ExprPool& pool = *index.pool;
  const Expr wide = pool.cast(index, DType::kI64), n = pool.dim(extent);
  return pool.checked_index(select(wide < 0.0, wide + n, wide), n);
}

Expr required(Expr condition) {
  ExprPool& pool = *condition.pool;
  return pool.checked_index(select(condition, i64(pool, 0), i64(pool, -1)), i64(pool, 1));
}

Expr load_broadcast(Body& body, const Node& node, int operand, std::span<const Expr> at, std::span<const Dim> dims) {
  ExprPool& pool = *body.pool;
  const std::vector<Dim>& shape = input_dims(node, operand);
  const Expr zero = i64(pool, 0);
  const size_t lead = dims.size() - shape.size();
  std::vector<Expr> indices;
  for (size_t i = 0; i < shape.size(); ++i) {
    const Expr index = at[lead + i];
    if (shape[i].is_const(1)) indices.push_back(zero);
    else if (known_le(dims[lead + i], shape[i]) || known_ne(shape[i], 1)) indices.push_back(index);  // of a single one the index is 0
    else indices.push_back(select(pool.dim(shape[i]) == i64(pool, 1), zero, index));
  }
  return load_at(body, node, operand, indices);
}

Type same_shape(InferContext& c, int i, DType dtype) {
  return c.ranked(i) ? Type(TensorType(dtype, c.shape(i))) : Type(TensorType::unranked(dtype));
}

Status infer_as_input(InferContext& c) {
  c.set(0, same_shape(c, 0, c.dtype(0)));
  return {};
}

std::optional<std::vector<int64_t>> known_ints(const InferContext& c, int i) {
  const std::optional<std::vector<Dim>> dims = c.dim_values(i);
  if (!dims) return std::nullopt;
  std::vector<int64_t> out;
  for (const Dim& d : *dims) {
    if (!d.is_const()) return std::nullopt;
    out.push_back(d.value());
  }
  return out;
}

std::vector<int64_t> int_values(const Tensor& t) {
  std::vector<int64_t> out(static_cast<size_t>(t.size()));
  for (size_t i = 0; i < out.size(); ++i) out[i] = t.at_int(static_cast<int64_t>(i));
  return out;
}

Result<std::vector<int64_t>> normalize_axes(std::vector<int64_t> axes, int64_t rank) {
  std::vector<bool> seen(static_cast<size_t>(rank), false);
  for (int64_t& axis : axes) {
    TENON_ASSIGN_OR_RETURN(axis, normalize_axis(axis, rank, "axes"));
    if (seen[static_cast<size_t>(axis)]) return error(Code::kInvalidModel, "axis {} is given twice", axis);
    seen[static_cast<size_t>(axis)] = true;
  }
  return axes;
}

Result<std::optional<std::vector<int64_t>>> axes_input(InferContext& c, int i, int64_t rank) {
  std::optional<std::vector<int64_t>> axes;
  if (!c.has(i)) return axes;
  axes = known_ints(c, i);
  if (!axes) return axes;
  Result<std::vector<int64_t>> normal = normalize_axes(*axes, rank);
  if (!normal.ok()) return c.fail_text(normal.status().what());
  axes = std::move(*normal);
  return axes;
}

Result<std::vector<int64_t>> constant_axes(const Node& node, int i, int64_t rank) {
  const std::optional<std::vector<int64_t>> axes = constant_ints(node.input(i));
  if (!axes) return error(Code::kUnsupported, "the axes are not constant");
  return normalize_axes(*axes, rank);
}

std::vector<int64_t> dense_strides(std::span<const int64_t> shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

void copy_range(const Tensor& from, int64_t source, Tensor& to, int64_t target, int64_t count) {
  if (count <= 0) return;
  if (from.dtype() == DType::kString) {
    std::copy_n(from.string_values().begin() + source, count, to.mutable_strings().begin() + target);
  } else if (is_packed(from.dtype())) {
    for (int64_t i = 0; i < count; ++i)
      store_scalar(to.mutable_data(), to.dtype(), target + i, load_scalar(from.data(), from.dtype(), source + i));
  } else {
    const size_t width = static_cast<size_t>(bits(from.dtype())) / 8;
    std::memcpy(to.mutable_data() + static_cast<size_t>(target) * width, from.data() + static_cast<size_t>(source) * width,
                static_cast<size_t>(count) * width);
  }
}

}  // namespace tenon::ir
