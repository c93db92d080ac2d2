#pragma once

#include <optional>
#include <span>
#include <vector>

#include "runtime/arena.h"
#include "runtime/dispatch_cost.h"
#include "runtime/prepare.h"

namespace tenon::runtime {

/// What a plan comes to for some symbols, found without a run. Nullopt: a symbol is missing that it depends on, or the size is
/// impossible.
struct PlanSizes {
  std::vector<std::optional<int64_t>> dims;  // by instruction
  std::vector<std::optional<size_t>> bytes;  // by value, of the ranked ones
};
PlanSizes plan_sizes(const Plan& plan, std::span<const std::optional<int64_t>> symbols);

/// Of a dispatch; nullopt where its grid is unknown.
std::optional<DispatchCost> dispatch_cost(const Plan& plan, const Step& step, const PlanSizes& sizes);

/// How the values whose sizes are known lie in the arena.
Result<ArenaLayout> arena_layout(const PreparedPlan& plan, const PlanSizes& sizes);

}  // namespace tenon::runtime
