#pragma once

#include <cstddef>
#include <cstring>
#include <ctime>
#include <span>
#include <string>
#include <string_view>

#include <unistd.h>

#include "support/status.h"

/// How the parts of DiskCache reach files of its folder.
namespace tenon::cache_files {

inline constexpr std::string_view kTemporary = ".new-";
/// Behind the name of an entry: the file that says when its body was authenticated.
inline constexpr std::string_view kSeen = ".seen";
inline constexpr size_t kTagBytes = 16;
inline constexpr time_t kRecent = 3600;  // seconds: a use is noted once in so long; leftovers of dead processes go after it

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  bool open() const { return fd_ >= 0; }
  int get() const { return fd_; }

 private:
  int fd_;
};

/// With the system's own words.
Status io_error(const char* what);
bool read_all(int fd, std::byte* to, size_t bytes);
bool write_all(int fd, std::span<const std::byte> bytes);
inline std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

/// A file of ours in the folder, open for reading; its size in `size`. Not a link, a pipe, or another user's.
File open_own(int folder, const char* name, size_t& size);
/// A new file for writing, under a name that only this call has.
File create_temporary(int folder, std::string& name);
/// Writes a file under a name of its own; empty on failure.
std::string write_temporary(int folder, std::span<const std::byte> bytes);

}  // namespace tenon::cache_files
