#pragma once

#include <optional>
#include <vector>

#include "codegen/schedule/contraction.h"

namespace tenon::codegen {

/// The taps of a window over a padded image that are worth leaving out where they meet zeros alone, as most of a dilated convolution do
/// whose image is small. An infinity or NaN among the weights, times such a zero, is left out as well.
struct PaddedTaps {
  std::vector<Contraction::Taps> taps;            // over the stage's axes
  std::vector<std::optional<int64_t>> row_step;   // by axis of the image, if it has taps: how far apart neighbouring rows of M are along it

  /// How far beyond the image a tile reads that leaves them out: another of its `rows` meets the image then.
  std::vector<std::optional<int64_t>> halo(int64_t rows) const;
};

/// Of the stage's factor `a`, whose rows are the axes that `b` lacks. nullopt where it reads no zeros around an image, or too few to count.
std::optional<PaddedTaps> taps_in_padding(const Lowering& lowering, int stage, ir::Expr a, ir::Expr b);

}  // namespace tenon::codegen
