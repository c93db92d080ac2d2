#include "backends/vulkan/executable.h"

#include <atomic>
#include <thread>

#include "backends/cpu/cpu.h"
#include "backends/vulkan/devices.h"
#include "ir/weights.h"
#include "support/cpu_count.h"
#include "support/log.h"

namespace tenon::backends::vulkan {
namespace {

void collect_constants(const runtime::Plan& plan, std::vector<std::span<const std::byte>>& out) {
  for (const runtime::Step& step : plan.steps) {
    for (runtime::ValueIdx v : step.bindings) {
      const runtime::PlanValue* value = &plan.values[static_cast<size_t>(v)];
      while (value->storage == runtime::Storage::kAlias) value = &plan.values[static_cast<size_t>(value->alias_of)];
      if (value->storage != runtime::Storage::kConstant) continue;
      if (const auto* tensor = std::get_if<Tensor>(&value->constant)) out.emplace_back(tensor->data(), tensor->bytes());
    }
    for (const auto& nested : step.plans) collect_constants(*nested, out);
  }
}

}  // namespace

Result<Pipelines> make_pipelines(const std::shared_ptr<const Device>& device, std::span<const Module* const> modules, int threads, std::vector<std::string>& errors,
                                 const Interrupt& interrupt) {
  Pipelines out(modules.size());
  errors.assign(modules.size(), {});
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i; (i = next++) < modules.size() && interrupt.check().ok() && !device->lost();) {
      auto made = device->create_pipeline(modules[i]->words, modules[i]->lanes);
      if (made.ok()) (*made)->wide_words = modules[i]->wide_words, out[i] = std::move(*made);
      else errors[i] = made.status().what();
    }
  };
  const int wanted = std::min<int>(threads > 0 ? threads : available_cores(), static_cast<int>(modules.size()));
  std::vector<std::thread> others;
  for (int t = 1; t < wanted; ++t) others.emplace_back(work);
  work();
  for (std::thread& thread : others) thread.join();
  TENON_RETURN_IF_ERROR(device->status());
  TENON_RETURN_IF_ERROR(interrupt.check().at("compiling kernels"));
  return out;
}

Result<Pipelines> make_all_pipelines(const std::shared_ptr<const Device>& device, std::span<const Module> modules, const CompileOptions& options) {
  std::vector<const Module*> wanted;
  for (const Module& module : modules) wanted.push_back(&module);
  std::vector<std::string> errors;
  TENON_ASSIGN_OR_RETURN(Pipelines out, make_pipelines(device, wanted, options.compile_threads, errors, options.interrupt));
  for (const std::string& text : errors)
    if (!text.empty()) return Status(Code::kIo, text, device->info().name);
  return out;
}

// ---- loading and loss ----------------------------------------------------------------------------------------------

void VulkanExecutable::keep_for_fallback(const ir::Graph& source, const CompileOptions& options) {
  source_graph_ = options.reload ? ir::without_weights(source) : source.clone();
  source_options_ = options;
  source_options_.interrupt = {};
}

Result<std::shared_ptr<const Loaded>> VulkanExecutable::load_onto(std::shared_ptr<const Device> device, Pipelines pipelines) const {
  auto made = std::make_shared<Loaded>();
  std::vector<std::span<const std::byte>> constants;
  collect_constants(*plan->plan, constants);
  TENON_ASSIGN_OR_RETURN(made->constants, Constants::upload(device, std::move(constants)));
  made->device = std::move(device);
  made->pipelines = std::move(pipelines);
  made->kernels = plan->plan->kernels;
  for (const Module& module : modules)
    if (module.sites != nullptr) made->sites.push_back(module.sites);
  return std::shared_ptr<const Loaded>(std::move(made));
}

Status VulkanExecutable::load(std::shared_ptr<const Device> device, Pipelines pipelines) {
  TENON_ASSIGN_OR_RETURN(loaded_, load_onto(std::move(device), std::move(pipelines)));
  return {};
}

std::shared_ptr<const Loaded> VulkanExecutable::loaded() const {
  const std::lock_guard lock(loss_mutex_);
  return loaded_;
}

Result<std::shared_ptr<runtime::Device>> VulkanExecutable::create_device() const {
  TENON_ASSIGN_OR_RETURN(std::shared_ptr<runtime::Device> made, SessionDevice::create(loaded()));
  return made;
}

