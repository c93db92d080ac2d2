#include "codegen/llvm/jit.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_set>

#include <llvm/Config/llvm-config.h>
#include <llvm/ExecutionEngine/Orc/LLJIT.h>
#include <llvm/Support/MemoryBuffer.h>

#include "codegen/llvm/emitter.h"
#include "codegen/llvm/machine.h"
#include "codegen/target_identity.h"
#include "runtime/native_code.h"
#include "support/build_id.h"
#include "support/hash.h"

namespace tenon::codegen {
namespace {

using Object = std::vector<std::byte>;

Status jit_error(llvm::Error error) {
  return Status(Code::kInternal, "the JIT failed: " + llvm::toString(std::move(error)));
}

/// A kernel on its way to code. The symbol names what was compiled, so that objects of any origin may lie side by side.
struct Job {
  const kir::Kernel* kernel;
  std::string key, symbol;
  Object object;
};

class Jit final : public CpuJit {
 public:
  Jit(const Target& target, std::shared_ptr<const DiskCache> cache, bool keep_objects)
      : target_(target), keep_objects_(keep_objects), cache_(build_id().empty() ? nullptr : std::move(cache)), target_identity_(identity(target)) {}

  Result<std::vector<runtime::KernelFn>> compile(std::span<const kir::Kernel* const> kernels, int threads,
                                                 const Interrupt& interrupt) override {
    std::vector<Job> jobs;
    for (const kir::Kernel* kernel : kernels) jobs.push_back(job(*kernel));
    objects_.clear();
    TENON_RETURN_IF_ERROR(make_objects(jobs, threads, interrupt));
    return link(jobs);
  }

  std::span<const KernelObject> objects() const override { return objects_; }

  int from_cache() const override { return from_cache_; }

 private:
  Job job(const kir::Kernel& kernel) const {
    kir::Kernel unnamed = kir::clone(kernel);
    unnamed.name.clear();
    std::string key = fmt::format("kernel by {} with LLVM {} for {}\n{}", build_id(), LLVM_VERSION_STRING, target_identity_, kir::print(unnamed));
    std::string symbol = "tenon_kernel_" + hash128(key).hex();
    return {&kernel, std::move(key), std::move(symbol), {}};
  }

  Status make_objects(std::vector<Job>& jobs, int threads, const Interrupt& interrupt) {
    std::vector<Job*> missing;
    for (Job& job : jobs)
      if (!look_up(job)) missing.push_back(&job);
    // The longest first, so that threads end together.
    std::ranges::stable_sort(missing, std::greater(), [](const Job* job) { return job->kernel->values.size(); });
    std::atomic<size_t> next{0};
    std::mutex mutex;
    Status failure;
    const auto work = [&] {
      auto machine = target_machine(target_);
      Status status = machine.ok() ? Status() : std::move(machine).status();
      llvm::LLVMContext context;
      std::optional<ObjectWriter> writer;
      if (status.ok()) writer.emplace(**machine);
      for (size_t i; status.ok() && (i = next.fetch_add(1)) < missing.size();) {
        status = interrupt.check().at("compiling kernels");
        if (status.ok()) status = make_object(*missing[i], **machine, context, *writer);
      }
      if (status.ok()) return;
      const std::lock_guard lock(mutex);
      if (failure.ok()) failure = std::move(status);
      next = missing.size();
    };
    std::vector<std::thread> helpers;
    for (size_t t = 1; t < std::min(missing.size(), static_cast<size_t>(std::max(threads, 1))); ++t) helpers.emplace_back(work);
    if (!missing.empty()) work();
    for (std::thread& t : helpers) t.join();
    return failure;
  }

  bool look_up(Job& job) {
    if (cache_ == nullptr) return false;
    auto found = cache_->find(job.key);
    if (!found) return false;
    job.object = std::move(*found);
    ++from_cache_;
    return true;
  }

