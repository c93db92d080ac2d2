#include <algorithm>
#include <cmath>
#include <limits>

#include "ir/ops/body_helpers.h"
#include "ir/ops/budget.h"
#include "ir/ops/families.h"
#include "ir/ops/window.h"

namespace tenon::ir {
namespace {

constexpr DTypeSet kMaxTypes = kFloat16To64 | dtypes(DType::kI8, DType::kU8, DType::kI32, DType::kI64);

struct Pool {
  Dims x;
  Window window;
};

Result<Pool> make_pool(const Node& node) {
  Pool pool{.x = dims_of(node, 0)};
  if (pool.x.size() < 3) return error(Code::kInvalidModel, "pooling needs rank 3 or more; the input has rank {}", pool.x.size());
  TENON_ASSIGN_OR_RETURN(Dims kernel, kernel_shape(node, pool.x.size() - 2));
  TENON_ASSIGN_OR_RETURN(pool.window, make_window(node, Dims(pool.x.begin() + 2, pool.x.end()), std::move(kernel)));
  return pool;
}

Status infer_pool(InferContext& c) {
  if (!c.ranked(0)) {
    c.set(0, unranked(c.dtype(0)));
    if (c.node().num_outputs() > 1) c.set(1, unranked(DType::kI64));
    return {};
  }
  Result<Pool> pool = make_pool(c.node());
  if (!pool.ok()) return std::move(pool).status().at(c.node().name());
  Dims out = {pool->x[0], pool->x[1]};
  out.insert(out.end(), pool->window.out.begin(), pool->window.out.end());
  if (c.node().num_outputs() > 1) c.set(1, tensor_of(DType::kI64, out));
  c.set(0, tensor_of(c.dtype(0), std::move(out)));
  return {};
}

double lowest_of(DType dtype) {
  if (is_float(dtype)) return -std::numeric_limits<double>::infinity();
  if (is_unsigned_int(dtype)) return 0;
  return -std::ldexp(1.0, bits(dtype) - 1);
}

/// Body with axes (n, c, o…), reduce axes k…, and the tap that it reads.
struct PoolBody {
  Body body;
  Taps taps;
  Expr x;  // in its own dtype
  size_t rank = 0;
};

PoolBody start_pool(const Node& node, const Pool& pool, int output, Combiner combiner, double padding) {
  PoolBody out;
  Body& body = out.body;
  ExprPool& p = *body.pool;
  out.rank = pool.x.size();
  body.kind = ComputeKind::kReduce;
  body.dtype = node.output(output)->dtype();
  body.axes = out_dims(node, output);
  body.reduce_axes = pool.window.kernel;
  body.combiner = combiner;
  body.acc_dtype = accumulator_of(node.input(0)->dtype());
  out.taps = make_taps(p, pool.window, 2, out.rank);
  std::vector<Expr> at = {p.index(0), p.index(1)};
  at.insert(at.end(), out.taps.at.begin(), out.taps.at.end());
  out.x = load_tap(p, node, 0, at, out.taps.guard, p.constant(node.input(0)->dtype(), padding));
  return out;
}

/// Position in the whole input of the tap whose flat kernel position is the accumulator (ONNX MaxPool, Indices).
Expr flat_input_position(ExprPool& p, const Pool& pool, bool column_major) {
  size_t spatial = pool.window.rank();
  Expr rest = p.acc(0, DType::kI64);
  std::vector<Expr> at(spatial);
  for (size_t i = spatial; i-- > 0;) {
    Expr extent = p.dim(pool.window.kernel[i]);
    Expr tap = i == 0 ? rest : mod(rest, extent);
    if (i > 0) rest = floor_div(rest, extent);
    at[i] = p.index(static_cast<int>(2 + i)) * static_cast<double>(pool.window.stride[i]) +
            tap * static_cast<double>(pool.window.dilation[i]) - p.dim(pool.window.pad_begin[i]);
  }
  Expr plane = p.index(0) * p.dim(pool.x[1]) + p.index(1);
  Expr flat = plane * p.dim(product(pool.window.input));
  Dim stride = 1;
  for (size_t j = 0; j < spatial; ++j) {
    size_t i = column_major ? j : spatial - 1 - j;
    flat = flat + at[i] * p.dim(stride);
    stride = stride * pool.window.input[i];
  }
  return flat;
}

Result<std::vector<Body>> max_pool_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(Pool pool, make_pool(node));
  double lowest = lowest_of(node.input(0)->dtype());
  std::vector<Body> bodies;
  PoolBody values = start_pool(node, pool, 0, Combiner::kMax, lowest);
  values.body.value = values.body.pool->cast(values.x, values.body.acc_dtype);
  bodies.push_back(std::move(values.body));
  if (node.num_outputs() > 1) {
    PoolBody places = start_pool(node, pool, 1, Combiner::kArgMax, lowest);
    ExprPool& p = *places.body.pool;
    places.body.value = p.cast(places.x, places.body.acc_dtype);
    places.body.post = flat_input_position(p, pool, node.attr_int("storage_order", 0) != 0);
    bodies.push_back(std::move(places.body));
  }
  return bodies;
}

/// Number of taps of the window at an output that lie inside the input (and, when asked for, its padding), as i64.
Expr taps_inside(ExprPool& p, const Window& w, bool count_padding) {
  Expr count = p.constant_int(DType::kI64, 1);
  for (size_t i = 0; i < w.rank(); ++i) {
    Expr kernel = p.dim(w.kernel[i]);
    Expr start = p.index(static_cast<int>(2 + i)) * static_cast<double>(w.stride[i]) - p.dim(w.pad_begin[i]);
    Expr dilation = p.constant_int(DType::kI64, w.dilation[i]);
    auto ceil_over = [&](Expr a) { return -floor_div(-a, dilation); };
    Dim limit = count_padding ? w.input[i] + w.pad_end[i] : w.input[i];
    Expr first = count_padding ? p.constant_int(DType::kI64, 0) : max(p.constant_int(DType::kI64, 0), ceil_over(-start));
    Dim reach = (w.out[i] - 1) * w.stride[i] + (w.kernel[i] - 1) * w.dilation[i] + 1 - w.pad_begin[i];
    bool whole = known_le(reach, limit) && (count_padding || w.pad_begin[i].is_const(0));
    Expr taps = whole ? kernel : min(kernel, ceil_over(p.dim(limit) - start)) - first;
    count = count * taps;
  }
  return count;
}

Result<std::vector<Body>> average_pool_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(Pool pool, make_pool(node));
  PoolBody made = start_pool(node, pool, 0, Combiner::kAdd, 0);
  Body& body = made.body;
  ExprPool& p = *body.pool;
  body.value = p.cast(made.x, body.acc_dtype);
  Expr count = taps_inside(p, pool.window, node.attr_int("count_include_pad", 0) != 0);
  Expr taps = p.cast(max(count, p.constant_int(DType::kI64, 1)), body.acc_dtype);
  body.post = p.cast(p.acc(0, body.acc_dtype) / taps, body.dtype);
  return std::vector<Body>{std::move(body)};
}

