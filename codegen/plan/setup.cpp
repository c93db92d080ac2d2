#include <algorithm>
#include <atomic>
#include <functional>
#include <utility>

#include "codegen/plan/build.h"
#include "support/checked.h"
#include "support/large_pages.h"
#include "support/mapped_files.h"

namespace tenon::codegen {

using runtime::PlanValue;
using runtime::ValueIdx;

namespace {

/// Scalar operations between two looks at the interrupt.
constexpr int64_t kSetupWorkPerPart = int64_t{1} << 28;

/// Places what the setup steps make in one block, whose pages can be large.
Status allocate_made(BuiltPlan& built, const std::function<Result<std::shared_ptr<Buffer>>(size_t)>& allocate) {
  constexpr size_t kAlignment = 64;
  struct Made {
    PlanValue* value;
    int64_t count;                  // elements
    size_t offset;
  };
  std::vector<Made> made;
  size_t end = 0;
  for (const SetupStep& step : built.setup)
    for (size_t b = 0; b < step.bindings.size(); ++b) {
      const auto* index = std::get_if<ValueIdx>(&step.bindings[b]);
      if (index == nullptr || !runtime::writes((*built.table)[static_cast<size_t>(step.kernel)].access[b])) continue;
      PlanValue& value = step.plan->values[static_cast<size_t>(*index)];
      const bool placed = std::any_of(made.begin(), made.end(), [&](const Made& one) { return one.value == &value; });
      if (placed) continue;  // another kernel writes another part
      const int64_t count = step.plan->dims.insts[static_cast<size_t>(value.dims[0])].imm;
      const auto bytes = storage_bytes(value.dtype, count);
      const auto padded = bytes ? checked_add(*bytes, kAlignment - 1) : std::nullopt;
      const auto next = padded ? checked_add(end, *padded / kAlignment * kAlignment) : std::nullopt;
      if (!next) return error(Code::kResourceExhausted, "prepared constants do not fit in memory").at(step.node);
      made.push_back({&value, count, std::exchange(end, *next)});
    }
  TENON_ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> block, allocate(end));
  for (const Made& one : made) {
    TENON_ASSIGN_OR_RETURN(one.value->constant, Tensor::view(one.value->dtype, {one.count}, block, one.offset));
  }
  return {};
}

/// What a step reads or writes by binding.
const Tensor& operand(const SetupStep& step, size_t binding) {
  const auto* made = std::get_if<ValueIdx>(&step.bindings[binding]);
  if (made == nullptr) return std::get<Tensor>(step.bindings[binding]);
  return std::get<Tensor>(step.plan->values[static_cast<size_t>(*made)].constant);
}

void release(SetupStep& step, const MappedFiles& files) {
  for (const auto& binding : step.bindings)
    if (const auto* read = std::get_if<Tensor>(&binding)) files.drop({read->data(), read->bytes()});
  step.bindings.clear();
}

Status index_error(const SetupStep& step) { return error(Code::kOutOfRange, "an index is outside its tensor").at(step.node); }

}  // namespace

Status run_setup(BuiltPlan& built, Executor& executor, const Interrupt& interrupt) {
  if (built.setup.empty()) return {};
  TENON_RETURN_IF_ERROR(allocate_made(built, allocate_in_large_pages));
  const MappedFiles files = MappedFiles::now();
  for (SetupStep& step : built.setup) {
    const runtime::PlanKernel& kernel = (*built.table)[static_cast<size_t>(step.kernel)];
    std::vector<void*> pointers;
    for (size_t b = 0; b < step.bindings.size(); ++b) pointers.push_back(const_cast<std::byte*>(operand(step, b).data()));
    std::atomic<int32_t> failed{0};
    const int64_t part = std::max<int64_t>(1, step.grid / std::max<int64_t>(1, std::max<int64_t>(step.work, 0) / kSetupWorkPerPart));
    for (int64_t first = 0; first < step.grid; first += part) {
      TENON_RETURN_IF_ERROR(interrupt.check().at("preparing constants"));
      executor.parallel_for(std::min(part, step.grid - first), [&](int64_t begin, int64_t end, int) {
        if (const int32_t code = kernel.fn(pointers.data(), step.dims.data(), first + begin, first + end); code != 0) failed = code;
      });
    }
    if (failed != 0) return index_error(step);
    release(step, files);
  }
  return {};
}

Status run_setup(BuiltPlan& built, runtime::Device& device, const Interrupt& interrupt) {
  if (built.setup.empty()) return {};
  TENON_RETURN_IF_ERROR(allocate_made(built, [&](size_t bytes) { return device.allocate(bytes); }));
  const MappedFiles files = MappedFiles::now();
  for (SetupStep& step : built.setup) {
    TENON_RETURN_IF_ERROR(interrupt.check().at("preparing constants"));
    std::vector<runtime::DeviceValue> values;
    std::vector<int32_t> bindings;
    for (size_t b = 0; b < step.bindings.size(); ++b) {
      bindings.push_back(static_cast<int32_t>(b));
      values.push_back({.bytes = {operand(step, b).data(), operand(step, b).bytes()}});
    }
    const runtime::DeviceCall call{.kernel = step.kernel, .values = bindings, .dims = step.dims, .grid = step.grid, .work = step.work};
    TENON_ASSIGN_OR_RETURN(const auto program, device.record(values, std::span(&call, 1), false, nullptr));
    TENON_RETURN_IF_ERROR(device.run(*program, {}, interrupt).at(step.node));
    TENON_ASSIGN_OR_RETURN(const int32_t code, device.finish());
    if (code != 0) return index_error(step);
    release(step, files);
  }
  return {};
}

}  // namespace tenon::codegen
