#include <algorithm>
#include <cstring>

#include "ir/ops/body_helpers.h"
#include "ir/ops/families.h"

/// Ops whose output elements are input elements at other places.
namespace tenon::ir {
namespace {

constexpr DTypeSet kI64Only = dtypes(DType::kI64);
constexpr DTypeSet kIndex = dtypes(DType::kI32, DType::kI64);

Status infer_unranked(InferContext& c) {
  c.set(0, TensorType::unranked(c.dtype(0)));
  return {};
}

// ---- Transpose

Result<std::vector<int64_t>> permutation(const Node& node, int64_t rank) {
  std::vector<int64_t> perm = node.attr_ints("perm");
  if (perm.empty())
    for (int64_t i = rank; i-- > 0;) perm.push_back(i);
  if (static_cast<int64_t>(perm.size()) != rank)
    return error(Code::kInvalidModel, "perm has {} entries for rank {}", perm.size(), rank);
  return normalize_axes(std::move(perm), rank);
}

Status infer_transpose(InferContext& c) {
  if (!c.ranked(0)) return infer_unranked(c);
  const std::vector<Dim>& dims = c.shape(0);
  const Result<std::vector<int64_t>> perm = permutation(c.node(), static_cast<int64_t>(dims.size()));
  if (!perm.ok()) return c.fail_text(perm.status().what());
  std::vector<Dim> out;
  for (int64_t axis : *perm) out.push_back(dims[static_cast<size_t>(axis)]);
  c.set(0, TensorType(c.dtype(0), std::move(out)));
  return {};
}

Result<std::vector<Body>> transpose_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kMovement);
  TENON_ASSIGN_OR_RETURN(const std::vector<int64_t> perm, permutation(node, static_cast<int64_t>(body.axes.size())));
  std::vector<Expr> at(perm.size());
  for (size_t i = 0; i < perm.size(); ++i) at[static_cast<size_t>(perm[i])] = body.pool->index(static_cast<int>(i));
  body.value = load_at(body, node, 0, at);
  return one_body(std::move(body));
}

// ---- Concat

Status infer_concat(InferContext& c) {
  std::vector<Dim> out;
  Dim total = 0;
  int64_t axis = -1;
  std::optional<std::vector<Dim>> values = std::vector<Dim>();
  for (int i = 0; i < c.node().num_inputs(); ++i) {
    if (!c.has(i)) return c.fail("input {} is missing", i);
    if (!c.ranked(i)) return infer_unranked(c);
    const std::vector<Dim>& dims = c.shape(i);
    const Result<int64_t> at = normalize_axis(c.node().attr_int("axis", 0), static_cast<int64_t>(dims.size()));
    if (!at.ok()) return c.fail_text(at.status().what());
    if (i == 0) out = dims;
    if (dims.size() != out.size()) return c.fail("inputs of rank {} and {}", out.size(), dims.size());
    axis = *at;
    total = total + dims[static_cast<size_t>(axis)];
    for (size_t k = 0; k < dims.size(); ++k) {
      if (static_cast<int64_t>(k) == axis) continue;
      if (c.differ(out[k], dims[k])) return c.fail("input {} is {}, which does not fit {}", i, to_string(c.in(i)), to_string(c.in(0)));
      if (dims[k].is_const()) out[k] = dims[k];
    }
    const std::optional<std::vector<Dim>> part = c.dim_values(i);
    if (part && values) values->insert(values->end(), part->begin(), part->end());
    else values.reset();
  }
  out[static_cast<size_t>(axis)] = total;
  if (values && out.size() == 1) c.set_dim_values(0, std::move(*values));
  c.set(0, TensorType(c.dtype(0), std::move(out)));
  return {};
}

Result<std::vector<Body>> concat_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kMovement);
  ExprPool& pool = *body.pool;
  const size_t rank = body.axes.size();
  TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(node.attr_int("axis", 0), static_cast<int64_t>(rank)));
  const Expr position = pool.index(static_cast<int>(axis));
  std::vector<Dim> starts = {Dim(0)};
  for (int i = 0; i < node.num_inputs(); ++i)
    starts.push_back(starts.back() + input_dims(node, i)[static_cast<size_t>(axis)]);
  Expr value = body.dtype == DType::kBool || is_int(body.dtype) ? pool.constant_int(body.dtype, 0) : pool.constant(body.dtype, 0);
  for (int i = node.num_inputs(); i-- > 0;) {
    const size_t k = static_cast<size_t>(i);
    std::vector<Expr> at = axis_indices(pool, rank);
    at[static_cast<size_t>(axis)] = position - pool.dim(starts[k]);
    // The outermost input of the chain is read where its own range is; the last one needs no upper bound.
    Expr inside = position >= pool.dim(starts[k]);
    if (i + 1 < node.num_inputs()) inside = inside && position < pool.dim(starts[k + 1]);
    if (i == 0) inside = node.num_inputs() == 1 ? pool.constant_int(DType::kBool, 1) : position < pool.dim(starts[1]);
    value = pool.load_guarded(i, body.dtype, at, inside, value);
  }
  body.value = value;
  return one_body(std::move(body));
}

