#include <algorithm>

#include "ir/ops/body_helpers.h"
#include "ir/ops/families.h"

/// Ops that read elements at indices which are data, and OneHot.
namespace tenon::ir {
namespace {

constexpr DTypeSet kIndex = dtypes(DType::kI32, DType::kI64);

Status infer_unranked(InferContext& c) {
  c.set(0, TensorType::unranked(c.dtype(0)));
  return {};
}

// ---- Gather

void gather_dim_values(InferContext& c) {
  const std::optional<std::vector<Dim>> data = c.dim_values(0);
  const std::optional<std::vector<int64_t>> indices = known_ints(c, 1);
  if (!data || !indices || !c.ranked(0) || c.shape(0).size() != 1) return;
  std::vector<Dim> out;
  for (int64_t i : *indices) {
    const int64_t at = i < 0 ? i + std::ssize(*data) : i;
    if (at < 0 || at >= std::ssize(*data)) return;
    out.push_back((*data)[static_cast<size_t>(at)]);
  }
  c.set_dim_values(0, std::move(out));
}

Status infer_gather(InferContext& c) {
  if (!c.ranked(0) || !c.ranked(1)) return infer_unranked(c);
  std::vector<Dim> out = c.shape(0);
  const Result<int64_t> axis = normalize_axis(c.node().attr_int("axis", 0), std::ssize(out));
  if (!axis.ok()) return c.fail_text(axis.status().what());
  const Dim extent = out[static_cast<size_t>(*axis)];
  if (const std::optional<std::vector<int64_t>> indices = known_ints(c, 1); indices && extent.is_const())
    for (int64_t i : *indices)
      if (i < -extent.value() || i >= extent.value()) return c.fail("index {} is outside [-{}, {})", i, extent.value(), extent.value());
  out.erase(out.begin() + *axis);
  out.insert(out.begin() + *axis, c.shape(1).begin(), c.shape(1).end());
  c.set(0, TensorType(c.dtype(0), std::move(out)));
  gather_dim_values(c);
  return {};
}

Result<std::vector<Body>> gather_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kMovement);
  const std::vector<Dim>& data = input_dims(node, 0);
  const size_t index_rank = input_dims(node, 1).size();
  TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(node.attr_int("axis", 0), std::ssize(data)));
  const size_t at = static_cast<size_t>(axis);
  const std::vector<Expr> out = axis_indices(*body.pool, body.axes.size());
  std::vector<Expr> from(out.begin(), out.begin() + axis);
  const std::span<const Expr> index_at = std::span(out).subspan(at, index_rank);
  from.push_back(position(load_at(body, node, 1, index_at), data[at]));
  from.insert(from.end(), out.begin() + axis + static_cast<int64_t>(index_rank), out.end());
  body.value = load_at(body, node, 0, from);
  return one_body(std::move(body));
}

// ---- GatherElements

Status infer_gather_elements(InferContext& c) {
  if (!c.ranked(1)) return infer_unranked(c);
  const std::vector<Dim>& indices = c.shape(1);
  const Result<int64_t> axis = normalize_axis(c.node().attr_int("axis", 0), std::ssize(indices));
  if (!axis.ok()) return c.fail_text(axis.status().what());
  if (c.ranked(0)) {
    if (c.shape(0).size() != indices.size()) return c.fail("data is {}, indices are {}", to_string(c.in(0)), to_string(c.in(1)));
    for (size_t i = 0; i < indices.size(); ++i)
      if (static_cast<int64_t>(i) != *axis && exceeds(c.node(), indices[i], c.shape(0)[i]))
        return c.fail("indices {} exceed data {} on axis {}", to_string(c.in(1)), to_string(c.in(0)), i);
  }
  c.set(0, TensorType(c.dtype(0), indices));
  return {};
}

Result<std::vector<Body>> gather_elements_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kMovement);
  const std::vector<Dim>& data = input_dims(node, 0);
  TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(node.attr_int("axis", 0), std::ssize(data)));
  std::vector<Expr> at = axis_indices(*body.pool, body.axes.size());
  at[static_cast<size_t>(axis)] = position(load_at(body, node, 1, at), data[static_cast<size_t>(axis)]);
  body.value = load_at(body, node, 0, at);
  return one_body(std::move(body));
}

// ---- GatherND

Status infer_gather_nd(InferContext& c) {
  if (!c.ranked(0) || !c.ranked(1)) return infer_unranked(c);
  const std::vector<Dim>&data = c.shape(0), &indices = c.shape(1);
  const int64_t batch = c.node().attr_int("batch_dims", 0);
  if (indices.empty() || batch < 0 || batch >= std::ssize(indices) || batch >= std::ssize(data))
    return c.fail("batch_dims {} does not fit data {} and indices {}", batch, to_string(c.in(0)), to_string(c.in(1)));
  const Dim depth = indices.back();
  if (!depth.is_const()) return infer_unranked(c);
  if (depth.value() < 1 || depth.value() > std::ssize(data) - batch)
    return c.fail("index tuples of {} for data {}", depth.value(), to_string(c.in(0)));
  std::vector<Dim> out(indices.begin(), indices.end() - 1);
  out.insert(out.end(), data.begin() + batch + depth.value(), data.end());
  c.set(0, TensorType(c.dtype(0), std::move(out)));
  return {};
}

