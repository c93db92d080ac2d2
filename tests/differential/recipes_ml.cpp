#include <cmath>

#include "recipe.h"

namespace tenon::differential {
namespace {

using Strings = std::vector<std::string>;

Floats floats(Random& r, int64_t n) {
  Floats out;
  for (int64_t i = 0; i < n; ++i) out.push_back(static_cast<float>(r.real(-2, 2)));
  return out;
}

Ints iota(int64_t n) {
  Ints out;
  for (int64_t i = 0; i < n; ++i) out.push_back(i);
  return out;
}

std::string transform(Random& r) { return r.pick({"NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT"}); }

// Complete binary trees of depth 2: nodes 0, 1, 2 split, 3 to 6 are leaves.
struct Trees {
  Attrs nodes;
  Ints leaf_trees, leaf_nodes;
};

Trees trees(Random& r, int64_t count, int64_t features) {
  Trees out;
  Ints tree, id, feature, yes, no, missing;
  Floats values;
  Strings modes;
  const std::string test = r.pick({"BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT"});
  for (int64_t t = 0; t < count; ++t)
    for (int64_t n = 0; n < 7; ++n) {
      tree.push_back(t);
      id.push_back(n);
      feature.push_back(n < 3 ? r.between(0, features - 1) : 0);
      values.push_back(static_cast<float>(r.real(-2, 2)));
      modes.push_back(n < 3 ? test : "LEAF");
      yes.push_back(n < 3 ? 2 * n + 1 : 0);
      no.push_back(n < 3 ? 2 * n + 2 : 0);
      missing.push_back(r.between(0, 1));
      if (n < 3) continue;
      out.leaf_trees.push_back(t);
      out.leaf_nodes.push_back(n);
    }
  out.nodes = {{"nodes_treeids", tree},       {"nodes_nodeids", id},
               {"nodes_featureids", feature}, {"nodes_values", values},
               {"nodes_modes", modes},        {"nodes_truenodeids", yes},
               {"nodes_falsenodeids", no},    {"nodes_missing_value_tracks_true", missing}};
  return out;
}

/// Classes of leaves: one a tree (boosting), all (a forest's probabilities), the same one, or any number of any.
void weigh_classes(Random& r, const Trees& t, int64_t classes, Attrs& attrs) {
  const int64_t kind = r.between(0, 3), same = r.between(0, classes - 1);
  Ints tree, node, ids;
  for (size_t leaf = 0; leaf < t.leaf_nodes.size(); ++leaf) {
    const int64_t count = kind == 1 ? classes : kind == 3 ? r.between(0, 3) : 1;
    for (int64_t i = 0; i < count; ++i) {
      tree.push_back(t.leaf_trees[leaf]);
      node.push_back(t.leaf_nodes[leaf]);
      ids.push_back(kind == 0 ? tree.back() % classes : kind == 1 ? i : kind == 2 ? same : r.between(0, classes - 1));
    }
  }
  Floats weights = floats(r, std::ssize(ids));
  const bool ties = r.chance(0.3), positive = r.chance(0.3);
  for (double& w : weights) {
    if (ties) w = std::round(w / 2);
    if (positive) w = std::abs(w);
  }
  attrs.insert(attrs.end(),
               {{"class_treeids", tree}, {"class_nodeids", node}, {"class_ids", ids}, {"class_weights", weights}});
  if (r.chance(0.4)) attrs.emplace_back("base_values", floats(r, r.between(1, classes)));
}

void tree_ensembles(Maker& m) {
  Random& r = m.random;
  const int64_t features = r.between(1, 5), count = r.between(1, 4), rows = r.size(), kind = r.between(0, 2);
  ir::Value* x = m.f32({rows, features});
  if (kind == 2) {
    // One tree of two splits and three leaves in the form of version 5: leaf and node indices in tables of their own.
    m.node("ai.onnx.ml.TreeEnsemble", {x},
           {{"n_targets", int64_t{2}},
            {"tree_roots", Ints{0}},
            {"nodes_featureids", Ints{0, features - 1}},
            {"nodes_modes", std::move(Tensor::from<uint8_t>({2}, {0, 1}))},
            {"nodes_splits", Tensor::from<float>({2}, {0.5F, -1})},
            {"nodes_truenodeids", Ints{1, 0}},
            {"nodes_trueleafs", Ints{0, 1}},
            {"nodes_falsenodeids", Ints{2, 1}},
            {"nodes_falseleafs", Ints{1, 1}},
            {"leaf_targetids", Ints{0, 1, 0}},
            {"leaf_weights", Tensor::from<float>({3}, {1.5F, -2, 3})},
            {"aggregate_function", r.between(0, 3)}});
    return;
  }
  Trees t = trees(r, count, features);
  Attrs attrs = t.nodes;
  if (kind == 0) {
    const std::ptrdiff_t leaves = std::ssize(t.leaf_nodes);
    Ints ids;
    for (std::ptrdiff_t i = 0; i < leaves; ++i) ids.push_back(r.between(0, 2));
    attrs.insert(attrs.end(), {{"n_targets", int64_t{3}},
                               {"target_treeids", t.leaf_trees},
                               {"target_nodeids", t.leaf_nodes},
                               {"target_ids", ids},
                               {"target_weights", floats(r, leaves)},
                               {"aggregate_function", std::string(r.pick({"SUM", "AVERAGE", "MIN", "MAX"}))},
                               {"base_values", floats(r, 3)}});
    m.node("ai.onnx.ml.TreeEnsembleRegressor", {x}, attrs, 1);
  } else {
    const int64_t classes = r.between(1, 4);
    weigh_classes(r, t, classes, attrs);
    attrs.emplace_back("post_transform", transform(r));
    Strings labels = {"a", "b", "c", "d"};
    labels.resize(static_cast<size_t>(classes));
    if (r.chance(0.5))
      attrs.emplace_back("classlabels_int64s", iota(classes));
    else
      attrs.emplace_back("classlabels_strings", labels);
    m.node("ai.onnx.ml.TreeEnsembleClassifier", {x}, attrs, 2);
  }
}

void linear(Maker& m) {
  Random& r = m.random;
  const int64_t features = r.between(1, 5), classes = r.between(2, 4);
  ir::Value* x = m.f32({r.size(), features});
  if (r.chance(0.5))
    m.node("ai.onnx.ml.LinearRegressor", {x},
           {{"coefficients", floats(r, classes * features)}, {"intercepts", floats(r, classes)}, {"targets", classes}});
  else
    m.node("ai.onnx.ml.LinearClassifier", {x},
           {{"coefficients", floats(r, classes * features)},
            {"intercepts", floats(r, classes)},
            {"classlabels_ints", iota(classes)},
            {"post_transform", transform(r)}},
           2);
}

void support_vectors(Maker& m) {
  Random& r = m.random;
  const int64_t features = r.between(1, 4), vectors = r.between(3, 7), classes = r.between(2, 3),
                pairs = classes * (classes - 1) / 2;
  ir::Value* x = m.input(r.pick({DType::kF32, DType::kF64, DType::kI64}),
                         r.chance(0.1) ? Shape{features} : Shape{r.between(1, 6), features});
  Attrs attrs = {{"kernel_type", std::string(r.pick({"LINEAR", "RBF", "POLY", "SIGMOID"}))},
                 {"kernel_params", Floats{0.3, 0.1, 2}}};
  const auto add = [&](std::string_view name, Attr value) { attrs.emplace_back(name, std::move(value)); };
  if (r.chance(0.4)) {
    const bool supported = r.chance(0.7);
    add("coefficients", floats(r, supported ? vectors : features));
    if (supported) add("support_vectors", floats(r, vectors * features));
    add("n_supports", supported ? vectors : 0);
    add("rho", Floats{0.5});
    add("one_class", r.between(0, 1));
    m.node("ai.onnx.ml.SVMRegressor", {x}, attrs, 1);
    return;
  }
  if (r.chance(0.7)) {
    add("coefficients", floats(r, vectors * (classes - 1)));
    add("support_vectors", floats(r, vectors * features));
    add("vectors_per_class", classes == 2 ? Ints{1, vectors - 1} : Ints{1, 1, vectors - 2});
    if (r.chance(0.2)) {
      add("prob_a", floats(r, pairs));
      add("prob_b", floats(r, pairs));
    }
  } else {
    add("coefficients", floats(r, classes * features));
  }
  add("rho", floats(r, pairs));
  if (r.chance(0.3))
    add("classlabels_strings", classes == 2 ? Strings{"a", "b"} : Strings{"a", "b", "c"});
  else
    add("classlabels_ints", iota(classes));
  add("post_transform", transform(r));
  m.node("ai.onnx.ml.SVMClassifier", {x}, attrs, 2);
}

void features(Maker& m) {
  Random& r = m.random;
  const int64_t columns = r.between(1, 6), rows = r.size();
  ir::Value* x = m.f32({rows, columns});
  switch (r.between(0, 4)) {
    case 0:
      m.node("ai.onnx.ml.Scaler", {x}, {{"offset", floats(r, columns)}, {"scale", floats(r, columns)}});
      break;
    case 1:
      m.node("ai.onnx.ml.Imputer", {x}, {{"imputed_value_floats", floats(r, columns)}, {"replaced_value_float", 1.0}});
      break;
    case 2:
      m.node("ai.onnx.ml.Normalizer", {x}, {{"norm", std::string(r.pick({"MAX", "L1", "L2"}))}});
      break;
    case 3:
      m.node("ai.onnx.ml.ArrayFeatureExtractor",
             {x, m.input(Tensor::from<int64_t>({2}, {r.between(0, columns - 1), r.between(0, columns - 1)}))});
      break;
    default:
      m.node("ai.onnx.ml.FeatureVectorizer",
             {x, m.input(r.pick({DType::kF32, DType::kF32, DType::kI64}), {r.chance(0.1) ? rows + 1 : rows, 2})},
             {{"inputdimensions", Ints{r.between(0, columns + 2), r.between(1, 3)}}});
      break;
  }
}

void categories(Maker& m) {
  Random& r = m.random;
  const Shape shape{r.between(1, 9)};
  ir::Value* x = m.input(random_tensor(r, DType::kI64, shape, Fill::kPositive));
  switch (r.between(0, 3)) {
    case 0:
      m.node("ai.onnx.ml.LabelEncoder", {x},
             {{"keys_int64s", Ints{1, 2, 5}}, {"values_floats", Floats{0.5, 1.5, -2}}, {"default_float", 9.0}});
      break;
    case 1:
      m.node("ai.onnx.ml.LabelEncoder", {x},
             {{"keys_int64s", Ints{1, 2, 5}}, {"values_strings", Strings{"one", "two", "five"}}});
      break;
    case 2:
      m.node("ai.onnx.ml.OneHotEncoder", {r.chance(0.5) ? x : m.f32(r.shape(2))},
             {{"cats_int64s", r.chance(0.8) ? Ints{1, -3, 4, 0} : Ints{1, 1, 2}}, {"zeros", i64(r.chance(0.8))}});
      break;
    default:
      m.node("ai.onnx.ml.CategoryMapper", {x},
             {{"cats_int64s", Ints{1, 2, 3}}, {"cats_strings", Strings{"a", "b", "c"}}});
      break;
  }
}

void maps(Maker& m) {
  Random& r = m.random;
  const int64_t columns = r.between(1, 4);
  ir::Value* zipped =
      m.step("ai.onnx.ml.ZipMap", {m.f32({r.between(1, 4), columns})}, {{"classlabels_int64s", iota(columns)}})[0];
  if (r.chance(0.5) || m.graph == nullptr) {
    m.output(zipped);
    return;
  }
  ir::Value* row = m.step("SequenceAt", {zipped, m.scalar(0)})[0];
  if (r.chance(0.5)) {
    m.node("ai.onnx.ml.CastMap", {row}, {{"cast_to", std::string("TO_FLOAT")}, {"map_form", std::string("DENSE")}});
    return;
  }
  m.node("ai.onnx.ml.DictVectorizer", {row}, {{"int64_vocabulary", iota(columns)}});
}

}  // namespace

std::vector<Recipe> ml_recipes() {
  return {{"tree ensembles", tree_ensembles, 60},   {"linear models", linear, 10},
          {"support vectors", support_vectors, 12}, {"features", features, 20},
          {"categories", categories, 16},           {"maps", maps, 16}};
}

}  // namespace tenon::differential