struct Split3 {
  int64_t outer = 1, extent = 1, inner = 1;
};
Split3 split_shape(const Shape& shape, int64_t axis) {
  Split3 s{.extent = shape[static_cast<size_t>(axis)]};
  for (int64_t i = 0; i < static_cast<int64_t>(shape.size()); ++i)
    if (i != axis) (i < axis ? s.outer : s.inner) *= shape[static_cast<size_t>(i)];
  return s;
}

Status eval_concat(EvalContext& c) {
  const Tensor& first = c.tensor(0);
  TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(c.node.attr_int("axis", 0), first.rank()));
  Shape shape = first.shape();
  shape[static_cast<size_t>(axis)] = 0;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const int64_t extent = c.tensor(static_cast<int>(i)).dim(axis);
    if (__builtin_add_overflow(shape[static_cast<size_t>(axis)], extent, &shape[static_cast<size_t>(axis)]))
      return error(Code::kResourceExhausted, "the joined axis is too long");
  }
  TENON_ASSIGN_OR_RETURN(Tensor * out, c.allocate(0, first.dtype(), shape));
  const Split3 whole = split_shape(shape, axis);
  int64_t start = 0;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const Tensor& part = c.tensor(static_cast<int>(i));
    const int64_t extent = part.dim(axis);
    for (int64_t o = 0; o < whole.outer; ++o)
      copy_range(part, o * extent * whole.inner, *out, (o * whole.extent + start) * whole.inner, extent * whole.inner);
    start += extent;
  }
  return {};
}

// ---- Split

Result<std::vector<Dim>> split_sizes(const Node& node, Dim extent, const std::optional<std::vector<Dim>>& given) {
  const int64_t parts = node.num_outputs();
  if (given) {
    if (static_cast<int64_t>(given->size()) != parts)
      return error(Code::kInvalidModel, "split has {} entries for {} outputs", given->size(), parts);
    Dim total = 0;
    for (const Dim& d : *given) {
      if (d.is_const() && d.value() < 0) return error(Code::kInvalidModel, "split has the entry {}", d.value());
      total = total + d;
    }
    if (known_ne(total, extent))
      return error(Code::kInvalidModel, "the parts of split sum to {}, not {}", to_string(total), to_string(extent));
    return *given;
  }
  const int64_t wanted = node.attr_int("num_outputs", parts);
  if (wanted != parts) return error(Code::kInvalidModel, "num_outputs is {}, but there are {} outputs", wanted, parts);
  // Equal parts but for the last ones, which take what is left.
  const Dim each = ceil_div(extent, Dim(parts));
  std::vector<Dim> sizes;
  for (int64_t i = 0; i < parts; ++i) {
    const Dim left = extent - each * Dim(i);
    sizes.push_back(known_le(each, left) ? each : max(min(left, each), 0));
  }
  return sizes;
}

Status infer_split(InferContext& c) {
  const int outputs = c.node().num_outputs();
  if (!c.ranked(0)) {
    for (int i = 0; i < outputs; ++i) c.set(i, TensorType::unranked(c.dtype(0)));
    return {};
  }
  const std::vector<Dim>& dims = c.shape(0);
  const Result<int64_t> axis = normalize_axis(c.node().attr_int("axis", 0), static_cast<int64_t>(dims.size()));
  if (!axis.ok()) return c.fail_text(axis.status().what());
  const size_t at = static_cast<size_t>(*axis);
  const std::optional<std::vector<Dim>> given = c.dim_values(1);
  std::vector<Dim> sizes;
  if (c.has(1) && !given) {
    for (int i = 0; i < outputs; ++i) sizes.push_back(c.fresh_dim(i, static_cast<int>(*axis)));
  } else {
    Result<std::vector<Dim>> known = split_sizes(c.node(), dims[at], given);
    if (!known.ok()) return c.fail_text(known.status().what());
    sizes = std::move(*known);
  }
  const std::optional<std::vector<Dim>> values = dims.size() == 1 ? c.dim_values(0) : std::nullopt;
  int64_t start = 0;
  for (int i = 0; i < outputs; ++i) {
    std::vector<Dim> out = dims;
    out[at] = sizes[static_cast<size_t>(i)];
    if (values && start >= 0 && out[at].is_const() && start + out[at].value() <= std::ssize(*values)) {
      c.set_dim_values(i, std::vector<Dim>(values->begin() + start, values->begin() + start + out[at].value()));
      start += out[at].value();
    } else {
      start = -1;
    }
    c.set(i, TensorType(c.dtype(0), std::move(out)));
  }
  return {};
}

