#include "ir/ops/families.h"

namespace tenon::ir {

std::span<const OpFamily> op_families() {
  static constexpr OpFamily kFamilies[] = {
      internal_ops,
      control_ops,
      math_ops,
      activation_ops,
      logic_ops,
      cast_ops,
      reshape_ops,
      movement_ops,
      gather_ops,
      scatter_ops,
      append_ops,
      generate_ops,
      reduce_ops,
      indexing_ops,
      fold_ops,
      matmul_ops,
      conv_ops,
      einsum_ops,
      pooling_ops,
      normalization_ops,
      quantize_ops,
      quantized_matmul_ops,
      recurrent_ops,
      resize_ops,
      grid_ops,
      box_ops,
      attention_ops,
      linear_attention_ops,
      contrib_ops,
      sequence_ops,
      random_ops,
      signal_ops,
      fourier_ops,
      matrix_ops,
      string_ops,
      ml_tree_ops,
      ml_linear_ops,
      ml_feature_ops,
      optimizer_ops,
      image_ops,
  };
  return kFamilies;
}

}  // namespace tenon::ir
