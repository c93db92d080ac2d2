#pragma once

#include <optional>

#include "codegen/schedule/contraction.h"

namespace tenon::codegen {

/// A contraction on a GPU: a workgroup computes tile_m × tile_n sums of one matrix of the batch. Step by step along K it brings tile_k
/// columns of A and rows of B into the memory that its lanes share, and multiplies them into sums that the lanes hold together
/// (kir::BufferSpace::kTile): in blocks of registers, or in matrix units where the target has some for these dtypes. At the end the sums
/// go through shared memory, a band of rows at a time, so that `post` is evaluated and stored along N. A and B are whatever expressions
/// the stage has: the window of a convolution is gathered while it is brought in (an implicit matrix product), and what lies beyond the
/// edges is zero. A factor that is only widened (f16, bf16 to f32) is widened after it was brought in.
///
/// Sizes, with an H200 in mind (132 multiprocessors, 64 Ki registers, 128 multiply-adds and 128 bytes of shared memory a clock each;
/// Vulkan lets a workgroup have 48 KiB of that):
/// - A step of a lane's block of r × c sums loads r + c factors for r c multiply-adds. The multiprocessor issues 4 multiply-adds for each
///   load, so r c / (r + c) must be 4 at least: 8 × 8, which is 64 sums and about 110 registers, of which 512 lanes fit. 16 subgroups
///   hide shared memory's latency. What comes from global memory for the next step is asked for before this step's products and put into
///   shared memory after them (`ahead`): one buffer there serves, where two would halve the workgroups that fit.
/// - Intensity towards memory is tile_m tile_n / (tile_m + tile_n) multiply-adds an element: 64 × 64 gives 8 a byte of f32 and needs
///   4 TB/s for 67 TFLOP/s, which the L2 cache has and memory has not; 128 × 128 halves it. Larger tiles wait for enough of them:
///   below kManyTiles workgroups the multiprocessors would be idle.
/// - Matrix units multiply 16 × 16 × 16 in a subgroup; a block of 64 × 32 sums a subgroup loads 96 rows of 16 elements for 32 products
///   of matrices, and its sums are 64 registers a lane again. 32 elements of K are 64 bytes of f16, a sector of memory pairs.
/// - Rows in shared memory end with kPadBytes of nothing. Rows stay aligned to 16 bytes, so that loads of a block's neighbouring
///   factors may be joined to vectors and matrices loaded eight rows at once, and the 8 rows that are loaded at once (pitch 80 or 272
///   bytes) meet all 32 banks once. Lanes that store along K at pitch 4 (mod 32) words meet a bank twice.
/// - Bringing 128 × 32 factors element by element takes 16 loads, 16 stores and their addresses of each of 256 lanes, more instructions
///   than the 64 clocks of their products in matrix units: where the memory's order and extents allow it, a lane brings 4 at once.
struct TiledContraction {
  Contraction c;
  int64_t tile_m = 0, tile_n = 0, tile_k = 0;
  int lanes = 0;
  DType a_dtype = DType::kInvalid, b_dtype = DType::kInvalid;  // of the tiles in shared memory
  std::optional<MatrixShape> matrix;                           // unset: products are in registers
  bool a_along_k = false, b_along_k = false;                   // memory runs along K, so neighbouring lanes do
  int a_width = 1, b_width = 1;                                // elements along memory that a lane loads at once
  bool ahead = false;                                          // lanes load the next step's factors while they multiply this one's
  int64_t band = 0;                                            // rows of sums that are in shared memory at once
  int64_t shared_bytes() const;
};

/// Sorts a stage's axes into batch, M, N and K, one flat axis each but for the batch. kUnsupported with the reason where it is no
/// sum of products. Changes nothing of `lowering` but its pool.
Result<Contraction> classify_contraction(Lowering& lowering, int stage);

/// Elements behind a row in shared memory.
int64_t pad_of(DType d);
/// Writes the kernel: grid over batch, tiles of M and tiles of N.
void emit_tiled_contraction(const TiledContraction& t, KernelWriter& writer, int output);

/// The schedule; refuses with kUnsupported as the others do.
Status schedule_tiled_contraction(Lowering& lowering, int stage);

}  // namespace tenon::codegen