  Status make_object(Job& job, llvm::TargetMachine& machine, llvm::LLVMContext& context, ObjectWriter& writer) const {
    llvm::Module module(job.symbol, context);
    prepare(module, machine);
    kir::Kernel expanded = kir::clone(*job.kernel);
    kir::expand_math(expanded);
    TENON_RETURN_IF_ERROR(emit_kernel(expanded, target_, job.symbol, module));
    TENON_RETURN_IF_ERROR(optimize(module, machine));
    TENON_ASSIGN_OR_RETURN(job.object, writer.write(module));
    if (cache_ != nullptr) (void)cache_->store(job.key, job.object);  // who cannot keep it makes it again
    return {};
  }

  Result<std::vector<runtime::KernelFn>> link(std::vector<Job>& jobs) {
    std::vector<runtime::NativeCode::Object> objects;
    std::unordered_set<std::string_view> seen;
    for (const Job& job : jobs)
      if (seen.insert(job.symbol).second) objects.emplace_back(job.object);
    auto code = runtime::NativeCode::link(objects);
    if (!code.ok() && code.status().code() == Code::kUnsupported) return link_with_llvm(jobs);
    if (!code.ok()) return code.status();
    std::vector<runtime::KernelFn> functions;
    for (const Job& job : jobs) functions.push_back((*code)->find(job.symbol));
    if (std::ranges::find(functions, nullptr) != functions.end()) return Status(Code::kInternal, "a kernel is not in its object");
    code_.push_back(std::move(*code));
    if (keep_objects_)
      for (Job& job : jobs) objects_.push_back({std::move(job.symbol), std::move(job.object)});
    return functions;
  }

  // For machines and relocations that NativeCode does not know.
  Result<std::vector<runtime::KernelFn>> link_with_llvm(const std::vector<Job>& jobs) {
    TENON_RETURN_IF_ERROR(start_orc());
    std::vector<runtime::KernelFn> functions;
    for (const Job& job : jobs) {
      if (in_orc_.insert(job.symbol).second) {
        const llvm::StringRef bytes(reinterpret_cast<const char*>(job.object.data()), job.object.size());
        if (auto error = orc_->addObjectFile(llvm::MemoryBuffer::getMemBufferCopy(bytes, job.symbol))) return jit_error(std::move(error));
      }
      auto address = orc_->lookup(job.symbol);
      if (!address) return jit_error(address.takeError());
      functions.push_back(address->toPtr<runtime::KernelFn>());
    }
    return functions;
  }

  Status start_orc() {
    if (orc_ != nullptr) return {};
    TENON_ASSIGN_OR_RETURN(const auto machine, target_machine(target_));
    llvm::orc::JITTargetMachineBuilder builder(machine->getTargetTriple());
    auto made = llvm::orc::LLJITBuilder()
                    .setJITTargetMachineBuilder(std::move(builder))
                    .setPlatformSetUp(llvm::orc::setUpInactivePlatform)
                    .create();
    if (!made) return jit_error(made.takeError());
    orc_ = std::move(*made);
    return {};
  }

  const Target target_;
  const bool keep_objects_;
  const std::shared_ptr<const DiskCache> cache_;
  const std::string target_identity_;
  int from_cache_ = 0;
  std::vector<KernelObject> objects_;
  std::vector<std::shared_ptr<const runtime::NativeCode>> code_;
  std::unique_ptr<llvm::orc::LLJIT> orc_;
  std::unordered_set<std::string> in_orc_;
};

}  // namespace

Result<std::unique_ptr<CpuJit>> CpuJit::create(const Target& target, std::shared_ptr<const DiskCache> cache, bool keep_objects) {
  return std::unique_ptr<CpuJit>(std::make_unique<Jit>(target, std::move(cache), keep_objects));
}

std::string_view compiler_version() { return "LLVM " LLVM_VERSION_STRING; }

}  // namespace tenon::codegen
