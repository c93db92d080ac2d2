#include "ir/ops/ml_common.h"

#include <algorithm>
#include <cmath>

#include "ir/ops/budget.h"

namespace tenon::ir {

Result<PostTransform> post_transform_of(const Node& node) {
  std::string text = node.attr_string("post_transform", "NONE");
  if (text == "NONE") return PostTransform::kNone;
  if (text == "SOFTMAX") return PostTransform::kSoftmax;
  if (text == "LOGISTIC") return PostTransform::kLogistic;
  if (text == "SOFTMAX_ZERO") return PostTransform::kSoftmaxZero;
  if (text == "PROBIT") return PostTransform::kProbit;
  return error(Code::kInvalidModel, "attribute post_transform is \"{}\"", text);
}

double logistic(double x) { return 1 / (1 + std::exp(-x)); }

namespace {

/// Inverse of the error function (Winitzki 2008), as ONNX Runtime computes PROBIT.
double erf_inverse(double x) {
  double sign = x < 0 ? -1 : 1, log = std::log((1 - x) * (1 + x));
  double a = 2 / (3.14159 * 0.147) + 0.5 * log, b = log / 0.147;
  return sign * std::sqrt(-a + std::sqrt(a * a - b));
}

}  // namespace

void apply_post_transform(PostTransform transform, std::span<double> scores) {
  if (scores.empty() || (scores.size() == 1 && transform != PostTransform::kProbit)) return;
  switch (transform) {
    case PostTransform::kNone: return;
    case PostTransform::kLogistic:
      for (double& s : scores) s = logistic(s);
      return;
    case PostTransform::kProbit:
      for (double& s : scores) s = 1.41421356 * erf_inverse(2 * s - 1);
      return;
    case PostTransform::kSoftmax:
    case PostTransform::kSoftmaxZero: {
      bool keep_zeros = transform == PostTransform::kSoftmaxZero;
      double top = *std::max_element(scores.begin(), scores.end()), total = 0;
      for (double& s : scores) {
        bool zero = keep_zeros && std::abs(s) <= 1e-7;
        s = zero ? 0 : std::exp(s - top);
        total += s;
      }
      if (total != 0)
        for (double& s : scores) s /= total;
      return;
    }
  }
}

std::vector<double> binary_scores(PostTransform transform, double score, bool margin) {
  if (transform == PostTransform::kLogistic) return {logistic(-score), logistic(score)};
  if (transform != PostTransform::kProbit) return {margin ? -score : 1 - score, score};
  apply_post_transform(transform, std::span(&score, 1));
  return {-score, score};
}

void store_label(Tensor& out, int64_t row, const Labels& labels, size_t which) {
  if (!labels.strings.empty()) out.mutable_strings()[static_cast<size_t>(row)] = labels.strings[which];
  else if (which < labels.ints.size()) out.set_int(row, labels.ints[which]);
}

Result<Matrix> matrix_of(const EvalContext& c, int input) {
  const Tensor& x = c.tensor(input);
  Matrix m;
  if (x.rank() == 1) m.rows = 1, m.columns = x.dim(0);
  else if (x.rank() == 2) m.rows = x.dim(0), m.columns = x.dim(1);
  else return eval_error(c, Code::kInvalidArgument, "the features have rank {}; it must be 1 or 2", x.rank());
  if (m.columns == 0 && m.rows > (int64_t{1} << 20)) return eval_error(c, Code::kResourceExhausted, "{} rows without columns", m.rows);
  TENON_RETURN_IF_ERROR(check_scratch(c, Dim(x.size()) * 8));
  m.values = doubles_of(x);
  return m;
}

Dim rows_of(InferContext& c) {
  if (!c.ranked(0)) return c.fresh_dim(0, 0);
  return c.shape(0).size() == 2 ? c.shape(0)[0] : Dim(1);
}

namespace {
Status check_features(InferContext& c) {
  if (!c.ranked(0) || c.shape(0).size() == 1 || c.shape(0).size() == 2) return {};
  return c.fail("the features have rank {}; it must be 1 or 2", c.shape(0).size());
}
}  // namespace

Status infer_classifier(InferContext& c, DType label_type, int64_t classes) {
  TENON_RETURN_IF_ERROR(check_features(c));
  Dim rows = rows_of(c);
  c.set(0, tensor_of(label_type, {rows}));
  if (c.node().num_outputs() > 1) c.set(1, tensor_of(DType::kF32, {rows, classes}));
  return {};
}

Status infer_regressor(InferContext& c, int64_t targets, DType dtype) {
  TENON_RETURN_IF_ERROR(check_features(c));
  if (targets < 1 || targets > INT32_MAX) return c.fail("the number of targets is {}; it must be positive", targets);
  c.set(0, tensor_of(dtype, {rows_of(c), targets}));
  return {};
}

}  // namespace tenon::ir
