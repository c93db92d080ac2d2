#include <algorithm>
#include <ctime>
#include <filesystem>
#include <set>

#include "backends/stateful/share.h"
#include "backends/stateful/stateful.h"
#include "codegen/kernel_ir.h"
#include "codegen/llvm/jit.h"
#include "codegen/lower/lower.h"
#include "codegen/spirv/emit.h"
#include "codegen/target_facts.h"
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
    "  tenon compile decoder.onnx --state auto --emit kernel-ir     the kernels of steps that keep their states\n"
    "  tenon compile model.onnx --target vulkan --verbose\n"
    "  tenon compile model.onnx --tune 60 --threads 2     writes model.onnx.tuning.json, which tenon run, bench and the others then use";

struct Options {
  DType precision = DType::kF32;
  ModelOptions model;
  std::string output, emit = "kernel-ir";
  TargetOptions target;
  int level = 3;
  TuneRequest tune;
  bool verbose = false;
  CLI::Option* emit_given = nullptr;
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

/// Modules of an earlier time, by the form of their names: 0_map.spv.
Status remove_modules(const std::filesystem::path& folder) {
  std::error_code ec;
  std::vector<std::filesystem::path> old;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ec)) {
    const std::string name = entry.path().filename().string();
    const size_t digits = name.find_first_not_of("0123456789");
    if (entry.path().extension() == ".spv" && digits > 0 && digits != name.npos && name[digits] == '_') old.push_back(entry.path());
  }
  for (const std::filesystem::path& module : old)
    if (!std::filesystem::remove(module, ec) && ec)
      return Status(Code::kIo, "cannot remove the module of an earlier time: " + ec.message(), module.string(), "name another folder with -o");
  return {};
}

Status write_spirv(const std::vector<kir::Kernel>& kernels, const std::string& folder) {
  if (folder.empty()) return Status(Code::kInvalidArgument, "SPIR-V modules need a folder", "--emit spirv", "name it with -o");
  std::error_code ec;
  std::filesystem::create_directories(folder, ec);
  if (ec) return Status(Code::kIo, "cannot make the folder: " + ec.message(), folder, "name another with -o");
  TENON_RETURN_IF_ERROR(remove_modules(folder));
  for (size_t i = 0; i < kernels.size(); ++i) {
    Result<std::vector<uint32_t>> words = codegen::spirv::emit(kernels[i]);
    if (!words.ok()) return std::move(words).status().at(kernels[i].name);
    TENON_RETURN_IF_ERROR(write_file(std::filesystem::path(folder) / fmt::format("{}_{}.spv", i, kernels[i].name),
                                     {reinterpret_cast<const char*>(words->data()), words->size() * sizeof(uint32_t)}));
  }
  return {};
}

Status check_target(const Options& o) {
  const std::filesystem::path extension = std::filesystem::path(o.output).extension();
  if (extension == ".onnx" || extension == ".tir")
    return Status(Code::kInvalidArgument, "this writes code, not models", o.output, "use tenon optimize MODEL -o OUT for those");
  if (extension == ".tenon")
    return Status(Code::kUnsupported, "compiled models cannot be written", o.output, "choose code with --emit, or use tenon run");
  const std::string& target = o.target.target;
  if (o.emit == "spirv" && !target.empty() && target != "vulkan")
    return Status(Code::kInvalidArgument, "names a CPU, and SPIR-V is for GPUs", "--target", "leave it out");
  if (target == "vulkan" && o.emit != "spirv" && o.emit != "kernel-ir")
    return Status(Code::kInvalidArgument, "is for GPUs, whose code is SPIR-V", "--target vulkan", "choose --emit spirv or kernel-ir");
  return {};
}

/// CPU time of this thread, which a busy machine does not lengthen.
double cpu_ms() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) * 1e-6;
}

/// How long each kernel's SPIR-V takes, for whatever device: the least of several times, as what others leave in the caches is not the
/// emitter's.
void print_emission(const std::vector<kir::Kernel>& kernels, std::FILE* out) {
  double sum = 0;
  std::pair<double, std::string> longest;
  int count = 0;
  for (const kir::Kernel& kernel : kernels) {
    if (!codegen::spirv::emit(kernel, {.narrow_indices = true}).ok()) continue;
    double ms = 1e9;
    for (int time = 0; time < 5; ++time) {
      const double start = cpu_ms();
      static_cast<void>(codegen::spirv::emit(kernel, {.narrow_indices = true}));
      ms = std::min(ms, cpu_ms() - start);
    }
    sum += ms;
    longest = std::max(longest, {ms, kernel.name});
    ++count;
  }
  if (count > 0) fmt::print(out, "SPIR-V of one kernel: mean {:.3f} ms, longest {:.3f} ms ({})\n", sum / count, longest.first, longest.second);
}

