// What inference takes on trust of nodes that a pass tried and took back is not checked at run time.

#include "passes/assumptions.h"

#include <gtest/gtest.h>

#include "ir/op.h"
#include "ir/parser.h"
#include "passes/patch.h"

namespace tenon::passes {
namespace {

std::unique_ptr<ir::Graph> parse(std::string_view text) {
  auto graph = ir::parse_text(text);
  EXPECT_TRUE(graph.ok()) << graph.status().to_string();
  return graph.ok() ? std::move(*graph) : nullptr;
}

/// Products of rows of K numbers by constants of 2 rows, for which K must be 2.
std::unique_ptr<ir::Graph> products() {
  auto graph = parse(R"(graph "g" {
  input %x: f32[3, K]
  %v: f32[2, 2] = Constant {value = dense<f32[2, 2], 1, 2, 3, 4>}
  %w: f32[2, 2] = Constant {value = dense<f32[2, 2], 5, 6, 7, 8>}
  %p: f32[3, 2] = MatMul(%x, %v) "p"
  %q: f32[3, 2] = MatMul(%x, %w) "q"
  %s: f32[2, 3] = Transpose(%p) {perm = [1, 0]}
  %t: f32[2, 3] = Transpose(%q) {perm = [1, 0]}
  output %s
  output %t
})");
  graph->forget_assumptions();
  return graph;
}

TEST(Assumptions, ThoseBeforeAreKeptInOrder) {
  const auto graph = parse("graph \"g\" {\n  input %x: f32[N, M, K]\n  %y: f32[N, M, K] = Relu(%x) \"relu\"\n  output %y\n}");
  const auto& dims = *graph->inputs()[0]->tensor().dims;
  const ir::Node& node = *graph->first();
  graph->assume(dims[0], dims[1], false, node);
  graph->assume(dims[1], dims[2], true, node);
  graph->assume(dims[0], dims[2], false, node);
  forget_assumptions_since(*graph, 3);
  ASSERT_EQ(graph->assumptions().size(), 3U);
  forget_assumptions_since(*graph, 2);
  ASSERT_EQ(graph->assumptions().size(), 2U);
  EXPECT_EQ(graph->assumptions()[0].b, dims[1]);
  EXPECT_TRUE(graph->assumptions()[1].at_most);
  EXPECT_EQ(graph->assumptions()[1].node, "relu");
  graph->assume(dims[0], dims[1], false, node);
  EXPECT_EQ(graph->assumptions().size(), 2U) << "it was known";
  graph->assume(dims[0], dims[2], false, node);
  EXPECT_EQ(graph->assumptions().size(), 3U) << "it was forgotten";
  EXPECT_EQ(graph->nodes().size(), 1U);
}

TEST(Assumptions, OfAPatchThatIsNotAppliedAreUndone) {
  const auto graph = products();
  ir::Node& node = *graph->outputs()[0]->def();
  {
    Patch patch(node);
    patch.builder().make("MatMul", {graph->inputs()[0], node.input(0)->def()->input(1)});
    EXPECT_EQ(graph->assumptions().size(), 1U);
  }
  EXPECT_TRUE(graph->assumptions().empty());
}

}  // namespace
}  // namespace tenon::passes
