#include <algorithm>

#include "ir/ops/body_helpers.h"
#include "ir/ops/budget.h"
#include "ir/ops/families.h"
#include "ir/scalar_op.h"

/// Ops that write elements at indices which are data. Later writes win, in the order of the updates.
namespace tenon::ir {
namespace {

constexpr DTypeSet kIndex = dtypes(DType::kI32, DType::kI64);

enum class Reduction : uint8_t { kNone, kAdd, kMul, kMin, kMax };

Result<Reduction> reduction_of(const Node& node) {
  constexpr std::string_view kNames[] = {"none", "add", "mul", "min", "max"};
  const std::string name = node.attr_string("reduction", "none");
  const auto it = std::ranges::find(kNames, name);
  if (it == std::end(kNames)) return error(Code::kInvalidModel, "there is no reduction '{}'", name);
  return static_cast<Reduction>(it - std::begin(kNames));
}

void update_element(Tensor& out, int64_t at, const Tensor& updates, int64_t from, Reduction reduction) {
  if (reduction == Reduction::kNone) return copy_range(updates, from, out, at, 1);
  constexpr ScalarOp kOps[] = {ScalarOp::kCount, ScalarOp::kAdd, ScalarOp::kMul, ScalarOp::kMin, ScalarOp::kMax};
  const Scalar args[] = {load_scalar(out.data(), out.dtype(), at), load_scalar(updates.data(), out.dtype(), from)};
  store_scalar(out.mutable_data(), out.dtype(), at, eval_scalar(kOps[static_cast<size_t>(reduction)], out.dtype(), args));
}

Result<int64_t> checked_position(int64_t index, int64_t extent) {
  const int64_t at = index < 0 ? index + extent : index;
  if (at < 0 || at >= extent) return error(Code::kOutOfRange, "index {} is outside [-{}, {})", index, extent, extent);
  return at;
}

Result<Tensor> copy_of_data(EvalContext& c) { return c.tensor(0).clone(); }

Status infer_scatter(InferContext& c) {
  const Result<Reduction> reduction = reduction_of(c.node());
  if (!reduction.ok()) return c.fail_text(reduction.status().what());
  if (*reduction != Reduction::kNone && !(dtype_bit(c.dtype(0)) & kNumeric))
    return c.fail("{} has no reductions", name(c.dtype(0)));
  return infer_as_input(c);
}

/// `body` writes input 2 at `updates`, the indices of its elements, to `target`.
Status scatter(Body& body, const Node& node, std::span<const Expr> updates, std::vector<Expr> target) {
  TENON_ASSIGN_OR_RETURN(const Reduction reduction, reduction_of(node));
  constexpr Combiner kCombiners[] = {Combiner::kAdd, Combiner::kAdd, Combiner::kMul, Combiner::kMin, Combiner::kMax};
  const bool replaces = reduction == Reduction::kNone;
  body.combiner = kCombiners[static_cast<size_t>(reduction)];
  body.acc_dtype = replaces ? body.dtype : compute_dtype(body.dtype);
  const Expr init = load_at(body, node, 0, axis_indices(*body.pool, body.axes.size()));
  body.scatter = Scatter{init, std::move(target), replaces};
  body.value = body.pool->cast(load_at(body, node, 2, updates), body.acc_dtype);
  return {};
}

// ---- ScatterElements

Status infer_scatter_elements(InferContext& c) {
  if (c.ranked(0)) {
    const Result<int64_t> axis = normalize_axis(c.node().attr_int("axis", 0), std::ssize(c.shape(0)));
    if (!axis.ok()) return c.fail_text(axis.status().what());
  }
  if (c.ranked(1) && c.ranked(2) && !std::ranges::equal(c.shape(1), c.shape(2), [&](Dim a, Dim b) { return !c.differ(a, b); }))
    return c.fail("indices are {}, updates {}; they must have one shape", to_string(c.in(1)), to_string(c.in(2)));
  return infer_scatter(c);
}

Result<std::vector<Body>> scatter_elements_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kScatter);
  const std::vector<Dim>& indices = input_dims(node, 1);
  const size_t rank = body.axes.size();
  if (rank == 0 || indices.size() != rank || input_dims(node, 2).size() != rank)
    return error(Code::kUnsupported, "the ranks do not fit");  // eval says how
  TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(node.attr_int("axis", 0), std::ssize(body.axes)));
  body.reduce_axes = indices;
  const std::vector<Expr> updates = axis_indices(*body.pool, rank, rank);
  std::vector<Expr> target = updates;
  target[static_cast<size_t>(axis)] = position(load_at(body, node, 1, updates), body.axes[static_cast<size_t>(axis)]);
  TENON_RETURN_IF_ERROR(scatter(body, node, updates, std::move(target)));
  return one_body(std::move(body));
}

