#include "backends/vulkan/vulkan.h"

#include <algorithm>
#include <chrono>
#include <unordered_map>

#include "backends/planned/planned.h"
#include "backends/vulkan/session_device.h"
#include "codegen/plan/build.h"
#include "passes/pass.h"

namespace tenon::backends {
namespace {

using vulkan::DeviceInfo;
using vulkan::Pipelines;
using vulkan::SessionDevice;

/// The device of this process, opened at first use; an error is kept as well.
const Result<std::shared_ptr<vulkan::Device>>& device() {
  static const Result<std::shared_ptr<vulkan::Device>> opened = vulkan::Device::open();
  return opened;
}

bool supports(const DeviceInfo& info, DType d, bool stored) {
  switch (bits(d)) {
    case 8: return info.int8 && (!stored || info.storage8);
    case 16: return (d == DType::kF16 ? info.float16 : info.int16) && (!stored || info.storage16);
    case 64: return d != DType::kF64 || info.float64;
    default: return true;
  }
}

/// Whether the region divides floats with a remainder: its expansion needs a multiply-add with one rounding, which Vulkan
/// does not promise (Vulkan specification, Precision and Operation of SPIR-V Instructions).
bool has_float_remainder(const kir::Kernel& kernel, const kir::Region& region) {
  return std::any_of(region.insts.begin(), region.insts.end(), [&](const auto& inst) {
    const bool remainder = inst->kind == kir::InstKind::kOp &&
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

class VulkanExecutable final : public PlannedExecutable {
 public:
  std::shared_ptr<const Pipelines> pipelines;

 private:
  Result<std::shared_ptr<runtime::Device>> create_device() const override {
    TENON_ASSIGN_OR_RETURN(std::shared_ptr<runtime::Device> made, SessionDevice::create(*device(), pipelines));
    return made;
  }
};

double elapsed_ms(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - since).count();
}

/// Pipelines for the plan's kernels, by structural hash, so that a plan built again compiles only what is new.
class Compiler {
 public:
  Compiler(VulkanExecutable& out, const Interrupt& interrupt) : out_(out) {
    options_.interrupt = interrupt;
    options_.target = (*device())->info().target;
    options_.refuse = [this](const kir::Kernel& kernel) { return refused(kernel); };
  }

  // A kernel that the device cannot have moves its node to the host, which may change the plan around it.
  Status run() {
    for (bool complete = false; !complete;) {
      const auto start = std::chrono::steady_clock::now();
      TENON_ASSIGN_OR_RETURN(built_, codegen::build_plan(*out_.graph, options_));
      out_.figures.lower_ms += elapsed_ms(start);
      complete = compile_all();
      TENON_RETURN_IF_ERROR(options_.interrupt.check().at("compiling kernels"));
    }
    auto pipelines = std::make_shared<Pipelines>();
    for (const kir::Kernel& kernel : built_.kernels) pipelines->push_back(std::move(compiled_[kir::structural_hash(kernel)]));
    out_.pipelines = std::move(pipelines);
    TENON_ASSIGN_OR_RETURN(out_.plan, runtime::prepare(built_.plan));
    out_.rows = std::move(built_.placement);
    out_.figures.kernels = static_cast<int>(built_.kernels.size());
    out_.figures.dispatches = built_.dispatches;
    return {};
  }

 private:
  bool compile_all() {
    const auto start = std::chrono::steady_clock::now();
    const size_t failures = failures_.size();
    for (const kir::Kernel& kernel : built_.kernels) {
      const uint64_t key = kir::structural_hash(kernel);
      if (compiled_.contains(key)) continue;
      if (!options_.interrupt.check().ok()) break;
      auto made = compile(kernel);
      if (made.ok()) compiled_.emplace(key, std::move(*made));
      else failures_.emplace(key, made.status().what());
    }
    out_.figures.emit_ms += elapsed_ms(start);
    return failures_.size() == failures;
  }

  static Result<std::unique_ptr<vulkan::Pipeline>> compile(const kir::Kernel& kernel) {
    const vulkan::Device& gpu = **device();
    TENON_ASSIGN_OR_RETURN(const auto words, codegen::spirv::emit(kernel, gpu.info().emit));
    return gpu.create_pipeline(words, kernel.lanes);
  }

  std::optional<std::string> refused(const kir::Kernel& kernel) const {
    const auto found = failures_.find(kir::structural_hash(kernel));
    if (found != failures_.end()) return "SPIR-V: " + found->second;
    return missing(kernel, (*device())->info());
  }

  VulkanExecutable& out_;
  codegen::PlanOptions options_;
  codegen::BuiltPlan built_;
  std::unordered_map<uint64_t, std::unique_ptr<vulkan::Pipeline>> compiled_;
  std::unordered_map<uint64_t, std::string> failures_;
};

class VulkanBackend final : public Backend {
 public:
  std::string_view name() const override { return "vulkan"; }
  // Opens and closes a device of its own: drivers do not survive fork(), and callers ask before they fork workers.
  Status available() const override { return vulkan::Device::open().status(); }

  Result<std::shared_ptr<const Executable>> compile(const ir::Graph& graph, const CompileOptions& options) const override {
    if (!device().ok()) return device().status();
    if (!options.target.empty() && options.target != "vulkan")
      return Status(Code::kInvalidArgument, fmt::format("target '{}' is not a Vulkan target", options.target), "--target",
                    "leave it out, or use --backend cpu");
    auto out = std::make_shared<VulkanExecutable>();
    out->keep_source(*this, graph, options);
    out->graph = graph.clone();
    const auto start = std::chrono::steady_clock::now();
    passes::PipelineOptions pipeline;
    pipeline.level = options.opt_level;
    pipeline.disabled = options.disabled_passes;
    pipeline.max_rewrites = options.max_rewrites;
    pipeline.fault = options.fault;
    pipeline.interrupt = options.interrupt;
    TENON_RETURN_IF_ERROR(passes::run_pipeline(*out->graph, pipeline));
    out->figures.optimize_ms = elapsed_ms(start);
    TENON_RETURN_IF_ERROR(Compiler(*out, options.interrupt).run());
    return std::shared_ptr<const Executable>(std::move(out));
  }
};

}  // namespace

const Backend& vulkan_backend() {
  static const VulkanBackend backend;
  return backend;
}

}  // namespace tenon::backends
