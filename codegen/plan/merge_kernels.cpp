// Kernels that run once, to pack weights, mostly differ in a few constants of their index arithmetic alone: of those one is compiled, with
// the constants that differ as dims.

#include <algorithm>
#include <map>
#include <numeric>

#include "codegen/lift_constants.h"
#include "codegen/plan/module.h"

namespace tenon::codegen {
namespace {

using runtime::Step;

/// A kernel of the module, with the constants that may become dims.
struct Member {
  size_t number;
  std::vector<const kir::Inst*> constants;
};

/// What becomes of a kernel: the number of one that does the same, given further dims.
struct Merged {
  int32_t number = -1;
  std::vector<int64_t> dims;
};

/// Kernels that setup steps alone run: each run is short beside its compilation.
std::vector<bool> run_once(const Module& module) {
  std::vector<bool> once(module.built.kernels.size(), true);
  for (const auto& plan : module.plans)
    for (const Step& step : plan->steps)
      if (step.kind == Step::Kind::kDispatch) once[static_cast<size_t>(step.kernel)] = false;
  return once;
}

std::string text_without_constants(const kir::Kernel& kernel, std::span<const kir::Inst* const> constants) {
  std::vector<int> dims;
  for (size_t i = 0; i < constants.size(); ++i) dims.push_back(kernel.num_dims + static_cast<int>(i));
  kir::Kernel lifted = kir::lift_constants(kernel, constants, dims);
  lifted.name.clear();
  return fmt::format("{} dims in {}", kernel.num_dims, kir::print(lifted));
}

/// The kernel that all members are, given dims for the constants in which they differ; constants that are equal in each member share one.
/// Fills in what the dims are by member.
kir::Kernel merge(std::span<const kir::Kernel> kernels, std::span<const Member> members, std::vector<Merged>& merged) {
  const kir::Kernel& first = kernels[members[0].number];
  std::map<std::vector<int64_t>, int> dim_of;  // by the members' values
  std::vector<int> dims;
  for (size_t i = 0; i < members[0].constants.size(); ++i) {
    std::vector<int64_t> values;
    for (const Member& m : members) values.push_back(m.constants[i]->constant.i);
    const bool same = std::ranges::all_of(values, [&](int64_t v) { return v == values[0]; });
    if (same) dims.push_back(-1);
    else dims.push_back(dim_of.emplace(values, first.num_dims + static_cast<int>(dim_of.size())).first->second);
  }
  for (size_t m = 0; m < members.size(); ++m) {
    merged[members[m].number].dims.resize(dim_of.size());
    for (const auto& [values, dim] : dim_of) merged[members[m].number].dims[static_cast<size_t>(dim - first.num_dims)] = values[m];
  }
  return kir::lift_constants(first, members[0].constants, dims);
}

}  // namespace

void merge_kernels(Module& module) {
  BuiltPlan& built = module.built;
  const std::vector<bool> once = run_once(module);
  std::map<std::string, std::vector<Member>> alike;
  for (size_t k = 0; k < built.kernels.size(); ++k) {
    if (!once[k]) continue;
    Member member{k, kir::liftable_constants(built.kernels[k])};
    std::string text = text_without_constants(built.kernels[k], member.constants);
    alike[std::move(text)].push_back(std::move(member));
  }
  std::vector<Merged> merged(built.kernels.size());
  std::map<size_t, kir::Kernel> made;  // by their first member
  std::vector<size_t> first_of(built.kernels.size());
  std::iota(first_of.begin(), first_of.end(), size_t{0});
  for (const auto& [text, members] : alike) {
    if (members.size() == 1) continue;
    for (const Member& m : members) first_of[m.number] = members[0].number;
    made.emplace(members[0].number, merge(built.kernels, members, merged));
  }
  std::vector<kir::Kernel> kernels;
  std::vector<runtime::PlanKernel> table;
  for (size_t k = 0; k < built.kernels.size(); ++k) {
    const size_t first = first_of[k];
    if (first != k) {
      merged[k].number = merged[first].number;
      continue;
    }
    merged[k].number = static_cast<int32_t>(kernels.size());
    const auto found = made.find(k);
    table.push_back(std::move((*built.table)[k]));
    kernels.push_back(std::move(found == made.end() ? built.kernels[k] : found->second));
    table.back().num_dims = kernels.back().num_dims;
  }
  built.kernels = std::move(kernels);
  *built.table = std::move(table);
  for (const auto& plan : module.plans)
    for (Step& step : plan->steps)
      if (step.kind == Step::Kind::kDispatch) step.kernel = merged[static_cast<size_t>(step.kernel)].number;
  for (SetupStep& step : built.setup) {
    const Merged& to = merged[static_cast<size_t>(step.kernel)];
    step.kernel = to.number;
    step.dims.insert(step.dims.end(), to.dims.begin(), to.dims.end());
  }
}

}  // namespace tenon::codegen
