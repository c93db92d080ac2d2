#include <algorithm>

#include "ir/ops/decompose.h"
#include "ir/ops/families.h"

namespace tenon::ir {
namespace {

using Values = Result<std::vector<Value*>>;

int64_t rank_of(const Value* v) { return v->tensor().rank(); }
DType wide(DType d) { return d == DType::kF16 || d == DType::kBF16 ? DType::kF32 : d; }

Status check_axis(InferContext& c, int64_t fallback) {
  if (!c.ranked(0)) return {};
  int64_t rank = c.in(0).tensor().rank(), axis = c.node().attr_int("axis", fallback);
  if (rank == 0 && (axis == 0 || axis == -1)) return {};
  Result<int64_t> got = normalize_axis(axis, rank);
  return got.ok() ? Status() : std::move(got).status().at(c.node().name());
}

Status infer_axis_op(InferContext& c) {
  TENON_RETURN_IF_ERROR(check_axis(c, -1));
  return infer_same(c);
}

int64_t axis_of(const Node& node, int64_t fallback) {
  int64_t axis = node.attr_int("axis", fallback), rank = rank_of(node.input(0));
  return axis < 0 ? std::max<int64_t>(axis + rank, 0) : axis;
}

// ---- Softmax family. Half types are computed in f32 and rounded once.

/// A scalar is seen as a vector of one element.
Value* as_axis_tensor(Steps& s, Value* x) { return rank_of(x) == 0 ? s.reshape(x, {1}) : x; }

Values decompose_softmax(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  std::vector<int64_t> axes = {axis_of(node, -1)};
  Value* x = s.cast(as_axis_tensor(s, s.in(0)), wide(s.in(0)->dtype()));
  Value* e = s.unary("Exp", s.sub(x, s.reduce("ReduceMax", x, axes)));
  Value* y = s.cast(s.div(e, s.reduce("ReduceSum", e, axes)), s.in(0)->dtype());
  return s.done({s.reshape(y, dims_of(node, 0))});
}

Values decompose_log_softmax(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  std::vector<int64_t> axes = {axis_of(node, -1)};
  Value* x = s.cast(as_axis_tensor(s, s.in(0)), wide(s.in(0)->dtype()));
  Value* shifted = s.sub(x, s.reduce("ReduceMax", x, axes));
  Value* log_sum = s.unary("Log", s.reduce("ReduceSum", s.unary("Exp", shifted), axes));
  Value* y = s.cast(s.sub(shifted, log_sum), s.in(0)->dtype());
  return s.done({s.reshape(y, dims_of(node, 0))});
}

Values decompose_hardmax(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  int64_t axis = axis_of(node, -1);
  Value* x = as_axis_tensor(s, s.in(0));
  Value* first = b.make("ArgMax", {x}, {{"axis", axis}, {"keepdims", int64_t{1}}});
  Dim n = x == nullptr ? Dim(1) : x->tensor().dim(axis);
  Value* positions = b.make("Range", {b.scalar(DType::kI64, 0), s.dim_scalar(n), b.scalar(DType::kI64, 1)});
  Dims shape(static_cast<size_t>(x == nullptr ? 1 : rank_of(x)), 1);
  shape[static_cast<size_t>(axis)] = n;
  Value* hit = b.make("Equal", {first, s.reshape(positions, shape)});
  return s.done({s.reshape(s.cast(hit, s.in(0)->dtype()), dims_of(node, 0))});
}

// ---- Layer, RMS, instance, group, batch

Status infer_layer_norm(InferContext& c) {
  TENON_RETURN_IF_ERROR(check_axis(c, -1));
  c.set(0, c.ranked(0) ? tensor_of(c.dtype(1), c.shape(0)) : unranked(c.dtype(1)));
  DType stash = dtype_from_onnx(static_cast<int>(c.node().attr_int("stash_type", 1))).value_or(DType::kInvalid);
  if (!is_float(stash)) return c.fail("attribute stash_type is {}, which is no floating-point type", c.node().attr_int("stash_type", 1));
  for (int i = 1; i < c.node().num_inputs() && c.ranked(0); ++i) {
    if (!c.has(i) || !c.ranked(i)) continue;
    const Dims &x = c.shape(0), &given = c.shape(i);
    bool fits = given.size() <= x.size();
    for (size_t k = 0; fits && k < given.size(); ++k)
      fits = given[k].is_const(1) || !c.differ(given[k], x[x.size() - given.size() + k]);
    if (!fits) return c.fail("input {} is {}, which does not broadcast to {}", i, to_string(c.in(i)), to_string(c.in(0)));
  }
  if (c.dtype(0) == DType::kF64) stash = DType::kF64;
  for (int o = 1; o < c.node().num_outputs(); ++o) {
    if (!c.ranked(0)) {
      c.set(o, unranked(stash));
      continue;
    }
    Dims dims = c.shape(0);
    for (size_t i = static_cast<size_t>(axis_of(c.node(), -1)); i < dims.size(); ++i) dims[i] = 1;
    c.set(o, tensor_of(stash, std::move(dims)));
  }
  return {};
}

Values layer_norm(Node& node, Builder& b, bool subtract_mean) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  std::vector<int64_t> axes = axes_from(axis_of(node, -1), rank_of(s.in(0)));
  DType type = s.in(1)->dtype();
  DType stash = node.num_outputs() > 1 ? node.output(1)->dtype() : wide(s.in(0)->dtype());
  Value* x = s.cast(s.in(0), stash);
  Normalized n = normalize(s, x, axes, node.attr_float("epsilon", 1e-5), subtract_mean);
  Value* y = s.mul(s.cast(n.y, type), s.in(1));
  if (node.has_input(2)) y = s.add(y, s.in(2));
  std::vector<Value*> out = {y};
  if (node.num_outputs() > 1) out.push_back(subtract_mean ? n.mean : n.inv_std);
  if (node.num_outputs() > 2) out.push_back(n.inv_std);
  return s.done(std::move(out));
}

Values decompose_layer_norm(Node& node, Builder& b) { return layer_norm(node, b, true); }
Values decompose_rms_norm(Node& node, Builder& b) { return layer_norm(node, b, false); }

Status check_channels(InferContext& c, std::initializer_list<int> vectors) {
  TENON_RETURN_IF_ERROR(require_rank_at_least(c, 0, 2));
  for (int i : vectors) {
    TENON_RETURN_IF_ERROR(require_rank(c, i, 1));
    if (c.has(i) && c.ranked(i) && c.ranked(0))
      TENON_RETURN_IF_ERROR(require_equal(c, c.shape(i)[0], c.shape(0)[1], "a parameter and the channels"));
  }
  return {};
}

Status infer_instance_norm(InferContext& c) {
  TENON_RETURN_IF_ERROR(check_channels(c, {1, 2}));
  return infer_same(c);
}

Values decompose_instance_norm(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  int64_t rank = rank_of(s.in(0));
  DType type = s.in(0)->dtype();
  Value* x = s.cast(s.in(0), wide(type));
  Value* y = rank == 2 ? s.sub(x, x) : normalize(s, x, axes_from(2, rank), node.attr_float("epsilon", 1e-5), true).y;
  size_t trailing = static_cast<size_t>(rank) - 2;
  y = s.add(s.mul(y, s.per_channel(s.cast(s.in(1), wide(type)), trailing)), s.per_channel(s.cast(s.in(2), wide(type)), trailing));
  return s.done({s.cast(y, type)});
}

Status infer_group_norm(InferContext& c) {
  TENON_RETURN_IF_ERROR(check_channels(c, {1, 2}));
  int64_t groups = c.node().attr_int("num_groups", 0);
  if (groups < 1) return c.fail("attribute num_groups is {}; it must be positive", groups);
  if (c.ranked(0) && c.shape(0)[1].is_const() && c.shape(0)[1].value() % groups != 0)
    return c.fail("{} channels do not divide into {} groups", c.shape(0)[1].value(), groups);
  return infer_same(c);
}

Values decompose_group_norm(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  const Dims dims = dims_of(node, 0);
  int64_t groups = node.attr_int("num_groups", 1);
  DType type = s.in(0)->dtype(), acc = wide(type);
  Dims grouped = {dims[0], groups, floor_div(dims[1], groups)};
  grouped.insert(grouped.end(), dims.begin() + 2, dims.end());
  Value* x = s.reshape(s.cast(s.in(0), acc), grouped);
  Normalized n = normalize(s, x, axes_from(2, static_cast<int64_t>(grouped.size())), node.attr_float("epsilon", 1e-5), true);
  Value* y = s.reshape(n.y, dims);
  y = s.add(s.mul(y, s.per_channel(s.cast(s.in(1), acc), dims.size() - 2)), s.per_channel(s.cast(s.in(2), acc), dims.size() - 2));
  return s.done({s.cast(y, type)});
}

Status infer_batch_norm(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_rank_at_least(c, 0, 1));
  if (!(c.ranked(0) && c.shape(0).size() == 1)) TENON_RETURN_IF_ERROR(check_channels(c, {1, 2, 3, 4}));
  bool training = c.node().attr_int("training_mode", 0) != 0;
  if (!training && c.node().num_outputs() > 1 && !(c.node().output(1)->unused()))
    return c.fail("running statistics are outputs of training_mode=1 alone");
  for (int o = 1; o < c.node().num_outputs() && o < 3; ++o) c.set(o, c.in(o == 1 ? 3 : 4));
  return infer_same(c);
}

