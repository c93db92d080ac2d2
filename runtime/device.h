#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "runtime/plan.h"
#include "support/interrupt.h"
#include "support/status.h"
#include "support/tensor.h"

namespace tenon::runtime {

/// A value that the dispatches of a program bind.
struct DeviceValue {
  std::span<const std::byte> bytes;     // as the host addresses them
  bool constant = false;                // never changes while the plan lives: may be uploaded once
  bool moves = false;                   // lies elsewhere in each run: Device::run is told where
};

/// A dispatch whose dims are known.
struct DeviceCall {
  int32_t kernel = -1;                  // of the plan
  std::span<const int32_t> values;      // its bindings, in the program's values
  std::span<const int64_t> dims;
  int64_t grid = 0;                     // > 0
  int64_t work = -1;                    // scalar operations, about; -1: unknown
  std::string_view node;                // that it runs, for errors
};

/// Dispatches that were recorded together, to run any number of times.
class DeviceProgram {
 public:
  virtual ~DeviceProgram() = default;
  /// Nanoseconds that each dispatch of the last finished run took by the device's clock; empty when it was not asked to measure.
  virtual std::span<const double> times_ns() { return {}; }
};

/// Where a session's dispatches run when that is not the CPU. One object a session; not thread-safe.
///
/// Memory of allocate() has one address, which is the host's. Where staged() is false both sides use the same bytes. Else the
/// device has bytes of its own behind that address, and fetch() and wrote() copy between the two.
class Device {
 public:
  virtual ~Device() = default;
  /// Memory that kernels may write; arenas and outputs live in it. It may outlive the device, and be let go by any thread.
  virtual Result<std::shared_ptr<Buffer>> allocate(size_t bytes) = 0;
  virtual bool staged() const = 0;
  /// Whether programs that are asked to measure do so (DeviceProgram::times_ns).
  virtual bool measures() const { return false; }
  /// Whether the address lies in memory of allocate() that is still held.
  virtual bool holds(const std::byte* data) const = 0;
  /// The host will read these bytes, of allocate(), after the next finish(): the device's replace its own. All that was queued
  /// before is seen.
  virtual Status fetch(std::span<const std::byte> bytes) = 0;
  /// The host has written these bytes, of allocate(): what is queued from here on sees them.
  virtual Status wrote(std::span<const std::byte> bytes) = 0;
  /// The host keeps these bytes, of allocate(), for itself, once all that is queued is done: a staged device needs its own behind them no more.
  virtual void detach(const std::byte* data) = 0;

  /// Records dispatches; each sees the writes of those before. Nothing runs yet. `timed`: measures each of them. `old`: a
  /// program that is not needed any more and not running, whose memory may serve again; may be null.
  virtual Result<std::unique_ptr<DeviceProgram>> record(std::span<const DeviceValue> values, std::span<const DeviceCall> calls, bool timed,
                                                        std::unique_ptr<DeviceProgram> old) = 0;
  /// Queues a program. `moving`: where those values that move lie now, in order; their sizes are the recorded ones. What is outside
  /// memory of allocate() is only read, and taken now. A program runs once between two finish().
  virtual Status run(DeviceProgram& program, std::span<const std::byte* const> moving, const Interrupt& interrupt) = 0;
  /// Waits for all that is queued. The last non-zero check code, or 0. After a failure of the device, every call fails.
  virtual Result<int32_t> finish() = 0;
};

}  // namespace tenon::runtime
