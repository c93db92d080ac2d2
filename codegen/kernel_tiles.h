#pragma once

#include <optional>

#include "codegen/kernel_ir.h"

namespace tenon::kir {

/// The part of a tile that a lane has in registers: rows side by side, columns apart, so that lanes beside each other have
/// neighbouring columns.
struct LaneBlock {
  int64_t rows = 0, columns = 0;
};

/// How `lanes` share a tile equally, in blocks as near to squares as the tile allows: a square has the most products for what it
/// reads. Nullopt: they cannot.
std::optional<LaneBlock> lane_block(int64_t rows, int64_t columns, int64_t lanes);

/// The blocks of a tile for `subgroups` subgroups, in `across` columns of blocks, each of whole matrices of m × n.
struct SubgroupBlock {
  int64_t rows = 0, columns = 0, across = 0;
};

/// As near to squares as the matrices allow. Nullopt: they do not fit.
std::optional<SubgroupBlock> subgroup_block(int64_t rows, int64_t columns, int64_t subgroups, int64_t m, int64_t n);

/// Whether the kernel has tile instructions.
bool has_tiles(const Kernel& kernel);

/// Writes tile instructions as loops in lanes, each of which keeps its block of the sums (BufferSpace::kLane): products in
/// registers, for devices and emitters without matrix units. Sums are made in the order that Kernel IR defines.
void expand_tiles(Kernel& kernel);
/// What expand_tiles, and with `math` expand_math, make of the kernel, which stays as it is.
Kernel tiles_expanded(const Kernel& kernel, bool math = false);

}  // namespace tenon::kir
