#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/ops/op_runner.h"

namespace tenon::ir {
namespace {

using test::Attributes;
using test::floats;
using test::run_op;
using test::try_op;
using test::values;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::Pointwise;

Attributes resize(const char* mode, const char* coordinates) {
  return {{"mode", std::string(mode)}, {"coordinate_transformation_mode", std::string(coordinates)}};
}

TEST(Resize, DoublesLinearlyAtHalfPixels) {
  Tensor y = run_op("Resize", {floats({1, 2}, {0, 4}), Tensor(), floats({2}, {1, 2})}, resize("linear", "half_pixel"));
  EXPECT_THAT(values(y), ElementsAre(0, 1, 3, 4));
}

TEST(Resize, AlignedCornersKeepBothEnds) {
  Tensor y = run_op("Resize", {floats({1, 2}, {0, 3}), Tensor(), floats({2}, {1, 2})}, resize("linear", "align_corners"));
  EXPECT_THAT(values(y), Pointwise(DoubleNear(1e-6), std::vector<double>{0, 1, 2, 3}));
}

TEST(Resize, NearestFollowsItsRounding) {
  Tensor x = floats({1, 2}, {1, 2});
  Attributes attrs = resize("nearest", "asymmetric");
  attrs.push_back({"nearest_mode", std::string("floor")});
  EXPECT_THAT(values(run_op("Resize", {x, Tensor(), floats({2}, {1, 2})}, attrs)), ElementsAre(1, 1, 2, 2));
  attrs.back().second = std::string("ceil");
  EXPECT_THAT(values(run_op("Resize", {x, Tensor(), floats({2}, {1, 2})}, attrs)), ElementsAre(1, 2, 2, 2));
}

TEST(Resize, CubicReproducesAStraightLineInside) {
  Attributes attrs = resize("cubic", "half_pixel");
  attrs.push_back({"cubic_coeff_a", -0.5});  // the one coefficient that does (Keys 1981)
  Tensor y = run_op("Resize", {floats({1, 8}, {0, 1, 2, 3, 4, 5, 6, 7}), Tensor(), floats({2}, {1, 2})}, attrs);
  for (int64_t i = 5; i < 11; ++i) EXPECT_NEAR(y.at_double(i), (static_cast<double>(i) + 0.5) / 2 - 0.5, 1e-5);
}

TEST(Resize, AntialiasingAveragesWhenShrinking) {
  Attributes attrs = resize("linear", "half_pixel");
  attrs.push_back({"antialias", int64_t{1}});
  Tensor y = run_op("Resize", {floats({1, 4}, {3, 3, 3, 3}), Tensor(), floats({2}, {1, 0.5F})}, attrs);
  EXPECT_THAT(values(y), Pointwise(DoubleNear(1e-6), std::vector<double>{3, 3}));
}

TEST(Resize, RefusesScalesAndSizesThatAreNotPossible) {
  Tensor x = floats({1, 2}, {1, 2});
  EXPECT_FALSE(try_op("Resize", {x, Tensor(), floats({2}, {1, -2})}).ok());
  EXPECT_FALSE(try_op("Resize", {x, Tensor(), floats({1}, {2})}).ok());
  EXPECT_FALSE(try_op("Resize", {x, Tensor(), floats({2}, {1, 1e30F})}).ok());
  EXPECT_FALSE(try_op("Resize", {x, Tensor(), Tensor(), Tensor::from<int64_t>({2}, {1, -1})}).ok());
  EXPECT_FALSE(try_op("Resize", {x}).ok());
}

TEST(GridSample, IdentityGridGivesTheImageBack) {
  Tensor x = floats({1, 1, 2, 2}, {1, 2, 3, 4});
  Tensor grid = floats({1, 2, 2, 2}, {-1, -1, 1, -1, -1, 1, 1, 1});
  for (const char* mode : {"linear", "nearest", "cubic"})
    EXPECT_THAT(values(run_op("GridSample", {x, grid}, {{"mode", std::string(mode)}, {"align_corners", int64_t{1}}})),
                Pointwise(DoubleNear(1e-6), std::vector<double>{1, 2, 3, 4}));
}

TEST(GridSample, PadsOutside) {
  Tensor x = floats({1, 1, 1, 3}, {1, 2, 3}), grid = floats({1, 1, 1, 2}, {2, 0});
  auto at = [&](const char* padding) {
    return run_op("GridSample", {x, grid}, {{"padding_mode", std::string(padding)}, {"align_corners", int64_t{1}}}).at_double(0);
  };
  EXPECT_EQ(at("zeros"), 0);
  EXPECT_EQ(at("border"), 3);
  EXPECT_NEAR(at("reflection"), 2, 1e-6);  // 3 is reflected at 2 to 1
}

TEST(NonMaxSuppression, KeepsTheBestOfOverlappingBoxes) {
  Tensor boxes = floats({1, 3, 4}, {0, 0, 1, 1, 0, 0.1F, 1, 1.1F, 0, 10, 1, 11}), scores = floats({1, 1, 3}, {0.9F, 0.75F, 0.6F});
  Tensor most = Tensor::from<int64_t>({1}, {3});
  Tensor y = run_op("NonMaxSuppression", {boxes, scores, most, floats({1}, {0.5F}), floats({1}, {0})});
  EXPECT_THAT(values(y), ElementsAre(0, 0, 0, 0, 0, 2));
  EXPECT_EQ(run_op("NonMaxSuppression", {boxes, scores}).shape(), (Shape{0, 3}));
}

TEST(RoiAlign, AveragesAConstantImage) {
  Tensor x = floats({1, 1, 4, 4}, std::vector<float>(16, 7)), rois = floats({1, 4}, {0, 0, 3, 3}), batch = Tensor::from<int64_t>({1}, {0});
  Attributes attrs = {{"output_height", int64_t{2}}, {"output_width", int64_t{2}}};
  EXPECT_THAT(values(run_op("RoiAlign", {x, rois, batch}, attrs)), Pointwise(DoubleNear(1e-6), std::vector<double>{7, 7, 7, 7}));
  EXPECT_FALSE(try_op("RoiAlign", {x, rois, Tensor::from<int64_t>({1}, {1})}, attrs).ok());
}

}  // namespace
}  // namespace tenon::ir
