#include "backends/cpu/cpu.h"
#include "backends/vulkan/compiler.h"
#include "backends/vulkan/deny.h"
#include "backends/vulkan/devices.h"
#include "backends/vulkan/requirement.h"
#include "backends/vulkan/vulkan.h"
#include "codegen/target_facts.h"
#include "support/build_id.h"
#include "support/byte_io.h"
#include "support/log.h"

namespace tenon::backends {
namespace {

using vulkan::VulkanExecutable;
using Made = Result<std::shared_ptr<const Executable>>;

/// What `make` makes on the wanted device: a second time on a new one where the device is lost meanwhile, then `on_cpu`
/// instead.
template <class Make, class OnCpu>
Made survive(const CompileOptions& options, const Make& make, const OnCpu& on_cpu) {
  Status lost;
  for (int attempt = 0; attempt < 2; ++attempt) {
    const auto device = vulkan::shared_device(options.device);
    if (!device.ok() && lost.ok()) return device.status();
    if (!device.ok()) break;
    (*device)->use_cache(options.cache);
    Result<std::shared_ptr<VulkanExecutable>> made = make(*device);
    if (made.ok()) return std::shared_ptr<const Executable>(std::move(*made));
    if (!(*device)->lost()) return std::move(made).status();
    lost = std::move(made).status();
    if (attempt == 0) log(LogLevel::kWarn, "the device was lost and is used anew: {}", lost.to_string());
  }
  if (!options.require_placement.empty()) return lost;
  log(LogLevel::kWarn, "the model is compiled for the CPU: {}", lost.to_string());
  CompileOptions cpu = options;
  cpu.target.clear();
  return on_cpu(cpu);
}

Status check_target(const CompileOptions& options) {
  if (options.target.empty() || options.target == "vulkan") return {};
  return Status(Code::kInvalidArgument, fmt::format("target '{}' is not a Vulkan target", options.target), "--target",
                "leave it out, or use --backend cpu");
}

/// What the environment says beside the caller.
CompileOptions with_environment(const CompileOptions& options) {
  CompileOptions out = options;
  out.checked |= vulkan::DeviceOptions::from_environment().checked;
  return out;
}

class VulkanBackend final : public Backend {
 public:
  std::string_view name() const override { return "vulkan"; }
  bool rounds_factors() const override { return true; }
  // Opens and closes a device of its own: drivers do not survive fork(), and callers ask before they fork workers.
  Status available() const override { return vulkan::can_open(); }
  Status check_options(const CompileOptions& options) const override {
    TENON_RETURN_IF_ERROR(check_target(options));
    TENON_RETURN_IF_ERROR(vulkan::check_requirement(options.require_placement));
    return options.device.empty() ? Status() : vulkan::can_open(options.device);
  }

  passes::TargetFacts target_facts(const CompileOptions& options) const override {
    const auto device = vulkan::shared_device(options.device);
    return device.ok() ? codegen::facts((*device)->info().target) : passes::TargetFacts{};
  }

  Made compile(const ir::Graph& graph, const CompileOptions& given) const override {
    const CompileOptions options = with_environment(given);
    TENON_RETURN_IF_ERROR(check_target(options));
    const auto make = [&](const std::shared_ptr<vulkan::Device>& device) -> Result<std::shared_ptr<VulkanExecutable>> {
      TENON_ASSIGN_OR_RETURN(auto out, vulkan::compile(device, graph, options));
      out->keep_source(*this, graph, options);
      out->keep_for_fallback(graph, options);
      return out;
    };
    return survive(options, make, [&](const CompileOptions& cpu) { return cpu_backend().compile(graph, cpu); });
  }

  std::optional<std::string> save_key(const CompileOptions& given) const override {
    const CompileOptions options = with_environment(given);
    const auto device = vulkan::shared_device(options.device);
    if (build_id().empty() || !device.ok() || options.fault.planted() || options.checked) return std::nullopt;
    const auto denied = vulkan::deny_list((*device)->info());
    if (!denied.ok()) return std::nullopt;
    ByteWriter out;
    out.put((*device)->identity());
    out.put((*device)->info().code_identity());
    for (const vulkan::DenyEntry& entry : *denied) out.put(entry.kernels + " " + entry.why);
    out.put(options.target);
    out.put(options.require_placement);
    out.put(options.opt_level);
    out.put(tenon::name(options.precision));
    out.put(options.disabled_passes);
    out.put(options.max_rewrites);
    const auto bytes = out.written();
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  Result<SavedExecutable> save(const Executable& executable) const override {
    const auto* own = dynamic_cast<const VulkanExecutable*>(&executable);
    return own == nullptr ? Status(Code::kInvalidArgument, "not an executable of this backend")
                          : vulkan::save_executable(*own);
  }

  Made restore(std::span<const std::byte> bytes, const std::shared_ptr<Buffer>& weights, const ir::Graph& interface,
               const CompileOptions& given) const override {
    const CompileOptions options = with_environment(given);
    if (!options.reload)
      return Status(Code::kUnsupported, "after a loss of the device the model could not be made again");
    const auto make = [&](const std::shared_ptr<vulkan::Device>& device) -> Result<std::shared_ptr<VulkanExecutable>> {
      TENON_ASSIGN_OR_RETURN(auto out, vulkan::restore_executable(device, bytes, weights, options));
      out->keep_source(*this, interface, options);
      out->keep_for_fallback(interface, options);
      return out;
    };
    return survive(options, make, [&](const CompileOptions& cpu) -> Made {
      TENON_ASSIGN_OR_RETURN(auto graph, options.reload());
      return cpu_backend().compile_owned(std::move(graph), cpu);
    });
  }
};

}  // namespace

const Backend& vulkan_backend() {
  static const VulkanBackend backend;
  return backend;
}

}  // namespace tenon::backends