/// Compiles as for a run, with the user's cache, and says what took how long.
Status print_figures(const Options& o, const ir::Graph& graph, std::span<const backends::StatePair> states, bool gpu, std::FILE* out) {
  TENON_ASSIGN_OR_RETURN(const auto chosen, backends_of(gpu ? "vulkan" : "cpu"));
  backends::CompileOptions options;
  options.opt_level = o.level;
  o.target.apply(options);
  options.precision = o.precision;
  options.cache = user_cache();
  options.interrupt = o.model.interrupt;
  TENON_ASSIGN_OR_RETURN(const auto executable, backends::compile_stateful(*chosen[0], graph.clone(), options, states));
  const backends::CompileStats& s = executable->stats();
  fmt::print(out, "{} kernels for {} dispatches, {} of them from the cache\n", s.kernels, s.dispatches, s.cached);
  fmt::print(out, "optimise {:.1f} ms, lower {:.1f} ms, {} {:.1f} ms ({:.3f} ms a kernel), ", s.optimize_ms, s.lower_ms, gpu ? "SPIR-V" : "machine code", s.emit_ms,
             s.emit_ms / std::max(s.kernels, 1));
  if (gpu) fmt::print(out, "pipelines {:.1f} ms, upload {:.1f} ms\n", s.pipeline_ms, s.setup_ms);
  else fmt::print(out, "packing weights {:.1f} ms\n", s.setup_ms);
  return {};
}

Status compile(Options& o) {
  TENON_RETURN_IF_ERROR(check_target(o));
  if (o.tune.seconds > 0) return tune_model(o.model, o.target.target, o.level, o.precision, o.tune);
  TENON_ASSIGN_OR_RETURN(const codegen::Target target, target_of(o.emit == "spirv" ? "vulkan" : o.target.target));
  TENON_ASSIGN_OR_RETURN(auto graph, load(o.model));
  TENON_ASSIGN_OR_RETURN(const eval::StateRequest wanted, eval::parse_states(o.model.states));
  TENON_ASSIGN_OR_RETURN(eval::FoundStates states, eval::find_states(o.model.path, *graph, o.model.import, wanted));
  if (states.growing != nullptr) graph = std::move(states.growing);
  const bool gpu = target.kind == codegen::Target::Kind::kGpu, figures_alone = o.verbose && o.emit_given->count() == 0 && o.output.empty();
  std::FILE* const figures = figures_alone ? stdout : stderr;
  if (o.verbose) TENON_RETURN_IF_ERROR(print_figures(o, *graph, states.pairs, gpu, figures));
  if (!states.pairs.empty()) {
    TENON_ASSIGN_OR_RETURN(backends::SharedGraph shared, backends::share_states(std::move(graph), states.pairs, !gpu, o.model.interrupt));
    graph = std::move(shared.graph);
  }
  TENON_RETURN_IF_ERROR(passes::run_pipeline(*graph, {.level = o.level, .target = codegen::facts(target), .factors = o.precision, .interrupt = o.model.interrupt}));
  const std::vector<kir::Kernel> kernels = lower_graph(*graph, target);
  if (o.verbose && gpu) print_emission(kernels, figures);
  if (figures_alone) return {};
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
  add_states(*sub, o->model.states);
  o->emit_given = one_of(sub->add_option("--emit", o->emit, "What to write"), "FORM", {"kernel-ir", "llvm", "asm", "obj", "spirv"});
  add_compiling(*sub, o->target);
  add_precision(*sub, o->precision);
  sub->add_option("-o,--output", o->output, "File or folder to write")->type_name("OUT");
  sub->add_option("-O", o->level, "Optimisation level")->check(CLI::Range(0, 3).description(""))->type_name("0..3");
  add_tune_options(*sub, o->tune);
  sub->add_flag("-v,--verbose", o->verbose, "Compile as for a run and say how many kernels there are and what took how long; without --emit and -o, that alone");
  sub->footer(kExamples);
  sub->callback([o, &status] {
    const Status result = compile(*o);
    status = result.ok() ? kSuccess : report(result);
  });
}

}  // namespace tenon::tools
