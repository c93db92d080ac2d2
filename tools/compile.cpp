#include <filesystem>
#include <set>

#include "codegen/kernel_ir.h"
#include "codegen/llvm/jit.h"
#include "codegen/lower/lower.h"
#include "codegen/spirv/emit.h"
#include "passes/pass.h"
#include "tools/common.h"
#include "tools/tune.h"

namespace tenon::tools {
namespace {

constexpr const char* kExamples =
    "Equal kernels are written once. llvm, asm and kernel-ir are text and go to stdout without -o; obj is one file; spirv is a folder with\n"
    "one module a kernel (SPIR-V 1.5, for Vulkan 1.2). What runs on the host has no kernel: see tenon check.\n\n"
    "Examples:\n"
    "  tenon compile model.onnx --emit kernel-ir\n"
    "  tenon compile model.onnx --emit asm --target x86-64-v3 -o model.s\n"
    "  tenon compile model.onnx --emit spirv -o kernels/\n"
    "  tenon compile model.onnx --emit kernel-ir --target vulkan\n"
    "  tenon compile model.onnx --tune 60 --threads 2     writes model.onnx.tuning.json, which tenon run, bench and the others then use";

struct Options {
  DType precision = DType::kF32;
  ModelOptions model;
  std::string output, emit = "kernel-ir", target;
  int level = 3;
  TuneRequest tune;
};

/// The distinct kernels of a graph, in order.
std::vector<kir::Kernel> lower_graph(ir::Graph& graph, const codegen::Target& target) {
  std::vector<kir::Kernel> out;
  std::set<std::string> seen;
  ir::walk(graph, [&](ir::Node& node) {
    const ir::Node* owner = node.graph()->parent();
    if (node.is("Constant") || (owner != nullptr && owner->is("tenon.fused"))) return;
    Result<codegen::LoweredOp> lowered = codegen::lower(node, target);
    if (!lowered.ok()) return;  // runs on the host
    for (codegen::LoweredKernel& k : lowered->kernels)
      if (seen.insert(kir::print(k.kernel)).second) out.push_back(std::move(k.kernel));
  });
  return out;
}

Status write_spirv(const std::vector<kir::Kernel>& kernels, const std::string& folder) {
  if (folder.empty()) return Status(Code::kInvalidArgument, "SPIR-V modules need a folder", "--emit spirv", "name it with -o");
  std::error_code ec;
  std::filesystem::create_directories(folder, ec);
  if (ec) return Status(Code::kIo, "cannot make the folder: " + ec.message(), folder, "name another with -o");
  for (size_t i = 0; i < kernels.size(); ++i) {
    Result<std::vector<uint32_t>> words = codegen::spirv::emit(kernels[i]);
    if (!words.ok()) return std::move(words).status().at(kernels[i].name);
    TENON_RETURN_IF_ERROR(write_file(std::filesystem::path(folder) / fmt::format("{}_{}.spv", i, kernels[i].name),
                                     {reinterpret_cast<const char*>(words->data()), words->size() * sizeof(uint32_t)}));
  }
  return {};
}

Status check_options(const Options& o) {
  if (std::filesystem::path(o.output).extension() == ".tenon")
    return Status(Code::kUnsupported, "compiled models cannot be written", o.output, "choose code with --emit, or use tenon run");
  if (o.emit == "spirv" && !o.target.empty() && o.target != "vulkan")
    return Status(Code::kInvalidArgument, "names a CPU, and SPIR-V is for GPUs", "--target", "leave it out");
  if (o.tune.seconds > 0 && (o.target == "vulkan" || !o.output.empty()))
    return Status(Code::kInvalidArgument, "writes no code, and is for CPUs", "--tune", "leave out -o and --target vulkan");
  if (o.target == "vulkan" && o.emit != "spirv" && o.emit != "kernel-ir")
    return Status(Code::kInvalidArgument, "is for GPUs, whose code is SPIR-V", "--target vulkan", "choose --emit spirv or kernel-ir");
  return {};
}

Status compile(Options& o) {
  TENON_RETURN_IF_ERROR(check_options(o));
  if (o.tune.seconds > 0) return tune_model(o.model, o.target, o.level, o.tune);
  codegen::Target target;
  const bool gpu = o.emit == "spirv" || o.target == "vulkan";
  if (!gpu) {
    TENON_ASSIGN_OR_RETURN(target, codegen::cpu_target(o.target.empty() ? "host" : o.target, false));
  } else {
    target.kind = codegen::Target::Kind::kGpu;
  }
  TENON_ASSIGN_OR_RETURN(const auto graph, load(o.model));
  const int vector_bytes = gpu ? 0 : target.vector_bits / 8;
  TENON_RETURN_IF_ERROR(passes::run_pipeline(
      *graph, {.level = o.level, .vector_bytes = vector_bytes, .factors = o.precision, .interrupt = o.model.interrupt}));
  const std::vector<kir::Kernel> kernels = lower_graph(*graph, target);
  if (o.emit == "spirv") return write_spirv(kernels, o.output);
  std::string text;
  if (o.emit == "kernel-ir") {
    for (const kir::Kernel& k : kernels) text += kir::print(k) + "\n";
  } else {
    std::vector<const kir::Kernel*> pointers;
    for (const kir::Kernel& k : kernels) pointers.push_back(&k);
    const codegen::EmitKind kind = o.emit == "llvm"  ? codegen::EmitKind::kLlvm
                                   : o.emit == "asm" ? codegen::EmitKind::kAssembly
                                                     : codegen::EmitKind::kObject;
    if (kind == codegen::EmitKind::kObject && o.output.empty())
      return Status(Code::kInvalidArgument, "an object file needs a name", "--emit obj", "name it with -o");
    TENON_ASSIGN_OR_RETURN(text, codegen::emit(pointers, target, kind));
  }
  if (!o.output.empty() && o.output != "-") return write_file(o.output, text);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return {};
}

}  // namespace

void add_compile(CLI::App& app, int& status) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("compile", "Write the code that a model compiles to");
  add_model_options(*sub, o->model);
  sub->add_option("--emit", o->emit, "What to write")->type_name("")->check(CLI::IsMember({"llvm", "asm", "obj", "kernel-ir", "spirv"}));
  add_target(*sub, o->target);
  add_precision(*sub, o->precision);
  sub->add_option("-o,--output", o->output, "File or folder to write")->type_name("OUT");
  sub->add_option("-O", o->level, "Optimisation level")->check(CLI::Range(0, 3).description(""))->type_name("0..3");
  add_tune_options(*sub, o->tune);
  sub->footer(kExamples);
  sub->callback([o, &status] {
    const Status result = compile(*o);
    status = result.ok() ? kSuccess : report(result);
  });
}

}  // namespace tenon::tools
