#pragma once

#include <mutex>
#include <vector>

#include "backends/planned/planned.h"
#include "backends/vulkan/session_device.h"

namespace tenon::backends::vulkan {

/// SPIR-V of a kernel, kept so that pipelines can be made again.
struct Module {
  std::vector<uint32_t> words;
  WideWords wide_words;                 // see Pipeline
  int lanes = 1;
  std::shared_ptr<const KernelSites> sites;  // of a checked kernel; else null
};

/// Pipelines of these modules, made by so many threads (0: all). Null where the driver refuses one, with the reason in `errors`; a failure
/// of the device itself is the result.
Result<Pipelines> make_pipelines(const std::shared_ptr<const Device>& device, std::span<const Module* const> modules, int threads, std::vector<std::string>& errors,
                                 const Interrupt& interrupt);

/// The same where the device has had each of them before, so that a refusal is an error.
Result<Pipelines> make_all_pipelines(const std::shared_ptr<const Device>& device, std::span<const Module> modules, const CompileOptions& options);

/// A model compiled for a Vulkan device. It outlives the loss of the device: the plan is loaded onto a new one once, and should that be lost
/// before it has completed a run, the model is compiled for the CPU.
class VulkanExecutable final : public PlannedExecutable {
 public:
  Result<std::unique_ptr<Session>> create_session(const SessionOptions& options) const override;
  std::string_view code_of() const override { return "vulkan"; }

  /// What is needed after a loss; before any pass.
  void keep_for_fallback(const ir::Graph& source, const CompileOptions& options);
  /// Uploads the plan's constants and keeps what sessions share.
  Status load(std::shared_ptr<const Device> device, Pipelines pipelines);

  std::vector<Module> modules;          // by kernel of the plan

 private:
  friend Result<SavedExecutable> save_executable(const VulkanExecutable& executable);
  class VulkanSession;
  Result<std::shared_ptr<runtime::Device>> create_device() const override;
  std::shared_ptr<const Loaded> loaded() const;
  /// The plan on another device than this one, which was lost. `proven`: it has completed a run.
  Result<std::shared_ptr<const Loaded>> reload(const std::shared_ptr<const Loaded>& lost, bool proven) const;
  Result<std::shared_ptr<const Loaded>> load_onto(std::shared_ptr<const Device> device, Pipelines pipelines) const;
  Result<std::shared_ptr<const Executable>> on_cpu(const Status& why) const;

  std::unique_ptr<const ir::Graph> source_graph_;  // without weights where they can be loaded again
  CompileOptions source_options_;
  mutable std::mutex loss_mutex_;
  mutable std::shared_ptr<const Loaded> loaded_;
  mutable bool reloaded_ = false;                  // loaded_ took the place of a lost one
  mutable Result<std::shared_ptr<const Executable>> fallback_ = std::shared_ptr<const Executable>();
};

/// Backend::save; kUnsupported for kernels that are checked and for plans that need their graph.
Result<SavedExecutable> save_executable(const VulkanExecutable& executable);
/// Backend::restore, on this device, which is lost where the error is that.
Result<std::shared_ptr<VulkanExecutable>> restore_executable(const std::shared_ptr<Device>& device, std::span<const std::byte> bytes,
                                                             const std::shared_ptr<Buffer>& weights, const CompileOptions& options);

}  // namespace tenon::backends::vulkan
