// Layouts that ONNX Runtime's optimiser writes, against the same operators in the plain layout.

#include <gmock/gmock.h>

#include <numeric>

#include "tests/frontend/model_builder.h"

namespace tenon::frontend {
namespace {

using namespace testing;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

constexpr const char* kBlocked = "com.microsoft.nchwc";

/// 1, 2, … scaled, as f32.
std::vector<float> counting(int64_t n, float scale = 1) {
  std::vector<float> v(static_cast<size_t>(n));
  std::iota(v.begin(), v.end(), 1.0F);
  for (float& x : v) x *= scale;
  return v;
}

Tensor f32(Shape shape, const std::vector<float>& values) { return Tensor::from<float>(std::move(shape), std::span<const float>(values)); }

Model blocked_model(const std::vector<std::string>& input) {
  Model m(17);
  Model::import_opset(m.proto, kBlocked, 1);
  m.input("x", DType::kF32, input);
  m.output("y");
  return m;
}

/// Filters [out, in] of 1x1 in blocks of `b`: [out / b, in / b, 1, 1, b of in, b of out], both padded with zeros.
std::vector<float> blocked(const std::vector<float>& w, int64_t out, int64_t in, int64_t b) {
  const int64_t outs = (out + b - 1) / b * b, ins = (in + b - 1) / b * b;
  std::vector<float> stored(static_cast<size_t>(outs * ins));
  for (int64_t o = 0; o < out; ++o)
    for (int64_t i = 0; i < in; ++i)
      stored[static_cast<size_t>(((o / b * (ins / b) + i / b) * b + i % b) * b + o % b)] = w[static_cast<size_t>(o * in + i)];
  return stored;
}

/// Input [1, channels, 1, 2] through a 1x1 convolution to `out` channels.
std::vector<double> convolved(const std::vector<float>& x, const std::vector<float>& w, int64_t out, int64_t in) {
  std::vector<double> y;
  for (int64_t o = 0; o < out; ++o)
    for (int64_t p = 0; p < 2; ++p) {
      double sum = 0;
      for (int64_t i = 0; i < in; ++i) sum += static_cast<double>(w[static_cast<size_t>(o * in + i)]) * x[static_cast<size_t>(i * 2 + p)];
      y.push_back(sum);
    }
  return y;
}

/// ReorderInput, Conv, ReorderOutput of 20 channels to 10 in blocks of `b`, which the padding shows.
std::vector<double> run_blocked(int64_t b, const std::vector<float>& x, const std::vector<float>& w) {
  Model m = blocked_model({"1", "20", "1", "2"});
  const int64_t outs = (10 + b - 1) / b * b, ins = (20 + b - 1) / b * b;
  *m.graph().add_initializer() = floats("w", {outs, ins, 1, 1}, blocked(w, 10, 20, b));
  m.node("ReorderInput", {"x"}, {"a"}, kBlocked);
  m.node("Conv", {"a", "w"}, {"c"}, kBlocked);
  attr(m.node("ReorderOutput", {"c"}, {"y"}, kBlocked), "channels", int64_t{10});
  return numbers(run(m, {f32({1, 20, 1, 2}, x)}).at(0));
}

TEST(BlockedLayout, TheBlockFollowsFromThePadding) {
  const std::vector<float> x = counting(40), w = counting(200, 0.5F);
  // 10 channels are 16 in blocks of 8 and of 16; 20 are 24 or 32.
  EXPECT_THAT(run_blocked(8, x, w), ElementsAreArray(convolved(x, w, 10, 20)));
}

TEST(BlockedLayout, BlocksOfSixteen) {
  // 4 channels are padded by more than 8.
  Model m = blocked_model({"1", "16", "1", "2"});
  const std::vector<float> x = counting(32), w = counting(64, 0.25F);
  *m.graph().add_initializer() = floats("w", {16, 16, 1, 1}, blocked(w, 4, 16, 16));
  m.node("ReorderInput", {"x"}, {"a"}, kBlocked);
  m.node("Conv", {"a", "w"}, {"c"}, kBlocked);
  attr(m.node("ReorderOutput", {"c"}, {"y"}, kBlocked), "channels", int64_t{4});
  EXPECT_THAT(numbers(run(m, {f32({1, 16, 1, 2}, x)}).at(0)), ElementsAreArray(convolved(x, w, 4, 16)));
}

TEST(BlockedLayout, FewChannelsAreReadFromThePlainLayoutAndPoolsKeepBlocks) {
  Model m = blocked_model({"1", "3", "1", "2"});
  const std::vector<float> x = counting(6), w = counting(24);
  std::vector<float> stored;  // [1, 3, 1, 1, 8 of out]
  for (int64_t i = 0; i < 3; ++i)
    for (int64_t o = 0; o < 8; ++o) stored.push_back(w[static_cast<size_t>(o * 3 + i)]);
  *m.graph().add_initializer() = floats("w", {8, 3, 1, 1}, stored);
  auto& conv = m.node("Conv", {"x", "w"}, {"c"}, kBlocked);
  attr(conv, "activation", "Relu");
  m.node("GlobalAveragePool", {"c"}, {"p"}, kBlocked);
  attr(m.node("ReorderOutput", {"p"}, {"y"}, kBlocked), "channels", int64_t{5});
  const std::vector<double> all = convolved(x, w, 8, 3);
  std::vector<double> want;
  for (size_t o = 0; o < 5; ++o) want.push_back((all[2 * o] + all[2 * o + 1]) / 2);
  EXPECT_THAT(numbers(run(m, {f32({1, 3, 1, 2}, x)}).at(0)), ElementsAreArray(want));
}

TEST(BlockedLayout, UpsampleAndChannelsLast) {
  Model m = blocked_model({"1", "1", "2", "3"});
  // [1, 1, 2, 3 channels]: width is doubled between the layouts.
  attr(m.node("ReorderInput", {"x"}, {"a"}, kBlocked), "channels_last", int64_t{1});
  attr(m.node("Upsample", {"a"}, {"u"}, kBlocked), "scales", {1, 1, 1, 2});
  auto& out = m.node("ReorderOutput", {"u"}, {"y"}, kBlocked);
  attr(out, "channels", int64_t{3});
  attr(out, "channels_last", int64_t{1});
  const auto y = run(m, {f32({1, 1, 2, 3}, {1, 2, 3, 4, 5, 6})});
  EXPECT_EQ(std::get<Tensor>(y.at(0)).shape(), (Shape{1, 1, 4, 3}));
  EXPECT_THAT(numbers(y.at(0)), ElementsAreArray({1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6}));
}

TEST(BlockedLayout, SumsOfReshapedBlocksBroadcast) {
  // Channels 1, 2 of two positions plus their means: both are reshaped to an axis of blocks and one of their channels.
  Model m = blocked_model({"1", "2", "1", "2"});
  *m.graph().add_initializer() = ints("apart", {5}, {0, -1, 0, 0, 16});
  *m.graph().add_initializer() = ints("together", {4}, {0, -1, 0, 0});
  m.node("ReorderInput", {"x"}, {"a"}, kBlocked);
  m.node("GlobalAveragePool", {"a"}, {"g"}, kBlocked);
  m.node("Reshape", {"a", "apart"}, {"a5"});
  m.node("Reshape", {"g", "apart"}, {"g5"});
  m.node("Add", {"a5", "g5"}, {"s5"});
  m.node("Reshape", {"s5", "together"}, {"s"});
  attr(m.node("ReorderOutput", {"s"}, {"y"}, kBlocked), "channels", int64_t{2});
  EXPECT_THAT(numbers(run(m, {f32({1, 2, 1, 2}, {1, 3, 10, 30})}).at(0)), ElementsAreArray({3, 5, 30, 50}));
}

TEST(BlockedLayout, RefusesWhatIsNotWholeBlocks) {
  Model m = blocked_model({"1", "20", "1", "2"});
  *m.graph().add_initializer() = floats("w", {10, 20, 1, 1}, counting(200));
  m.node("Conv", {"x", "w"}, {"y"}, kBlocked);
  const auto graph = m.import();
  ASSERT_FALSE(graph.ok());
  EXPECT_THAT(graph.status().to_string(), HasSubstr("whole blocks"));
  Model cut = blocked_model({"1", "8", "1", "2"});
  attr(cut.node("ReorderOutput", {"x"}, {"y"}, kBlocked), "channels", int64_t{9});
  EXPECT_FALSE(cut.import().ok());
}

TEST(ChannelsLast, MovesChannelsAroundThePlainOp) {
  Model m(17);
  Model::import_opset(m.proto, "com.ms.internal.nhwc", 12);
  m.input("x", DType::kF32, {"1", "2", "2", "2"});
  attr(m.node("MaxPool", {"x"}, {"y"}, "com.ms.internal.nhwc"), "kernel_shape", {2, 2});
  m.output("y");
  const auto y = run(m, {f32({1, 2, 2, 2}, {1, 8, 2, 7, 3, 6, 4, 5})});
  EXPECT_EQ(std::get<Tensor>(y.at(0)).shape(), (Shape{1, 1, 1, 2}));
  EXPECT_THAT(numbers(y.at(0)), ElementsAreArray({4, 8}));
}

}  // namespace
}  // namespace tenon::frontend
