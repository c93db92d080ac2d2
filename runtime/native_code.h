#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/plan.h"

namespace tenon::runtime {

/// Machine code of kernels in executable memory, which nobody can write to any more. Functions are valid while it lives.
class NativeCode {
 public:
  using Object = std::span<const std::byte>;

  /// Links relocatable ELF objects for this machine, each by itself: code and constants that refer to one another and to a few
  /// functions of the C library. kInvalidArgument where an object breaks its format (every size and index in it is checked);
  /// kUnsupported where it needs more than this, so that another linker may take it.
  static Result<std::shared_ptr<const NativeCode>> link(std::span<const Object> objects);
  ~NativeCode();
  NativeCode(const NativeCode&) = delete;
  NativeCode& operator=(const NativeCode&) = delete;

  /// The global function of that name; null when no object has it.
  KernelFn find(std::string_view name) const;
  size_t bytes() const { return size_; }

 private:
  NativeCode() = default;
  std::byte* memory_ = nullptr;
  size_t size_ = 0;
  std::map<std::string, KernelFn, std::less<>> functions_;
};

}  // namespace tenon::runtime
