#include <algorithm>

#include "ir/ops/body_helpers.h"
#include "ir/ops/families.h"

/// Reductions over axes. Each op is a row: what is combined, how, and what becomes of the result.
namespace tenon::ir {
namespace {

// The axes of a reduction: nullopt when they are known only at run time.
Result<std::optional<std::vector<int64_t>>> reduced_axes(InferContext& c, int64_t rank) {
  TENON_ASSIGN_OR_RETURN(std::optional<std::vector<int64_t>> axes, axes_input(c, 1, rank));
  const bool empty = !c.has(1) || (axes && axes->empty());
  if (!empty) return axes;
  axes.emplace();
  if (c.node().attr_int("noop_with_empty_axes", 0) == 0)
    for (int64_t i = 0; i < rank; ++i) axes->push_back(i);
  return axes;
}

Status infer_reduced(InferContext& c, DType dtype, const std::optional<std::vector<int64_t>>& axes) {
  const bool keep = c.node().attr_int("keepdims", 1) != 0;
  const std::vector<Dim>& dims = c.shape(0);
  std::vector<Dim> out;
  if (!axes && !keep) {
    c.set(0, TensorType::unranked(dtype));
    return {};
  }
  for (size_t i = 0; i < dims.size(); ++i) {
    const bool reduced = axes && std::ranges::find(*axes, static_cast<int64_t>(i)) != axes->end();
    if (!axes) out.push_back(c.fresh_dim(0, static_cast<int>(i)));
    else if (!reduced) out.push_back(dims[i]);
    else if (keep) out.emplace_back(1);
  }
  c.set(0, TensorType(dtype, std::move(out)));
  return {};
}

Status infer_reduce(InferContext& c) {
  if (!c.ranked(0)) {
    c.set(0, TensorType::unranked(c.dtype(0)));
    return {};
  }
  TENON_ASSIGN_OR_RETURN(const auto axes, reduced_axes(c, std::ssize(c.shape(0))));
  return infer_reduced(c, c.dtype(0), axes);
}

Status infer_reduce_prod(InferContext& c) {
  TENON_RETURN_IF_ERROR(infer_reduce(c));
  const std::optional<std::vector<Dim>> values = c.dim_values(0);
  const Type& out = c.node().output()->type();
  if (values && out.is_ranked_tensor() && c.ranked(0) && c.shape(0).size() == 1 && out.tensor().count().is_const(1) &&
      !(c.node().attr_int("noop_with_empty_axes", 0) != 0 && !c.has(1)))
    c.set_dim_values(0, {product(*values)});
  return {};
}

// Indices of the input: reduce axes where the output has none (or one element).
std::vector<Expr> reduced_indices(Body& body, std::span<const Dim> dims, std::span<const int64_t> axes, bool keep) {
  std::vector<Expr> at;
  int out = 0;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (std::ranges::find(axes, static_cast<int64_t>(i)) == axes.end()) {
      at.push_back(body.pool->index(out++));
      continue;
    }
    at.push_back(body.pool->index(static_cast<int>(body.axes.size() + body.reduce_axes.size())));
    body.reduce_axes.push_back(dims[i]);
    out += keep;
  }
  return at;
}

DType accumulator(DType d) { return compute_dtype(d); }

struct Reduction {
  Combiner combiner;
  Expr (*before)(Expr x);                    // of each element
  Expr (*after)(Expr sum, Expr count);       // of the result; count in its dtype
  bool in_floats = false;                    // integers go through f64
};

Expr same(Expr x) { return x; }
Expr result(Expr sum, Expr) { return sum; }

Result<std::vector<Body>> reduce_body(const Node& node, const Reduction& r) {
  InferContext c(const_cast<Node&>(node));  // reads only
  const std::vector<Dim>& dims = input_dims(node, 0);
  TENON_ASSIGN_OR_RETURN(const auto axes, reduced_axes(c, std::ssize(dims)));
  if (!axes) return error(Code::kUnsupported, "the axes are known only at run time");
  Body body = start_body(node, axes->empty() ? ComputeKind::kElementwise : ComputeKind::kReduce);
  ExprPool& pool = *body.pool;
  body.combiner = r.combiner;
  const DType dtype = accumulator(body.dtype);
  body.acc_dtype = r.in_floats && !is_float(dtype) ? DType::kF64 : dtype;
  const std::vector<Expr> at = reduced_indices(body, dims, *axes, node.attr_int("keepdims", 1) != 0);
  const Expr element = r.before(pool.cast(load_at(body, node, 0, at), body.acc_dtype));
  const Expr count = pool.cast(pool.dim(product(body.reduce_axes)), body.acc_dtype);
  if (body.reduce_axes.empty()) {
    body.value = pool.cast(r.after(element, count), body.dtype);
  } else {
    body.value = element;
    body.post = pool.cast(r.after(pool.acc(0, body.acc_dtype), count), body.dtype);
  }
  return one_body(std::move(body));
}

// log of a sum of exponentials, shifted by the largest element so that nothing overflows; infinities stay.
Result<std::vector<Value*>> decompose_log_sum_exp(Node& node, Builder& b) {
  const DType from = node.input(0)->dtype(), dtype = is_float(from) ? compute_dtype(from) : DType::kF64;
  const int64_t keep = node.attr_int("keepdims", 1), noop = node.attr_int("noop_with_empty_axes", 0);
  const auto cast = [&](Value* v, DType to) { return b.make("Cast", {v}, {{"to", int64_t{info(to).onnx}}}); };
  Value *x = cast(node.input(0), dtype), *axes = node.input(1);
  Value* top = b.make("ReduceMax", {x, axes}, {{"keepdims", int64_t{1}}, {"noop_with_empty_axes", noop}});
  Value* shift = b.make("Where", {b.make("IsInf", {top}), b.scalar(dtype, 0), top});
  Value* exps = b.make("Exp", {b.make("Sub", {x, shift})});
  Value* sum = b.make("ReduceSum", {exps, axes}, {{"keepdims", int64_t{1}}, {"noop_with_empty_axes", noop}});
  Value* out = b.make("Add", {b.make("Log", {sum}), shift});
  // One element an axis: any reduction drops them.
  if (keep == 0) out = b.make("ReduceMax", {out, axes}, {{"keepdims", int64_t{0}}, {"noop_with_empty_axes", noop}});
  return std::vector<Value*>{cast(out, from)};
}

constexpr DTypeSet kReducible = kFloat16To64 | kInts;

OpDef reduction(std::string_view name, DTypeSet types, BodyFn body, std::string_view doc) {
  return {.domain = "",
          .name = name,
          .inputs = {{"data", "T", types}, {"axes", "I", dtypes(DType::kI64), true}},
          .outputs = {{"reduced", "T", types}},
          .attrs = {{"keepdims", AttrKind::kInt, false, "1"}, {"noop_with_empty_axes", AttrKind::kInt, false, "0"}},
          .infer = infer_reduce,
          .compute = {.body = body},
          .doc = doc};
}

// ---- ArgMax, ArgMin

Status infer_arg(InferContext& c) {
  if (!c.ranked(0)) {
    c.set(0, TensorType::unranked(DType::kI64));
    return {};
  }
  const Result<int64_t> axis = normalize_axis(c.node().attr_int("axis", 0), std::ssize(c.shape(0)));
  if (!axis.ok()) return c.fail_text(axis.status().what());
  if (c.shape(0)[static_cast<size_t>(*axis)].is_const(0)) return c.fail("axis {} is empty", *axis);
  return infer_reduced(c, DType::kI64, std::vector<int64_t>{*axis});
}

Result<std::vector<Body>> arg_body(const Node& node, Combiner first, Combiner last) {
  const std::vector<Dim>& dims = input_dims(node, 0);
  TENON_ASSIGN_OR_RETURN(const int64_t axis, normalize_axis(node.attr_int("axis", 0), std::ssize(dims)));
  Body body = start_body(node, ComputeKind::kReduce);
  body.combiner = node.attr_int("select_last_index", 0) != 0 ? last : first;
  body.acc_dtype = accumulator(node.input(0)->dtype());
  const int64_t axes[] = {axis};
  const std::vector<Expr> at = reduced_indices(body, dims, axes, node.attr_int("keepdims", 1) != 0);
  body.value = body.pool->cast(load_at(body, node, 0, at), body.acc_dtype);
  return one_body(std::move(body));
}

OpDef arg_reduction(std::string_view name, BodyFn body, std::string_view doc) {
  return {.domain = "",
          .name = name,
          .inputs = {{"data", "T", kNumeric}},
          .outputs = {{"reduced", "I", dtypes(DType::kI64)}},
          .attrs = {{"axis", AttrKind::kInt, false, "0"},
                    {"keepdims", AttrKind::kInt, false, "1"},
                    {"select_last_index", AttrKind::kInt, false, "0"}},
          .infer = infer_arg,
          .compute = {.body = body},
          .doc = doc};
}

}  // namespace