Result<std::vector<Body>> split_body(const Node& node) {
  TENON_RETURN_IF_ERROR(require_known_shape(node));
  std::vector<Body> bodies;
  Dim start = 0;
  for (int i = 0; i < node.num_outputs(); ++i) {
    Body body = start_body(node, ComputeKind::kMovement, i);
    TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(node.attr_int("axis", 0), static_cast<int64_t>(body.axes.size())));
    std::vector<Expr> at = axis_indices(*body.pool, body.axes.size());
    at[static_cast<size_t>(axis)] = at[static_cast<size_t>(axis)] + body.pool->dim(start);
    body.value = load_at(body, node, 0, at);
    start = start + body.axes[static_cast<size_t>(axis)];
    bodies.push_back(std::move(body));
  }
  return bodies;
}

// ---- Slice

struct SliceSpec {
  std::vector<Dim> start, extent;  // by axis
  std::vector<int64_t> step;
};

// A start or end given as in Python, as a position in [lo, hi]; nullopt when its sign is not known. An extent is never
// negative, whatever its expression could give.
std::optional<Dim> slice_position(Dim given, Dim extent, Dim lo, Dim hi) {
  constexpr int64_t kFar = int64_t{1} << 61;  // beyond every dim, and far from overflow
  if (given.is_const(0) && hi == extent) return given;
  if (given.is_const() && given.value() >= kFar) return hi;
  if (given.is_const() && given.value() <= -kFar) return lo;
  if (known_lt(given, 0)) return max(min(given + extent, hi), lo);
  if (known_le(0, given)) return min(given, hi);
  const Dim negative = Dim(0) - max(min(given, 0), -1);  // 1 or 0
  return max(min(given + negative * extent, hi), lo);
}

// nullopt: not known; the caller knows which axes are touched from `touched`, when even those are known.
Result<std::optional<SliceSpec>> slice_spec(const std::vector<Dim>& dims, const std::optional<std::vector<Dim>>& starts,
                                            const std::optional<std::vector<Dim>>& ends, const std::vector<int64_t>& axes,
                                            const std::vector<int64_t>& steps) {
  if (!starts || !ends) return std::optional<SliceSpec>();
  if (starts->size() != ends->size() || axes.size() != starts->size() || steps.size() != starts->size())
    return error(Code::kInvalidModel, "starts, ends, axes and steps have {}, {}, {} and {} entries", starts->size(),
                 ends->size(), axes.size(), steps.size());
  SliceSpec spec{std::vector<Dim>(dims.size(), Dim(0)), dims, std::vector<int64_t>(dims.size(), 1)};
  for (size_t i = 0; i < axes.size(); ++i) {
    const size_t axis = static_cast<size_t>(axes[i]);
    const Dim extent = dims[axis];
    const int64_t step = steps[i];
    if (step == 0) return error(Code::kInvalidModel, "a step of 0");
    const bool forward = step > 0;
    const std::optional<Dim> start = forward ? slice_position((*starts)[i], extent, 0, extent)
                                             : slice_position((*starts)[i], extent, 0, extent - 1);
    const std::optional<Dim> end = forward ? slice_position((*ends)[i], extent, 0, extent)
                                           : slice_position((*ends)[i], extent, -1, extent - 1);
    if (!start || !end) return std::optional<SliceSpec>();
    const Dim length = forward ? ceil_div(*end - *start, Dim(step))
                               // Both minima are beyond every extent; an empty axis has no last element to start at.
                               : min(ceil_div(*start - *end, Dim(-std::max(step, -INT64_MAX))), extent);
    spec.start[axis] = *start;
    spec.extent[axis] = length == extent ? extent : max(length, 0);
    spec.step[axis] = step;
    if (!spec.extent[axis].is_valid()) return std::optional<SliceSpec>();
  }
  return std::optional<SliceSpec>(std::move(spec));
}

struct SliceInputs {
  bool known_axes = false;
  std::vector<int64_t> axes, steps;
};

Result<SliceInputs> slice_inputs(InferContext& c, int64_t rank) {
  SliceInputs in;
  const std::optional<std::vector<Dim>> starts = c.dim_values(1), ends = c.dim_values(2);
  int64_t count = starts ? std::ssize(*starts) : ends ? std::ssize(*ends) : -1;
  if (count < 0 && c.ranked(1) && c.shape(1).size() == 1 && c.shape(1)[0].is_const()) count = c.shape(1)[0].value();
  if (c.has(3)) {
    TENON_ASSIGN_OR_RETURN(const auto axes, axes_input(c, 3, rank));
    if (!axes) return in;
    in.axes = *axes;
  } else {
    if (count < 0) return in;
    if (count > rank) return c.fail("{} starts for rank {}", count, rank);
    for (int64_t i = 0; i < count; ++i) in.axes.push_back(i);
  }
  in.known_axes = true;
  if (c.has(4)) {
    if (const std::optional<std::vector<int64_t>> steps = known_ints(c, 4)) in.steps = *steps;
  } else {
    in.steps.assign(in.axes.size(), 1);
  }
  return in;
}

