#include <gtest/gtest.h>

#include "tests/ops/op_runner.h"

namespace tenon::ir {
namespace {

using test::floats;
using test::ints;
using test::run_op;
using test::try_op;
using test::values;
using V = std::vector<double>;

Tensor counting(Shape shape) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  std::vector<float> v(static_cast<size_t>(n));
  for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i);
  return floats(std::move(shape), v);
}

TEST(Movement, Transpose) {
  EXPECT_EQ(values(run_op("Transpose", {counting({2, 3})})), (V{0, 3, 1, 4, 2, 5}));
  const Attr perm = std::vector<int64_t>{2, 0, 1};
  EXPECT_EQ(run_op("Transpose", {counting({2, 3, 4})}, {{"perm", perm}}).shape(), (Shape{4, 2, 3}));
  EXPECT_FALSE(try_op("Transpose", {counting({2, 3})}, {{"perm", Attr(std::vector<int64_t>{0, 0})}}).ok());
}

TEST(Movement, ReshapeCopiesAndInfersDims) {
  EXPECT_EQ(run_op("Reshape", {counting({2, 3, 4}), ints({0, -1})}).shape(), (Shape{2, 12}));
  EXPECT_FALSE(try_op("Reshape", {counting({2, 3}), ints({4, -1})}).ok());
  EXPECT_FALSE(try_op("Reshape", {counting({2, 3}), ints({-1, -1})}).ok());
  EXPECT_EQ(run_op("Reshape", {counting({0, 3}), ints({3, 0})}, {{"allowzero", Attr(int64_t{1})}}).shape(), (Shape{3, 0}));
}

TEST(Movement, SqueezeAndUnsqueeze) {
  EXPECT_EQ(run_op("Squeeze", {counting({1, 3, 1})}).shape(), (Shape{3}));
  EXPECT_EQ(run_op("Squeeze", {counting({1, 3, 1}), ints({-1})}).shape(), (Shape{1, 3}));
  EXPECT_FALSE(try_op("Squeeze", {counting({1, 3}), ints({1})}).ok());
  EXPECT_EQ(run_op("Unsqueeze", {counting({3}), ints({0, -1})}).shape(), (Shape{1, 3, 1}));
}

TEST(Movement, SliceForwardsAndBackwards) {
  const Tensor x = counting({10});
  EXPECT_EQ(values(run_op("Slice", {x, ints({-3}), ints({INT64_MAX})})), (V{7, 8, 9}));
  EXPECT_EQ(values(run_op("Slice", {x, ints({8}), ints({1}), ints({0}), ints({-3})})), (V{8, 5, 2}));
  EXPECT_EQ(values(run_op("Slice", {x, ints({-1}), ints({INT64_MIN}), ints({0}), ints({-5})})), (V{9, 4}));
  EXPECT_EQ(run_op("Slice", {x, ints({5}), ints({2})}).shape(), (Shape{0}));
  EXPECT_FALSE(try_op("Slice", {x, ints({0}), ints({5}), ints({0}), ints({0})}).ok());
}

TEST(Movement, ConcatAndSplitAreInverse) {
  const Tensor x = counting({2, 5});
  const std::vector<Tensor> parts = test::run_op_n("Split", {x, ints({2, 3})}, 2, {{"axis", Attr(int64_t{1})}});
  EXPECT_EQ(values(parts[0]), (V{0, 1, 5, 6}));
  EXPECT_EQ(values(run_op("Concat", parts, {{"axis", Attr(int64_t{-1})}})), values(x));
  const std::vector<Tensor> uneven = test::run_op_n("Split", {counting({5})}, 3, {{"num_outputs", Attr(int64_t{3})}});
  EXPECT_EQ(values(uneven[2]), (V{4}));
}

