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

// ---- Transforms of scores: values from ONNX Runtime 1.30

using testing::DoubleNear;
using testing::Pointwise;

const Tensor& two_rows() {
  static const Tensor x = floats({2, 2}, {1, 2, 3, -1});
  return x;
}

/// Labels and scores of a classifier on two_rows() for each post_transform.
struct Transformed {
  const char* transform;
  std::vector<double> labels, scores;
};

void expect_transformed(std::string_view op, const Attributes& attrs, const std::vector<Transformed>& cases) {
  for (const Transformed& c : cases) {
    SCOPED_TRACE(fmt::format("{} {}", op, c.transform));
    Attributes with = attrs;
    with.emplace_back("post_transform", std::string(c.transform));
    const std::vector<Tensor> y = run_op_n(op, {two_rows()}, 2, with);
    EXPECT_EQ(values(y[0]), c.labels);
    EXPECT_THAT(values(y[1]), Pointwise(DoubleNear(1e-6), c.scores));
  }
}

TEST(Transforms, OfLinearClassifiers) {
  const Attributes one = {{"coefficients", Floats{0.5, -1}}, {"intercepts", Floats{0.25}}, {"classlabels_ints", Ints{4, 5}}};
  expect_transformed("ai.onnx.ml.LinearClassifier", one,
                     {{"NONE", {4, 5}, {2.25, -1.25, -1.75, 2.75}},
                      {"LOGISTIC", {4, 5}, {0.777299881, 0.222700119, 0.060086668, 0.939913332}},
                      {"SOFTMAX", {4, 5}, {2.25, -1.25, -1.75, 2.75}},
                      {"SOFTMAX_ZERO", {4, 5}, {2.25, -1.25, -1.75, 2.75}}});
  const Attributes three = {{"coefficients", Floats{0.5, -1, 0, 1, 0.25, 0}}, {"intercepts", Floats{0.25, 0, -0.5}}, {"classlabels_ints", Ints{4, 5, 6}}};
  expect_transformed("ai.onnx.ml.LinearClassifier", three,
                     {{"NONE", {5, 4}, {-1.25, 2, -0.25, 2.75, -1, 0.25}},
                      {"LOGISTIC", {5, 4}, {0.222700149, 0.880797088, 0.437823504, 0.939913392, 0.268941432, 0.562176466}},
                      {"SOFTMAX", {5, 4}, {0.0338884, 0.873993337, 0.092118219, 0.904484034, 0.021271426, 0.074244566}}});
}

TEST(Transforms, OfRegressors) {
  const Attributes one = {{"coefficients", Floats{0.5, -1}}, {"intercepts", Floats{0.25}}, {"targets", int64_t{1}}};
  for (const char* transform : {"NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"}) {
    Attributes attrs = one;
    attrs.emplace_back("post_transform", std::string(transform));
    EXPECT_THAT(values(run_op("ai.onnx.ml.LinearRegressor", {two_rows()}, attrs)), ElementsAre(-1.25, 2.75)) << transform;
  }
  const Attributes probit = {{"coefficients", Floats{0.1, 0.1, 0.05, 0.1}}, {"intercepts", Floats{0.1, 0.2}}, {"targets", int64_t{2}},
                             {"post_transform", std::string("PROBIT")}};
  EXPECT_THAT(values(run_op("ai.onnx.ml.LinearRegressor", {two_rows()}, probit)),
              Pointwise(DoubleNear(1e-5), {-0.253353506, -0.125662014, -0.524445891, -0.674574316}));
}

TEST(Transforms, OfSupportVectorClassifiers) {
  const Attributes two = {{"classlabels_ints", Ints{3, 5}}, {"kernel_type", std::string("RBF")}, {"kernel_params", Floats{0.5, 0, 3}},
                          {"vectors_per_class", Ints{1, 1}}, {"support_vectors", Floats{1, 2, -1, 0.5}}, {"coefficients", Floats{1, -0.5}},
                          {"rho", Floats{-0.2}}};
  expect_transformed("ai.onnx.ml.SVMClassifier", two,
                     {{"NONE", {3, 5}, {-0.778031528, 0.778031528, 0.198551014, -0.198551014}},
                      {"LOGISTIC", {3, 5}, {0.314744294, 0.685255706, 0.549475312, 0.450524688}},
                      {"SOFTMAX", {3, 5}, {0.221968472, 0.778031528, 1.198551059, -0.198551014}}});
  Attributes three = {{"classlabels_ints", Ints{3, 5, 7}}, {"kernel_type", std::string("RBF")}, {"kernel_params", Floats{0.5, 0, 3}},
                      {"vectors_per_class", Ints{1, 1, 1}}, {"support_vectors", Floats{1, 2, -1, 0.5, 3, -1}},
                      {"coefficients", Floats{1, -0.5, 0.75, 0.25, -1, 0.5}}, {"rho", Floats{0.1, -0.2, 0.05}}};
  expect_transformed("ai.onnx.ml.SVMClassifier", three,
                     {{"NONE", {3, 3}, {1.07803154, 0.051127575, 0.006814786, 0.101448983, 0.550375879, 0.549891114}},
                      {"SOFTMAX", {3, 3}, {0.587991297, 0.210567906, 0.201440781, 0.241984218, 0.379099756, 0.378916025}}});
  three.emplace_back("prob_a", Floats{-1, -2, -0.5});
  three.emplace_back("prob_b", Floats{0.1, 0, -0.1});
  expect_transformed("ai.onnx.ml.SVMClassifier", three,
                     {{"NONE", {3, 3}, {0.444711745, 0.234994665, 0.320293605, 0.429630667, 0.378464103, 0.1919052}},
                      {"LOGISTIC", {3, 3}, {0.609381139, 0.558479786, 0.579395771, 0.605785489, 0.593502581, 0.547829628}}});
}

