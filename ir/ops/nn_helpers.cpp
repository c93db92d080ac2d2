#include "ir/ops/nn_helpers.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tenon::ir {

Status infer_same(InferContext& c) {
  c.set(0, c.in(0));
  return {};
}

Status require_rank(InferContext& c, int i, int64_t rank) {
  if (!c.has(i) || !c.ranked(i) || c.in(i).tensor().rank() == rank) return {};
  return c.fail("input {} has rank {} where {} is needed", i, c.in(i).tensor().rank(), rank);
}

Status require_rank_at_least(InferContext& c, int i, int64_t rank) {
  if (!c.has(i) || !c.ranked(i) || c.in(i).tensor().rank() >= rank) return {};
  return c.fail("input {} has rank {} where at least {} is needed", i, c.in(i).tensor().rank(), rank);
}

Status require_equal(InferContext& c, Dim a, Dim b, std::string_view what) {
  if (!c.differ(a, b)) return {};
  return c.fail("{}: {} and {} differ", what, to_string(a), to_string(b));
}

Status require_ranked_inputs(const Node& node) {
  for (const Value* value : node.inputs())
    if (value != nullptr && value->type().is_tensor() && !value->tensor().ranked())
      return Status(Code::kUnsupported, fmt::format("the rank of input {} is not known", value->name()), node.name(),
                    "give the model's inputs shapes");
  return {};
}

std::vector<Expr> index_range(ExprPool& pool, size_t first, size_t count) {
  std::vector<Expr> out;
  for (size_t i = 0; i < count; ++i) out.push_back(pool.index(static_cast<int>(first + i)));
  return out;
}

std::vector<Expr> broadcast_indices(ExprPool& pool, const Dims& shape, size_t out_rank) {
  std::vector<Expr> out;
  for (size_t i = 0; i < shape.size(); ++i) {
    int axis = static_cast<int>(out_rank - shape.size() + i);
    out.push_back(shape[i].is_const(1) ? pool.constant_int(DType::kI64, 0) : pool.index(axis));
  }
  return out;
}

Expr load_as(ExprPool& pool, const Node& node, int operand, std::span<const Expr> indices, DType dtype) {
  return pool.cast(pool.load(operand, node.input(operand)->dtype(), indices), dtype);
}

Expr load_single(ExprPool& pool, const Node& node, int operand, DType dtype) {
  std::vector<Expr> zeros(dims_of(node, operand).size(), pool.constant_int(DType::kI64, 0));
  return load_as(pool, node, operand, zeros, dtype);
}

bool is_single(const Dims& dims) {
  return std::all_of(dims.begin(), dims.end(), [](const Dim& d) { return d.is_const(1); });
}

DType accumulator_of(DType dtype) {
  if (is_float(dtype) && dtype != DType::kF64) return DType::kF32;
  return dtype;
}

IntRange int_range(DType dtype) {
  int n = std::min(bits(dtype), 32);
  if (is_unsigned_int(dtype)) return {0, (int64_t{1} << n) - 1};
  return {-(int64_t{1} << (n - 1)), (int64_t{1} << (n - 1)) - 1};
}

Expr quantize_expr(Expr value, Expr zero_point, DType to) {
  ExprPool& p = *value.pool;
  if (!is_int(to)) return p.cast(zero_point.valid() ? value + p.cast(zero_point, DType::kF32) : value, to);
  IntRange range = int_range(to);
  Expr rounded = unary(ScalarOp::kRound, value);
  if (zero_point.valid()) rounded = rounded + p.cast(zero_point, DType::kF32);
  Expr lo = p.constant(DType::kF32, static_cast<double>(range.lo));
  Expr hi = p.constant(DType::kF32, static_cast<double>(range.hi));
  return p.cast(p.cast(min(max(rounded, lo), hi), DType::kI32), to);
}

Result<Expr> activation_expr(std::string_view name, std::span<const double> params, Expr x) {
  ExprPool& p = *x.pool;
  auto param = [&](size_t i, double fallback) { return i < params.size() ? params[i] : fallback; };
  Expr zero = p.constant(x.dtype(), 0), one = p.constant(x.dtype(), 1);
  if (name.empty() || name == "Identity") return x;
  if (name == "Relu") return max(x, zero);
  if (name == "Sigmoid") return sigmoid(x);
  if (name == "Tanh") return tanh(x);
  if (name == "LeakyRelu") return select(x < zero, x * param(0, 0.01), x);
  if (name == "HardSigmoid") return min(max(x * param(0, 0.2) + param(1, 0.5), zero), one);
  if (name == "HardSwish") return x * min(max(x * param(0, 1.0 / 6) + param(1, 0.5), zero), one);
  if (name == "Clip")
    return min(max(x, p.constant(x.dtype(), param(0, std::numeric_limits<float>::lowest()))),
               p.constant(x.dtype(), param(1, std::numeric_limits<float>::max())));
  if (name == "Elu") return select(x < zero, expm1(x) * param(0, 1.0), x);
  if (name == "Softplus") return max(x, zero) + log1p(exp(-abs(x)));
  if (name == "Gelu") return x * 0.5 * (erf(x * std::sqrt(0.5)) + 1.0);
  if (name == "QuickGelu") return x * sigmoid(x * param(0, 1.702));
  return error(Code::kUnsupported, "activation \"{}\" is not known", name);
}

std::vector<double> doubles_of(const Tensor& tensor) {
  std::vector<double> out(static_cast<size_t>(tensor.size()));
  if (tensor.dtype() == DType::kF32) {
    std::copy(tensor.span<float>().begin(), tensor.span<float>().end(), out.begin());
  } else if (tensor.dtype() == DType::kF64) {
    std::copy(tensor.span<double>().begin(), tensor.span<double>().end(), out.begin());
  } else {
    for (size_t i = 0; i < out.size(); ++i) out[i] = tensor.at_double(static_cast<int64_t>(i));
  }
  return out;
}

std::vector<float> floats_of(const Tensor& tensor) {
  std::vector<float> out(static_cast<size_t>(tensor.size()));
  if (tensor.dtype() == DType::kF32) {
    std::copy(tensor.span<float>().begin(), tensor.span<float>().end(), out.begin());
  } else {
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(tensor.at_double(static_cast<int64_t>(i)));
  }
  return out;
}

std::vector<int64_t> ints_of(const Tensor& tensor) {
  std::vector<int64_t> out(static_cast<size_t>(tensor.size()));
  for (size_t i = 0; i < out.size(); ++i) out[i] = tensor.at_int(static_cast<int64_t>(i));
  return out;
}

void store_doubles(Tensor& tensor, std::span<const double> values) {
  if (tensor.dtype() == DType::kF64) {
    std::copy(values.begin(), values.end(), tensor.mutable_span<double>().begin());
  } else if (tensor.dtype() == DType::kF32) {
    std::transform(values.begin(), values.end(), tensor.mutable_span<float>().begin(),
                   [](double v) { return static_cast<float>(v); });
  } else {
    for (size_t i = 0; i < values.size(); ++i) tensor.set_double(static_cast<int64_t>(i), values[i]);
  }
}

void store_floats(Tensor& tensor, std::span<const float> values) {
  if (tensor.dtype() == DType::kF32) {
    std::copy(values.begin(), values.end(), tensor.mutable_span<float>().begin());
  } else {
    for (size_t i = 0; i < values.size(); ++i) tensor.set_double(static_cast<int64_t>(i), values[i]);
  }
}

}  // namespace tenon::ir
