#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "codegen/plan/build.h"

namespace tenon::codegen {

/// What a plan and its bodies share while they are built.
struct Module {
  const PlanOptions& options;
  BuiltPlan built;
  std::unordered_map<std::string, int32_t> by_text;  // kernels, but for their names
  std::vector<std::shared_ptr<runtime::Plan>> plans;
  /// Constants that setup steps make, by kernel, plan, what is read and dims.
  std::map<std::vector<uint64_t>, std::vector<runtime::ValueIdx>> made_once;

  /// The number of an equal kernel that is there, or of this one, which is added.
  int32_t kernel(kir::Kernel kernel);
};

/// Makes one of kernels of setup steps that differ in liftable constants alone (codegen/lift_constants.h): the steps pass these as dims.
void merge_kernels(Module& module);

}  // namespace tenon::codegen
