// com.microsoft ops that become ai.onnx's at import, against values worked out by hand.

#include <gmock/gmock.h>

#include <cmath>

#include "tests/frontend/model_builder.h"

namespace tenon::frontend {
namespace {

using namespace testing;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::Pointwise;

Tensor f32(Shape shape, std::vector<float> values) { return Tensor::from<float>(std::move(shape), std::span<const float>(values)); }
Tensor i32(Shape shape, std::vector<int32_t> values) { return Tensor::from<int32_t>(std::move(shape), std::span<const int32_t>(values)); }

/// One node of com.microsoft on tensors of fixed shapes.
struct Case {
  Model model{17};
  std::vector<HostValue> inputs;
  onnx::NodeProto* node = nullptr;

  Case(const std::string& op, const std::vector<Tensor>& values, int outputs = 1) {
    Model::import_opset(model.proto, "com.microsoft", 1);
    std::vector<std::string> names, results;
    for (size_t i = 0; i < values.size(); ++i) {
      names.push_back(values[i].defined() ? "x" + std::to_string(i) : "");
      if (!values[i].defined()) continue;
      std::vector<std::string> dims;
      for (int64_t d : values[i].shape()) dims.push_back(std::to_string(d));
      model.input(names.back(), values[i].dtype(), dims);
      inputs.emplace_back(values[i]);
    }
    for (int i = 0; i < outputs; ++i) results.push_back("y" + std::to_string(i));
    node = &model.node(op, names, results, "com.microsoft");
    for (const std::string& name : results) model.output(name);
  }
  std::vector<HostValue> run() const { return testing::run(model, inputs); }
  std::vector<double> values(size_t output = 0) const { return numbers(run().at(output)); }
};

TEST(Contrib, BiasesAreAdded) {
  EXPECT_THAT(Case("BiasAdd", {f32({1, 2}, {1, 2}), f32({2}, {10, 20}), f32({1, 2}, {100, 200})}).values(), ElementsAre(111, 222));
  Case dropout("BiasDropout", {f32({1, 2}, {1, 2}), f32({2}, {10, 20}), f32({1, 2}, {100, 200})}, 2);
  EXPECT_THAT(dropout.values(), ElementsAre(111, 222));
  EXPECT_THAT(dropout.values(1), ElementsAre(1, 1));
  // Gelu(3) of the second half.
  const double gelu = 3 * 0.5 * (1 + std::erf(3 / std::sqrt(2.0)));
  EXPECT_THAT(Case("BiasSplitGelu", {f32({1, 2}, {1, 2}), f32({2}, {4, 1})}).values(), ElementsAre(DoubleNear(5 * gelu, 1e-5)));
}

TEST(Contrib, EmbeddingsOfBytes) {
  // Tables (0, 1) and (0, 0), gamma 1, beta 1: (0, 1) has mean 0.5 and deviation 0.5.
  const auto u8 = [](Shape shape, std::vector<uint8_t> values) { return Tensor::from<uint8_t>(std::move(shape), std::span<const uint8_t>(values)); };
  std::vector<Tensor> in(18);
  in[0] = i32({1, 1}, {1});
  in[2] = u8({2, 2}, {9, 9, 5, 7}), in[8] = f32({}, {0.5F}), in[13] = u8({}, {5});
  in[3] = u8({1, 2}, {3, 3}), in[9] = f32({}, {2}), in[14] = u8({}, {3});
  in[5] = u8({2}, {4, 4}), in[11] = f32({}, {0.25F}), in[16] = u8({}, {0});
  in[6] = u8({2}, {130, 130}), in[12] = f32({}, {0.5F}), in[17] = u8({}, {128});
  EXPECT_THAT(Case("QEmbedLayerNormalization", in).values(), ElementsAre(DoubleNear(0, 1e-6), DoubleNear(2, 1e-6)));
  in[16] = Tensor();
  EXPECT_FALSE(Case("QEmbedLayerNormalization", in).model.import().ok());
}

TEST(Contrib, DeconvolutionPadsThatAreData) {
  // (1, 2) spread by (1, 1): 1, 3, 2, of which the first goes.
  const Tensor pads = Tensor::from<int64_t>({2}, {1, 0});
  EXPECT_THAT(Case("ConvTransposeWithDynamicPads", {f32({1, 1, 2}, {1, 2}), f32({1, 1, 2}, {1, 1}), pads}).values(), ElementsAre(3, 2));
}

TEST(Contrib, BiasSoftmaxRunsOverAllAxesFromItsOwn) {
  Case c("BiasSoftmax", {f32({1, 2, 2}, {1, 2, 3, 4}), f32({1, 2, 2}, {-1, -2, -3, -4})});
  attr(*c.node, "axis", int64_t{1});
  attr(*c.node, "is_inner_broadcast", int64_t{0});
  EXPECT_THAT(c.values(), Pointwise(DoubleNear(1e-6), {.25, .25, .25, .25}));
}

TEST(Contrib, ProductsWithActivations) {
  Case c("FusedMatMulActivation", {f32({1, 2}, {1, -2}), f32({2, 2}, {1, 0, 3, -1})});
  attr(*c.node, "transB", int64_t{1});
  attr(*c.node, "activation", "LeakyRelu");
  attr(*c.node, "activation_alpha", 0.5F);
  EXPECT_THAT(c.values(), ElementsAre(1, 5));
  attr(*c.node, "alpha", -1.0F);
  EXPECT_THAT(c.values(), ElementsAre(-.5, -2.5));
  EXPECT_THAT(Case("GemmFastGelu", {f32({1, 1}, {2}), f32({1, 1}, {50}), f32({1}, {-100})}).values(), ElementsAre(0));
  EXPECT_THAT(Case("MulInteger", {Tensor::from<uint8_t>({2}, {10, 20}), Tensor::scalar<uint8_t>(15), Tensor::from<int8_t>({2}, {3, -4})}).values(),
              ElementsAre(-15, -20));
}

TEST(Contrib, ProductsOfWeightsInBlocksMayTakeBytes) {
  // Weights are 9 - 8 in each place; of the first row's 0.4, beside 127, nothing is left in 8 bits.
  std::vector<float> a(32, 0.0F);
  a[0] = 127, a[1] = 0.4F;
  const std::vector<uint8_t> codes(8, 0x99);
  Case c("MatMulNBits", {f32({2, 16}, a), Tensor::from<uint8_t>({1, 1, 8}, std::span<const uint8_t>(codes)), f32({1}, {2})});
  for (const auto& [name, value] : {std::pair{"K", 16}, {"N", 1}, {"bits", 4}, {"block_size", 16}}) attr(*c.node, name, int64_t{value});
  EXPECT_THAT(c.values(), Pointwise(DoubleNear(1e-5), {254.8, 0.0}));
  attr(*c.node, "accuracy_level", int64_t{4});
  EXPECT_THAT(c.values(), Pointwise(DoubleNear(1e-5), {254.0, 0.0}));
}

TEST(Contrib, GroupNormOfTheLastAxis) {
  // Two groups of one channel, two positions: each is -1 and 1, scaled and shifted.
  const Tensor x = f32({1, 1, 2, 2}, {1, 10, 3, 30});
  Case c("GroupNorm", {x, f32({2}, {2, 3}), f32({2}, {0, 1})});
  attr(*c.node, "groups", int64_t{2});
  attr(*c.node, "activation", int64_t{0});
  EXPECT_THAT(c.values(), Pointwise(DoubleNear(1e-4), {-2, -2, 2, 4}));
  Case skip("SkipGroupNorm", {x, f32({2}, {2, 3}), f32({2}, {0, 1}), f32({1, 2}, {5, 6}), f32({2}, {1, 1})}, 2);
  attr(*skip.node, "groups", int64_t{2});
  attr(*skip.node, "activation", int64_t{0});
  EXPECT_THAT(skip.values(), Pointwise(DoubleNear(1e-4), {-2, -2, 2, 4}));
  EXPECT_THAT(skip.values(1), ElementsAre(7, 17, 9, 37));
}

TEST(Contrib, TensorsUnderOtherNames) {
  EXPECT_THAT(Case("ExpandDims", {f32({2}, {1, 2}), i32({}, {-1})}).values(), ElementsAre(1, 2));
  Case unique("Unique", {f32({5}, {3, 1, 3, 2, 1})}, 3);
  EXPECT_THAT(unique.values(), ElementsAre(3, 1, 2));
  EXPECT_THAT(unique.values(1), ElementsAre(0, 1, 0, 2, 1));
  EXPECT_THAT(unique.values(2), ElementsAre(2, 2, 1));
  EXPECT_THAT(Case("TorchEmbedding", {f32({2, 1}, {7, 8}), Tensor::from<int64_t>({3}, {1, 0, 1})}).values(), ElementsAre(8, 7, 8));
  Case unfold("UnfoldTensor", {f32({5}, {1, 2, 3, 4, 5})});
  attr(*unfold.node, "size", int64_t{3});
  attr(*unfold.node, "step", int64_t{2});
  EXPECT_THAT(unfold.values(), ElementsAre(1, 2, 3, 3, 4, 5));
  EXPECT_THAT(Case("CDist", {f32({1, 2}, {0, 0}), f32({2, 2}, {3, 4, 1, 0})}).values(), ElementsAre(25, 1));
  EXPECT_THAT(Case("ComplexMul", {f32({2}, {1, 2}), f32({2}, {3, 4})}).values(), ElementsAre(-5, 10));
  EXPECT_THAT(Case("ComplexMulConj", {f32({2}, {1, 2}), f32({2}, {3, 4})}).values(), ElementsAre(11, 2));
}

TEST(Contrib, IsAllFinite) {
  const float inf = HUGE_VALF;
  EXPECT_THAT(Case("IsAllFinite", {f32({2}, {1, 2}), f32({1}, {3})}).values(), ElementsAre(1));
  EXPECT_THAT(Case("IsAllFinite", {f32({2}, {1, 2}), f32({1}, {-inf})}).values(), ElementsAre(0));
  Case nan_only("IsAllFinite", {f32({1}, {inf})});
  attr(*nan_only.node, "isnan_only", int64_t{1});
  EXPECT_THAT(nan_only.values(), ElementsAre(1));
}

TEST(Contrib, RefusesWhatDoesNotFit) {
  const Tensor x = f32({2, 2}, {1, 2, 3, 4});
  auto fails = [](const Case& c) { return !c.model.import().ok(); };
  for (int64_t size : {int64_t{0}, int64_t{-1}, int64_t{3}, INT64_MAX}) {
    Case c("UnfoldTensor", {x});
    attr(*c.node, "size", size);
    EXPECT_TRUE(fails(c)) << size;
  }
  Case axis("BiasSoftmax", {x, x});
  attr(*axis.node, "axis", int64_t{2});
  EXPECT_TRUE(fails(axis));
  Case activation("FusedMatMulActivation", {x, x});
  attr(*activation.node, "activation", "Nothing");
  EXPECT_TRUE(fails(activation));
  Case groups("GroupNorm", {f32({1, 1, 2, 2}, {1, 2, 3, 4}), f32({2}, {1, 1}), f32({2}, {0, 0})});
  attr(*groups.node, "groups", int64_t{0});
  EXPECT_TRUE(fails(groups));
  EXPECT_TRUE(fails(Case("BiasAdd", {x, x})));
}

}  // namespace
}  // namespace tenon::frontend
