#pragma once

#include "backends/backend.h"

namespace tenon::emulator {

/// Whole models with every kernel on an emulated processor, compiled as the cpu backend does for CompileOptions::target, one of
/// targets(). Steps that are no kernels run here. A kernel that LLVM refuses is an error.
const backends::Backend& emulated_backend();

}  // namespace tenon::emulator