Values decompose_batch_norm(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  size_t rank = static_cast<size_t>(rank_of(s.in(0)));
  size_t trailing = rank < 2 ? 0 : rank - 2;
  DType type = s.in(0)->dtype();
  double momentum = node.attr_float("momentum", 0.9);
  bool training = node.attr_int("training_mode", 0) != 0;
  DType acc = wide(s.in(3)->dtype());
  if (acc == DType::kF32 && type == DType::kF64) acc = DType::kF64;
  Value* x = s.cast(s.in(0), acc);
  Value *mean = s.cast(s.in(3), acc), *var = s.cast(s.in(4), acc);
  std::vector<Value*> out(1);
  if (training) {
    std::vector<int64_t> axes;
    for (size_t i = 0; i < rank; ++i)
      if (i != 1) axes.push_back(static_cast<int64_t>(i));
    Value* batch_mean = s.reduce("ReduceMean", x, axes, true);
    Value* d = s.sub(x, batch_mean);
    Dims channels = {dims_of(node, 3)[0]};
    Value* batch_var = s.reshape(s.reduce("ReduceMean", s.mul(d, d), axes, true), channels);
    batch_mean = s.reshape(batch_mean, channels);
    out.push_back(s.cast(s.add(s.mul(mean, momentum), s.mul(batch_mean, 1 - momentum)), s.in(3)->dtype()));
    out.push_back(s.cast(s.add(s.mul(var, momentum), s.mul(batch_var, 1 - momentum)), s.in(4)->dtype()));
    mean = batch_mean;
    var = batch_var;
  } else {
    out.push_back(s.in(3));
    out.push_back(s.in(4));
  }
  Value* factor = s.div(s.cast(s.in(1), acc), s.unary("Sqrt", s.add(var, node.attr_float("epsilon", 1e-5))));
  Value* offset = s.sub(s.cast(s.in(2), acc), s.mul(mean, factor));
  Value* y = s.add(s.mul(x, s.per_channel(factor, trailing)), s.per_channel(offset, trailing));
  out[0] = s.cast(y, type);
  out.resize(static_cast<size_t>(std::min(node.num_outputs(), 3)));
  while (static_cast<int>(out.size()) < node.num_outputs()) out.push_back(out[1]);
  return s.done(std::move(out));
}