Result<std::optional<SliceSpec>> known_slice(InferContext& c, const SliceInputs& in) {
  if (!in.known_axes || (c.has(4) && !known_ints(c, 4))) return std::optional<SliceSpec>();
  return slice_spec(c.shape(0), c.dim_values(1), c.dim_values(2), in.axes, in.steps);
}

void slice_dim_values(InferContext& c, const SliceSpec& spec) {
  const std::optional<std::vector<Dim>> values = c.dim_values(0);
  if (!values || spec.start.size() != 1 || !spec.start[0].is_const() || !spec.extent[0].is_const()) return;
  std::vector<Dim> out;
  for (int64_t i = 0; i < spec.extent[0].value(); ++i) {
    const int64_t at = spec.start[0].value() + i * spec.step[0];
    if (at < 0 || at >= std::ssize(*values)) return;
    out.push_back((*values)[static_cast<size_t>(at)]);
  }
  c.set_dim_values(0, std::move(out));
}

Status infer_slice(InferContext& c) {
  if (!c.ranked(0)) return infer_unranked(c);
  const std::vector<Dim>& dims = c.shape(0);
  TENON_ASSIGN_OR_RETURN(const SliceInputs in, slice_inputs(c, static_cast<int64_t>(dims.size())));
  const Result<std::optional<SliceSpec>> spec = known_slice(c, in);
  if (!spec.ok()) return c.fail_text(spec.status().what());
  if (*spec) {
    c.set(0, TensorType(c.dtype(0), (*spec)->extent));
    slice_dim_values(c, **spec);
    return {};
  }
  std::vector<Dim> out = dims;
  for (size_t i = 0; i < dims.size(); ++i)
    if (!in.known_axes || std::ranges::find(in.axes, static_cast<int64_t>(i)) != in.axes.end())
      out[i] = c.fresh_dim(0, static_cast<int>(i));
  c.set(0, TensorType(c.dtype(0), std::move(out)));
  return {};
}

Result<std::vector<Body>> slice_body(const Node& node) {
  InferContext c(const_cast<Node&>(node));  // reads only
  TENON_ASSIGN_OR_RETURN(const SliceInputs in, slice_inputs(c, static_cast<int64_t>(c.shape(0).size())));
  TENON_ASSIGN_OR_RETURN(const std::optional<SliceSpec> spec, known_slice(c, in));
  if (!spec) return error(Code::kUnsupported, "the range of the slice is known only at run time");
  Body body = start_body(node, ComputeKind::kMovement);
  std::vector<Expr> at = axis_indices(*body.pool, body.axes.size());
  for (size_t i = 0; i < at.size(); ++i)
    at[i] = body.pool->dim(spec->start[i]) + at[i] * i64(*body.pool, spec->step[i]);
  body.value = load_at(body, node, 0, at);
  return one_body(std::move(body));
}

// ---- Expand, Tile

/// Where the target is data, it is not taken to be the input's dim: it may be that or 1, or the input's dim may be 1.
void expand_to_data(const std::vector<Dim>& from, const std::vector<Dim>& target, std::vector<Dim>& dims) {
  for (size_t i = 0; i < dims.size(); ++i) {
    const size_t behind = dims.size() - i;  // axes from here on
    if (behind > target.size() || !is_data(target[target.size() - behind])) continue;
    const Dim wanted = target[target.size() - behind], in = behind > from.size() ? Dim(1) : from[from.size() - behind];
    const Dim other = min(max(wanted - 1, Dim(1) - wanted), 1);  // 0 where 1 is wanted, else 1
    dims[i] = in.is_const(1) ? wanted : wanted + (in - 1) * (Dim(1) - other);
  }
}

Status infer_expand(InferContext& c) {
  const std::optional<std::vector<Dim>> shape = c.dim_values(1);
  if (shape && c.ranked(0)) {
    for (const Dim& d : *shape)
      if (d.is_const() && d.value() < 0) return c.fail("the shape has the dim {}", d.value());
    const std::vector<Dim> both[] = {c.shape(0), *shape};
    Result<std::vector<Dim>> dims = broadcast(both);
    if (!dims.ok()) return c.fail_text(dims.status().what());
    expand_to_data(c.shape(0), *shape, *dims);
    c.set(0, TensorType(c.dtype(0), std::move(*dims)));
    if (const auto values = c.dim_values(0); values && values->size() == 1 && c.node().output()->tensor().rank() == 1) {
      const Dim count = c.node().output()->tensor().dim(0);
      if (count.is_const() && count.value() <= 4096)
        c.set_dim_values(0, std::vector<Dim>(static_cast<size_t>(count.value()), values->front()));
    }
    return {};
  }
  if (!c.ranked(0) || !c.ranked(1) || c.shape(1).size() != 1 || !c.shape(1)[0].is_const() || c.shape(1)[0].value() > 64)
    return infer_unranked(c);
  const int64_t rank = std::max(std::ssize(c.shape(0)), c.shape(1)[0].value());
  std::vector<Dim> dims;
  for (int i = 0; i < rank; ++i) dims.push_back(c.fresh_dim(0, i));
  c.set(0, TensorType(c.dtype(0), std::move(dims)));
  return {};
}

