#include <cmath>

#include "recipe.h"

namespace tenon::differential {
namespace {

void grid_sample(Maker& m) {
  Random& r = m.random;
  const int64_t batch = r.between(1, 2), channels = r.between(1, 3);
  const bool volume = r.chance(0.25);
  Tensor grid = random_tensor(r, DType::kF32,
                              volume ? Shape{batch, 2, 3, 2, 3} : Shape{batch, r.between(1, 5), r.between(1, 5), 2});
  for (int64_t i = 0; i < grid.size(); ++i) grid.set_double(i, r.real(-1.3, 1.3));
  m.node("GridSample",
         {m.f32(volume ? Shape{batch, channels, 3, 4, 5} : Shape{batch, channels, r.between(1, 6), r.between(1, 6)}),
          m.input(grid)},
         {{"mode", std::string(volume ? r.pick({"linear", "nearest"}) : r.pick({"linear", "nearest", "cubic"}))},
          {"padding_mode", std::string(r.pick({"zeros", "border", "reflection"}))},
          {"align_corners", r.between(0, 1)}});
}

void affine_grid(Maker& m) {
  Random& r = m.random;
  const int64_t batch = r.between(1, 2);
  if (r.chance(0.5))
    m.node("AffineGrid", {m.f32({batch, 2, 3}), m.ints({batch, 1, r.between(1, 5), r.between(1, 5)})},
           {{"align_corners", r.between(0, 1)}});
  else
    m.node("AffineGrid", {m.f32({batch, 3, 4}), m.ints({batch, 1, r.between(1, 3), r.between(1, 3), r.between(2, 4)})},
           {{"align_corners", r.between(0, 1)}});
}

Tensor boxes(Random& r, Shape shape, double extent) {
  Tensor out = random_tensor(r, DType::kF32, shape);
  for (int64_t i = 0; i < out.size(); i += 4)
    for (int64_t c = 0; c < 2; ++c) {
      const double from = r.real(0, extent / 2);
      out.set_double(i + c, from);
      out.set_double(i + c + 2, from + r.real(0.5, extent / 2));
    }
  return out;
}

void non_max_suppression(Maker& m) {
  Random& r = m.random;
  const int64_t batch = r.between(1, 2), classes = r.between(1, 3), n = r.between(0, 12);
  m.node("NonMaxSuppression",
         {m.input(boxes(r, {batch, n, 4}, 10)), m.f32({batch, classes, n}, Fill::kPositive),
          m.input(Tensor::from<int64_t>({1}, {r.between(0, 5)})),
          m.constant(Tensor::from<float>({1}, {static_cast<float>(r.real(0.1, 0.9))})),
          r.chance(0.5) ? m.constant(Tensor::from<float>({1}, {1.5F})) : nullptr},
         {{"center_point_box", r.between(0, 1)}});
}

Tensor converted(const Tensor& from, DType to) {
  Tensor out = *Tensor::zeros(to, from.shape());
  for (int64_t i = 0; i < from.size(); ++i) out.set_double(i, from.at_double(i));
  return out;
}

void roi_align(Maker& m) {
  Random& r = m.random;
  const int64_t batch = r.between(1, 2), n = r.between(0, 4);
  const DType dtype = r.pick({DType::kF32, DType::kF32, DType::kF64, DType::kF16});
  Tensor of = random_tensor(r, DType::kI64, {n}), regions = boxes(r, {n, 4}, 8);
  for (int64_t i = 0; i < n; ++i) of.set_int(i, r.chance(0.05) ? batch : r.between(0, batch - 1));
  for (int64_t i = 0; i < regions.size(); ++i)
    if (r.chance(0.1)) regions.set_double(i, r.real(-40, 40));
  if (r.chance(0.1) && n > 0) regions.set_double(r.between(0, 4 * n - 1), r.pick<double>({1e9, std::nan(""), -INFINITY}));
  m.node("RoiAlign", {m.input(dtype, {batch, r.between(1, 3), r.between(1, 9), r.between(1, 9)}), m.input(converted(regions, dtype)), m.input(of)},
         {{"mode", std::string(r.pick({"avg", "max"}))},
          {"output_height", r.between(1, 3)},
          {"output_width", r.between(1, 3)},
          {"sampling_ratio", r.between(0, 3)},
          {"spatial_scale", 0.5},
          {"coordinate_transformation_mode", std::string(r.pick({"half_pixel", "output_half_pixel"}))}});
}

void max_roi_pool(Maker& m) {
  Random& r = m.random;
  const int64_t batch = r.between(1, 2), n = r.between(0, 4);
  const Tensor corners = boxes(r, {n, 4}, 6);
  Tensor rois = std::move(Tensor::zeros(DType::kF32, {n, 5})).value();
  for (int64_t i = 0; i < n; ++i) {
    rois.set_double(5 * i, static_cast<double>(r.between(0, batch - 1)));
    for (int64_t c = 0; c < 4; ++c) rois.set_double(5 * i + 1 + c, corners.at_double(4 * i + c));
  }
  m.node("MaxRoiPool", {m.f32({batch, r.between(1, 3), r.between(4, 9), r.between(4, 9)}), m.input(rois)},
         {{"pooled_shape", Ints{r.between(1, 3), r.between(1, 3)}}, {"spatial_scale", 0.75}});
}

void deform_conv(Maker& m) {
  Random& r = m.random;
  const int64_t batch = r.between(1, 2), groups = r.between(1, 2), offsets = r.between(1, 2),
                channels = 2 * r.between(1, 2), out = 2 * r.between(1, 2);
  const int64_t h = r.between(4, 7), w = r.between(4, 7), kernel = r.between(1, 3), oh = h - kernel + 1,
                ow = w - kernel + 1;
  m.node("DeformConv",
         {m.f32({batch, channels, h, w}), m.f32({out, channels / groups, kernel, kernel}),
          m.f32({batch, 2 * offsets * kernel * kernel, oh, ow}), r.chance(0.5) ? m.f32({out}) : nullptr,
          r.chance(0.5) ? m.f32({batch, offsets * kernel * kernel, oh, ow}) : nullptr},
         {{"group", groups},
          {"offset_group", offsets},
          {"kernel_shape", Ints{kernel, kernel}},
          {"pads", Ints{0, 0, 0, 0}}});
}

void unpool(Maker& m) {
  Random& r = m.random;
  const int64_t h = r.between(1, 4), w = r.between(1, 4);
  Tensor at = std::move(Tensor::zeros(DType::kI64, {1, 2, h, w})).value();
  for (int64_t c = 0; c < 2; ++c)
    for (int64_t y = 0; y < h; ++y)
      for (int64_t x = 0; x < w; ++x)
        at.set_int((c * h + y) * w + x, c * 4 * h * w + (2 * y + r.between(0, 1)) * 2 * w + 2 * x + r.between(0, 1));
  m.node("MaxUnpool", {m.f32({1, 2, h, w}), m.input(at)}, {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{2, 2}}});
}

void col2im(Maker& m) {
  Random& r = m.random;
  const int64_t rank = r.between(1, 3);
  Ints image, block, strides, dilations, pads(static_cast<size_t>(2 * rank));
  int64_t blocks = 1, points = 1;
  for (int64_t& p : pads) p = r.between(0, 2);
  for (int64_t i = 0; i < rank; ++i) {
    block.push_back(r.between(1, 3));
    strides.push_back(r.between(1, 3));
    dilations.push_back(r.between(1, 2));
    const int64_t reach = dilations.back() * (block.back() - 1) + 1;
    image.push_back(reach + r.between(0, 4));
    blocks *= (image.back() + pads[static_cast<size_t>(i)] + pads[static_cast<size_t>(rank + i)] - reach) / strides.back() + 1;
    points *= block.back();
  }
  if (r.chance(0.1)) ++blocks;
  const Tensor size = Tensor::from<int64_t>({rank}, std::span<const int64_t>(image));
  m.node("Col2Im",
         {m.input(r.pick({DType::kF32, DType::kF32, DType::kF16, DType::kI8, DType::kI64, DType::kBool}), {r.between(0, 2), r.between(1, 3) * points, blocks}),
          r.chance(0.5) ? m.constant(size) : m.input(size), m.ints(block)},
         {{"pads", pads}, {"strides", strides}, {"dilations", dilations}});
}

// A grey map of 3 x 2 (netpbm's P5).
void image(Maker& m) {
  std::vector<uint8_t> file;
  for (char c : std::string("P5 3 2 255 ")) file.push_back(static_cast<uint8_t>(c));
  for (int i = 0; i < 6; ++i) file.push_back(static_cast<uint8_t>(m.random.between(0, 255)));
  m.node("ImageDecoder", {m.input(Tensor::from<uint8_t>({static_cast<int64_t>(file.size())}, std::span<const uint8_t>(file)))},
         {{"pixel_format", std::string(m.random.pick({"RGB", "BGR", "Grayscale"}))}});
}

}  // namespace

std::vector<Recipe> image_recipes() {
  return {{"GridSample", grid_sample, 12}, {"ImageDecoder", image, 3},
          {"AffineGrid", affine_grid},
          {"NonMaxSuppression", non_max_suppression, 8},
          {"RoiAlign", roi_align, 40},
          {"MaxRoiPool", max_roi_pool, 4},
          {"DeformConv", deform_conv, 8},
          {"MaxUnpool", unpool},
          {"Col2Im", col2im, 24}};
}

}  // namespace tenon::differential