// ---- LRN, mean-variance, Lp

Status infer_lrn(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_rank_at_least(c, 0, 2));
  int64_t size = c.node().attr_int("size", 0);
  if (size < 1 || size > INT32_MAX) return c.fail("attribute size is {}; it must be positive", size);
  return infer_same(c);
}

/// x / (bias + alpha / size * sum of x² over the channels around)^beta (ONNX LRN).
Result<std::vector<Body>> lrn_body(const Node& node) {
  Body body;
  ExprPool& p = *body.pool;
  int64_t size = node.attr_int("size", 1);
  size_t rank = out_dims(node).size();
  body.kind = ComputeKind::kReduce;
  body.dtype = node.output(0)->dtype();
  body.axes = out_dims(node);
  body.reduce_axes = {size};
  body.acc_dtype = accumulator_of(body.dtype);
  std::vector<Expr> here = index_range(p, 0, rank), at = here;
  at[1] = p.index(1) + p.index(static_cast<int>(rank)) - static_cast<double>((size - 1) / 2);
  Expr inside = at[1] >= 0.0 && at[1] < p.dim(dims_of(node, 0)[1]);
  Expr x = p.cast(p.load_guarded(0, body.dtype, at, inside, p.constant(body.dtype, 0)), body.acc_dtype);
  body.value = x * x;
  Expr base = p.acc(0, body.acc_dtype) * (node.attr_float("alpha", 1e-4) / static_cast<double>(size)) + node.attr_float("bias", 1);
  Expr root = pow(base, p.constant(body.acc_dtype, node.attr_float("beta", 0.75)));
  body.post = p.cast(load_as(p, node, 0, here, body.acc_dtype) / root, body.dtype);
  return std::vector<Body>{std::move(body)};
}

