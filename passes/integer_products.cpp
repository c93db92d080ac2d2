#include <algorithm>

#include "ir/op.h"
#include "passes/passes.h"
#include "passes/patch.h"
#include "passes/rewrite.h"

namespace tenon::passes {
namespace {

using ir::Dim;
using ir::Node;
using ir::Value;

/// Sums of K products of 8-bit integers less their zero points, none beyond 255 * 255, stay within 32 bits.
constexpr int64_t kMaxDepth = INT32_MAX / (255 * 255);
/// Products along the channels of a group: with fewer, dot products of four bytes are mostly padding (depthwise convolutions).
constexpr int64_t kLeastChannels = 3;

/// (codes - zero) * scale, with bytes as codes; zero may be null.
struct Dequantized {
  Value *codes, *scale, *zero;
  int64_t axis;  // that scales are along, where there are several
  bool single;   // one scale for the whole tensor
};

std::optional<Dequantized> dequantized(const Value* v) {
  const Node* node = v == nullptr ? nullptr : v->def();
  if (node == nullptr || !node->is("DequantizeLinear") || node->attr_int("block_size", 0) != 0) return std::nullopt;
  Value *codes = node->input(0), *scale = node->input(1);
  if (codes->dtype() != DType::kU8 && codes->dtype() != DType::kI8) return std::nullopt;
  if (v->dtype() != DType::kF32 || scale->dtype() != DType::kF32) return std::nullopt;
  if (!codes->type().is_ranked_tensor() || !scale->type().is_ranked_tensor() || codes->tensor().rank() == 0) return std::nullopt;
  const bool single = std::ranges::all_of(*scale->tensor().dims, [](Dim d) { return d.is_const(1); });
  const int64_t rank = codes->tensor().rank(), axis = node->attr_int("axis", 1);
  return Dequantized{codes, scale, node->num_inputs() > 2 ? node->input(2) : nullptr, axis < 0 ? axis + rank : axis, single};
}

/// The constant factor of a product; its scales are along `axis`, the results' columns or channels, if there are several.
std::optional<Dequantized> weights(const Value* v, int64_t axis) {
  auto out = dequantized(v);
  if (!out || ir::constant_of(out->codes) == nullptr || (!out->single && out->axis != axis)) return std::nullopt;
  return out;
}

std::optional<Dequantized> activations(const Value* v) {
  auto out = dequantized(v);
  return out && out->single ? out : std::nullopt;
}

bool sums_fit(Dim depth) { return depth.is_const() && depth.value() > 0 && depth.value() <= kMaxDepth; }

Value* make(Patch& patch, std::string_view op, std::initializer_list<Value*> inputs) { return patch.builder().make(op, inputs); }

/// The sums as f32 times both scales; `shape` is what the scales of channels are to have, empty: as they are.
Value* scaled(Patch& patch, Value* sums, const Dequantized& x, const Dequantized& w, const std::vector<int64_t>& shape) {
  Value* scale = make(patch, "Mul", {x.scale, w.scale});
  if (!shape.empty() && !w.single) scale = make(patch, "Reshape", {scale, patch.builder().ints(shape)});
  return make(patch, "Mul", {patch.builder().make("Cast", {sums}, {{"to", int64_t{info(DType::kF32).onnx}}}), scale});
}

Result<bool> matmul(Node& node, PassContext& context) {
  const int64_t rank = node.input(1)->type().is_ranked_tensor() ? node.input(1)->tensor().rank() : 0;
  const auto x = activations(node.input(0)), w = rank < 2 ? std::nullopt : weights(node.input(1), rank - 1);
  if (!x || !w || !sums_fit((*w->codes->tensor().dims)[static_cast<size_t>(rank - 2)])) return false;
  Patch patch(node);
  Value* sums = make(patch, "MatMulInteger", {x->codes, w->codes, x->zero, w->zero});
  return patch.replace(context, scaled(patch, sums, *x, *w, {}));
}

Result<bool> gemm(Node& node, PassContext& context) {
  const bool turned = node.attr_int("transB", 0) != 0;
  if (node.attr_int("transA", 0) != 0 || node.attr_float("alpha", 1) != 1 || node.attr_float("beta", 1) != 1) return false;
  const auto x = activations(node.input(0)), w = weights(node.input(1), turned ? 0 : 1);
  if (!x || !w || w->codes->tensor().rank() != 2 || !sums_fit((*w->codes->tensor().dims)[turned ? 1 : 0])) return false;
  Patch patch(node);
  Value* codes = turned ? patch.builder().make("Transpose", {w->codes}, {{"perm", std::vector<int64_t>{1, 0}}}) : w->codes;
  Value* y = scaled(patch, make(patch, "MatMulInteger", {x->codes, codes, x->zero, w->zero}), *x, *w, {});
  if (node.num_inputs() > 2 && node.input(2) != nullptr) y = make(patch, "Add", {y, node.input(2)});
  return patch.replace(context, y);
}

Result<bool> conv(Node& node, PassContext& context) {
  const auto x = activations(node.input(0)), w = weights(node.input(1), 0);
  if (!x || !w || w->codes->tensor().rank() < 3) return false;
  const std::vector<Dim>& dims = *w->codes->tensor().dims;
  Dim depth = 1;
  for (size_t i = 1; i < dims.size(); ++i) depth = depth * dims[i];
  if (!sums_fit(depth) || dims[1].value() < kLeastChannels) return false;
  Patch patch(node);
  std::vector<Value*> inputs = {x->codes, w->codes, x->zero, w->zero};
  std::vector<std::pair<std::string, ir::Attr>> attrs(node.attrs().begin(), node.attrs().end());
  std::vector<int64_t> channels(dims.size() - 1, 1);
  channels[0] = dims[0].value();
  Value* y = scaled(patch, patch.builder().make_n("ConvInteger", inputs, 1, std::move(attrs))[0], *x, *w, channels);
  if (node.num_inputs() > 2 && node.input(2) != nullptr)
    y = make(patch, "Add", {y, make(patch, "Reshape", {node.input(2), patch.builder().ints(channels)})});
  return patch.replace(context, y);
}

}  // namespace

/// sum of (x - zx) sx (w - zw) sw over K is sx sw times a sum of integers, which is exact where the sum of f32 rounds at every step
/// (Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", section 2.2).
Result<bool> integer_products(ir::Graph& graph, PassContext& context) {
  context.codes_settled = true;
  if (!context.target.byte_products) return false;
  return rewrite_nodes(graph, context, [&](Node& node, Node*&) -> Result<bool> {
    if (node.is("MatMul")) return matmul(node, context);
    if (node.is("Gemm")) return gemm(node, context);
    if (node.is("Conv")) return conv(node, context);
    return false;
  });
}

}  // namespace tenon::passes
