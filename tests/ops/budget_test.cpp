// Evaluations whose work or scratch is far beyond that of their inputs and outputs keep to the deadline and the memory limit.

#include <gtest/gtest.h>

#include "tests/ops/op_runner.h"

namespace tenon::ir {
namespace {

using namespace test;
using Clock = std::chrono::steady_clock;
using Ints = std::vector<int64_t>;
using Floats = std::vector<double>;

constexpr int64_t kPrime = 65521;

Tensor zeros(DType dtype, Shape shape) { return *Tensor::zeros(dtype, std::move(shape)); }

void expect_stops(std::string_view op, const std::vector<Tensor>& inputs, const Attributes& attrs) {
  EvalOptions options;
  options.interrupt = Interrupt::after(std::chrono::milliseconds(50));
  const auto start = Clock::now();
  const Result<Tensor> out = try_op(op, inputs, attrs, options);
  EXPECT_EQ(out.status().code(), Code::kDeadlineExceeded) << op << ": " << out.status().to_string();
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(2)) << op;
}

TEST(Budget, TransformsOfPrimeLengthsStopAtTheDeadline) {
  expect_stops("DFT", {zeros(DType::kF32, {1, 1, 1}), ints({kPrime}), ints({1})}, {});
  expect_stops("STFT", {zeros(DType::kF32, {1, kPrime}), ints({1}), Tensor(), ints({kPrime})}, {});
}

TEST(Budget, NGramsStopAtTheDeadline) {
  expect_stops("TfIdfVectorizer", {zeros(DType::kI64, {200000})},
               {{"min_gram_length", int64_t{2}}, {"max_gram_length", int64_t{2}}, {"max_skip_count", int64_t{1000000}}, {"mode", std::string("TF")},
                {"ngram_counts", Ints{0, 0}}, {"ngram_indexes", Ints{0}}, {"pool_int64s", Ints{1, 2}}});
  expect_stops("com.microsoft.NGramRepeatBlock", {zeros(DType::kI64, {1, 400000}), zeros(DType::kF32, {1, 1})}, {{"ngram_size", int64_t{200000}}});
}

TEST(Budget, SupportVectorsStopAtTheDeadline) {
  const Floats vectors(20000, 1);
  const Attributes attrs = {{"n_supports", int64_t{20000}}, {"support_vectors", vectors}, {"coefficients", vectors}, {"rho", Floats{0}},
                            {"kernel_type", std::string("RBF")}, {"kernel_params", Floats{1, 0, 3}}};
  expect_stops("ai.onnx.ml.SVMRegressor", {zeros(DType::kF32, {300000, 1})}, attrs);
}

TEST(Budget, SearchesOfCategoriesStopAtTheDeadline) {
  const Attributes attrs = {{"cats_int64s", Ints(50000, 1)}, {"cats_strings", std::vector<std::string>(50000, "a")}};
  expect_stops("ai.onnx.ml.CategoryMapper", {zeros(DType::kI64, {200000})}, attrs);
}

TEST(Budget, PatternsStopAtTheDeadline) {
  const Tensor text = *Tensor::strings({1}, {std::string(2000000, 'a')});
  expect_stops("RegexFullMatch", {text}, {{"pattern", std::string("(?:a*){400}")}});
}

TEST(Budget, EliminationStopsAtTheDeadline) {
  Tensor x = zeros(DType::kF32, {3000, 3000});
  for (int64_t i = 0; i < x.size(); ++i) x.set_double(i, static_cast<double>(i * 7919 % 10007));
  expect_stops("Det", {x}, {});
}

TEST(Budget, ScratchIsWithinTheMemoryLimit) {
  EvalOptions options;
  options.max_bytes = int64_t{64} << 20;
  const Tensor half = zeros(DType::kF32, {1, 2, 2});
  const Attributes inverse = {{"inverse", int64_t{1}}, {"onesided", int64_t{1}}};
  EXPECT_EQ(try_op("DFT", {half, ints({1 << 23}), ints({1})}, inverse, options).status().code(), Code::kResourceExhausted);
  EXPECT_TRUE(try_op("DFT", {half, ints({1 << 18}), ints({1})}, inverse, options).ok());
  const Tensor signal = zeros(DType::kF32, {1, 1 << 20});
  EXPECT_EQ(try_op("STFT", {signal, ints({1}), Tensor(), ints({1 << 20})}, {}, options).status().code(), Code::kResourceExhausted);
}

/// Bytes of the constants that one STFT node of such frames becomes; 0: it stays a node.
size_t filter_bytes(int64_t frame) {
  Graph graph;
  Builder builder(graph);
  Value* operands[] = {graph.add_input("x", TensorType(DType::kF32, {1, 100000})), builder.scalar(DType::kI64, 100), nullptr,
                       builder.scalar(DType::kI64, frame)};
  Node* node = graph.create(*find_op("STFT"), operands, 1);
  EXPECT_TRUE(infer_node(*node).ok());
  Builder before(graph, node);
  if (!node->op().compute.decompose(*node, before).ok()) return 0;
  size_t bytes = 0;
  for (const auto& made : graph.nodes())
    if (const Tensor* value = made->attr_tensor("value")) bytes += value->bytes();
  return bytes;
}

TEST(Budget, FiltersOfFramesTakeFewMegabytes) {
  EXPECT_GT(filter_bytes(1024), size_t{4} << 20);
  EXPECT_LT(filter_bytes(1024), size_t{5} << 20);
  EXPECT_EQ(filter_bytes(2048), 0u);
}

}  // namespace
}  // namespace tenon::ir
