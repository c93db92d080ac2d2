#pragma once

#include <span>

#include "codegen/schedule/contraction.h"
#include "codegen/schedule/dot_product.h"

/// Contractions of a CPU up to their tiles and blocks, each in one of the forms that a product may have. All refuse with kUnsupported and
/// the reason, and may have added stages then.
namespace tenon::codegen {

/// A product of the same rows by other constants, whose sums the tile holds as well: its stage, which nothing else reads, and what
/// multiplies the rows there.
struct Beside {
  int stage;
  ir::Expr b, post;
};

/// Stands for what the emitter reads of a stage.
ir::Expr load_of(const Lowering& lowering, int stage);

/// Bytes by codes, both with scales for groups of K: sums of a group are exact, in integers.
Result<Contraction> prepare_block_dot(Lowering& lowering, int stage, DotProduct& dot);
/// Factors that are bf16, as words of two (bf16_pairs.h).
Result<Contraction> prepare_pairs(Lowering& lowering, int stage, DotProduct& dot, std::span<const Beside> beside = {});
/// B as panels; of a stage that is rewritten as `dot` says, if it is. A padded image that A reads is stored once with its zeros.
Result<Contraction> prepare_packed(Lowering& lowering, int stage, const DotProduct& dot, std::span<const Beside> beside = {});
/// B as panels that are made elsewhere (schedule_panels).
Result<Contraction> prepare_panels(Lowering& lowering, int stage);
/// B as it lies. A padded image is stored once with its zeros: B then needs no guards, and often no packing.
Result<Contraction> prepare_here(Lowering& lowering, int stage);

}  // namespace tenon::codegen