std::vector<OpDef> reduce_ops() {
  constexpr DTypeSet kWithBool = kReducible | dtypes(DType::kBool);
  std::vector<OpDef> ops = {
      reduction("ReduceSum", kReducible, [](const Node& n) { return reduce_body(n, {Combiner::kAdd, same, result}); },
                "Sum over axes (ReduceSum)"),
      reduction("ReduceMean", kReducible,
                [](const Node& n) { return reduce_body(n, {Combiner::kAdd, same, [](Expr s, Expr count) { return s / count; }}); },
                "Mean over axes (ReduceMean)"),
      reduction("ReduceMax", kWithBool, [](const Node& n) { return reduce_body(n, {Combiner::kMax, same, result}); },
                "Largest element over axes (ReduceMax)"),
      reduction("ReduceMin", kWithBool, [](const Node& n) { return reduce_body(n, {Combiner::kMin, same, result}); },
                "Smallest element over axes (ReduceMin)"),
      reduction("ReduceProd", kReducible, [](const Node& n) { return reduce_body(n, {Combiner::kMul, same, result}); },
                "Product over axes (ReduceProd)"),
      reduction("ReduceL1", kReducible, [](const Node& n) { return reduce_body(n, {Combiner::kAdd, abs, result}); },
                "Sum of magnitudes (ReduceL1)"),
      reduction("ReduceL2", kReducible,
                [](const Node& n) {
                  return reduce_body(n, {Combiner::kAdd, [](Expr x) { return x * x; }, [](Expr s, Expr) { return sqrt(s); }, true});
                },
                "Square root of the sum of squares (ReduceL2)"),
      reduction("ReduceSumSquare", kReducible,
                [](const Node& n) { return reduce_body(n, {Combiner::kAdd, [](Expr x) { return x * x; }, result}); },
                "Sum of squares (ReduceSumSquare)"),
      reduction("ReduceLogSum", kReducible,
                [](const Node& n) { return reduce_body(n, {Combiner::kAdd, same, [](Expr s, Expr) { return log(s); }, true}); },
                "Logarithm of the sum (ReduceLogSum)"),
      reduction("ReduceLogSumExp", kReducible, nullptr, "Logarithm of the sum of exponentials (ReduceLogSumExp)"),
      arg_reduction("ArgMax", [](const Node& n) { return arg_body(n, Combiner::kArgMax, Combiner::kArgMaxLast); },
                    "Place of the largest element (ArgMax)"),
      arg_reduction("ArgMin", [](const Node& n) { return arg_body(n, Combiner::kArgMin, Combiner::kArgMinLast); },
                    "Place of the smallest element (ArgMin)"),
  };
  for (OpDef& op : ops) {
    if (op.name == "ReduceProd") op.infer = infer_reduce_prod;
    if (op.name == "ReduceLogSumExp") op.compute.decompose = decompose_log_sum_exp;
  }
  return ops;
}

}  // namespace tenon::ir
