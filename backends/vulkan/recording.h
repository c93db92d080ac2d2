#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backends/vulkan/stream.h"
#include "runtime/plan.h"

namespace tenon::backends::vulkan {

/// A buffer that a dispatch binds.
struct Binding {
  uint64_t address = 0;
  uint64_t bytes = 0;
  runtime::Access access = runtime::Access::kReadWrite;
};

struct Dispatch {
  const Pipeline* pipeline = nullptr;
  std::span<const Binding> bindings;
  std::span<const int64_t> dims;
  int64_t grid = 0;                 // > 0
  double ns = 0;                    // that it takes, about
};

/// Dispatches in command buffers that can be submitted any number of times. All their parameters lie in one block of memory that the host
/// writes, so that a binding may move without anything being recorded again. Barriers stand only where a dispatch meets what one since
/// the last barrier wrote, or overwrites what it read. Not thread-safe.
class Recording {
 public:
  static Result<std::unique_ptr<Recording>> create(std::shared_ptr<const Device> device);
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  /// Replaces what was recorded; it must not be running. A failing check writes its code to `check_code`. `timed`: see times_ns().
  Status record(std::span<const Dispatch> dispatches, uint64_t check_code, bool timed);
  /// Another address for a binding, numbered over all dispatches; before the recording is enqueued.
  void move(size_t binding, uint64_t address);
  /// Stops early, between parts, when the interrupt says so.
  Status enqueue(Stream& stream, const Interrupt& interrupt) const;
  /// How long each dispatch took, once it has run; empty when it was not timed.
  Result<std::span<const double>> times_ns();

  int barriers() const { return barriers_; }
  int parts() const { return static_cast<int>(parts_.size()); }

 private:
  struct Part {
    VkCommandBuffer commands = VK_NULL_HANDLE;
    double ns = 0;
    int dispatches = 0;
  };
  struct Range {
    uint64_t begin, end;
  };
  Recording() = default;
  Status begin_part();
  Status end_part();
  Status place_parameters(std::span<const Dispatch> dispatches, uint64_t check_code);
  Status add(const Dispatch& dispatch, uint64_t parameters);
  void barrier_before(const Dispatch& dispatch);
  void barrier();
  void timestamp();

  std::shared_ptr<const Device> device_;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  std::vector<VkCommandBuffer> buffers_;  // made so far; the first used_ are in parts
  size_t used_ = 0;
  std::vector<Part> parts_;
  std::unique_ptr<Memory> parameters_;
  std::vector<size_t> offsets_;           // of each dispatch's parameters, then of each binding
  size_t bindings_ = 0;
  std::vector<Range> read_, written_;     // since the last barrier
  int barriers_ = 0;
  VkQueryPool queries_ = VK_NULL_HANDLE;
  uint32_t query_capacity_ = 0, query_ = 0;
  bool timed_ = false;
  size_t dispatches_ = 0;
  std::vector<double> times_;
};

}  // namespace tenon::backends::vulkan
