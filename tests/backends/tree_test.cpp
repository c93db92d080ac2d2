// Forests that classify, as kernels: no part of one runs on the host, and labels and scores are worked out by hand.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "backends/backend.h"
#include "ir/graph.h"
#include "ir/op.h"

namespace tenon::backends {
namespace {

using Ints = std::vector<int64_t>;
using Floats = std::vector<double>;
using Strings = std::vector<std::string>;

struct Case {
  std::string name;
  Ints ids;        // the class of the left and of the right leaf of each tree, whose root asks whether x <= 0
  Floats weights;  // of these
  Floats base;
  std::string post;
  int64_t classes;
  int64_t left, right;  // labels of -1 and of 1; they count from 10
  Floats scores;        // of -1, then of 1
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::vector<Case> cases() {
  const double a = std::exp(1.0), b = std::exp(3.0), c = std::exp(2.0);
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  return {
      // 0 of no weights is more than the sum of negative ones, but no candidate.
      {"NegativeOnes", {1, 2}, {-2, -3}, {}, "NONE", 3, 11, 12, {0, -2, 0, 0, 0, -3}},
      {"MarksOfNothing", {1, 2, 1, 1}, {-2, -3, 2, 1}, {}, "NONE", 3, 11, 11, {0, 0, 0, 0, 1, -3}},
      {"BaseOfSome", {1, 2}, {-2, -3}, {-1}, "NONE", 3, 10, 10, {-1, -2, 0, -1, 0, -3}},
      {"BaseOfAll", {1, 2}, {-2, -3}, {-1, 0, 0.5}, "NONE", 3, 12, 11, {-1, -2, 0.5, -1, 0, -2.5}},
      {"TiesAtZero", {2, 1}, {0, 0}, {}, "NONE", 3, 12, 11, {0, 0, 0, 0, 0, 0}},
      {"ClassOfATree", {0, 0, 1, 1}, {-1, -3, -2, -2}, {}, "NONE", 2, 10, 11, {-1, -2, -3, -2}},
      {"Softmax",
       {0, 0, 1, 1},
       {1, 3, 2, 2},
       {},
       "SOFTMAX",
       2,
       11,
       10,
       {a / (a + c), c / (a + c), b / (b + c), c / (b + c)}},
      {"SoftmaxWithoutZeros", {1, 2}, {1, 3}, {}, "SOFTMAX_ZERO", 3, 11, 12, {0, 1, 0, 0, 0, 1}},
      {"Logistic", {0, 0, 1, 1}, {1, -3, 2, 0}, {}, "LOGISTIC", 2, 11, 11, {sigmoid(1), sigmoid(2), sigmoid(-3), 0.5}},
      {"Probit", {0, 0, 1, 1}, {0.5, 0.84134475, 0.5, 0.02275013}, {}, "PROBIT", 2, 10, 10, {0, 0, 1, -2}},
      {"SecondOfTwo", {1, 1}, {0.75, 0.25}, {}, "NONE", 2, 11, 10, {0, 0.75, 0, 0.25}},
      {"FirstOfTwo", {0, 0}, {0.75, 0.25}, {}, "NONE", 2, 11, 10, {0.25, 0.75, 0.75, 0.25}},
      {"MarginOfTwo", {0, 0}, {2, -3}, {}, "LOGISTIC", 2, 11, 10, {sigmoid(-2), sigmoid(2), sigmoid(3), sigmoid(-3)}},
  };
}

void build(const Case& c, ir::Graph& graph) {
  Ints trees, nodes, features, yes, no, class_trees, class_nodes;
  Strings modes;
  for (int64_t t = 0; t < std::ssize(c.ids) / 2; ++t)
    for (int64_t n = 0; n < 3; ++n) {
      trees.push_back(t), nodes.push_back(n), features.push_back(0);
      yes.push_back(n == 0 ? 1 : 0), no.push_back(n == 0 ? 2 : 0);
      modes.emplace_back(n == 0 ? "BRANCH_LEQ" : "LEAF");
      if (n > 0) class_trees.push_back(t), class_nodes.push_back(n);
    }
  Ints labels;
  for (int64_t i = 0; i < c.classes; ++i) labels.push_back(10 + i);
  ir::Builder b(graph);
  ir::Value* const x[] = {graph.add_input("x", ir::TensorType(DType::kF32, {graph.dims().symbol("N"), ir::Dim(1)}))};
  const std::vector<ir::Value*> y = b.make_n("ai.onnx.ml.TreeEnsembleClassifier", x, 2,
                                             {{"nodes_treeids", trees},
                                              {"nodes_nodeids", nodes},
                                              {"nodes_featureids", features},
                                              {"nodes_modes", modes},
                                              {"nodes_values", Floats(nodes.size())},
                                              {"nodes_truenodeids", yes},
                                              {"nodes_falsenodeids", no},
                                              {"class_treeids", class_trees},
                                              {"class_nodeids", class_nodes},
                                              {"class_ids", c.ids},
                                              {"class_weights", c.weights},
                                              {"base_values", c.base},
                                              {"post_transform", c.post},
                                              {"classlabels_int64s", labels}});
  for (ir::Value* v : y) graph.add_output(v);
}

class Forests : public testing::TestWithParam<Case> {};

TEST_P(Forests, ClassifyInKernels) {
  const Case& c = GetParam();
  for (const char* name : {"reference", "cpu", "vulkan"}) {
    SCOPED_TRACE(name);
    const Backend* on = find_backend(name);
    if (on == nullptr || !on->available().ok()) continue;
    ir::Graph graph;
    build(c, graph);
    const auto executable = on->compile(graph, {});
    ASSERT_TRUE(executable.ok()) << executable.status().to_string();
    for (const Placement& row : (*executable)->placement())
      EXPECT_FALSE(std::string_view(name) == "cpu" && row.kind == Placement::Kind::kHost)
          << row.node << ": " << row.reason;
    const auto session = (*executable)->create_session();
    ASSERT_TRUE(session.ok()) << session.status().to_string();
    const float rows[] = {-1, 1};
    const auto y = (*session)->run({{Tensor::from<float>({2, 1}, rows)}});
    ASSERT_TRUE(y.ok()) << y.status().to_string();
    const Tensor &label = std::get<Tensor>((*y)[0]), &scores = std::get<Tensor>((*y)[1]);
    EXPECT_EQ(label.at_int(0), c.left);
    EXPECT_EQ(label.at_int(1), c.right);
    ASSERT_EQ(scores.shape(), (Shape{2, c.classes}));
    // PROBIT is ONNX Runtime's approximation.
    for (int64_t i = 0; i < scores.size(); ++i)
      EXPECT_NEAR(scores.at_double(i), c.scores[static_cast<size_t>(i)], c.post == "PROBIT" ? 5e-3 : 1e-6) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, Forests, testing::ValuesIn(cases()),
                         [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace tenon::backends
