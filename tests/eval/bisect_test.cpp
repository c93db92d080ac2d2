#include "eval/debug/bisect.h"

#include <gmock/gmock.h>

#include "eval/inputs.h"
#include "eval/model.h"
#include "tests/eval/debug_models.h"

namespace tenon::eval {
namespace {

using ::testing::HasSubstr;

int64_t rewrites_of(const ir::Graph& graph) {
  const auto copy = graph.clone();
  passes::RewriteLog log;
  passes::PipelineOptions options;
  options.log = &log;
  EXPECT_TRUE(passes::run_pipeline(*copy, options).ok());
  return log.taken;
}

/// A tower with nodes that the passes take away: what equals another, neutral factors, dead ones.
std::unique_ptr<ir::Graph> tower_with_work(int blocks) {
  auto graph = tower(blocks);
  ir::Builder b(*graph);
  ir::Value* y = graph->outputs()[0];
  y = b.make("Mul", {y, b.scalar(DType::kF32, 1)});
  ir::Value* left = b.make("Abs", {y});
  ir::Value* right = b.make("Abs", {y});
  y = b.make("Add", {b.make("Transpose", {b.make("Transpose", {left}, {{"perm", std::vector<int64_t>{1, 0}}})}, {{"perm", std::vector<int64_t>{1, 0}}}), right});
  b.make("Neg", {y});
  EXPECT_TRUE(b.status().ok()) << b.status().to_string();
  graph->set_output(0, y);
  return graph;
}

TEST(Bisect, FindsNothingInACorrectModel) {
  const auto graph = tower_with_work(3);
  for (const char* backend : {"reference", "cpu"}) {
    const auto found = bisect_rewrites(*graph, variant_of(backend), tower_inputs(), {});
    ASSERT_TRUE(found.ok()) << found.status().to_string();
    EXPECT_FALSE(found->differs) << backend;
    EXPECT_EQ(found->culprit.number, 0);
    EXPECT_EQ(found->rewrites, rewrites_of(*graph));
  }
}

// Every rewrite of the pipeline in turn is made wrong; those that leave no value to make wrong say so.
TEST(Bisect, FindsEachWrongRewriteByItsNumber) {
  const auto graph = tower_with_work(2);
  const int64_t rewrites = rewrites_of(*graph);
  ASSERT_GT(rewrites, 5);
  int found_one = 0;
  for (const char* backend : {"reference", "cpu"})
    for (int64_t n = 1; n <= rewrites; ++n) {
      const auto found = bisect_rewrites(*graph, variant_of(backend, {.rewrite = n}), tower_inputs(), {});
      if (!found.ok()) {
        EXPECT_THAT(found.status().to_string(), HasSubstr(fmt::format("rewrite {}", n)));
        continue;  // a dead node's
      }
      if (!found->differs) continue;  // what becomes wrong may not matter
      ++found_one;
      EXPECT_FALSE(found->before_any);
      EXPECT_EQ(found->culprit.number, n) << backend;
      EXPECT_FALSE(found->culprit.pass.empty());
      EXPECT_FALSE(found->culprit.nodes.empty());
      EXPECT_NE(found->before, found->after);
      EXPECT_LE(found->runs, 4 + 7) << "halving";
    }
  EXPECT_GE(found_one, rewrites) << "half of them, on both backends";
}

// A shape that constants tell is made wrong where they are folded: the passes fail on what follows.
TEST(Bisect, FindsARewriteAfterWhichTheModelDoesNotRun) {
  ir::Graph graph;
  ir::Builder b(graph);
  ir::Value* x = graph.add_input("x", ir::TensorType(DType::kF32, {ir::Dim(6), ir::Dim(16)}));
  ir::Value* sizes = b.make("Add", {b.ints({4, 22}), b.ints({2, -6})});
  graph.add_output(b.make("Reshape", {x, sizes}), "y");
  ASSERT_TRUE(b.status().ok()) << b.status().to_string();
  const auto found = bisect_rewrites(graph, variant_of("reference", {.rewrite = 1}), tower_inputs(), {});
  ASSERT_TRUE(found.ok()) << found.status().to_string();
  EXPECT_TRUE(found->differs);
  EXPECT_EQ(found->culprit.number, 1);
  EXPECT_EQ(found->culprit.pass, "fold-constants");
  EXPECT_FALSE(found->difference.message.empty());
}

// What no rewrite is to blame for.
TEST(Bisect, TellsAFaultBehindThePasses) {
  const auto graph = tower_with_work(2);
  const auto found = bisect_rewrites(*graph, variant_of("cpu", {.node = "mm1"}), tower_inputs(), {});
  ASSERT_TRUE(found.ok()) << found.status().to_string();
  EXPECT_TRUE(found->differs);
  EXPECT_TRUE(found->before_any);
  EXPECT_EQ(found->culprit.number, 0);
}

TEST(Bisect, NamesTheWrongRewriteOfARealModel) {
  const std::filesystem::path file = shared_model("regress/fsanet-1x1");
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "../shared/models is not there";
  const auto graph = load_model(file);
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  const auto inputs = read_inputs(**graph, file.parent_path() / "test_data_set_0");
  ASSERT_TRUE(inputs.ok()) << inputs.status().to_string();
  const int64_t rewrites = rewrites_of(**graph);
  ASSERT_GT(rewrites, 100);
  const auto found = bisect_rewrites(**graph, variant_of("cpu", {.rewrite = rewrites - 20}), *inputs, {});
  ASSERT_TRUE(found.ok()) << found.status().to_string();
  EXPECT_EQ(found->culprit.number, rewrites - 20);
  EXPECT_EQ(found->culprit.pass, "fuse");
}

TEST(LineDifference, ShowsWhatChangedAndWhatIsAround) {
  EXPECT_EQ(line_difference("a\nb\nc\nd\ne\nf\ng\n", "a\nb\nc\nD\ne\nf\ng\n", 1, 60), "  c\n- d\n+ D\n  e\n");
  EXPECT_EQ(line_difference("a\nb\n", "a\nb\n", 2, 60), "");
  EXPECT_EQ(line_difference("", "x\n", 2, 60), "+ x\n");
  EXPECT_EQ(line_difference("1\na\n2\n3\n4\nb\n5\n", "1\nA\n2\n3\n4\nB\n5\n", 0, 60), "- a\n+ A\n  …\n- b\n+ B\n");
  EXPECT_EQ(line_difference("a\nb\nc\n", "x\ny\nz\n", 0, 2), "- a\n- b\n… and 4 more lines\n");
}

}  // namespace
}  // namespace tenon::eval
