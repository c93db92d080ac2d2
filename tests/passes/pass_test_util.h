#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "ir/evaluate.h"
#include "ir/graph.h"

namespace tenon::passes {

/// A tensor of small numbers of the type; symbols get the value `symbol`.
inline Tensor random_tensor(const ir::TensorType& type, int64_t symbol, std::mt19937& rng) {
  Shape shape;
  std::vector<std::optional<int64_t>> symbols(1000, symbol);
  for (const ir::Dim& dim : *type.dims) shape.push_back(*ir::evaluate(dim, symbols));
  Tensor out = *Tensor::zeros(type.dtype, shape);
  for (int64_t i = 0; i < out.size(); ++i) {
    auto drawn = static_cast<int>(rng() % 17) - 8;
    if (is_float(type.dtype)) {
      out.set_double(i, drawn * 0.375);
    } else {
      out.set_int(i, type.dtype == DType::kBool ? drawn & 1 : drawn);
    }
  }
  return out;
}

inline std::vector<HostValue> random_inputs(const ir::Graph& graph, unsigned seed, int64_t symbol = 3) {
  std::mt19937 rng(seed);
  std::vector<HostValue> out;
  for (const ir::Value* input : graph.inputs()) out.emplace_back(random_tensor(input->tensor(), symbol, rng));
  return out;
}

/// What two orders of computing the same may differ by: of float32, the rounding of sums of some length; of the half
/// types, that of the about six steps that a rewrite rounds once where there were many.
inline double tolerance(DType dtype) { return dtype == DType::kF16 ? 6 * 0x1p-11 : dtype == DType::kBF16 ? 6 * 0x1p-8 : 1e-4; }

/// The same shapes and, within rounding, the same values.
inline void expect_same(const std::vector<HostValue>& a, const std::vector<HostValue>& b, const std::string& where) {
  ASSERT_EQ(a.size(), b.size()) << where;
  for (size_t k = 0; k < a.size(); ++k) {
    ASSERT_EQ(a[k].index(), b[k].index()) << where;
    if (!std::holds_alternative<Tensor>(a[k])) continue;
    const Tensor &x = std::get<Tensor>(a[k]), &y = std::get<Tensor>(b[k]);
    ASSERT_EQ(x.dtype(), y.dtype()) << where;
    ASSERT_EQ(x.shape(), y.shape()) << where;
    for (int64_t i = 0; i < x.size(); ++i) {
      double p = x.at_double(i), q = y.at_double(i);
      if (std::isnan(p) && std::isnan(q)) continue;
      if (p == q) continue;
      ASSERT_NEAR(p, q, tolerance(x.dtype()) * std::max({1.0, std::abs(p), std::abs(q)})) << where << ", output " << k << "[" << i << "]";
    }
  }
}

}  // namespace tenon::passes
