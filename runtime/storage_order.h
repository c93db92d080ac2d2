#pragma once

#include <span>

#include "support/tensor.h"

namespace tenon::runtime {

/// Between tensors with their bytes in the order of PlanValue::order and row-major ones: shape and elements stay, the bytes move.
/// Elements of whole bytes only (kUnsupported).
Result<Tensor> to_row_major(const Tensor& stored, std::span<const int32_t> order);
Result<Tensor> to_storage_order(const Tensor& row_major, std::span<const int32_t> order);

}  // namespace tenon::runtime
