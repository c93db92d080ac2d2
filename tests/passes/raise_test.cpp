// Attention where a query may look at no key: what was NaN stays NaN, although Attention gives 0 (ONNX Attention).

#include "ir/op.h"
#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/verifier.h"
#include "passes/passes.h"
#include "tests/passes/pass_test_util.h"

namespace tenon::passes {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

constexpr std::string_view kAdded = R"(graph {
  input %q: f32[1, 2, 3, 4]
  input %k: f32[1, 2, 3, 4]
  input %v: f32[1, 2, 3, 4]
  input %mask: f32[1, 1, 3, 3]
  %root: ? = Constant {value = dense<f32[], 2.0>}
  %t: ? = Transpose(%k) {perm = [0, 1, 3, 2]}
  %s: ? = MatMul(%q, %t)
  %c: ? = Div(%s, %root)
  %m: ? = Add(%c, %mask)
  %w: ? = Softmax(%m) {axis = -1}
  %y: ? = MatMul(%w, %v)
  output %y
})";

constexpr std::string_view kChosen = R"(graph {
  input %q: f32[1, 2, 3, 4]
  input %k: f32[1, 2, 3, 4]
  input %v: f32[1, 2, 3, 4]
  input %mask: bool[3, 3]
  %infinity: ? = Constant {value = dense<f32[], -inf>}
  %t: ? = Transpose(%k) {perm = [0, 1, 3, 2]}
  %s: ? = MatMul(%q, %t)
  %m: ? = Where(%mask, %s, %infinity)
  %w: ? = Softmax(%m) {axis = -1}
  %y: ? = MatMul(%w, %v)
  output %y
})";

int count(ir::Graph& graph, std::string_view op) {
  int n = 0;
  ir::walk(graph, [&](const ir::Node& node) { n += node.is(op); });
  return n;
}

/// Raises for kernels and for export; the second is Attention with the values that were there before, NaNs included.
void check(std::string_view text, const Tensor& mask, bool dead_row) {
  auto graph = ir::parse_text(text);
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  ASSERT_TRUE(ir::infer_graph(**graph).ok());
  auto inputs = random_inputs(**graph, 3);
  inputs[3] = mask;
  auto before = ir::evaluate_graph(**graph, inputs);
  ASSERT_TRUE(before.ok()) << before.status().to_string();
  const Tensor& y = std::get<Tensor>((*before)[0]);
  EXPECT_EQ(std::isnan(y.at_double(4)), dead_row);  // the second query
  EXPECT_FALSE(std::isnan(y.at_double(0)));

  PassContext kernels;
  ASSERT_TRUE(raise(**graph, kernels).ok());
  EXPECT_EQ(count(**graph, "Attention"), 0);
  PassContext context;
  context.for_export = true;
  ASSERT_TRUE(raise(**graph, context).ok());
  ASSERT_TRUE(ir::verify(**graph).ok()) << ir::verify(**graph).to_string();
  EXPECT_EQ(count(**graph, "Attention"), 1) << ir::to_text(**graph);
  EXPECT_EQ(count(**graph, "Softmax"), 0) << ir::to_text(**graph);
  auto after = ir::evaluate_graph(**graph, inputs);
  ASSERT_TRUE(after.ok()) << after.status().to_string();
  expect_same(*before, *after, ir::to_text(**graph));
  for (int64_t i = 0; i < y.size(); ++i)
    EXPECT_EQ(std::isnan(y.at_double(i)), std::isnan(std::get<Tensor>((*after)[0]).at_double(i))) << i;
}

Tensor added(std::initializer_list<float> values) {
  Tensor mask = *Tensor::zeros(DType::kF32, {1, 1, 3, 3});
  int64_t i = 0;
  for (float v : values) mask.set_double(i++, v);
  return mask;
}

Tensor chosen(std::initializer_list<int> values) {
  Tensor mask = *Tensor::zeros(DType::kBool, {3, 3});
  int64_t i = 0;
  for (int v : values) mask.set_int(i++, v);
  return mask;
}

TEST(RaiseAttention, KeepsTheNaNsOfQueriesWithoutKeys) {
  check(kAdded, added({0, -kInfinity, 0, -kInfinity, -kInfinity, -kInfinity, 1, 2, 3}), true);
  check(kChosen, chosen({1, 0, 1, 0, 0, 0, 1, 1, 1}), true);
}

TEST(RaiseAttention, KeepsTheValuesOfOthers) {
  check(kAdded, added({0, -kInfinity, 0, -kInfinity, -3, -kInfinity, 1, 2, 3}), false);
  check(kChosen, chosen({1, 0, 1, 0, 1, 0, 1, 1, 1}), false);
}

/// As ONNX Runtime reads Attention: a mask has the queries' axis, and the lowest number takes a key away.
TEST(RaiseAttention, WritesMasksThatEveryReaderTakesAlike) {
  std::string text(kAdded);
  text.replace(text.find("f32[1, 1, 3, 3]"), 15, "f32[2, 1, 1, 3]");
  for (size_t at = 0; (at = text.find("f32[1, 2, 3, 4]", at)) != std::string::npos;) text.replace(at, 15, "f32[2, 2, 3, 4]");
  auto graph = ir::parse_text(text);
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  ASSERT_TRUE(ir::infer_graph(**graph).ok());
  constexpr float kLowest = std::numeric_limits<float>::lowest();
  auto inputs = random_inputs(**graph, 3);
  inputs[3] = Tensor::from<float>({2, 1, 1, 3}, {kLowest, kLowest, kLowest, 0, kLowest, 0});
  auto before = ir::evaluate_graph(**graph, inputs);
  ASSERT_TRUE(before.ok()) << before.status().to_string();
  PassContext context;
  context.for_export = true;
  ASSERT_TRUE(raise(**graph, context).ok());
  ir::Node* attention = (*graph)->outputs()[0]->def();
  ASSERT_TRUE(attention->is("Attention")) << ir::to_text(**graph);
  (*graph)->add_output(attention->input(3));
  auto after = ir::evaluate_graph(**graph, inputs);
  ASSERT_TRUE(after.ok()) << after.status().to_string();
  const Tensor& mask = std::get<Tensor>(after->back());
  EXPECT_EQ(mask.shape(), (Shape{2, 1, 3, 3}));
  for (int64_t i = 0; i < mask.size(); ++i) EXPECT_GT(mask.at_double(i), static_cast<double>(kLowest)) << i;
  after->pop_back();
  expect_same(*before, *after, ir::to_text(**graph));
}

TEST(Pipeline, ForExportEndsBeforeOpsAreDecomposed) {
  auto graph = ir::parse_text(kAdded);
  ASSERT_TRUE(graph.ok());
  std::vector<PassTime> times;
  ASSERT_TRUE(run_pipeline(**graph, {.verify_each = true, .for_export = true}, &times).ok());
  for (const PassTime& time : times) EXPECT_NE(time.name, "decompose");
  EXPECT_EQ(count(**graph, "Attention"), 1);
  EXPECT_EQ(count(**graph, "MatMul"), 0);
}

}  // namespace
}  // namespace tenon::passes
