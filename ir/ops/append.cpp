#include "ir/ops/body_helpers.h"
#include "ir/ops/families.h"

/// Memory that has room for more along an axis than it holds so far (a decoder's keys and values): what it holds, and new elements
/// behind that.
namespace tenon::ir {
namespace {

Result<size_t> axis_of(const Node& node, size_t rank) {
  TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(node.attr_int("axis", 0), static_cast<int64_t>(rank)));
  return static_cast<size_t>(axis);
}

/// The one dim of an attribute.
Result<Dim> dim_of(const Node& node, std::string_view attribute) {
  const std::vector<Dim>& dims = *node.attr_dims(attribute);
  if (dims.size() == 1 && dims[0].is_valid() && !known_lt(dims[0], 0)) return dims[0];
  return error(Code::kInvalidModel, "{} wants one dim", attribute);
}

// ---- tenon.prefix

Status infer_prefix(InferContext& c) {
  const Result<Dim> extent = dim_of(c.node(), "extent");
  if (!extent.ok()) return c.fail_text(extent.status().what());
  if (!c.ranked(0)) return c.fail("the rank of the memory is not known");
  std::vector<Dim> dims = c.shape(0);
  const Result<size_t> axis = axis_of(c.node(), dims.size());
  if (!axis.ok()) return c.fail_text(axis.status().what());
  if (exceeds(c.node(), *extent, dims[*axis])) return c.fail("{} of {} elements are wanted", to_string(*extent), to_string(dims[*axis]));
  dims[*axis] = *extent;
  c.set(0, TensorType(c.dtype(0), std::move(dims)));
  return {};
}

Result<std::vector<Body>> prefix_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kMovement);
  body.value = load_at(body, node, 0, axis_indices(*body.pool, body.axes.size()));
  return one_body(std::move(body));
}

// ---- tenon.append

Status infer_append(InferContext& c) {
  const Result<Dim> start = dim_of(c.node(), "start");
  if (!start.ok()) return c.fail_text(start.status().what());
  if (!c.ranked(0) || !c.ranked(1) || c.shape(0).size() != c.shape(1).size()) return c.fail("an update of {} does not fit memory of {}", to_string(c.in(1)), to_string(c.in(0)));
  const std::vector<Dim>&memory = c.shape(0), &update = c.shape(1);
  const Result<size_t> axis = axis_of(c.node(), memory.size());
  if (!axis.ok()) return c.fail_text(axis.status().what());
  if (exceeds(c.node(), 0, *start)) return c.fail("the place {} is negative", to_string(*start));
  for (size_t i = 0; i < memory.size(); ++i) {
    const bool fits = i == *axis ? !exceeds(c.node(), *start + update[i], memory[i]) : !c.differ(update[i], memory[i]);
    if (!fits) return c.fail("an update of {} does not fit memory of {} from place {} on", to_string(c.in(1)), to_string(c.in(0)), to_string(*start));
  }
  return infer_as_input(c);
}

Result<std::vector<Body>> append_body(const Node& node) {
  Body body = start_body(node, ComputeKind::kScatter);
  ExprPool& pool = *body.pool;
  const size_t rank = body.axes.size();
  TENON_ASSIGN_OR_RETURN(const size_t axis, axis_of(node, rank));
  TENON_ASSIGN_OR_RETURN(const Dim start, dim_of(node, "start"));
  body.reduce_axes = input_dims(node, 1);
  body.acc_dtype = body.dtype;
  const std::vector<Expr> updates = axis_indices(pool, rank, rank);
  std::vector<Expr> target = updates;
  target[axis] = target[axis] + pool.dim(start);
  body.scatter = Scatter{load_at(body, node, 0, axis_indices(pool, rank)), std::move(target), true};
  body.value = load_at(body, node, 1, updates);
  return one_body(std::move(body));
}

Status eval_append(EvalContext& c) {
  const Tensor &memory = c.tensor(0), &update = c.tensor(1);
  TENON_ASSIGN_OR_RETURN(const size_t axis, axis_of(c.node, static_cast<size_t>(memory.rank())));
  TENON_ASSIGN_OR_RETURN(const Dim dim, dim_of(c.node, "start"));
  TENON_ASSIGN_OR_RETURN(const int64_t start, evaluate(dim, c.symbols));
  bool fits = update.rank() == memory.rank();
  int64_t outer = 1, inner = 1;
  for (size_t i = 0; fits && i < memory.shape().size(); ++i) {
    const int64_t had = memory.shape()[i], given = update.shape()[i];
    fits = i == axis ? start >= 0 && start <= had && given <= had - start : given == had;
    if (i != axis) (i < axis ? outer : inner) *= had;
  }
  if (!fits)
    return error(Code::kInvalidArgument, "an update of {} does not fit memory of {} from place {} on", tenon::to_string(update.shape()),
                 tenon::to_string(memory.shape()), start);
  TENON_ASSIGN_OR_RETURN(Tensor out, memory.clone());
  const int64_t had = memory.shape()[axis], given = update.shape()[axis];
  for (int64_t o = 0; o < outer; ++o) copy_range(update, o * given * inner, out, (o * had + start) * inner, given * inner);
  c.outputs[0] = std::move(out);
  return {};
}

}  // namespace

std::vector<OpDef> append_ops() {
  return {
      {.domain = "tenon",
       .name = "prefix",
       .inputs = {{"memory", "T"}},
       .outputs = {{"prefix", "T"}},
       .attrs = {{"axis", AttrKind::kInt, true}, {"extent", AttrKind::kDims, true}},
       .infer = infer_prefix,
       .compute = {.body = prefix_body},
       .doc = "The first elements along an axis, as many as the one dim in extent"},
      {.domain = "tenon",
       .name = "append",
       .inputs = {{"memory", "T"}, {"update", "T"}},
       .outputs = {{"result", "T"}},
       .attrs = {{"axis", AttrKind::kInt, true}, {"start", AttrKind::kDims, true}},
       .infer = infer_append,
       .compute = {.body = append_body, .eval = eval_append},
       .doc = "The memory with the update in it, along an axis from the one dim in start on"},
  };
}

}  // namespace tenon::ir
