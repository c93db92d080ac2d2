// Products of the same rows whose results meet element by element: one kernel (codegen/schedule/contraction_beside.h).

#include <gtest/gtest.h>

#include <algorithm>

#include "harness.h"
#include "ir/op.h"
#include "passes/pass.h"

namespace tenon::lower_test {
namespace {

using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::TensorType;
using ir::Value;

struct Gated {
  Graph graph;
  Instance instance;
  ir::Builder b{graph};
  DType factors = DType::kF32;

  Value* input(DType dtype, std::vector<Dim> dims) { return graph.add_input(graph.unique_name("x"), TensorType(dtype, std::move(dims))); }
  Value* constant(std::vector<Dim> dims, uint64_t seed) { return b.constant(random_tensor(*input(DType::kF32, std::move(dims)), instance, seed)); }
  Value* product(Value* x, int64_t k, int64_t n, uint64_t seed) { return b.make("MatMul", {x, constant({k, n}, seed)}); }
  Value* silu(Value* x) { return b.make("Mul", {x, b.make("Sigmoid", {x})}); }

  /// The one node that `result` is compiled to, its inputs filled.
  Node* compiled(Value* result) {
    graph.add_output(result);
    passes::PipelineOptions options;
    options.factors = factors;
    EXPECT_TRUE(b.status().ok()) << b.status().to_string();
    EXPECT_TRUE(passes::run_pipeline(graph, options).ok());
    Node* node = graph.outputs()[0]->def();
    for (const Value* v : node->inputs())
      if (v != nullptr && ir::constant_of(v) == nullptr) instance.tensors[v] = random_tensor(*v, instance, 3);
    return node;
  }
};

TEST(Beside, AGateAndWhatItLetsThrough) {
  for (const auto& [m, k, n] :
       {std::tuple{1, 24, 48}, {1, 7, 101}, {7, 33, 45}, {19, 40, 35}, {9, 1030, 35}, {2, 5, 3}, {70, 16, 16}}) {
    SCOPED_TRACE(fmt::format("{}x{}x{}", m, k, n));
    Gated c;
    Value* x = c.input(DType::kF32, {m, k});
    Value *gate = c.silu(c.product(x, k, n, 5)), *up = c.product(x, k, n, 6);
    EXPECT_NE(check_everywhere(*c.compiled(c.b.make("Mul", {gate, up})), c.instance).find("of 2 products packed"), std::string::npos);
  }
}

TEST(Beside, OfRowsThatARunKnows) {
  for (const int64_t m : {0, 1, 9, 40}) {
    Gated c;
    c.instance.symbols["M"] = m;
    Value* x = c.input(DType::kF32, {2, c.graph.dims().symbol("M"), 20});
    Value *gate = c.b.make("Gelu", {c.product(x, 20, 37, 5)}), *up = c.product(x, 20, 37, 6);
    EXPECT_NE(check_everywhere(*c.compiled(c.b.make("Mul", {up, gate})), c.instance).find("of 2 products packed"), std::string::npos);
  }
}

TEST(Beside, EachWithABias) {
  Gated c;
  Value* x = c.input(DType::kF32, {6, 21});
  const auto product = [&](uint64_t seed) { return c.b.make("Gemm", {x, c.constant({40, 21}, seed), c.constant({40}, seed + 1)}, {{"transB", int64_t{1}}}); };
  Value *gate = c.silu(product(5)), *up = product(7);
  EXPECT_NE(check_everywhere(*c.compiled(c.b.make("Mul", {gate, up})), c.instance).find("of 2 products packed"), std::string::npos);
}

TEST(Beside, AMatrixForEachOfABatch) {
  Gated c;
  Value* x = c.input(DType::kF32, {3, 5, 18});
  const auto product = [&](std::vector<Dim> dims, uint64_t seed) {
    return c.b.make("MatMul", {x, c.constant(std::move(dims), seed)});
  };
  Value *gate = c.b.make("Tanh", {product({3, 18, 33}, 5)}), *up = product({3, 18, 33}, 6);
  EXPECT_NE(check_everywhere(*c.compiled(c.b.make("Mul", {gate, up})), c.instance).find("of 2 products packed"),
            std::string::npos);
  Gated other;  // one matrix, and one for each
  x = other.input(DType::kF32, {3, 5, 18});
  Value *one = other.b.make("MatMul", {x, other.constant({18, 33}, 5)}),
        *each = other.b.make("MatMul", {x, other.constant({3, 18, 33}, 6)});
  check_everywhere(*other.compiled(other.b.make("Mul", {one, each})), other.instance);
}

TEST(Beside, ThreeOfThem) {
  Gated c;
  Value* x = c.input(DType::kF32, {9, 18});
  Value *a = c.product(x, 18, 33, 5), *g = c.b.make("Tanh", {c.product(x, 18, 33, 6)}), *u = c.b.make("Relu", {c.product(x, 18, 33, 7)});
  EXPECT_NE(check_everywhere(*c.compiled(c.b.make("Add", {a, c.b.make("Mul", {g, u})})), c.instance).find("of 3 products packed"), std::string::npos);
}

TEST(Beside, OfPairsOfBF16) {
  for (const auto& [m, k, n] : {std::tuple{1, 24, 48}, {7, 33, 45}, {9, 2050, 35}}) {
    Gated c;
    c.factors = DType::kBF16;
    Value* x = c.input(DType::kF32, {m, k});
    Value *gate = c.silu(c.product(x, k, n, 5)), *up = c.product(x, k, n, 6);
    codegen::Target target = cpu(512, true);
    target.has_bf16_pairs = true;
    const Node* node = c.compiled(c.b.make("Mul", {gate, up}));
    EXPECT_NE(check_lowering(*node, target, c.instance).find("of 2 products of pairs of bf16"), std::string::npos);
    for (const codegen::Target& t : emulated()) check_lowering(*node, t, c.instance);
  }
}

/// What has no such kernel has one for each product, and says why.
TEST(Beside, RefusesWithAReason) {
  Gated c;
  Value* x = c.input(DType::kF32, {1, 64});
  const auto product = [&](uint64_t seed) { return c.b.make("Gemm", {x, c.constant({48, 64}, seed)}, {{"transB", int64_t{1}}}); };
  Value *gate = c.silu(product(5)), *up = product(7);
  const Node* node = c.compiled(c.b.make("Mul", {gate, up}));
  check_everywhere(*node, c.instance);
  for (const codegen::Target& target : {cpu(512, true), gpu()}) {
    const auto lowered = codegen::lower(*node, target);
    ASSERT_TRUE(lowered.ok());
    const std::string why = target.kind == codegen::Target::Kind::kGpu ? "GPUs have a kernel for each" : "one row, and B lies along K";
    EXPECT_NE(std::ranges::find(lowered->refused, "products side by side: " + why), lowered->refused.end());
  }
}

}  // namespace
}  // namespace tenon::lower_test
