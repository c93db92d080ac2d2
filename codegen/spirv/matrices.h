#pragma once

#include <optional>
#include <vector>

#include "codegen/kernel_ir.h"
#include "codegen/spirv/emit.h"

namespace tenon::codegen::spirv {

/// A tile as fragments of matrices: each subgroup has a block of rows × columns of it, the blocks lie in `across` columns, and a block
/// is fragments of m × n.
struct MatrixTile {
  MatrixShape shape;
  int64_t rows = 0, columns = 0;  // of the tile
  int64_t block_rows = 0, block_columns = 0, across = 0;
  int64_t fragments_down() const { return block_rows / shape.m; }
  int64_t fragments_across() const { return block_columns / shape.n; }
};

/// How the device's matrix units compute the kernel's tiles, by buffer (nullopt: no tile). Nullopt: they cannot compute all of them as
/// they stand: another dtype, parts of matrices, or matrices that do not begin at multiples of 16 bytes, which drivers count on.
std::optional<std::vector<std::optional<MatrixTile>>> matrix_tiles(const kir::Kernel& kernel, const EmitOptions& options);

}  // namespace tenon::codegen::spirv
