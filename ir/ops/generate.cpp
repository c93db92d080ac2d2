#include <cmath>

#include "ir/ops/body_helpers.h"
#include "ir/ops/families.h"
#include "ir/scalar_op.h"

/// Ops that make tensors from shapes and numbers.
namespace tenon::ir {
namespace {

Result<DType> dtype_attr(const Node& node, DType fallback) {
  if (!node.attrs().has("dtype")) return fallback;
  const int64_t onnx = node.attr_int("dtype", 0);
  const std::optional<DType> dtype = onnx >= 0 && onnx < 1000 ? dtype_from_onnx(static_cast<int>(onnx)) : std::nullopt;
  if (!dtype || *dtype == DType::kString) return error(Code::kInvalidModel, "the attribute 'dtype' has the value {}", onnx);
  return *dtype;
}

// ---- EyeLike

Status infer_eye_like(InferContext& c) {
  const Result<DType> dtype = dtype_attr(c.node(), c.dtype(0));
  if (!dtype.ok()) return c.fail_text(dtype.status().what());
  if (c.ranked(0) && c.shape(0).size() != 2) return c.fail("the input is {}, not a matrix", to_string(c.in(0)));
  c.set(0, same_shape(c, 0, *dtype));
  return {};
}

Result<std::vector<Body>> eye_like_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kElementwise);
  ExprPool& pool = *body.pool;
  const Expr diagonal = pool.index(1) == pool.index(0) + i64(pool, node.attr_int("k", 0));
  body.value = select(diagonal, pool.constant(body.dtype, 1), pool.constant(body.dtype, 0));
  return one_body(std::move(body));
}

// ---- Range

// Elements of start, start + delta, … before limit.
std::optional<Dim> range_length(InferContext& c) {
  const auto start = c.dim_values(0), limit = c.dim_values(1), delta = c.dim_values(2);
  if (start && limit && delta && start->size() == 1 && limit->size() == 1 && delta->size() == 1) {
    if (delta->front().is_const(0) || (!delta->front().is_const() && !is_data(delta->front()))) return std::nullopt;
    const Dim span = limit->front() - start->front();
    const Dim length = max(ceil_div(span, delta->front()), 0);
    if (length.is_valid()) return length;
  }
  const Tensor *a = c.constant(0), *b = c.constant(1), *d = c.constant(2);
  if (a == nullptr || b == nullptr || d == nullptr || a->size() != 1 || b->size() != 1 || d->size() != 1) return std::nullopt;
  if (is_int(c.dtype(0))) {
    const __int128 span = __int128{b->at_int(0)} - a->at_int(0), step = d->at_int(0);
    if (step == 0) return std::nullopt;
    const __int128 count = span / step + (span % step != 0 && (span < 0) == (step < 0));
    return count <= INT64_MAX ? std::optional(Dim(static_cast<int64_t>(std::max<__int128>(count, 0)))) : std::nullopt;
  }
  const double length = std::ceil((b->at_double(0) - a->at_double(0)) / d->at_double(0));
  if (!(length < 0x1p53)) return std::nullopt;
  return Dim(static_cast<int64_t>(std::fmax(length, 0)));
}

/// Half-precision elements are computed in f32 unless stash_type is their own type, which then rounds every step.
bool stashes_narrow(const Node& node) { return node.attr_int("stash_type", 1) == info(node.output(0)->dtype()).onnx; }

Status infer_range(InferContext& c) {
  const int64_t stash = c.node().attr_int("stash_type", 1);
  if (stash != info(DType::kF32).onnx && compute_dtype(c.dtype(0)) != c.dtype(0) && stash != info(c.dtype(0)).onnx)
    return c.fail("stash_type {} is neither float nor the type of the input", stash);
  for (int i = 0; i < 3; ++i)
    if (c.ranked(i) && c.differ(product(c.shape(i)), 1)) return c.fail("input {} is {}, not a scalar", i, to_string(c.in(i)));
  if (const Tensor* delta = c.constant(2); delta != nullptr && delta->size() == 1 && delta->at_double(0) == 0)
    return c.fail("delta is 0");
  const std::optional<Dim> length = range_length(c);
  c.set(0, TensorType(c.dtype(0), {length ? *length : c.fresh_dim(0, 0)}));
  const std::optional<std::vector<int64_t>> start = known_ints(c, 0), delta = known_ints(c, 2);
  if (!length || !length->is_const() || length->value() > 4096 || !start || !delta) return {};
  std::vector<Dim> values;
  for (int64_t i = 0; i < length->value(); ++i) values.push_back(Dim(start->front()) + Dim(i) * Dim(delta->front()));
  c.set_dim_values(0, std::move(values));
  return {};
}

