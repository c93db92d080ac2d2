#include "support/disk_cache_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

namespace tenon::cache_files {

Status io_error(const char* what) { return Status(Code::kIo, fmt::format("{}: {}", what, std::strerror(errno)), "cache"); }

bool read_all(int fd, std::byte* to, size_t bytes) {
  while (bytes > 0) {
    const ssize_t n = ::read(fd, to, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    to += n;
    bytes -= static_cast<size_t>(n);
  }
  return true;
}

bool write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return true;
}

File open_own(int folder, const char* name, size_t& size) {
  const int fd = ::openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  struct stat st {};
  if (fd >= 0 && (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != ::geteuid() || (st.st_mode & 0022) != 0)) {
    ::close(fd);
    return File(-1);
  }
  size = static_cast<size_t>(st.st_size);
  return File(fd);
}

File create_temporary(int folder, std::string& name) {
  static std::atomic<unsigned> count = 0;
  name = fmt::format("{}{}-{}", kTemporary, ::getpid(), count.fetch_add(1));
  ::unlinkat(folder, name.c_str(), 0);  // of a dead process with our number
  return File(::openat(folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
}

std::string write_temporary(int folder, std::span<const std::byte> bytes) {
  std::string name;
  const File file = create_temporary(folder, name);
  if (file.open() && write_all(file.get(), bytes)) return name;
  const int code = errno;
  if (file.open()) ::unlinkat(folder, name.c_str(), 0);
  errno = code;
  return {};
}

}  // namespace tenon::cache_files
