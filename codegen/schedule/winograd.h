#pragma once

#include <array>
#include <optional>
#include <span>
#include <vector>

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

/// Minimal filtering F(m, 3): m outputs of a 3-tap filter from t = m + 2 products, in two dimensions m×m from t×t,
///
///     Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A
///
/// (S. Winograd, "Arithmetic Complexity of Computations", 1980; A. Lavin and S. Gray, "Fast Algorithms for
/// Convolutional Neural Networks", 2016, whose matrices these are). Rounding: |error| <= γ(K + 25) · |Aᵀ| [ Σ_channels
/// (|G||g||Gᵀ|) ⊙ (|Bᵀ||d||B|) ] |A| elementwise, γ(k) = k·u / (1 - k·u), K channels, u = 2⁻²⁴ (Barabasz et al., "Error
/// Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks", 2020). An infinity or NaN of
/// the image reaches all of its tiles.
struct WinogradForm {
  int64_t outputs;                      // m
  std::vector<std::vector<double>> bt;  // t × t
  std::vector<std::vector<double>> g;   // t × 3
  std::vector<std::vector<double>> at;  // m × t

  int64_t points() const { return outputs + 2; }
};
/// F(2, 3) and F(4, 3).
std::span<const WinogradForm> winograd_forms();

/// A convolution of 3×3 taps, strides and dilations of 1, constant weights, and the result's channels innermost: out[…, y, x, c] =
/// post(sum over k, ky, kx of image[…, y + ky + top, x + kx + left, k] * weight(c, k, ky, kx)), with zeros around the
/// image.
struct WinogradConvolution {
  int operand = -1;             // the image
  std::vector<ir::Dim> image;   // its shape: …, rows, columns, channels
  std::array<size_t, 3> stored = {0, 1, 2};  // where these three lie among the operand's last axes; elsewhere: it is brought into that order first
  std::vector<ir::Expr> outer;  // its indices before those, over the output's axes
  int64_t top = 0, left = 0;
  ir::Expr weight, post;                                   // flat loads, over the stage's axes
  std::vector<int> batch_axes;                             // the output's axes before its rows
  int row_axis = -1, column_axis = -1, channel_axis = -1;  // of the output, which is what they are the last three of
  int k_axis = -1, tap_row_axis = -1, tap_column_axis = -1;
  std::vector<ir::Dim> axes;  // of the stage
  int64_t k = 0, channels = 0;

  bool innermost() const { return stored == std::array<size_t, 3>{0, 1, 2}; }
  ir::Dim extent(int axis) const { return axes[static_cast<size_t>(axis)]; }
};

/// The kernels around the products. Tiles are numbered row-major over batch, rows and columns of tiles.
class WinogradEmitter {
 public:
  WinogradEmitter(const WinogradConvolution& c, const WinogradForm& form, bool fma) : c_(c), form_(form), fma_(fma) {}
  ir::Dim tiles() const { return ir::product(tile_grid()); }
  /// transformed[point, tile, k]
  void transform_image(KernelWriter& writer, int buffer_stage) const;
  /// panels[point, tile of N, k, lane]; the grid is tiles of N × k.
  void transform_weights(KernelWriter& writer, int panel_stage, int64_t tile_lanes) const;
  /// The output from products[point, tile, channel].
  void transform_products(KernelWriter& writer, int product_stage, int stage) const;

 private:
  using Matrix = std::vector<std::vector<double>>;
  std::vector<ir::Dim> tile_grid() const;
  std::vector<kir::ValueId> apply(kir::KernelBuilder& b, const Matrix& matrix, std::vector<kir::ValueId> x) const;
  kir::ValueId combine(kir::KernelBuilder& b, std::span<const double> row, std::span<const kir::ValueId> x) const;
  std::vector<std::vector<kir::ValueId>> apply_both(kir::KernelBuilder& b, const Matrix& matrix,
                                                    const std::vector<std::vector<kir::ValueId>>& x) const;

  const WinogradConvolution& c_;
  const WinogradForm& form_;
  bool fma_;
};

}  // namespace tenon::codegen
