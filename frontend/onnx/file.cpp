#include "frontend/onnx/file.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "support/tensor.h"

namespace tenon::frontend {
namespace fs = std::filesystem;

struct ModelFolder::Fd {
  explicit Fd(int fd) : fd(fd) {}
  ~Fd() {
    if (fd >= 0) ::close(fd);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int fd;
};

namespace {

// Non-blocking, so that a FIFO or a device is refused by its kind instead of waited for.
constexpr int kOpenFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

std::string os_error(int code) { return std::strerror(code); }

Result<Bytes> read_descriptor(int fd, size_t size, std::string_view where) {
  TENON_ASSIGN_OR_RETURN(std::shared_ptr<Buffer> copy, Buffer::allocate(size));
  for (size_t at = 0; at < size;) {
    const ssize_t n = ::pread(fd, copy->data() + at, size - at, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status(Code::kIo, os_error(errno), std::string(where));
    if (n == 0) return Status(Code::kIo, "the file became shorter while it was read", std::string(where), "try again");
    at += static_cast<size_t>(n);
  }
  return Bytes{copy, {copy->data(), size}};
}

Result<Bytes> map_descriptor(int fd, std::string_view where, size_t map_from) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return Status(Code::kIo, os_error(errno), std::string(where));
  if (!S_ISREG(st.st_mode)) return Status(Code::kInvalidArgument, "not a regular file", std::string(where));
  const auto size = static_cast<size_t>(st.st_size);
  if (size == 0) return Bytes{};
  if (size < map_from) return read_descriptor(fd, size, where);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (data == MAP_FAILED) return Status(Code::kIo, "cannot map the file: " + os_error(errno), std::string(where));
  std::shared_ptr<const void> owner(data, [size](const void* p) { ::munmap(const_cast<void*>(p), size); });
  return Bytes{owner, {static_cast<const std::byte*>(data), size}};
}

int open_beneath_by_components(int folder, const fs::path& location) {
  int at = ::dup(folder);
  for (auto it = location.begin(); at >= 0 && it != location.end(); ++it) {
    const bool last = std::next(it) == location.end();
    const int next = ::openat(at, it->c_str(), kOpenFlags | O_NOFOLLOW | (last ? 0 : O_DIRECTORY));
    const int code = errno;
    ::close(at);
    errno = code;
    at = next;
  }
  return at;
}

int open_beneath(int folder, const fs::path& location) {
  open_how how{};
  how.flags = kOpenFlags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  const long fd = ::syscall(SYS_openat2, folder, location.c_str(), &how, sizeof(how));
  if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) return static_cast<int>(fd);
  return open_beneath_by_components(folder, location);
}

/// Rules on the text alone; they hold on every system, so that a model which loads here loads elsewhere.
Status check_location(std::string_view location) {
  const auto refuse = [&](const char* what) {
    return Status(Code::kInvalidModel, fmt::format("external data location {}", what), std::string(location),
                  "external data must lie in the model's own folder");
  };
  if (location.empty()) return refuse("is empty");
  if (location.find('\0') != std::string_view::npos) return refuse("holds a NUL character");
  if (location.size() > 4096) return refuse("is longer than 4096 characters");
  if (location.front() == '/' || location.front() == '\\' || (location.size() > 1 && location[1] == ':'))
    return refuse("is an absolute path");
  if (location.find('\\') != std::string_view::npos) return refuse("holds a backslash");
  for (const fs::path& part : fs::path(location))
    if (part == "..") return refuse("leads out of the folder");
  if (location.back() == '/') return refuse("is a folder");
  return {};
}

fs::path descriptor_path(int fd) {
  std::error_code ec;
  return fs::read_symlink(fs::path("/proc/self/fd") / std::to_string(fd), ec);
}

}  // namespace

Result<Bytes> map_file(const fs::path& file, size_t map_from) {
  const int fd = ::open(file.c_str(), kOpenFlags);
  if (fd < 0) {
    const int code = errno;
    return Status(code == ENOENT || code == ENOTDIR ? Code::kNotFound : Code::kIo, os_error(code), file.string());
  }
  Result<Bytes> bytes = map_descriptor(fd, file.string(), map_from);
  ::close(fd);
  return bytes;
}

Result<ModelFolder> ModelFolder::open(const fs::path& folder) {
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY);
  if (fd < 0) return Status(Code::kNotFound, os_error(errno), folder.string());
  ModelFolder out;
  out.folder_ = std::make_shared<Fd>(fd);
  return out;
}

Result<ModelFolder> ModelFolder::of_model(const fs::path& model) {
  TENON_ASSIGN_OR_RETURN(ModelFolder out, open(model.parent_path()));
  std::error_code ec;
  if (!fs::is_symlink(model, ec)) return out;
  const fs::path real = fs::canonical(model, ec);
  if (ec || real.parent_path().filename() != "blobs") return out;
  const fs::path root = real.parent_path().parent_path();
  const fs::path folder = fs::canonical(model.has_parent_path() ? model.parent_path() : fs::path("."), ec);
  if (ec) return out;
  const fs::path inside = folder.lexically_relative(root);
  if (inside.empty() || *inside.begin() != "snapshots") return out;
  const int fd = ::open(root.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY);
  if (fd < 0) return out;
  out.hub_ = std::make_shared<Fd>(fd);
  out.inside_hub_ = inside;
  out.blobs_ = real.parent_path();
  return out;
}

Result<Bytes> ModelFolder::map(std::string_view location) const {
  TENON_RETURN_IF_ERROR(check_location(location));
  const fs::path relative(location);
  Fd file(open_beneath(folder_->fd, relative));
  if (file.fd < 0 && (errno == EXDEV || errno == ELOOP)) {
    const int escaped = errno;
    if (hub_ != nullptr) {
      file.fd = open_beneath(hub_->fd, inside_hub_ / relative);
      if (file.fd >= 0 && descriptor_path(file.fd).parent_path() != blobs_) {
        ::close(file.fd);
        file.fd = -1;
      }
    }
    if (file.fd < 0) errno = escaped;
  }
  if (file.fd < 0) {
    const int code = errno;
    if (code == EXDEV || code == ELOOP)
      return Status(Code::kInvalidModel, "external data leads out of the model's folder by a symbolic link",
                    std::string(location), "copy the file into the model's folder");
    return Status(code == ENOENT ? Code::kNotFound : Code::kIo, "cannot open external data: " + os_error(code),
                  std::string(location), code == ENOENT ? "put the file beside the model, which holds only its name" : "check who may read the file");
  }
  struct stat st {};
  if (::fstat(file.fd, &st) != 0 || !S_ISREG(st.st_mode))
    return Status(Code::kInvalidModel, "external data is not a regular file", std::string(location));
  if (st.st_nlink > 1)
    return Status(Code::kInvalidModel, "external data has more than one hard link, so it may be a file of another folder",
                  std::string(location), "replace it by a copy of its own");
  return map_descriptor(file.fd, location, map_from);
}

}  // namespace tenon::frontend
