#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/ops/op_runner.h"

namespace tenon::ir {
namespace {

using test::Attributes;
using test::floats;
using test::run_op;
using test::run_op_n;
using test::try_op;
using test::values;
using testing::ElementsAre;

using Ints = std::vector<int64_t>;
using Floats = std::vector<double>;
using Strings = std::vector<std::string>;

/// x[0] <= 0.5 ? 1 : (x[1] <= 2 ? 10 : 100).
Attributes small_tree() {
  return {{"nodes_treeids", Ints{0, 0, 0, 0, 0}}, {"nodes_nodeids", Ints{0, 1, 2, 3, 4}}, {"nodes_featureids", Ints{0, 0, 1, 0, 0}},
          {"nodes_values", Floats{0.5, 0, 2, 0, 0}}, {"nodes_modes", Strings{"BRANCH_LEQ", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF"}},
          {"nodes_truenodeids", Ints{1, 0, 3, 0, 0}}, {"nodes_falsenodeids", Ints{2, 0, 4, 0, 0}}, {"n_targets", int64_t{1}},
          {"target_treeids", Ints{0, 0, 0}}, {"target_nodeids", Ints{1, 3, 4}}, {"target_ids", Ints{0, 0, 0}}, {"target_weights", Floats{1, 10, 100}}};
}

void set(Attributes& attrs, std::string_view name, Attr value) {
  for (auto& [n, v] : attrs)
    if (n == name) v = std::move(value);
}

TEST(TreeEnsembleRegressor, WalksToTheLeaves) {
  Tensor y = run_op("ai.onnx.ml.TreeEnsembleRegressor", {floats({3, 2}, {0, 0, 1, 2, 1, 3})}, small_tree());
  EXPECT_THAT(values(y), ElementsAre(1, 10, 100));
}

TEST(TreeEnsembleRegressor, RefusesHostileTrees) {
  Tensor x = floats({1, 2}, {1, 3});
  auto fails = [&](std::string_view name, Attr value) {
    Attributes attrs = small_tree();
    set(attrs, name, std::move(value));
    return !try_op("ai.onnx.ml.TreeEnsembleRegressor", {x}, attrs).ok();
  };
  EXPECT_TRUE(fails("nodes_falsenodeids", Ints{2, 0, 2, 0, 0}));   // a cycle
  EXPECT_TRUE(fails("nodes_truenodeids", Ints{1, 0, 9, 0, 0}));    // no such node
  EXPECT_TRUE(fails("nodes_featureids", Ints{0, 0, 2, 0, 0}));     // beyond the columns
  EXPECT_TRUE(fails("nodes_featureids", Ints{0, 0, -1, 0, 0}));
  EXPECT_TRUE(fails("nodes_values", Floats{0.5}));                 // lengths differ
  EXPECT_TRUE(fails("target_ids", Ints{0, 0, 1}));
  EXPECT_TRUE(fails("target_nodeids", Ints{1, 3, 40}));
  EXPECT_TRUE(fails("n_targets", int64_t{-1}));
}

TEST(LinearClassifier, PicksTheLargestScore) {
  Attributes attrs = {{"coefficients", Floats{1, 0, 0, 1}}, {"intercepts", Floats{0, 0.5}}, {"classlabels_strings", Strings{"left", "right"}}};
  std::vector<Tensor> y = run_op_n("ai.onnx.ml.LinearClassifier", {floats({2, 2}, {2, 1, 1, 1})}, 2, attrs);
  EXPECT_THAT(y[0].string_values(), ElementsAre("left", "right"));
  EXPECT_THAT(values(y[1]), ElementsAre(2, 1.5, 1, 1.5));
}

TEST(Features, ScaleSelectEncode) {
  Tensor x = floats({2, 2}, {1, 2, 3, 4});
  EXPECT_THAT(values(run_op("ai.onnx.ml.Scaler", {x}, {{"offset", Floats{1}}, {"scale", Floats{2, 10}}})), ElementsAre(0, 10, 4, 30));
  EXPECT_THAT(values(run_op("ai.onnx.ml.ArrayFeatureExtractor", {x, Tensor::from<int64_t>({1}, {1})})), ElementsAre(2, 4));
  EXPECT_FALSE(try_op("ai.onnx.ml.ArrayFeatureExtractor", {x, Tensor::from<int64_t>({1}, {2})}).ok());
  Tensor words = *Tensor::strings({3}, {"a", "b", "c"});
  Attributes encoder = {{"keys_strings", Strings{"a", "b"}}, {"values_int64s", Ints{7, 8}}};
  EXPECT_THAT(values(run_op("ai.onnx.ml.LabelEncoder", {words}, encoder)), ElementsAre(7, 8, -1));
  EXPECT_THAT(values(run_op("ai.onnx.ml.OneHotEncoder", {words}, {{"cats_strings", Strings{"b", "c"}}})), ElementsAre(0, 0, 1, 0, 0, 1));
  EXPECT_THAT(values(run_op("ai.onnx.ml.Normalizer", {x}, {{"norm", std::string("L1")}})).size(), 4U);
  EXPECT_THAT(values(run_op("ai.onnx.ml.Binarizer", {x}, {{"threshold", 2.0}})), ElementsAre(0, 0, 1, 1));
}

TEST(SvmRegressor, LinearKernelIsADotProduct) {
  Attributes attrs = {{"kernel_type", std::string("LINEAR")}, {"coefficients", Floats{2, -1}}, {"support_vectors", Floats{1, 0, 0, 1}},
                      {"n_supports", int64_t{2}}, {"rho", Floats{0.5}}};
  EXPECT_THAT(values(run_op("ai.onnx.ml.SVMRegressor", {floats({1, 2}, {3, 4})}, attrs)), ElementsAre(2 * 3 - 4 + 0.5));
}

}  // namespace
}  // namespace tenon::ir
