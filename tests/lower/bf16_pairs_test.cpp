// Products whose factors are bf16 as sums of pairs of products (codegen/schedule/bf16_pairs.h).

#include <gtest/gtest.h>

#include "harness.h"
#include "ir/op.h"
#include "ir/storage_order.h"
#include "passes/pass.h"

namespace tenon::lower_test {
namespace {

using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::TensorType;
using ir::Value;
using Ints = std::vector<int64_t>;

codegen::Target with_pairs() {
  codegen::Target t = cpu(512, true);
  t.has_bf16_pairs = true;
  return t;
}

/// CPUs that multiply pairs: one whose kernels are interpreted, and what can be emulated.
std::vector<codegen::Target> targets_with_pairs() {
  std::vector<codegen::Target> out = {with_pairs()};
  for (codegen::Target& t : emulated())
    if (t.has_bf16_pairs) out.push_back(std::move(t));
  return out;
}

struct Model {
  Graph graph;
  Instance instance;
  ir::Builder b{graph};

  Value* input(DType dtype, std::vector<Dim> dims) {
    Value* v = graph.add_input(graph.unique_name("x"), TensorType(dtype, std::move(dims)));
    return v;
  }
  Value* weights(DType dtype, std::vector<Dim> dims) {
    return b.constant(random_tensor(*input(dtype, std::move(dims)), instance, 7));
  }
  Dim symbol(const std::string& name, int64_t value) {
    instance.symbols[name] = value;
    return graph.dims().symbol(name);
  }

