#include "eval/picture.h"

#include <algorithm>
#include <array>
#include <limits>

namespace tenon::eval {
namespace {

constexpr std::array<const char*, 5> kShades = {" ", "░", "▒", "▓", "█"};

/// Means over the boxes of a grid laid on one image.
class Grid {
 public:
  Grid(const Tensor& images, int64_t index, int64_t width)
      : images_(images), channels_(images.rank() == 4 ? images.dim(1) : 1), rows_(images.dim(images.rank() - 2)),
        columns_(images.dim(images.rank() - 1)), first_(index * channels_ * rows_ * columns_) {
    across = std::min(columns_, width);
    down = std::max<int64_t>(1, rows_ * across / columns_ / 2);
  }

  double mean(int64_t y, int64_t x) const {
    double sum = 0;
    int64_t count = 0;
    for (int64_t c = 0; c < channels_; ++c)
      for (int64_t row = y * rows_ / down; row < (y + 1) * rows_ / down; ++row)
        for (int64_t column = x * columns_ / across; column < (x + 1) * columns_ / across; ++column, ++count)
          sum += images_.at_double(first_ + (c * rows_ + row) * columns_ + column);
    return count == 0 ? 0 : sum / static_cast<double>(count);
  }

  int64_t across = 0, down = 0;

 private:
  const Tensor& images_;
  int64_t channels_, rows_, columns_, first_;
};

}  // namespace

std::vector<std::string> picture(const Tensor& images, int64_t index, int64_t width) {
  if (images.rank() < 3 || images.size() == 0 || index < 0 || index >= images.dim(0) || width < 1) return {};
  const Grid grid(images, index, width);
  std::vector<double> means;
  for (int64_t y = 0; y < grid.down; ++y)
    for (int64_t x = 0; x < grid.across; ++x) means.push_back(grid.mean(y, x));
  const auto [low, high] = std::minmax_element(means.begin(), means.end());
  const double range = *high > *low ? *high - *low : 1;
  std::vector<std::string> lines(static_cast<size_t>(grid.down));
  for (size_t i = 0; i < means.size(); ++i) {
    const auto shade = static_cast<size_t>((means[i] - *low) / range * kShades.size());
    lines[i / static_cast<size_t>(grid.across)] += kShades[std::min(shade, kShades.size() - 1)];
  }
  return lines;
}

}  // namespace tenon::eval
