// Weights that an executable has in a form of its own are not kept beside it.

#include <gtest/gtest.h>

#include "backends/backend.h"
#include "ir/graph.h"
#include "ir/parser.h"
#include "ir/weights.h"

namespace tenon::backends {
namespace {

constexpr int64_t kColumns = 10'000;  // of a constant that counts as large

double weight(int64_t row, int64_t column) { return static_cast<double>((row + 1) * (column % 7)); }

/// p = (a + b) w: dims that are 1 in a run take another compilation.
std::unique_ptr<ir::Graph> model(std::string_view second_input = "f32[N, 2]") {
  std::string numbers;
  for (int64_t row = 0; row < 2; ++row)
    for (int64_t column = 0; column < kColumns; ++column) numbers += fmt::format(", {}", weight(row, column));
  auto graph = ir::parse_text(fmt::format(R"(graph "g" {{
  input %a: f32[M, 2]
  input %b: {}
  %w: f32[2, {}] = Constant {{value = dense<f32[2, {}]{}>}}
  %s: f32[M, 2] = Add(%a, %b)
  %p: f32[M, {}] = MatMul(%s, %w)
  output %p
}})", second_input, kColumns, kColumns, numbers, kColumns));
  EXPECT_TRUE(graph.ok()) << graph.status().to_string();
  return graph.ok() ? std::move(*graph) : nullptr;
}

Tensor rows(int64_t count, double value) {
  Tensor t = *Tensor::zeros(DType::kF32, {count, 2});
  for (int64_t i = 0; i < t.size(); ++i) t.set_double(i, value);
  return t;
}

void expect_product(Session& session, int64_t m, int64_t n) {
  const std::vector<HostValue> inputs = {rows(m, 1), rows(n, 2)};
  const auto outputs = session.run(inputs);
  ASSERT_TRUE(outputs.ok()) << outputs.status().to_string();
  const Tensor& p = std::get<Tensor>((*outputs)[0]);
  ASSERT_EQ(p.shape(), (Shape{std::max(m, n), kColumns}));
  for (int64_t i = 0; i < p.size(); ++i) ASSERT_EQ(p.at_double(i), 3 * (weight(0, i % kColumns) + weight(1, i % kColumns))) << i;
}

const Tensor* large_constant(const ir::Graph& graph) {
  for (const auto& node : graph.nodes())
    if (node->is("Constant")) return node->attr_tensor("value");
  return nullptr;
}

TEST(Weights, GraphsCanDoWithout) {
  const auto graph = model();
  const auto rest = ir::without_weights(*graph);
  EXPECT_EQ(large_constant(*graph)->size(), 2 * kColumns);
  EXPECT_EQ(large_constant(*rest)->bytes(), 0u);
  EXPECT_EQ(ir::to_string(rest->outputs()[0]->type()), ir::to_string(graph->outputs()[0]->type()));
}

TEST(Weights, AnotherCompilationReloadsThem) {
  int reloads = 0;
  CompileOptions options;
  options.reload = [&]() -> Result<std::unique_ptr<ir::Graph>> {
    ++reloads;
    return model();
  };
  const auto executable = *find_backend("cpu")->compile_owned(model(), options);
  const auto session = *executable->create_session({});
  expect_product(*session, 3, 3);
  EXPECT_EQ(reloads, 0);
  expect_product(*session, 1, 3);
  EXPECT_EQ(reloads, 1);
  expect_product(*session, 1, 5);
  EXPECT_EQ(reloads, 1);
}

TEST(Weights, AnotherModelInTheFileIsAnError) {
  CompileOptions options;
  options.reload = []() -> Result<std::unique_ptr<ir::Graph>> { return model("f32[N, 1]"); };
  const auto executable = *find_backend("cpu")->compile_owned(model(), options);
  const auto session = *executable->create_session({});
  expect_product(*session, 2, 2);
  const std::vector<HostValue> inputs = {rows(1, 1), rows(3, 2)};
  EXPECT_FALSE(session->run(inputs).ok());
}

TEST(Weights, StayWhereTheCallerKeepsTheGraph) {
  const auto graph = model();
  const auto executable = *find_backend("cpu")->compile(*graph, {});
  expect_product(**executable->create_session({}), 2, 2);
  EXPECT_EQ(large_constant(*graph)->at_double(kColumns + 5), weight(1, 5));
  const auto again = *find_backend("cpu")->compile(*graph, {});
  expect_product(**again->create_session({}), 1, 4);
}

}  // namespace
}  // namespace tenon::backends
