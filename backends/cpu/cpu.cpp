#include "backends/cpu/cpu.h"

#include <chrono>
#include <unordered_map>

#include "backends/cpu/executable.h"
#include "backends/cpu/openblas.h"
#include "codegen/plan/build.h"
#include "codegen/target_facts.h"
#include "codegen/target_identity.h"
#include "ir/weights.h"
#include "passes/pass.h"
#include "support/build_id.h"
#include "support/byte_io.h"
#include "support/cpu_count.h"

namespace tenon::backends {
namespace {

class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double ms = std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
    return ms;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

Result<codegen::Target> target_of(const CompileOptions& options) {
  TENON_ASSIGN_OR_RETURN(codegen::Target target, codegen::cpu_target(options.target.empty() ? "host" : options.target));
  target.tuning = options.tuning;
  return target;
}

/// Lowers and compiles one graph; kernels that LLVM refuses are left out and their nodes run on the host.
class Compiler {
 public:
  Compiler(CpuExecutable& out, const CompileOptions& options) : out_(out), options_(options) {}

  Status run() {
    if (!options_.matmul.empty() && options_.matmul != "openblas")
      return Status(Code::kInvalidArgument, fmt::format("there is no matmul '{}'", options_.matmul), "--matmul", "choose openblas");
    TENON_ASSIGN_OR_RETURN(plan_options_.target, target_of(options_));
    plan_options_.merge_kernels = true;
    plan_options_.interrupt = options_.interrupt;
    plan_options_.updated_inputs = options_.updated_inputs;
    plan_options_.library = openblas_matmul;
    plan_options_.prefer_library = options_.matmul == "openblas";
    plan_options_.refuse = [this](const kir::Kernel& kernel) { return refused(kernel); };
    TENON_ASSIGN_OR_RETURN(out_.jit, codegen::CpuJit::create(plan_options_.target, options_.cache, options_.keep_code));
    TENON_RETURN_IF_ERROR(plan());
    Status compiled = compile_all();
    if (!compiled.ok()) {
      TENON_RETURN_IF_ERROR(options_.interrupt.check().at("compiling kernels"));
      plan_options_.merge_kernels = false;  // kernels are refused as they were lowered
      TENON_RETURN_IF_ERROR(plan());
      find_failures();
      TENON_RETURN_IF_ERROR(plan());
      compiled = compile_all();
    }
    TENON_RETURN_IF_ERROR(std::move(compiled));
    ir::drop_weights(*out_.graph);  // the plan has those that it needs
    Stopwatch watch;
    TENON_RETURN_IF_ERROR(codegen::run_setup(built_, default_pool(), options_.interrupt));
    out_.figures.setup_ms = watch.lap();
    TENON_ASSIGN_OR_RETURN(out_.plan, runtime::prepare(built_.plan));
    out_.rows = std::move(built_.placement);
    out_.figures.kernels = static_cast<int>(built_.kernels.size());
    out_.figures.cached = out_.jit->from_cache();
    out_.figures.dispatches = built_.dispatches;
    return {};
  }

 private:
  Status plan() {
    Stopwatch watch;
    TENON_ASSIGN_OR_RETURN(built_, codegen::build_plan(*out_.graph, plan_options_));
    out_.figures.lower_ms += watch.lap();
    return {};
  }

  Status compile_all() {
    Stopwatch watch;
    std::vector<const kir::Kernel*> kernels;
    for (const kir::Kernel& kernel : built_.kernels) kernels.push_back(&kernel);
    const int threads = options_.compile_threads > 0 ? options_.compile_threads : available_cores();
    auto functions = out_.jit->compile(kernels, threads, options_.interrupt);
    out_.figures.emit_ms += watch.lap();
    if (!functions.ok()) return functions.status();
    for (size_t i = 0; i < functions->size(); ++i) (*built_.table)[i].fn = (*functions)[i];
    return {};
  }

  // One at a time, to learn which kernels are at fault.
  void find_failures() {
    for (const kir::Kernel& kernel : built_.kernels) {
      const kir::Kernel* one = &kernel;
      const auto function = out_.jit->compile({&one, 1}, 1);
      if (!function.ok()) failures_.emplace(kir::structural_hash(kernel), function.status().what());
    }
  }

  std::optional<std::string> refused(const kir::Kernel& kernel) const {
    if (failures_.empty()) return std::nullopt;
    const auto found = failures_.find(kir::structural_hash(kernel));
    if (found == failures_.end()) return std::nullopt;
    return "LLVM: " + found->second;
  }

  CpuExecutable& out_;
  const CompileOptions& options_;
  codegen::PlanOptions plan_options_;
  codegen::BuiltPlan built_;
  std::unordered_map<uint64_t, std::string> failures_;
};

class CpuBackend final : public Backend {
 public:
  std::string_view name() const override { return "cpu"; }
  bool rounds_factors() const override { return true; }
  bool takes_tuning() const override { return true; }
  Status available() const override { return codegen::cpu_target("host").status(); }
  Status check_options(const CompileOptions& options) const override { return target_of(options).status(); }
  bool updates_inputs() const override { return true; }
  passes::TargetFacts target_facts(const CompileOptions& options) const override {
    const auto target = target_of(options);
    return target.ok() ? codegen::facts(*target) : passes::TargetFacts{};
  }

  Result<std::shared_ptr<const Executable>> compile(const ir::Graph& graph, const CompileOptions& options) const override {
    return compile_owned(graph.clone(), options);
  }

  Result<std::shared_ptr<const Executable>> compile_owned(std::unique_ptr<ir::Graph> graph, const CompileOptions& options) const override {
    auto out = std::make_shared<CpuExecutable>();
    out->keep_source(*this, *graph, options);
    out->graph = std::move(graph);
    Stopwatch watch;
    passes::PipelineOptions pipeline = pipeline_options(options);
    pipeline.target = target_facts(options);
    TENON_RETURN_IF_ERROR(passes::run_pipeline(*out->graph, pipeline));
    out->figures.optimize_ms = watch.lap();
    TENON_RETURN_IF_ERROR(Compiler(*out, options).run());
    return std::shared_ptr<const Executable>(std::move(out));
  }

  std::optional<std::string> save_key(const CompileOptions& options) const override {
    const auto target = target_of(options);
    if (build_id().empty() || !target.ok() || options.fault.planted()) return std::nullopt;
    ByteWriter out;
    for (const std::string& text : {build_id(), std::string(codegen::compiler_version()), codegen::identity(*target), options.target, options.matmul,
                                    options.tuning == nullptr ? std::string() : codegen::to_text(*options.tuning)})
      out.put(text);
    out.put(options.opt_level);
    out.put(static_cast<int>(options.precision));
    out.put(options.disabled_passes);
    out.put(options.updated_inputs);
    out.put(options.max_rewrites);
    const auto bytes = out.written();
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  Result<SavedExecutable> save(const Executable& executable) const override {
    const auto* own = dynamic_cast<const CpuExecutable*>(&executable);
    return own == nullptr ? Status(Code::kInvalidArgument, "not an executable of this backend") : save_executable(*own);
  }

  Result<std::shared_ptr<const Executable>> restore(std::span<const std::byte> bytes, const std::shared_ptr<Buffer>& weights,
                                                    const ir::Graph& interface, const CompileOptions& options) const override {
    TENON_ASSIGN_OR_RETURN(auto out, restore_executable(bytes, weights));
    out->keep_source(*this, interface, options);
    return std::shared_ptr<const Executable>(std::move(out));
  }
};

}  // namespace

const Backend& cpu_backend() {
  static const CpuBackend backend;
  return backend;
}

}  // namespace tenon::backends