Result<std::vector<Body>> gather_nd_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kMovement);
  ExprPool& pool = *body.pool;
  const std::vector<Dim>&data = input_dims(node, 0), &indices = input_dims(node, 1);
  const int64_t batch = node.attr_int("batch_dims", 0), depth = indices.back().value();
  const std::vector<Expr> out = axis_indices(pool, body.axes.size());
  const int64_t tuple_rank = std::ssize(indices) - 1;
  std::vector<Expr> from(out.begin(), out.begin() + batch);
  std::vector<Expr> tuple(out.begin(), out.begin() + tuple_rank);
  for (int64_t k = 0; k < depth; ++k) {
    tuple.push_back(i64(pool, k));
    from.push_back(position(load_at(body, node, 1, tuple), data[static_cast<size_t>(batch + k)]));
    tuple.pop_back();
  }
  from.insert(from.end(), out.begin() + tuple_rank, out.end());
  body.value = load_at(body, node, 0, from);
  return one_body(std::move(body));
}

// ---- OneHot

Status infer_one_hot(InferContext& c) {
  if (c.ranked(1) && c.differ(c.in(1).tensor().count(), 1)) return c.fail("the depth is {}, not one number", to_string(c.in(1)));
  if (c.ranked(2) && (c.shape(2).size() != 1 || c.differ(c.shape(2)[0], 2)))
    return c.fail("the values are {}; there must be two, off and on", to_string(c.in(2)));
  if (!c.ranked(0)) {
    c.set(0, TensorType::unranked(c.dtype(2)));
    return {};
  }
  std::vector<Dim> out = c.shape(0);
  const Result<int64_t> axis = normalize_axis(c.node().attr_int("axis", -1), std::ssize(out) + 1);
  if (!axis.ok()) return c.fail_text(axis.status().what());
  Dim depth = c.fresh_dim(0, static_cast<int>(*axis));
  if (const Tensor* t = c.constant(1)) {
    if (t->size() != 1 || t->at_int(0) < 0) return c.fail("the depth is not one non-negative number");
    depth = t->at_int(0);
  } else if (const auto values = c.dim_values(1); values && values->size() == 1) {
    depth = values->front();
  }
  out.insert(out.begin() + *axis, depth);
  c.set(0, TensorType(c.dtype(2), std::move(out)));
  return {};
}

Result<std::vector<Body>> one_hot_body(const Node& node) {
  TENON_RETURN_IF_ERROR(require_known_shape(node));
  Body body = start_body(node, ComputeKind::kMovement);
  ExprPool& pool = *body.pool;
  TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(node.attr_int("axis", -1), std::ssize(body.axes)));
  std::vector<Expr> at = axis_indices(pool, body.axes.size());
  const Expr here = at[static_cast<size_t>(axis)], depth = pool.dim(body.axes[static_cast<size_t>(axis)]);
  at.erase(at.begin() + axis);
  const Expr raw = pool.cast(load_at(body, node, 0, at), DType::kI64);
  const Expr off[] = {i64(pool, 0)}, on[] = {i64(pool, 1)};
  body.value = select(select(raw < 0.0, raw + depth, raw) == here, load_at(body, node, 2, on), load_at(body, node, 2, off));
  return one_body(std::move(body));
}

}  // namespace

std::vector<OpDef> gather_ops() {
  return {
      {.domain = "",
       .name = "Gather",
       .inputs = {{"data", "T"}, {"indices", "Tind", kIndex}},
       .outputs = {{"output", "T"}},
       .attrs = {{"axis", AttrKind::kInt, false, "0"}},
       .infer = infer_gather,
       .compute = {.body = gather_body},
       .doc = "Slices of an axis at indices (Gather)"},
      {.domain = "",
       .name = "GatherElements",
       .inputs = {{"data", "T"}, {"indices", "Tind", kIndex}},
       .outputs = {{"output", "T"}},
       .attrs = {{"axis", AttrKind::kInt, false, "0"}},
       .infer = infer_gather_elements,
       .compute = {.body = gather_elements_body},
       .doc = "Elements whose place on an axis is an index (GatherElements)"},
      {.domain = "",
       .name = "GatherND",
       .inputs = {{"data", "T"}, {"indices", "I", dtypes(DType::kI64)}},
       .outputs = {{"output", "T"}},
       .attrs = {{"batch_dims", AttrKind::kInt, false, "0"}},
       .infer = infer_gather_nd,
       .compute = {.body = gather_nd_body},
       .doc = "Slices at tuples of indices (GatherND)"},
      {.domain = "",
       .name = "OneHot",
       .inputs = {{"indices", "T1", kNumeric}, {"depth", "T2", kNumeric}, {"values", "T3"}},
       .outputs = {{"output", "T3"}},
       .attrs = {{"axis", AttrKind::kInt, false, "-1"}},
       .infer = infer_one_hot,
       .compute = {.body = one_hot_body},
       .doc = "values[1] at each index of a new axis, values[0] elsewhere (OneHot)"},
  };
}

}  // namespace tenon::ir
