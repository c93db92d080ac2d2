#include <cmath>

#include "ir/ops/contrib.h"
#include "ir/ops/nn_helpers.h"

/// com.microsoft activations with a bias (ONNX Runtime, docs/ContribOperators.md).
namespace tenon::ir {
namespace {

constexpr DTypeSet kReal = kFloat16To64;

Status infer_bias_activation(InferContext& c) {
  if (c.has(1) && c.ranked(1) && c.ranked(0)) {
    TENON_RETURN_IF_ERROR(require_rank(c, 1, 1));
    TENON_RETURN_IF_ERROR(require_rank_at_least(c, 0, 1));
    if (!c.shape(1)[0].is_const(1)) TENON_RETURN_IF_ERROR(require_equal(c, c.shape(1)[0], c.shape(0).back(), "bias and the last axis"));
  }
  return infer_same(c);
}

Result<std::vector<Body>> activation_body(const Node& node) {
  Body body;
  ExprPool& p = *body.pool;
  body.dtype = node.output(0)->dtype();
  body.axes = out_dims(node);
  DType acc = accumulator_of(body.dtype);
  size_t rank = body.axes.size();
  Expr x = load_as(p, node, 0, index_range(p, 0, rank), acc);
  if (node.has_input(1)) x = x + load_as(p, node, 1, broadcast_indices(p, dims_of(node, 1), rank), acc);
  std::string_view op = node.op().name;
  Expr y;
  if (op == "FastGelu") {
    // sqrt(2/pi) (x + 0.044715 x³) (Hendrycks and Gimpel 2016).
    Expr inner = x * (x * x * 0.035677408136300125 + 0.7978845608028654);
    y = x * 0.5 * (tanh(inner) + 1.0);
  } else if (op == "QuickGelu") {
    y = x * sigmoid(x * node.attr_float("alpha", 1.702));
  } else {
    y = x * 0.5 * (erf(x * std::sqrt(0.5)) + 1.0);
  }
  body.value = p.cast(y, body.dtype);
  return std::vector<Body>{std::move(body)};
}

OpDef activation(std::string_view name, bool bias, bool bias_optional, std::vector<AttrDef> attrs, std::string_view doc) {
  OpDef def{.domain = "com.microsoft", .name = name, .inputs = {{"X", "T", kReal}}, .outputs = {{"Y", "T", kReal}},
            .attrs = std::move(attrs), .infer = infer_bias_activation, .compute = {.body = activation_body}, .doc = doc};
  if (bias) def.inputs.push_back({"bias", "T", kReal, bias_optional});
  return def;
}

}  // namespace

std::vector<OpDef> ms_activation_ops() {
  return {
      activation("Gelu", false, false, {}, "x Phi(x)."),
      activation("FastGelu", true, true, {}, "Gelu's tanh form, of x + bias."),
      activation("BiasGelu", true, false, {}, "Gelu of x + bias."),
      activation("QuickGelu", false, false, {{"alpha", AttrKind::kFloat, false, "1.702"}}, "x sigmoid(alpha x)."),
  };
}

}  // namespace tenon::ir
