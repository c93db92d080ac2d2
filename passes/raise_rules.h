#pragma once

#include <span>

#include "ir/op.h"
#include "passes/facts.h"
#include "passes/pattern.h"

namespace tenon::passes {

/// One form in which exporters write an op, and the value that takes its place, built with `builder`; null when the
/// match lacks what the op needs (axes that are the last ones, a shape that is known …). A rule keeps the function, but
/// for rounding, infinities and NaNs included; one for export may add a mask that chose, as ONNX's Attention does. What it returns must have the type that was there, or
/// it is not used.
struct RaiseRule {
  Pattern pattern;
  ir::Value* (*rewrite)(const Match& match, ir::Builder& builder);
  bool for_export = false;  // no gain for kernels: only where the graph is to be written
};

std::span<const RaiseRule> activation_rules();     // Gelu, Swish, Clip, LeakyRelu …
std::span<const RaiseRule> softmax_rules();        // Softmax, LogSoftmax, ReduceLogSumExp, ReduceL2 …
std::span<const RaiseRule> normalization_rules();  // LayerNormalization, RMSNormalization, InstanceNormalization …
std::span<const RaiseRule> movement_rules();       // DepthToSpace, SpaceToDepth
std::span<const RaiseRule> linear_rules();         // Gemm
std::span<const RaiseRule> attention_rules();      // Attention
std::span<const RaiseRule> rotary_rules();         // RotaryEmbedding

// ---- Shorthand for rules

/// A node that gives its operand another shape.
Pattern reshaped(const Pattern& p, std::string_view name = {});
/// Reduction `op` of p that keeps its axes with extent 1.
Pattern reduced(std::string_view op, const Pattern& p, std::string_view name);

bool keeps_dims(const ir::Node& node);
/// `value` seen with these dims, which have its number of elements.
ir::Value* reshape_to(ir::Builder& builder, ir::Value* value, std::vector<ir::Dim> dims);
/// A constant of this shape whose every element is `number`; null when it would be large.
ir::Value* filled(ir::Builder& builder, DType dtype, Shape shape, double number);

}  // namespace tenon::passes