Result<std::vector<int64_t>> mvn_axes(const Node& node, int64_t rank) {
  std::vector<int64_t> axes = node.attr_ints("axes");
  if (!node.attrs().has("axes")) axes = {0, 2, 3};
  for (int64_t& a : axes) {
    TENON_ASSIGN_OR_RETURN(a, normalize_axis(a, rank, "axes"));
  }
  return axes;
}

Status infer_mvn(InferContext& c) {
  if (c.ranked(0)) {
    Result<std::vector<int64_t>> axes = mvn_axes(c.node(), c.in(0).tensor().rank());
    if (!axes.ok()) return std::move(axes).status().at(c.node().name());
  }
  return infer_same(c);
}

Values decompose_mvn(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  TENON_ASSIGN_OR_RETURN(std::vector<int64_t> axes, mvn_axes(node, rank_of(s.in(0))));
  Value* x = s.cast(s.in(0), wide(s.in(0)->dtype()));
  Value* d = s.sub(x, s.reduce("ReduceMean", x, axes));
  Value* std_dev = s.unary("Sqrt", s.reduce("ReduceMean", s.mul(d, d), axes));
  return s.done({s.cast(s.div(d, s.add(std_dev, 1e-9)), s.in(0)->dtype())});
}

Status infer_lp_norm(InferContext& c) {
  int64_t p = c.node().attr_int("p", 2);
  if (p != 1 && p != 2) return c.fail("attribute p is {}; it must be 1 or 2", p);
  return infer_axis_op(c);
}

Values decompose_lp_norm(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  std::vector<int64_t> axes = {axis_of(node, -1)};
  Value* x = s.cast(s.in(0), wide(s.in(0)->dtype()));
  Value* norm = s.reduce(node.attr_int("p", 2) == 1 ? "ReduceL1" : "ReduceL2", x, axes);
  Value* zero = b.make("Equal", {norm, s.like(norm, 0)});
  Value* y = s.div(x, b.make("Where", {zero, s.like(norm, 1), norm}));
  return s.done({s.cast(y, s.in(0)->dtype())});
}

// ---- Losses

