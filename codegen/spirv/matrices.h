#pragma once

#include <optional>
#include <vector>

#include "codegen/kernel_ir.h"
#include "codegen/spirv/emit.h"

namespace tenon::codegen::spirv {

/// Whose invocations hold a matrix together.
enum class MatrixScope : uint8_t { kWorkgroup, kSubgroup };

/// A tile as fragments of matrices: each subgroup has a block of rows × columns of it, the blocks lie in `across` columns, and a block
/// is fragments of m × n. A workgroup has the whole tile as one block of one fragment, and its depth is that of its products.
struct MatrixTile {
  MatrixShape shape;
  int64_t rows = 0, columns = 0;  // of the tile
  int64_t block_rows = 0, block_columns = 0, across = 0;
  int64_t fragments_down() const { return block_rows / shape.m; }
  int64_t fragments_across() const { return block_columns / shape.n; }
};

/// How matrix units compute a kernel's tiles, all of them held by the same scope; by buffer (nullopt: no tile).
struct MatrixTiles {
  MatrixScope scope = MatrixScope::kSubgroup;
  std::vector<std::optional<MatrixTile>> tiles;
};

/// Nullopt: the device's matrix units cannot compute all of them as they stand: another dtype, parts of matrices, or matrices that do not
/// begin at multiples of 16 bytes, which drivers count on.
std::optional<MatrixTiles> matrix_tiles(const kir::Kernel& kernel, const EmitOptions& options, MatrixScope scope);

}  // namespace tenon::codegen::spirv
