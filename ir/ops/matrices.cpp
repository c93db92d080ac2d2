#include <cmath>

#include "ir/ops/body_helpers.h"
#include "ir/ops/budget.h"
#include "ir/ops/families.h"
#include "ir/ops/nn_helpers.h"

/// Determinants and inverses.
namespace tenon::ir {
namespace {

constexpr DTypeSet kReal = kFloat16To64;

Status check_square(InferContext& c) {
  TENON_RETURN_IF_ERROR(require_rank_at_least(c, 0, 2));
  if (!c.ranked(0)) return {};
  const Dims& d = c.shape(0);
  return require_equal(c, d[d.size() - 1], d[d.size() - 2], "rows and columns");
}

Status infer_det(InferContext& c) {
  TENON_RETURN_IF_ERROR(check_square(c));
  c.set(0, c.ranked(0) ? tensor_of(c.dtype(0), Dims(c.shape(0).begin(), c.shape(0).end() - 2)) : unranked(c.dtype(0)));
  return {};
}

Status infer_inverse(InferContext& c) {
  TENON_RETURN_IF_ERROR(check_square(c));
  return infer_same(c);
}

struct Eliminated {
  double determinant = 1;  // may underflow where no pivot is 0
  bool singular = false;
};

/// Gauss and Jordan with partial pivoting on [a | extra]. `extra` may be null.
Result<Eliminated> eliminate(std::vector<double>& a, std::vector<double>* extra, size_t n, StepCounter& steps) {
  double det = 1;
  for (size_t k = 0; k < n; ++k) {
    TENON_RETURN_IF_ERROR(steps.add(static_cast<int64_t>(n)));
    size_t pivot = k;
    for (size_t i = k + 1; i < n; ++i)
      if (std::abs(a[i * n + k]) > std::abs(a[pivot * n + k])) pivot = i;
    if (a[pivot * n + k] == 0) return Eliminated{0, true};
    if (pivot != k) {
      det = -det;
      for (size_t j = 0; j < n; ++j) {
        std::swap(a[k * n + j], a[pivot * n + j]);
        if (extra != nullptr) std::swap((*extra)[k * n + j], (*extra)[pivot * n + j]);
      }
    }
    double p = a[k * n + k];
    det *= p;
    if (extra != nullptr)
      for (size_t j = 0; j < n; ++j) a[k * n + j] /= p, (*extra)[k * n + j] /= p;
    for (size_t i = extra != nullptr ? 0 : k + 1; i < n; ++i) {
      if (i == k) continue;
      double f = extra != nullptr ? a[i * n + k] : a[i * n + k] / p;
      if (f == 0) continue;
      TENON_RETURN_IF_ERROR(steps.add(static_cast<int64_t>(n)));
      for (size_t j = 0; j < n; ++j) {
        a[i * n + j] -= f * a[k * n + j];
        if (extra != nullptr) (*extra)[i * n + j] -= f * (*extra)[k * n + j];
      }
    }
  }
  return Eliminated{det};
}

Status eval_matrices(EvalContext& c) {
  const Tensor& x = c.tensor(0);
  if (x.rank() < 2 || x.dim(x.rank() - 1) != x.dim(x.rank() - 2)) return eval_error(c, Code::kInvalidArgument, "the matrices are not square");
  bool inverse = c.node.op().name == "Inverse";
  size_t n = static_cast<size_t>(x.shape().back());
  Shape shape = x.shape();
  if (!inverse) shape.resize(shape.size() - 2);
  TENON_ASSIGN_OR_RETURN(Tensor* out, c.allocate(0, x.dtype(), shape));
  TENON_RETURN_IF_ERROR(check_scratch(c, (Dim(x.size()) + Dim(x.dim(x.rank() - 1)) * x.dim(x.rank() - 2) * 2) * 8));
  std::vector<double> data = doubles_of(x);
  StepCounter steps(c.interrupt);
  size_t count = n == 0 ? static_cast<size_t>(out->size()) : data.size() / (n * n);
  for (size_t m = 0; m < count; ++m) {
    TENON_RETURN_IF_ERROR(steps.add(static_cast<int64_t>(n * n)));
    std::vector<double> a(data.begin() + static_cast<ptrdiff_t>(m * n * n), data.begin() + static_cast<ptrdiff_t>((m + 1) * n * n)), unit;
    if (!inverse) {
      TENON_ASSIGN_OR_RETURN(const Eliminated done, eliminate(a, nullptr, n, steps));
      out->set_double(static_cast<int64_t>(m), done.determinant);
      continue;
    }
    unit.assign(n * n, 0);
    for (size_t i = 0; i < n; ++i) unit[i * n + i] = 1;
    TENON_ASSIGN_OR_RETURN(const Eliminated done, eliminate(a, &unit, n, steps));
    if (done.singular) return eval_error(c, Code::kInvalidArgument, "matrix {} is singular", m);
    for (size_t i = 0; i < n * n; ++i) out->set_double(static_cast<int64_t>(m * n * n + i), unit[i]);
  }
  return {};
}

/// Matrices up to this size by Leibniz' formula. Its terms are exact or nearly so in f64, which narrower elements have to spare.
constexpr int64_t kMaxClosed = 4;

Result<int64_t> closed_size(const Node& node) {
  const Dims& x = input_dims(node, 0);
  if (!x.back().is_const() || !x[x.size() - 2].is_const() || x.back().value() > kMaxClosed)
    return error(Code::kUnsupported, "elimination chooses its pivots by data");
  if (node.input(0)->dtype() == DType::kF64) return error(Code::kUnsupported, "f64 leaves no bits to spare; elimination chooses its pivots by data");
  return x.back().value();
}

using Elements = std::vector<std::vector<Expr>>;

/// Laplace's expansion along the first row; of no rows: 1.
Expr determinant(ExprPool& p, const Elements& a) {
  if (a.empty()) return p.constant(DType::kF64, 1);
  if (a.size() == 1) return a[0][0];
  Expr sum;
  for (size_t column = 0; column < a.size(); ++column) {
    Elements minor;
    for (size_t i = 1; i < a.size(); ++i) {
      minor.push_back(a[i]);
      minor.back().erase(minor.back().begin() + static_cast<ptrdiff_t>(column));
    }
    const Expr term = a[0][column] * determinant(p, minor);
    sum = !sum.valid() ? term : column % 2 == 0 ? sum + term : sum - term;
  }
  return sum;
}

/// The elements at these rows and columns of the matrix that the output's leading axes choose.
Elements elements_at(Body& body, const Node& node, const std::vector<Expr>& rows, const std::vector<Expr>& columns) {
  Elements out;
  std::vector<Expr> at = axis_indices(*body.pool, input_dims(node, 0).size() - 2);
  for (const Expr& row : rows) {
    out.emplace_back();
    for (const Expr& column : columns) {
      std::vector<Expr> whole = at;
      whole.insert(whole.end(), {row, column});
      out.back().push_back(load_as(*body.pool, node, 0, whole, DType::kF64));
    }
  }
  return out;
}

std::vector<Expr> numbers(ExprPool& p, int64_t n) {
  std::vector<Expr> out;
  for (int64_t i = 0; i < n; ++i) out.push_back(i64(p, i));
  return out;
}

Result<std::vector<Body>> det_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(const int64_t n, closed_size(node));
  Body body = start_body(node, ComputeKind::kMovement);
  ExprPool& p = *body.pool;
  const std::vector<Expr> all = numbers(p, n);
  body.value = p.cast(determinant(p, elements_at(body, node, all, all)), body.dtype);
  return one_body(std::move(body));
}

/// Cramer's rule: element (i, j) is the cofactor (j, i) over the determinant.
Result<std::vector<Body>> inverse_body(const Node& node) {
  TENON_ASSIGN_OR_RETURN(const int64_t n, closed_size(node));
  if (n == 0) return error(Code::kUnsupported, "there is nothing to compute");
  Body body = start_body(node, ComputeKind::kMovement);
  ExprPool& p = *body.pool;
  const int lead = static_cast<int>(body.axes.size()) - 2;
  const Expr i = p.index(lead), j = p.index(lead + 1), zero = i64(p, 0), one = i64(p, 1);
  const std::vector<Expr> all = numbers(p, n);
  const Expr det = determinant(p, elements_at(body, node, all, all));
  const Expr regular = required(det != 0.0);
  std::vector<Expr> rows, columns;
  for (int64_t k = 0; k + 1 < n; ++k) {
    rows.push_back(i64(p, k) + select(j <= i64(p, k), one, zero) + regular);
    columns.push_back(i64(p, k) + select(i <= i64(p, k), one, zero));
  }
  const Expr cofactor = determinant(p, elements_at(body, node, rows, columns));
  const Expr sign = select(mod(i + j, i64(p, 2)) == zero, p.constant(DType::kF64, 1), p.constant(DType::kF64, -1));
  const Expr divisor = n == 1 ? elements_at(body, node, {regular}, {zero})[0][0] : det;
  body.value = p.cast(sign * cofactor / divisor, body.dtype);
  return one_body(std::move(body));
}

}  // namespace

std::vector<OpDef> matrix_ops() {
  return {
      {.domain = "", .name = "Det", .inputs = {{"X", "T", kReal}}, .outputs = {{"Y", "T", kReal}},
       .infer = infer_det, .compute = {.body = det_body, .eval = eval_matrices}, .doc = "Determinants of square matrices (ONNX Det)."},
      {.domain = "com.microsoft", .name = "Inverse", .inputs = {{"X", "T", kReal}}, .outputs = {{"Y", "T", kReal}},
       .infer = infer_inverse, .compute = {.body = inverse_body, .eval = eval_matrices}, .doc = "Inverses of square matrices (ONNX Runtime contrib ops)."},
  };
}

}  // namespace tenon::ir
