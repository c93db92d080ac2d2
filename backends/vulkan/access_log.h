#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backends/vulkan/recording.h"
#include "codegen/bounds_check.h"
#include "runtime/device.h"

namespace tenon::backends::vulkan {

/// What a checked kernel (kir::check_bounds) accesses.
struct KernelSites {
  std::string name;
  std::vector<kir::BufferInfo> buffers;  // of the kernel as it was, bindings first
  std::vector<kir::AccessSite> sites;
};

/// Where the dispatches of one recording leave the indices that were outside their buffers.
class AccessLog {
 public:
  /// `kernels`: by kernel of the plan.
  static Result<std::unique_ptr<AccessLog>> create(const Device& device, std::span<const runtime::DeviceCall> calls,
                                                   std::span<const runtime::DeviceValue> values,
                                                   std::span<const std::shared_ptr<const KernelSites>> kernels);

  /// The log of a dispatch, its last binding, and the kernel's dims with the sizes of its buffers.
  Binding binding(size_t dispatch) const;
  std::span<const int64_t> dims(size_t dispatch) const { return dispatches_[dispatch].dims; }
  /// After a run: kInternal names the first dispatch, and its first site, that was outside. Empties the log.
  Status take();

 private:
  struct Dispatch {
    std::string node;
    std::shared_ptr<const KernelSites> sites;
    std::vector<int64_t> dims;
    size_t sizes = 0;  // where the sizes of bindings begin in dims
    size_t first = 0;  // of its sites, in the memory
  };
  AccessLog() = default;
  void clear();
  Status violation(const Dispatch& dispatch, size_t site, int64_t index) const;

  std::vector<Dispatch> dispatches_;
  std::unique_ptr<Memory> memory_;
  size_t count_ = 0;
};

}  // namespace tenon::backends::vulkan
