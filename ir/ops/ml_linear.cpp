#include <algorithm>
#include <cmath>
#include <tuple>

#include "ir/ops/budget.h"
#include "ir/ops/families.h"
#include "ir/ops/ml_decompose.h"

namespace tenon::ir {
namespace {

// ---- LinearRegressor, LinearClassifier

Status infer_linear_regressor(InferContext& c) { return infer_regressor(c, c.node().attr_int("targets", 1), DType::kF32); }

/// scores[r, t] = intercept[t] + sum_j coefficient[t, j] x[r, j].
Result<std::vector<double>> linear_scores(const EvalContext& c, const Matrix& x, int64_t targets) {
  std::vector<double> w = c.node.attr_floats("coefficients"), b = c.node.attr_floats("intercepts");
  Dim want = Dim(targets) * x.columns;
  if (!want.is_const(static_cast<int64_t>(w.size())))
    return eval_error(c, Code::kInvalidArgument, "there are {} coefficients for {} features and {} targets", w.size(), x.columns, targets);
  if (!b.empty() && static_cast<int64_t>(b.size()) < targets) return eval_error(c, Code::kInvalidModel, "attribute intercepts is too short");
  TENON_RETURN_IF_ERROR(check_scratch(c, Dim(x.rows) * targets * 8));
  std::vector<double> out(static_cast<size_t>(x.rows * targets));
  StepCounter steps(c.interrupt);
  for (int64_t r = 0; r < x.rows; ++r)
    for (int64_t t = 0; t < targets; ++t) {
      TENON_RETURN_IF_ERROR(steps.add(x.columns + 1));
      double sum = b.empty() ? 0 : b[static_cast<size_t>(t)];
      for (int64_t j = 0; j < x.columns; ++j) sum += w[static_cast<size_t>(t * x.columns + j)] * x.row(r)[j];
      out[static_cast<size_t>(r * targets + t)] = sum;
    }
  return out;
}

Status eval_linear_regressor(EvalContext& c) {
  int64_t targets = c.node.attr_int("targets", 1);
  TENON_ASSIGN_OR_RETURN(PostTransform post, post_transform_of(c.node));
  TENON_ASSIGN_OR_RETURN(Matrix x, matrix_of(c, 0));
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, DType::kF32, {x.rows, targets}));
  TENON_ASSIGN_OR_RETURN(std::vector<double> scores, linear_scores(c, x, targets));
  for (int64_t r = 0; r < x.rows; ++r)
    apply_post_transform(post, std::span(scores).subspan(static_cast<size_t>(r * targets), static_cast<size_t>(targets)));
  store_doubles(*out, scores);
  return {};
}

/// scores [rows, targets] in f64.
Result<Value*> linear_scores(Builder& b, const Node& node, int64_t targets) {
  TENON_ASSIGN_OR_RETURN(Value * x, feature_rows(b, node.input(0)));
  const std::vector<double> w = node.attr_floats("coefficients"), bias = node.attr_floats("intercepts");
  if (x == nullptr || !(x->tensor().dim(1) * Dim(targets)).is_const(static_cast<int64_t>(w.size())) ||
      (!bias.empty() && std::ssize(bias) < targets))
    return error(Code::kUnsupported, "the coefficients may not fit the features");
  TENON_ASSIGN_OR_RETURN(Value * flat, doubles(b, DType::kF64, w));
  Value* weights = b.make("Transpose", {b.make("Reshape", {flat, b.ints({targets, x->tensor().dim(1).value()})})},
                          {{"perm", std::vector<int64_t>{1, 0}}});
  Value* product = b.make("MatMul", {x, weights});
  if (bias.empty()) return product;
  TENON_ASSIGN_OR_RETURN(Value * added, doubles(b, DType::kF64, std::span(bias).first(static_cast<size_t>(targets))));
  return b.make("Add", {product, added});
}

