#pragma once

#include <array>
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
#include "support/tensor.h"

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

  /// Entries with a body that is too large to be read before it is needed: it is mapped, in large pages where the system has them for
  /// files, and stays valid without the cache. The body is authenticated once for each start of the machine, then known by its file's
  /// inode, size and times, which whoever writes to it changes. A key has an entry of one of the two kinds.
  struct Mapped {
    std::vector<std::byte> value;
    std::shared_ptr<Buffer> body;
  };
  std::optional<Mapped> find_mapped(std::string_view key) const;
  /// The body is these bytes at these offsets, which ascend, and zeros between. Half of the disk's free space is left free.
  struct Piece {
    size_t offset;
    std::span<const std::byte> bytes;
  };
  Status store_mapped(std::string_view key, std::span<const std::byte> value, std::span<const Piece> body) const;

 private:
  struct MappedHeader;
  DiskCache(int folder, size_t max_bytes, const SipKey& secret) : folder_(folder), max_bytes_(max_bytes), secret_(secret) {}
  std::string file_of(std::string_view key) const;
  void make_room(size_t bytes) const;
  Status rename(const std::string& temporary, const std::string& name) const;
  using Tag = std::array<std::byte, 16>;
  std::optional<Tag> seen_tag(int file, std::span<const std::byte> tag) const;
  bool was_seen(const std::string& name, int file, std::span<const std::byte> tag) const;
  void note_seen(const std::string& name, int file, std::span<const std::byte> tag) const;
  Result<Tag> write_mapped(int file, std::string_view key, std::span<const std::byte> value, std::span<const Piece> body, const MappedHeader& header) const;

  const int folder_;
  const size_t max_bytes_;
  const SipKey secret_;
  mutable std::mutex mutex_;
  mutable std::optional<size_t> used_;  // bytes of all entries, as far as this process knows
};

/// Where the user's cache is: `TENON_CACHE`, a folder, or off; else tenon in $XDG_CACHE_HOME or ~/.cache. Nullopt: nowhere.
std::optional<std::filesystem::path> user_cache_folder();
/// Bytes that whole executables may take there: TENON_CACHE_GIB, a number; else kDefaultExecutablesBytes.
size_t user_executables_room();
inline constexpr size_t kDefaultExecutablesBytes = size_t{8} << 30;

}  // namespace tenon
