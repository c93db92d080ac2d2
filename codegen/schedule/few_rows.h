#pragma once

#include "codegen/schedule/contraction.h"

namespace tenon::codegen {

/// A contraction of few rows on a GPU (a matrix times one vector or some): what takes time is reading B once, so that is all it is built
/// for. A workgroup owns columns × per_lane columns of one matrix of the batch; its lanes are columns × parts, and the parts share K.
/// Neighbouring lanes are neighbours along the axis that B's memory runs along, whatever expression B is. Blocks of A's rows go through the
/// shared memory; sums of the parts meet there, halved until one is left, and `post` is evaluated along N.
struct FewRows {
  Contraction c;
  int64_t rows = 0;                  // M, in the runs in which the kernel does something
  int64_t columns = 0, parts = 0;    // lanes of a workgroup; powers of two
  int64_t per_lane = 1, unroll = 1;  // columns and elements of K that a lane has in flight
  int64_t block = 0;                 // elements of K that are shared at once: a multiple of parts × unroll
  bool along_k = false;              // B's memory runs along K
  /// A lane's elements of K lie side by side, since what is read for one is for its neighbours too (a byte of packed weights, the scale of
  /// a block); else parts apart, so that lanes read neighbours. b_run: B at each of them, over run_axis, which counts `unroll` elements.
  bool adjacent = false;
  int run_axis = -1;
  std::vector<ir::Expr> b_run;

  int64_t lanes() const { return columns * parts; }
  int64_t tile() const { return columns * per_lane; }
  int64_t sums() const { return rows * per_lane; }
  int64_t shared_bytes() const;
  ir::Dim workgroups() const;
};

/// Rows up to which this beats tiles.
inline constexpr int64_t kFewRows = 8;

/// For `rows` rows. kUnsupported with the reason where they are more, or the sums so short that an invocation for each does as well.
Result<FewRows> choose_few_rows(Contraction c, int64_t rows, const Target& target);

/// One kernel for the stage that `few.c` classifies; `runs`, 0 or 1: whether it does anything.
void schedule_few_rows(Lowering& lowering, int stage, const FewRows& few, ir::Dim runs);

}  // namespace tenon::codegen
