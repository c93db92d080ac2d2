#include "passes/fault.h"

#include <gmock/gmock.h>

#include "ir/op.h"
#include "ir/parser.h"
#include "ir/verifier.h"
#include "passes/pass.h"
#include "tests/passes/pass_test_util.h"

namespace tenon::passes {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::unique_ptr<ir::Graph> graph_of(std::string_view text) {
  auto graph = ir::parse_text(text);
  EXPECT_TRUE(graph.ok()) << graph.status().to_string();
  return std::move(graph).value();
}

constexpr std::string_view kText = R"(graph {
  input %x: f32[4]
  input %k: i64[4]
  %a: ? = Abs(%x) "abs"
  %r: ? = Relu(%a) "relu"
  %y: ? = Tanh(%r) "tanh"
  %n: ? = Neg(%k) "neg"
  %p: ? = Less(%k, %n) "less"
  output %y
  output %n
  output %p
})";

/// The outputs after -O3 with a fault.
std::vector<HostValue> outputs(const Fault& fault) {
  const auto graph = graph_of(kText);
  PipelineOptions options;
  options.verify_each = true;
  options.fault = fault;
  const Status status = run_pipeline(*graph, options);
  EXPECT_TRUE(status.ok()) << status.to_string();
  EXPECT_TRUE(ir::verify(*graph).ok());
  const HostValue inputs[] = {Tensor::from<float>({4}, {-1, 0, 0.5F, 2}), Tensor::from<int64_t>({4}, {-1, 0, 1, 2})};
  auto results = ir::evaluate_graph(*graph, inputs);
  EXPECT_TRUE(results.ok()) << results.status().to_string();
  return std::move(results).value();
}

double at(const HostValue& value, int64_t i) { return std::get<Tensor>(value).at_double(i); }

TEST(Fault, IsReadFromText) {
  EXPECT_EQ(parse_fault("kernel:conv:1")->node, "conv:1");
  EXPECT_EQ(parse_fault("rewrite:17")->rewrite, 17);
  for (const char* text : {"", "kernel:", "rewrite:", "rewrite:0", "rewrite:-1", "rewrite:1x", "rewrite:99999999999999999999", "conv"})
    EXPECT_EQ(parse_fault(text).status().code(), Code::kInvalidArgument) << text;
}

// 1.25 x + 0.25 of floats, also in the middle of a fused node; x + 1 of integers; the opposite of booleans.
TEST(Fault, ChangesTheResultOfItsNodeAlone) {
  const auto relu = outputs({.node = "relu"});
  EXPECT_NEAR(at(relu[0], 3), std::tanh(1.25 * 2 + 0.25), 1e-6);
  EXPECT_NEAR(at(relu[0], 1), std::tanh(0.25), 1e-6);
  EXPECT_EQ(at(relu[1], 3), -2);
  const auto neg = outputs({.node = "neg"});
  EXPECT_NEAR(at(neg[0], 3), std::tanh(2.0), 1e-6);
  EXPECT_EQ(at(neg[1], 3), -1);
  const auto less = outputs({.node = "less"});
  const auto right = outputs({});
  for (int64_t i = 0; i < 4; ++i) EXPECT_NE(at(less[2], i), at(right[2], i));
  EXPECT_NEAR(at(outputs({.node = "y"})[0], 3), 1.25 * std::tanh(2.0) + 0.25, 1e-6) << "by the name of its value";
}

TEST(Fault, RefusesWhatIsNotThere) {
  const auto graph = graph_of(kText);
  PipelineOptions options;
  options.fault.node = "conv";
  const Status status = run_pipeline(*graph, options);
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_THAT(status.to_string(), HasSubstr("conv"));
}

// Relu(Abs(x)) twice over is one node: the log says which rewrite saw to it.
TEST(Rewrites, AreDescribedByNumber) {
  constexpr std::string_view kTwice = R"(graph {
    input %x: f32[4]
    %a: ? = Abs(%x) "abs"
    %b: ? = Abs(%x) "again"
    %y: ? = Add(%a, %b) "sum"
    %dead: ? = Neg(%x) "dead"
    output %y
  })";
  const auto graph = graph_of(kTwice);
  RewriteLog log;
  log.watched[1];
  log.watched[2];
  log.watched[99];
  PipelineOptions options;
  options.level = 1;
  options.log = &log;
  ASSERT_TRUE(run_pipeline(*graph, options).ok());
  EXPECT_EQ(log.taken, 2);
  EXPECT_EQ(log.watched[1].pass, "eliminate-common");
  EXPECT_THAT(log.watched[1].nodes, ElementsAre("Abs 'again'"));
  EXPECT_THAT(log.watched[1].values, ElementsAre("b"));
  EXPECT_EQ(log.watched[2].pass, "eliminate-dead");
  EXPECT_THAT(log.watched[2].nodes, ElementsAre("Neg 'dead'"));
  EXPECT_EQ(log.watched[99].number, 0);
}

}  // namespace
}  // namespace tenon::passes