// ---- Lp norms: (sum |x|^p)^(1/p)

Expr lp_term(Expr x, int64_t p) {
  if (p == 1) return abs(x);
  if (p == 2) return x * x;
  return pow(abs(x), x.pool->constant(x.dtype(), static_cast<double>(p)));
}

Expr lp_root(Expr sum, int64_t p) {
  if (p == 1) return sum;
  if (p == 2) return sqrt(sum);
  return pow(sum, sum.pool->constant(sum.dtype(), 1.0 / static_cast<double>(p)));
}

Status check_p(InferContext& c) {
  int64_t p = c.node().attr_int("p", 2);
  if (p < 1 || p > 1000000) return c.fail("attribute p is {}; it must be positive", p);
  return {};
}

Status infer_lp_pool(InferContext& c) {
  TENON_RETURN_IF_ERROR(check_p(c));
  return infer_pool(c);
}

Result<std::vector<Body>> lp_pool_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(Pool pool, make_pool(node));
  PoolBody made = start_pool(node, pool, 0, Combiner::kAdd, 0);
  Body& body = made.body;
  int64_t power = node.attr_int("p", 2);
  body.value = lp_term(body.pool->cast(made.x, body.acc_dtype), power);
  body.post = body.pool->cast(lp_root(body.pool->acc(0, body.acc_dtype), power), body.dtype);
  return std::vector<Body>{std::move(body)};
}

// ---- Global pools