/// One test of the first feature against 2; class `id` of two gets `low` or `high`.
Attributes stump(int64_t id, double low, double high) {
  return {{"nodes_treeids", Ints{0, 0, 0}}, {"nodes_nodeids", Ints{0, 1, 2}}, {"nodes_modes", Strings{"BRANCH_LEQ", "LEAF", "LEAF"}},
          {"nodes_featureids", Ints{0, 0, 0}}, {"nodes_values", Floats{2, 0, 0}}, {"nodes_truenodeids", Ints{1, 0, 0}},
          {"nodes_falsenodeids", Ints{2, 0, 0}}, {"class_treeids", Ints{0, 0}}, {"class_nodeids", Ints{1, 2}}, {"class_ids", Ints{id, id}},
          {"class_weights", Floats{low, high}}, {"classlabels_int64s", Ints{8, 9}}};
}

TEST(Transforms, OfTreeClassifiers) {
  expect_transformed("ai.onnx.ml.TreeEnsembleClassifier", stump(1, 0.7, 0.2),
                     {{"NONE", {9, 8}, {0, 0.7F, 0, 0.2F}}, {"SOFTMAX", {9, 8}, {0.331812203, 0.668187737, 0.450165987, 0.549833953}}});
  expect_transformed("ai.onnx.ml.TreeEnsembleClassifier", stump(1, 0.7, -0.2),
                     {{"NONE", {9, 8}, {0, 0.7F, 0, -0.2F}}, {"LOGISTIC", {9, 8}, {0.5, 0.668187737, 0.5, 0.450166047}}});
  expect_transformed("ai.onnx.ml.TreeEnsembleClassifier", stump(0, 0.7, 0.2), 
                     {{"NONE", {9, 8}, {0.3, 0.7F, 0.8, 0.2F}},
                      {"LOGISTIC", {9, 8}, {0.331812263, 0.668187737, 0.450166047, 0.549833953}},
                      {"SOFTMAX", {9, 8}, {0.3, 0.7F, 0.8, 0.2F}}});
  expect_transformed("ai.onnx.ml.TreeEnsembleClassifier", stump(0, 0.7, -0.2), 
                     {{"NONE", {9, 8}, {-0.7F, 0.7F, 0.2F, -0.2F}},
                      {"LOGISTIC", {9, 8}, {0.331812263, 0.668187737, 0.549833953, 0.450166047}},
                      {"SOFTMAX_ZERO", {9, 8}, {-0.7F, 0.7F, 0.2F, -0.2F}}});
  // A class that got no weight is no candidate.
  Attributes three = stump(1, -0.5, -0.25);
  set(three, "class_treeids", Ints{0, 0, 0});
  set(three, "class_nodeids", Ints{1, 2, 2});
  set(three, "class_ids", Ints{1, 2, 0});
  set(three, "class_weights", Floats{-0.5, -0.25, -0.75});
  set(three, "classlabels_int64s", Ints{8, 9, 10});
  expect_transformed("ai.onnx.ml.TreeEnsembleClassifier", three, {{"NONE", {9, 10}, {0, -0.5, 0, -0.75, 0, -0.25}}});
}

TEST(Features, KeepWideIntegers) {
  constexpr int64_t kBig = (int64_t{1} << 60) + 1;
  Tensor x = Tensor::from<int64_t>({3}, {kBig, kBig - 1, 7});
  const Tensor filled = run_op("ai.onnx.ml.Imputer", {x}, {{"imputed_value_int64s", Ints{-1}}, {"replaced_value_int64", kBig}});
  EXPECT_EQ(filled.at_int(0), -1);
  EXPECT_EQ(filled.at_int(1), kBig - 1);
  const Tensor coded = run_op("ai.onnx.ml.LabelEncoder", {x}, {{"keys_int64s", Ints{kBig - 1, kBig}}, {"values_int64s", Ints{kBig, 3}}});
  EXPECT_EQ(coded.at_int(0), 3);
  EXPECT_EQ(coded.at_int(1), kBig);
  EXPECT_EQ(coded.at_int(2), -1);
}

}  // namespace
}  // namespace tenon::ir
