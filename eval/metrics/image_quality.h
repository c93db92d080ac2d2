#pragma once

#include "support/tensor.h"

namespace tenon::eval {

/// The mean squared difference of two tensors of one shape; NaN when their shapes differ or they are empty.
double mse(const Tensor& a, const Tensor& b);

/// The structural similarity of two images [height, width] or [height, width, channels], whose samples go to `peak`: the mean over
/// channels, and over the positions where the window is inside (Wang et al. 2004: gaussian of 11x11, sigma 1.5, K1 0.01, K2 0.03). NaN when
/// their shapes differ, there is no such position, or the tensors hold no real numbers.
double ssim(const Tensor& a, const Tensor& b, double peak);

}  // namespace tenon::eval