Status infer_global(InferContext& c) {
  if (!c.ranked(0)) {
    c.set(0, unranked(c.dtype(0)));
    return {};
  }
  if (c.shape(0).size() < 2) return c.fail("global pooling needs rank 2 or more; the input has rank {}", c.shape(0).size());
  Dims out(c.shape(0).size(), 1);
  out[0] = c.shape(0)[0];
  out[1] = c.shape(0)[1];
  c.set(0, tensor_of(c.dtype(0), std::move(out)));
  return {};
}

Status infer_global_lp(InferContext& c) {
  TENON_RETURN_IF_ERROR(check_p(c));
  return infer_global(c);
}

Body start_global(const Node& node, Combiner combiner, Expr& x) {
  Body body;
  ExprPool& p = *body.pool;
  const Dims& dims = dims_of(node, 0);
  body.kind = ComputeKind::kReduce;
  body.dtype = node.output(0)->dtype();
  body.axes = out_dims(node);
  body.reduce_axes = Dims(dims.begin() + 2, dims.end());
  body.combiner = combiner;
  body.acc_dtype = accumulator_of(body.dtype);
  std::vector<Expr> at = {p.index(0), p.index(1)};
  for (Expr e : index_range(p, dims.size(), dims.size() - 2)) at.push_back(e);
  x = load_as(p, node, 0, at, body.acc_dtype);
  return body;
}

/// Rank-2 inputs have no spatial axes: the pool of one element.
Result<std::vector<Body>> finish_global(Body body, Expr value, Expr (*post)(Body&, const Node&), const Node& node) {
  ExprPool& p = *body.pool;
  if (body.reduce_axes.empty()) body.reduce_axes = {1};
  body.value = value;
  body.post = p.cast(post(body, node), body.dtype);
  return std::vector<Body>{std::move(body)};
}

Result<std::vector<Body>> global_average_body(const Node& node) {
  Expr x;
  Body body = start_global(node, Combiner::kAdd, x);
  return finish_global(std::move(body), x, [](Body& b, const Node&) {
    Expr count = b.pool->cast(b.pool->dim(product(b.reduce_axes)), b.acc_dtype);
    return b.pool->acc(0, b.acc_dtype) / count;
  }, node);
}

Result<std::vector<Body>> global_max_body(const Node& node) {
  Expr x;
  Body body = start_global(node, Combiner::kMax, x);
  return finish_global(std::move(body), x, [](Body& b, const Node&) { return b.pool->acc(0, b.acc_dtype); }, node);
}

Result<std::vector<Body>> global_lp_body(const Node& node) {
  Expr x;
  Body body = start_global(node, Combiner::kAdd, x);
  return finish_global(std::move(body), lp_term(x, node.attr_int("p", 2)), [](Body& b, const Node& n) {
    return lp_root(b.pool->acc(0, b.acc_dtype), n.attr_int("p", 2));
  }, node);
}

// ---- MaxUnpool

Status infer_max_unpool(InferContext& c) {
  if (!c.ranked(0)) {
    c.set(0, unranked(c.dtype(0)));
    return {};
  }
  const Dims& x = c.shape(0);
  if (x.size() < 3) return c.fail("MaxUnpool needs rank 3 or more; the input has rank {}", x.size());
  if (c.ranked(1) && !std::ranges::equal(x, c.shape(1), [&](Dim a, Dim b) { return !c.differ(a, b); }))
    return c.fail("X is {}, I {}; they must have one shape", to_string(c.in(0)), to_string(c.in(1)));
  if (c.has(2)) {
    Dims out;
    std::optional<Dims> shape = c.dim_values(2);
    if (shape && shape->size() != x.size()) return c.fail("output_shape has {} entries where {} are needed", shape->size(), x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      if (shape && bounds((*shape)[i]).hi < 0) return c.fail("output_shape has the negative entry {}", to_string((*shape)[i]));
      out.push_back(shape ? (*shape)[i] : c.fresh_dim(0, static_cast<int>(i)));
    }
    c.set(0, tensor_of(c.dtype(0), std::move(out)));
    return {};
  }
  size_t rank = x.size() - 2;
  Result<Dims> kernel = kernel_shape(c.node(), rank);
  if (!kernel.ok()) return std::move(kernel).status().at(c.node().name());
  Result<std::vector<int64_t>> strides = window_ints(c.node(), "strides", rank, 1, 1);
  if (!strides.ok()) return std::move(strides).status().at(c.node().name());
  Result<std::vector<int64_t>> pads = window_ints(c.node(), "pads", 2 * rank, 0, 0);
  if (!pads.ok()) return std::move(pads).status().at(c.node().name());
  Dims out = {x[0], x[1]};
  for (size_t i = 0; i < rank; ++i) {
    Dim d = (x[i + 2] - 1) * (*strides)[i] - (*pads)[i] - (*pads)[rank + i] + (*kernel)[i];
    if (!d.is_valid() || bounds(d).hi < 0) return c.fail("output size {} of spatial axis {} is not possible", to_string(d), i);
    out.push_back(d);
  }
  c.set(0, tensor_of(c.dtype(0), std::move(out)));
  return {};
}

