#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codegen/kernel_ir.h"
#include "codegen/target.h"
#include "runtime/plan.h"
#include "support/disk_cache.h"

namespace tenon::codegen {

/// A kernel's relocatable object file, as runtime::NativeCode links it.
struct KernelObject {
  std::string symbol;
  std::vector<std::byte> bytes;
};

/// Owns machine code of kernels; functions are valid while it lives. LLVM appears in no header.
///
/// What a call of such a function must keep to: a binding that the kernel writes overlaps no other binding, unless both
/// are the same memory and each element is read only by the iteration that writes it, before it does. Bindings need no
/// more than their element's alignment, but vectors that straddle cache lines cost: align to 64 bytes.
class CpuJit {
 public:
  /// `cache`: where machine code is looked up by the kernel, the target and this very compiler before it is made, and kept
  /// after; null for none.
  /// `keep_objects`: for objects().
  static Result<std::unique_ptr<CpuJit>> create(const Target& target, std::shared_ptr<const DiskCache> cache = nullptr, bool keep_objects = false);
  virtual ~CpuJit() = default;
  /// Compiles kernels (verified, math expanded inside) on up to `threads` threads; functions in the same order.
  virtual Result<std::vector<runtime::KernelFn>> compile(std::span<const kir::Kernel* const> kernels, int threads,
                                                         const Interrupt& interrupt = {}) = 0;
  /// Kernels of all calls whose code the cache had.
  virtual int from_cache() const = 0;
  /// Objects of the last compile(), in the order of its kernels; empty when they were not kept or need another linker than NativeCode.
  virtual std::span<const KernelObject> objects() const = 0;
};

/// The compiler's version, which code depends on beside the kernel and the target.
std::string_view compiler_version();

enum class EmitKind : uint8_t { kLlvm, kAssembly, kObject };
/// The kernels as one LLVM module's text, assembly or object file for `target`, which need not be the host.
Result<std::string> emit(std::span<const kir::Kernel* const> kernels, const Target& target, EmitKind kind);

}  // namespace tenon::codegen
