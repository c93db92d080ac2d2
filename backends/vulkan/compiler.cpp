#include "backends/vulkan/compiler.h"

#include <algorithm>
#include <chrono>
#include <unordered_map>

#include "backends/vulkan/deny.h"
#include "backends/vulkan/requirement.h"
#include "codegen/kernel_tiles.h"
#include "codegen/plan/build.h"
#include "codegen/target_facts.h"
#include "passes/pass.h"

namespace tenon::backends::vulkan {
namespace {

bool supports(const DeviceInfo& info, DType d, bool stored) {
  switch (bits(d)) {
    case 8:
      return info.int8 && (!stored || info.storage8);
    case 16:
      return (d == DType::kF16 ? info.float16 : info.int16) && (!stored || info.storage16);
    case 64:
      return d != DType::kF64 || info.float64;
    default:
      return true;
  }
}

/// Whether the region divides floats with a remainder: its expansion needs a multiply-add with one rounding, which
/// Vulkan does not promise (Vulkan specification, Precision and Operation of SPIR-V Instructions).
bool has_float_remainder(const kir::Kernel& kernel, const kir::Region& region) {
  return std::any_of(region.insts.begin(), region.insts.end(), [&](const auto& inst) {
    const bool remainder =
        inst->kind == kir::InstKind::kOp &&
        (inst->op == kir::ScalarOp::kRem || inst->op == kir::ScalarOp::kMod || inst->op == kir::ScalarOp::kFloorDiv);
    if (remainder && is_float(kernel.dtype(inst->operands[0]))) return true;
    return std::any_of(inst->regions.begin(), inst->regions.end(),
                       [&](const kir::Region& nested) { return has_float_remainder(kernel, nested); });
  });
}

/// What the kernel needs and the device lacks.
std::optional<std::string> missing(const kir::Kernel& kernel, const DeviceInfo& info) {
  if (has_float_remainder(kernel, kernel.body)) return "float remainders need a fused multiply-add";
  for (const kir::BufferInfo& buffer : kernel.buffers)
    if (!supports(info, buffer.dtype, true)) return fmt::format("{} has no {} buffers", info.name, name(buffer.dtype));
  for (const kir::ValueInfo& value : kernel.values)
    if (value.dtype != DType::kBool && !supports(info, value.dtype, false))
      return fmt::format("{} has no {} arithmetic", info.name, name(value.dtype));
  return std::nullopt;
}

double elapsed_ms(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - since).count();
}

/// Pipelines for the plan's kernels, by structural hash, so that a plan built again compiles only what is new.
class Compiler {
 public:
  Compiler(VulkanExecutable& out, std::shared_ptr<Device> device, const CompileOptions& options)
      : out_(out), device_(std::move(device)), options_(options) {
    plan_options_.interrupt = options.interrupt;
    plan_options_.target = device_->info().target;
    plan_options_.refuse = [this](const kir::Kernel& kernel) { return refused(kernel); };
  }

  // A kernel that the device cannot have moves its node to the host, which may change the plan around it.
  Status run() {
    TENON_ASSIGN_OR_RETURN(deny_, deny_list(device_->info()));
    emit_options_ = device_->info().emit;
    std::vector<DenyEntry> deny = deny_;
    if (options_.checked) deny.push_back({.kernels = "matrix"});  // checks see accesses of elements
    deny_matrices(deny, emit_options_, plan_options_.target);
    for (bool complete = false; !complete;) {
      const auto start = std::chrono::steady_clock::now();
      TENON_ASSIGN_OR_RETURN(built_, codegen::build_plan(*out_.graph, plan_options_));
      out_.figures.lower_ms += elapsed_ms(start);
      TENON_ASSIGN_OR_RETURN(complete, compile_all());
    }
    device_->save_cache();
    TENON_RETURN_IF_ERROR(check_placement(built_.placement, options_.require_placement));
    Pipelines pipelines;
    for (uint64_t key : keys_) {
      Compiled& one = compiled_.at(key);
      out_.figures.cached += one.pipeline->cached;
      pipelines.push_back(one.pipeline);
      out_.modules.push_back(std::move(one.module));
    }
    TENON_ASSIGN_OR_RETURN(out_.plan, runtime::prepare(built_.plan));
    out_.rows = std::move(built_.placement);
    out_.figures.kernels = static_cast<int>(keys_.size());
    out_.figures.dispatches = built_.dispatches;
    const auto start = std::chrono::steady_clock::now();
    TENON_RETURN_IF_ERROR(out_.load(device_, std::move(pipelines)));
    out_.figures.setup_ms = elapsed_ms(start);
    return {};
  }