Result<std::vector<Body>> expand_body(const Node& node) {
  TENON_RETURN_IF_ERROR(require_known_shape(node));
  Body body = start_body(node, ComputeKind::kElementwise);
  body.value = load_broadcast(body, node, 0, axis_indices(*body.pool, body.axes.size()), body.axes);
  return one_body(std::move(body));
}

Status infer_tile(InferContext& c) {
  if (!c.ranked(0)) return infer_unranked(c);
  std::vector<Dim> dims = c.shape(0);
  const std::optional<std::vector<Dim>> repeats = c.dim_values(1);
  if (!repeats && c.ranked(1) && (c.shape(1).size() != 1 || c.differ(c.shape(1)[0], std::ssize(dims))))
    return c.fail("the repeats are {} for rank {}", to_string(c.in(1)), dims.size());
  if (repeats && repeats->size() != dims.size()) return c.fail("{} repeats for rank {}", repeats->size(), dims.size());
  for (size_t i = 0; i < dims.size(); ++i) {
    if (repeats && (*repeats)[i].is_const() && (*repeats)[i].value() < 0) return c.fail("a repeat of {}", (*repeats)[i].value());
    dims[i] = repeats ? dims[i] * (*repeats)[i] : c.fresh_dim(0, static_cast<int>(i));
  }
  c.set(0, TensorType(c.dtype(0), std::move(dims)));
  return {};
}

Result<std::vector<Body>> tile_body(const Node& node) {
  TENON_RETURN_IF_ERROR(require_known_shape(node));
  Body body = start_body(node, ComputeKind::kMovement);
  std::vector<Expr> at = axis_indices(*body.pool, body.axes.size());
  for (size_t i = 0; i < at.size(); ++i)
    if (const Dim d = input_dims(node, 0)[i]; d != body.axes[i]) at[i] = mod(at[i], body.pool->dim(d));
  body.value = load_at(body, node, 0, at);
  return one_body(std::move(body));
}

// ---- Pad

struct Pads {
  std::vector<Dim> before, after;  // by axis
};

Result<std::optional<Pads>> known_pads(InferContext& c) {
  const std::vector<Dim>& dims = c.shape(0);
  const std::optional<std::vector<Dim>> given = c.dim_values(1);
  TENON_ASSIGN_OR_RETURN(auto axes, axes_input(c, 3, static_cast<int64_t>(dims.size())));
  if (!given || (c.has(3) && !axes)) return std::optional<Pads>();
  if (!axes) {
    axes.emplace();
    for (size_t i = 0; i < dims.size(); ++i) axes->push_back(static_cast<int64_t>(i));
  }
  if (given->size() != 2 * axes->size()) return c.fail("pads has {} entries for {} axes", given->size(), axes->size());
  Pads pads{std::vector<Dim>(dims.size(), Dim(0)), std::vector<Dim>(dims.size(), Dim(0))};
  for (size_t i = 0; i < axes->size(); ++i) {
    pads.before[static_cast<size_t>((*axes)[i])] = (*given)[i];
    pads.after[static_cast<size_t>((*axes)[i])] = (*given)[i + axes->size()];
  }
  return std::optional<Pads>(std::move(pads));
}

Status infer_pad(InferContext& c) {
  const std::string mode = c.node().attr_string("mode", "constant");
  if (mode != "constant" && mode != "reflect" && mode != "edge" && mode != "wrap") return c.fail("there is no mode '{}'", mode);
  if (!c.ranked(0)) return infer_unranked(c);
  TENON_ASSIGN_OR_RETURN(const std::optional<Pads> pads, known_pads(c));
  std::vector<Dim> dims = c.shape(0);
  for (size_t i = 0; i < dims.size(); ++i) {
    const Dim extent = dims[i];
    dims[i] = pads ? extent + pads->before[i] + pads->after[i] : c.fresh_dim(0, static_cast<int>(i));
    if (mode != "constant" && extent.is_const(0) && known_ne(dims[i], 0)) return c.fail("an empty axis cannot be padded by '{}'", mode);
  }
  c.set(0, TensorType(c.dtype(0), std::move(dims)));
  return {};
}