Values reduce_loss(Steps& s, Value* loss, Value* weights, std::vector<Value*> more) {
  std::string reduction = s.node().attr_string("reduction", "mean");
  std::vector<int64_t> all = axes_from(0, rank_of(loss));
  Value* out = loss;
  if (reduction == "sum") out = s.reduce("ReduceSum", loss, all, false);
  if (reduction == "mean")
    out = s.div(s.reduce("ReduceSum", loss, all, false), s.reduce("ReduceSum", weights, all, false));
  std::vector<Value*> values = {out};
  values.insert(values.end(), more.begin(), more.end());
  return s.done(std::move(values));
}

/// -w[target] * log_prob[n, target, d…] (ONNX NegativeLogLikelihoodLoss); ignored targets weigh nothing.
Values nll_loss(Steps& s, Value* log_prob, std::vector<Value*> more) {
  Node& node = s.node();
  Builder& b = s.builder();
  Value* target = s.cast(s.in(1), DType::kI64);
  TENON_RETURN_IF_ERROR(b.status());
  Value *kept = nullptr, *safe = target;
  if (node.attrs().has("ignore_index")) {
    Value* ignored = b.make("Equal", {target, b.scalar(DType::kI64, static_cast<double>(node.attr_int("ignore_index", -1)))});
    safe = b.make("Where", {ignored, b.scalar(DType::kI64, 0), target});
    kept = s.cast(b.make("Not", {ignored}), log_prob->dtype());
  }
  Dims column = *target->tensor().dims;
  column.insert(column.begin() + 1, 1);
  Value* picked = b.make("GatherElements", {log_prob, s.reshape(safe, column)}, {{"axis", int64_t{1}}});
  Value* loss = s.unary("Neg", s.reshape(picked, *target->tensor().dims));
  Value* weights = node.has_input(2) ? b.make("Gather", {s.in(2), safe}, {{"axis", int64_t{0}}})
                                     : s.expand(s.like(log_prob, 1), *target->tensor().dims);
  if (kept != nullptr) weights = s.mul(weights, kept);
  loss = s.mul(loss, weights);
  TENON_RETURN_IF_ERROR(b.status());
  return reduce_loss(s, loss, weights, std::move(more));
}

Status infer_loss(InferContext& c) {
  std::string reduction = c.node().attr_string("reduction", "mean");
  if (reduction != "none" && reduction != "sum" && reduction != "mean") return c.fail("attribute reduction is \"{}\"", reduction);
  TENON_RETURN_IF_ERROR(require_rank_at_least(c, 0, 2));
  TENON_RETURN_IF_ERROR(require_rank(c, 2, 1));
  if (c.ranked(0) && c.ranked(1) && c.shape(1).size() + 1 != c.shape(0).size())
    return c.fail("the target has rank {} where {} is needed", c.shape(1).size(), c.shape(0).size() - 1);
  if (reduction == "none") {
    c.set(0, c.ranked(1) ? tensor_of(c.dtype(0), c.shape(1)) : unranked(c.dtype(0)));
  } else {
    c.set(0, tensor_of(c.dtype(0), {}));
  }
  if (c.node().num_outputs() > 1) c.set(1, c.in(0));
  return {};
}

Values decompose_nll(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  return nll_loss(s, s.in(0), {});
}

Values decompose_cross_entropy(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  Value* log_prob = b.make("LogSoftmax", {s.in(0)}, {{"axis", int64_t{1}}});
  TENON_RETURN_IF_ERROR(b.status());
  std::vector<Value*> more;
  if (node.num_outputs() > 1) more.push_back(log_prob);
  return nll_loss(s, log_prob, std::move(more));
}

}  // namespace

