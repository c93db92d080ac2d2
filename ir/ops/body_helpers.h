#pragma once

#include <optional>
#include <span>
#include <vector>

#include "ir/compute.h"
#include "ir/op.h"

/// What the families of elementwise, movement, reduction and indexing ops share.
namespace tenon::ir {

inline const std::vector<Dim>& input_dims(const Node& node, int i) { return *node.input(i)->tensor().dims; }
inline const std::vector<Dim>& output_dims(const Node& node, int i = 0) { return *node.output(i)->tensor().dims; }

/// A body of this kind for output `i`, with its dtype and axes.
Body start_body(const Node& node, ComputeKind kind, int output = 0);
Result<std::vector<Body>> one_body(Body body);

/// kUnsupported when a dim of an output is known only after the node has run: then it has neither body nor decomposition.
Status require_known_shape(const Node& node);

/// index(first), … for `rank` axes.
std::vector<Expr> axis_indices(ExprPool& pool, size_t rank, size_t first = 0);
inline Expr i64(ExprPool& pool, int64_t value) { return pool.constant_int(DType::kI64, value); }

/// Input `operand` at the indices `at` of a shape `dims` that it broadcasts to (right-aligned).
Expr load_broadcast(Body& body, const Node& node, int operand, std::span<const Expr> at, std::span<const Dim> dims);
/// Input `operand` at these indices.
Expr load_at(Body& body, const Node& node, int operand, std::span<const Expr> at);
/// The one element of input `operand`, whatever its rank.
Expr load_only(Body& body, const Node& node, int operand);

/// The index 0, when `condition` holds; else the run fails. For what a body must check, as a term of an index that it reads.
Expr required(Expr condition);

/// A Python index as a position: negative ones count from the end; others outside fail the run.
Expr position(Expr index, Dim extent);

/// f16 and bf16 expressions are computed in f32 and rounded once.
inline DType compute_dtype(DType d) { return d == DType::kF16 || d == DType::kBF16 ? DType::kF32 : d; }

/// The type of input `i` with another dtype: for ops that keep the shape.
Type same_shape(InferContext& c, int i, DType dtype);
/// Output 0 has the type of input 0.
Status infer_as_input(InferContext& c);

/// Whether a dim depends on symbols that are data (tenon.as_dims): only its value at run time is known, not even its
/// sign.
bool is_data(Dim d);

/// The values of a constant or symbolically known rank 0/1 integer input that are all constants.
std::optional<std::vector<int64_t>> known_ints(const InferContext& c, int i);
/// Of a tensor at run time; int64 whatever the integer dtype.
std::vector<int64_t> int_values(const Tensor& t);

/// Input `i` is absent, or gives axes for a tensor of `rank`: normalised, without repeats. nullopt: given but not known.
Result<std::optional<std::vector<int64_t>>> axes_input(InferContext& c, int i, int64_t rank);
/// The same of a node whose input is constant.
Result<std::vector<int64_t>> constant_axes(const Node& node, int i, int64_t rank);
Result<std::vector<int64_t>> normalize_axes(std::vector<int64_t> axes, int64_t rank);

/// Strides of a dense row-major shape.
std::vector<int64_t> dense_strides(std::span<const int64_t> shape);
/// Copies `count` elements between tensors of one dtype (strings and packed types too).
void copy_range(const Tensor& from, int64_t source, Tensor& to, int64_t target, int64_t count);

}  // namespace tenon::ir