Status eval_scatter_elements(EvalContext& c) {
  const Tensor &data = c.tensor(0), &indices = c.tensor(1), &updates = c.tensor(2);
  TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(c.node.attr_int("axis", 0), data.rank()));
  TENON_ASSIGN_OR_RETURN(const Reduction reduction, reduction_of(c.node));
  bool fits = indices.rank() == data.rank() && indices.shape() == updates.shape();
  for (int64_t i = 0; fits && i < data.rank(); ++i) fits = i == axis || indices.dim(i) <= data.dim(i);
  if (!fits)
    return error(Code::kInvalidArgument, "indices {} and updates {} do not fit data {}", tenon::to_string(indices.shape()),
                 tenon::to_string(updates.shape()), tenon::to_string(data.shape()));
  TENON_ASSIGN_OR_RETURN(Tensor out, copy_of_data(c));
  const std::vector<int64_t> strides = dense_strides(data.shape());
  std::vector<int64_t> at(static_cast<size_t>(data.rank()), 0);
  StepCounter steps(c.interrupt);
  for (int64_t i = 0; i < indices.size(); ++i) {
    TENON_RETURN_IF_ERROR(steps.add(16));
    TENON_ASSIGN_OR_RETURN(const int64_t position, checked_position(indices.at_int(i), data.dim(axis)));
    int64_t target = 0;
    for (size_t k = 0; k < at.size(); ++k) target += strides[k] * (static_cast<int64_t>(k) == axis ? position : at[k]);
    update_element(out, target, updates, i, reduction);
    for (size_t k = at.size(); k-- > 0 && ++at[k] == indices.dim(static_cast<int64_t>(k));) at[k] = 0;
  }
  c.outputs[0] = std::move(out);
  return {};
}

// ---- ScatterND

Result<std::vector<Body>> scatter_nd_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kScatter);
  const std::vector<Dim>& indices = input_dims(node, 1);
  const bool known = !indices.empty() && indices.back().is_const();
  const int64_t depth = known ? indices.back().value() : 0, rank = std::ssize(body.axes);
  if (depth < 1 || depth > rank || std::ssize(input_dims(node, 2)) != std::ssize(indices) - 1 + rank - depth)
    return error(Code::kUnsupported, "the length of the index tuples is not known, or does not fit");
  const size_t tuple_rank = indices.size() - 1;
  body.reduce_axes.assign(indices.begin(), indices.end() - 1);
  body.reduce_axes.insert(body.reduce_axes.end(), body.axes.begin() + depth, body.axes.end());
  const std::vector<Expr> updates = axis_indices(*body.pool, body.reduce_axes.size(), body.axes.size());
  std::vector<Expr> tuple(updates.begin(), updates.begin() + static_cast<int64_t>(tuple_rank)), target;
  tuple.emplace_back();
  for (int64_t k = 0; k < depth; ++k) {
    tuple.back() = i64(*body.pool, k);
    target.push_back(position(load_at(body, node, 1, tuple), body.axes[static_cast<size_t>(k)]));
  }
  target.insert(target.end(), updates.begin() + static_cast<int64_t>(tuple_rank), updates.end());
  TENON_RETURN_IF_ERROR(scatter(body, node, updates, std::move(target)));
  return one_body(std::move(body));
}

