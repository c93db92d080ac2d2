#pragma once

#include <optional>
#include <span>

#include "ir/compute.h"
#include "support/interrupt.h"
#include "support/memory.h"
#include "support/status.h"
#include "support/tensor.h"

namespace tenon::ir {

struct BodyLimits {
  int64_t max_bytes = static_cast<int64_t>(default_memory_limit());
  Interrupt interrupt;
};

/// The tensor that a body defines. `operands` by input number, null where absent; `symbols` by id for dims in the body.
/// Floating sums and products accumulate in double.
Result<Tensor> evaluate_body(const Body& body, std::span<const Tensor* const> operands,
                             std::span<const std::optional<int64_t>> symbols, const BodyLimits& limits = {});

/// How the axes of `product`, a multiplication of two factors, are shared: each axis belongs to one group.
struct ContractionAxes {
  Expr a, b;                            // the factors
  std::vector<int> batch, m, n, k;      // of both, of a only (or neither), of b only, reduced
};
/// nullopt when the body is not a sum of products whose factors leave each other an axis.
std::optional<ContractionAxes> contraction_axes(const Body& body);
/// The sums of a contraction, before `post`, in the output's order, as doubles or int64 by the accumulator's class.
/// `extents`: output axes, then reduce axes. False, with nothing done, when one sum is too long to write out.
Result<bool> evaluate_contraction(const Body& body, const ContractionAxes& axes, std::span<const int64_t> extents,
                            std::span<const Tensor* const> operands, std::span<const std::optional<int64_t>> symbols,
                            const BodyLimits& limits, std::span<int64_t> acc);

}  // namespace tenon::ir