Expr pad_source(std::string_view mode, Expr at, Dim extent) {
  ExprPool& pool = *at.pool;
  const Expr zero = i64(pool, 0), last = pool.dim(extent - 1);
  if (mode == "edge") return min(max(at, zero), last);
  if (mode == "wrap") return mod(at, pool.dim(extent));
  const Expr period = last + last, phase = mod(at, period);  // reflect: 0 … last … 1, repeated
  return select(phase <= last, phase, period - phase);
}

Result<std::vector<Body>> pad_body(const Node& node) {
  InferContext c(const_cast<Node&>(node));  // reads only
  TENON_ASSIGN_OR_RETURN(const std::optional<Pads> pads, known_pads(c));
  if (!pads) return error(Code::kUnsupported, "the pads are known only at run time");
  const std::string mode = node.attr_string("mode", "constant");
  Body body = start_body(node, ComputeKind::kMovement);
  ExprPool& pool = *body.pool;
  std::vector<Expr> at = axis_indices(pool, body.axes.size());
  Expr inside = pool.constant_int(DType::kBool, 1);
  for (size_t i = 0; i < at.size(); ++i) {
    if (pads->before[i].is_const(0) && pads->after[i].is_const(0)) continue;
    const Dim extent = input_dims(node, 0)[i];
    at[i] = at[i] - pool.dim(pads->before[i]);
    if (mode == "constant") inside = inside && at[i] >= i64(pool, 0) && at[i] < pool.dim(extent);
    else at[i] = pad_source(mode, at[i], extent);
  }
  const Expr fill = node.has_input(2) && mode == "constant" ? load_only(body, node, 2) : pool.constant(body.dtype, 0);
  body.value = pool.load_guarded(0, body.dtype, at, inside, fill);
  return one_body(std::move(body));
}

// ---- DepthToSpace, SpaceToDepth

Result<int64_t> block_size(InferContext& c) {
  const int64_t b = c.node().attr_int("blocksize", 1);
  if (b < 1 || b > (1 << 20)) return c.fail("a blocksize of {}", b);
  if (c.ranked(0) && c.shape(0).size() != 4) return c.fail("the input is {}, not of rank 4", to_string(c.in(0)));
  return b;
}

Status infer_depth_to_space(InferContext& c) {
  TENON_ASSIGN_OR_RETURN(const int64_t b, block_size(c));
  if (!c.ranked(0)) return infer_unranked(c);
  const std::vector<Dim>& d = c.shape(0);
  if (c.differ(mod(d[1], b * b), 0)) return c.fail("{} channels do not divide by {}", to_string(d[1]), b * b);
  c.set(0, TensorType(c.dtype(0), {d[0], floor_div(d[1], b * b), d[2] * b, d[3] * b}));
  return {};
}

Result<std::vector<Body>> depth_to_space_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kMovement);
  ExprPool& pool = *body.pool;
  const std::vector<Expr> at = axis_indices(pool, 4);
  const Expr b = i64(pool, node.attr_int("blocksize", 1));
  const Expr in_block = mod(at[2], b) * b + mod(at[3], b);
  const Expr channel = node.attr_string("mode", "DCR") == "CRD" ? at[1] * (b * b) + in_block
                                                                : in_block * pool.dim(body.axes[1]) + at[1];
  const Expr from[] = {at[0], channel, floor_div(at[2], b), floor_div(at[3], b)};
  body.value = load_at(body, node, 0, from);
  return one_body(std::move(body));
}

Status infer_space_to_depth(InferContext& c) {
  TENON_ASSIGN_OR_RETURN(const int64_t b, block_size(c));
  if (!c.ranked(0)) return infer_unranked(c);
  const std::vector<Dim>& d = c.shape(0);
  for (size_t i : {2, 3})
    if (c.differ(mod(d[i], b), 0)) return c.fail("an axis of {} does not divide by {}", to_string(d[i]), b);
  c.set(0, TensorType(c.dtype(0), {d[0], d[1] * (b * b), floor_div(d[2], b), floor_div(d[3], b)}));
  return {};
}

Result<std::vector<Body>> space_to_depth_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kMovement);
  ExprPool& pool = *body.pool;
  const std::vector<Expr> at = axis_indices(pool, 4);
  const Expr b = i64(pool, node.attr_int("blocksize", 1)), channels = pool.dim(input_dims(node, 0)[1]);
  const Expr in_block = floor_div(at[1], channels);
  const Expr from[] = {at[0], mod(at[1], channels), at[2] * b + floor_div(in_block, b), at[3] * b + mod(in_block, b)};
  body.value = load_at(body, node, 0, from);
  return one_body(std::move(body));
}

// ---- ReverseSequence