Result<std::vector<Body>> range_body(const Node& node) {
  TENON_RETURN_IF_ERROR(require_known_shape(node));
  Body body = start_body(node, ComputeKind::kElementwise);
  ExprPool& pool = *body.pool;
  const DType dtype = compute_dtype(body.dtype);
  const auto stashed = [&](Expr e) { return stashes_narrow(node) ? pool.cast(pool.cast(e, body.dtype), dtype) : e; };
  const Expr start = pool.cast(load_only(body, node, 0), dtype), delta = pool.cast(load_only(body, node, 2), dtype);
  body.value = pool.cast(start + stashed(stashed(pool.cast(pool.index(0), dtype)) * delta), body.dtype);
  return one_body(std::move(body));
}

// ---- ConstantOfShape

Status infer_constant_of_shape(InferContext& c) {
  const Tensor* value = c.node().attr_tensor("value");
  if (value != nullptr && (value->size() != 1 || value->dtype() == DType::kString)) return c.fail("the value is not one number");
  const DType dtype = value == nullptr ? DType::kF32 : value->dtype();
  const std::optional<std::vector<Dim>> shape = c.dim_values(0);
  if (shape) {
    for (const Dim& d : *shape)
      if (d.is_const() && d.value() < 0) return c.fail("the shape has the dim {}", d.value());
    c.set(0, TensorType(dtype, *shape));
    if (shape->size() == 1 && shape->front().is_const() && shape->front().value() <= 4096 && (is_int(dtype)))
      c.set_dim_values(0, std::vector<Dim>(static_cast<size_t>(shape->front().value()), Dim(value->at_int(0))));
    return {};
  }
  c.set(0, TensorType::unranked(dtype));
  if (!c.ranked(0) || c.shape(0).size() != 1 || !c.shape(0)[0].is_const() || c.shape(0)[0].value() > 64) return {};
  std::vector<Dim> dims;
  for (int i = 0; i < c.shape(0)[0].value(); ++i) dims.push_back(c.fresh_dim(0, i));
  c.set(0, TensorType(dtype, std::move(dims)));
  return {};
}

Result<std::vector<Body>> constant_of_shape_body(const Node& node) {
  TENON_RETURN_IF_ERROR(require_known_shape(node));
  Body body = start_body(node, ComputeKind::kElementwise);
  const Tensor* value = node.attr_tensor("value");
  const Scalar s = value == nullptr ? Scalar{} : load_scalar(value->data(), value->dtype(), 0);
  body.value = is_float(body.dtype) ? body.pool->constant(body.dtype, s.f) : body.pool->constant_int(body.dtype, s.i);
  return one_body(std::move(body));
}

}  // namespace

std::vector<OpDef> generate_ops() {
  return {
      {.domain = "",
       .name = "EyeLike",
       .inputs = {{"input", "T1", kNumeric | dtypes(DType::kBool)}},
       .outputs = {{"output", "T2", kNumeric | dtypes(DType::kBool)}},
       .attrs = {{"dtype", AttrKind::kInt}, {"k", AttrKind::kInt, false, "0"}},
       .infer = infer_eye_like,
       .compute = {.body = eye_like_body},
       .doc = "Ones on a diagonal of a matrix of the input's shape (EyeLike)"},
      {.domain = "",
       .name = "Range",
       .inputs = {{"start", "T", kNumeric}, {"limit", "T", kNumeric}, {"delta", "T", kNumeric}},
       .outputs = {{"output", "T", kNumeric}},
       .attrs = {{"stash_type", AttrKind::kInt, false, "1"}},
       .infer = infer_range,
       .compute = {.body = range_body},
       .doc = "start, start + delta, … before limit (Range)"},
      {.domain = "",
       .name = "ConstantOfShape",
       .inputs = {{"input", "T1", dtypes(DType::kI64)}},
       .outputs = {{"output", "T2", kNumeric | kSmall | dtypes(DType::kBool)}},
       .attrs = {{"value", AttrKind::kTensor}},
       .infer = infer_constant_of_shape,
       .compute = {.body = constant_of_shape_body},
       .doc = "One value in a shape (ConstantOfShape)"},
  };
}

}  // namespace tenon::ir
