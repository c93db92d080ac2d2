#include <algorithm>
#include <cmath>
#include <limits>

#include "passes/passes.h"
#include "passes/patch.h"
#include "passes/rewrite.h"

namespace tenon::passes {
namespace {

using ir::Builder;
using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::Value;

/// DequantizeLinear of bytes to f32, with one scale or one for each index of `axis`.
struct Dequantized {
  Value *codes, *scale, *zero;  // zero: null where it is 0
  int64_t axis = -1;            // -1: one scale
};

/// Terms of at most 255 * 255 whose sum 32 bits hold.
constexpr int64_t kMaxTerms = std::numeric_limits<int32_t>::max() / (255 * 255);
/// Channels of a convolution's group that are worth a word of four bytes; lowering makes no words of fewer.
constexpr int64_t kLeastChannels = 3;

bool is_byte(DType d) { return d == DType::kI8 || d == DType::kU8; }

bool is_single(const Value& v) {
  return std::ranges::all_of(*v.tensor().dims, [](Dim d) { return d.is_const(1); });
}

bool is_zero(const Value* v) {
  const Tensor* t = ir::constant_of(v);
  if (t == nullptr) return false;
  for (int64_t i = 0; i < t->size(); ++i)
    if (t->at_int(i) != 0) return false;
  return true;
}

std::optional<Dequantized> dequantized(const Value* v, const Graph& graph) {
  const Node* node = v == nullptr ? nullptr : v->def();
  if (node == nullptr || node->graph() != &graph || !node->is("DequantizeLinear") ||
      node->attr_int("block_size", 0) != 0)
    return std::nullopt;
  for (const Value* input : node->inputs())
    if (input != nullptr && !input->type().is_ranked_tensor()) return std::nullopt;
  Dequantized out{node->input(0), node->input(1), node->has_input(2) ? node->input(2) : nullptr};
  if (!is_byte(out.codes->dtype()) || out.scale->dtype() != DType::kF32 || node->output()->dtype() != DType::kF32)
    return std::nullopt;
  if (!is_single(*out.scale)) {
    const int64_t rank = out.codes->tensor().rank(), axis = node->attr_int("axis", 1);
    out.axis = axis < 0 ? axis + rank : axis;
  }
  if (is_zero(out.zero)) out.zero = nullptr;
  return out;
}

/// The least and the largest magnitude of constant numbers that are neither 0, infinite nor NaN.
std::optional<std::pair<float, float>> magnitudes(const Value* v) {
  const Tensor* t = ir::constant_of(v);
  if (t == nullptr || t->size() == 0) return std::nullopt;
  std::pair<float, float> out(std::numeric_limits<float>::max(), 0.0f);
  for (int64_t i = 0; i < t->size(); ++i) {
    const float magnitude = std::abs(static_cast<float>(t->at_double(i)));
    if (!std::isfinite(magnitude) || magnitude == 0) return std::nullopt;
    out = {std::min(out.first, magnitude), std::max(out.second, magnitude)};
  }
  return out;
}

/// Whether products of both scales are ordinary numbers, so that it makes no difference which are multiplied first.
bool scales_multiply(const Value* a, const Value* b) {
  const auto x = magnitudes(a), y = magnitudes(b);
  return x && y && std::isfinite(x->second * y->second) && x->first * y->first >= std::numeric_limits<float>::min();
}

/// A product of dequantised bytes, weights constant.
struct Product {
  Dequantized x, w;
};

/// The factors of `node`, whose weights have a scale for each index of the axis `columns`, or a single one. `rank`: of
/// the weights; 0: any.
std::optional<Product> product_of(const Node& node, int64_t columns, size_t rank) {
  const std::optional<Dequantized> x = dequantized(node.input(0), *node.graph()),
                                   w = dequantized(node.input(1), *node.graph());
  if (!x || !w || x->axis >= 0 || (w->axis >= 0 && w->axis != columns) || !scales_multiply(x->scale, w->scale))
    return std::nullopt;
  const Tensor* weights = ir::constant_of(w->codes);
  if (weights == nullptr || weights->shape().size() < 2 || (rank != 0 && weights->shape().size() != rank))
    return std::nullopt;
  const int64_t width = weights->dim(columns);
  if (width == 0 || weights->size() / width > kMaxTerms) return std::nullopt;
  return Product{*x, *w};
}

Value* reshaped(Builder& b, Value* v, std::vector<Dim> dims) {
  return b.make("tenon.reshape", {v}, {{"dims", std::move(dims)}});
}

/// A single element as a scalar; anything else with axes of 1 behind it, so that it lies along an axis `behind` the
/// last.
Value* placed(Builder& b, Value* v, int64_t behind = 0) {
  if (v == nullptr || v->tensor().dims->empty()) return v;
  if (is_single(*v)) return reshaped(b, v, {});
  if (behind == 0) return v;
  std::vector<Dim> dims = *v->tensor().dims;
  dims.insert(dims.end(), static_cast<size_t>(behind), Dim(1));
  return reshaped(b, v, std::move(dims));
}

/// `sums` of codes as what the dequantised ones would give.
Value* scaled(Builder& b, const Product& p, Value* sums, int64_t behind = 0) {
  Value* scale = b.make("Mul", {placed(b, p.x.scale), placed(b, p.w.scale, behind)});
  return b.make("Mul", {b.make("Cast", {sums}, {{"to", int64_t{info(DType::kF32).onnx}}}), scale});
}

Value* matrix_product(Builder& b, const Product& p, Value* w) {
  return scaled(b, p, b.make("MatMulInteger", {p.x.codes, w, placed(b, p.x.zero), placed(b, p.w.zero)}));
}

Result<bool> matmul(Node& node, PassContext& context) {
  const std::optional<Product> p = product_of(node, 1, 2);
  if (!p || p->x.codes->tensor().rank() < 2) return false;
  Patch patch(node);
  return patch.replace(context, matrix_product(patch.builder(), *p, p->w.codes));
}

Result<bool> gemm(Node& node, PassContext& context) {
  const bool turned = node.attr_int("transB", 0) != 0;
  const std::optional<Product> p = product_of(node, turned ? 0 : 1, 2);
  if (!p || node.attr_int("transA", 0) != 0) return false;
  Patch patch(node);
  Builder& b = patch.builder();
  Value* y = matrix_product(
      b, *p, turned ? b.make("Transpose", {p->w.codes}, {{"perm", std::vector<int64_t>{1, 0}}}) : p->w.codes);
  if (const double alpha = node.attr_float("alpha", 1); alpha != 1)
    y = b.make("Mul", {y, b.scalar(DType::kF32, alpha)});
  if (node.has_input(2)) {
    Value* c = node.input(2);
    if (const double beta = node.attr_float("beta", 1); beta != 1) c = b.make("Mul", {c, b.scalar(DType::kF32, beta)});
    y = b.make("Add", {y, c});
  }
  return patch.replace(context, y);
}

Result<bool> conv(Node& node, PassContext& context) {
  const std::optional<Product> p = product_of(node, 0, 0);
  if (!p || (node.has_input(2) && !node.input(2)->type().is_ranked_tensor())) return false;
  const Tensor& weights = *ir::constant_of(p->w.codes);
  if (weights.shape().size() < 3 || weights.dim(1) < kLeastChannels) return false;
  const int64_t behind = weights.rank() - 2;
  Patch patch(node);
  Builder& b = patch.builder();
  Value* const given[] = {p->x.codes, p->w.codes, placed(b, p->x.zero), placed(b, p->w.zero)};
  Value* sums = b.make_n("ConvInteger", given, 1, {node.attrs().begin(), node.attrs().end()})[0];
  TENON_RETURN_IF_ERROR(b.status());
  Value* y = scaled(b, *p, sums, behind);
  if (node.has_input(2)) y = b.make("Add", {y, placed(b, node.input(2), behind)});
  return patch.replace(context, y);
}

}  // namespace

/// sum of (x - zx) sx (w - zw) sw over K is sx sw times a sum of integers, which is exact where the sum of f32 rounds
/// at every step (Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
/// Inference", section 2.2).
Result<bool> integer_products(Graph& graph, PassContext& context) {
  context.codes_settled = true;
  if (!context.target.byte_products) return false;
  return rewrite_nodes(graph, context, [&](Node& node, Node*&) -> Result<bool> {
    if (node.num_outputs() != 1 || !node.output()->type().is_tensor() || node.output()->dtype() != DType::kF32)
      return false;
    if (node.is("MatMul")) return matmul(node, context);
    if (node.is("Gemm")) return gemm(node, context);
    if (node.is("Conv")) return conv(node, context);
    return false;
  });
}

}  // namespace tenon::passes
