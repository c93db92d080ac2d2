#pragma once

#include <memory>

#include <llvm/IR/Module.h>
#include <llvm/Target/TargetMachine.h>

#include "codegen/kernel_ir.h"
#include "codegen/llvm/jit.h"

namespace tenon::codegen {

/// LLVM's machine for `target`; an empty triple, CPU or feature string stands for the host's. kUnsupported when this
/// LLVM has no such target.
Result<std::unique_ptr<llvm::TargetMachine>> target_machine(const Target& target);

/// Lays `module` out for `machine`: to be called before kernels are emitted into it.
void prepare(llvm::Module& module, llvm::TargetMachine& machine);

/// Checks the emitted module (kInternal) and runs the few passes that pay for their time.
Status optimize(llvm::Module& module, llvm::TargetMachine& machine);

/// Assembly or object code of `module`.
Result<llvm::SmallVector<char, 0>> generate(llvm::Module& module, llvm::TargetMachine& machine, EmitKind kind);

}  // namespace tenon::codegen
