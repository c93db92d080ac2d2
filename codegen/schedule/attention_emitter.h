#pragma once

#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "codegen/schedule/attention.h"

namespace tenon::codegen {

/// Writes the kernel of an attention: what surrounds its blocks of keys (attention_emit.cpp), and a block (attention_block.cpp).
class AttentionEmitter {
 public:
  AttentionEmitter(const Attention& a, KernelWriter& writer, int output)
      : a_(a), em_(writer.emitter()), b_(writer.builder()), output_(output) {}

  void emit(std::span<const AttentionBlocks> variants);

 private:
  using ValueId = kir::ValueId;
  using ScalarOp = ir::ScalarOp;

  /// What one variant keeps beside the registers.
  struct Locals {
    int q = -1, k = -1, v = -1, scores = -1, maxima = -1, sums = -1, out = -1, limits = -1;
  };

  Locals make_locals(const AttentionBlocks& c);
  bool values_in_place(const AttentionBlocks& c);
  void bind_grid(int64_t rows);
  void bind(int axis, ValueId value);
  void bind_row(ValueId row);
  void emit_variant(const AttentionBlocks& c, const Locals& l);
  ValueId last_key();
  ValueId tile_of(ValueId row) { return b_.op(ScalarOp::kDiv, {row, b_.i64(c_->tile_rows)}); }
  ValueId seen_keys(ValueId row);
  void pack_queries();
  ValueId whole_tiles();
  void clear_rows();
  void block(ValueId k0, ValueId count);
  void pack_keys();
  void pack_values();
  ValueId whole_vectors();
  void tiles(ValueId end, const std::function<void(ValueId first, int64_t width)>& tile);
  void row_tiles(const std::function<void(ValueId row)>& tile);
  void score_tiles();
  void score_tile(ValueId row, ValueId first, int64_t width);
  void score_key(ValueId key);
  void maximum_of_row(ValueId row);
  ValueId finite_maximum(ValueId largest);
  void weights_of_row(ValueId row);
  void value_tiles();
  void value_tile(ValueId row, ValueId first, int64_t count, int64_t width);
  void finish_row(ValueId row);
  ValueId weighs_nothing(ValueId sum);
  ValueId multiply_add(ValueId x, ValueId y, ValueId sum);
  ValueId minimum(ValueId x, ValueId y) { return b_.op(ScalarOp::kMin, {x, y}); }
  ValueId number(double value) { return b_.constant(a_.dtype, value); }
  bool same(ValueId x, ValueId y);

  static constexpr double kInfinity = std::numeric_limits<double>::infinity();

  const Attention& a_;
  Emitter& em_;
  kir::KernelBuilder& b_;
  int output_;
  const AttentionBlocks* c_ = nullptr;
  Locals l_;
  std::vector<ValueId> index_;     // by output axis
  ValueId m0_ = -1, m_count_ = -1, k0_ = -1, k_count_ = -1;
};

}  // namespace tenon::codegen