Result<std::vector<Value*>> decompose_linear_regressor(Node& node, Builder& b) {
  TENON_ASSIGN_OR_RETURN(const PostTransform post, post_transform_of(node));
  TENON_ASSIGN_OR_RETURN(Value * scores, linear_scores(b, node, node.attr_int("targets", 1)));
  TENON_ASSIGN_OR_RETURN(scores, post_transformed(b, scores, post));
  return std::vector<Value*>{cast_to(b, scores, DType::kF32)};
}

Labels linear_labels(const Node& node) { return {node.attr_ints("classlabels_ints"), node.attr_strings("classlabels_strings")}; }

int64_t linear_classes(const Node& node) {
  size_t labels = linear_labels(node).size(), targets = node.attr_floats("intercepts").size();
  if (targets == 0) targets = labels;
  return static_cast<int64_t>(targets == 1 && labels == 2 ? 2 : std::max<size_t>(targets, 1));
}

Status infer_linear_classifier(InferContext& c) {
  return infer_classifier(c, linear_labels(c.node()).dtype(), linear_classes(c.node()));
}

Status eval_linear_classifier(EvalContext& c) {
  Labels labels = linear_labels(c.node);
  TENON_ASSIGN_OR_RETURN(PostTransform post, post_transform_of(c.node));
  TENON_ASSIGN_OR_RETURN(Matrix x, matrix_of(c, 0));
  int64_t classes = linear_classes(c.node);
  bool from_one = classes == 2 && c.node.attr_floats("intercepts").size() == 1;
  TENON_ASSIGN_OR_RETURN(std::vector<double> raw, linear_scores(c, x, from_one ? 1 : classes));
  if (labels.size() != 0 && static_cast<int64_t>(labels.size()) < classes) return eval_error(c, Code::kInvalidModel, "there are {} labels for {} classes", labels.size(), classes);
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, labels.dtype(), {x.rows}));
  std::vector<double> scores;
  for (int64_t r = 0; r < x.rows; ++r) {
    std::vector<double> row;
    size_t best = 0;
    if (from_one) {
      double s = raw[static_cast<size_t>(r)];
      best = s > 0 ? 1 : 0;
      row = binary_scores(post, s, false);
    } else {
      row.assign(raw.begin() + r * classes, raw.begin() + (r + 1) * classes);
      best = static_cast<size_t>(std::max_element(row.begin(), row.end()) - row.begin());
      apply_post_transform(post, row);
    }
    store_label(*out, r, labels, best);
    scores.insert(scores.end(), row.begin(), row.end());
  }
  if (c.node.num_outputs() < 2) return {};
  TENON_ASSIGN_OR_RETURN(Tensor* z, c.allocate(1, DType::kF32, {x.rows, classes}));
  store_doubles(*z, scores);
  return {};
}

Result<std::vector<Value*>> decompose_linear_classifier(Node& node, Builder& b) {
  const Labels labels = linear_labels(node);
  TENON_ASSIGN_OR_RETURN(const PostTransform post, post_transform_of(node));
  const int64_t classes = linear_classes(node);
  if (std::ssize(node.attr_floats("intercepts")) == 0 || static_cast<int64_t>(labels.size()) < classes)
    return error(Code::kUnsupported, "there are too few labels or intercepts");
  const bool from_one = classes == 2 && node.attr_floats("intercepts").size() == 1;
  TENON_ASSIGN_OR_RETURN(Value * scores, linear_scores(b, node, from_one ? 1 : classes));
  Value* which;
  if (from_one) {
    which = cast_to(b, b.make("Squeeze", {b.make("Greater", {scores, b.scalar(DType::kF64, 0)}), b.ints({1})}),
                    DType::kI64);
    scores = both_scores(b, scores, post, false);
  } else {
    which = b.make("ArgMax", {scores}, {{"axis", int64_t{1}}, {"keepdims", int64_t{0}}});
    TENON_ASSIGN_OR_RETURN(scores, post_transformed(b, scores, post));
  }
  TENON_ASSIGN_OR_RETURN(Value * label, labels_at(b, labels, which));
  std::vector<Value*> out{label};
  if (node.num_outputs() > 1) out.push_back(cast_to(b, scores, DType::kF32));
  return out;
}

// ---- Support vector machines (libsvm's decision functions)