  /// The node of `result` as it is compiled for factors of bf16, its inputs filled.
  Node* compiled(Value* result) {
    graph.add_output(result);
    passes::PipelineOptions options;
    options.factors = DType::kBF16;
    EXPECT_TRUE(b.status().ok()) << b.status().to_string();
    EXPECT_TRUE(passes::run_pipeline(graph, options).ok());
    Node* node = graph.outputs()[0]->def();
    for (const Value* v : node->inputs())
      if (v != nullptr && ir::constant_of(v) == nullptr) instance.tensors[v] = random_tensor(*v, instance, 3);
    return node;
  }
};

constexpr double kTolerance = 1e-5;  // of sums of exact products in f32

void expect_pairs(const Node& node, const Instance& instance, double tolerance = kTolerance) {
  for (const codegen::Target& target : targets_with_pairs()) {
    const std::string how = check_lowering(node, target, instance, tolerance);
    EXPECT_NE(how.find("of pairs of bf16 packed"), std::string::npos) << how;
  }
}

TEST(BF16Pairs, OfEveryRestOfATile) {
  for (const auto& [m, k, n] : {std::tuple{1, 64, 48},
                                {1, 7, 100},
                                {2, 33, 17},
                                {3, 9, 2},
                                {19, 40, 35},
                                {33, 1030, 70},
                                {70, 65, 16},
                                {3, 6, 130}}) {
    SCOPED_TRACE(fmt::format("{}x{}x{}", m, k, n));
    Model c;
    expect_pairs(*c.compiled(c.b.make("MatMul", {c.input(DType::kF32, {m, k}), c.weights(DType::kF32, {k, n})})),
                 c.instance);
  }
}

TEST(BF16Pairs, OfRowsThatARunKnows) {
  for (const int64_t m : {0, 1, 6, 50}) {
    Model c;
    Value* x = c.input(DType::kF32, {2, c.symbol("M", m), 38});
    expect_pairs(*c.compiled(c.b.make("MatMul", {x, c.weights(DType::kF32, {38, 41})})), c.instance);
  }
}

TEST(BF16Pairs, OfModelsInBF16) {
  Model c;
  Value* product = c.b.make("MatMul", {c.input(DType::kBF16, {9, 24}), c.weights(DType::kBF16, {24, 37})});
  expect_pairs(*c.compiled(product), c.instance, 1e-2);
}

TEST(BF16Pairs, OfTransposedWeightsAndScaledSums) {
  Model c;
  Value* x = c.input(DType::kF32, {6, 21});
  Value *w = c.weights(DType::kF32, {34, 21}), *bias = c.weights(DType::kF32, {34});
  expect_pairs(*c.compiled(c.b.make("Gemm", {x, w, bias}, {{"transB", int64_t{1}}, {"alpha", 0.5}})), c.instance);
}

/// What is computed on the way is computed once, not for every tile of columns.
TEST(BF16Pairs, OfDequantisedRows) {
  Model c;
  Value *x = c.input(DType::kI8, {5, 64}), *scale = c.input(DType::kF32, {5, 2});
  Value* rows = c.b.make("DequantizeLinear", {x, scale}, {{"axis", int64_t{1}}, {"block_size", int64_t{32}}});
  expect_pairs(*c.compiled(c.b.make("MatMul", {rows, c.weights(DType::kF32, {64, 70})})), c.instance);
}

TEST(BF16Pairs, OfAMatrixForEachOfABatch) {
  Model c;
  expect_pairs(*c.compiled(c.b.make("MatMul", {c.input(DType::kF32, {3, 5, 18}), c.weights(DType::kF32, {3, 18, 33})})),
               c.instance);
}

TEST(BF16Pairs, OfConvolutionsWhoseChannelsLieInnermost) {
  for (const int64_t channels : {6, 7, 16})
    for (const int64_t stride : {1, 2}) {
      SCOPED_TRACE(fmt::format("{} channels, stride {}", channels, stride));
      Model c;
      Value* image = c.input(DType::kF32, {1, channels, 9, 8});
      const Ints strides = {stride, stride};
      Node* node = c.compiled(c.b.make("Conv", {image, c.weights(DType::kF32, {20, channels, 3, 3})},
                                       {{"pads", Ints{1, 1, 1, 1}}, {"strides", strides}}));
      Value* given = node->input(0);
      Value* stored = c.graph.create(*ir::find_op("tenon.relayout"), std::span(&given, 1), 1, node)->output();
      stored->set_type(given->type());
      ir::set_storage_order(*stored, {0, 2, 3, 1});
      c.instance.tensors[stored] = random_tensor(*stored, c.instance, 5);
      node->set_input(0, stored);
      ir::set_storage_order(*node->output(), {0, 2, 3, 1});
      expect_pairs(*node, c.instance);
    }
}

/// Without the instruction only few rows are multiplied so, for the bytes of B.
TEST(BF16Pairs, WhereTheyPay) {
  for (const int64_t m : {1, 3, 4, 5, 40}) {
    Model c;
    const Node* node =
        c.compiled(c.b.make("MatMul", {c.input(DType::kF32, {m, 48}), c.weights(DType::kF32, {48, 64})}));
    const auto in_pairs = [&](const codegen::Target& t) {
      return check_lowering(*node, t, c.instance).find("pairs") != std::string::npos;
    };
    EXPECT_EQ(in_pairs(cpu(256, true)), m <= 4) << m;
    EXPECT_FALSE(in_pairs(cpu(128, false))) << m;
    EXPECT_FALSE(in_pairs(gpu())) << m;
  }
  for (const int64_t n : {8, 16}) {
    Model c;
    const Node* node = c.compiled(c.b.make("MatMul", {c.input(DType::kF32, {40, 48}), c.weights(DType::kF32, {48, n})}));
    EXPECT_EQ(check_lowering(*node, with_pairs(), c.instance).find("pairs") != std::string::npos, n == 16);
  }
}

TEST(BF16Pairs, WeightsAreHeldInHalfTheBytes) {
  Model c;
  const Node* node = c.compiled(c.b.make("MatMul", {c.input(DType::kF32, {1, 64}), c.weights(DType::kF32, {64, 128})}));
  const auto lowered = codegen::lower(*node, with_pairs());
  ASSERT_TRUE(lowered.ok()) << lowered.status().to_string();
  int64_t panels = 0;
  for (const codegen::Temporary& t : lowered->temporaries)
    if (t.dtype == DType::kI32) panels += t.count.value() * bits(t.dtype) / 8;
  EXPECT_EQ(panels, 64 * 128 * 2);
}

}  // namespace
}  // namespace tenon::lower_test
