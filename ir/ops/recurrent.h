#pragma once

#include <vector>

#include "ir/op.h"

/// What evaluation and decomposition of RNN, GRU and LSTM share.
namespace tenon::ir {

enum class Cell { kRnn, kGru, kLstm };

Cell cell_of(const Node& node);
/// com.microsoft.DynamicQuantizeLSTM: LSTM with W, R of bytes, whose axes of gates come last.
bool has_quantized_weights(const Node& node);
/// Gates in W, R and B: LSTM input, output, forget, cell; GRU update, reset, hidden; RNN one.
int gates_of(Cell cell);

struct Activation {
  enum Kind { kSigmoid, kTanh, kRelu, kAffine, kLeakyRelu, kThresholdedRelu, kScaledTanh, kHardSigmoid, kElu, kSoftsign, kSoftplus } kind;
  double alpha = 0, beta = 0;
};
/// One activation a slot and direction. activation_alpha and _beta are used up in order by those that take parameters.
Result<std::vector<Activation>> read_activations(const Node& node, Cell cell, int64_t directions);

/// The projection of all inputs as one MatMul, then a Scan over time whose region is one step (for one step, the step
/// itself). kUnsupported, so that the node keeps its evaluation, where shapes are unknown.
Result<std::vector<Value*>> decompose_recurrent(Node& node, Builder& builder);

}  // namespace tenon::ir
