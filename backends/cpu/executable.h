#pragma once

#include <memory>
#include <vector>

#include "backends/planned/planned.h"
#include "codegen/llvm/jit.h"
#include "runtime/native_code.h"

namespace tenon::backends {

class CpuExecutable final : public PlannedExecutable {
 public:
  std::string_view code_of() const override { return "cpu"; }

  std::unique_ptr<codegen::CpuJit> jit;
  std::shared_ptr<const runtime::NativeCode> code;  // instead, of one that was restored
};

/// Backend::save and Backend::restore.
Result<SavedExecutable> save_executable(const CpuExecutable& executable);
Result<std::shared_ptr<CpuExecutable>> restore_executable(std::span<const std::byte> bytes, const std::shared_ptr<Buffer>& weights);

}  // namespace tenon::backends
