#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/status.h"
#include "support/tensor.h"
#include "tests/aarch64/emulator/protocol.h"

namespace tenon::emulator {

/// The aarch64 targets that tests run, each on a processor that has no more than it needs: an instruction that the target does not
/// promise ends the program.
std::span<const std::string_view> targets();

/// A process of qemu-user that runs kernels for another machine, with memory shared between both. Not thread-safe.
class Emulator : public std::enable_shared_from_this<Emulator> {
 public:
  /// OK, or why nothing can be emulated here.
  static Status available();
  static Result<std::shared_ptr<Emulator>> start(std::string_view target);
  /// One a target and process, started when first asked for.
  static Result<std::shared_ptr<Emulator>> shared(std::string_view target);
  ~Emulator();
  Emulator(const Emulator&) = delete;
  Emulator& operator=(const Emulator&) = delete;

  /// The features that Tenon finds on the emulated processor.
  Result<std::string> features();
  /// Links an object file there; the number of its kernel.
  Result<int32_t> link(std::string_view object, std::string_view kernel);
  /// Memory of both. It ends, but for the alignment, where touching more is a fault there.
  Result<std::shared_ptr<Buffer>> allocate(size_t bytes, size_t alignment = 64);
  /// Where memory of allocate() lies there.
  std::optional<Place> place_of(const std::byte* data) const;
  /// What the kernel returns over [begin, end).
  Result<int32_t> run(int32_t kernel, std::span<const Place> bindings, std::span<const int64_t> dims, int64_t begin, int64_t end);

 private:
  struct Region {
    int64_t number;
    std::byte* mapped;
    size_t bytes;
  };
  Emulator() = default;
  void release(std::byte* data);
  Result<Answer> ask(Request request, std::span<const std::string_view> payload, std::string* text = nullptr);

  int process_ = -1, to_ = -1, from_ = -1, file_ = -1;
  int64_t file_end_ = 0, regions_made_ = 0;
  std::map<const std::byte*, Region> regions_;  // by first byte
};

}  // namespace tenon::emulator
