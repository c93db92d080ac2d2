#include "eval/metrics/image_quality.h"

#include <array>
#include <cmath>
#include <limits>

namespace tenon::eval {
namespace {

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kRadius = 5, kWindow = 2 * kRadius + 1;

bool comparable(const Tensor& a, const Tensor& b) {
  return a.defined() && b.defined() && a.shape() == b.shape() && a.size() > 0 && a.dtype() != DType::kString && b.dtype() != DType::kString;
}

std::array<double, kWindow> gaussian() {
  constexpr double kSigma = 1.5;
  std::array<double, kWindow> out{};
  double sum = 0;
  for (int64_t i = 0; i < kWindow; ++i) {
    const auto x = static_cast<double>(i - kRadius);
    sum += out[static_cast<size_t>(i)] = std::exp(-x * x / (2 * kSigma * kSigma));
  }
  for (double& weight : out) weight /= sum;
  return out;
}

/// Of one position: a, b, a², b², ab, smoothed.
using Moments = std::array<double, 5>;

double similarity(const Moments& m, double peak) {
  const double c1 = std::pow(0.01 * peak, 2), c2 = std::pow(0.03 * peak, 2);
  const auto [a, b, aa, bb, ab] = m;
  return (2 * a * b + c1) * (2 * (ab - a * b) + c2) / ((a * a + b * b + c1) * (aa - a * a + bb - b * b + c2));
}

/// One channel: rows smoothed along their width are kept for as long as windows reach them.
double channel_ssim(const Tensor& a, const Tensor& b, int64_t height, int64_t width, int64_t channels, int64_t channel, double peak) {
  const std::array<double, kWindow> weights = gaussian();
  const int64_t positions = width - kWindow + 1;
  std::array<std::vector<Moments>, kWindow> rows;
  double sum = 0;
  for (int64_t y = 0; y < height; ++y) {
    std::vector<Moments>& row = rows[static_cast<size_t>(y % kWindow)];
    row.assign(static_cast<size_t>(positions), Moments{});
    for (int64_t x = 0; x < width; ++x) {
      const int64_t at = (y * width + x) * channels + channel;
      const double p = a.at_double(at), q = b.at_double(at);
      const Moments point{p, q, p * p, q * q, p * q};
      for (int64_t i = std::max<int64_t>(0, x - positions + 1); i < std::min(kWindow, x + 1); ++i)
        for (size_t k = 0; k < point.size(); ++k) row[static_cast<size_t>(x - i)][k] += weights[static_cast<size_t>(i)] * point[k];
    }
    if (y + 1 < kWindow) continue;
    for (size_t x = 0; x < static_cast<size_t>(positions); ++x) {
      Moments m{};
      for (int64_t i = 0; i < kWindow; ++i)
        for (size_t k = 0; k < m.size(); ++k)
          m[k] += weights[static_cast<size_t>(i)] * rows[static_cast<size_t>((y + 1 + i) % kWindow)][x][k];
      sum += similarity(m, peak);
    }
  }
  return sum / (static_cast<double>(positions) * static_cast<double>(height - kWindow + 1));
}

}  // namespace

double mse(const Tensor& a, const Tensor& b) {
  if (!comparable(a, b)) return kUndefined;
  double sum = 0;
  for (int64_t i = 0; i < a.size(); ++i) sum += std::pow(a.at_double(i) - b.at_double(i), 2);
  return sum / static_cast<double>(a.size());
}

double ssim(const Tensor& a, const Tensor& b, double peak) {
  if (!comparable(a, b) || a.rank() < 2 || a.rank() > 3 || a.dim(0) < kWindow || a.dim(1) < kWindow) return kUndefined;
  const int64_t channels = a.rank() == 3 ? a.dim(2) : 1;
  double sum = 0;
  for (int64_t c = 0; c < channels; ++c) sum += channel_ssim(a, b, a.dim(0), a.dim(1), channels, c, peak);
  return sum / static_cast<double>(channels);
}

}  // namespace tenon::eval
