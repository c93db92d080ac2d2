#include <array>
#include <cmath>

#include "ir/ops/attention.h"
#include "ir/ops/families.h"

/// Layers that carry a state from one token to the next: linear attention, and the causal convolution before it.
namespace tenon::ir {
namespace {

using Values = Result<std::vector<Value*>>;

// ---- CausalConvWithState

bool has_swish(const Node& node) { return node.attr_string("activation", "none") != "none"; }

Status infer_causal_conv(InferContext& c) {
  const std::string activation = c.node().attr_string("activation", "none");
  if (activation != "none" && activation != "silu" && activation != "swish")
    return c.fail("attribute activation is \"{}\"; it is none, silu or swish", activation);
  for (int i : {0, 1, 3}) TENON_RETURN_IF_ERROR(require_rank(c, i, 3));
  TENON_RETURN_IF_ERROR(require_rank(c, 2, 1));
  const bool known = c.ranked(0) && c.ranked(1);
  c.set(0, known ? tensor_of(c.dtype(0), c.shape(0)) : unranked(c.dtype(0)));
  if (c.node().num_outputs() > 1) c.set(1, unranked(c.dtype(0)));
  if (!known) return {};
  const Dims &x = c.shape(0), &w = c.shape(1);
  TENON_RETURN_IF_ERROR(require_equal(c, x[1], w[0], "channels of the input and the weight"));
  TENON_RETURN_IF_ERROR(require_equal(c, w[1], 1, "the weight's middle axis"));
  if (w[2].is_const(0)) return c.fail("the kernel is empty");
  if (c.has(2) && c.ranked(2)) TENON_RETURN_IF_ERROR(require_equal(c, c.shape(2)[0], x[1], "channels of the bias"));
  const Dims state = {x[0], x[1], w[2] - 1};
  if (c.has(3) && c.ranked(3))
    for (size_t i = 0; i < 3; ++i) TENON_RETURN_IF_ERROR(require_equal(c, c.shape(3)[i], state[i], "sizes of past_state"));
  if (c.node().num_outputs() > 1) c.set(1, tensor_of(c.dtype(0), state));
  return {};
}

/// Depthwise convolution of [batch, channels, steps + k - 1], whatever the number of channels: windows times kernels.
Value* convolve_windows(Steps& s, Value* padded, const Dims& x, const Dims& w) {
  Builder& b = s.builder();
  Value* at = s.add(s.reshape(positions(s, x[2]), {x[2], 1}), s.reshape(positions(s, w[2]), {1, w[2]}));
  Value* windows = b.make("Gather", {padded, at}, {{"axis", int64_t{2}}});
  Value* y = s.reshape(s.matmul(windows, s.reshape(s.in(1), {w[0], w[2], 1})), x);
  return s.in(2) == nullptr ? y : s.add(y, s.per_channel(s.in(2), 1));
}

/// The last k - 1 positions stand before the input, so that a plain depthwise convolution sees only the past.
Values decompose_causal_conv(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  Steps s(node, b);
  const Dims x = dims_of(node, 0), w = dims_of(node, 1);
  const Dim channels = w[0].is_const() ? w[0] : x[1], kept = w[2] - 1;
  Value* past = node.has_input(3) ? s.in(3) : s.expand(s.like(s.in(0), 0), {x[0], x[1], kept});
  Value* padded = s.concat({past, s.in(0)}, 2);
  Value* y = channels.is_const() ? b.make("Conv", {padded, s.in(1), s.in(2)}, {{"group", channels.value()}})
                                 : convolve_windows(s, padded, x, w);
  if (has_swish(node)) y = s.unary("Swish", y);
  std::vector<Value*> out = {y};
  if (node.num_outputs() > 1) out.push_back(s.slice(padded, 2, x[2], x[2] + kept));
  return s.done(std::move(out));
}

// ---- LinearAttention

struct LinearAttention {
  int64_t q_heads = 0, kv_heads = 0;
  Dim batch, steps, key_size, value_size;
  bool gated = false, delta = false;
};

/// Whether a dim that must be one of two is known to be neither.
bool differ_from_both(const Node& node, Dim d, Dim a, Dim b) {
  return known_ne(d, a) ? differ(node, d, b) : !known_eq(d, a) && !known_eq(d, b) && differ(node, (d - a) * (d - b), 0);
}

Result<Dim> head_size(const Node& node, const Dims& packed, int64_t heads, std::string_view what) {
  if (packed.size() != 3) return error(Code::kInvalidModel, "{} has rank {}; it must be 3", what, packed.size());
  if (differ(node, mod(packed[2], heads), 0))
    return error(Code::kInvalidModel, "{} components of {} do not divide into {} heads", to_string(packed[2]), what, heads);
  return floor_div(packed[2], heads);
}

Result<LinearAttention> read_rule(const Node& node) {
  LinearAttention a;
  const std::string rule = node.attr_string("update_rule", "gated_delta");
  if (rule != "linear" && rule != "gated" && rule != "delta" && rule != "gated_delta")
    return error(Code::kInvalidModel, "attribute update_rule is \"{}\"; it is linear, gated, delta or gated_delta", rule);
  a.gated = rule.starts_with("gated");
  a.delta = rule.ends_with("delta");
  if (a.gated && !node.has_input(4)) return error(Code::kInvalidModel, "the update rule {} needs the input decay", rule);
  if (a.delta && !node.has_input(5)) return error(Code::kInvalidModel, "the update rule {} needs the input beta", rule);
  a.q_heads = node.attr_int("q_num_heads", 0);
  a.kv_heads = node.attr_int("kv_num_heads", 0);
  if (a.q_heads < 1 || a.kv_heads < 1 || a.q_heads % a.kv_heads != 0)
    return error(Code::kInvalidModel, "{} query heads do not divide among {} key heads", a.q_heads, a.kv_heads);
  return a;
}

Result<LinearAttention> read_linear_attention(const Node& node) {
  TENON_ASSIGN_OR_RETURN(LinearAttention a, read_rule(node));
  const Dims &q = dims_of(node, 0), &k = dims_of(node, 1), &v = dims_of(node, 2);
  TENON_ASSIGN_OR_RETURN(a.key_size, head_size(node, q, a.q_heads, "query"));
  TENON_ASSIGN_OR_RETURN(Dim of_key, head_size(node, k, a.kv_heads, "key"));
  TENON_ASSIGN_OR_RETURN(a.value_size, head_size(node, v, a.kv_heads, "value"));
  a.batch = q[0];
  a.steps = q[1];
  if (differ(node, a.key_size, of_key))
    return error(Code::kInvalidModel, "heads of queries have {} components, of keys {}", to_string(a.key_size), to_string(of_key));
  for (int i : {1, 2, 4, 5}) {
    if (!node.has_input(i)) continue;
    const Dims& d = dims_of(node, i);
    if (d.size() != 3) return error(Code::kInvalidModel, "input {} has rank {}; it must be 3", i, d.size());
    if (differ(node, d[0], a.batch) || differ(node, d[1], a.steps))
      return error(Code::kInvalidModel, "input {} has another batch or another number of steps than the query", i);
  }
  const Dim heads = a.kv_heads;
  if (node.has_input(4) && differ_from_both(node, dims_of(node, 4)[2], heads, heads * a.key_size))
    return error(Code::kInvalidModel, "decay has {} components; it has one a head or one a key component", to_string(dims_of(node, 4)[2]));
  if (node.has_input(5) && differ_from_both(node, dims_of(node, 5)[2], heads, 1))
    return error(Code::kInvalidModel, "beta has {} components; it has one, or one a head", to_string(dims_of(node, 5)[2]));
  if (!node.has_input(3)) return a;
  const Dims& past = dims_of(node, 3);
  const Dims state = {a.batch, heads, a.key_size, a.value_size};
  if (past.size() != state.size()) return error(Code::kInvalidModel, "past_state has rank {}; it must be 4", past.size());
  for (size_t i = 0; i < state.size(); ++i)
    if (differ(node, past[i], state[i]))
      return error(Code::kInvalidModel, "axis {} of past_state has {} elements where {} are needed", i, to_string(past[i]), to_string(state[i]));
  return a;
}

Status infer_linear_attention(InferContext& c) {
  const DType state = c.dtype(c.has(3) ? 3 : 0);
  c.set(0, unranked(c.dtype(0)));
  if (c.node().num_outputs() > 1) c.set(1, unranked(state));
  Result<LinearAttention> rule = read_rule(c.node());
  if (!rule.ok()) return std::move(rule).status().at(c.node().name());
  for (int i = 0; i < 6; ++i)
    if (c.has(i) && !c.ranked(i)) return {};
  Result<LinearAttention> a = read_linear_attention(c.node());
  if (!a.ok()) return std::move(a).status().at(c.node().name());
  c.set(0, tensor_of(c.dtype(0), {a->batch, a->steps, a->value_size * a->q_heads}));
  if (c.node().num_outputs() > 1) c.set(1, tensor_of(state, {a->batch, a->kv_heads, a->key_size, a->value_size}));
  return {};
}

/// What one step reads, by head; those after v may be null. In this order they are the inputs of the scan.
enum StepInput { kQuery, kKey, kValue, kDecay, kBeta, kStepInputs };
using StepInputs = std::array<Value*, kStepInputs>;

struct StepResult {
  Value *state = nullptr, *y = nullptr;
};

/// S ← e^g S + β k ⊗ (v - (e^g S)ᵀ k), y = S q / √d, less what the rule leaves out (ONNX LinearAttention).
StepResult attend_step(Steps& s, const LinearAttention& a, double scale, Value* state, const StepInputs& in) {
  const Dim heads = a.kv_heads;
  if (in[kDecay] != nullptr) state = s.mul(state, s.unary("Exp", in[kDecay]));
  Value* written = in[kValue];
  if (a.delta) {
    Value* row = s.reshape(in[kKey], {a.batch, heads, 1, a.key_size});
    written = s.mul(in[kBeta], s.sub(written, s.matmul(row, state)));
  }
  state = s.add(state, s.mul(in[kKey], written));
  Value* y = s.matmul(in[kQuery], state);
  if (scale != 0) y = s.mul(y, scale);
  else y = s.div(y, s.unary("Sqrt", s.cast(s.dim_scalar(a.key_size), DType::kF32)));
  return {state, s.reshape(y, {a.batch, a.value_size * a.q_heads})};
}

/// Inputs as f32 [steps, batch, heads, …]: queries a row for each of the group, keys as columns, values as rows.
struct Operands {
  std::array<Dims, kStepInputs> dims;  // of a step
  StepInputs values = {};
};

Operands read_operands(Steps& s, const LinearAttention& a) {
  Operands out;
  const Dim heads = a.kv_heads, group = a.q_heads / a.kv_heads;
  auto read = [&](StepInput which, int input, Dims dims) {
    Value* steps_first = s.transpose(s.cast(s.in(input), DType::kF32), {1, 0, 2});
    out.dims[which] = dims;
    dims.insert(dims.begin(), a.steps);
    out.values[which] = s.reshape(steps_first, std::move(dims));
  };
  read(kQuery, 0, {a.batch, heads, group, a.key_size});
  read(kKey, 1, {a.batch, heads, a.key_size, 1});
  read(kValue, 2, {a.batch, heads, 1, a.value_size});
  if (a.gated) read(kDecay, 4, {a.batch, heads, floor_div(dims_of(s.node(), 4)[2], a.kv_heads), 1});
  if (a.delta) read(kBeta, 5, {a.batch, dims_of(s.node(), 5)[2], 1, 1});
  return out;
}

StepResult scan_steps(Steps& s, const LinearAttention& a, double scale, Value* initial, const Operands& operands) {
  const Dims state_dims = {a.batch, a.kv_heads, a.key_size, a.value_size};
  std::vector<Value*> inputs = {initial};
  for (Value* v : operands.values)
    if (v != nullptr) inputs.push_back(v);
  auto fill = [&](Graph& region) -> Status {
    auto add = [&](const char* name, const Dims& dims) {
      return region.add_input(region.unique_name(name), TensorType(DType::kF32, dims));
    };
    constexpr std::array kNames = {"query", "key", "value", "decay", "beta"};
    Value* state = add("state", state_dims);
    StepInputs in = {};
    for (size_t i = 0; i < kStepInputs; ++i)
      if (operands.values[i] != nullptr) in[i] = add(kNames[i], operands.dims[i]);
    Builder builder(region);
    Steps steps(s.node(), builder);
    const StepResult r = attend_step(steps, a, scale, state, in);
    TENON_RETURN_IF_ERROR(builder.status());
    region.add_output(r.state);
    region.add_output(r.y);
    return {};
  };
  const std::vector<Value*> out =
      s.builder().make_region("Scan", inputs, 2, {{"num_scan_inputs", static_cast<int64_t>(inputs.size()) - 1}}, fill);
  return {out[0], out[1]};
}

Values decompose_linear_attention(Node& node, Builder& b) {
  TENON_RETURN_IF_ERROR(require_ranked_inputs(node));
  TENON_ASSIGN_OR_RETURN(const LinearAttention a, read_linear_attention(node));
  Steps s(node, b);
  double scale = node.attr_float("scale", 0);
  if (scale == 0 && a.key_size.is_const() && a.key_size.value() > 0) scale = 1 / std::sqrt(static_cast<double>(a.key_size.value()));
  const Dims state_dims = {a.batch, a.kv_heads, a.key_size, a.value_size};
  Value* state = node.has_input(3) ? s.reshape(s.cast(s.in(3), DType::kF32), state_dims) : s.expand(b.scalar(DType::kF32, 0), state_dims);
  Operands operands = read_operands(s, a);
  TENON_RETURN_IF_ERROR(b.status());
  StepResult r;
  if (a.steps.is_const(1)) {
    for (size_t i = 0; i < kStepInputs; ++i)
      if (operands.values[i] != nullptr) operands.values[i] = s.reshape(operands.values[i], operands.dims[i]);
    r = attend_step(s, a, scale, state, operands.values);
  } else {
    r = scan_steps(s, a, scale, state, operands);
  }
  TENON_RETURN_IF_ERROR(b.status());
  const Dim width = a.value_size * a.q_heads;
  Value* y = s.transpose(s.reshape(r.y, {a.steps, a.batch, width}), {1, 0, 2});
  std::vector<Value*> out = {s.cast(y, node.output(0)->dtype())};
  if (node.num_outputs() > 1) out.push_back(s.cast(r.state, node.output(1)->dtype()));
  return s.done(std::move(out));
}

}  // namespace

std::vector<OpDef> linear_attention_ops() {
  constexpr DTypeSet kFloat = dtypes(DType::kF16, DType::kBF16, DType::kF32);
  return {
      {.domain = "", .name = "CausalConvWithState",
       .inputs = {{"input", "T", kFloat}, {"weight", "T", kFloat}, {"bias", "T", kFloat, true}, {"past_state", "T", kFloat, true}},
       .outputs = {{"output", "T", kFloat}, {"present_state", "T", kFloat, true}},
       .attrs = {{"activation", AttrKind::kString, false, "none"}},
       .infer = infer_causal_conv, .compute = {.decompose = decompose_causal_conv},
       .doc = "Depthwise convolution over current and past positions, with the past as a state (ONNX CausalConvWithState)."},
      {.domain = "", .name = "LinearAttention",
       .inputs = {{"query", "T", kFloat}, {"key", "T", kFloat}, {"value", "T", kFloat}, {"past_state", "S", kFloat, true},
                  {"decay", "T", kFloat, true}, {"beta", "T", kFloat, true}},
       .outputs = {{"output", "T", kFloat}, {"present_state", "S", kFloat, true}},
       .attrs = {{"chunk_size", AttrKind::kInt, false, "64"}, {"kv_num_heads", AttrKind::kInt, true}, {"q_num_heads", AttrKind::kInt, true},
                 {"scale", AttrKind::kFloat, false, "0.0"}, {"update_rule", AttrKind::kString, false, "gated_delta"}},
       .infer = infer_linear_attention, .compute = {.decompose = decompose_linear_attention},
       .doc = "Attention through a state of fixed size, updated token by token (ONNX LinearAttention)."},
  };
}

}  // namespace tenon::ir
