#include "eval/preprocess/resize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "eval/preprocess/arguments.h"

namespace tenon::eval {
namespace {

constexpr int kPrecision = 22;  // bits of a u8 coefficient's fraction

double box(double x) { return x > -0.5 && x <= 0.5 ? 1 : 0; }
double triangle(double x) { return std::max(0.0, 1 - std::abs(x)); }
double sinc(double x) { return x == 0 ? 1 : std::sin(x * std::numbers::pi) / (x * std::numbers::pi); }
double hamming(double x) {
  x = std::abs(x);
  return x == 0 ? 1 : x >= 1 ? 0 : sinc(x) * (0.54 + 0.46 * std::cos(x * std::numbers::pi));
}
double lanczos(double x) { return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0; }
/// Keys, "Cubic convolution interpolation for digital image processing", 1981.
double cubic(double x, double a) {
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

struct Kernel {
  double support;
  double (*at)(double x);
};
Kernel kernel_of(Filter filter, bool antialias) {
  switch (filter) {
    case Filter::kBox: return {0.5, box};
    case Filter::kHamming: return {1, hamming};
    case Filter::kBicubic: return {2, antialias ? +[](double x) { return cubic(x, -0.5); } : +[](double x) { return cubic(x, -0.75); }};
    case Filter::kLanczos: return {3, lanczos};
    default: return {1, triangle};
  }
}

/// For each position of a resized line, the source positions that it is made from, and their weights.
struct Line {
  struct Span {
    int64_t first = 0;
    size_t weights = 0, count = 0;  // in `weights`
  };
  std::vector<Span> spans;
  std::vector<double> weights;
};

Line antialiased(int64_t from, int64_t to, const Kernel& kernel) {
  const double scale = static_cast<double>(from) / static_cast<double>(to), wide = std::max(scale, 1.0), support = kernel.support * wide;
  Line out;
  for (int64_t i = 0; i < to; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale, inverse = 1 / wide;
    const int64_t first = std::max<int64_t>(static_cast<int64_t>(centre - support + 0.5), 0);
    const int64_t end = std::min<int64_t>(static_cast<int64_t>(centre + support + 0.5), from);
    const size_t begin = out.weights.size();
    double sum = 0;
    for (int64_t x = first; x < end; ++x) {
      out.weights.push_back(kernel.at((static_cast<double>(x) - centre + 0.5) * inverse));
      sum += out.weights.back();
    }
    if (sum != 0)
      for (size_t k = begin; k < out.weights.size(); ++k) out.weights[k] /= sum;
    out.spans.push_back({first, begin, out.weights.size() - begin});
  }
  return out;
}

/// The weights of positions outside the line go to its ends.
Line interpolated(int64_t from, int64_t to, const Kernel& kernel) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const auto reach = static_cast<int64_t>(std::ceil(kernel.support));
  Line out;
  for (int64_t i = 0; i < to; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale - 0.5;
    const auto base = static_cast<int64_t>(std::floor(centre));
    const int64_t first = std::clamp<int64_t>(base - reach + 1, 0, from - 1), last = std::clamp<int64_t>(base + reach, 0, from - 1);
    const size_t begin = out.weights.size();
    out.weights.resize(begin + static_cast<size_t>(last - first + 1), 0.0);
    double sum = 0;
    for (int64_t x = base - reach + 1; x <= base + reach; ++x) {
      const double weight = kernel.at(static_cast<double>(x) - centre);
      out.weights[begin + static_cast<size_t>(std::clamp(x, first, last) - first)] += weight;
      sum += weight;
    }
    for (size_t k = begin; k < out.weights.size(); ++k) out.weights[k] /= sum;
    out.spans.push_back({first, begin, static_cast<size_t>(last - first + 1)});
  }
  return out;
}

std::vector<int32_t> fixed_point(const std::vector<double>& weights) {
  std::vector<int32_t> out;
  out.reserve(weights.size());
  for (double w : weights) out.push_back(static_cast<int32_t>((w < 0 ? -0.5 : 0.5) + w * (1 << kPrecision)));
  return out;
}

uint8_t clip8(int64_t value) { return static_cast<uint8_t>(std::clamp<int64_t>(value >> kPrecision, 0, 255)); }

/// One pass over `lines` lines of `from` → `to` positions of `inner` elements each.
void pass(std::span<const uint8_t> in, std::span<uint8_t> out, int64_t lines, int64_t from, int64_t inner, const Line& line) {
  const std::vector<int32_t> weights = fixed_point(line.weights);
  const auto to = static_cast<int64_t>(line.spans.size());
  std::vector<int64_t> sums(static_cast<size_t>(inner));
  for (int64_t l = 0; l < lines; ++l)
    for (int64_t i = 0; i < to; ++i) {
      const Line::Span& span = line.spans[static_cast<size_t>(i)];
      std::fill(sums.begin(), sums.end(), int64_t{1} << (kPrecision - 1));
      for (size_t k = 0; k < span.count; ++k) {
        const uint8_t* source = in.data() + (l * from + span.first + static_cast<int64_t>(k)) * inner;
        const int64_t weight = weights[span.weights + k];
        for (size_t c = 0; c < sums.size(); ++c) sums[c] += weight * source[c];
      }
      uint8_t* target = out.data() + (l * to + i) * inner;
      for (size_t c = 0; c < sums.size(); ++c) target[c] = clip8(sums[c]);
    }
}

void pass(std::span<const float> in, std::span<float> out, int64_t lines, int64_t from, int64_t inner, const Line& line) {
  const auto to = static_cast<int64_t>(line.spans.size());
  std::vector<double> sums(static_cast<size_t>(inner));
  for (int64_t l = 0; l < lines; ++l)
    for (int64_t i = 0; i < to; ++i) {
      const Line::Span& span = line.spans[static_cast<size_t>(i)];
      std::fill(sums.begin(), sums.end(), 0.0);
      for (size_t k = 0; k < span.count; ++k) {
        const float* source = in.data() + (l * from + span.first + static_cast<int64_t>(k)) * inner;
        for (size_t c = 0; c < sums.size(); ++c) sums[c] += line.weights[span.weights + k] * source[c];
      }
      float* target = out.data() + (l * to + i) * inner;
      for (size_t c = 0; c < sums.size(); ++c) target[c] = static_cast<float>(sums[c]);
    }
}

template <class T>
Result<Tensor> filtered(const Tensor& image, int64_t height, int64_t width, const Kernel& kernel, bool antialias) {
  const auto line = antialias ? antialiased : interpolated;
  const int64_t channels = image.dim(2);
  Tensor current = image;
  if (width != image.dim(1)) {
    TENON_ASSIGN_OR_RETURN(Tensor next, make_tensor(image.dtype(), {image.dim(0), width, channels}));
    pass(current.span<T>(), next.mutable_span<T>(), image.dim(0), image.dim(1), channels, line(image.dim(1), width, kernel));
    current = std::move(next);
  }
  if (height != image.dim(0)) {
    TENON_ASSIGN_OR_RETURN(Tensor next, make_tensor(image.dtype(), {height, width, channels}));
    pass(current.span<T>(), next.mutable_span<T>(), 1, image.dim(0), width * channels, line(image.dim(0), height, kernel));
    current = std::move(next);
  }
  return current;
}

/// Sums up steps, as Pillow does: the rounding of the sum decides where a position falls between two pixels.
std::vector<int64_t> nearest_positions(int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  std::vector<int64_t> out;
  double at = 0.5 * scale;
  for (int64_t i = 0; i < to; ++i, at += scale) out.push_back(std::clamp<int64_t>(static_cast<int64_t>(at), 0, from - 1));
  return out;
}

template <class T>
Result<Tensor> nearest(const Tensor& image, int64_t height, int64_t width) {
  const int64_t channels = image.dim(2);
  TENON_ASSIGN_OR_RETURN(Tensor out, make_tensor(image.dtype(), {height, width, channels}));
  const std::vector<int64_t> rows = nearest_positions(image.dim(0), height), columns = nearest_positions(image.dim(1), width);
  const T* from = image.span<T>().data();
  T* to = out.mutable_span<T>().data();
  for (int64_t y : rows)
    for (int64_t x : columns) {
      std::copy_n(from + (y * image.dim(1) + x) * channels, channels, to);
      to += channels;
    }
  return out;
}

}  // namespace

Result<Tensor> resize_image(const Tensor& image, int64_t height, int64_t width, Filter filter, bool antialias) {
  if (height < 1 || width < 1 || height > kMaxSide || width > kMaxSide)
    return error(Code::kInvalidArgument, "an image cannot be resized to {} x {}; sides are 1 to {}", height, width, kMaxSide);
  const bool bytes = image.dtype() == DType::kU8;
  if (filter == Filter::kNearest) return bytes ? nearest<uint8_t>(image, height, width) : nearest<float>(image, height, width);
  const Kernel kernel = kernel_of(filter, antialias);
  return bytes ? filtered<uint8_t>(image, height, width, kernel, antialias) : filtered<float>(image, height, width, kernel, antialias);
}

}  // namespace tenon::eval
