#pragma once

#include "ir/evaluate.h"

namespace tenon::ir {

/// Loop and Scan by `context.run_region`; kUnsupported for another op.
Status evaluate_control(EvalContext& context, const EvalOptions& options);

/// Tensors of one shape and dtype joined along a new axis; `fallback` types the result when there are none (dims that
/// `symbols` do not bind become 0). `reverse`: the last tensor first.
Result<Tensor> stack(std::span<const Tensor> parts, int64_t axis, bool reverse, const Type& fallback,
                     std::span<const std::optional<int64_t>> symbols);

}  // namespace tenon::ir
