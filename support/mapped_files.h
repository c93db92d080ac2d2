#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tenon {

/// The parts of this process's memory that are files mapped read-only and private, as they were when this was made.
class MappedFiles {
 public:
  static MappedFiles now();

  /// Lets go of those whole pages of `bytes` that such a file backs: they take no memory of the process until somebody reads
  /// them, which brings the same content again. All other memory stays as it is.
  void drop(std::span<const std::byte> bytes) const;

 private:
  struct Range {
    uintptr_t begin, end;
  };
  std::vector<Range> ranges_;  // ascending
};

}  // namespace tenon
