#pragma once

#include <functional>

#include "ir/ops/decompose.h"

/// Attention and rotary embeddings as decompositions, shared by ai.onnx and com.microsoft ops.
namespace tenon::ir {

/// softmax(softcap(q kᵀ scale) + bias) v over [batch, heads, sequence, size] tensors; k and v may have fewer heads,
/// each serving a run of q's heads.
struct AttentionSpec {
  Value *q = nullptr, *k = nullptr, *v = nullptr;
  double scale = 0;  // 0: 1 / sqrt(head size), unless `scale_given`
  bool scale_given = false;
  double softcap = 0;  // 0: none
  bool softcap_after_bias = false;
  std::vector<Value*> biases;  // added to the scores, broadcast to [batch, heads, queries, keys]
  Value* sink = nullptr;
  bool zero_where_masked = false;  // a row whose every key is masked by -inf weighs nothing, rather than NaN
  DType softmax_type = DType::kInvalid;
  /// Change the scores before the softmax and the weights after it, in softmax_type (FlexAttention); null from them is
  /// an error.
  std::function<Value*(Value*)> score_mod, weight_mod;
  bool values_in_softmax_type = false;  // the weighted sum of values, too
};
struct AttentionResult {
  Value* y = nullptr;
  Value *scores = nullptr, *biased = nullptr, *capped = nullptr, *weights = nullptr;
};
AttentionResult attend(Steps& s, const AttentionSpec& spec);

/// [batch, seq, heads * size] to [batch, heads, seq, size] and back.
Value* split_heads(Steps& s, Value* x, int64_t heads);
Value* merge_heads(Steps& s, Value* x);
/// [queries, keys] of 0 where key <= query + offset (and query + offset - key < window, when positive), else `masked`.
Value* causal_bias(Steps& s, DType dtype, Dim queries, Dim keys, Dim offset, double masked, int64_t window = 0);
/// 0 .. n-1 as i64, rank 1.
Value* positions(Steps& s, Dim n);

/// Rotates the first `rotary` components of x's last axis. cos and sin broadcast against x's halves (ONNX
/// RotaryEmbedding).
Value* rotate(Steps& s, Value* x, Value* cos, Value* sin, Dim rotary, bool interleaved);

}  // namespace tenon::ir
