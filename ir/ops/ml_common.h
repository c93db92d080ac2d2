#pragma once

#include "ir/ops/nn_helpers.h"

/// Shared by the ai.onnx.ml families.
namespace tenon::ir {

inline constexpr DTypeSet kMlInputs = dtypes(DType::kF32, DType::kF64, DType::kI64, DType::kI32);
inline constexpr DTypeSet kMlFloat = dtypes(DType::kF32);
inline constexpr DTypeSet kMlLabels = dtypes(DType::kI64, DType::kString);

/// How raw scores become the scores of an output (post_transform).
enum class PostTransform { kNone, kSoftmax, kLogistic, kSoftmaxZero, kProbit };
Result<PostTransform> post_transform_of(const Node& node);
/// A single score has nothing to be compared with: only PROBIT changes it (as ONNX Runtime).
void apply_post_transform(PostTransform transform, std::span<double> scores);
/// Scores of both classes from that of the second one. Of the pair [first, score], LOGISTIC and PROBIT transform both, and SOFTMAX
/// does nothing (as ONNX Runtime). `first` is 1 - score for a probability and -score for a margin.
std::vector<double> binary_scores(PostTransform transform, double score, bool margin);
double logistic(double x);

/// Class labels of a classifier: ints or strings.
struct Labels {
  std::vector<int64_t> ints;
  std::vector<std::string> strings;
  size_t size() const { return strings.empty() ? ints.size() : strings.size(); }
  DType dtype() const { return strings.empty() ? DType::kI64 : DType::kString; }
};
/// Sets element `row` of a label tensor.
void store_label(Tensor& out, int64_t row, const Labels& labels, size_t which);

/// Rows and columns of an [N, C] (or [C]: one row) feature matrix as double.
struct Matrix {
  int64_t rows = 0, columns = 0;
  std::vector<double> values;
  const double* row(int64_t i) const { return values.data() + i * columns; }
};
Result<Matrix> matrix_of(const EvalContext& c, int input);

/// Infers Y = labels [N] of `label_type` and Z = scores [N, classes].
Status infer_classifier(InferContext& c, DType label_type, int64_t classes);
/// Infers [N, targets] floats.
Status infer_regressor(InferContext& c, int64_t targets, DType dtype);
/// Rows of input 0 as a dim: its first axis, 1 for a vector.
Dim rows_of(InferContext& c);

}  // namespace tenon::ir