Status infer_reverse_sequence(InferContext& c) {
  const int64_t batch = c.node().attr_int("batch_axis", 1), time = c.node().attr_int("time_axis", 0);
  if (batch + time != 1 || batch < 0 || time < 0) return c.fail("batch_axis {} and time_axis {} must be 0 and 1", batch, time);
  if (c.ranked(0) && c.shape(0).size() < 2) return c.fail("the input is {}, of rank below 2", to_string(c.in(0)));
  if (c.ranked(1) && c.shape(1).size() != 1) return c.fail("sequence_lens is {}, not of rank 1", to_string(c.in(1)));
  if (c.ranked(0) && c.ranked(1) && c.differ(c.shape(1)[0], c.shape(0)[static_cast<size_t>(batch)]))
    return c.fail("sequence_lens is {} for {}", to_string(c.in(1)), to_string(c.in(0)));
  return infer_as_input(c);
}

Result<std::vector<Body>> reverse_sequence_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kMovement);
  ExprPool& pool = *body.pool;
  std::vector<Expr> at = axis_indices(pool, body.axes.size());
  const size_t batch = static_cast<size_t>(node.attr_int("batch_axis", 1)), time = 1 - batch;
  const Expr which[] = {at[batch]};
  const Expr length = load_at(body, node, 1, which);
  const Expr reversed = select(at[time] < length, length - 1.0 - at[time], at[time]);
  at[time] = pool.checked_index(reversed, pool.dim(body.axes[time]));
  body.value = load_at(body, node, 0, at);
  return one_body(std::move(body));
}

// ---- Trilu

Status infer_trilu(InferContext& c) {
  if (c.ranked(0) && c.shape(0).size() < 2) return c.fail("the input is {}, of rank below 2", to_string(c.in(0)));
  if (c.has(1) && c.ranked(1) && c.differ(product(c.shape(1)), 1)) return c.fail("k is {}, not one number", to_string(c.in(1)));
  return infer_as_input(c);
}

Result<std::vector<Body>> trilu_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kMovement);
  ExprPool& pool = *body.pool;
  const std::vector<Expr> at = axis_indices(pool, body.axes.size());
  const Expr k = node.has_input(1) ? load_only(body, node, 1) : i64(pool, 0);
  const Expr row = at[at.size() - 2] + k, column = at.back();
  const Expr kept = node.attr_int("upper", 1) != 0 ? column >= row : column <= row;
  body.value = select(kept, load_at(body, node, 0, at), pool.constant(body.dtype, 0));
  return one_body(std::move(body));
}

// ---- CenterCropPad

Result<std::vector<std::pair<size_t, Dim>>> crop_targets(InferContext& c) {
  std::vector<std::pair<size_t, Dim>> out;
  const int64_t rank = static_cast<int64_t>(c.shape(0).size());
  std::vector<int64_t> axes = c.node().attr_ints("axes");
  if (axes.empty())
    for (int64_t i = 0; i < rank; ++i) axes.push_back(i);
  Result<std::vector<int64_t>> normal = normalize_axes(std::move(axes), rank);
  if (!normal.ok()) return c.fail_text(normal.status().what());
  const std::optional<std::vector<Dim>> shape = c.dim_values(1);
  if (shape && shape->size() != normal->size()) return c.fail("{} sizes for {} axes", shape->size(), normal->size());
  for (size_t i = 0; i < normal->size(); ++i)
    out.emplace_back(static_cast<size_t>((*normal)[i]), shape ? (*shape)[i] : c.fresh_dim(0, static_cast<int>((*normal)[i])));
  return out;
}

Status infer_center_crop_pad(InferContext& c) {
  if (!c.ranked(0)) return infer_unranked(c);
  std::vector<Dim> dims = c.shape(0);
  TENON_ASSIGN_OR_RETURN(const auto targets, crop_targets(c));
  for (const auto& [axis, target] : targets) {
    if (target.is_const() && target.value() < 0) return c.fail("a size of {}", target.value());
    dims[axis] = target;
  }
  c.set(0, TensorType(c.dtype(0), std::move(dims)));
  return {};
}

Result<std::vector<Body>> center_crop_pad_body(const Node& node) {
  TENON_RETURN_IF_ERROR(require_known_shape(node));
  InferContext c(const_cast<Node&>(node));  // reads only
  TENON_ASSIGN_OR_RETURN(const auto targets, crop_targets(c));
  Body body = start_body(node, ComputeKind::kMovement);
  ExprPool& pool = *body.pool;
  std::vector<Expr> at = axis_indices(pool, body.axes.size());
  Expr inside = pool.constant_int(DType::kBool, 1);
  for (const auto& [axis, target] : targets) {
    // Crop: skip floor(excess / 2); pad: floor(missing / 2) before. Both truncate.
    const Expr extent = pool.dim(input_dims(node, 0)[axis]);
    at[axis] = at[axis] + (extent - pool.dim(target)) / i64(pool, 2);
    inside = inside && at[axis] >= i64(pool, 0) && at[axis] < extent;
  }
  body.value = pool.load_guarded(0, body.dtype, at, inside, pool.constant(body.dtype, 0));
  return one_body(std::move(body));
}

}  // namespace

