#include "codegen/llvm/machine.h"

#include <algorithm>
#include <mutex>
#include <string_view>

#include <llvm/IR/LegacyPassManager.h>
#include <llvm/IR/Verifier.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/PassInfo.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/TargetParser/Host.h>
#include <llvm/Transforms/Scalar/EarlyCSE.h>
#include <llvm/Transforms/Scalar/LICM.h>
#include <llvm/Transforms/Scalar/LoopPassManager.h>
#include <llvm/Transforms/Scalar/SROA.h>
#include <llvm/Transforms/Utils/LCSSA.h>
#include <llvm/Transforms/Utils/LoopSimplify.h>

#include "codegen/llvm/emitter.h"

namespace tenon::codegen {
namespace {

void initialize_llvm() {
  static std::once_flag once;
  std::call_once(once, [] {
    llvm::InitializeAllTargetInfos();
    llvm::InitializeAllTargets();
    llvm::InitializeAllTargetMCs();
    llvm::InitializeAllAsmPrinters();
  });
}

std::string host_features() {
  std::string out;
  for (const auto& feature : llvm::sys::getHostCPUFeatures()) {
    if (!out.empty()) out += ',';
    out += (feature.second ? "+" : "-") + feature.first().str();
  }
  return out;
}

/// Passes of LLVM's code generators that kernels do not need: addresses are emitted in the form that loop strength
/// reduction would find (loop_addresses.h), and masks are made where they are used. Scheduling again after registers are allocated is
/// worth its 5 to 8 % of the time: without it a recurrence was 9 % slower.
constexpr std::string_view kLeftOut[] = {"loop-reduce", "canon-freeze"};
constexpr std::string_view kLeftOutForX86[] = {"x86-domain-reassignment"};

class CodePasses final : public llvm::legacy::PassManager {
 public:
  explicit CodePasses(const llvm::TargetMachine& machine) : x86_(machine.getTargetTriple().isX86()) {}

  void add(llvm::Pass* pass) override {
    const llvm::PassInfo* info = llvm::Pass::lookupPassInfo(pass->getPassID());
    const auto is = [&](std::string_view name) {
      return info != nullptr && name == std::string_view(info->getPassArgument());
    };
    if (std::ranges::any_of(kLeftOut, is) || (x86_ && std::ranges::any_of(kLeftOutForX86, is)))
      delete pass;
    else
      PassManager::add(pass);
  }

