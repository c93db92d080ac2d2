#include "backends/vulkan/index_width.h"

#include <algorithm>

#include "runtime/plan_sizes.h"

namespace tenon::backends::vulkan {
namespace {

void add(const runtime::Plan& plan, std::vector<char>& wide) {
  const runtime::PlanSizes sizes = runtime::plan_sizes(plan, {});
  const auto narrow_dim = [&](runtime::DimId d) {
    const auto& known = sizes.dims[static_cast<size_t>(d)];
    return known && is_narrow(*known);
  };
  const auto narrow_value = [&](runtime::ValueIdx v) {
    const auto& known = sizes.bytes[static_cast<size_t>(v)];
    return known && has_narrow_indices(*known);
  };
  for (const runtime::Step& step : plan.steps) {
    for (const auto& body : step.plans) add(*body, wide);
    if (step.kind != runtime::Step::Kind::kDispatch) continue;
    const bool narrow = narrow_dim(step.grid) && std::ranges::all_of(step.kernel_dims, narrow_dim) && std::ranges::all_of(step.bindings, narrow_value);
    if (!narrow) wide[static_cast<size_t>(step.kernel)] = 1;
  }
}

}  // namespace

std::vector<char> may_need_wide(const runtime::Plan& plan) {
  std::vector<char> wide(plan.kernels->size(), 0);
  add(plan, wide);
  return wide;
}

}  // namespace tenon::backends::vulkan
