#pragma once

#include <memory>
#include <vector>

#include "backends/vulkan/access_log.h"
#include "backends/vulkan/constants.h"
#include "backends/vulkan/recording.h"
#include "backends/vulkan/regions.h"
#include "runtime/device.h"

namespace tenon::backends::vulkan {

/// The pipelines of a plan's kernels, in the plan's order.
using Pipelines = std::vector<std::shared_ptr<const Pipeline>>;

/// A plan on a device: what its sessions share. Immutable.
struct Loaded {
  std::shared_ptr<const Device> device;
  Pipelines pipelines;
  std::shared_ptr<const std::vector<runtime::PlanKernel>> kernels;
  std::vector<std::shared_ptr<const KernelSites>> sites;  // by kernel, where kernels are checked; else empty
  std::shared_ptr<const Constants> constants;
};

/// What a session has done on its device.
struct SessionFigures {
  uint64_t recordings = 0, runs = 0, submissions = 0;
  int barriers = 0;                 // of the last recording
};

/// Runs one session's dispatches on a Vulkan device.
class SessionDevice final : public runtime::Device {
 public:
  static Result<std::shared_ptr<SessionDevice>> create(std::shared_ptr<const Loaded> loaded);

  Result<std::shared_ptr<Buffer>> allocate(size_t bytes) override;
  bool staged() const override { return loaded_->device->info().staged; }
  bool measures() const override { return loaded_->device->info().timestamp_ns > 0; }
  bool holds(const std::byte* data) const override { return regions_->find(data).region != nullptr; }
  Status fetch(std::span<const std::byte> bytes) override;
  Status wrote(std::span<const std::byte> bytes) override;
  void detach(const std::byte* data) override { regions_->detach(data); }
  Result<std::unique_ptr<runtime::DeviceProgram>> record(std::span<const runtime::DeviceValue> values, std::span<const runtime::DeviceCall> calls, bool timed,
                                                         std::unique_ptr<runtime::DeviceProgram> old) override;
  Status run(runtime::DeviceProgram& program, std::span<const std::byte* const> moving, const Interrupt& interrupt) override;
  Result<int32_t> finish() override;

  SessionFigures figures() const;

 private:
  class Program;
  SessionDevice() = default;
  Result<uint64_t> address_of(const runtime::DeviceValue& value, Program& program);
  double expected_ns(const runtime::DeviceCall& call, std::span<const runtime::DeviceValue> values) const;

  std::shared_ptr<const Loaded> loaded_;
  std::shared_ptr<Regions> regions_;
  std::unique_ptr<Memory> check_code_;
  std::unique_ptr<Stream> stream_;
  std::vector<Program*> ran_;       // since the last finish(), those whose times or logs are to be read
  std::vector<std::unique_ptr<Memory>> late_;  // constants that the executable did not know of
  SessionFigures figures_;
};

}  // namespace tenon::backends::vulkan