/// Sizes of the unpooled tensor that `Indices` count in: strides and kernel, before output_shape is applied (ONNX MaxUnpool).
Status eval_max_unpool(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  const Tensor& places = c.tensor(1);
  if (x.rank() < 3 || places.shape() != x.shape())
    return eval_error(c, Code::kInvalidArgument, "X and I must have one shape of rank 3 or more");
  size_t rank = static_cast<size_t>(x.rank()) - 2;
  TENON_ASSIGN_OR_RETURN(Dims kernel, kernel_shape(c.node, rank));
  TENON_ASSIGN_OR_RETURN(std::vector<int64_t> strides, window_ints(c.node, "strides", rank, 1, 1));
  TENON_ASSIGN_OR_RETURN(std::vector<int64_t> pads, window_ints(c.node, "pads", 2 * rank, 0, 0));
  Shape inner = {x.dim(0), x.dim(1)};
  for (size_t i = 0; i < rank; ++i) {
    Dim size = (Dim(x.dim(static_cast<int64_t>(i) + 2)) - 1) * strides[i] - pads[i] - pads[rank + i] + kernel[i];
    if (!size.is_valid() || size.value() < 0)
      return eval_error(c, Code::kInvalidArgument, "the output's size on spatial axis {} is not possible", i);
    inner.push_back(size.value());
  }
  Shape outer = c.has(2) ? ints_of(c.tensor(2)) : inner;
  if (outer.size() != inner.size()) return eval_error(c, Code::kInvalidArgument, "output_shape has the wrong length");
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, x.dtype(), outer));
  TENON_ASSIGN_OR_RETURN(int64_t inner_count, element_count(inner));
  StepCounter steps(c.interrupt);
  for (int64_t i = 0; i < x.size(); ++i) {
    TENON_RETURN_IF_ERROR(steps.add(8));
    int64_t at = places.at_int(i), flat = 0, stride = 1;
    if (at < 0 || at >= inner_count) return eval_error(c, Code::kOutOfRange, "index {} is outside the {} elements", at, inner_count);
    for (size_t a = inner.size(); a-- > 0;) {
      int64_t coordinate = at % inner[a];
      at /= inner[a];
      if (coordinate >= outer[a]) return eval_error(c, Code::kOutOfRange, "an index lies outside output_shape");
      flat += coordinate * stride;
      stride *= outer[a];
    }
    out->set_double(flat, x.at_double(i));
  }
  return {};
}

/// The elements at their places, 0 elsewhere. `I` counts in the shape that strides and kernel give.
Result<std::vector<Body>> max_unpool_body(const Node& node) {
  TENON_RETURN_IF_ERROR(require_known_shape(node));
  Body body = start_body(node, ComputeKind::kScatter);
  ExprPool& pool = *body.pool;
  const Dims& x = input_dims(node, 0);
  const size_t axes = x.size(), rank = axes - 2;
  if (input_dims(node, 1).size() != axes) return error(Code::kUnsupported, "the ranks of X and I differ");
  TENON_ASSIGN_OR_RETURN(const Dims kernel, kernel_shape(node, rank));
  TENON_ASSIGN_OR_RETURN(const std::vector<int64_t> strides, window_ints(node, "strides", rank, 1, 1));
  TENON_ASSIGN_OR_RETURN(const std::vector<int64_t> pads, window_ints(node, "pads", 2 * rank, 0, 0));
  Dims inner = {x[0], x[1]};
  for (size_t i = 0; i < rank; ++i) inner.push_back((x[i + 2] - 1) * strides[i] - pads[i] - pads[rank + i] + kernel[i]);
  body.reduce_axes = x;
  const std::vector<Expr> at = axis_indices(pool, axes, axes);
  Expr flat = pool.checked_index(pool.cast(load_at(body, node, 1, at), DType::kI64), pool.dim(product(inner)));
  std::vector<Expr> target(axes);
  for (size_t a = axes; a-- > 0;) {
    target[a] = pool.checked_index(mod(flat, pool.dim(inner[a])), pool.dim(body.axes[a]));
    flat = floor_div(flat, pool.dim(inner[a]));
  }
  body.scatter = Scatter{pool.constant(body.dtype, 0), std::move(target), true};
  body.acc_dtype = body.dtype;
  body.value = load_at(body, node, 0, at);
  return one_body(std::move(body));
}

