#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/siphash.h"
#include "support/status.h"

namespace tenon {

/// A folder of results that are cheaper to read than to make again, safe to share between processes.
///
/// The folder is the user's alone: it is made with mode 0700, and one that belongs to another user or that others can write to
/// is refused. A random key in it, readable by its owner only, authenticates each entry: what is truncated, damaged or was
/// written by somebody else is as good as absent. An entry carries its whole key, so two keys never share one. Files are
/// written beside and renamed, so that readers see all of one or nothing.
class DiskCache {
 public:
  static constexpr size_t kDefaultMaxBytes = size_t{1} << 30;

  /// Makes the folder where there is none. Of more than `max_bytes` in all, entries that nobody used for longest go first.
  static Result<std::shared_ptr<const DiskCache>> open(const std::filesystem::path& folder, size_t max_bytes = kDefaultMaxBytes);
  ~DiskCache();
  DiskCache(const DiskCache&) = delete;
  DiskCache& operator=(const DiskCache&) = delete;

  std::optional<std::vector<std::byte>> find(std::string_view key) const;
  /// Replaces what there was. A full disk and the like are errors that need not stop anybody.
  Status store(std::string_view key, std::span<const std::byte> value) const;

 private:
  DiskCache(int folder, size_t max_bytes, const SipKey& secret) : folder_(folder), max_bytes_(max_bytes), secret_(secret) {}
  std::string file_of(std::string_view key) const;
  void make_room(size_t bytes) const;

  const int folder_;
  const size_t max_bytes_;
  const SipKey secret_;
  mutable std::mutex mutex_;
  mutable std::optional<size_t> used_;  // bytes of all entries, as far as this process knows
};

/// Where the user's cache is: `TENON_CACHE`, a folder, or off; else tenon in $XDG_CACHE_HOME or ~/.cache. Nullopt: nowhere.
std::optional<std::filesystem::path> user_cache_folder();

}  // namespace tenon
