#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>

namespace tenon {

/// What says whether a file is still the one that it was, without reading it: who writes to it, or puts another in its place, changes
/// one of these.
struct FileStamp {
  uint64_t device = 0, inode = 0;
  int64_t size = 0, modified_ns = 0, changed_ns = 0;  // times since the epoch
  bool operator==(const FileStamp&) const = default;

  /// Of the file that the path leads to; nullopt when there is none.
  static std::optional<FileStamp> of(const std::filesystem::path& path);
  /// The same of the path itself, where that is a symbolic link.
  static std::optional<FileStamp> of_link(const std::filesystem::path& path);
  /// Whether it was written last so long before this moment that what is written after it has another stamp: times of files are coarse.
  bool settled_before(std::chrono::system_clock::time_point moment) const;
};

}  // namespace tenon
