#pragma once

#include <string>

#include <llvm/IR/Module.h>

#include "codegen/kernel_ir.h"
#include "codegen/target.h"

namespace tenon::codegen {

/// Adds function `name` (runtime::KernelFn) that executes `kernel` to `module`. The kernel must be verified and have
/// its math expanded. kInternal when it holds an operation that is not basic.
Status emit_kernel(const kir::Kernel& kernel, const Target& target, const std::string& name, llvm::Module& module);

}  // namespace tenon::codegen