TEST(Movement, ExpandAndTile) {
  EXPECT_EQ(values(run_op("Expand", {counting({2, 1}), ints({1, 3})})), (V{0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(values(run_op("Tile", {counting({1, 2}), ints({2, 2})})), (V{0, 1, 0, 1, 0, 1, 0, 1}));
}

TEST(Movement, PadModes) {
  const Tensor x = counting({3});
  const auto pad = [&](const char* mode, std::vector<int64_t> pads) {
    return values(run_op("Pad", {x, ints(std::move(pads))}, {{"mode", Attr(std::string(mode))}}));
  };
  EXPECT_EQ(pad("constant", {1, 2}), (V{0, 0, 1, 2, 0, 0}));
  EXPECT_EQ(pad("reflect", {2, 2}), (V{2, 1, 0, 1, 2, 1, 0}));
  EXPECT_EQ(pad("edge", {2, 1}), (V{0, 0, 0, 1, 2, 2}));
  EXPECT_EQ(pad("wrap", {2, 1}), (V{1, 2, 0, 1, 2, 0}));
  EXPECT_EQ(pad("constant", {-1, 1}), (V{1, 2, 0}));
  EXPECT_EQ(values(run_op("Pad", {x, ints({1, 0}), floats({}, {7})})), (V{7, 0, 1, 2}));
}

TEST(Movement, DepthToSpaceInvertsSpaceToDepth) {
  const Tensor x = counting({1, 2, 4, 6});
  const Attr block = int64_t{2};
  const Tensor deep = run_op("SpaceToDepth", {x}, {{"blocksize", block}});
  EXPECT_EQ(deep.shape(), (Shape{1, 8, 2, 3}));
  EXPECT_EQ(values(run_op("DepthToSpace", {deep}, {{"blocksize", block}})), values(x));
}

TEST(Movement, GatherFamily) {
  const Tensor x = counting({3, 2});
  EXPECT_EQ(values(run_op("Gather", {x, ints({-1, 0})})), (V{4, 5, 0, 1}));
  EXPECT_EQ(try_op("Gather", {x, ints({3})}).status().code(), Code::kInvalidModel);
  EXPECT_EQ(values(run_op("GatherElements", {x, Tensor::from<int64_t>({1, 2}, {2, -3})})), (V{4, 1}));
  EXPECT_EQ(values(run_op("GatherND", {x, Tensor::from<int64_t>({2, 2}, {2, 1, 0, -1})})), (V{5, 1}));
  EXPECT_EQ(try_op("GatherND", {x, Tensor::from<int64_t>({1, 2}, {0, 2})}).status().code(), Code::kOutOfRange);
}

TEST(Movement, OneHotWrapsAndIgnores) {
  const Tensor out = run_op("OneHot", {ints({1, -1, 5}), ints({3}), floats({2}, {0, 9})});
  EXPECT_EQ(values(out), (V{0, 9, 0, 0, 0, 9, 0, 0, 0}));
}

TEST(Movement, ReverseSequence) {
  const Tensor out = run_op("ReverseSequence", {counting({2, 3}), ints({2, 3})}, {{"time_axis", Attr(int64_t{1})}, {"batch_axis", Attr(int64_t{0})}});
  EXPECT_EQ(values(out), (V{1, 0, 2, 5, 4, 3}));
}

TEST(Movement, Generators) {
  EXPECT_EQ(values(run_op("Range", {floats({}, {1}), floats({}, {2}), floats({}, {0.25})})), (V{1, 1.25, 1.5, 1.75}));
  EXPECT_EQ(values(run_op("Range", {ints({5}), ints({0}), ints({-2})})), (V{5, 3, 1}));
  EXPECT_EQ(values(run_op("EyeLike", {counting({2, 3})}, {{"k", Attr(int64_t{1})}})), (V{0, 1, 0, 0, 0, 1}));
  EXPECT_EQ(values(run_op("ConstantOfShape", {ints({2})}, {{"value", Attr(Tensor::from<int32_t>({1}, {7}))}})), (V{7, 7}));
  EXPECT_EQ(values(run_op("Trilu", {counting({2, 2})}, {{"upper", Attr(int64_t{0})}})), (V{0, 0, 2, 3}));
}

TEST(Movement, ShapesStaySymbolic) {
  // Reshape(x [N, 6], Concat(Gather(Shape(x), 0), [2, 3])) is [N, 2, 3].
  Graph graph;
  const Dim n = graph.dims().symbol("N");
  Value* x = graph.add_input("x", TensorType(DType::kF32, {n, 6}));
  Builder b(graph);
  Value* batch = b.make("Gather", {b.make("Shape", {x}), b.ints({0})});
  Value* shape = b.make("Concat", {batch, b.ints({2, 3})}, {{"axis", int64_t{0}}});
  Value* y = b.make("Reshape", {x, shape});
  ASSERT_TRUE(b.status().ok()) << b.status().to_string();
  EXPECT_EQ(y->type(), Type(TensorType(DType::kF32, {n, 2, 3})));
  Value* z = b.make("Reshape", {y, b.ints({0, -1})});
  EXPECT_EQ(z->type(), Type(TensorType(DType::kF32, {n, 6})));
}

}  // namespace
}  // namespace tenon::ir