std::vector<OpDef> movement_ops() {
  return {
      {.domain = "",
       .name = "Transpose",
       .inputs = {{"data", "T"}},
       .outputs = {{"transposed", "T"}},
       .attrs = {{"perm", AttrKind::kInts}},
       .infer = infer_transpose,
       .compute = {.body = transpose_body},
       .doc = "The axes in another order (Transpose)"},
      {.domain = "",
       .name = "Concat",
       .inputs = {{.name = "inputs", .var = "T", .variadic = true}},
       .outputs = {{"concat_result", "T"}},
       .attrs = {{"axis", AttrKind::kInt, true}},
       .infer = infer_concat,
       .compute = {.body = concat_body, .eval = eval_concat},
       .doc = "The inputs one after the other along an axis (Concat)"},
      {.domain = "",
       .name = "Split",
       .inputs = {{"input", "T"}, {"split", "I", kI64Only, true}},
       .outputs = {{.name = "outputs", .var = "T", .variadic = true}},
       .attrs = {{"axis", AttrKind::kInt, false, "0"}, {"num_outputs", AttrKind::kInt}},
       .infer = infer_split,
       .compute = {.body = split_body},
       .doc = "Consecutive parts of an axis (Split)"},
      {.domain = "",
       .name = "Slice",
       .inputs = {{"data", "T"}, {"starts", "Tind", kIndex}, {"ends", "Tind", kIndex}, {"axes", "Tind", kIndex, true}, {"steps", "Tind", kIndex, true}},
       .outputs = {{"output", "T"}},
       .infer = infer_slice,
       .compute = {.body = slice_body},
       .doc = "Ranges of axes, with steps (Slice)"},
      {.domain = "",
       .name = "Expand",
       .inputs = {{"input", "T"}, {"shape", "I", kI64Only}},
       .outputs = {{"output", "T"}},
       .infer = infer_expand,
       .compute = {.body = expand_body},
       .doc = "Broadcast with a shape (Expand)"},
      {.domain = "",
       .name = "Tile",
       .inputs = {{"input", "T"}, {"repeats", "I", kI64Only}},
       .outputs = {{"output", "T"}},
       .infer = infer_tile,
       .compute = {.body = tile_body},
       .doc = "The input repeated along its axes (Tile)"},
      {.domain = "",
       .name = "Pad",
       .inputs = {{"data", "T"}, {"pads", "I", kI64Only}, {"constant_value", "T", kAnyTensor, true}, {"axes", "Tind", kIndex, true}},
       .outputs = {{"output", "T"}},
       .attrs = {{"mode", AttrKind::kString, false, "constant"}},
       .infer = infer_pad,
       .compute = {.body = pad_body},
       .doc = "With elements before and after axes; negative pads crop (Pad)"},
      {.domain = "",
       .name = "DepthToSpace",
       .inputs = {{"input", "T"}},
       .outputs = {{"output", "T"}},
       .attrs = {{"blocksize", AttrKind::kInt, true}, {"mode", AttrKind::kString, false, "DCR"}},
       .infer = infer_depth_to_space,
       .compute = {.body = depth_to_space_body},
       .doc = "Blocks of channels as space (DepthToSpace)"},
      {.domain = "",
       .name = "SpaceToDepth",
       .inputs = {{"input", "T"}},
       .outputs = {{"output", "T"}},
       .attrs = {{"blocksize", AttrKind::kInt, true}},
       .infer = infer_space_to_depth,
       .compute = {.body = space_to_depth_body},
       .doc = "Blocks of space as channels (SpaceToDepth)"},
      {.domain = "",
       .name = "ReverseSequence",
       .inputs = {{"input", "T"}, {"sequence_lens", "I", kI64Only}},
       .outputs = {{"Y", "T"}},
       .attrs = {{"time_axis", AttrKind::kInt, false, "0"}, {"batch_axis", AttrKind::kInt, false, "1"}},
       .infer = infer_reverse_sequence,
       .compute = {.body = reverse_sequence_body},
       .doc = "The first elements of each sequence in reverse (ReverseSequence)"},
      {.domain = "",
       .name = "Trilu",
       .inputs = {{"input", "T"}, {"k", "I", kI64Only, true}},
       .outputs = {{"output", "T"}},
       .attrs = {{"upper", AttrKind::kInt, false, "1"}},
       .infer = infer_trilu,
       .compute = {.body = trilu_body},
       .doc = "The upper or lower triangle of matrices (Trilu)"},
      {.domain = "",
       .name = "CenterCropPad",
       .inputs = {{"input_data", "T"}, {"shape", "Tind", kIndex}},
       .outputs = {{"output_data", "T"}},
       .attrs = {{"axes", AttrKind::kInts}},
       .infer = infer_center_crop_pad,
       .compute = {.body = center_crop_pad_body},
       .doc = "The middle of the input, padded where it is smaller (CenterCropPad)"},
  };
}

}  // namespace tenon::ir
