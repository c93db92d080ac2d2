// Constants that stream from memory once: whether kernels ask for what comes later, and several rows at once where they do not.

#include <gtest/gtest.h>

#include "codegen/kernel_ir.h"
#include "harness.h"
#include "ir/op.h"

namespace tenon::lower_test {
namespace {

using ir::Graph;
using ir::Node;
using ir::TensorType;
using ir::Value;

/// One row times a constant matrix, [n, k] where `transposed`.
struct Product {
  Graph graph;
  Instance instance;

  Value* input(std::vector<ir::Dim> dims, uint64_t seed) {
    Value* v = graph.add_input(graph.unique_name("x"), TensorType(DType::kF32, std::move(dims)));
    instance.tensors[v] = random_tensor(*v, instance, seed);
    return v;
  }
  Node* node(int64_t k, int64_t n, bool transposed) {
    ir::Builder b(graph);
    Value *x = input({1, k}, 1), *bias = input({n}, 2);
    const TensorType type(DType::kF32, transposed ? std::vector<ir::Dim>{n, k} : std::vector<ir::Dim>{k, n});
    Value* weights = b.constant(random_tensor(*graph.add_input(graph.unique_name("w"), type), instance, 3));
    Value* y = b.make("Gemm", {x, weights, bias}, {{"transB", int64_t{transposed}}});
    graph.add_output(y);
    return y->def();
  }
};

codegen::Target small_cache(int vector_bits, bool fma) {
  codegen::Target t = cpu(vector_bits, fma);
  t.l2_bytes = 256;
  return t;
}

bool asks_ahead(const Node& node, const codegen::Target& target) {
  const auto lowered = codegen::lower(node, target);
  EXPECT_TRUE(lowered.ok());
  return lowered.ok() && kir::print(lowered->kernels.back().kernel).find("prefetch") != std::string::npos;
}

TEST(LowerStreams, RowsStreamTogether) {
  for (const int64_t n : {1, 2, 3, 4, 5, 311})
    for (const int64_t k : {5, 70, 4100})
      for (const bool fma : {false, true}) {
        if (n > 5 && k > 70) continue;
        Product p;
        const Node* node = p.node(k, n, true);
        for (const int vector_bits : {128, 256, 512}) check_lowering(*node, small_cache(vector_bits, fma), p.instance);
      }
}

TEST(LowerStreams, OnlyWhatPrefetchersMissIsAskedFor) {
  for (const bool transposed : {true, false}) {
    Product p;
    const Node* node = p.node(70, 96, transposed);
    check_lowering(*node, small_cache(256, true), p.instance);
    EXPECT_FALSE(asks_ahead(*node, small_cache(256, true)));
    EXPECT_TRUE(asks_ahead(*node, small_cache(512, true)));
  }
}

}  // namespace
}  // namespace tenon::lower_test
