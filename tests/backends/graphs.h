#pragma once

#include <memory>
#include <random>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>

#include "ir/parser.h"
#include "support/tensor.h"

/// Graphs of tests and what they are run with.
namespace tenon::backends {

using Graph = std::unique_ptr<ir::Graph>;

/// Of a text that is right.
inline Graph parse(std::string_view text) {
  auto graph = ir::parse_text(text);
  EXPECT_TRUE(graph.ok()) << graph.status().to_string();
  return std::move(*graph);
}

/// Elements from -1 to 1.
inline Tensor random_tensor(DType dtype, Shape shape, std::mt19937& random) {
  Tensor out = *Tensor::zeros(dtype, std::move(shape));
  for (int64_t i = 0; i < out.size(); ++i) out.set_double(i, static_cast<double>(random() % 2001) / 1000.0 - 1.0);
  return out;
}

}  // namespace tenon::backends