 private:
  struct Compiled {
    Module module;
    std::shared_ptr<const Pipeline> pipeline;
  };

  Result<Module> emit(kir::Kernel kernel) const {
    codegen::spirv::EmitOptions emit = emit_options_;
    Module out;
    out.lanes = kernel.lanes;
    if (options_.checked) {
      const std::vector<kir::BufferInfo> buffers = kernel.buffers;
      kir::expand_tiles(kernel);
      kir::CheckedKernel checked = kir::check_bounds(kernel);
      emit.log = checked.log;
      out.sites = std::make_shared<KernelSites>(KernelSites{kernel.name, buffers, std::move(checked.sites)});
      kernel = std::move(checked.kernel);
    }
    TENON_ASSIGN_OR_RETURN(out.words, codegen::spirv::emit(kernel, emit));
    emit.narrow_indices = false;
    out.wide_words = [emit, kept = std::make_shared<const kir::Kernel>(std::move(kernel))] { return codegen::spirv::emit(*kept, emit); };
    return out;
  }

  /// False: some kernel cannot be had.
  Result<bool> compile_all() {
    const auto start = std::chrono::steady_clock::now();
    const size_t failures = failures_.size();
    std::vector<uint64_t> keys;
    std::vector<const Module*> modules;
    keys_.clear();
    for (kir::Kernel& kernel : built_.kernels) {
      const uint64_t key = kir::structural_hash(kernel);
      keys_.push_back(key);
      if (compiled_.contains(key)) continue;
      Result<Module> module = emit(std::move(kernel));
      if (!module.ok()) {
        failures_.emplace(key, module.status().what());
        continue;
      }
      Compiled& one = compiled_[key];
      one.module = std::move(*module);
      keys.push_back(key);
      modules.push_back(&one.module);
    }
    out_.figures.emit_ms += elapsed_ms(start);
    const auto emitted = std::chrono::steady_clock::now();
    std::vector<std::string> errors;
    TENON_ASSIGN_OR_RETURN(Pipelines made,
                           make_pipelines(device_, modules, options_.compile_threads, errors, options_.interrupt));
    for (size_t i = 0; i < keys.size(); ++i) {
      if (made[i] != nullptr) {
        compiled_.at(keys[i]).pipeline = std::move(made[i]);
      } else {
        failures_.emplace(keys[i], errors[i]);
        compiled_.erase(keys[i]);
      }
    }
    out_.figures.pipeline_ms += elapsed_ms(emitted);
    return failures_.size() == failures;
  }

  std::optional<std::string> refused(const kir::Kernel& kernel) const {
    const auto found = failures_.find(kir::structural_hash(kernel));
    if (found != failures_.end()) return "SPIR-V: " + found->second;
    if (auto why = denied(kernel, deny_)) return why;
    return missing(kernel, device_->info());
  }

  VulkanExecutable& out_;
  std::shared_ptr<Device> device_;
  const CompileOptions& options_;
  std::vector<DenyEntry> deny_;
  codegen::spirv::EmitOptions emit_options_;
  codegen::PlanOptions plan_options_;
  codegen::BuiltPlan built_;
  std::vector<uint64_t> keys_;                       // of its kernels, which compile_all() takes
  std::unordered_map<uint64_t, Compiled> compiled_;  // modules stay where they are while pipelines are made
  std::unordered_map<uint64_t, std::string> failures_;
};

}  // namespace

Result<std::shared_ptr<VulkanExecutable>> compile(const std::shared_ptr<Device>& device, const ir::Graph& graph,
                                                  const CompileOptions& options) {
  if (!supports(device->info(), options.precision, true) || !supports(device->info(), options.precision, false))
    return Status(Code::kUnsupported, fmt::format("{} has no {}", device->info().name, tenon::name(options.precision)), "--precision", "leave it out");
  auto out = std::make_shared<VulkanExecutable>();
  out->graph = graph.clone();
  const auto start = std::chrono::steady_clock::now();
  passes::PipelineOptions pipeline = pipeline_options(options);
  pipeline.target = codegen::facts(device->info().target);
  TENON_RETURN_IF_ERROR(passes::run_pipeline(*out->graph, pipeline));
  out->figures.optimize_ms = elapsed_ms(start);
  TENON_RETURN_IF_ERROR(Compiler(*out, device, options).run());
  return out;
}

}  // namespace tenon::backends::vulkan
