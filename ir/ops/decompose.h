#pragma once

#include "ir/ops/nn_helpers.h"

/// Shorthand for decompositions: each call appends one node.
namespace tenon::ir {

class Steps {
 public:
  Steps(Node& node, Builder& b) : node_(&node), b_(b) {}
  explicit Steps(Builder& b) : node_(nullptr), b_(b) {}  // of no node: without in() and node()

  Value* in(int i) const { return node_->input(i); }
  Value* add(Value* a, Value* b) { return b_.make("Add", {a, b}); }
  Value* sub(Value* a, Value* b) { return b_.make("Sub", {a, b}); }
  Value* mul(Value* a, Value* b) { return b_.make("Mul", {a, b}); }
  Value* div(Value* a, Value* b) { return b_.make("Div", {a, b}); }
  Value* add(Value* a, double b) { return add(a, like(a, b)); }
  Value* mul(Value* a, double b) { return mul(a, like(a, b)); }
  Value* div(Value* a, double b) { return div(a, like(a, b)); }
  Value* unary(std::string_view op, Value* a) { return b_.make(op, {a}); }
  Value* matmul(Value* a, Value* b) { return b_.make("MatMul", {a, b}); }
  /// A constant scalar of a's dtype.
  Value* like(Value* a, double value) { return a == nullptr ? nullptr : b_.scalar(a->dtype(), value); }
  Value* cast(Value* a, DType to);
  Value* reduce(std::string_view op, Value* a, std::span<const int64_t> axes, bool keepdims = true);
  Value* softmax(Value* a, int64_t axis) { return b_.make("Softmax", {a}, {{"axis", axis}}); }
  Value* reshape(Value* a, Dims dims);
  Value* expand(Value* a, Dims dims) { return b_.make("tenon.expand", {a}, {{"dims", std::move(dims)}}); }
  Value* transpose(Value* a, std::vector<int64_t> perm) { return b_.make("Transpose", {a}, {{"perm", std::move(perm)}}); }
  Value* concat(std::initializer_list<Value*> parts, int64_t axis) { return b_.make("Concat", parts, {{"axis", axis}}); }
  /// a[start:end] along `axis`; the dims may be symbolic.
  Value* slice(Value* a, int64_t axis, Dim start, Dim end);
  /// A rank-1 tensor [C] seen as [C, 1, 1, …] with `trailing` ones.
  Value* per_channel(Value* a, size_t trailing);
  /// A rank-0 or rank-1 i64 tensor of dims.
  Value* dim_scalar(Dim d) { return b_.make("tenon.dim_values", {}, {{"dims", Dims{d}}, {"scalar", int64_t{1}}}); }
  Value* dim_vector(Dims d) { return b_.make("tenon.dim_values", {}, {{"dims", std::move(d)}}); }

  Builder& builder() { return b_; }
  Node& node() { return *node_; }
  /// The values, or the builder's first error.
  Result<std::vector<Value*>> done(std::vector<Value*> values) const;

 private:
  Node* node_;
  Builder& b_;
};

/// ONNX code of a dtype, as the `to` attribute of Cast wants it.
inline int64_t onnx_code(DType dtype) { return info(dtype).onnx; }

/// axis, axis + 1, … rank - 1.
std::vector<int64_t> axes_from(int64_t axis, int64_t rank);

/// x / sqrt(mean(x²) + epsilon) over `axes`, and layer normalisation's (x - mean) / sqrt(var + epsilon), in x's dtype.
struct Normalized {
  Value* y = nullptr;
  Value* mean = nullptr;      // null for RMS
  Value* inv_std = nullptr;
};
Normalized normalize(Steps& s, Value* x, std::span<const int64_t> axes, double epsilon, bool subtract_mean);

}  // namespace tenon::ir
