#pragma once

#include <optional>
#include <span>

#include "runtime/plan.h"

namespace tenon::runtime {

/// Evaluates one instruction from the values of those before it. kOutOfRange: overflow, division by zero; kInternal: a
/// symbol without a value. Division and remainder round to minus infinity.
Result<int64_t> evaluate(const DimProgram& program, DimId id, std::span<const int64_t> values,
                         std::span<const std::optional<int64_t>> symbols);

/// "floor_div(N + 1, 2)": the expression of one instruction, for messages and dumps.
std::string expression(const DimProgram& program, DimId id);

}  // namespace tenon::runtime