struct Kernel {
  std::string type;
  double gamma = 0, coef0 = 0, degree = 3;
};

Result<Kernel> kernel_of(const Node& node) {
  Kernel k;
  k.type = node.attr_string("kernel_type", "LINEAR");
  if (k.type != "LINEAR" && k.type != "POLY" && k.type != "RBF" && k.type != "SIGMOID")
    return error(Code::kInvalidModel, "attribute kernel_type is \"{}\"", k.type);
  std::vector<double> params = node.attr_floats("kernel_params");
  if (!params.empty() && params.size() != 3) return error(Code::kInvalidModel, "attribute kernel_params must hold gamma, coef0 and degree");
  if (!params.empty()) k.gamma = params[0], k.coef0 = params[1], k.degree = params[2];
  return k;
}

constexpr int64_t kKernelSteps = 16;  // what its function takes, beside the sum over the features

double apply_kernel(const Kernel& k, const double* a, const double* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += k.type == "RBF" ? (a[i] - b[i]) * (a[i] - b[i]) : a[i] * b[i];
  if (k.type == "RBF") return std::exp(-k.gamma * sum);
  if (k.type == "POLY") return std::pow(k.gamma * sum + k.coef0, k.degree);
  return k.type == "SIGMOID" ? std::tanh(k.gamma * sum + k.coef0) : sum;
}

Status infer_svm_regressor(InferContext& c) { return infer_regressor(c, 1, DType::kF32); }

Status eval_svm_regressor(EvalContext& c) {
  TENON_ASSIGN_OR_RETURN(Kernel kernel, kernel_of(c.node));
  TENON_ASSIGN_OR_RETURN(PostTransform post, post_transform_of(c.node));
  TENON_ASSIGN_OR_RETURN(Matrix x, matrix_of(c, 0));
  std::vector<double> w = c.node.attr_floats("coefficients"), vectors = c.node.attr_floats("support_vectors"), rho = c.node.attr_floats("rho");
  int64_t supports = c.node.attr_int("n_supports", 0), columns = x.columns;
  if (supports < 0 || rho.empty()) return eval_error(c, Code::kInvalidModel, "attributes n_supports or rho are not possible");
  Dim cells = Dim(supports) * columns;
  bool fits = supports > 0 ? cells.is_const(static_cast<int64_t>(vectors.size())) && static_cast<int64_t>(w.size()) == supports
                           : static_cast<int64_t>(w.size()) == columns;
  if (!fits) return eval_error(c, Code::kInvalidArgument, "the coefficients or support vectors do not fit {} features", columns);
  bool one_class = c.node.attr_int("one_class", 0) != 0;
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, DType::kF32, {x.rows, 1}));
  StepCounter steps(c.interrupt);
  for (int64_t r = 0; r < x.rows; ++r) {
    TENON_RETURN_IF_ERROR(steps.add(columns + 1));
    double sum = rho[0];
    if (supports == 0) kernel.type = "LINEAR", sum += apply_kernel(kernel, x.row(r), w.data(), columns);
    for (int64_t i = 0; i < supports; ++i) {
      TENON_RETURN_IF_ERROR(steps.add(columns + kKernelSteps));
      sum += w[static_cast<size_t>(i)] * apply_kernel(kernel, x.row(r), vectors.data() + i * columns, columns);
    }
    if (one_class) sum = sum > 0 ? 1 : -1;
    apply_post_transform(post, std::span(&sum, 1));
    out->set_double(r, sum);
  }
  return {};
}

/// A constant [rows, columns] of f64.
Result<Value*> double_matrix(Builder& b, std::span<const double> values, int64_t rows, int64_t columns) {
  TENON_ASSIGN_OR_RETURN(Tensor t, Tensor::zeros(DType::kF64, {rows, columns}));
  store_doubles(t, values);
  return b.constant(std::move(t));
}

