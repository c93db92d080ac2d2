#pragma once

#include <memory>
#include <vector>

#include "runtime/plan.h"

namespace tenon::codegen {

/// `call` for a step whose inputs and outputs are stored in these orders (PlanValue::order), while it takes and gives row-major tensors.
/// `call` itself where all are row-major.
std::shared_ptr<const runtime::HostFunction> row_major_call(std::shared_ptr<const runtime::HostFunction> call,
                                                            std::vector<std::vector<int32_t>> inputs,
                                                            std::vector<std::vector<int32_t>> outputs);

}  // namespace tenon::codegen
