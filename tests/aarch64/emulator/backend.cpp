#include "tests/aarch64/emulator/backend.h"

#include <unordered_map>

#include "backends/planned/planned.h"
#include "codegen/llvm/jit.h"
#include "codegen/plan/build.h"
#include "codegen/target_facts.h"
#include "passes/pass.h"
#include "tests/aarch64/emulator/emulator.h"

namespace tenon::emulator {
namespace {

using Kernels = std::vector<int32_t>;  // their numbers in the emulator, in the plan's order

/// Runs dispatches as they come. Arenas and outputs are shared memory; inputs and results of host calls are copied for each, other
/// constants once.
class EmulatedDevice final : public runtime::Device {
 public:
  EmulatedDevice(std::shared_ptr<Emulator> emulator, Kernels kernels) : emulator_(std::move(emulator)), kernels_(std::move(kernels)) {}

  Result<std::shared_ptr<Buffer>> allocate(size_t bytes) override { return emulator_->allocate(bytes); }

  bool staged() const override { return false; }
  bool holds(const std::byte* data) const override { return emulator_->place_of(data).has_value(); }
  Status fetch(std::span<const std::byte>) override { return {}; }
  Status wrote(std::span<const std::byte>) override { return {}; }
  void detach(const std::byte*) override {}

  Result<std::unique_ptr<runtime::DeviceProgram>> record(std::span<const runtime::DeviceValue> values, std::span<const runtime::DeviceCall> calls, bool,
                                                         std::unique_ptr<runtime::DeviceProgram>) override {
    auto program = std::make_unique<Program>();
    program->values.assign(values.begin(), values.end());
    for (const runtime::DeviceCall& call : calls)
      program->calls.push_back({call.kernel, {call.values.begin(), call.values.end()}, {call.dims.begin(), call.dims.end()}, call.grid});
    return std::unique_ptr<runtime::DeviceProgram>(std::move(program));
  }

  Status run(runtime::DeviceProgram& given, std::span<const std::byte* const> moving, const Interrupt& interrupt) override {
    const auto& program = static_cast<const Program&>(given);
    std::vector<std::shared_ptr<Buffer>> copies;
    std::vector<Place> places;
    size_t moved = 0;
    for (const runtime::DeviceValue& value : program.values) {
      const std::byte* data = value.moves ? moving[moved++] : value.bytes.data();
      TENON_ASSIGN_OR_RETURN(const Place place, place_of(value, data, copies));
      places.push_back(place);
    }
    for (const Call& call : program.calls) {
      TENON_RETURN_IF_ERROR(interrupt.check());
      std::vector<Place> bindings;
      for (int32_t v : call.values) bindings.push_back(places[static_cast<size_t>(v)]);
      TENON_ASSIGN_OR_RETURN(const int32_t code, emulator_->run(kernels_[static_cast<size_t>(call.kernel)], bindings, call.dims, 0, call.grid));
      if (code != 0) code_ = code;
    }
    return {};
  }

  Result<int32_t> finish() override { return std::exchange(code_, 0); }

 private:
  struct Call {
    int32_t kernel;
    std::vector<int32_t> values;
    std::vector<int64_t> dims;
    int64_t grid;
  };
  struct Program final : runtime::DeviceProgram {
    std::vector<runtime::DeviceValue> values;
    std::vector<Call> calls;
  };

  Result<Place> place_of(const runtime::DeviceValue& value, const std::byte* data, std::vector<std::shared_ptr<Buffer>>& copies) {
    if (const std::optional<Place> place = emulator_->place_of(data)) return *place;
    std::shared_ptr<Buffer>& copy = value.constant ? constants_[data] : copies.emplace_back();
    if (copy == nullptr || copy->size() < value.bytes.size()) {
      TENON_ASSIGN_OR_RETURN(copy, emulator_->allocate(value.bytes.size()));
      std::copy_n(data, value.bytes.size(), copy->data());
    }
    return *emulator_->place_of(copy->data());
  }

  std::shared_ptr<Emulator> emulator_;
  const Kernels kernels_;
  std::unordered_map<const std::byte*, std::shared_ptr<Buffer>> constants_;
  int32_t code_ = 0;
};

class EmulatedExecutable final : public backends::PlannedExecutable {
 public:
  std::shared_ptr<Emulator> emulator;
  Kernels kernels;

  Result<std::shared_ptr<runtime::Device>> create_device() const override { return std::shared_ptr<runtime::Device>(std::make_shared<EmulatedDevice>(emulator, kernels)); }
};

Result<int32_t> compile_kernel(const kir::Kernel& kernel, const codegen::Target& target, Emulator& emulator) {
  kir::Kernel named = kir::clone(kernel);
  named.name = "kernel";
  const kir::Kernel* const one = &named;
  TENON_ASSIGN_OR_RETURN(const std::string object, codegen::emit({&one, 1}, target, codegen::EmitKind::kObject));
  return emulator.link(object, named.name);
}

class EmulatedBackend final : public backends::Backend {
 public:
  std::string_view name() const override { return "aarch64"; }
  Status available() const override { return Emulator::available(); }
  passes::TargetFacts target_facts(const backends::CompileOptions& options) const override {
    const auto target = codegen::cpu_target(options.target, false);
    return target.ok() ? codegen::facts(*target) : passes::TargetFacts{};
  }

  Result<std::shared_ptr<const backends::Executable>> compile(const ir::Graph& graph, const backends::CompileOptions& options) const override {
    auto out = std::make_shared<EmulatedExecutable>();
    out->keep_source(*this, graph, options);
    out->graph = graph.clone();
    passes::PipelineOptions pipeline;
    pipeline.level = options.opt_level;
    pipeline.factors = options.precision;
    pipeline.interrupt = options.interrupt;
    pipeline.target = target_facts(options);
    TENON_RETURN_IF_ERROR(passes::run_pipeline(*out->graph, pipeline));
    codegen::PlanOptions plan;
    plan.interrupt = options.interrupt;
    TENON_ASSIGN_OR_RETURN(plan.target, codegen::cpu_target(options.target, false));
    TENON_ASSIGN_OR_RETURN(codegen::BuiltPlan built, codegen::build_plan(*out->graph, plan));
    TENON_ASSIGN_OR_RETURN(out->emulator, Emulator::shared(options.target));
    for (const kir::Kernel& kernel : built.kernels) {
      TENON_RETURN_IF_ERROR(options.interrupt.check());
      TENON_ASSIGN_OR_RETURN(const int32_t number, compile_kernel(kernel, plan.target, *out->emulator));
      out->kernels.push_back(number);
    }
    TENON_ASSIGN_OR_RETURN(const auto device, out->create_device());
    TENON_RETURN_IF_ERROR(codegen::run_setup(built, *device, options.interrupt));
    TENON_ASSIGN_OR_RETURN(out->plan, runtime::prepare(built.plan));
    out->rows = std::move(built.placement);
    out->figures.kernels = static_cast<int>(built.kernels.size());
    out->figures.dispatches = built.dispatches;
    return std::shared_ptr<const backends::Executable>(std::move(out));
  }
};

}  // namespace

const backends::Backend& emulated_backend() {
  static const EmulatedBackend backend;
  return backend;
}

}  // namespace tenon::emulator