/// apply_kernel of every row of x [rows, features] with each of `count` vectors: [rows, count], in f64.
Result<Value*> kernel_values(Builder& b, const Kernel& k, Value* x, std::span<const double> vectors, int64_t count) {
  if (x == nullptr || !(x->tensor().dim(1) * Dim(count)).is_const(static_cast<int64_t>(vectors.size())) || count < 1 || vectors.empty())
    return error(Code::kUnsupported, "the support vectors may not fit the features");
  const int64_t features = x->tensor().dim(1).value();
  TENON_ASSIGN_OR_RETURN(Value * given, double_matrix(b, vectors, count, features));
  const auto scalar = [&](double v) { return b.scalar(DType::kF64, v); };
  if (k.type == "RBF") {
    Value* difference = b.make("Sub", {b.make("Unsqueeze", {x, b.ints({1})}), given});
    Value* distance = b.make("ReduceSum", {b.make("Mul", {difference, difference}), b.ints({2})}, {{"keepdims", int64_t{0}}});
    return b.make("Exp", {b.make("Mul", {distance, scalar(-k.gamma)})});
  }
  Value* product = b.make("MatMul", {x, b.make("Transpose", {given}, {{"perm", std::vector<int64_t>{1, 0}}})});
  if (k.type == "LINEAR") return product;
  Value* shifted = b.make("Add", {b.make("Mul", {product, scalar(k.gamma)}), scalar(k.coef0)});
  return k.type == "POLY" ? b.make("Pow", {shifted, scalar(k.degree)}) : b.make("Tanh", {shifted});
}

Result<std::vector<Value*>> decompose_svm_regressor(Node& node, Builder& b) {
  TENON_ASSIGN_OR_RETURN(Kernel kernel, kernel_of(node));
  TENON_ASSIGN_OR_RETURN(const PostTransform post, post_transform_of(node));
  const std::vector<double> w = node.attr_floats("coefficients"), rho = node.attr_floats("rho");
  std::vector<double> vectors = node.attr_floats("support_vectors");
  int64_t supports = node.attr_int("n_supports", 0);
  if (supports < 0 || rho.empty() || (supports > 0 && std::ssize(w) != supports))
    return error(Code::kUnsupported, "the coefficients may not fit the support vectors");
  TENON_ASSIGN_OR_RETURN(Value * x, feature_rows(b, node.input(0)));
  Value* sum;
  if (supports == 0) {
    kernel.type = "LINEAR";
    TENON_ASSIGN_OR_RETURN(sum, kernel_values(b, kernel, x, w, 1));
  } else {
    TENON_ASSIGN_OR_RETURN(Value * values, kernel_values(b, kernel, x, vectors, supports));
    TENON_ASSIGN_OR_RETURN(Value * weights, double_matrix(b, w, supports, 1));
    sum = b.make("MatMul", {values, weights});
  }
  sum = b.make("Add", {sum, b.scalar(DType::kF64, rho[0])});
  if (node.attr_int("one_class", 0) != 0)
    sum = b.make("Where", {b.make("Greater", {sum, b.scalar(DType::kF64, 0)}), b.scalar(DType::kF64, 1), b.scalar(DType::kF64, -1)});
  TENON_ASSIGN_OR_RETURN(sum, post_transformed(b, sum, post));
  return std::vector<Value*>{cast_to(b, sum, DType::kF32)};
}

struct Svc {
  Kernel kernel;
  Labels labels;
  std::vector<double> w, vectors, rho, prob_a, prob_b;
  std::vector<int64_t> per_class, start;
  int64_t classes = 0, supports = 0, columns = 0;
  bool linear() const { return per_class.empty(); }
};

Labels svm_labels(const Node& node) { return {node.attr_ints("classlabels_ints"), node.attr_strings("classlabels_strings")}; }

int64_t svm_scores(const Node& node) {
  int64_t classes = static_cast<int64_t>(svm_labels(node).size());
  bool votes = !node.attr_ints("vectors_per_class").empty() && node.attr_floats("prob_a").empty();
  return votes && classes > 2 ? classes * (classes - 1) / 2 : std::max<int64_t>(classes, 1);
}

