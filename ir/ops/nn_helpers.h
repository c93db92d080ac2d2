#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "ir/compute.h"
#include "ir/op.h"

/// What several op families of neural networks share: operand access in bodies, checks of shapes, quantisation arithmetic.
namespace tenon::ir {

using Dims = std::vector<Dim>;

inline Type tensor_of(DType dtype, Dims dims) { return TensorType(dtype, std::move(dims)); }
inline Type unranked(DType dtype) { return TensorType::unranked(dtype); }

/// Type and shape of input `i` for output `o`.
Status infer_same(InferContext& c);
/// An error when input `i` (present, ranked) has another rank.
Status require_rank(InferContext& c, int i, int64_t rank);
Status require_rank_at_least(InferContext& c, int i, int64_t rank);
/// An error when the two dims are known to differ; `what` says whose dims they are.
Status require_equal(InferContext& c, Dim a, Dim b, std::string_view what);

/// Dims of a node's tensor input or output, which must be ranked (bodies and decompositions).
inline const Dims& dims_of(const Node& node, int input) { return *node.input(input)->tensor().dims; }
inline const Dims& out_dims(const Node& node, int output = 0) { return *node.output(output)->tensor().dims; }
/// An error unless all present tensor inputs are ranked: for decompositions.
Status require_ranked_inputs(const Node& node);

/// index(first), index(first + 1), … `count` of them.
std::vector<Expr> index_range(ExprPool& pool, size_t first, size_t count);
/// Indices that read a tensor of `shape` at the output index (of `out_rank` axes), with right-aligned broadcasting.
std::vector<Expr> broadcast_indices(ExprPool& pool, const Dims& shape, size_t out_rank);
/// Loads input `operand` of the node with `indices`, converted to `dtype`.
Expr load_as(ExprPool& pool, const Node& node, int operand, std::span<const Expr> indices, DType dtype);
/// As load_as, for a tensor of one element (rank 0, or every dim 1).
Expr load_single(ExprPool& pool, const Node& node, int operand, DType dtype);
bool is_single(const Dims& dims);  // rank 0 or all dims the constant 1

/// f32 for floats up to 32 bits, f64, else the integer type itself.
DType accumulator_of(DType dtype);
/// Range of an integer type of at most 32 bits.
struct IntRange {
  int64_t lo, hi;
};
IntRange int_range(DType dtype);
/// clamp(round(value) + zero_point) converted to the integer type `to` (ONNX QuantizeLinear); `zero_point` may be invalid.
/// `value` is f32; float8 and float4 targets are a saturating conversion.
Expr quantize_expr(Expr value, Expr zero_point, DType to);
/// relu, sigmoid … of com.microsoft's fused ops; kUnsupported for a name not known.
Result<Expr> activation_expr(std::string_view name, std::span<const double> params, Expr x);

/// Values of a tensor as double / float / int64, whatever its dtype.
std::vector<double> doubles_of(const Tensor& tensor);
std::vector<float> floats_of(const Tensor& tensor);
std::vector<int64_t> ints_of(const Tensor& tensor);
void store_doubles(Tensor& tensor, std::span<const double> values);
void store_floats(Tensor& tensor, std::span<const float> values);

/// Errors of evaluation, with the node's name as the place.
template <class... Args>
Status eval_error(const EvalContext& c, Code code, fmt::format_string<Args...> format, Args&&... args) {
  return Status(code, fmt::format(format, std::forward<Args>(args)...), c.node.name());
}

}  // namespace tenon::ir
