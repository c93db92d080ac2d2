#pragma once

#include <cstddef>
#include <memory>
#include <vector>

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

/// Makes object files of modules of one context, one after the other, by passes that are set up once: for a small
/// kernel that took as long as many of the passes.
class ObjectWriter {
 public:
  explicit ObjectWriter(llvm::TargetMachine& machine);
  ~ObjectWriter();
  Result<std::vector<std::byte>> write(llvm::Module& module);

 private:
  struct Passes;
  llvm::TargetMachine& machine_;
  std::unique_ptr<Passes> passes_;
  bool unsupported_;
};

/// Assembly or object code of `module`.
Result<llvm::SmallVector<char, 0>> generate(llvm::Module& module, llvm::TargetMachine& machine, EmitKind kind);

}  // namespace tenon::codegen