Status infer_svm_classifier(InferContext& c) {
  size_t classes = svm_labels(c.node()).size();
  if (classes < 1 || classes > 65536) return c.fail("there are {} class labels", classes);
  return infer_classifier(c, svm_labels(c.node()).dtype(), svm_scores(c.node()));
}

Result<Svc> read_svc(const Node& node, int64_t columns) {
  Svc s;
  TENON_ASSIGN_OR_RETURN(s.kernel, kernel_of(node));
  s.labels = svm_labels(node);
  s.w = node.attr_floats("coefficients");
  s.vectors = node.attr_floats("support_vectors");
  s.rho = node.attr_floats("rho");
  s.prob_a = node.attr_floats("prob_a");
  s.prob_b = node.attr_floats("prob_b");
  s.per_class = node.attr_ints("vectors_per_class");
  s.classes = static_cast<int64_t>(s.labels.size());
  s.columns = columns;
  int64_t pairs = s.classes * (s.classes - 1) / 2;
  auto bad = [&](std::string_view what) { return error(Code::kInvalidModel, "{} does not fit the classes and features", what).at(node.name()); };
  if (s.linear()) {
    Dim want = Dim(s.classes) * columns;
    if (!want.is_const(static_cast<int64_t>(s.w.size())) || s.rho.empty()) return bad("coefficients");
    return s;
  }
  if (static_cast<int64_t>(s.per_class.size()) != s.classes) return bad("vectors_per_class");
  for (int64_t n : s.per_class) {
    if (n < 0 || n > INT32_MAX) return bad("vectors_per_class");
    s.start.push_back(s.supports);
    s.supports += n;
  }
  Dim cells = Dim(s.supports) * columns, weights = Dim(s.supports) * (s.classes - 1);
  if (!cells.is_const(static_cast<int64_t>(s.vectors.size()))) return bad("support_vectors");
  if (!weights.is_const(static_cast<int64_t>(s.w.size()))) return bad("coefficients");
  if (static_cast<int64_t>(s.rho.size()) < pairs) return bad("rho");
  if (!s.prob_a.empty() && (static_cast<int64_t>(s.prob_a.size()) < pairs || s.prob_b.size() != s.prob_a.size())) return bad("prob_a");
  return s;
}

/// Decision values of all pairs of classes; `votes` counts the winners.
Result<std::vector<double>> pair_decisions(const Svc& s, const double* row, std::vector<int64_t>& votes, StepCounter& steps) {
  std::vector<double> kernels(static_cast<size_t>(s.supports)), out;
  for (int64_t i = 0; i < s.supports; ++i) {
    TENON_RETURN_IF_ERROR(steps.add(s.columns + kKernelSteps));
    kernels[static_cast<size_t>(i)] = apply_kernel(s.kernel, row, s.vectors.data() + i * s.columns, s.columns);
  }
  votes.assign(static_cast<size_t>(s.classes), 0);
  for (int64_t i = 0; i < s.classes; ++i)
    for (int64_t j = i + 1; j < s.classes; ++j) {
      size_t a = static_cast<size_t>(i), b = static_cast<size_t>(j);
      TENON_RETURN_IF_ERROR(steps.add(s.per_class[a] + s.per_class[b] + 1));
      double sum = s.rho[out.size()];
      for (int64_t m = 0; m < s.per_class[a]; ++m)
        sum += s.w[static_cast<size_t>((j - 1) * s.supports + s.start[a] + m)] * kernels[static_cast<size_t>(s.start[a] + m)];
      for (int64_t m = 0; m < s.per_class[b]; ++m)
        sum += s.w[static_cast<size_t>(i * s.supports + s.start[b] + m)] * kernels[static_cast<size_t>(s.start[b] + m)];
      ++votes[sum > 0 ? a : b];
      out.push_back(sum);
    }
  return out;
}

