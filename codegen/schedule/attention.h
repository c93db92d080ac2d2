#pragma once

#include <vector>

#include "codegen/schedule/schedule.h"

namespace tenon::codegen {

/// Attention as one group of stages: scores = sum over d of Q(batch, m, d) * K(batch, key, d); their row maxima M; row sums L of
/// E = exp(X - shift); and out = post(sum over key of weight * V(batch, key, n)), where X is any function of a score and its
/// place (scale, masks, softcap), `shift` one of M, and `weight` is E times what depends on the row alone (1 / L, or 0 where M
/// says so), or 0 where a mask says so. Axes are those of the last stage, then the keys', then d.
struct Attention {
  int scores = 0, maxima = 0, sums = 0, out = 0;  // stages
  ir::Expr weight;                  // as the last stage has it
  ir::Expr q, k, v;
  ir::Expr score;                   // of kAcc
  ir::Expr x;                       // loads of stage `scores` stand for `score`
  ir::Expr shift;                   // of loads of stage `maxima`
  ir::Expr keep;                    // bool; where it does not hold the weight is 0. Invalid: it always does
  ir::Expr factor;                  // weight / E; loads of stage `out` stand for exp(M - shift)
  ir::Expr post;
  std::vector<ir::Dim> axes;
  size_t outer = 0;                 // the first of `axes`: the output's
  std::vector<int> batch_axes, m_axes;
  int n_axis = 0, key_axis = 0, d_axis = 0;
  DType dtype = DType::kInvalid;    // of all sums
  bool shifted = false;             // shift is not M itself
  /// Numbers of the row: from each on, every key's X is -inf, as a comparison of indices in X says. Such keys are not looked at,
  /// so what is not a number among them does not show.
  std::vector<ir::Expr> limits;

  ir::Dim extent(int axis) const { return axes[static_cast<size_t>(axis)]; }
  ir::Dim m() const;
  ir::Dim batch() const;
};

/// kUnsupported with the reason where the stages are something else. `equal`: dims that are one at run time.
Result<Attention> match_attention(Lowering& lowering, const std::function<bool(ir::Dim, ir::Dim)>& equal);

/// How the kernel goes through it.
struct AttentionBlocks {
  int64_t lanes = 0;                // of one vector
  int64_t tile_rows = 0, tile_lanes = 0;
  int64_t rows = 0;                 // of one grid index: a multiple of tile_rows
  int64_t keys = 0;                 // of one block: a multiple of tile_lanes
  int64_t key_pitch = 0;            // of the block's scores and of its panel of keys
  int64_t d = 0, n = 0, n_pitch = 0;
  bool one_block = false;           // all keys
  bool panels = true;               // K and V go through panels of a block of keys; else each is read in place, once
  bool fma = false;
};

/// Makes the weights a stage of their own, which the last one reads: what is left are products and reductions of rows. Its number.
int store_weights(Lowering& lowering, const Attention& a);

/// One kernel, or kUnsupported with the reason.
Status schedule_attention(Lowering& lowering, const Attention& a);

/// Writes the kernel: grid over batch and blocks of rows. Online softmax over blocks of keys (Milakov and Gimelshein, "Online
/// normalizer calculation for softmax", 2018; Dao et al., "FlashAttention", 2022): scores of a block stay in the cache. Of two
/// `variants`, the first is for as many rows as it has, in place.
void emit_attention(const Attention& a, std::span<const AttentionBlocks> variants, KernelWriter& writer, int output);

}  // namespace tenon::codegen
