#pragma once

#include <string>
#include <vector>

#include "support/tensor.h"

namespace tenon::eval {

/// Image `index` of [count, rows, columns] or [count, channels, rows, columns] as lines of characters, at most `width` wide:
/// shades from the image's darkest element (a space) to its lightest (a full block); one character is twice as high as wide.
/// Channels are averaged.
std::vector<std::string> picture(const Tensor& images, int64_t index, int64_t width);

}  // namespace tenon::eval
