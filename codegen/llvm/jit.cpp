#include "codegen/llvm/jit.h"

#include <atomic>
#include <mutex>
#include <thread>

#include <llvm/ExecutionEngine/Orc/LLJIT.h>
#include <llvm/Support/MemoryBuffer.h>

#include "codegen/llvm/emitter.h"
#include "codegen/llvm/machine.h"

namespace tenon::codegen {
namespace {

Status jit_error(llvm::Error error) {
  return Status(Code::kInternal, "the JIT failed: " + llvm::toString(std::move(error)));
}

// A module costs milliseconds whatever it holds, so kernels share one, few enough to keep every thread busy.
constexpr size_t kBatchesPerThread = 4, kMaxBatch = 8;

class OrcJit final : public CpuJit {
 public:
  OrcJit(const Target& target, std::unique_ptr<llvm::orc::LLJIT> jit) : target_(target), jit_(std::move(jit)) {}

  Result<std::vector<runtime::KernelFn>> compile(std::span<const kir::Kernel* const> kernels, int threads,
                                                 const Interrupt& interrupt) override {
    std::vector<runtime::KernelFn> functions(kernels.size());
    if (kernels.empty()) return functions;
    const int64_t first = next_symbol_.fetch_add(static_cast<int64_t>(kernels.size()));
    const size_t wanted = std::min(kernels.size(), static_cast<size_t>(std::max(threads, 1)));
    const size_t batch = std::clamp<size_t>(kernels.size() / (wanted * kBatchesPerThread), 1, kMaxBatch);
    std::atomic<size_t> next{0};
    std::mutex mutex;
    Status failure;
    const auto work = [&] {
      auto machine = target_machine(target_);
      Status status = machine.ok() ? Status() : std::move(machine).status();
      for (size_t i; status.ok() && (i = next.fetch_add(batch)) < kernels.size();) {
        status = interrupt.check().at("compiling kernels");
        if (status.ok())
          status =
              add(kernels.subspan(i, std::min(batch, kernels.size() - i)), first + static_cast<int64_t>(i), **machine);
      }
      if (status.ok()) return;
      const std::lock_guard lock(mutex);
      if (failure.ok()) failure = std::move(status);
      next = kernels.size();
    };
    std::vector<std::thread> helpers;
    for (size_t t = 1; t < wanted; ++t) helpers.emplace_back(work);
    work();
    for (std::thread& t : helpers) t.join();
    TENON_RETURN_IF_ERROR(failure);
    for (size_t i = 0; i < kernels.size(); ++i) {
      auto address = jit_->lookup(symbol(first + static_cast<int64_t>(i)));
      if (!address) return jit_error(address.takeError());
      functions[i] = address->toPtr<runtime::KernelFn>();
    }
    return functions;
  }

 private:
  static std::string symbol(int64_t number) { return fmt::format("tenon_kernel_{}", number); }

  Status add(std::span<const kir::Kernel* const> kernels, int64_t first, llvm::TargetMachine& machine) {
    llvm::LLVMContext context;
    llvm::Module module(symbol(first), context);
    prepare(module, machine);
    for (size_t i = 0; i < kernels.size(); ++i) {
      kir::Kernel expanded = kir::clone(*kernels[i]);
      kir::expand_math(expanded);
      TENON_RETURN_IF_ERROR(emit_kernel(expanded, target_, symbol(first + static_cast<int64_t>(i)), module));
    }
    TENON_RETURN_IF_ERROR(optimize(module, machine));
    TENON_ASSIGN_OR_RETURN(const auto object, generate(module, machine, EmitKind::kObject));
    auto buffer = llvm::MemoryBuffer::getMemBufferCopy(llvm::StringRef(object.data(), object.size()), module.getName());
    if (auto error = jit_->addObjectFile(std::move(buffer))) return jit_error(std::move(error));
    return {};
  }

  const Target target_;
  const std::unique_ptr<llvm::orc::LLJIT> jit_;
  std::atomic<int64_t> next_symbol_{0};
};

}  // namespace

Result<std::unique_ptr<CpuJit>> CpuJit::create(const Target& target) {
  TENON_ASSIGN_OR_RETURN(const auto machine, target_machine(target));
  llvm::orc::JITTargetMachineBuilder builder(machine->getTargetTriple());
  auto jit = llvm::orc::LLJITBuilder()
                 .setJITTargetMachineBuilder(std::move(builder))
                 .setPlatformSetUp(llvm::orc::setUpInactivePlatform)
                 .create();
  if (!jit) return jit_error(jit.takeError());
  return std::unique_ptr<CpuJit>(std::make_unique<OrcJit>(target, std::move(*jit)));
}

}  // namespace tenon::codegen
