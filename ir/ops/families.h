#pragma once

#include <vector>

#include "ir/op.h"

/// One function a family file of ir/ops: the family's op table entries. ir/ops/table.cpp lists the functions; a new
/// family is declared here and listed there.
namespace tenon::ir {

std::vector<OpDef> internal_ops();
std::vector<OpDef> control_ops();
std::vector<OpDef> math_ops();
std::vector<OpDef> activation_ops();
std::vector<OpDef> logic_ops();
std::vector<OpDef> cast_ops();
std::vector<OpDef> reshape_ops();
std::vector<OpDef> movement_ops();
std::vector<OpDef> reduce_ops();
std::vector<OpDef> gather_ops();
std::vector<OpDef> scatter_ops();
std::vector<OpDef> append_ops();
std::vector<OpDef> generate_ops();
std::vector<OpDef> indexing_ops();
std::vector<OpDef> fold_ops();
std::vector<OpDef> matmul_ops();
std::vector<OpDef> conv_ops();
std::vector<OpDef> einsum_ops();
std::vector<OpDef> pooling_ops();
std::vector<OpDef> normalization_ops();
std::vector<OpDef> recurrent_ops();
std::vector<OpDef> quantize_ops();
std::vector<OpDef> quantized_matmul_ops();
std::vector<OpDef> sequence_ops();
std::vector<OpDef> random_ops();
std::vector<OpDef> signal_ops();
std::vector<OpDef> fourier_ops();
std::vector<OpDef> matrix_ops();
std::vector<OpDef> resize_ops();
std::vector<OpDef> grid_ops();
std::vector<OpDef> box_ops();
std::vector<OpDef> attention_ops();
std::vector<OpDef> linear_attention_ops();
std::vector<OpDef> string_ops();
std::vector<OpDef> ml_tree_ops();
std::vector<OpDef> ml_linear_ops();
std::vector<OpDef> ml_feature_ops();
std::vector<OpDef> contrib_ops();
std::vector<OpDef> optimizer_ops();
std::vector<OpDef> image_ops();

using OpFamily = std::vector<OpDef> (*)();
std::span<const OpFamily> op_families();

}  // namespace tenon::ir