std::vector<AttrDef> pool_attrs(std::vector<AttrDef> more = {}) {
  std::vector<AttrDef> attrs = {{"auto_pad", AttrKind::kString, false, "NOTSET"}, {"ceil_mode", AttrKind::kInt, false, "0"},
                                {"dilations", AttrKind::kInts}, {"kernel_shape", AttrKind::kInts, true},
                                {"pads", AttrKind::kInts}, {"strides", AttrKind::kInts}};
  attrs.insert(attrs.end(), more.begin(), more.end());
  return attrs;
}

}  // namespace

std::vector<OpDef> pooling_ops() {
  constexpr DTypeSet kIndex = dtypes(DType::kI64);
  return {
      {.domain = "",
       .name = "MaxPool",
       .inputs = {{"X", "T", kMaxTypes}},
       .outputs = {{"Y", "T", kMaxTypes}, {"Indices", "I", kIndex, true}},
       .attrs = pool_attrs({{"storage_order", AttrKind::kInt, false, "0"}}),
       .infer = infer_pool,
       .compute = {.body = max_pool_body},
       .doc = "Maximum over windows; Indices are positions in the whole input (ONNX MaxPool)."},
      {.domain = "",
       .name = "AveragePool",
       .inputs = {{"X", "T", kFloat16To64}},
       .outputs = {{"Y", "T", kFloat16To64}},
       .attrs = pool_attrs({{"count_include_pad", AttrKind::kInt, false, "0"}}),
       .infer = infer_pool,
       .compute = {.body = average_pool_body},
       .doc = "Mean over windows (ONNX AveragePool)."},
      {.domain = "",
       .name = "LpPool",
       .inputs = {{"X", "T", kFloat16To64}},
       .outputs = {{"Y", "T", kFloat16To64}},
       .attrs = pool_attrs({{"p", AttrKind::kInt, false, "2"}}),
       .infer = infer_lp_pool,
       .compute = {.body = lp_pool_body},
       .doc = "p-norm over windows (ONNX LpPool)."},
      {.domain = "",
       .name = "GlobalAveragePool",
       .inputs = {{"X", "T", kFloat16To64}},
       .outputs = {{"Y", "T", kFloat16To64}},
       .infer = infer_global,
       .compute = {.body = global_average_body},
       .doc = "Mean over all spatial axes (ONNX GlobalAveragePool)."},
      {.domain = "",
       .name = "GlobalMaxPool",
       .inputs = {{"X", "T", kFloat16To64}},
       .outputs = {{"Y", "T", kFloat16To64}},
       .infer = infer_global,
       .compute = {.body = global_max_body},
       .doc = "Maximum over all spatial axes (ONNX GlobalMaxPool)."},
      {.domain = "",
       .name = "GlobalLpPool",
       .inputs = {{"X", "T", kFloat16To64}},
       .outputs = {{"Y", "T", kFloat16To64}},
       .attrs = {{"p", AttrKind::kInt, false, "2"}},
       .infer = infer_global_lp,
       .compute = {.body = global_lp_body},
       .doc = "p-norm over all spatial axes (ONNX GlobalLpPool)."},
      {.domain = "",
       .name = "MaxUnpool",
       .inputs = {{"X", "T1", kFloat16To64}, {"I", "T2", kIndex}, {"output_shape", "T2", kIndex, true}},
       .outputs = {{"output", "T1", kFloat16To64}},
       .attrs = {{"kernel_shape", AttrKind::kInts, true}, {"pads", AttrKind::kInts}, {"strides", AttrKind::kInts}},
       .infer = infer_max_unpool,
       .compute = {.body = max_unpool_body, .eval = eval_max_unpool},
       .doc = "Partial inverse of MaxPool (ONNX MaxUnpool)."},
  };
}

}  // namespace tenon::ir
