#pragma once

#include "codegen/schedule/contraction.h"

namespace tenon::codegen {

/// A contraction on a GPU: a workgroup computes tile_m × tile_n sums of one matrix of the batch. Step by step along K it brings tile_k
/// columns of A and rows of B into the memory that its lanes share, and each lane multiplies lane_m rows by lane_n columns of them into
/// sums of its own. At the end the sums go through that memory as well, so that `post` is evaluated and stored along N. A and B are
/// whatever expressions the stage has: the window of a convolution is gathered while it is brought in (an implicit matrix product), and
/// what lies beyond the edges is zero.
struct TiledContraction {
  Contraction c;
  int64_t tile_m = 0, tile_n = 0, tile_k = 0, lane_m = 0, lane_n = 0;
  bool a_along_k = false, b_along_k = false;  // memory runs along K, so neighbouring lanes do
  int lanes() const { return static_cast<int>(tile_m / lane_m * (tile_n / lane_n)); }
  int64_t shared_bytes() const;
};

/// Sorts a stage's axes into batch, M, N and K, one flat axis each but for the batch. kUnsupported with the reason where it is no
/// sum of products. Changes nothing of `lowering` but its pool.
Result<Contraction> classify_contraction(Lowering& lowering, int stage);

/// The schedule; refuses with kUnsupported as the others do.
Status schedule_tiled_contraction(Lowering& lowering, int stage);

}  // namespace tenon::codegen
