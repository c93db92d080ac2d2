#pragma once

#include "ir/ops/attention.h"

/// What com.microsoft's attention ops share (ONNX Runtime, docs/ContribOperators.md).
namespace tenon::ir {

/// A key mask of ONNX Runtime's attention ops as scores to add: 0 where a key counts, `masked` elsewhere. Null when `mask` is.
/// [batch]: lengths; [2 batch]: ends, then starts; [3 batch + 2]: lengths, then offsets of packed sequences;
/// [batch, keys], [batch, queries, keys], [batch, 1, max, max]: 1 keeps; [batch, 1], [1, 1] of more than one key: no mask.
Result<Value*> key_mask(Steps& s, Value* mask, DType type, Dim batch, Dim queries, Dim keys, double masked);

/// What the causal mask of these ops adds to scores: the lowest finite number.
double causal_filter(DType type);

/// Rows of `fresh` [batch, heads, steps, size] put into those of `past` (null: none) from row `at` (i64, [batch] or [1])
/// on: [batch, heads, rows, size]. Other rows from `at` on are those of `past` when `keep`, else 0; so are rows that do
/// not exist.
Value* append_rows(Steps& s, Value* past, Value* fresh, Value* at, Dim rows, bool keep);

/// `bias` with its last axis extended to `keys` by repeating its last element; as it is when that is its size already.
Value* extend_bias(Steps& s, Value* bias, Dim keys);

/// input[.., from:to] of a [batch, sequence, components] tensor, split into heads.
Value* head_slice(Steps& s, Value* x, Dim from, Dim to, int64_t heads);

/// Cosines and sines of position times 10000^(-2i/rotary), [.., rotary / 2], for i64 positions of any shape.
struct Angles {
  Value *cos = nullptr, *sin = nullptr;
};
Angles rotary_angles(Steps& s, Value* positions, Dim rotary, DType type);

}  // namespace tenon::ir