Status eval_scatter_nd(EvalContext& c) {
  const Tensor &data = c.tensor(0), &indices = c.tensor(1), &updates = c.tensor(2);
  TENON_ASSIGN_OR_RETURN(const Reduction reduction, reduction_of(c.node));
  const int64_t depth = indices.rank() > 0 ? indices.shape().back() : -1;
  if (depth < 0 || depth > data.rank())
    return error(Code::kInvalidArgument, "indices {} do not fit data {}", tenon::to_string(indices.shape()), tenon::to_string(data.shape()));
  Shape expected(indices.shape().begin(), indices.shape().end() - 1);
  expected.insert(expected.end(), data.shape().begin() + depth, data.shape().end());
  if (updates.shape() != expected)
    return error(Code::kInvalidArgument, "updates are {}, not {}", tenon::to_string(updates.shape()), tenon::to_string(expected));
  TENON_ASSIGN_OR_RETURN(Tensor out, copy_of_data(c));
  const std::vector<int64_t> strides = dense_strides(data.shape());
  int64_t slice = 1, tuples = 1;
  for (int64_t k = depth; k < data.rank(); ++k) slice *= data.dim(k);
  for (int64_t k = 0; k + 1 < indices.rank(); ++k) tuples *= indices.dim(k);
  if (slice == 0) tuples = 0;
  StepCounter steps(c.interrupt);
  for (int64_t t = 0; t < tuples; ++t) {
    TENON_RETURN_IF_ERROR(steps.add(8 * slice));
    int64_t target = 0;
    for (int64_t k = 0; k < depth; ++k) {
      TENON_ASSIGN_OR_RETURN(const int64_t at, checked_position(indices.at_int(t * depth + k), data.dim(k)));
      target += at * strides[static_cast<size_t>(k)];
    }
    for (int64_t e = 0; e < slice; ++e) update_element(out, target + e, updates, t * slice + e, reduction);
  }
  c.outputs[0] = std::move(out);
  return {};
}

// ---- TensorScatter: writes a run of a sequence axis from a start given for each batch (a KV cache). A circular run's start
// counts on past the end.

Status infer_tensor_scatter(InferContext& c) {
  const std::string mode = c.node().attr_string("mode", "linear");
  if (mode != "linear" && mode != "circular") return c.fail("there is no mode '{}'", mode);
  if (c.ranked(0)) {
    const Result<int64_t> axis = normalize_axis(c.node().attr_int("axis", -2), std::ssize(c.shape(0)));
    if (!axis.ok()) return c.fail_text(axis.status().what());
    if (*axis == 0) return c.fail("the axis may not be the batch");
    const std::vector<Dim>& cache = c.shape(0);
    bool fits = !c.ranked(1) || c.shape(1).size() == cache.size();
    for (size_t i = 0; fits && c.ranked(1) && i < cache.size(); ++i)
      fits = static_cast<int64_t>(i) == *axis ? !exceeds(c.node(), c.shape(1)[i], cache[i]) : !c.differ(c.shape(1)[i], cache[i]);
    if (!fits) return c.fail("an update of {} does not fit a cache of {}", to_string(c.in(1)), to_string(c.in(0)));
    if (c.has(2) && c.ranked(2) && (c.shape(2).size() != 1 || c.differ(c.shape(2)[0], cache[0])))
      return c.fail("write_indices is {} for a cache of {}", to_string(c.in(2)), to_string(c.in(0)));
  }
  return infer_as_input(c);
}

Result<std::vector<Body>> tensor_scatter_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kScatter);
  ExprPool& pool = *body.pool;
  const size_t rank = body.axes.size();
  TENON_ASSIGN_OR_RETURN(const int64_t given, normalize_axis(node.attr_int("axis", -2), static_cast<int64_t>(rank)));
  const auto axis = static_cast<size_t>(given);
  if (input_dims(node, 1).size() != rank) return error(Code::kUnsupported, "the ranks do not fit");
  body.reduce_axes = input_dims(node, 1);
  body.acc_dtype = body.dtype;
  const Dim extent = body.axes[axis], room = extent - body.reduce_axes[axis] + 1;
  const std::vector<Expr> updates = axis_indices(pool, rank, rank);
  const Expr batch[] = {updates[0]};
  const bool circular = node.attr_string("mode", "linear") == "circular";
  // No start fits an update that is longer than the axis: there is less than one place for it.
  const Expr given_start = node.has_input(2) ? load_at(body, node, 2, batch) : i64(pool, 0);
  std::vector<Expr> target = updates;
  if (circular) target[axis] = mod(updates[axis] + (mod(given_start, pool.dim(extent)) + pool.checked_index(i64(pool, 0), pool.dim(room))), pool.dim(extent));
  else target[axis] = updates[axis] + pool.checked_index(given_start, pool.dim(room));
  body.scatter = Scatter{load_at(body, node, 0, axis_indices(pool, rank)), std::move(target), true};
  body.value = load_at(body, node, 1, updates);
  return one_body(std::move(body));
}

