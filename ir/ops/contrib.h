#pragma once

#include "ir/ops/families.h"

/// Families of com.microsoft, the operators that ONNX Runtime adds (its docs/ContribOperators.md). contrib.cpp joins them.
namespace tenon::ir {

std::vector<OpDef> ms_activation_ops();
std::vector<OpDef> ms_norm_ops();
std::vector<OpDef> ms_attention_common_ops();
std::vector<OpDef> ms_attention_ops();
std::vector<OpDef> ms_multihead_ops();
std::vector<OpDef> ms_group_query_ops();
std::vector<OpDef> ms_nbits_ops();
std::vector<OpDef> ms_qlinear_ops();
std::vector<OpDef> ms_generation_ops();

}  // namespace tenon::ir