Result<std::shared_ptr<const Loaded>> VulkanExecutable::reload(const std::shared_ptr<const Loaded>& lost, bool proven) const {
  const std::lock_guard lock(loss_mutex_);
  if (loaded_ != lost && !loaded_->device->lost()) return loaded_;  // another session has been here
  if (reloaded_ && !proven) return loaded_->device->status();
  TENON_ASSIGN_OR_RETURN(const std::shared_ptr<Device> device, shared_device(source_options_.device));
  device->use_cache(source_options_.cache);
  TENON_ASSIGN_OR_RETURN(Pipelines pipelines, make_all_pipelines(device, modules, source_options_));
  TENON_ASSIGN_OR_RETURN(loaded_, load_onto(device, std::move(pipelines)));
  reloaded_ = true;
  return loaded_;
}

Result<std::shared_ptr<const Executable>> VulkanExecutable::on_cpu(const Status& why) const {
  const std::lock_guard lock(loss_mutex_);
  if (!fallback_.ok() || *fallback_ != nullptr) return fallback_;
  if (!source_options_.require_placement.empty()) return Status(why).with_hint("--require-placement keeps the model from the CPU");
  log(LogLevel::kWarn, "the model runs on the CPU from here on: {}", why.to_string());
  CompileOptions options = source_options_;
  options.target.clear();
  Result<std::unique_ptr<ir::Graph>> graph = options.reload ? options.reload() : source_graph_->clone();
  fallback_ = graph.ok() ? cpu_backend().compile_owned(std::move(*graph), options) : graph.status();
  return fallback_;
}

// ---- sessions ------------------------------------------------------------------------------------------------------

class VulkanExecutable::VulkanSession final : public Session {
 public:
  VulkanSession(std::shared_ptr<const VulkanExecutable> owner, const SessionOptions& options) : owner_(std::move(owner)), options_(options) {}

  Status start() {
    loaded_ = owner_->loaded();
    proven_ = false;
    auto made = owner_->PlannedExecutable::create_session(options_);
    if (!made.ok()) return made.status();
    session_ = std::move(*made);
    session_->set_aside(aside_);
    return {};
  }

  Result<std::vector<HostValue>> run(std::span<const HostValue> inputs, const Interrupt& interrupt) override {
    if (on_cpu_) return session_->run(inputs, interrupt);
    for (;;) {
      Result<std::vector<HostValue>> outputs = session_ != nullptr ? session_->run(inputs, interrupt) : Result<std::vector<HostValue>>(loaded_->device->status());
      if (outputs.ok()) {
        proven_ = true;
        return outputs;
      }
      if (!loaded_->device->lost()) return outputs;
      if (!again(outputs.status())) {
        if (!move_to_cpu(outputs.status())) return outputs;
        return session_->run(inputs, interrupt);
      }
    }
  }

  const std::vector<Placement>* last_placement() const override { return session_ == nullptr ? nullptr : session_->last_placement(); }
  size_t arena_bytes() const override { return session_ == nullptr ? 0 : session_->arena_bytes(); }
  void set_aside(size_t bytes) override {
    aside_ = bytes;
    if (session_ != nullptr) session_->set_aside(bytes);
  }
  std::string_view taken_over_by() const override { return on_cpu_ ? cpu_backend().name() : std::string_view(); }

 private:
  /// Begins anew on another device. False: there is none, or it was lost as well.
  bool again(const Status& why) {
    session_.reset();
    const auto other = owner_->reload(loaded_, proven_);
    if (!other.ok()) return false;
    log(LogLevel::kWarn, "the device was lost and is used anew: {}", why.to_string());
    return start().ok() || loaded_->device->lost();
  }

  bool move_to_cpu(const Status& why) {
    const auto executable = owner_->on_cpu(why);
    auto made = executable.ok() ? (*executable)->create_session(options_) : executable.status();
    if (!made.ok()) {
      log(LogLevel::kError, "the model does not go on on the CPU: {}", made.status().to_string());
      return false;
    }
    session_ = std::move(*made);
    session_->set_aside(aside_);
    return on_cpu_ = true;
  }

  std::shared_ptr<const VulkanExecutable> owner_;
  SessionOptions options_;
  std::shared_ptr<const Loaded> loaded_;
  std::unique_ptr<Session> session_;    // null: the device was lost before there was one
  bool proven_ = false, on_cpu_ = false;
  size_t aside_ = 0;
};

Result<std::unique_ptr<Session>> VulkanExecutable::create_session(const SessionOptions& options) const {
  auto made = std::make_unique<VulkanSession>(std::static_pointer_cast<const VulkanExecutable>(shared_from_this()), options);
  Status started = made->start();
  if (!started.ok() && !loaded()->device->lost()) return started;  // a lost device is the first run's concern
  return std::unique_ptr<Session>(std::move(made));
}

}  // namespace tenon::backends::vulkan