std::vector<OpDef> normalization_ops() {
  constexpr DTypeSet kStash = dtypes(DType::kF32, DType::kF64, DType::kBF16, DType::kF16);
  constexpr DTypeSet kTarget = dtypes(DType::kI32, DType::kI64);
  const std::vector<AttrDef> axis_attr = {{"axis", AttrKind::kInt, false, "-1"}};
  return {
      {.domain = "", .name = "Softmax", .inputs = {{"input", "T", kFloat16To64}}, .outputs = {{"output", "T", kFloat16To64}},
       .attrs = axis_attr, .infer = infer_axis_op, .compute = {.decompose = decompose_softmax},
       .doc = "exp(x - max) over its sum along an axis (ONNX Softmax)."},
      {.domain = "", .name = "LogSoftmax", .inputs = {{"input", "T", kFloat16To64}}, .outputs = {{"output", "T", kFloat16To64}},
       .attrs = axis_attr, .infer = infer_axis_op, .compute = {.decompose = decompose_log_softmax},
       .doc = "log(Softmax(x)) (ONNX LogSoftmax)."},
      {.domain = "", .name = "Hardmax", .inputs = {{"input", "T", kFloat16To64}}, .outputs = {{"output", "T", kFloat16To64}},
       .attrs = axis_attr, .infer = infer_axis_op, .compute = {.decompose = decompose_hardmax},
       .doc = "1 at the first maximum along an axis, else 0 (ONNX Hardmax)."},
      {.domain = "", .name = "LayerNormalization",
       .inputs = {{"X", "T", kFloat16To64}, {"Scale", "V", kFloat16To64}, {"B", "V", kFloat16To64, true}},
       .outputs = {{"Y", "V", kFloat16To64}, {"Mean", "U", kStash, true}, {"InvStdDev", "U", kStash, true}},
       .attrs = {{"axis", AttrKind::kInt, false, "-1"}, {"epsilon", AttrKind::kFloat, false, "1e-5"}, {"stash_type", AttrKind::kInt, false, "1"}},
       .infer = infer_layer_norm, .compute = {.decompose = decompose_layer_norm},
       .doc = "Zero mean and unit variance over the last axes (ONNX LayerNormalization)."},
      {.domain = "", .name = "RMSNormalization",
       .inputs = {{"X", "T", kFloat16To64}, {"scale", "V", kFloat16To64}},
       .outputs = {{"Y", "V", kFloat16To64}},
       .attrs = {{"axis", AttrKind::kInt, false, "-1"}, {"epsilon", AttrKind::kFloat, false, "1e-5"}, {"stash_type", AttrKind::kInt, false, "1"}},
       .infer = infer_layer_norm, .compute = {.decompose = decompose_rms_norm},
       .doc = "x / sqrt(mean(x^2) + epsilon) over the last axes (ONNX RMSNormalization)."},
      {.domain = "", .name = "SimplifiedLayerNormalization",
       .inputs = {{"X", "T", kFloat16To64}, {"scale", "V", kFloat16To64}},
       .outputs = {{"Y", "V", kFloat16To64}, {"inv_std_var", "U", kStash, true}},
       .attrs = {{"axis", AttrKind::kInt, false, "-1"}, {"epsilon", AttrKind::kFloat, false, "1e-5"}, {"stash_type", AttrKind::kInt, false, "1"}},
       .infer = infer_layer_norm, .compute = {.decompose = decompose_rms_norm},
       .doc = "RMSNormalization, as ONNX Runtime names it in the default domain."},
      {.domain = "", .name = "InstanceNormalization",
       .inputs = {{"input", "T", kFloat16To64}, {"scale", "T", kFloat16To64}, {"B", "T", kFloat16To64}},
       .outputs = {{"output", "T", kFloat16To64}},
       .attrs = {{"epsilon", AttrKind::kFloat, false, "1e-5"}},
       .infer = infer_instance_norm, .compute = {.decompose = decompose_instance_norm},
       .doc = "Normalisation of each channel of each sample (ONNX InstanceNormalization)."},
      {.domain = "", .name = "GroupNormalization",
       .inputs = {{"X", "T", kFloat16To64}, {"scale", "T", kFloat16To64}, {"bias", "T", kFloat16To64}},
       .outputs = {{"Y", "T", kFloat16To64}},
       .attrs = {{"epsilon", AttrKind::kFloat, false, "1e-5"}, {"num_groups", AttrKind::kInt, true}, {"stash_type", AttrKind::kInt, false, "1"}},
       .infer = infer_group_norm, .compute = {.decompose = decompose_group_norm},
       .doc = "Normalisation of each group of channels (ONNX GroupNormalization)."},
      {.domain = "", .name = "BatchNormalization",
       .inputs = {{"X", "T", kFloat16To64}, {"scale", "T1", kFloat16To64}, {"B", "T1", kFloat16To64},
                  {"input_mean", "T2", kFloat16To64}, {"input_var", "T2", kFloat16To64}},
       .outputs = {{"Y", "T", kFloat16To64}, {"running_mean", "T2", kFloat16To64, true}, {"running_var", "T2", kFloat16To64, true}},
       .attrs = {{"epsilon", AttrKind::kFloat, false, "1e-5"}, {"momentum", AttrKind::kFloat, false, "0.9"},
                 {"training_mode", AttrKind::kInt, false, "0"}},
       .infer = infer_batch_norm, .compute = {.decompose = decompose_batch_norm},
       .doc = "Normalisation with given, or batch, statistics (ONNX BatchNormalization)."},
      {.domain = "", .name = "LRN", .inputs = {{"X", "T", kFloat16To64}}, .outputs = {{"Y", "T", kFloat16To64}},
       .attrs = {{"alpha", AttrKind::kFloat, false, "0.0001"}, {"beta", AttrKind::kFloat, false, "0.75"},
                 {"bias", AttrKind::kFloat, false, "1"}, {"size", AttrKind::kInt, true}},
       .infer = infer_lrn, .compute = {.body = lrn_body},
       .doc = "Local response normalisation across channels (ONNX LRN)."},
      {.domain = "", .name = "MeanVarianceNormalization", .inputs = {{"X", "T", kFloat16To64}}, .outputs = {{"Y", "T", kFloat16To64}},
       .attrs = {{"axes", AttrKind::kInts, false, "0 2 3"}},
       .infer = infer_mvn, .compute = {.decompose = decompose_mvn},
       .doc = "(x - mean) / (std + 1e-9) over axes (ONNX MeanVarianceNormalization)."},
      {.domain = "", .name = "LpNormalization", .inputs = {{"input", "T", kFloat16To64}}, .outputs = {{"output", "T", kFloat16To64}},
       .attrs = {{"axis", AttrKind::kInt, false, "-1"}, {"p", AttrKind::kInt, false, "2"}},
       .infer = infer_lp_norm, .compute = {.decompose = decompose_lp_norm},
       .doc = "x over its p-norm along an axis, 0 where the norm is 0 (ONNX LpNormalization)."},
      {.domain = "", .name = "NegativeLogLikelihoodLoss",
       .inputs = {{"input", "T", kFloat16To64}, {"target", "Tind", kTarget}, {"weight", "T", kFloat16To64, true}},
       .outputs = {{"loss", "T", kFloat16To64}},
       .attrs = {{"ignore_index", AttrKind::kInt}, {"reduction", AttrKind::kString, false, "mean"}},
       .infer = infer_loss, .compute = {.decompose = decompose_nll},
       .doc = "Weighted negative log likelihood (ONNX NegativeLogLikelihoodLoss)."},
      {.domain = "", .name = "SoftmaxCrossEntropyLoss",
       .inputs = {{"scores", "T", kFloat16To64}, {"labels", "Tind", kTarget}, {"weights", "T", kFloat16To64, true}},
       .outputs = {{"output", "T", kFloat16To64}, {"log_prob", "T", kFloat16To64, true}},
       .attrs = {{"ignore_index", AttrKind::kInt}, {"reduction", AttrKind::kString, false, "mean"}},
       .infer = infer_loss, .compute = {.decompose = decompose_cross_entropy},
       .doc = "LogSoftmax, then negative log likelihood (ONNX SoftmaxCrossEntropyLoss)."},
  };
}

}  // namespace tenon::ir