/// Pairwise coupling (Wu, Lin and Weng 2004, second method), as libsvm's multiclass_probability.
Result<std::vector<double>> couple(const std::vector<double>& r, size_t k, StepCounter& steps) {
  std::vector<double> p(k, 1.0 / static_cast<double>(k)), q(k * k), qp(k);
  for (size_t t = 0; t < k; ++t)
    for (size_t j = 0; j < k; ++j) {
      if (j == t) continue;
      q[t * k + t] += r[j * k + t] * r[j * k + t];
      q[t * k + j] = -r[j * k + t] * r[t * k + j];
    }
  for (int step = 0; step < 100; ++step) {
    TENON_RETURN_IF_ERROR(steps.add(static_cast<int64_t>(2 * k * k)));
    double pqp = 0, worst = 0;
    for (size_t t = 0; t < k; ++t) {
      qp[t] = 0;
      for (size_t j = 0; j < k; ++j) qp[t] += q[t * k + j] * p[j];
      pqp += p[t] * qp[t];
    }
    for (size_t t = 0; t < k; ++t) worst = std::max(worst, std::abs(qp[t] - pqp));
    if (worst < 0.005 / static_cast<double>(k)) break;
    for (size_t t = 0; t < k; ++t) {
      double diff = (pqp - qp[t]) / q[t * k + t];
      p[t] += diff;
      pqp = (pqp + diff * (diff * q[t * k + t] + 2 * qp[t])) / (1 + diff) / (1 + diff);
      for (size_t j = 0; j < k; ++j) {
        qp[j] = (qp[j] + diff * q[t * k + j]) / (1 + diff);
        p[j] /= 1 + diff;
      }
    }
  }
  return p;
}

Result<std::vector<double>> pair_probabilities(const Svc& s, const std::vector<double>& decisions, StepCounter& steps) {
  size_t k = static_cast<size_t>(s.classes), at = 0;
  std::vector<double> r(k * k);
  for (size_t i = 0; i < k; ++i)
    for (size_t j = i + 1; j < k; ++j, ++at) {
      double p = std::clamp(1 - logistic(s.prob_a[at] * decisions[at] + s.prob_b[at]), 1e-7, 1 - 1e-7);
      r[i * k + j] = p;
      r[j * k + i] = 1 - p;
    }
  return couple(r, k, steps);
}

struct SvcRow {
  std::vector<double> scores;
  size_t label = 0;
};

Result<SvcRow> classify(const Svc& s, PostTransform post, const double* row, StepCounter& steps) {
  SvcRow out;
  if (s.linear()) {
    TENON_RETURN_IF_ERROR(steps.add(s.classes * (s.columns + kKernelSteps)));
    for (int64_t t = 0; t < s.classes; ++t)
      out.scores.push_back(s.rho[0] + apply_kernel(s.kernel, row, s.w.data() + t * s.columns, s.columns));
    out.label = static_cast<size_t>(std::max_element(out.scores.begin(), out.scores.end()) - out.scores.begin());
  } else {
    std::vector<int64_t> votes;
    TENON_ASSIGN_OR_RETURN(out.scores, pair_decisions(s, row, votes, steps));
    out.label = static_cast<size_t>(std::max_element(votes.begin(), votes.end()) - votes.begin());
    if (!s.prob_a.empty()) {
      TENON_ASSIGN_OR_RETURN(out.scores, pair_probabilities(s, out.scores, steps));
    } else if (s.classes == 2) {
      out.scores = binary_scores(post, out.scores[0], post == PostTransform::kNone);
      return out;
    }
  }
  apply_post_transform(post, out.scores);
  return out;
}

/// read_svc where everything fits, else kUnsupported: the evaluation says what does not.
Result<Svc> fitting_svc(const Node& node, int64_t columns) {
  Result<Svc> svc = read_svc(node, columns);
  if (!svc.ok()) return error(Code::kUnsupported, "{}", svc.status().what());
  return svc;
}

