// Old forms of ops, run on the interpreter, against values worked out by hand from the old definitions.

#include <gmock/gmock.h>

#include <cmath>

#include "tests/frontend/model_builder.h"

namespace tenon::frontend {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::Pointwise;
using ::testing::DoubleNear;

Tensor f32(Shape shape, std::vector<float> values) { return Tensor::from<float>(std::move(shape), std::span<const float>(values)); }

/// One node with one f32 input of a shape.
Model unary(int64_t opset, const std::string& op, const std::vector<std::string>& dims) {
  Model m(opset, 4);
  m.input("x", DType::kF32, dims);
  m.node(op, {"x"}, {"y"});
  m.output("y");
  return m;
}
onnx::NodeProto& node_of(Model& m) { return *m.graph().mutable_node(0); }

TEST(Normalize, LegacyBroadcastByAxis) {
  Model m(6, 3);
  m.input("a", DType::kF32, {"2", "3", "2"});
  m.input("b", DType::kF32, {"3"});
  auto& add = m.node("Add", {"a", "b"}, {"y"});
  attr(add, "broadcast", int64_t{1});
  attr(add, "axis", int64_t{1});
  m.output("y");
  const auto out = run(m, {f32({2, 3, 2}, std::vector<float>(12, 1)), f32({3}, {10, 20, 30})});
  EXPECT_THAT(numbers(out.at(0)), ElementsAre(11, 11, 21, 21, 31, 31, 11, 11, 21, 21, 31, 31));
}

TEST(Normalize, ClipAttributes) {
  Model m = unary(6, "Clip", {"4"});
  attr(node_of(m), "min", -1.0F);
  attr(node_of(m), "max", 2.0F);
  EXPECT_THAT(numbers(run(m, {f32({4}, {-3, 0, 1, 9})}).at(0)), ElementsAre(-1, 0, 1, 2));
}

TEST(Normalize, SoftmaxFlattens) {
  // Opset 11, axis 1 of [1, 2, 2]: one softmax over all four elements.
  const auto out = run(unary(11, "Softmax", {"1", "2", "2"}), {f32({1, 2, 2}, {0, 0, 0, 0})});
  EXPECT_THAT(numbers(out.at(0)), Pointwise(DoubleNear(1e-6), {0.25, 0.25, 0.25, 0.25}));
  // From opset 13 the default is the last axis alone.
  const auto now = run(unary(13, "Softmax", {"1", "2", "2"}), {f32({1, 2, 2}, {0, 0, 0, 0})});
  EXPECT_THAT(numbers(now.at(0)), Pointwise(DoubleNear(1e-6), {0.5, 0.5, 0.5, 0.5}));
}

TEST(Normalize, AxesAttributes) {
  Model sum = unary(11, "ReduceSum", {"2", "2"});
  attr(node_of(sum), "axes", std::vector<int64_t>{0});
  attr(node_of(sum), "keepdims", int64_t{0});
  EXPECT_THAT(numbers(run(sum, {f32({2, 2}, {1, 2, 3, 4})}).at(0)), ElementsAre(4, 6));
  Model squeeze = unary(11, "Squeeze", {"1", "2", "1"});
  attr(node_of(squeeze), "axes", std::vector<int64_t>{2});
  EXPECT_EQ(std::get<Tensor>(run(squeeze, {f32({1, 2, 1}, {1, 2})}).at(0)).shape(), (Shape{1, 2}));
  Model unsqueeze = unary(11, "Unsqueeze", {"2"});
  attr(node_of(unsqueeze), "axes", std::vector<int64_t>{0, 2});
  EXPECT_EQ(std::get<Tensor>(run(unsqueeze, {f32({2}, {1, 2})}).at(0)).shape(), (Shape{1, 2, 1}));
}

TEST(Normalize, SliceAndPadAttributes) {
  Model slice = unary(9, "Slice", {"4"});
  attr(node_of(slice), "starts", std::vector<int64_t>{1});
  attr(node_of(slice), "ends", std::vector<int64_t>{-1});
  EXPECT_THAT(numbers(run(slice, {f32({4}, {1, 2, 3, 4})}).at(0)), ElementsAre(2, 3));
  Model pad = unary(2, "Pad", {"2"});
  attr(node_of(pad), "pads", {1, 2});
  attr(node_of(pad), "value", 9.0F);
  EXPECT_THAT(numbers(run(pad, {f32({2}, {1, 2})}).at(0)), ElementsAre(9, 1, 2, 9, 9));
}

TEST(Normalize, SplitWithoutSizes) {
  Model m(11);
  m.input("x", DType::kF32, {"4"});
  m.node("Split", {"x"}, {"a", "b"});
  m.output("a");
  m.output("b");
  const auto out = run(m, {f32({4}, {1, 2, 3, 4})});
  EXPECT_THAT(numbers(out.at(1)), ElementsAre(3, 4));
}

TEST(Normalize, CastByName) {
  Model m = unary(1, "Cast", {"2"});
  attr(node_of(m), "to", "INT64");
  const auto out = run(m, {f32({2}, {1.7F, -1.7F})});
  EXPECT_EQ(std::get<Tensor>(out.at(0)).dtype(), DType::kI64);
  EXPECT_THAT(numbers(out.at(0)), ElementsAre(1, -1));
}

TEST(Normalize, UpsampleRepeats) {
  Model m = unary(7, "Upsample", {"1", "1", "1", "2"});
  auto& scales = add_attr(node_of(m), "scales", onnx::AttributeProto::FLOATS);
  for (float s : {1.F, 1.F, 2.F, 2.F}) scales.add_floats(s);
  EXPECT_THAT(numbers(run(m, {f32({1, 1, 1, 2}, {1, 2})}).at(0)), ElementsAre(1, 1, 2, 2, 1, 1, 2, 2));
}

TEST(Normalize, DropoutKeepsAll) {
  Model m = unary(7, "Dropout", {"2"});
  attr(node_of(m), "ratio", 0.9F);
  node_of(m).add_output("mask");
  m.output("mask");
  const auto out = run(m, {f32({2}, {1, 2})});
  EXPECT_THAT(numbers(out.at(0)), ElementsAre(1, 2));
  EXPECT_EQ(std::get<Tensor>(out.at(1)).dtype(), DType::kF32);  // bool from opset 10
  EXPECT_THAT(numbers(out.at(1)), ElementsAre(1, 1));
}

TEST(Normalize, BatchNormalizationPerElement) {
  Model m(7, 3);
  m.input("x", DType::kF32, {"1", "2", "1"});
  for (const char* name : {"s", "b", "m", "v"}) m.input(name, DType::kF32, {"2", "1"});
  auto& node = m.node("BatchNormalization", {"x", "s", "b", "m", "v"}, {"y"});
  attr(node, "spatial", int64_t{0});
  attr(node, "epsilon", 0.0F);
  m.output("y");
  const auto out = run(m, {f32({1, 2, 1}, {3, 5}), f32({2, 1}, {2, 1}), f32({2, 1}, {1, 0}), f32({2, 1}, {1, 1}), f32({2, 1}, {4, 16})});
  EXPECT_THAT(numbers(out.at(0)), ElementsAre(3, 1));
}

TEST(Normalize, TopKAttribute) {
  Model m = unary(1, "TopK", {"4"});
  attr(node_of(m), "k", int64_t{2});
  node_of(m).add_output("i");
  m.output("i");
  const auto out = run(m, {f32({4}, {1, 9, 3, 7})});
  EXPECT_THAT(numbers(out.at(0)), ElementsAre(9, 7));
  EXPECT_THAT(numbers(out.at(1)), ElementsAre(1, 3));
}

TEST(Normalize, GroupNormalizationByGroup) {
  Model m(18);
  m.input("x", DType::kF32, {"1", "4", "1"});
  *m.graph().add_initializer() = floats("s", {2}, {1, 10});
  *m.graph().add_initializer() = floats("b", {2}, {0, 100});
  auto& node = m.node("GroupNormalization", {"x", "s", "b"}, {"y"});
  attr(node, "num_groups", int64_t{2});
  attr(node, "epsilon", 1e-12F);
  m.output("y");
  // Each group of two normalises to -1, 1.
  EXPECT_THAT(numbers(run(m, {f32({1, 4, 1}, {1, 3, 5, 9})}).at(0)), Pointwise(DoubleNear(1e-3), {-1, 1, 90, 110}));
}

}  // namespace
}  // namespace tenon::frontend