 private:
  const bool x86_;
};

}  // namespace

Result<std::unique_ptr<llvm::TargetMachine>> target_machine(const Target& target) {
  initialize_llvm();
  const std::string triple = target.triple.empty() ? llvm::sys::getProcessTriple() : target.triple;
  const bool host = target.triple.empty() && target.cpu.empty();
  const std::string cpu = host ? llvm::sys::getHostCPUName().str() : target.cpu;
  std::string features = host ? host_features() : target.features;
  if (host && !target.features.empty()) features += ',' + target.features;  // what LLVM does not ask this machine for
  std::string message;
  const llvm::Target* found = llvm::TargetRegistry::lookupTarget(triple, message);
  if (!found) return error(Code::kUnsupported, "LLVM has no target '{}': {}", triple, message);
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  auto* machine = found->createTargetMachine(triple, cpu, features, options, llvm::Reloc::PIC_, std::nullopt,
                                             llvm::CodeGenOptLevel::Default, /*JIT=*/false);
  if (!machine) return error(Code::kUnsupported, "LLVM makes no code for '{}' ({})", triple, cpu);
  return std::unique_ptr<llvm::TargetMachine>(machine);
}

void prepare(llvm::Module& module, llvm::TargetMachine& machine) {
  module.setTargetTriple(machine.getTargetTriple().str());
  module.setDataLayout(machine.createDataLayout());
}

Status optimize(llvm::Module& module, llvm::TargetMachine& machine) {
  std::string message;
  llvm::raw_string_ostream stream(message);
  if (llvm::verifyModule(module, &stream)) return error(Code::kInternal, "emitted a broken module: {}", stream.str());
  llvm::LoopAnalysisManager lam;
  llvm::FunctionAnalysisManager fam;
  llvm::CGSCCAnalysisManager cgam;
  llvm::ModuleAnalysisManager mam;
  llvm::PassBuilder passes(&machine);
  passes.registerModuleAnalyses(mam);
  passes.registerCGSCCAnalyses(cgam);
  passes.registerFunctionAnalyses(fam);
  passes.registerLoopAnalyses(lam);
  passes.crossRegisterProxies(lam, fam, cgam, mam);
  llvm::FunctionPassManager pipeline;
  pipeline.addPass(llvm::SROAPass(llvm::SROAOptions::PreserveCFG));
  pipeline.addPass(llvm::EarlyCSEPass(false));
  llvm::LoopPassManager loops;
  loops.addPass(llvm::LICMPass(llvm::LICMOptions()));
  pipeline.addPass(llvm::createFunctionToLoopPassAdaptor(std::move(loops), /*UseMemorySSA=*/true));
  for (llvm::Function& f : module)
    if (!f.isDeclaration()) pipeline.run(f, fam);
  return {};
}

struct ObjectWriter::Passes {
  explicit Passes(const llvm::TargetMachine& machine) : stream(bytes), manager(machine) {}
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream;
  CodePasses manager;
};

ObjectWriter::ObjectWriter(llvm::TargetMachine& machine)
    : machine_(machine),
      passes_(std::make_unique<Passes>(machine)),
      unsupported_(
          machine.addPassesToEmitFile(passes_->manager, passes_->stream, nullptr, llvm::CodeGenFileType::ObjectFile)) {}

ObjectWriter::~ObjectWriter() = default;

Result<std::vector<std::byte>> ObjectWriter::write(llvm::Module& module) {
  if (unsupported_)
    return error(Code::kUnsupported, "LLVM cannot write objects for {}", machine_.getTargetTriple().str());
  passes_->bytes.clear();
  passes_->manager.run(module);
  const auto bytes = std::as_bytes(std::span(passes_->bytes.data(), passes_->bytes.size()));
  return std::vector<std::byte>(bytes.begin(), bytes.end());
}

Result<llvm::SmallVector<char, 0>> generate(llvm::Module& module, llvm::TargetMachine& machine, EmitKind kind) {
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  CodePasses passes(machine);
  const auto type = kind == EmitKind::kObject ? llvm::CodeGenFileType::ObjectFile : llvm::CodeGenFileType::AssemblyFile;
  if (machine.addPassesToEmitFile(passes, stream, nullptr, type))
    return error(Code::kUnsupported, "LLVM cannot write this file for {}", machine.getTargetTriple().str());
  passes.run(module);
  return bytes;
}

Result<std::string> emit(std::span<const kir::Kernel* const> kernels, const Target& target, EmitKind kind) {
  TENON_ASSIGN_OR_RETURN(const auto machine, target_machine(target));
  llvm::LLVMContext context;
  llvm::Module module("kernels", context);
  prepare(module, *machine);
  for (size_t i = 0; i < kernels.size(); ++i) {
    kir::Kernel expanded = kir::clone(*kernels[i]);
    kir::expand_math(expanded);
    const std::string name = kernels[i]->name.empty() ? fmt::format("kernel{}", i) : kernels[i]->name;
    const std::string symbol = module.getFunction(name) ? fmt::format("{}.{}", name, i) : name;
    TENON_RETURN_IF_ERROR(emit_kernel(expanded, target, symbol, module));
  }
  TENON_RETURN_IF_ERROR(optimize(module, *machine));
  if (kind == EmitKind::kLlvm) {
    std::string text;
    llvm::raw_string_ostream stream(text);
    module.print(stream, nullptr);
    return stream.str();
  }
  TENON_ASSIGN_OR_RETURN(const auto bytes, generate(module, *machine, kind));
  return std::string(bytes.data(), bytes.size());
}

}  // namespace tenon::codegen