/// pair_decisions as a product with a matrix that has each pair's coefficients in a column; the winners' votes likewise.
Result<std::pair<Value*, Value*>> decisions_and_votes(Builder& b, const Svc& s, Value* kernels) {
  const int64_t pairs = s.classes * (s.classes - 1) / 2;
  std::vector<double> weights(static_cast<size_t>(s.supports * pairs)), wins(static_cast<size_t>(pairs * s.classes)), losses = wins;
  int64_t pair = 0;
  for (int64_t i = 0; i < s.classes; ++i)
    for (int64_t j = i + 1; j < s.classes; ++j, ++pair) {
      const auto place = [&](int64_t cls, int64_t row) {
        const size_t c = static_cast<size_t>(cls);
        for (int64_t m = s.start[c]; m < s.start[c] + s.per_class[c]; ++m)
          weights[static_cast<size_t>(m * pairs + pair)] = s.w[static_cast<size_t>(row * s.supports + m)];
      };
      place(i, j - 1);
      place(j, i);
      wins[static_cast<size_t>(pair * s.classes + i)] = 1;
      losses[static_cast<size_t>(pair * s.classes + j)] = 1;
    }
  TENON_ASSIGN_OR_RETURN(Value * w, double_matrix(b, weights, s.supports, pairs));
  TENON_ASSIGN_OR_RETURN(Value * rho, doubles(b, DType::kF64, std::span(s.rho).first(static_cast<size_t>(pairs))));
  TENON_ASSIGN_OR_RETURN(Value * for_first, double_matrix(b, wins, pairs, s.classes));
  TENON_ASSIGN_OR_RETURN(Value * for_second, double_matrix(b, losses, pairs, s.classes));
  Value* decisions = b.make("Add", {b.make("MatMul", {kernels, w}), rho});
  Value* won = cast_to(b, b.make("Greater", {decisions, b.scalar(DType::kF64, 0)}), DType::kF64);
  Value* lost = b.make("Sub", {b.scalar(DType::kF64, 1), won});
  return std::pair(decisions, b.make("Add", {b.make("MatMul", {won, for_first}), b.make("MatMul", {lost, for_second})}));
}

Result<std::vector<Value*>> decompose_svm_classifier(Node& node, Builder& b) {
  TENON_ASSIGN_OR_RETURN(const PostTransform post, post_transform_of(node));
  TENON_ASSIGN_OR_RETURN(Value * x, feature_rows(b, node.input(0)));
  if (x == nullptr || !x->tensor().dim(1).is_const()) return error(Code::kUnsupported, "the number of features is not known");
  TENON_ASSIGN_OR_RETURN(const Svc s, fitting_svc(node, x->tensor().dim(1).value()));
  if (!s.prob_a.empty()) return error(Code::kUnsupported, "probabilities of pairs are coupled until that converges");
  Value *scores, *ranked;
  if (s.linear()) {
    TENON_ASSIGN_OR_RETURN(Value * values, kernel_values(b, s.kernel, x, s.w, s.classes));
    scores = ranked = b.make("Add", {values, b.scalar(DType::kF64, s.rho[0])});
  } else {
    if (s.classes < 2) return error(Code::kUnsupported, "there are no two classes");
    TENON_ASSIGN_OR_RETURN(Value * kernels, kernel_values(b, s.kernel, x, s.vectors, s.supports));
    TENON_ASSIGN_OR_RETURN(const auto both, decisions_and_votes(b, s, kernels));
    std::tie(scores, ranked) = both;
  }
  Value* which = b.make("ArgMax", {ranked}, {{"axis", int64_t{1}}, {"keepdims", int64_t{0}}});
  TENON_ASSIGN_OR_RETURN(Value * label, labels_at(b, s.labels, which));
  if (!s.linear() && s.classes == 2) {
    scores = both_scores(b, scores, post, post == PostTransform::kNone);
  } else {
    TENON_ASSIGN_OR_RETURN(scores, post_transformed(b, scores, post));
  }
  std::vector<Value*> out{label};
  if (node.num_outputs() > 1) out.push_back(cast_to(b, scores, DType::kF32));
  return out;
}

