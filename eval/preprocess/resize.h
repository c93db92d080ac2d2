#pragma once

#include <string_view>

#include "support/tensor.h"

namespace tenon::eval {

enum class Filter : uint8_t { kNearest, kBilinear, kBicubic, kLanczos, kBox, kHamming };

/// Resizes u8 or f32 [height, width, channels].
///
/// Antialiased, it is Pillow's Image.resize, bit for bit for u8: two passes, rows first, of filters that widen with the reduction
/// (bicubic: a = -0.5); u8 goes through coefficients of 22 bits and is rounded after each pass, f32 through double. Else the filter
/// keeps its width of the source's pixels (bicubic: a = -0.75, edges repeated), as OpenCV and ONNX's Resize (half_pixel) have it.
/// Nearest: the source pixel at floor((i + 0.5) · from / to) of either.
Result<Tensor> resize_image(const Tensor& image, int64_t height, int64_t width, Filter filter, bool antialias);

}  // namespace tenon::eval