Status eval_tensor_scatter(EvalContext& c) {
  const Tensor &cache = c.tensor(0), &update = c.tensor(1);
  TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(c.node.attr_int("axis", -2), cache.rank()));
  const bool circular = c.node.attr_string("mode", "linear") == "circular";
  bool fits = update.rank() == cache.rank();
  for (int64_t i = 0; fits && i < cache.rank(); ++i) fits = i == axis ? update.dim(i) <= cache.dim(i) : update.dim(i) == cache.dim(i);
  if (!fits || (c.has(2) && c.tensor(2).size() != cache.dim(0)))
    return error(Code::kInvalidArgument, "an update of {} does not fit a cache of {}", tenon::to_string(update.shape()), tenon::to_string(cache.shape()));
  TENON_ASSIGN_OR_RETURN(Tensor out, copy_of_data(c));
  int64_t middle = 1, inner = 1;
  for (int64_t i = 1; i < axis; ++i) middle *= cache.dim(i);
  for (int64_t i = axis + 1; i < cache.rank(); ++i) inner *= cache.dim(i);
  const int64_t length = update.dim(axis), extent = cache.dim(axis);
  const int64_t batches = update.size() == 0 ? 0 : cache.dim(0);  // places that nothing is written to are not looked at
  StepCounter steps(c.interrupt);
  for (int64_t b = 0; b < batches; ++b) {
    int64_t start = c.has(2) ? c.tensor(2).at_int(b) : 0;
    if (circular && extent > 0) start = (start % extent + extent) % extent;
    if (!circular && (start < 0 || start > extent - length))
      return error(Code::kOutOfRange, "a run of {} from {} leaves an axis of {}", length, start, extent);
    for (int64_t m = 0; m < middle; ++m)
      for (int64_t i = 0; i < length; ++i) {
        TENON_RETURN_IF_ERROR(steps.add(inner + 4));
        const int64_t row = b * middle + m, to = (start + i) % extent;
        copy_range(update, (row * length + i) * inner, out, (row * extent + to) * inner, inner);
      }
  }
  c.outputs[0] = std::move(out);
  return {};
}

}  // namespace

std::vector<OpDef> scatter_ops() {
  return {
      {.domain = "",
       .name = "ScatterElements",
       .inputs = {{"data", "T"}, {"indices", "Tind", kIndex}, {"updates", "T"}},
       .outputs = {{"output", "T"}},
       .attrs = {{"axis", AttrKind::kInt, false, "0"}, {"reduction", AttrKind::kString, false, "none"}},
       .infer = infer_scatter_elements,
       .compute = {.body = scatter_elements_body, .eval = eval_scatter_elements},
       .doc = "Data with elements replaced whose place on an axis is an index (ScatterElements)"},
      {.domain = "",
       .name = "ScatterND",
       .inputs = {{"data", "T"}, {"indices", "I", dtypes(DType::kI64)}, {"updates", "T"}},
       .outputs = {{"output", "T"}},
       .attrs = {{"reduction", AttrKind::kString, false, "none"}},
       .infer = infer_scatter,
       .compute = {.body = scatter_nd_body, .eval = eval_scatter_nd},
       .doc = "Data with slices replaced at tuples of indices (ScatterND)"},
      {.domain = "",
       .name = "TensorScatter",
       .inputs = {{"past_cache", "T"}, {"update", "T"}, {"write_indices", "I", dtypes(DType::kI64), true}},
       .outputs = {{"present_cache", "T"}},
       .attrs = {{"mode", AttrKind::kString, false, "linear"}, {"axis", AttrKind::kInt, false, "-2"}},
       .infer = infer_tensor_scatter,
       .compute = {.body = tensor_scatter_body, .eval = eval_tensor_scatter},
       .doc = "A cache with a run of its sequence axis replaced (TensorScatter)"},
  };
}

}  // namespace tenon::ir