Status eval_svm_classifier(EvalContext& c) {
  TENON_ASSIGN_OR_RETURN(Matrix x, matrix_of(c, 0));
  TENON_ASSIGN_OR_RETURN(Svc s, read_svc(c.node, x.columns));
  TENON_ASSIGN_OR_RETURN(PostTransform post, post_transform_of(c.node));
  int64_t width = svm_scores(c.node);
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, s.labels.dtype(), {x.rows}));
  Tensor* z = nullptr;
  if (c.node.num_outputs() > 1) {
    TENON_ASSIGN_OR_RETURN(z, c.allocate(1, DType::kF32, {x.rows, width}));
  }
  StepCounter steps(c.interrupt);
  for (int64_t r = 0; r < x.rows; ++r) {
    TENON_ASSIGN_OR_RETURN(const SvcRow row, classify(s, post, x.row(r), steps));
    store_label(*out, r, s.labels, row.label);
    for (int64_t i = 0; z != nullptr && i < width && i < static_cast<int64_t>(row.scores.size()); ++i)
      z->set_double(r * width + i, row.scores[static_cast<size_t>(i)]);
  }
  return {};
}

}  // namespace

std::vector<OpDef> ml_linear_ops() {
  const std::vector<Param> features = {{"X", "T", kMlInputs}};
  const std::vector<Param> classes = {{"Y", "L", kMlLabels}, {"Z", "F", kMlFloat, true}};
  const AttrDef post = {"post_transform", AttrKind::kString, false, "NONE"};
  const std::vector<AttrDef> svm = {{"coefficients", AttrKind::kFloats}, {"kernel_params", AttrKind::kFloats},
                                    {"kernel_type", AttrKind::kString, false, "LINEAR"}, post, {"rho", AttrKind::kFloats},
                                    {"support_vectors", AttrKind::kFloats}};
  auto with = [](std::vector<AttrDef> attrs, std::initializer_list<AttrDef> more) {
    attrs.insert(attrs.end(), more);
    return attrs;
  };
  return {
      {.domain = "ai.onnx.ml",
       .name = "LinearRegressor",
       .inputs = features,
       .outputs = {{"Y", "F", kMlFloat}},
       .attrs = {{"coefficients", AttrKind::kFloats},
                 {"intercepts", AttrKind::kFloats},
                 post,
                 {"targets", AttrKind::kInt, false, "1"}},
       .infer = infer_linear_regressor,
       .compute = {.decompose = decompose_linear_regressor, .eval = eval_linear_regressor},
       .doc = "Linear regression (ai.onnx.ml LinearRegressor)."},
      {.domain = "ai.onnx.ml",
       .name = "LinearClassifier",
       .inputs = features,
       .outputs = classes,
       .attrs = {{"classlabels_ints", AttrKind::kInts},
                 {"classlabels_strings", AttrKind::kStrings},
                 {"coefficients", AttrKind::kFloats, true},
                 {"intercepts", AttrKind::kFloats},
                 {"multi_class", AttrKind::kInt, false, "0"},
                 post},
       .infer = infer_linear_classifier,
       .compute = {.decompose = decompose_linear_classifier, .eval = eval_linear_classifier},
       .doc = "Linear classification (ai.onnx.ml LinearClassifier)."},
      {.domain = "ai.onnx.ml",
       .name = "SVMRegressor",
       .inputs = features,
       .outputs = {{"Y", "F", kMlFloat}},
       .attrs = with(svm, {{"n_supports", AttrKind::kInt, false, "0"}, {"one_class", AttrKind::kInt, false, "0"}}),
       .infer = infer_svm_regressor,
       .compute = {.decompose = decompose_svm_regressor, .eval = eval_svm_regressor},
       .doc = "Support vector regression (ai.onnx.ml SVMRegressor)."},
      {.domain = "ai.onnx.ml",
       .name = "SVMClassifier",
       .inputs = features,
       .outputs = classes,
       .attrs = with(svm, {{"classlabels_ints", AttrKind::kInts},
                           {"classlabels_strings", AttrKind::kStrings},
                           {"prob_a", AttrKind::kFloats},
                           {"prob_b", AttrKind::kFloats},
                           {"vectors_per_class", AttrKind::kInts}}),
       .infer = infer_svm_classifier,
       .compute = {.decompose = decompose_svm_classifier, .eval = eval_svm_classifier},
       .doc = "Support vector classification (ai.onnx.ml SVMClassifier)."},
  };
}

}  // namespace tenon::ir
